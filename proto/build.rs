//! Compiles `lockstep/v1/*.proto` without `protoc`: messages and services by
//! tonic, canonical proto JSON by pbjson.

use std::path::PathBuf;

use prost::Message as _;

/// Messages whose JSON says every field, also those that hold the default:
/// people script against `.status.clusters.failed == 0`. In what people write
/// (specs), an absent field stays absent.
const STATUS: &[&str] = &[
    ".lockstep.v1.ObjectMeta",
    ".lockstep.v1.ClusterStatus",
    ".lockstep.v1.AssignmentState",
    ".lockstep.v1.Problem",
    ".lockstep.v1.ClusterGroupStatus",
    ".lockstep.v1.ClusterCounts",
    ".lockstep.v1.RepositoryStatus",
    ".lockstep.v1.RefHead",
    ".lockstep.v1.AssignmentStatus",
    ".lockstep.v1.CommitInfo",
    ".lockstep.v1.Pin",
    ".lockstep.v1.Pause",
    ".lockstep.v1.Pending",
    ".lockstep.v1.HistoryEntry",
    ".lockstep.v1.ObjectEvent",
    ".lockstep.v1.DiffGroup",
    ".lockstep.v1.ObjectDiff",
    ".lockstep.v1.JoinTokenStatus",
    ".lockstep.v1.CredentialStatus",
    ".lockstep.v1.StatusRow",
    ".lockstep.v1.StatusResponse",
    ".lockstep.v1.StatusSummary",
    ".lockstep.v1.AssignmentError",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=lockstep");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let files = protox::compile(
        [
            "lockstep/v1/resources.proto",
            "lockstep/v1/enrolment.proto",
            "lockstep/v1/agent.proto",
            "lockstep/v1/fleet.proto",
        ],
        ["."],
    )?;
    let descriptor = files.encode_to_vec();
    std::fs::write(out.join("descriptor.bin"), &descriptor)?;

    tonic_prost_build::configure()
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::pbjson_types")
        .btree_map(".")
        .codec_path("crate::codec::Codec")
        .bytes(".lockstep.v1.BundleEntry")
        .bytes(".lockstep.v1.FetchBundleResponse")
        .compile_fds(files)?;

    let (specs, statuses) = (out.join("specs"), out.join("statuses"));
    std::fs::create_dir_all(&specs)?;
    std::fs::create_dir_all(&statuses)?;
    pbjson_build::Builder::new()
        .register_descriptors(&descriptor)?
        .exclude(STATUS.iter().copied())
        .exclude([
            ".lockstep.v1.BundleEntry",
            ".lockstep.v1.FetchBundleResponse",
        ])
        .btree_map([".lockstep.v1"])
        .out_dir(&specs)
        .build(&[".lockstep.v1"])?;
    pbjson_build::Builder::new()
        .register_descriptors(&descriptor)?
        .emit_fields()
        .btree_map([".lockstep.v1"])
        .out_dir(&statuses)
        .build(STATUS)?;
    Ok(())
}

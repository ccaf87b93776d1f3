//! The gRPC contract of Lockstep and the Rust types made from it.
//!
//! Everyone in the workspace may import this crate; it imports none of them.
//! Beside the generated messages it holds what both ends of a wire must agree
//! on to the byte: names ([`names`]), digests and the canonical form of Bundles
//! ([`bundle`]), the digest of a desired state ([`desired`]), the YAML form of
//! resources ([`manifest`]), how a client dials the hub ([`client`]) and, where
//! the feature `cel` asks for it, the expressions that judge objects.

pub mod bundle;
pub mod client;
pub mod codec;
pub mod desired;
#[cfg(feature = "cel")]
pub mod expression;
pub mod manifest;
pub mod names;
pub mod traits;

/// Messages and services of `lockstep/v1`.
#[allow(clippy::all, clippy::pedantic, missing_docs, rust_2018_idioms)]
pub mod v1 {
    tonic::include_proto!("lockstep.v1");
    include!(concat!(env!("OUT_DIR"), "/specs/lockstep.v1.serde.rs"));
    include!(concat!(env!("OUT_DIR"), "/statuses/lockstep.v1.serde.rs"));

    /// The encoded `FileDescriptorSet`, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
}

/// What stands in `apiVersion` of every resource.
pub const API_VERSION: &str = "lockstep.dev/v1alpha1";

pub use names::{ClusterName, Digest, NameError, Revision};

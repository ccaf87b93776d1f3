//! An Assignment: where its content comes from, and where it goes.

use lockstep_proto::names::check_label;
use lockstep_proto::v1;
use prost::Message as _;

use super::{MAX_TEXT, Problems, health, sync};
use crate::rollout::apply_options;

const MAX_GROUPS: usize = 256;
/// Bytes of the encoded options: a message to an agent holds at most 4 KiB.
const MAX_OPTIONS: usize = 3 << 10;
const MAX_DEPENDENCIES: usize = 32;

pub(super) fn check(spec: Option<&v1::AssignmentSpec>, problems: &mut Problems) {
    let Some(spec) = spec else {
        return problems.at("spec", "is missing");
    };
    if spec.repository.is_empty() {
        problems.at("spec.repository", "is missing");
    }
    match spec.r#ref.as_ref().map(check_ref) {
        None => problems.at("spec.ref", "is missing: write a branch, a tag or a commit"),
        Some(Err((path, cause))) => problems.at(path, cause),
        Some(Ok(())) => {}
    }
    if let Err(cause) = check_path(&spec.path) {
        problems.at("spec.path", cause);
    }
    if spec.cluster_groups.is_empty() {
        problems.at(
            "spec.clusterGroups",
            "is missing: name one ClusterGroup at least",
        );
    }
    if spec.cluster_groups.len() > MAX_GROUPS {
        problems.at(
            "spec.clusterGroups",
            format!("more than {MAX_GROUPS} groups"),
        );
    }
    for (at, group) in spec.cluster_groups.iter().enumerate() {
        if spec.cluster_groups[..at].contains(group) {
            problems.at(
                &format!("spec.clusterGroups[{at}]"),
                format!("{group:?} is named twice"),
            );
        }
    }
    if !spec.namespace.is_empty()
        && let Err(cause) = check_label(&spec.namespace)
    {
        problems.at("spec.namespace", cause);
    }
    check_dependencies(&spec.depends_on, problems);
    if let Some(policy) = &spec.sync {
        sync::check(policy, problems);
        health::check(&policy.health, problems);
    }
    let bytes = apply_options(spec).encoded_len();
    if bytes > MAX_OPTIONS {
        problems.at(
            "spec.sync",
            format!(
                "comes to {bytes} bytes; an agent is sent at most {MAX_OPTIONS}: use fewer or \
                 shorter ignore and health rules"
            ),
        );
    }
}

fn check_dependencies(dependencies: &[v1::Dependency], problems: &mut Problems) {
    if dependencies.len() > MAX_DEPENDENCIES {
        problems.at(
            "spec.dependsOn",
            format!("more than {MAX_DEPENDENCIES} assignments"),
        );
    }
    for (at, dependency) in dependencies.iter().enumerate() {
        let path = format!("spec.dependsOn[{at}].assignment");
        if dependency.assignment.is_empty() {
            problems.at(&path, "is missing");
        } else if dependencies[..at].contains(dependency) {
            problems.at(&path, format!("{:?} is named twice", dependency.assignment));
        }
    }
}

fn check_ref(r: &v1::GitRef) -> Result<(), (&'static str, String)> {
    let set: Vec<(&str, &str)> = [
        ("branch", &r.branch),
        ("tag", &r.tag),
        ("commit", &r.commit),
    ]
    .into_iter()
    .filter(|(_, text)| !text.is_empty())
    .map(|(field, text)| (field, text.as_str()))
    .collect();
    match set[..] {
        [("commit", commit)] => {
            let hex = commit
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            if hex && matches!(commit.len(), 40 | 64) {
                Ok(())
            } else {
                Err((
                    "spec.ref.commit",
                    format!("{commit:?} is not a commit: write its 40 hexadecimal digits in full"),
                ))
            }
        }
        [(field, name)] => check_ref_name(name).map_err(|cause| {
            let path = if field == "tag" {
                "spec.ref.tag"
            } else {
                "spec.ref.branch"
            };
            (path, cause)
        }),
        [] => Err((
            "spec.ref",
            "is empty: write a branch, a tag or a commit".to_owned(),
        )),
        _ => Err((
            "spec.ref",
            "names more than one of branch, tag and commit: write exactly one".to_owned(),
        )),
    }
}

/// The rules of `git check-ref-format`.
fn check_ref_name(name: &str) -> Result<(), String> {
    let bad_part = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    let bad_char = |c: char| c.is_ascii_control() || " ~^:?*[\\".contains(c);
    if name.len() > 255
        || name == "@"
        || name.starts_with('-')
        || name.ends_with('.')
        || name.contains("..")
        || name.contains("@{")
        || name.contains(bad_char)
        || name.split('/').any(bad_part)
    {
        return Err(format!("{name:?} is not a name that Git allows"));
    }
    if name.starts_with("refs/") {
        return Err(format!(
            "{name:?} is a full ref: write the name alone, like main"
        ));
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), String> {
    if path.len() > MAX_TEXT {
        return Err(format!("is longer than {MAX_TEXT} bytes"));
    }
    if path.starts_with('/') {
        return Err(format!(
            "{path:?} is absolute: write it relative to the repository's root"
        ));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(format!(
            "{path:?} leaves the repository: it must not contain \"..\""
        ));
    }
    if path.contains(['\0', '\\', '\n']) {
        return Err(format!("{path:?} is not a path: use names and \"/\""));
    }
    Ok(())
}

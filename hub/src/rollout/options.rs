//! What an Assignment's spec means where it says nothing.

use lockstep_proto::v1;

use crate::status::poll_seconds;

/// The largest share of an Inventory that one revision may prune unasked.
const MAX_PRUNE: &str = "20%";

/// Whether a person says when a new revision goes to the clusters.
#[must_use]
pub fn is_manual(spec: &v1::AssignmentSpec) -> bool {
    let sync = spec.sync.as_ref();
    sync.is_some_and(|sync| sync.mode() == v1::sync_mode::Name::Manual)
}

/// The options that `spec` gives to the agents.
#[must_use]
pub fn apply_options(spec: &v1::AssignmentSpec) -> v1::ApplyOptions {
    let sync = spec.sync.clone().unwrap_or_default();
    let drift = match sync.drift() {
        v1::drift::Policy::Unspecified => v1::drift::Policy::Correct,
        said => said,
    };
    let adopt = match sync.adopt() {
        v1::adopt::Policy::Unspecified => v1::adopt::Policy::IfUnowned,
        said => said,
    };
    v1::ApplyOptions {
        namespace: spec.namespace.clone(),
        create_namespace: sync.create_namespace.unwrap_or(true),
        prune: sync.prune.unwrap_or(true),
        max_prune: if sync.max_prune.is_empty() {
            MAX_PRUNE.to_owned()
        } else {
            sync.max_prune
        },
        drift: drift.into(),
        ignore: sync.ignore,
        health: sync.health,
        adopt: adopt.into(),
        prune_kinds: sync.prune_kinds,
        // What cannot be read was refused when the Assignment was applied.
        timeout_seconds: poll_seconds(&sync.timeout)
            .ok()
            .flatten()
            .filter(|_| !sync.timeout.is_empty())
            .and_then(|seconds| u32::try_from(seconds).ok())
            .unwrap_or(0),
        depends_on: spec
            .depends_on
            .iter()
            .map(|other| other.assignment.clone())
            .collect(),
        paused: false,
        prune_approved: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_has_the_defaults_of_the_surface() {
        let spec = v1::AssignmentSpec {
            namespace: "shop".into(),
            ..v1::AssignmentSpec::default()
        };
        let options = apply_options(&spec);
        assert_eq!(options.namespace, "shop");
        assert!(options.create_namespace && options.prune);
        assert_eq!(options.max_prune, "20%");
    }

    #[test]
    fn what_is_said_counts() {
        let spec = v1::AssignmentSpec {
            sync: Some(v1::SyncPolicy {
                prune: Some(false),
                create_namespace: Some(false),
                max_prune: "15".into(),
                ..v1::SyncPolicy::default()
            }),
            ..v1::AssignmentSpec::default()
        };
        let options = apply_options(&spec);
        assert!(!options.create_namespace && !options.prune);
        assert_eq!(options.max_prune, "15");
    }
}

//! What an Assignment's spec means where it says nothing.

use lockstep_proto::v1;

/// The largest share of an Inventory that one revision may prune unasked.
const MAX_PRUNE: &str = "20%";

/// The options that `spec` gives to the agents.
#[must_use]
pub fn apply_options(spec: &v1::AssignmentSpec) -> v1::ApplyOptions {
    let sync = spec.sync.clone().unwrap_or_default();
    v1::ApplyOptions {
        namespace: spec.namespace.clone(),
        create_namespace: sync.create_namespace.unwrap_or(true),
        prune: sync.prune.unwrap_or(true),
        max_prune: if sync.max_prune.is_empty() {
            MAX_PRUNE.to_owned()
        } else {
            sync.max_prune
        },
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
            }),
            ..v1::AssignmentSpec::default()
        };
        let options = apply_options(&spec);
        assert!(!options.create_namespace && !options.prune);
        assert_eq!(options.max_prune, "15");
    }
}

//! Which clusters should have which Bundle of one Assignment: pure, so that
//! what may delete something on a cluster can be tried with every state there is.
//!
//! It is asked only about an Assignment that exists, and given the clusters
//! that its groups select now. So a row of a cluster outside of them is an
//! explicit departure: somebody relabelled the cluster or changed a group or
//! the Assignment. An Assignment that is missing never gets here, and one that
//! does not render has no newer target: neither can remove anything.

use std::collections::BTreeSet;
use std::sync::Arc;

use lockstep_proto::{ClusterName, Digest, v1};

use crate::store::{Change, DesiredChange, DesiredRow};

/// What the clusters of an Assignment should run.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    pub digest: Digest,
    pub revision: Arc<str>,
    pub options: Arc<v1::ApplyOptions>,
}

/// The changes that bring `standing`, the rows that `assignment` has now, to
/// `target` on the clusters that it `matches`. No target (nothing has ever
/// rendered) gives nobody anything, but still takes leave of those that left.
#[must_use]
pub fn plan(
    assignment: &Arc<str>,
    target: Option<&Target>,
    matches: &BTreeSet<ClusterName>,
    standing: &[DesiredRow],
) -> Vec<DesiredChange> {
    let change = |cluster: &ClusterName, change| DesiredChange {
        cluster: cluster.clone(),
        assignment: Arc::clone(assignment),
        change,
        because: None,
    };
    let left = standing
        .iter()
        .filter(|row| !row.tombstone && !matches.contains(&row.cluster))
        .map(|row| change(&row.cluster, Change::Tombstone));
    let Some(target) = target else {
        return left.collect();
    };
    let has_it: BTreeSet<&ClusterName> = standing
        .iter()
        .filter(|row| {
            !row.tombstone && row.digest == target.digest && row.options == target.options
        })
        .map(|row| &row.cluster)
        .collect();
    let lacks_it = matches
        .iter()
        .filter(|cluster| !has_it.contains(cluster))
        .map(|cluster| {
            let set = Change::Set {
                digest: target.digest,
                revision: Arc::clone(&target.revision),
                options: Arc::clone(&target.options),
            };
            change(cluster, set)
        });
    left.chain(lacks_it).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn cluster(name: &str) -> ClusterName {
        ClusterName::new(name).unwrap()
    }

    fn target(content: u8) -> Target {
        Target {
            digest: Digest::of(&[content]),
            revision: format!("{content:040x}").into(),
            options: Arc::default(),
        }
    }

    fn row(name: &str, content: u8, tombstone: bool) -> DesiredRow {
        let target = target(content);
        DesiredRow {
            cluster: cluster(name),
            assignment: "shop".into(),
            version: 1,
            digest: target.digest,
            revision: target.revision,
            options: target.options,
            tombstone,
        }
    }

    /// `plan`, written as a person reads it: "eu-1 set", "eu-2 tombstone".
    fn said(target: Option<&Target>, matches: &[&str], standing: &[DesiredRow]) -> Vec<String> {
        let matches = matches.iter().map(|name| cluster(name)).collect();
        plan(&"shop".into(), target, &matches, standing)
            .iter()
            .map(|change| {
                let verb = match change.change {
                    Change::Set { .. } => "set",
                    Change::Tombstone => "tombstone",
                    Change::Forget { .. } => "forget",
                };
                format!("{} {verb}", change.cluster)
            })
            .collect()
    }

    #[test]
    fn every_state_of_a_cluster_has_its_change() {
        let new = target(2);
        let other_options = Target {
            options: Arc::new(v1::ApplyOptions {
                prune: true,
                ..v1::ApplyOptions::default()
            }),
            ..target(1)
        };
        let later_revision = Target {
            revision: "f".repeat(40).into(),
            ..target(1)
        };
        let none: &[&str] = &[];
        for (story, target, matches, standing, expected) in [
            (
                "joins",
                Some(&new),
                ["a"].as_slice(),
                vec![],
                ["a set"].as_slice(),
            ),
            (
                "newer bundle",
                Some(&new),
                &["a"],
                vec![row("a", 1, false)],
                &["a set"],
            ),
            (
                "has it already",
                Some(&new),
                &["a"],
                vec![row("a", 2, false)],
                none,
            ),
            (
                "other options",
                Some(&other_options),
                &["a"],
                vec![row("a", 1, false)],
                &["a set"],
            ),
            (
                "same content at a later commit",
                Some(&later_revision),
                &["a"],
                vec![row("a", 1, false)],
                none,
            ),
            (
                "left",
                Some(&new),
                &[],
                vec![row("a", 1, false)],
                &["a tombstone"],
            ),
            (
                "left, and is told already",
                Some(&new),
                &[],
                vec![row("a", 1, true)],
                none,
            ),
            (
                "returns before it is gone",
                Some(&new),
                &["a"],
                vec![row("a", 2, true)],
                &["a set"],
            ),
            ("nothing rendered yet", None, &["a"], vec![], none),
            (
                "broken, and one stays",
                None,
                &["a"],
                vec![row("a", 1, false)],
                none,
            ),
            (
                "broken, and one left",
                None,
                &["a"],
                vec![row("a", 1, false), row("b", 1, false)],
                &["b tombstone"],
            ),
            (
                "broken, and one returns",
                None,
                &["a"],
                vec![row("a", 1, true)],
                none,
            ),
        ] {
            assert_eq!(said(target, matches, &standing), expected, "{story}");
        }
    }

    fn rows() -> impl Strategy<Value = Vec<DesiredRow>> {
        prop::collection::btree_map("[a-f]", (0_u8..3, any::<bool>()), 0..6).prop_map(|rows| {
            rows.into_iter()
                .map(|(name, (content, tombstone))| row(&name, content, tombstone))
                .collect()
        })
    }

    proptest! {
        /// What the plan leads to is what was wanted, whatever stood before,
        /// and planning again from there changes nothing.
        #[test]
        fn a_plan_leads_where_it_should_and_then_rests(
            standing in rows(),
            matches in prop::collection::btree_set("[a-f]", 0..6),
            content in prop::option::of(0_u8..3),
        ) {
            let target = content.map(target);
            let matches: BTreeSet<_> = matches.iter().map(|name| cluster(name)).collect();
            let name: Arc<str> = "shop".into();
            let mut after: BTreeMap<_, _> =
                standing.iter().map(|row| (row.cluster.clone(), row.clone())).collect();
            let changes = plan(&name, target.as_ref(), &matches, &standing);
            let touched: BTreeSet<_> = changes.iter().map(|change| &change.cluster).collect();
            prop_assert_eq!(touched.len(), changes.len(), "each cluster at most once");
            for change in &changes {
                match &change.change {
                    Change::Set { digest, revision, options } => {
                        prop_assert!(matches.contains(&change.cluster));
                        let set = after.entry(change.cluster.clone()).or_insert_with(||
                            row(change.cluster.as_str(), 0, false));
                        set.digest = *digest;
                        set.revision = Arc::clone(revision);
                        set.options = Arc::clone(options);
                        set.tombstone = false;
                    }
                    Change::Tombstone => {
                        prop_assert!(!matches.contains(&change.cluster));
                        let set = after.get_mut(&change.cluster);
                        set.expect("only what stands can be taken away").tombstone = true;
                    }
                    Change::Forget { .. } => prop_assert!(false, "only an agent ends a tombstone"),
                }
            }
            if let Some(target) = &target {
                for cluster in &matches {
                    let row = &after[cluster];
                    prop_assert!(!row.tombstone && row.digest == target.digest);
                }
            }
            for row in after.values() {
                prop_assert!(row.tombstone || matches.contains(&row.cluster));
            }
            let after: Vec<_> = after.into_values().collect();
            prop_assert_eq!(plan(&name, target.as_ref(), &matches, &after), vec![]);
        }
    }
}

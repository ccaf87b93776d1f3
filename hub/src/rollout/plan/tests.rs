//! The plan, tried with every state that a cluster and an Assignment can be in.

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
        commit: None,
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

fn reasons(control: &Control) -> Reasons<'_> {
    Reasons {
        control,
        changed: false,
        now: 7,
    }
}

fn wanted(target: Option<Target>) -> Wanted {
    target.map_or(Wanted::Nothing, Wanted::Run)
}

/// `plan`, written as a person reads it: "eu-1 set", "eu-2 tombstone".
fn said(wanted: &Wanted, matches: &[&str], standing: &[DesiredRow]) -> Vec<String> {
    let matches = matches.iter().map(|name| cluster(name)).collect();
    plan(
        &"shop".into(),
        wanted,
        &matches,
        standing,
        reasons(&Control::default()),
    )
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
        let wanted = wanted(target.cloned());
        assert_eq!(said(&wanted, matches, &standing), expected, "{story}");
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
        let control = Control::default();
        let wanted = wanted(target.clone());
        let changes = plan(&name, &wanted, &matches, &standing, reasons(&control));
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
        prop_assert_eq!(plan(&name, &wanted, &matches, &after, reasons(&control)), vec![]);
    }
}

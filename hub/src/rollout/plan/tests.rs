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

fn held(content: u8) -> Held {
    Held {
        revision: format!("{content:040x}"),
        tree: String::new(),
        digest: Digest::of(&[content]),
        objects: 1,
        commit: Some(v1::CommitInfo {
            author: "Ada".into(),
            ..v1::CommitInfo::default()
        }),
        namespace: String::new(),
    }
}

fn by(name: &str) -> Said {
    Said {
        by: name.into(),
        at: 1,
    }
}

fn mode(mode: v1::sync_mode::Name) -> v1::AssignmentSpec {
    v1::AssignmentSpec {
        sync: Some(v1::SyncPolicy {
            mode: mode.into(),
            ..v1::SyncPolicy::default()
        }),
        ..v1::AssignmentSpec::default()
    }
}

/// What is said: released, pinned, paused, approved.
fn control(released: Option<u8>, pinned: Option<u8>, paused: bool) -> Control {
    Control {
        released: released.map(held),
        pinned: pinned.map(|pin| (held(pin), by("eve"))),
        paused: paused.then(|| (by("eve"), None)),
        ..Control::default()
    }
}

#[test]
fn what_people_hold_to_is_run_whatever_the_ref_names() {
    use v1::sync_mode::Name::{Auto, Manual};
    let (newest, none) = (Some(9), None);
    for (story, mode_is, released, pinned, paused, newest, expected) in [
        ("follows the ref", Auto, none, none, false, newest, "9"),
        ("nothing rendered", Auto, none, none, false, none, "nothing"),
        (
            "released once, by a person",
            Auto,
            Some(1),
            none,
            false,
            newest,
            "9",
        ),
        (
            "nothing released",
            Manual,
            none,
            none,
            false,
            newest,
            "nothing",
        ),
        ("released", Manual, Some(1), none, false, newest, "1"),
        (
            "released, and broken since",
            Manual,
            Some(1),
            none,
            false,
            none,
            "1",
        ),
        ("pinned", Auto, none, Some(2), false, newest, "2"),
        (
            "pinned over a release",
            Manual,
            Some(1),
            Some(2),
            false,
            newest,
            "2",
        ),
        ("paused", Auto, none, none, true, newest, "pause"),
        (
            "paused, pinned and released",
            Manual,
            Some(1),
            Some(2),
            true,
            newest,
            "pause",
        ),
    ] {
        let (spec, options) = (mode(mode_is), v1::ApplyOptions::default());
        let control = control(released, pinned, paused);
        let wish = Wish {
            spec: &spec,
            options: &options,
            control: &control,
        };
        let said = match wish.wanted(newest.map(held).as_ref()) {
            Wanted::Run(target) => u64::from_str_radix(&target.revision, 16)
                .unwrap()
                .to_string(),
            Wanted::Nothing => "nothing".into(),
            Wanted::Pause => "pause".into(),
        };
        assert_eq!(said, expected, "{story}");
    }
}

#[test]
fn the_history_says_who_or_what_asked_for_a_change() {
    let ordered = Control {
        order: Some(crate::store::Order {
            cause: Cause::Sync,
            said: by("eve"),
            revision: held(2).revision,
        }),
        changed: Some(by("adam")),
        approved: Some((held(2).digest, by("eve"))),
        ..Control::default()
    };
    let plain = Control {
        changed: Some(by("adam")),
        ..Control::default()
    };
    let with = |edit: fn(&mut v1::ApplyOptions)| {
        let mut options = v1::ApplyOptions::default();
        edit(&mut options);
        Target {
            options: Arc::new(options),
            commit: held(2).commit,
            ..target(2)
        }
    };
    let new = with(|_| ());
    for (story, control, changed, target, standing, expected) in [
        (
            "a commit",
            &plain,
            false,
            &new,
            vec![row("a", 1, false)],
            "Commit by Ada",
        ),
        (
            "the spec changed",
            &plain,
            true,
            &new,
            vec![row("a", 1, false)],
            "Change by adam",
        ),
        ("the first", &plain, true, &new, vec![], "Change by adam"),
        (
            "a person's order",
            &ordered,
            true,
            &new,
            vec![row("a", 1, false)],
            "Sync by eve",
        ),
        (
            "joins those that run it",
            &ordered,
            false,
            &new,
            vec![row("b", 2, false)],
            "Join by ",
        ),
        (
            "returns",
            &plain,
            false,
            &new,
            vec![row("a", 2, true), row("b", 2, false)],
            "Join by ",
        ),
        (
            "is approved",
            &ordered,
            false,
            &with(|options| options.prune_approved = true),
            vec![row("a", 2, false)],
            "Approve by eve",
        ),
        (
            "other options",
            &plain,
            true,
            &with(|options| options.prune = true),
            vec![row("a", 2, false)],
            "Change by adam",
        ),
        (
            "a pause ends",
            &plain,
            false,
            &new,
            vec![DesiredRow {
                options: with(|options| options.paused = true).options,
                ..row("a", 2, false)
            }],
            "no entry",
        ),
    ] {
        let reasons = Reasons {
            control,
            changed,
            now: 7,
        };
        let matches = [cluster("a"), cluster("b")].into();
        let wanted = Wanted::Run(target.clone());
        let changes = plan(&"shop".into(), &wanted, &matches, &standing, reasons);
        let of_a = changes.iter().find(|change| change.cluster == cluster("a"));
        let said = match &of_a.expect(story).because {
            Some(because) => format!("{} by {}", because.cause.as_str_name(), because.by),
            None => "no entry".into(),
        };
        assert_eq!(said, expected, "{story}");
    }
}

proptest! {
    /// Law 7: while it is paused nobody is given or takes leave of anything,
    /// and what stands is only told to change nothing.
    #[test]
    fn a_pause_gives_nothing_and_takes_nothing(
        standing in rows(),
        matches in prop::collection::btree_set("[a-f]", 0..6),
    ) {
        let matches: BTreeSet<_> = matches.iter().map(|name| cluster(name)).collect();
        let control = Control::default();
        let changes =
            plan(&"shop".into(), &Wanted::Pause, &matches, &standing, reasons(&control));
        for change in &changes {
            let row = standing.iter().find(|row| row.cluster == change.cluster);
            let row = row.expect("only what stands");
            let Change::Set { digest, revision, options } = &change.change else {
                return Err(TestCaseError::fail("something is taken away"));
            };
            prop_assert!(!row.tombstone && options.paused);
            prop_assert_eq!((digest, revision), (&row.digest, &row.revision));
        }
        let live = standing.iter().filter(|row| !row.tombstone).count();
        prop_assert_eq!(changes.len(), live);
    }

    /// Manual: whatever the ref comes to name, what clusters have goes on to
    /// be what they have, from the moment that a person asks to be asked.
    #[test]
    fn manual_mode_begins_with_what_runs(content in 0_u8..3, newest in prop::option::of(0_u8..9)) {
        let spec = mode(v1::sync_mode::Name::Manual);
        let options = v1::ApplyOptions::default();
        let standing = vec![row("a", content, false), row("b", content, false), row("c", 8, true)];
        let before = Control::default();
        let wish = Wish { spec: &spec, options: &options, control: &before };
        let control = wish.settled(newest.map(held).as_ref(), &standing);
        let control = control.expect("it is said now");
        let wish = Wish { control: &control, ..wish };
        prop_assert!(wish.settled(newest.map(held).as_ref(), &standing).is_none());
        let wanted = wish.wanted(newest.map(held).as_ref());
        let matches = [cluster("a"), cluster("b")].into();
        let changes = plan(&"shop".into(), &wanted, &matches, &standing, reasons(&control));
        prop_assert_eq!(changes, vec![]);
    }
}

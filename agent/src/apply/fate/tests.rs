//! What stays and what goes, case by case.

use super::*;
use crate::apply::share::Share;
use crate::apply::{Policy, Target};
use crate::cluster::KindMap;
use lockstep_proto::Digest;
use lockstep_proto::traits::Traits;
use lockstep_proto::v1::ApplyOptions;

fn keep(change: impl FnOnce(&mut Target)) -> Goal {
    let mut target = Target {
        digest: Digest::of(b"target"),
        revision: "r".into(),
        namespace: "shop".into(),
        create_namespace: true,
        prune: true,
        max_prune: Share::Percent(100),
        policy: Policy::read(ApplyOptions::default()),
        options: 0,
    };
    change(&mut target);
    Goal::Keep(target)
}

fn id(inventory: &mut Inventory, object: &str) -> ObjectId {
    let (kind, name) = object.split_once(' ').unwrap();
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    let group = match kind {
        "CustomResourceDefinition" => "apiextensions.k8s.io",
        "Widget" => "example.com",
        _ => "",
    };
    inventory.id(group, kind, namespace, name)
}

/// An Inventory of objects, each "kind namespace/name", all settled; those
/// with a `!` have asked to be kept.
fn inventory(objects: &[&str]) -> Inventory {
    let mut inventory = Inventory::new("shop");
    for object in objects {
        let traits = object.ends_with('!').then(|| {
            Box::new(Traits {
                keep: true,
                ..Traits::default()
            })
        });
        let id = id(&mut inventory, object.trim_end_matches('!'));
        inventory.want(&id, "v1", Digest::of(b"one"), traits);
        inventory.intend();
        inventory.confirm(&id, Digest::of(b"one"), 7);
    }
    inventory.settle(Digest::of(b"target"), "r", "shop");
    inventory.want_nothing();
    inventory.aimed = true;
    inventory
}

fn fate(goal: &Goal, inventory: &mut Inventory, object: &str) -> Fate {
    let id = id(inventory, object);
    let kinds = KindMap::default();
    let around = Surroundings::new(inventory, &kinds);
    let fates = Fates::new(goal, inventory, &around);
    fates.of(&id, inventory.get(&id).unwrap())
}

fn blocked(goal: &Goal, inventory: &Inventory) -> Option<Blocked> {
    let kinds = KindMap::default();
    let around = Surroundings::new(inventory, &kinds);
    Fates::new(goal, inventory, &around).blocked()
}

const PRECIOUS_ONES: [&str; 4] = [
    "Namespace shop",
    "PersistentVolume disk",
    "PersistentVolumeClaim other/data",
    "CustomResourceDefinition widgets.example.com",
];

#[test]
fn what_takes_other_things_along_goes_only_where_its_kind_is_named() {
    let mut all = inventory(&PRECIOUS_ONES);
    for object in PRECIOUS_ONES {
        let kind = object.split_once(' ').unwrap().0.to_owned();
        let prune = keep(|_| {});
        assert_eq!(fate(&prune, &mut all, object), Fate::Leave(Why::Kind));
        assert_eq!(
            fate(&Goal::Remove, &mut all, object),
            Fate::Leave(Why::Kind)
        );
        let named = keep(|target| target.policy.prune_kinds = vec![kind.clone()]);
        assert_eq!(fate(&named, &mut all, object), Fate::Delete, "{object}");
        // A tombstone has no options: what was said before counts.
        all.may_prune(&[kind]);
        assert_eq!(fate(&Goal::Remove, &mut all, object), Fate::Delete);
        assert_eq!(
            fate(&prune, &mut all, object),
            Fate::Leave(Why::Kind),
            "what the target says now counts"
        );
        all.prune_kinds = None;
    }
}

#[test]
fn what_asked_to_be_kept_is_kept_whatever_else_is_said() {
    let mut all = inventory(&["ConfigMap shop/a!", "ConfigMap shop/b"]);
    for goal in [keep(|_| {}), Goal::Remove] {
        assert_eq!(
            fate(&goal, &mut all, "ConfigMap shop/a"),
            Fate::Leave(Why::Keep)
        );
        assert_eq!(fate(&goal, &mut all, "ConfigMap shop/b"), Fate::Delete);
    }
    let off = keep(|target| target.prune = false);
    assert_eq!(
        fate(&off, &mut all, "ConfigMap shop/b"),
        Fate::Leave(Why::PruneOff)
    );
}

#[test]
fn nothing_goes_that_something_which_stays_lives_in() {
    let kinds = ["Namespace".to_owned()];
    for inside in ["ConfigMap shop/a!", "PersistentVolumeClaim shop/data"] {
        let mut all = inventory(&["Namespace shop", inside]);
        let goal = keep(|target| target.policy.prune_kinds = kinds.to_vec());
        all.may_prune(&kinds);
        for goal in [goal, Goal::Remove] {
            let namespace = fate(&goal, &mut all, "Namespace shop");
            assert_eq!(namespace, Fate::Leave(Why::LivedBy), "{inside}");
        }
    }
    let mut all = inventory(&["Namespace shop", "ConfigMap shop/a"]);
    all.may_prune(&kinds);
    assert_eq!(
        fate(&Goal::Remove, &mut all, "Namespace shop"),
        Fate::Delete
    );
}

#[test]
fn the_words_name_the_setting() {
    let id = Inventory::new("shop").id("", "Namespace", "", "shop");
    assert!(
        Why::Kind
            .words(&id)
            .contains("spec.sync.pruneKinds does not name Namespace")
    );
    assert!(
        Why::Keep
            .words(&id)
            .contains("lockstep.dev/prune: Disabled")
    );
}

fn named(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|i| format!("ConfigMap shop/c{i}")).collect()
}

/// `n` ConfigMaps, of which the first `gone` are wanted no more.
fn pruning(n: usize, gone: usize) -> Inventory {
    let names = named(0..n);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut all = inventory(&names);
    for name in &names[gone..] {
        let id = id(&mut all, name);
        all.want(&id, "v1", Digest::of(b"one"), None);
    }
    all
}

#[test]
fn a_prune_is_measured_against_what_was_settled_not_against_what_was_added() {
    let goal = keep(|target| target.max_prune = Share::Percent(20));
    let mut all = pruning(10, 3);
    for name in named(10..100) {
        let id = id(&mut all, &name);
        all.want(&id, "v1", Digest::of(b"one"), None);
    }
    let expected = Blocked {
        unwanted: 3,
        base: 10,
        allowed: 2,
        cap: None,
    };
    assert_eq!(blocked(&goal, &all), Some(expected));
    assert_eq!(blocked(&goal, &pruning(10, 2)), None);
    assert_eq!(
        blocked(&goal, &pruning(1, 1)),
        None,
        "one is always allowed"
    );
    assert_eq!(
        blocked(&Goal::Remove, &pruning(10, 10)),
        None,
        "a tombstone asks nobody"
    );
    let off = keep(|target| {
        target.prune = false;
        target.max_prune = Share::Percent(20);
    });
    assert_eq!(blocked(&off, &pruning(10, 10)), None, "nothing is deleted");
}

#[test]
fn what_stays_does_not_count_as_pruned() {
    let goal = keep(|target| target.max_prune = Share::Objects(1));
    let all = inventory(&[
        "Namespace a",
        "Namespace b",
        "ConfigMap a/x!",
        "ConfigMap a/y",
    ]);
    assert_eq!(blocked(&goal, &all), None);
}

#[test]
fn what_never_was_applied_does_not_count_as_pruned() {
    let goal = keep(|target| target.max_prune = Share::Objects(1));
    let mut all = pruning(4, 1);
    for name in named(4..8) {
        let id = id(&mut all, &name);
        all.want(&id, "v1", Digest::of(b"one"), None);
    }
    all.intend();
    for name in named(4..8) {
        let id = id(&mut all, &name);
        all.get_mut(&id).unwrap().wanted = None;
    }
    assert_eq!(blocked(&goal, &all), None);
    let seen = id(&mut all, "ConfigMap shop/c5");
    all.get_mut(&seen).unwrap().presence = Presence::Present;
    assert_eq!(
        blocked(&goal, &all).unwrap().unwanted,
        2,
        "it was seen with our label"
    );
}

#[test]
fn a_person_lets_it_go_but_not_further_than_the_owner() {
    let cap = |share| {
        Some(PruneCap {
            share,
            said: "agent.yaml line 9".into(),
        })
    };
    for (gone, approved, owner, stopped) in [
        (5, false, None, Some(2)),
        (5, true, None, None),
        (5, true, cap(Share::Percent(50)), None),
        (6, true, cap(Share::Percent(50)), Some(5)),
        (2, false, cap(Share::Percent(10)), Some(1)),
        (1, false, cap(Share::Percent(10)), None),
        (1, true, cap(Share::Objects(0)), Some(0)),
        (3, false, cap(Share::Percent(50)), Some(2)),
    ] {
        let goal = keep(|target| {
            target.max_prune = Share::Percent(20);
            target.policy.prune_approved = approved;
            target.policy.prune_cap.clone_from(&owner);
        });
        let found = blocked(&goal, &pruning(10, gone));
        assert_eq!(
            found.map(|b| b.allowed),
            stopped,
            "{gone} {approved} {owner:?}"
        );
    }
}

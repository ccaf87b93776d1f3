//! The decisions, case by case.

use super::*;
use crate::apply::Policy;
use crate::apply::Target;
use crate::apply::share::Share;
use crate::apply::stage::Stage;
use crate::health::Judgement;
use crate::inventory::{Drift, News};
use lockstep_proto::Digest;
use lockstep_proto::v1::ApplyOptions;

fn target(prune: bool) -> Goal {
    Goal::Keep(Target {
        digest: Digest::of(b"target"),
        revision: "r".into(),
        namespace: "shop".into(),
        create_namespace: true,
        prune,
        max_prune: Share::Percent(20),
        policy: Policy::read(ApplyOptions::default()),
        options: 0,
    })
}

/// An Inventory of objects, each "kind namespace/name", all settled.
fn settled(objects: &[&str]) -> Inventory {
    let mut inventory = Inventory::new("shop");
    for object in objects {
        want(&mut inventory, object);
    }
    inventory.intend();
    for object in objects {
        let id = id(&mut inventory, object);
        inventory.confirm(&id, Digest::of(b"one"), 7);
        let item = inventory.get_mut(&id).unwrap();
        item.hear(News::There {
            version: 1,
            owned: 7,
            going: false,
            judgement: Judgement::healthy(),
        });
    }
    inventory.settle(Digest::of(b"target"), "r", "shop");
    inventory.aimed = true;
    inventory.stored();
    inventory
}

fn id(inventory: &mut Inventory, object: &str) -> ObjectId {
    let (kind, name) = object.split_once(' ').unwrap();
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    let group = match kind {
        "CustomResourceDefinition" => "apiextensions.k8s.io",
        "Deployment" => "apps",
        _ => "",
    };
    inventory.id(group, kind, namespace, name)
}

fn want(inventory: &mut Inventory, object: &str) {
    let id = id(inventory, object);
    inventory.want(&id, "v1", Digest::of(b"one"), None);
}

/// A watch says that the object does well.
fn heal(inventory: &mut Inventory, id: &ObjectId) {
    let item = inventory.get_mut(id).unwrap();
    item.hear(News::There {
        version: item.version + 1,
        owned: item.owned,
        going: false,
        judgement: Judgement::healthy(),
    });
}

fn aim(inventory: &mut Inventory, objects: &[&str]) {
    inventory.want_nothing();
    for object in objects {
        want(inventory, object);
    }
}

fn step(goal: &Goal, inventory: &Inventory) -> Step {
    let kinds = KindMap::default();
    next(goal, inventory, &kinds, Pace::default(), Instant::now())
}

fn names(step: &Step) -> Vec<String> {
    let (Step::Send(_, ids) | Step::Delete(ids) | Step::Release(ids) | Step::Prove(ids)) = step
    else {
        panic!("{step:?} is about no objects");
    };
    let mut names: Vec<_> = ids.iter().map(|id| id.name.to_string()).collect();
    names.sort();
    names
}

#[test]
fn what_is_settled_rests() {
    let inventory = settled(&["ConfigMap shop/a", "Deployment shop/b"]);
    assert_eq!(step(&target(true), &inventory), Step::Rest(None));
}

#[test]
fn a_new_object_is_stored_before_it_is_sent_and_settled_after() {
    let mut inventory = settled(&["ConfigMap shop/a"]);
    aim(&mut inventory, &["ConfigMap shop/a", "ConfigMap shop/b"]);
    let goal = target(true);
    assert_eq!(step(&goal, &inventory), Step::Store { begin: true });
    inventory.intend();
    assert_eq!(
        step(&goal, &inventory),
        Step::Store { begin: true },
        "marked, but not stored yet"
    );
    inventory.stored();
    assert_eq!(names(&step(&goal, &inventory)), ["b"]);
    let b = id(&mut inventory, "ConfigMap shop/b");
    inventory.confirm(&b, Digest::of(b"one"), 7);
    assert_eq!(step(&goal, &inventory), Step::Settle);
}

#[test]
fn stages_go_one_by_one_and_an_object_waits_for_its_namespace() {
    let mut inventory = settled(&[]);
    let all = [
        "Deployment shop/web",
        "ConfigMap shop/settings",
        "Namespace shop",
    ];
    aim(&mut inventory, &all);
    inventory.intend();
    inventory.stored();
    let goal = target(true);
    let first = step(&goal, &inventory);
    assert!(matches!(first, Step::Send(place, _) if place.stage == Stage::Namespaces));
    let namespace = id(&mut inventory, "Namespace shop");
    inventory.confirm(&namespace, Digest::of(b"one"), 7);
    let going = inventory.get_mut(&namespace).unwrap();
    going.answered(5, 7, true, true);
    assert!(
        matches!(step(&goal, &inventory), Step::Store { begin: false }),
        "nothing can go into a namespace that goes"
    );
    inventory
        .get_mut(&namespace)
        .unwrap()
        .answered(6, 7, false, true);
    assert!(
        matches!(step(&goal, &inventory), Step::Store { begin: false }),
        "nobody knows yet how it does"
    );
    heal(&mut inventory, &namespace);
    assert_eq!(names(&step(&goal, &inventory)), ["settings"]);
}

#[test]
fn what_failed_rests_and_holds_nobody_else_back() {
    let mut inventory = settled(&[]);
    aim(
        &mut inventory,
        &["ConfigMap shop/bad", "ConfigMap shop/good"],
    );
    inventory.intend();
    inventory.stored();
    let bad = id(&mut inventory, "ConfigMap shop/bad");
    let then = Instant::now() + std::time::Duration::from_secs(60);
    inventory.get_mut(&bad).unwrap().failed("no", then);
    let goal = target(true);
    assert_eq!(names(&step(&goal, &inventory)), ["good"]);
    let good = id(&mut inventory, "ConfigMap shop/good");
    inventory.confirm(&good, Digest::of(b"one"), 7);
    inventory.stored();
    assert_eq!(step(&goal, &inventory), Step::Rest(Some(then)));
}

#[test]
fn pruning_comes_last_and_in_reverse() {
    let all = [
        "ConfigMap shop/keep1",
        "ConfigMap shop/keep2",
        "ConfigMap shop/keep3",
        "ConfigMap shop/keep4",
        "ConfigMap shop/keep5",
        "ConfigMap shop/keep6",
        "ConfigMap shop/keep7",
        "ConfigMap shop/keep8",
        "ConfigMap shop/settings",
        "Deployment shop/web",
    ];
    let mut inventory = settled(&all);
    aim(&mut inventory, &all[..8]);
    let goal = Goal::Keep(Target {
        digest: Digest::of(b"other"),
        ..target(true).target().unwrap().clone()
    });
    assert_eq!(step(&goal, &inventory), Step::Store { begin: true });
    inventory.intend();
    inventory.stored();
    assert_eq!(names(&step(&goal, &inventory)), ["web"]);
    let web = id(&mut inventory, "Deployment shop/web");
    inventory.forget(&web);
    assert_eq!(names(&step(&goal, &inventory)), ["settings"]);
}

#[test]
fn a_namespace_is_not_deleted_under_what_lives_in_it() {
    let all = ["Namespace shop", "ConfigMap shop/a"];
    let mut inventory = settled(&all);
    aim(&mut inventory, &all[1..]);
    inventory.intend();
    inventory.stored();
    let released = step(&target(true), &inventory);
    assert!(matches!(released, Step::Release(_)), "{released:?}");
    assert_eq!(names(&released), ["shop"]);
}

#[test]
fn with_prune_off_nothing_is_deleted() {
    let all = ["ConfigMap shop/a", "ConfigMap shop/b"];
    let mut inventory = settled(&all);
    aim(&mut inventory, &all[..1]);
    inventory.intend();
    inventory.stored();
    assert!(matches!(step(&target(false), &inventory), Step::Release(_)));
}

#[test]
fn a_tombstone_deletes_all_then_vanishes() {
    let mut inventory = settled(&["ConfigMap shop/a"]);
    inventory.want_nothing();
    assert_eq!(step(&Goal::Remove, &inventory), Step::Store { begin: true });
    inventory.intend();
    inventory.stored();
    assert_eq!(names(&step(&Goal::Remove, &inventory)), ["a"]);
    let a = id(&mut inventory, "ConfigMap shop/a");
    inventory.forget(&a);
    assert_eq!(step(&Goal::Remove, &inventory), Step::Vanish);
}

#[test]
fn drift_is_proved_even_during_a_truce_and_corrected_after_it() {
    let mut inventory = settled(&["ConfigMap shop/a"]);
    let a = id(&mut inventory, "ConfigMap shop/a");
    let item = inventory.get_mut(&a).unwrap();
    item.seen_owned = 8;
    for _ in 0..8 {
        item.correcting(Instant::now());
    }
    let goal = target(true);
    assert_eq!(names(&step(&goal, &inventory)), ["a"]);
    let item = inventory.get_mut(&a).unwrap();
    let drift = Drift::in_fields(vec![".data.key".into()], None);
    item.differs(drift, item.version, Instant::now());
    assert!(matches!(step(&goal, &inventory), Step::Rest(Some(_))));
    inventory.get_mut(&a).unwrap().care = None;
    assert!(matches!(step(&goal, &inventory), Step::Send(..)));
}

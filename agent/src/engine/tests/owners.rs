//! Whose objects are, what the agent may remove, and what it replaces.

use lockstep_proto::v1::adopt;
use lockstep_proto::v1::object_event::Type;
use lockstep_proto::v1::sync::Status as Sync;
use serde_json::{Value, json};

use super::world::{World, config_map, path};

pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

fn annotated(mut object: Value, key: &str, value: &str) -> Value {
    object["metadata"]["annotations"] = json!({key: value});
    object
}

pub fn maps(n: usize) -> Vec<Value> {
    (0..n)
        .map(|i| config_map(&format!("c{i:04}"), "x"))
        .collect()
}

const LABEL: &str = "/metadata/labels/lockstep.dev~1assignment";

#[tokio::test(start_paused = true)]
async fn a_namespace_and_what_asked_to_stay_are_let_go_of_and_said_once() {
    let mut world = World::new();
    let mut inside = config_map("inside", "x");
    inside["metadata"]["namespace"] = json!("other");
    let kept = annotated(config_map("kept", "x"), "lockstep.dev/prune", "Disabled");
    let all = [namespace("other"), inside, kept, config_map("a", "x")];
    let mut options = World::options();
    options.max_prune = "100%".into();
    let first = world.assign_with("shop", &all, options.clone());
    world.start();
    world.synced("shop", first).await;
    world.fake.deleted();

    let second = world.assign_with("shop", &all[3..], options);
    let report = world.synced("shop", second).await;
    assert!(
        report.message.starts_with("2 objects were left"),
        "{}",
        report.message
    );
    assert!(
        report.message.contains(
            "v1 ConfigMap shop/kept: left in place: it says lockstep.dev/prune: Disabled"
        )
    );
    let inside = "/api/v1/namespaces/other/configmaps/inside";
    assert_eq!(world.fake.deleted(), [inside]);
    for stands in ["/api/v1/namespaces/other", &path("kept")] {
        let object = world.fake.get(stands).unwrap();
        assert!(object.pointer(LABEL).is_none(), "{object}");
    }
    assert_eq!(world.inventory("shop").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_tombstone_remembers_after_a_restart_which_kinds_may_go() {
    for (named, stands) in [(vec![], true), (vec!["Namespace".to_owned()], false)] {
        let mut world = World::new();
        let mut options = World::options();
        options.prune_kinds = named;
        let digest =
            world.assign_with("shop", &[namespace("other"), config_map("a", "x")], options);
        world.start();
        world.synced("shop", digest).await;
        world.kill();
        world.entomb("shop");
        world.start();
        let report = world.until("shop", |r| r.removed).await;
        let there = world.fake.get("/api/v1/namespaces/other").is_some();
        assert_eq!(there, stands, "{report:?}");
        assert_eq!(
            report.message.contains("left in place"),
            stands,
            "{}",
            report.message
        );
        assert!(world.fake.get(&path("a")).is_none());
        assert!(world.fake.inventories().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_prune_asks_and_an_approval_lets_it_go() {
    let mut world = World::new();
    let objects = maps(10);
    let first = world.assign("shop", &objects);
    world.start();
    world.synced("shop", first).await;
    world.fake.deleted();
    let second = world.assign("shop", &objects[..5]);
    let report = world.until("shop", |r| r.awaiting_approval == 5).await;
    assert_eq!(report.sync(), Sync::OutOfSync);
    assert!(
        report
            .message
            .contains("5 of 10 objects are no longer in Git, and maxPrune 20% allows 2")
            && report.message.contains("`lockstep approve shop`"),
        "{}",
        report.message
    );
    assert!(world.fake.deleted().is_empty());
    let mut approved = World::options();
    approved.prune_approved = true;
    let again = world.assign_with("shop", &objects[..5], approved);
    assert_eq!(again, second);
    let report = world.synced("shop", second).await;
    assert_eq!(report.awaiting_approval, 0);
    assert_eq!(world.fake.deleted().len(), 5);
}

fn helm_owned(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"key": "theirs"}, "metadata": {
        "name": name, "labels": {"app.kubernetes.io/managed-by": "Helm"},
        "annotations": {"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "shop"}}})
}

/// A world in which `theirs` and `plain` are there before anybody comes.
fn lived_in() -> World {
    let world = World::new();
    world
        .fake
        .put("/api/v1/namespaces/shop", json!({"metadata": {}}));
    world.fake.put(&path("theirs"), helm_owned("theirs"));
    let plain = json!({"metadata": {}, "data": {"key": "old", "other": "kept"}});
    world.fake.put(&path("plain"), plain);
    world
}

async fn meet(adopt: adopt::Policy, more: usize) -> (World, lockstep_proto::Digest) {
    let mut world = lived_in();
    let mut objects = maps(more);
    objects.extend(["theirs", "plain"].map(|name| config_map(name, "ours")));
    let mut options = World::options();
    options.adopt = adopt.into();
    let digest = world.assign_with("shop", &objects, options);
    world.start();
    (world, digest)
}

fn adopted(world: &World) -> Vec<String> {
    let events = world.journal.events().into_iter();
    let mut adopted: Vec<_> = events
        .filter(|event| event.r#type() == Type::Adopted)
        .map(|event| format!("{}: {}", event.object, event.message))
        .collect();
    adopted.sort();
    adopted
}

#[tokio::test(start_paused = true)]
async fn what_somebody_owns_is_a_conflict_and_what_nobody_owns_is_adopted() {
    // Asked for one by one, and found by listing.
    for more in [0, 30] {
        let (world, digest) = meet(adopt::Policy::IfUnowned, more).await;
        let report = world.until("shop", |r| r.sync() == Sync::Failed).await;
        let words =
            "v1 ConfigMap shop/theirs: Helm release shop/web owns it: remove it from the release";
        assert!(report.message.contains(words), "{}", report.message);
        assert_eq!(
            world.fake.get(&path("theirs")).unwrap()["data"]["key"],
            "theirs"
        );
        world
            .eventually("plain is adopted", |fake| {
                fake.get(&path("plain")).unwrap()["data"] == json!({"key": "ours", "other": "kept"})
            })
            .await;
        assert_eq!(
            adopted(&world),
            ["v1 ConfigMap shop/plain: it was there before"]
        );
        let asked = world
            .fake
            .log()
            .iter()
            .filter(|line| line.starts_with("GET /api/v1/namespaces/shop/configmaps/"))
            .count();
        assert!(more == 0 || asked == 0, "{asked} were asked for one by one");
        // Helm lets go of it.
        world
            .fake
            .put(&path("theirs"), json!({"metadata": {}, "data": {}}));
        world.synced("shop", digest).await;
        assert_eq!(adopted(&world).len(), 2);
        assert!(world.fake.deleted().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn never_means_that_nothing_may_be_there() {
    let (world, digest) = meet(adopt::Policy::Never, 3).await;
    let report = world.until("shop", |r| r.problems.len() == 2).await;
    let said: Vec<&str> = report.problems.iter().map(|p| p.message.as_str()).collect();
    assert!(
        said[0].starts_with("it exists already, and spec.sync.adopt is Never"),
        "{said:?}"
    );
    assert!(
        said[1].starts_with("it exists already, and Helm release shop/web owns it"),
        "{said:?}"
    );
    assert_eq!(
        world.fake.get(&path("plain")).unwrap()["data"]["key"],
        "old"
    );
    for name in ["plain", "theirs"] {
        world.fake.delete(&path(name));
    }
    world.synced("shop", digest).await;
    assert!(adopted(&world).is_empty());
}

#[tokio::test(start_paused = true)]
async fn always_takes_over_and_says_from_whom() {
    let (world, digest) = meet(adopt::Policy::Always, 20).await;
    world.synced("shop", digest).await;
    assert_eq!(
        adopted(&world),
        [
            "v1 ConfigMap shop/plain: it was there before",
            "v1 ConfigMap shop/theirs: taken over from Helm release shop/web"
        ]
    );
    assert!(world.fake.deleted().is_empty());
    assert_eq!(
        world.fake.get(&path("theirs")).unwrap()["data"]["key"],
        "ours"
    );
}

#[tokio::test(start_paused = true)]
async fn what_never_was_ours_is_forgotten_in_silence() {
    let (world, _) = meet(adopt::Policy::IfUnowned, 0).await;
    world.until("shop", |r| r.sync() == Sync::Failed).await;
    let digest = world.assign("shop", &[config_map("plain", "ours")]);
    let report = world.synced("shop", digest).await;
    assert_eq!(report.message, "");
    assert_eq!(
        world.fake.get(&path("theirs")).unwrap()["data"]["key"],
        "theirs"
    );
    assert_eq!(world.inventory("shop").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_first_apply_of_many_lists_once_and_a_change_asks_nobody() {
    let mut world = World::new();
    let mut objects = maps(300);
    let digest = world.assign("shop", &objects);
    world.start();
    world.synced("shop", digest).await;
    let gets = |log: &[String]| {
        log.iter()
            .filter(|line| line.starts_with("GET /api/v1/namespaces/shop/"))
            .count()
    };
    assert_eq!(gets(&world.fake.log()), 1);
    for object in &mut objects[..20] {
        object["data"]["key"] = json!("changed");
    }
    let digest = world.assign("shop", &objects);
    world.synced("shop", digest).await;
    let log = world.fake.log();
    assert_eq!(gets(&log), 0, "{log:#?}");
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_going_is_waited_for_by_name() {
    let mut world = World::new();
    world
        .fake
        .put("/api/v1/namespaces/shop", json!({"metadata": {}}));
    let mut held = config_map("a", "old");
    held["metadata"]["finalizers"] = json!(["example.com/slow"]);
    world.fake.put(&path("a"), held);
    world.fake.remove_as_a_person(&path("a"));
    let digest = world.assign("shop", &[config_map("a", "new")]);
    world.start();
    world
        .until("shop", |r| {
            r.message
                .contains("being deleted; finalizer example.com/slow holds it")
        })
        .await;
    world.fake.finish(&path("a"));
    world.synced("shop", digest).await;
    assert_eq!(world.fake.get(&path("a")).unwrap()["data"]["key"], "new");
}

#[tokio::test(start_paused = true)]
async fn a_move_between_assignments_needs_no_leave_to_adopt() {
    let mut world = World::new();
    let mut never = World::options();
    never.adopt = adopt::Policy::Never.into();
    let [a, b] = ["a", "b"].map(|name| config_map(name, "one"));
    let one = world.assign_with("one", &[a.clone(), b.clone()], never.clone());
    world.start();
    world.synced("one", one).await;
    let two = world.assign_with("two", &[b], never.clone());
    world
        .until("two", |r| r.message.contains("assignment one owns it"))
        .await;
    world.fake.deleted();
    let one = world.assign_with("one", &[a], never);
    world.synced("one", one).await;
    world.synced("two", two).await;
    assert!(world.fake.deleted().is_empty());
    assert!(adopted(&world).is_empty(), "it is no news");
}

/// A ConfigMap with a field that cannot change.
fn fixed(name: &str, value: &str, replace: bool) -> Value {
    let mut object = config_map(name, "x");
    object["data"]["fixed"] = json!(value);
    if replace {
        object = annotated(object, "lockstep.dev/replace", "OnImmutable");
    }
    object
}

#[tokio::test(start_paused = true)]
async fn a_field_that_cannot_change_is_named_and_replaced_only_where_the_object_asks() {
    let mut world = World::new();
    let first = world.assign("shop", &[fixed("a", "one", false), config_map("b", "x")]);
    world.start();
    world.synced("shop", first).await;
    world.fake.deleted();
    world.assign("shop", &[fixed("a", "two", false), config_map("b", "y")]);
    let report = world.until("shop", |r| r.sync() == Sync::Failed).await;
    assert!(
        report.message.contains(
            "v1 ConfigMap shop/a: .data.fixed cannot be changed once the object exists: put it \
             back in Git, or annotate the object lockstep.dev/replace: OnImmutable"
        ),
        "{}",
        report.message
    );
    world
        .eventually("b lands", |fake| {
            fake.get(&path("b")).unwrap()["data"]["key"] == "y"
        })
        .await;
    assert!(world.fake.deleted().is_empty());
    let uid = |world: &World| world.fake.get(&path("a")).unwrap()["metadata"]["uid"].clone();
    let before = uid(&world);
    let digest = world.assign("shop", &[fixed("a", "two", true), config_map("b", "y")]);
    world.synced("shop", digest).await;
    assert_eq!(world.fake.deleted(), [path("a")]);
    assert_ne!(uid(&world), before);
    let events = world.journal.events();
    let replaced: Vec<_> = events
        .iter()
        .filter(|e| e.r#type() == Type::Replaced)
        .collect();
    assert_eq!(replaced.len(), 1);
    assert_eq!(replaced[0].object, "v1 ConfigMap shop/a");
    assert_eq!(replaced[0].fields, [".data.fixed"]);
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_that_holds_up_a_replacement_is_named() {
    let mut world = World::new();
    let mut held = fixed("a", "one", true);
    held["metadata"]["finalizers"] = json!(["example.com/slow"]);
    let first = world.assign("shop", &[held]);
    world.start();
    world.synced("shop", first).await;
    let digest = world.assign("shop", &[fixed("a", "two", true)]);
    let report = world
        .until("shop", |r| {
            r.problems
                .iter()
                .any(|p| p.message.contains("example.com/slow"))
        })
        .await;
    assert_eq!(report.sync(), Sync::Applying);
    assert!(
        report.problems[0]
            .message
            .contains("made anew when it is gone"),
        "{report:?}"
    );
    world.fake.finish(&path("a"));
    world.synced("shop", digest).await;
    assert_eq!(world.fake.get(&path("a")).unwrap()["data"]["fixed"], "two");
}

#[tokio::test(start_paused = true)]
async fn what_lockstep_has_not_applied_is_never_replaced() {
    let mut world = World::new();
    world
        .fake
        .put("/api/v1/namespaces/shop", json!({"metadata": {}}));
    world.fake.put(
        &path("a"),
        json!({"metadata": {}, "data": {"fixed": "theirs"}}),
    );
    world.assign("shop", &[fixed("a", "ours", true)]);
    world.start();
    let report = world.until("shop", |r| r.sync() == Sync::Failed).await;
    assert!(
        report.message.contains("delete it yourself"),
        "{}",
        report.message
    );
    assert_eq!(
        world.fake.get(&path("a")).unwrap()["data"]["fixed"],
        "theirs"
    );
}

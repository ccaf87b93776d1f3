//! Whose objects are, what the agent may remove, and what it may never touch.

use lockstep_proto::v1::sync::Status as Sync;
use serde_json::{Value, json};

use super::world::{World, config_map, path};

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

fn annotated(mut object: Value, key: &str, value: &str) -> Value {
    object["metadata"]["annotations"] = json!({key: value});
    object
}

fn maps(n: usize) -> Vec<Value> {
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
        report
            .message
            .contains("v1 Namespace other: left in place: spec.sync.pruneKinds")
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

#[tokio::test(start_paused = true)]
async fn the_owner_caps_even_an_approved_prune() {
    let mut world = World::new();
    world.caps("maxPrune: 3\n");
    let objects = maps(10);
    let mut options = World::options();
    options.prune_approved = true;
    let first = world.assign_with("shop", &objects, options.clone());
    world.start();
    world.synced("shop", first).await;
    world.fake.deleted();
    world.assign_with("shop", &objects[..5], options.clone());
    let report = world
        .until("shop", |r| r.message.contains("prune stopped"))
        .await;
    assert!(
        report
            .message
            .contains("maxPrune 3 in agent.yaml line 1 allows 3")
            && report.message.contains("the cluster's owner"),
        "{}",
        report.message
    );
    assert_eq!(report.awaiting_approval, 0, "no approval helps");
    assert!(world.fake.deleted().is_empty());
    let third = world.assign_with("shop", &objects[..7], options);
    world.synced("shop", third).await;
    assert_eq!(world.fake.deleted().len(), 3);
}

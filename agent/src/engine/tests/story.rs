//! The plain stories: apply, change, prune, remove, put back.

use lockstep_proto::v1::health::Status as Health;
use lockstep_proto::v1::sync::Status as Sync;
use serde_json::{Value, json};

use super::fake::Fake;
use super::world::{World, config_map, path};

fn maps(n: usize) -> Vec<Value> {
    (0..n)
        .map(|i| config_map(&format!("c{i:04}"), "one"))
        .collect()
}

fn applies(log: &[String]) -> Vec<&String> {
    let apply = |line: &&String| line.starts_with("PATCH") && line.contains("force=true");
    log.iter().filter(apply).collect()
}

#[tokio::test(start_paused = true)]
async fn one_changed_object_of_many_is_one_apply_request() {
    let mut world = World::new();
    let mut objects = maps(200);
    let first = world.assign("shop", &objects);
    world.start();
    let report = world.synced("shop", first).await;
    assert_eq!((report.objects, report.health()), (200, Health::Healthy));
    assert_eq!(report.applied_revision, report.target_revision);
    assert_eq!(applies(&world.fake.log()).len(), 200);

    objects[77] = config_map("c0077", "two");
    let second = world.assign("shop", &objects);
    world.synced("shop", second).await;
    let log = world.fake.log();
    assert_eq!(applies(&log).len(), 1, "{log:?}");
    assert_eq!(
        world.fake.get(&path("c0077")).unwrap()["data"]["key"],
        "two"
    );
    let object = world.fake.get(&path("c0077")).unwrap();
    assert_eq!(
        object["metadata"]["labels"]["lockstep.dev/assignment"],
        "shop"
    );

    // The same content under another commit: nothing but the report.
    world.assign("shop", &objects);
    world
        .until("shop", |r| {
            r.target_revision.ends_with('3') || r.target_revision.ends_with('2')
        })
        .await;
    assert_eq!(applies(&world.fake.log()).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_restart_sends_nothing_and_reads_no_bundle() {
    let mut world = World::new();
    let digest = world.assign("shop", &maps(20));
    world.start();
    world.synced("shop", digest).await;
    world.fake.log();
    *world.bundles.reads.lock() = 0;
    world.start();
    world.synced("shop", digest).await;
    let log = world.fake.log();
    let changing = log.iter().filter(|line| !line.starts_with("GET")).count();
    assert_eq!(changing, 0, "{log:?}");
    assert_eq!(*world.bundles.reads.lock(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_done_to_objects_while_the_agent_was_away_is_put_right() {
    let mut world = World::new();
    let digest = world.assign("shop", &maps(4));
    world.start();
    world.synced("shop", digest).await;
    world.kill();
    world
        .fake
        .edit(&path("c0001"), "data.key", json!("by hand"));
    world.fake.delete(&path("c0002"));
    world.start();
    world.synced("shop", digest).await;
    world
        .eventually("c0002", |fake| fake.get(&path("c0002")).is_some())
        .await;
    assert_eq!(
        world.fake.get(&path("c0001")).unwrap()["data"]["key"],
        "one"
    );
}

#[tokio::test(start_paused = true)]
async fn drift_is_put_back_object_by_object_and_others_fields_are_left_alone() {
    let mut world = World::new();
    let digest = world.assign("shop", &maps(10));
    world.start();
    world.synced("shop", digest).await;
    world.fake.log();

    world.fake.delete(&path("c0003"));
    let there = |name: &'static str| move |fake: &Fake| fake.get(&path(name)).is_some();
    world.eventually("put back", there("c0003")).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let log = world.fake.log();
    assert_eq!(applies(&log).len(), 1, "{log:?}");

    world
        .fake
        .edit(&path("c0004"), "data.key", json!("by hand"));
    world
        .eventually("put back", |fake| {
            fake.get(&path("c0004")).unwrap()["data"]["key"] == "one"
        })
        .await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;

    world.fake.log();
    world
        .fake
        .edit(&path("c0005"), "data.theirs", json!("mine"));
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert_eq!(
        world.fake.get(&path("c0005")).unwrap()["data"]["theirs"],
        "mine"
    );
    assert!(
        world.fake.log().is_empty(),
        "other managers' fields are no drift"
    );
}

#[tokio::test(start_paused = true)]
async fn a_fight_over_a_field_backs_off_and_names_who_fights() {
    let mut world = World::new();
    let digest = world.assign("shop", &maps(2));
    world.start();
    world.synced("shop", digest).await;
    world.fake.log();
    let mut rounds = 0;
    loop {
        let mine = format!("mine {rounds}");
        world.fake.edit(&path("c0001"), "data.key", json!(mine));
        rounds += 1;
        let before = tokio::time::Instant::now();
        world
            .eventually("put back", |fake| {
                fake.get(&path("c0001")).unwrap()["data"]["key"] == "one"
            })
            .await;
        if before.elapsed() > std::time::Duration::from_millis(500) {
            break;
        }
        assert!(rounds < 30, "it never backed off");
    }
    assert!(rounds >= 3, "the first corrections come at once");
    world
        .fake
        .edit(&path("c0001"), "data.key", json!("once more"));
    let fought = world.until("shop", |r| r.drifted == 1).await;
    assert_eq!(fought.sync(), Sync::OutOfSync);
    assert!(
        fought.problems[0].message.contains("kubectl-edit"),
        "{fought:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_newer_bundle_no_longer_lists_is_pruned() {
    let mut world = World::new();
    world
        .fake
        .put("/api/v1/namespaces/shop", json!({"metadata": {}}));
    world
        .fake
        .put(&path("theirs"), json!({"metadata": {}, "data": {}}));
    let objects = maps(10);
    let first = world.assign("shop", &objects);
    world.start();
    world.synced("shop", first).await;
    let second = world.assign("shop", &objects[..8]);
    world.synced("shop", second).await;
    assert!(world.fake.get(&path("c0009")).is_none());
    assert!(world.fake.get(&path("c0007")).is_some());
    assert!(world.fake.get(&path("theirs")).is_some());
    assert_eq!(world.inventory("shop").len(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_prune_that_is_too_large_stops_and_says_what_to_do() {
    let mut world = World::new();
    let objects = maps(10);
    let first = world.assign("shop", &objects);
    world.start();
    world.synced("shop", first).await;
    world.fake.deleted();
    let mut fewer = objects[..5].to_vec();
    fewer[0] = config_map("c0000", "two");
    let second = world.assign("shop", &fewer);
    let report = world
        .until("shop", |r| r.message.contains("maxPrune"))
        .await;
    assert_eq!(report.sync(), Sync::OutOfSync);
    assert!(
        report.message.contains("5 of 10 objects"),
        "{}",
        report.message
    );
    assert_eq!(report.applied_digest, first.to_string());
    assert_eq!(
        world.fake.get(&path("c0000")).unwrap()["data"]["key"],
        "two",
        "the rest lands"
    );
    assert!(world.fake.deleted().is_empty());

    // A restart does not forget how large the Assignment was.
    world.start();
    world
        .until("shop", |r| r.message.contains("5 of 10 objects"))
        .await;
    assert!(world.fake.deleted().is_empty());

    let mut options = World::options();
    options.max_prune = "50%".into();
    world.assign_with("shop", &fewer, options);
    world.synced("shop", second).await;
    assert_eq!(world.fake.deleted().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn with_prune_off_objects_are_kept_and_no_longer_ours() {
    let mut world = World::new();
    let objects = maps(4);
    let mut options = World::options();
    options.prune = false;
    let first = world.assign_with("shop", &objects, options.clone());
    world.start();
    world.synced("shop", first).await;
    let second = world.assign_with("shop", &objects[..2], options);
    let report = world.synced("shop", second).await;
    assert!(
        report.message.contains("2 objects were left"),
        "{}",
        report.message
    );
    let kept = world.fake.get(&path("c0003")).unwrap();
    assert!(
        kept.pointer("/metadata/labels/lockstep.dev~1assignment")
            .is_none()
    );
    assert_eq!(world.inventory("shop").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn absence_deletes_nothing_and_a_tombstone_removes_everything() {
    let mut world = World::new();
    let digest = world.assign("shop", &maps(3));
    world.start();
    world.synced("shop", digest).await;
    world.fake.deleted();
    world.change(|desired| {
        desired.items.clear();
    });
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert!(world.fake.deleted().is_empty());
    assert_eq!(world.inventory("shop").len(), 3);

    world.entomb("shop");
    let report = world.until("shop", |r| r.removed).await;
    assert_eq!(report.tombstone_version, 3);
    assert!(world.fake.get(&path("c0000")).is_none());
    assert!(world.inventory("shop").is_empty());
    assert!(world.fake.inventories().is_empty());
    assert!(
        world.fake.get("/api/v1/namespaces/shop").is_some(),
        "the namespace that we made is nobody's to delete"
    );
    // A newer tombstone of the same name is answered too.
    world.change(|_| {});
    world
        .until("shop", |r| r.removed && r.tombstone_version == 4)
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_tombstone_waits_for_finalizers_and_names_them() {
    let mut world = World::new();
    let mut held = config_map("held", "x");
    held["metadata"]["finalizers"] = json!(["example.com/slow"]);
    let digest = world.assign("shop", &[held, config_map("free", "x")]);
    world.start();
    world.synced("shop", digest).await;
    world.entomb("shop");
    let report = world
        .until("shop", |r| r.message.contains("example.com/slow"))
        .await;
    assert_eq!(report.sync(), Sync::Applying);
    assert!(!report.removed);
    assert!(
        !world.fake.inventories().is_empty(),
        "it is still accounted for"
    );
    world.fake.finish(&path("held"));
    world.until("shop", |r| r.removed).await;
    assert!(world.fake.inventories().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_object_that_somebody_else_took_over_is_left_alone() {
    let mut world = World::new();
    let objects = maps(3);
    let first = world.assign("shop", &objects);
    world.start();
    world.synced("shop", first).await;
    world.kill();
    world.fake.edit(
        &path("c0002"),
        "metadata.labels",
        json!({"lockstep.dev/assignment": "other"}),
    );
    let second = world.assign("shop", &objects[..2]);
    world.start();
    let report = world.synced("shop", second).await;
    assert!(world.fake.get(&path("c0002")).is_some());
    assert!(
        report.message.contains("labelled for assignment other"),
        "{}",
        report.message
    );
}

#[tokio::test(start_paused = true)]
async fn definitions_come_first_and_custom_resources_last() {
    let mut world = World::new();
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "names": {"kind": "Widget", "plural": "widgets"}}});
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 1}});
    world.fake.slow_definitions();
    let digest = world.assign("shop", &[widget, definition, config_map("c", "x")]);
    world.start();
    let report = world
        .until("shop", |r| {
            r.message
                .contains("wait for apiextensions.k8s.io/v1 CustomResourceDefinition")
        })
        .await;
    assert!(
        world.fake.get(&path("c")).is_none(),
        "the next stage waits: {report:?}"
    );
    world.fake.set_status(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com",
        json!({"conditions": [{"type": "Established", "status": "True"}]}),
    );
    world.synced("shop", digest).await;
    assert!(
        world
            .fake
            .get("/apis/example.com/v1/namespaces/shop/widgets/w")
            .is_some()
    );
    assert_eq!(world.inventory("shop").len(), 3);

    world.fake.deleted();
    world.entomb("shop");
    world.until("shop", |r| r.removed).await;
    let deleted = world.fake.deleted();
    assert!(
        deleted.first().unwrap().contains("/widgets/"),
        "{deleted:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn namespaces_come_first_and_go_last() {
    let mut world = World::new();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}});
    let mut inside = config_map("inside", "x");
    inside["metadata"]["namespace"] = json!("other");
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a"}});
    let mut options = World::options();
    options.prune_kinds = vec!["Namespace".into()];
    let digest = world.assign_with("shop", &[inside, namespace, account], options);
    world.start();
    world.synced("shop", digest).await;
    let log = world.fake.log();
    let order: Vec<_> = applies(&log)
        .into_iter()
        .map(|line| line.rsplit('/').next().unwrap().split('?').next().unwrap())
        .collect();
    assert_eq!(order, ["other", "a", "inside"]);
    world.fake.deleted();
    world.entomb("shop");
    world.until("shop", |r| r.removed).await;
    let deleted = world.fake.deleted();
    assert!(
        deleted.last().unwrap().contains("/configmaps/inventory-"),
        "{deleted:?}"
    );
    assert!(
        deleted[deleted.len() - 2].ends_with("/namespaces/other"),
        "{deleted:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn deployments_are_progressing_until_they_are_rolled_out() {
    let mut world = World::new();
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 2}});
    let digest = world.assign("shop", &[deployment]);
    world.start();
    let report = world.synced("shop", digest).await;
    assert_eq!(report.health(), Health::Progressing, "{report:?}");
    let path = "/apis/apps/v1/namespaces/shop/deployments/web";
    world.fake.set_status(path, json!({"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2,
        "readyReplicas": 2, "observedGeneration": 1, "conditions": [{"type": "Available", "status": "True"}]}));
    world.until("shop", |r| r.health() == Health::Healthy).await;
    world.fake.set_status(
        path,
        json!({"replicas": 2, "updatedReplicas": 2, "availableReplicas": 1}),
    );
    let report = world
        .until("shop", |r| r.health() == Health::Progressing)
        .await;
    assert!(
        report.problems[0]
            .message
            .contains("1 of 2 replicas available")
    );
    assert_eq!(report.problems[0].object, "apps/v1 Deployment shop/web");
}

#[tokio::test(start_paused = true)]
async fn two_assignments_never_fight_over_an_object() {
    let mut world = World::new();
    let one = world.assign("one", &[config_map("a", "one"), config_map("b", "one")]);
    world.start();
    world.synced("one", one).await;
    let two = world.assign("two", &[config_map("b", "two"), config_map("c", "two")]);
    let report = world.until("two", |r| r.sync() == Sync::Failed).await;
    assert!(
        report
            .message
            .contains("v1 ConfigMap shop/b: assignment one owns it"),
        "{}",
        report.message
    );
    world
        .eventually("c", |fake| fake.get(&path("c")).is_some())
        .await;
    assert_eq!(world.fake.get(&path("b")).unwrap()["data"]["key"], "one");
    // Nor after a restart, in whatever order they come.
    world.start();
    world
        .until("two", |r| r.message.contains("assignment one owns it"))
        .await;
    assert_eq!(world.fake.get(&path("b")).unwrap()["data"]["key"], "one");

    // Moved by a commit: it changes hands and is never deleted.
    world.fake.deleted();
    world.change(|_| {});
    let one = world.assign("one", &[config_map("a", "one")]);
    world.synced("one", one).await;
    world.synced("two", two).await;
    assert_eq!(world.fake.get(&path("b")).unwrap()["data"]["key"], "two");
    assert!(world.fake.deleted().is_empty());
    assert_eq!(world.inventory("one").len(), 1);
}

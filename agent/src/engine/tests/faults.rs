//! What goes wrong around the engine, and what people are told of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use lockstep_proto::v1::health::Status as Health;
use lockstep_proto::v1::sync::Status as Sync;
use serde_json::json;

use super::fake::status;
use super::world::{World, config_map, path};

#[tokio::test(start_paused = true)]
async fn one_refused_object_of_twenty_is_named_and_the_others_land() {
    let mut world = World::new();
    world.fake.fault(|method, path| {
        (*method == Method::PATCH && path.ends_with("/c07")).then(|| {
            let words = "admission webhook \"policy.example.com\" denied the request: no";
            (403, status(403, "Forbidden", words))
        })
    });
    let objects: Vec<_> = (0..20)
        .map(|i| config_map(&format!("c{i:02}"), "x"))
        .collect();
    let digest = world.assign("shop", &objects);
    world.start();
    let report = world.until("shop", |r| r.sync() == Sync::Failed).await;
    assert_eq!(report.problems.len(), 1);
    assert_eq!(report.problems[0].object, "v1 ConfigMap shop/c07");
    assert!(
        report
            .message
            .contains("admission webhook \"policy.example.com\" denied"),
        "{}",
        report.message
    );
    assert_eq!(
        world
            .fake
            .paths()
            .iter()
            .filter(|p| p.contains("/configmaps/"))
            .count(),
        19
    );
    world
        .until("shop", |r| r.message.contains("tried 3 times"))
        .await;
    world.fake.no_fault();
    world.synced("shop", digest).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_pruned_before_everything_else_is_applied() {
    let mut world = World::new();
    let first = world.assign("shop", &[config_map("old", "x")]);
    world.start();
    world.synced("shop", first).await;
    world.fake.fault(|method, path| {
        (*method == Method::PATCH && path.ends_with("/new"))
            .then(|| (422, status(422, "Invalid", "spec.x: field is immutable")))
    });
    let second = world.assign("shop", &[config_map("new", "x")]);
    let report = world
        .until("shop", |r| r.message.contains("field is immutable"))
        .await;
    assert!(
        report.message.contains("1 objects are not pruned"),
        "{}",
        report.message
    );
    assert!(world.fake.get(&path("old")).is_some());
    world.fake.no_fault();
    world.synced("shop", second).await;
    assert!(world.fake.get(&path("old")).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_waited_for_without_alarm() {
    let mut world = World::new();
    let refusals = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refusals);
    world.fake.fault(move |method, path| {
        let busy = *method == Method::PATCH
            && path.contains("/configmaps/c")
            && count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
        busy.then(|| (429, status(429, "TooManyRequests", "slow down")))
    });
    let objects: Vec<_> = (0..10).map(|i| config_map(&format!("c{i}"), "x")).collect();
    let digest = world.assign("shop", &objects);
    world.start();
    world.synced("shop", digest).await;
    assert!(refusals.load(Ordering::SeqCst) >= 10);
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_watch_nobody_says_healthy() {
    let mut world = World::new();
    let digest = world.assign("shop", &[config_map("a", "x")]);
    world.start();
    world.synced("shop", digest).await;
    world.fake.blind(true);
    let report = world.until("shop", |r| r.sync() == Sync::Unknown).await;
    assert_eq!(report.health(), Health::Unknown);
    assert!(
        report
            .message
            .contains("cannot watch ConfigMap: watching is forbidden"),
        "{}",
        report.message
    );
    world.fake.delete(&path("a"));
    world.fake.blind(false);
    world.synced("shop", digest).await;
    assert!(
        world.fake.get(&path("a")).is_some(),
        "what happened meanwhile is found out"
    );
}

#[tokio::test(start_paused = true)]
async fn the_newest_commit_wins_over_one_that_is_stuck() {
    let mut world = World::new();
    world.fake.fault(|method, path| {
        (*method == Method::PATCH && path.ends_with("/broken"))
            .then(|| (500, status(500, "InternalError", "boom")))
    });
    world.assign("shop", &[config_map("broken", "x"), config_map("a", "one")]);
    world.start();
    world.until("shop", |r| r.sync() == Sync::Failed).await;
    let fixed = world.assign("shop", &[config_map("a", "two")]);
    let before = tokio::time::Instant::now();
    world.synced("shop", fixed).await;
    assert!(
        before.elapsed() < Duration::from_secs(2),
        "{:?}",
        before.elapsed()
    );
    assert_eq!(world.fake.get(&path("a")).unwrap()["data"]["key"], "two");
}

#[tokio::test(start_paused = true)]
async fn an_unserved_kind_is_a_named_failure_and_comes_when_it_is_served() {
    let mut world = World::new();
    let widget =
        json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}});
    let digest = world.assign("shop", &[widget, config_map("a", "x")]);
    world.start();
    let report = world.until("shop", |r| r.sync() == Sync::Failed).await;
    assert!(
        report
            .message
            .starts_with("example.com/v1 Widget w: the cluster serves no kind Widget"),
        "{}",
        report.message
    );
    assert!(world.fake.get(&path("a")).is_some());
    world.fake.put(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com",
        json!({"metadata": {}, "spec": {"group": "example.com", "names": {"kind": "Widget", "plural": "widgets"}},
            "status": {"conditions": [{"type": "Established", "status": "True"}]}}),
    );
    world.synced("shop", digest).await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_namespace_is_made_only_where_that_is_asked_for() {
    let mut world = World::new();
    let mut options = World::options();
    options.create_namespace = false;
    let digest = world.assign_with("shop", &[config_map("a", "x")], options);
    world.start();
    let report = world.until("shop", |r| r.sync() == Sync::Failed).await;
    assert!(
        report.message.contains("namespaces \"shop\" not found"),
        "{}",
        report.message
    );
    world.assign("shop", &[config_map("a", "x")]);
    world.synced("shop", digest).await;
    assert_eq!(
        world.inventory("shop").len(),
        1,
        "the namespace is not ours"
    );
}

#[tokio::test(start_paused = true)]
async fn assignments_do_not_wait_for_each_other() {
    let mut world = World::new();
    world.fake.fault(|method, path| {
        (*method == Method::PATCH && path.contains("/stuck"))
            .then(|| (500, status(500, "InternalError", "boom")))
    });
    for i in 0..20 {
        world.assign(&format!("bad{i}"), &[config_map(&format!("stuck{i}"), "x")]);
    }
    let good = world.assign("good", &[config_map("fine", "x")]);
    world.start();
    world.synced("good", good).await;
    for i in 0..20 {
        world
            .until(&format!("bad{i}"), |r| r.sync() == Sync::Failed)
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_inventory_that_somebody_deleted_is_written_again() {
    let mut world = World::new();
    let first = world.assign("shop", &[config_map("a", "x")]);
    world.start();
    world.synced("shop", first).await;
    world
        .fake
        .delete("/api/v1/namespaces/lockstep-system/configmaps/inventory-shop-0");
    let second = world.assign("shop", &[config_map("a", "y"), config_map("b", "x")]);
    world.synced("shop", second).await;
    assert_eq!(world.inventory("shop").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_inventory_stops_its_own_assignment_only() {
    let mut world = World::new();
    let shop = world.assign("shop", &[config_map("a", "x")]);
    let base = world.assign("base", &[config_map("b", "x")]);
    world.start();
    world.synced("shop", shop).await;
    world.synced("base", base).await;
    world.kill();
    let map = "/api/v1/namespaces/lockstep-system/configmaps/inventory-shop-0";
    world.fake.edit(
        map,
        "binaryData",
        json!({"items.jsonl.zst": "bm90IHpzdGQ="}),
    );
    let base = world.assign("base", &[config_map("b", "y")]);
    world.start();
    world.synced("base", base).await;
    let report = world.until("shop", |r| r.sync() == Sync::Failed).await;
    assert!(
        report
            .message
            .contains("inventory-shop-0 does not hold an inventory"),
        "{}",
        report.message
    );
    world.fake.delete(map);
    world.synced("shop", shop).await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_restored_from_a_backup_is_listened_to_again() {
    let mut world = World::new();
    let objects: Vec<_> = (0..5).map(|i| config_map(&format!("c{i}"), "x")).collect();
    let digest = world.assign("shop", &objects);
    world.start();
    world.synced("shop", digest).await;
    for round in 0..20 {
        let theirs = json!(format!("{round}"));
        world.fake.edit(&path("c1"), "data.theirs", theirs);
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.fake.restore();
    tokio::time::sleep(Duration::from_secs(30)).await;
    world.fake.delete(&path("c1"));
    world
        .eventually("put back", |fake| fake.get(&path("c1")).is_some())
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_going_is_waited_for_by_name() {
    let mut world = World::new();
    let digest = world.assign("shop", &[config_map("a", "x")]);
    world.fake.fault(|method, path| {
        (*method == Method::PATCH && path.ends_with("/a")).then(|| {
            let words = "configmaps \"a\" is forbidden: unable to create new content in \
                namespace shop because it is being terminated";
            (403, status(403, "Forbidden", words))
        })
    });
    world.start();
    let report = world.until("shop", |r| r.sync() == Sync::Failed).await;
    assert!(
        report
            .message
            .contains("waits for namespace shop to be gone"),
        "{}",
        report.message
    );
    world.fake.no_fault();
    let before = tokio::time::Instant::now();
    world.synced("shop", digest).await;
    assert!(before.elapsed() < Duration::from_secs(5));
}

//! Stages and waves, what they wait for, and what other Assignments and people
//! hold back.

use std::time::Duration;

use lockstep_proto::v1::health::Status as Health;
use lockstep_proto::v1::sync::Status as Sync;
use serde_json::{Value, json};

use super::fake::rolled_out;
use super::world::{World, config_map, path};

pub fn deployment(name: &str, value: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": 1, "image": value}})
}

pub fn deployment_path(name: &str) -> String {
    format!("/apis/apps/v1/namespaces/shop/deployments/{name}")
}

pub fn annotated(mut object: Value, name: &str, value: &str) -> Value {
    object["metadata"]["annotations"][name] = json!(value);
    object
}

pub fn wave(object: Value, wave: i16) -> Value {
    annotated(object, "lockstep.dev/wave", &wave.to_string())
}

fn three_waves(value: &str) -> [Value; 3] {
    [
        wave(deployment("db", value), -1),
        deployment("web", value),
        wave(config_map("last", value), 1),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_wave_begins_when_the_last_one_is_ready_and_says_what_it_waits_for() {
    let mut world = World::new();
    let digest = world.assign("shop", &three_waves("one"));
    world.start();
    let waits = |r: &lockstep_proto::v1::Report, what: &str| {
        r.message.contains(what) && r.sync() == Sync::Applying
    };
    world
        .until("shop", |r| {
            waits(r, "wave 0 waits for apps/v1 Deployment shop/db: ")
        })
        .await;
    assert!(world.fake.get(&deployment_path("web")).is_none());
    world.fake.set_status(&deployment_path("db"), rolled_out(1));
    world
        .until("shop", |r| {
            waits(r, "wave 1 waits for apps/v1 Deployment shop/web: ")
        })
        .await;
    assert!(world.fake.get(&path("last")).is_none());
    world
        .fake
        .set_status(&deployment_path("web"), rolled_out(1));
    let report = world.synced("shop", digest).await;
    assert_eq!(report.health(), Health::Healthy);

    // Removal goes the other way.
    world.fake.deleted();
    world.entomb("shop");
    world.until("shop", |r| r.removed).await;
    let deleted = world.fake.deleted();
    let gone = [path("last"), deployment_path("web"), deployment_path("db")];
    assert_eq!(deleted[..3], gone);
}

#[tokio::test(start_paused = true)]
async fn a_wave_that_is_late_fails_the_sync_and_goes_on_by_itself_when_it_comes() {
    let mut world = World::new();
    let mut options = World::options();
    options.timeout_seconds = 120;
    let digest = world.assign_with("shop", &three_waves("one"), options);
    world.start();
    let report = world.until("shop", |r| r.sync() == Sync::Failed).await;
    assert!(
        report
            .message
            .starts_with("wave 0 has not begun: apps/v1 Deployment shop/db: not ready within 2m"),
        "{}",
        report.message
    );
    assert_eq!(report.health(), Health::Degraded);
    assert!(world.fake.get(&deployment_path("web")).is_none());
    world.fake.set_status(&deployment_path("db"), rolled_out(1));
    world.fake.controllers();
    world
        .eventually("web", |fake| fake.get(&deployment_path("web")).is_some())
        .await;
    world
        .fake
        .set_status(&deployment_path("web"), rolled_out(1));
    world.synced("shop", digest).await;
}

#[tokio::test(start_paused = true)]
async fn progressing_for_too_long_is_degraded_with_the_reason() {
    let mut world = World::new();
    let mut options = World::options();
    options.timeout_seconds = 60;
    let digest = world.assign_with("shop", &[deployment("web", "one")], options);
    world.start();
    world.synced("shop", digest).await;
    let report = world
        .until("shop", |r| r.health() == Health::Degraded)
        .await;
    assert!(
        report.problems[0]
            .message
            .starts_with("not ready within 1m: "),
        "{report:?}"
    );
    world
        .fake
        .set_status(&deployment_path("web"), rolled_out(1));
    world.until("shop", |r| r.health() == Health::Healthy).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_broken_before_holds_nothing_back_and_a_fix_gets_through() {
    let mut world = World::new();
    world.fake.controllers();
    let digest = world.assign("shop", &three_waves("one"));
    world.start();
    world.synced("shop", digest).await;
    // The database breaks for reasons of its own.
    let broken = json!({"replicas": 1, "updatedReplicas": 1, "observedGeneration": 1});
    world
        .fake
        .set_status(&deployment_path("db"), broken.clone());
    world
        .until("shop", |r| r.health() == Health::Progressing)
        .await;
    let mut next = three_waves("one");
    next[2] = wave(config_map("last", "the fix"), 1);
    let digest = world.assign("shop", &next);
    world.synced("shop", digest).await;
    assert_eq!(
        world.fake.get(&path("last")).unwrap()["data"]["key"],
        "the fix"
    );
    // A change of its own has to become ready before the next wave begins.
    let mut next = three_waves("two");
    next[1] = deployment("web", "one");
    world.fake.no_controllers();
    let digest = world.assign("shop", &next);
    world
        .until("shop", |r| r.message.starts_with("wave 1 waits for"))
        .await;
    world.fake.set_status(&deployment_path("db"), rolled_out(1));
    world.synced("shop", digest).await;
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_refused_holds_back_later_waves_only() {
    let mut world = World::new();
    world.fake.fault(|method, path| {
        (method == http::Method::PATCH && path.ends_with("/refused"))
            .then(|| (422, super::fake::status(422, "Invalid", "no")))
    });
    let objects = [
        config_map("refused", "x"),
        config_map("fine", "x"),
        wave(config_map("later", "x"), 1),
    ];
    let digest = world.assign("shop", &objects);
    world.start();
    let report = world
        .until("shop", |r| {
            r.sync() == Sync::Failed && r.message.contains("tried 3 times")
        })
        .await;
    assert!(
        report.message.contains("ConfigMap shop/refused"),
        "{report:?}"
    );
    assert!(world.fake.get(&path("fine")).is_some());
    assert!(world.fake.get(&path("later")).is_none());
    world.fake.no_fault();
    world.synced("shop", digest).await;
}

#[tokio::test(start_paused = true)]
async fn drift_is_put_back_while_a_wave_waits() {
    let mut world = World::new();
    world.fake.controllers();
    let first = [config_map("early", "one"), wave(deployment("db", "one"), 1)];
    let digest = world.assign("shop", &first);
    world.start();
    world.synced("shop", digest).await;
    let mut next = first.to_vec();
    next.push(wave(deployment("slow", "one"), 2));
    next.push(wave(config_map("last", "one"), 3));
    world.fake.no_controllers();
    world.assign("shop", &next);
    world
        .until("shop", |r| r.message.starts_with("wave 3 waits for"))
        .await;
    world.fake.delete(&path("early"));
    world
        .eventually("put back", |fake| fake.get(&path("early")).is_some())
        .await;
    assert!(world.fake.get(&path("last")).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_restart_in_the_middle_of_the_waves_keeps_the_order() {
    let mut world = World::new();
    let digest = world.assign("shop", &three_waves("one"));
    world.start();
    world
        .until("shop", |r| r.message.starts_with("wave 0 waits for"))
        .await;
    world.start();
    let report = world
        .until("shop", |r| r.message.starts_with("wave 0 waits for"))
        .await;
    assert!(
        world.fake.get(&deployment_path("web")).is_none(),
        "{report:?}"
    );
    world.fake.controllers();
    world.fake.set_status(&deployment_path("db"), rolled_out(1));
    world.synced("shop", digest).await;
}

#[tokio::test(start_paused = true)]
async fn an_annotation_that_makes_no_sense_fails_its_object_and_no_other() {
    let mut world = World::new();
    let objects = [
        annotated(config_map("bad", "x"), "lockstep.dev/wave", "soon"),
        config_map("good", "x"),
    ];
    let digest = world.assign("shop", &objects);
    world.start();
    let report = world.until("shop", |r| r.sync() == Sync::Failed).await;
    assert!(
        report.message.contains("v1 ConfigMap shop/bad")
            && report
                .message
                .contains("lockstep.dev/wave: \"soon\" is not"),
        "{}",
        report.message
    );
    world
        .eventually("good", |fake| fake.get(&path("good")).is_some())
        .await;
    assert!(world.fake.get(&path("bad")).is_none());
    assert_ne!(report.applied_digest, digest.to_string());
}

#[tokio::test(start_paused = true)]
async fn a_new_target_holds_until_what_it_depends_on_is_synced_and_healthy() {
    let mut world = World::new();
    let mut options = World::options();
    options.depends_on = vec!["base".into()];
    let shop = |value: &str| [config_map("a", value)];
    let first = world.assign_with("shop", &shop("one"), options.clone());
    world.start();
    let report = world
        .until("shop", |r| r.message.contains("assignment base"))
        .await;
    assert!(
        report.message.contains("does not reach this cluster"),
        "{}",
        report.message
    );
    assert_eq!(report.sync(), Sync::Applying);
    assert!(world.fake.get(&path("a")).is_none());

    let base = world.assign("base", &[deployment("base", "one")]);
    world.synced("base", base).await;
    world
        .until("shop", |r| {
            r.message
                .starts_with("waits for assignment base, which is Synced and Progressing")
        })
        .await;
    assert!(world.fake.get(&path("a")).is_none());
    world
        .fake
        .set_status(&deployment_path("base"), rolled_out(1));
    world.synced("shop", first).await;

    // Both change: shop waits for base's new target, and its old state is kept.
    world.fake.log();
    world.change(|_| {});
    world.assign(
        "base",
        &[deployment("base", "two"), deployment("more", "one")],
    );
    let second = world.assign_with("shop", &shop("two"), options.clone());
    world
        .until("shop", |r| {
            r.message.contains("waits for assignment base") && r.target_digest == second.to_string()
        })
        .await;
    world.fake.edit(&path("a"), "data.key", json!("by hand"));
    world
        .eventually("corrected", |fake| {
            fake.get(&path("a")).unwrap()["data"]["key"] == "one"
        })
        .await;
    // A restart does not let it slip through.
    world.start();
    world
        .until("shop", |r| r.message.contains("waits for assignment base"))
        .await;
    assert_eq!(world.fake.get(&path("a")).unwrap()["data"]["key"], "one");
    world
        .fake
        .set_status(&deployment_path("more"), rolled_out(1));
    world.synced("shop", second).await;
    assert_eq!(world.fake.get(&path("a")).unwrap()["data"]["key"], "two");

    // What is applied does not mind when the other breaks later.
    let broken = json!({"replicas": 1, "updatedReplicas": 1, "observedGeneration": 1});
    world.fake.set_status(&deployment_path("more"), broken);
    world
        .until("base", |r| r.health() == Health::Progressing)
        .await;
    world.start();
    world.synced("shop", second).await;
}

#[tokio::test(start_paused = true)]
async fn an_object_that_moves_to_what_is_depended_on_holds_neither_for_good() {
    let mut world = World::new();
    let mut options = World::options();
    options.depends_on = vec!["base".into()];
    let base = world.assign("base", &[config_map("b", "x")]);
    let shop = world.assign_with(
        "shop",
        &[config_map("a", "x"), config_map("moves", "x")],
        options.clone(),
    );
    world.start();
    world.synced("base", base).await;
    world.synced("shop", shop).await;
    world.fake.deleted();
    let base = world.assign("base", &[config_map("b", "x"), config_map("moves", "x")]);
    let shop = world.assign_with("shop", &[config_map("a", "x")], options);
    world.synced("base", base).await;
    world.synced("shop", shop).await;
    assert_eq!(world.fake.deleted(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn paused_says_what_differs_and_changes_nothing() {
    let mut world = World::new();
    let objects = [config_map("a", "one"), config_map("b", "one")];
    let digest = world.assign("shop", &objects);
    world.start();
    world.synced("shop", digest).await;
    let mut options = World::options();
    options.paused = true;
    let paused = world.assign_with("shop", &objects, options.clone());
    world
        .until("shop", |r| {
            r.sync() == Sync::Synced && r.message == "paused"
        })
        .await;
    assert_eq!(paused, digest);
    world.fake.edit(&path("a"), "data.key", json!("by hand"));
    world.fake.delete(&path("b"));
    world.fake.log();
    let report = world
        .until("shop", |r| {
            r.sync() == Sync::OutOfSync && r.message.contains("2 objects")
        })
        .await;
    assert!(report.message.contains("paused"), "{}", report.message);
    tokio::time::sleep(Duration::from_secs(600)).await;
    world.start();
    world
        .until("shop", |r| r.message.starts_with("paused: 2 objects"))
        .await;
    // Nor is a newer target applied, nor anything pruned.
    world.assign_with("shop", &[config_map("c", "one")], options);
    world
        .until("shop", |r| r.message.starts_with("paused: 3 objects"))
        .await;
    let log = world.fake.log();
    let changing = |line: &&String| {
        !line.starts_with("GET") && !line.contains("dryRun") && !line.contains("lockstep-system")
    };
    assert_eq!(log.iter().filter(changing).count(), 0, "{log:?}");
    // A tombstone is explicit.
    world.entomb("shop");
    world.until("shop", |r| r.removed).await;
    assert!(world.fake.get(&path("a")).is_none());
}

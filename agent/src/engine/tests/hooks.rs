//! Hooks: run at their point, once for a target, waited for, cleared away.

use std::time::Duration;

use lockstep_proto::v1::health::Status as Health;
use lockstep_proto::v1::sync::Status as Sync;
use serde_json::{Value, json};

use super::fake::{done, rolled_out};
use super::order::{annotated, deployment, deployment_path, wave};
use super::world::{World, config_map, path};

pub fn job(name: &str, hook: &str) -> Value {
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {"template": {}}});
    annotated(job, "lockstep.dev/hook", hook)
}

pub fn deleted_when(object: Value, policy: &str) -> Value {
    annotated(object, "lockstep.dev/hook-delete-policy", policy)
}

pub fn job_path(name: &str) -> String {
    format!("/apis/batch/v1/namespaces/shop/jobs/{name}")
}

fn failed() -> Value {
    json!({"conditions": [{"type": "Failed", "status": "True",
        "reason": "BackoffLimitExceeded", "message": "no luck"}]})
}

fn all_hooks(value: &str) -> Vec<Value> {
    vec![
        wave(job("check", "PreSync"), -1),
        job("migrate", "PreSync"),
        config_map("a", value),
        deployment("web", value),
        deleted_when(job("smoke", "PostSync"), "BeforeHookCreation,HookSucceeded"),
        job("alarm", "SyncFail"),
    ]
}

#[tokio::test(start_paused = true)]
async fn hooks_run_at_their_point_and_once_for_a_target() {
    let mut world = World::new();
    let digest = world.assign("shop", &all_hooks("one"));
    world.start();
    let runs = |name: &str| format!("hook batch/v1 Job shop/{name} runs");
    let until = |name: &'static str| {
        let words = runs(name);
        world.until("shop", move |r| r.message.contains(&words))
    };
    let report = until("check").await;
    assert_eq!(report.sync(), Sync::Applying);
    assert!(report.message.starts_with("PreSync hook"), "{report:?}");
    assert_eq!(report.objects, 2, "hooks come and go");
    assert!(world.fake.get(&job_path("migrate")).is_none());
    world.fake.set_status(&job_path("check"), done());
    until("migrate").await;
    assert!(world.fake.get(&path("a")).is_none());
    world.fake.set_status(&job_path("migrate"), done());
    world
        .until("shop", |r| {
            r.message
                .starts_with("PostSync hooks wait for apps/v1 Deployment shop/web")
        })
        .await;
    assert!(world.fake.get(&job_path("smoke")).is_none());
    world
        .fake
        .set_status(&deployment_path("web"), rolled_out(1));
    until("smoke").await;
    world.fake.set_status(&job_path("smoke"), done());
    let report = world.synced("shop", digest).await;
    assert_eq!(report.health(), Health::Healthy);
    world
        .eventually("cleared", |fake| fake.get(&job_path("smoke")).is_none())
        .await;
    assert!(world.fake.get(&job_path("alarm")).is_none());
    assert_eq!(world.inventory("shop").len(), 6);

    // Neither drift, nor a restart, nor a deleted hook runs anything again.
    world.fake.created();
    world.fake.delete(&path("a"));
    world.fake.delete(&job_path("check"));
    world
        .eventually("a", |fake| fake.get(&path("a")).is_some())
        .await;
    world.start();
    world.synced("shop", digest).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.fake.created(), [path("a")]);

    // A newer target runs them anew: what is left of the last run goes first.
    world.fake.controllers();
    world.fake.deleted();
    let digest = world.assign("shop", &all_hooks("two"));
    world.synced("shop", digest).await;
    let created = world.fake.created();
    let jobs = ["check", "migrate", "smoke"].map(job_path);
    assert_eq!(created, jobs);
    assert_eq!(world.fake.deleted()[0], job_path("migrate"));

    world.entomb("shop");
    world.until("shop", |r| r.removed).await;
    assert!(world.fake.paths().iter().all(|p| !p.contains("/jobs/")));
}

#[tokio::test(start_paused = true)]
async fn a_failed_presync_hook_stops_the_sync_and_runs_syncfail() {
    let mut world = World::new();
    world.assign("shop", &all_hooks("one"));
    world.start();
    world
        .eventually("check", |fake| fake.get(&job_path("check")).is_some())
        .await;
    world.fake.set_status(&job_path("check"), failed());
    let report = world.until("shop", |r| r.sync() == Sync::Failed).await;
    assert!(
        report.message.starts_with(
            "PreSync hook batch/v1 Job shop/check failed: BackoffLimitExceeded: no luck"
        ),
        "{}",
        report.message
    );
    world
        .eventually("alarm", |fake| fake.get(&job_path("alarm")).is_some())
        .await;
    world.fake.set_status(&job_path("alarm"), done());
    tokio::time::sleep(Duration::from_secs(600)).await;
    world.start();
    world.until("shop", |r| r.sync() == Sync::Failed).await;
    for never in [job_path("migrate"), path("a")] {
        assert!(world.fake.get(&never).is_none(), "{never}");
    }
    let jobs: Vec<_> = world.fake.created();
    let jobs = jobs.iter().filter(|p| p.contains("/jobs/")).count();
    assert_eq!(jobs, 2, "each ran once");
    // The next commit mends it.
    world.fake.controllers();
    let digest = world.assign("shop", &all_hooks("two"));
    world.synced("shop", digest).await;
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_does_not_end_fails_at_the_limit() {
    let mut world = World::new();
    let mut options = World::options();
    options.timeout_seconds = 90;
    world.assign_with("shop", &all_hooks("one"), options);
    world.start();
    let report = world.until("shop", |r| r.sync() == Sync::Failed).await;
    assert!(
        report
            .message
            .contains("check failed: not ready within 90s"),
        "{}",
        report.message
    );
}

#[tokio::test(start_paused = true)]
async fn a_wave_that_is_late_runs_syncfail_once_and_goes_on_all_the_same() {
    let mut world = World::new();
    let mut options = World::options();
    options.timeout_seconds = 60;
    let objects = [
        deployment("db", "one"),
        wave(config_map("last", "one"), 1),
        job("alarm", "SyncFail"),
    ];
    let digest = world.assign_with("shop", &objects, options);
    world.start();
    world
        .eventually("alarm", |fake| fake.get(&job_path("alarm")).is_some())
        .await;
    assert!(world.fake.get(&path("last")).is_none());
    world.fake.set_status(&job_path("alarm"), done());
    world.fake.set_status(&deployment_path("db"), rolled_out(1));
    world.synced("shop", digest).await;
    assert!(world.fake.get(&path("last")).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_failed_postsync_hook_fails_what_is_applied_all_the_same() {
    let mut world = World::new();
    let objects = [
        config_map("a", "one"),
        job("smoke", "PostSync"),
        deleted_when(job("alarm", "SyncFail"), "HookSucceeded"),
    ];
    let digest = world.assign("shop", &objects);
    world.start();
    world
        .eventually("smoke", |fake| fake.get(&job_path("smoke")).is_some())
        .await;
    world.fake.set_status(&job_path("smoke"), failed());
    let report = world.until("shop", |r| r.sync() == Sync::Failed).await;
    assert!(report.message.starts_with("PostSync hook"), "{report:?}");
    assert_eq!(report.applied_digest, digest.to_string());
    world
        .eventually("alarm", |fake| fake.get(&job_path("alarm")).is_some())
        .await;
    world.fake.set_status(&job_path("alarm"), done());
    world
        .eventually("cleared", |fake| fake.get(&job_path("alarm")).is_none())
        .await;
    // Known after a restart, without running anything again.
    world.fake.created();
    world.start();
    world.until("shop", |r| r.sync() == Sync::Failed).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.fake.created(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_newer_target_pre_empts_a_hook_that_runs() {
    let mut world = World::new();
    world.assign("shop", &all_hooks("one"));
    world.start();
    world
        .until("shop", |r| r.message.contains("shop/check runs"))
        .await;
    world.fake.controllers();
    let digest = world.assign("shop", &all_hooks("two"));
    world.synced("shop", digest).await;
    assert_eq!(world.fake.deleted()[0], job_path("check"));
    // One that is no hook of the newer target goes with everything else.
    world.fake.no_controllers();
    world.assign("shop", &all_hooks("three"));
    world
        .until("shop", |r| r.message.contains("shop/check runs"))
        .await;
    let mut options = World::options();
    options.max_prune = "100%".into();
    let plain = [config_map("a", "three"), deployment("web", "two")];
    let digest = world.assign_with("shop", &plain, options);
    world.synced("shop", digest).await;
    assert!(world.fake.paths().iter().all(|p| !p.contains("/jobs/")));
    assert_eq!(world.inventory("shop").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_namespace_of_a_hook_comes_before_it() {
    let mut world = World::new();
    world.fake.controllers();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "own"}});
    let mut hook = job("migrate", "PreSync");
    hook["metadata"]["namespace"] = json!("own");
    let digest = world.assign("shop", &[namespace, hook, config_map("a", "one")]);
    world.start();
    world.synced("shop", digest).await;
    let created = world.fake.created();
    let at = |name: &str| created.iter().position(|p| p.ends_with(name)).unwrap();
    assert!(at("/namespaces/own") < at("/jobs/migrate"));
    assert!(at("/jobs/migrate") < at("/configmaps/a"));
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_stands_in_another_assignment_is_not_touched() {
    let mut world = World::new();
    world.fake.controllers();
    let theirs = world.assign(
        "other",
        &[json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "migrate"}, "spec": {"theirs": true}})],
    );
    world.start();
    world.synced("other", theirs).await;
    world.assign("shop", &[job("migrate", "PreSync"), config_map("a", "one")]);
    let report = world.until("shop", |r| r.sync() == Sync::Failed).await;
    assert!(
        report.message.contains("assignment other owns it"),
        "{report:?}"
    );
    let theirs = world.fake.get(&job_path("migrate")).unwrap();
    assert_eq!(theirs["spec"]["theirs"], true);
}

#[tokio::test(start_paused = true)]
async fn paused_runs_no_hooks() {
    let mut world = World::new();
    let mut options = World::options();
    options.paused = true;
    world.assign_with("shop", &all_hooks("one"), options);
    world.start();
    world
        .until("shop", |r| r.message.starts_with("paused: "))
        .await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let created = world.fake.created();
    assert!(!created.iter().any(|p| p.contains("/shop")), "{created:?}");
}

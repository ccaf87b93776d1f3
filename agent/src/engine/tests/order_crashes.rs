//! `kill -9` at every request of a change with waves and hooks, and a newer
//! goal at every request: the order is kept, nothing runs twice, nothing is
//! left behind.

use std::collections::HashSet;

use serde_json::Value;

use super::fake::Crash;
use super::hooks::{deleted_when, job, job_path};
use super::order::{deployment, deployment_path, wave};
use super::world::{World, config_map, path};

const SCHEDULES: [(Crash, usize); 4] = [
    (Crash::Before, 512),
    (Crash::After, 512),
    (Crash::Before, 2),
    (Crash::After, 2),
];

fn bundle(value: &str) -> Vec<Value> {
    vec![
        wave(job("check", "PreSync"), -1),
        deleted_when(job("migrate", "PreSync"), "HookSucceeded,HookFailed"),
        wave(config_map("early", value), -1),
        config_map("same", "same"),
        deployment("web", value),
        wave(config_map("last", value), 1),
        wave(config_map(&format!("only-{value}"), "x"), 2),
        deleted_when(job("smoke", "PostSync"), "BeforeHookCreation,HookSucceeded"),
        job("alarm", "SyncFail"),
    ]
}

/// What a change to `value` applies, in this very order.
fn steps(value: &str) -> Vec<String> {
    vec![
        job_path("check"),
        job_path("migrate"),
        path("early"),
        deployment_path("web"),
        path("last"),
        path(&format!("only-{value}")),
        job_path("smoke"),
    ]
}

async fn settled_world(shard_size: usize) -> World {
    let mut world = World::new();
    world.fake.controllers();
    world.shard_size = shard_size;
    let digest = world.assign("shop", &bundle("one"));
    world.start();
    world.synced("shop", digest).await;
    world
        .eventually("cleared", |fake| fake.get(&job_path("smoke")).is_none())
        .await;
    world.fake.deleted();
    world.fake.applied();
    world
}

async fn died(world: &World, through: impl AsyncFn()) -> bool {
    tokio::select! {
        () = world.fake.crashed.notified() => true,
        () = through() => false,
    }
}

async fn check(world: &World, value: &str, when: &str) {
    world
        .eventually("cleared", |fake| {
            fake.get(&job_path("smoke")).is_none() && fake.get(&job_path("migrate")).is_none()
        })
        .await;
    assert_eq!(world.fake.applied(), steps(value), "{when}");
    let standing: HashSet<String> = world.fake.paths().into_iter().collect();
    for name in ["early", "same", "last", &format!("only-{value}")] {
        assert!(standing.contains(&path(name)), "{when}: {name}");
    }
    assert!(!standing.contains(&job_path("alarm")), "{when}");
    assert_eq!(world.inventory("shop").len(), 9, "{when}");
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_request_breaks_no_order_and_runs_no_hook_twice() {
    for (crash, shard_size) in SCHEDULES {
        for n in 0.. {
            let mut world = settled_world(shard_size).await;
            world.fake.crash_at(n, crash);
            let digest = world.assign("shop", &bundle("two"));
            let dead = died(&world, async || {
                world.synced("shop", digest).await;
            })
            .await;
            world.kill();
            world.fake.never_crash();
            world.start();
            world.synced("shop", digest).await;
            let when = format!("{crash:?} request {n}, shards of {shard_size}");
            check(&world, "two", &when).await;
            let deleted: HashSet<_> = world.fake.deleted().into_iter().collect();
            let expected = [path("only-one"), job_path("check")]
                .into_iter()
                .chain(["migrate", "smoke"].map(job_path));
            assert_eq!(deleted, expected.collect(), "{when}");
            if !dead {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_request_of_the_first_sync_keeps_the_order() {
    for (crash, shard_size) in SCHEDULES {
        for n in 0.. {
            let mut world = World::new();
            world.fake.controllers();
            world.shard_size = shard_size;
            world.fake.crash_at(n, crash);
            let digest = world.assign("shop", &bundle("one"));
            world.start();
            let dead = died(&world, async || {
                world.synced("shop", digest).await;
            })
            .await;
            world.kill();
            world.fake.never_crash();
            world.start();
            world.synced("shop", digest).await;
            let when = format!("{crash:?} request {n}, shards of {shard_size}");
            world
                .eventually("cleared", |fake| fake.get(&job_path("smoke")).is_none())
                .await;
            let mut applied = world.fake.applied();
            applied.retain(|p| *p != path("same"));
            assert_eq!(applied, steps("one"), "{when}");
            if !dead {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_newer_goal_at_any_request_begins_from_the_first_hook() {
    for (how, shard_size) in SCHEDULES {
        for n in 0.. {
            let world = settled_world(shard_size).await;
            world.fake.stall_at(n, how);
            let first = world.assign("shop", &bundle("two"));
            let stalled = died(&world, async || {
                world.synced("shop", first).await;
            })
            .await;
            world.fake.applied();
            let mut options = World::options();
            options.max_prune = "100%".into();
            let second = world.assign_with("shop", &bundle("three"), options);
            world.synced("shop", second).await;
            let when = format!("{how:?} request {n}, shards of {shard_size}");
            check(&world, "three", &when).await;
            let standing = world.fake.paths();
            for gone in ["only-one", "only-two"] {
                assert!(!standing.contains(&path(gone)), "{when}: {gone}");
            }
            if !stalled {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_request_of_a_removal_leaves_no_hook_behind() {
    for (crash, shard_size) in SCHEDULES {
        for n in 0.. {
            let mut world = settled_world(shard_size).await;
            world.fake.crash_at(n, crash);
            world.entomb("shop");
            let dead = died(&world, async || {
                world.until("shop", |r| r.removed).await;
            })
            .await;
            world.kill();
            world.fake.never_crash();
            world.start();
            world.until("shop", |r| r.removed).await;
            let when = format!("{crash:?} request {n}, shards of {shard_size}");
            let left: Vec<_> = world.fake.paths();
            let left: Vec<_> = left.iter().filter(|p| p.contains("/shop/")).collect();
            assert!(left.is_empty(), "{when}: {left:?}");
            assert!(world.fake.inventories().is_empty(), "{when}");
            if !dead {
                break;
            }
        }
    }
}

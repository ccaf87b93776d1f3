//! `kill -9` at every request of every kind of change, before and after the
//! server did what it was asked: afterwards the cluster converges, nothing is
//! deleted that should stand, and nothing is left that nobody accounts for.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::fake::Crash;
use super::world::{World, config_map, path};

/// How requests end, and how many objects one piece of an inventory holds.
pub const SCHEDULES: [(Crash, usize); 4] = [
    (Crash::Before, 512),
    (Crash::After, 512),
    (Crash::Before, 2),
    (Crash::After, 2),
];

/// What the cluster holds of ours: paths of labelled objects.
fn ours(world: &World) -> HashSet<String> {
    let labelled = |path: &String| {
        let object = world.fake.get(path).unwrap();
        object
            .pointer("/metadata/labels/lockstep.dev~1assignment")
            .is_some()
    };
    world.fake.paths().into_iter().filter(labelled).collect()
}

/// Nothing of ours stands that no stored inventory lists.
pub fn nothing_leaked(world: &World, when: &str) {
    let listed: HashSet<String> = ["shop", "other"]
        .iter()
        .flat_map(|name| world.inventory(name))
        .collect();
    for path in ours(world) {
        let name = path.rsplit('/').next().unwrap();
        assert!(
            listed
                .iter()
                .any(|line| line.ends_with(&format!("/{name}"))),
            "{when}: {path} leaked; listed: {listed:?}"
        );
    }
}

fn before() -> Vec<Value> {
    ["keep", "change", "go", "stay"]
        .map(|name| config_map(name, "one"))
        .into()
}

fn after() -> Vec<Value> {
    let mut objects = vec![
        config_map("keep", "one"),
        config_map("change", "two"),
        config_map("stay", "one"),
        config_map("new", "one"),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "extra"}}),
    ];
    let mut inside = config_map("inside", "one");
    inside["metadata"]["namespace"] = json!("extra");
    objects.push(inside);
    objects
}

async fn settled_world(shard_size: usize) -> World {
    let mut world = World::new();
    world.shard_size = shard_size;
    world
        .fake
        .put("/api/v1/namespaces/shop", json!({"metadata": {}}));
    world.fake.put(
        &path("foreign"),
        json!({"metadata": {}, "data": {"key": "theirs"}}),
    );
    let digest = world.assign("shop", &before());
    world.start();
    world.synced("shop", digest).await;
    world.fake.deleted();
    world
}

/// Runs the engine until it dies at request `n`; false where it got through.
pub async fn died(world: &World, through: impl AsyncFn()) -> bool {
    tokio::select! {
        () = world.fake.crashed.notified() => true,
        () = through() => false,
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_request_of_a_change_leaks_and_loses_nothing() {
    for (crash, shard_size) in SCHEDULES {
        for n in 0.. {
            let mut world = settled_world(shard_size).await;
            world.fake.crash_at(n, crash);
            let digest = world.assign("shop", &after());
            let dead = died(&world, async || {
                world.synced("shop", digest).await;
            })
            .await;
            world.kill();
            world.fake.never_crash();
            let when = format!("{crash:?} request {n}, shards of {shard_size}");
            nothing_leaked(&world, &when);

            world.start();
            world.synced("shop", digest).await;
            check_after(&world, &when);
            if !dead {
                break;
            }
        }
    }
}

fn check_after(world: &World, when: &str) {
    nothing_leaked(world, when);
    assert_eq!(
        world.fake.get(&path("change")).unwrap()["data"]["key"],
        "two",
        "{when}"
    );
    assert!(world.fake.get(&path("new")).is_some(), "{when}");
    assert!(
        world
            .fake
            .get("/api/v1/namespaces/extra/configmaps/inside")
            .is_some(),
        "{when}"
    );
    assert!(world.fake.get(&path("go")).is_none(), "{when}");
    assert_eq!(
        world.fake.get(&path("foreign")).unwrap()["data"]["key"],
        "theirs",
        "{when}"
    );
    let deleted: HashSet<_> = world.fake.deleted().into_iter().collect();
    assert_eq!(deleted, HashSet::from([path("go")]), "{when}");
    assert_eq!(world.inventory("shop").len(), 6, "{when}");
}

#[tokio::test(start_paused = true)]
async fn a_crash_in_the_middle_and_a_revert_bring_back_the_old_content() {
    for (crash, shard_size) in SCHEDULES {
        for n in 0.. {
            let mut world = settled_world(shard_size).await;
            world.fake.crash_at(n, crash);
            let forth = world.assign("shop", &after());
            let dead = died(&world, async || {
                world.synced("shop", forth).await;
            })
            .await;
            world.kill();
            world.fake.never_crash();
            // What comes back is not what was settled under this digest only
            // by name: all of it is compared.
            let mut options = World::options();
            options.max_prune = "100%".into();
            let back = world.assign_with("shop", &before(), options);
            world.start();
            world.synced("shop", back).await;
            let when = format!("{crash:?} request {n}, shards of {shard_size}");
            nothing_leaked(&world, &when);
            for name in ["keep", "change", "go", "stay"] {
                let object = world.fake.get(&path(name));
                assert_eq!(
                    object.unwrap_or_default()["data"]["key"],
                    "one",
                    "{when}: {name}"
                );
            }
            assert!(world.fake.get(&path("new")).is_none(), "{when}");
            assert_eq!(world.inventory("shop").len(), 4, "{when}");
            if !dead {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_request_of_a_removal_forgets_nothing() {
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
            let when = format!("{crash:?} request {n}, shards of {shard_size}");
            nothing_leaked(&world, &when);
            world.start();
            world.until("shop", |r| r.removed).await;
            assert!(ours(&world).is_empty(), "{when}");
            assert!(world.fake.inventories().is_empty(), "{when}");
            assert!(world.fake.get(&path("foreign")).is_some(), "{when}");
            assert!(
                world.fake.get("/api/v1/namespaces/shop").is_some(),
                "{when}"
            );
            if !dead {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_while_an_object_changes_hands_deletes_it_not() {
    for (crash, shard_size) in SCHEDULES {
        for n in 0.. {
            let mut world = settled_world(shard_size).await;
            world.fake.crash_at(n, crash);
            let shop = world.assign("shop", &before()[..3]);
            let other = world.assign("other", &[config_map("stay", "other's")]);
            let dead = died(&world, async || {
                world.synced("shop", shop).await;
                world.synced("other", other).await;
            })
            .await;
            world.kill();
            world.fake.never_crash();
            let when = format!("{crash:?} request {n}, shards of {shard_size}");
            nothing_leaked(&world, &when);
            world.start();
            world.synced("shop", shop).await;
            world.synced("other", other).await;
            let object = world.fake.get(&path("stay")).unwrap();
            assert_eq!(object["data"]["key"], "other's", "{when}");
            assert_eq!(world.fake.deleted(), Vec::<String>::new(), "{when}");
            assert_eq!(world.inventory("shop").len(), 3, "{when}");
            assert_eq!(world.inventory("other").len(), 1, "{when}");
            if !dead {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_request_of_the_first_apply_is_picked_up() {
    for (crash, shard_size) in SCHEDULES {
        for n in 0.. {
            let mut world = World::new();
            world.shard_size = shard_size;
            world.fake.crash_at(n, crash);
            let digest = world.assign("shop", &after());
            world.start();
            let dead = died(&world, async || {
                world.synced("shop", digest).await;
            })
            .await;
            world.kill();
            world.fake.never_crash();
            let when = format!("{crash:?} request {n}, shards of {shard_size}");
            nothing_leaked(&world, &when);
            tokio::time::sleep(Duration::from_secs(60)).await;
            world.start();
            world.synced("shop", digest).await;
            assert_eq!(world.inventory("shop").len(), 6, "{when}");
            nothing_leaked(&world, &when);
            if !dead {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_newer_goal_at_any_request_of_an_older_one_leaves_no_mixture() {
    for (how, shard_size) in SCHEDULES {
        for n in 0.. {
            let world = settled_world(shard_size).await;
            world.fake.stall_at(n, how);
            let first = world.assign("shop", &after());
            let stalled = died(&world, async || {
                world.synced("shop", first).await;
            })
            .await;
            let mut options = World::options();
            options.max_prune = "100%".into();
            let back = world.assign_with("shop", &before(), options);
            world.synced("shop", back).await;
            let when = format!("{how:?} request {n}, shards of {shard_size}");
            nothing_leaked(&world, &when);
            for name in ["keep", "change", "go", "stay"] {
                let object = world.fake.get(&path(name)).unwrap_or_default();
                assert_eq!(object["data"]["key"], "one", "{when}: {name}");
            }
            assert!(world.fake.get(&path("new")).is_none(), "{when}");
            assert_eq!(world.inventory("shop").len(), 4, "{when}");
            if !stalled {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_bundle_begun_again_at_any_request_is_accounted_for() {
    for (how, shard_size) in SCHEDULES {
        for n in 0.. {
            let world = settled_world(shard_size).await;
            world.fake.stall_at(n, how);
            let first = world.assign("shop", &after());
            let stalled = died(&world, async || {
                world.synced("shop", first).await;
            })
            .await;
            let mut options = World::options();
            options.max_prune = "50%".into();
            let again = world.assign_with("shop", &after(), options);
            world.synced("shop", again).await;
            check_after(
                &world,
                &format!("{how:?} request {n}, shards of {shard_size}"),
            );
            if !stalled {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_removal_taken_back_at_any_request_leaves_everything() {
    for (how, shard_size) in SCHEDULES {
        for n in 0.. {
            let world = settled_world(shard_size).await;
            world.fake.stall_at(n, how);
            world.entomb("shop");
            let stalled = died(&world, async || {
                world.until("shop", |r| r.removed).await;
            })
            .await;
            let back = world.assign("shop", &before());
            world.synced("shop", back).await;
            let when = format!("{how:?} request {n}, shards of {shard_size}");
            nothing_leaked(&world, &when);
            assert_eq!(world.inventory("shop").len(), 4, "{when}");
            for name in ["keep", "change", "go", "stay"] {
                assert!(world.fake.get(&path(name)).is_some(), "{when}: {name}");
            }
            if !stalled {
                break;
            }
        }
    }
}

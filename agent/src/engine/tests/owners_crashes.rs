//! `kill -9` at every request of an adoption, a replacement and an approved
//! prune.

use std::collections::HashSet;

use lockstep_proto::v1::adopt;
use serde_json::{Value, json};

use super::crashes::{SCHEDULES, died, nothing_leaked};
use super::world::{World, config_map, path};

fn fixed(value: &str) -> Value {
    let mut object = config_map("fixed", "x");
    object["data"]["fixed"] = json!(value);
    object["metadata"]["annotations"] = json!({"lockstep.dev/replace": "OnImmutable"});
    object
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_request_of_a_replacement_leaves_the_new_object() {
    for (crash, shard_size) in SCHEDULES {
        for n in 0.. {
            let mut world = World::new();
            world.shard_size = shard_size;
            let first = world.assign("shop", &[fixed("one"), config_map("other", "x")]);
            world.start();
            world.synced("shop", first).await;
            world.fake.deleted();
            world.fake.crash_at(n, crash);
            let digest = world.assign("shop", &[fixed("two"), config_map("other", "x")]);
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
            nothing_leaked(&world, &when);
            let object = world.fake.get(&path("fixed")).unwrap();
            assert_eq!(object["data"]["fixed"], "two", "{when}");
            assert_eq!(world.fake.deleted(), [path("fixed")], "{when}");
            if !dead {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_request_of_an_adoption_takes_no_more_than_it_may() {
    for (crash, shard_size) in SCHEDULES {
        for n in 0.. {
            let mut world = World::new();
            world.shard_size = shard_size;
            world
                .fake
                .put("/api/v1/namespaces/shop", json!({"metadata": {}}));
            let plain = json!({"metadata": {}, "data": {"key": "old"}});
            world.fake.put(&path("plain"), plain);
            let helm = json!({"data": {"key": "theirs"}, "metadata": {
                "labels": {"app.kubernetes.io/managed-by": "Helm"},
                "annotations": {"meta.helm.sh/release-name": "web"}}});
            world.fake.put(&path("helm"), helm.clone());
            let mut options = World::options();
            options.adopt = adopt::Policy::IfUnowned.into();
            let objects = ["plain", "helm", "new"].map(|name| config_map(name, "ours"));
            world.fake.crash_at(n, crash);
            world.assign_with("shop", &objects, options.clone());
            world.start();
            let conflict = async |world: &World| {
                let done = |r: &lockstep_proto::v1::Report| {
                    r.message.contains("Helm release web owns it") && r.problems.len() == 1
                };
                world.until("shop", done).await;
                let lands = |fake: &super::fake::Fake| {
                    fake.get(&path("new")).is_some()
                        && fake.get(&path("plain")).unwrap()["data"]["key"] == "ours"
                };
                world.eventually("the rest lands", lands).await;
            };
            let dead = died(&world, async || conflict(&world).await).await;
            world.kill();
            world.fake.never_crash();
            let when = format!("{crash:?} request {n}, shards of {shard_size}");
            world.start();
            conflict(&world).await;
            assert_eq!(
                world.fake.get(&path("helm")).unwrap()["data"]["key"],
                "theirs",
                "{when}"
            );
            // Nobody wants it any more: what was adopted goes, what was not stays.
            options.max_prune = "100%".into();
            let rest = world.assign_with("shop", &objects[2..], options);
            world.synced("shop", rest).await;
            let deleted: HashSet<_> = world.fake.deleted().into_iter().collect();
            assert_eq!(deleted, HashSet::from([path("plain")]), "{when}");
            nothing_leaked(&world, &when);
            if !dead {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_request_of_an_approved_prune_removes_just_that() {
    for (crash, shard_size) in SCHEDULES {
        for n in 0.. {
            let mut world = World::new();
            world.shard_size = shard_size;
            let objects: Vec<_> = (0..6).map(|i| config_map(&format!("c{i}"), "x")).collect();
            let first = world.assign("shop", &objects);
            world.start();
            world.synced("shop", first).await;
            world.assign("shop", &objects[..2]);
            world.until("shop", |r| r.awaiting_approval == 4).await;
            world.fake.deleted();
            let mut approved = World::options();
            approved.prune_approved = true;
            world.fake.crash_at(n, crash);
            let digest = world.assign_with("shop", &objects[..2], approved);
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
            let deleted: HashSet<_> = world.fake.deleted().into_iter().collect();
            let expected = (2..6).map(|i| path(&format!("c{i}"))).collect();
            assert_eq!(deleted, expected, "{when}");
            assert_eq!(world.inventory("shop").len(), 2, "{when}");
            if !dead {
                break;
            }
        }
    }
}

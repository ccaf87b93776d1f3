//! Work in proportion to change.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::world::{Flavour, World, config_map};

fn maps(n: usize, value: &str) -> Vec<Value> {
    let map = |i| config_map(&format!("map-{i:04}"), value);
    (0..n).map(map).collect()
}

pub async fn one_changed_object_of_a_thousand_is_one_apply_request(flavour: Flavour) -> Result<()> {
    let world = World::start(flavour).await?;
    let mut objects = maps(1_000, "one");
    let begin = Instant::now();
    let first = world.assign("shop", &objects)?;
    let report = world.synced("shop", first).await?;
    ensure!(report.objects == 1_000, "{report:?}");
    tracing::info!("1,000 objects applied in {:?}", begin.elapsed());
    ensure!(world.metrics.requests("apply") == 1_000);

    objects[500] = config_map("map-0500", "two");
    let begin = Instant::now();
    let second = world.assign("shop", &objects)?;
    world
        .becomes(("v1 ConfigMap", "shop", "map-0500"), |object| {
            object.is_some_and(|object| object["data"]["key"] == "two")
        })
        .await?;
    tracing::info!("one of them changed in {:?}", begin.elapsed());
    world.synced("shop", second).await?;
    ensure!(world.metrics.requests("apply") == 1_001);
    Ok(())
}

pub async fn an_idle_agent_makes_no_request(flavour: Flavour) -> Result<()> {
    let mut world = World::start(flavour).await?;
    let digest = world.assign("shop", &maps(20, "one"))?;
    world.synced("shop", digest).await?;
    let verbs = [
        "apply", "dry-run", "get", "list", "create", "replace", "merge", "delete",
    ];
    let count = |world: &World| verbs.map(|verb| world.metrics.requests(verb));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = count(&world);
    tokio::time::sleep(Duration::from_secs(10)).await;
    ensure!(count(&world) == before, "{before:?} {:?}", count(&world));

    // A restart looks, and changes nothing.
    world.restart().await;
    world.synced("shop", digest).await?;
    for verb in ["apply", "dry-run", "create", "replace", "merge", "delete"] {
        ensure!(world.metrics.requests(verb) == 0, "{verb} after a restart");
    }
    Ok(())
}

pub async fn two_hundred_assignments_on_one_cluster(flavour: Flavour) -> Result<()> {
    let world = World::start(flavour).await?;
    let objects = |i: usize, value: &str| -> Vec<Value> {
        let map = |j| config_map(&format!("map-{i}-{j}"), value);
        (0..5).map(map).collect()
    };
    let begin = Instant::now();
    let mut digests = Vec::new();
    for i in 0..200 {
        digests.push(world.assign(&format!("unit-{i}"), &objects(i, "one"))?);
    }
    for (i, digest) in digests.iter().enumerate() {
        world.synced(&format!("unit-{i}"), *digest).await?;
    }
    tracing::info!(
        "200 assignments of 5 objects first applied in {:?}",
        begin.elapsed()
    );
    let before = world.metrics.requests("apply");
    ensure!(before == 1_000, "{before}");
    let begin = Instant::now();
    let digest = world.assign("unit-77", &objects(77, "two"))?;
    world.synced("unit-77", digest).await?;
    tracing::info!("one of them changed in {:?}", begin.elapsed());
    ensure!(world.metrics.requests("apply") == before + 5);
    Ok(())
}

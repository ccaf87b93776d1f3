//! The API server itself goes away.

use std::time::Duration;

use anyhow::{Result, ensure};
use lockstep_proto::v1::sync::Status as Sync;
use serde_json::Value;

use crate::world::{Flavour, World, config_map};

fn maps(n: usize, value: &str) -> Vec<Value> {
    let map = |i| config_map(&format!("map-{i:04}"), value);
    (0..n).map(map).collect()
}

pub async fn the_api_server_dies_in_the_middle_of_an_apply(flavour: Flavour) -> Result<()> {
    let mut world = World::start(flavour).await?;
    let digest = world.assign("shop", &maps(500, "one"))?;
    world.until("shop", |r| r.objects == 500).await?;
    while world.metrics.requests("apply") < 100 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.cluster()?.kill_api_server();
    let report = world.until("shop", |r| r.sync() == Sync::Failed).await?;
    ensure!(
        report.message.contains("cannot be reached"),
        "{}",
        report.message
    );
    world.cluster()?.start_api_server().await?;
    world.synced("shop", digest).await?;
    let selector = kube::api::ListParams::default().labels("lockstep.dev/assignment=shop");
    let all = world.api("v1 ConfigMap", "shop").list(&selector).await?;
    ensure!(all.items.len() == 500);
    Ok(())
}

pub async fn the_api_server_is_away_while_objects_are_deleted(flavour: Flavour) -> Result<()> {
    let mut world = World::start(flavour).await?;
    let digest = world.assign("shop", &maps(20, "one"))?;
    world.synced("shop", digest).await?;
    // The agent is away, too: nobody sees it happen.
    world.kill();
    world.delete("v1 ConfigMap", "shop", "map-0003").await?;
    world.cluster()?.kill_api_server();
    world.restart().await;
    world.cluster()?.start_api_server().await?;
    world.synced("shop", digest).await?;
    world.get("v1 ConfigMap", "shop", "map-0003").await?;

    // And while both run: everything that was watched is looked at again.
    world.cluster()?.kill_api_server();
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.cluster()?.start_api_server().await?;
    world.delete("v1 ConfigMap", "shop", "map-0004").await?;
    world
        .becomes(("v1 ConfigMap", "shop", "map-0004"), |object| {
            object.is_some()
        })
        .await
}

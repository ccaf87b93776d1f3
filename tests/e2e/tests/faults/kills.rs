//! `kill -9` of the hub and of agents at any point of a sync: then everything
//! converges, nothing is lost and nothing is deleted.

use std::time::Duration;

use lockstep_e2e::fixtures::GitRepository;
use lockstep_e2e::{Flavour, Result, SOON, World, bail, config_map, ensure, until};

/// So many ConfigMaps that a kill meets a sync half done.
const OBJECTS: usize = 60;

async fn commit(shop: &GitRepository, round: usize) -> Result<String> {
    let round_text = round.to_string();
    let mut files: Vec<(String, String)> = (0..OBJECTS)
        .map(|n| {
            let name = format!("item-{n}");
            (
                format!("deploy/{name}.yaml"),
                config_map(&name, "round", &round_text),
            )
        })
        .collect();
    // One object comes and goes with every round.
    let name = format!("only-{round}");
    files.push((format!("deploy/{name}.yaml"), config_map(&name, "k", "v")));
    if round > 0 {
        let last = shop.work().join(format!("deploy/only-{}.yaml", round - 1));
        std::fs::remove_file(last)?;
    }
    let files: Vec<_> = files
        .iter()
        .map(|(p, c)| (p.as_str(), c.as_str()))
        .collect();
    shop.commit(&format!("Round {round}"), &files).await
}

async fn is_whole(world: &World, round: usize) -> Result<()> {
    let eu = world.cluster("eu-1");
    for n in 0..OBJECTS {
        let name = format!("item-{n}");
        let value = eu.data("shop", &name, "round").await?;
        ensure!(value == Some(round.to_string()), "{name}: {value:?}");
    }
    let names = eu
        .names("v1 ConfigMap", "shop", "lockstep.dev/assignment=shop")
        .await?;
    let only: Vec<_> = names.iter().filter(|n| n.starts_with("only-")).collect();
    ensure!(
        only == [&format!("only-{round}")],
        "leaked or lost: {only:?}"
    );
    Ok(())
}

/// Kills at a moment spread over a sync, a different one each round.
async fn moment(round: usize) {
    let millis = [0, 40, 90, 150, 220, 300, 450, 700, 1_000, 1_500];
    tokio::time::sleep(Duration::from_millis(millis[round % millis.len()])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_at_any_point_of_a_sync_converges() -> Result<()> {
    let (mut world, shop) = World::with_shop(Flavour::Api).await?;
    let filled = commit(&shop, 0).await?;
    world.arrived("shop", &filled).await?;
    for round in 1..=8 {
        let revision = commit(&shop, round).await?;
        until("the hub wants it", SOON, async || {
            let row = world.row("eu-1", "shop").await?;
            ensure!(row["desiredRevision"] == *revision, "{row}");
            Ok(())
        })
        .await?;
        moment(round).await;
        world.agent("eu-1").restart()?;
        world.arrived("shop", &revision).await?;
        is_whole(&world, round).await?;
    }
    world
        .data_becomes("eu-1", ("shop", "two", "step"), Some("1"))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_killed_at_any_point_of_a_sync_converges() -> Result<()> {
    let (mut world, shop) = World::with_shop(Flavour::Api).await?;
    let filled = commit(&shop, 0).await?;
    world.arrived("shop", &filled).await?;
    for round in 1..=8 {
        let revision = commit(&shop, round).await?;
        moment(round * 2).await;
        world.hub.restart().await?;
        world.arrived("shop", &revision).await?;
        is_whole(&world, round).await?;
    }
    world
        .data_becomes("eu-1", ("shop", "two", "step"), Some("1"))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_and_agent_killed_together_converge() -> Result<()> {
    let (mut world, shop) = World::with_shop(Flavour::Api).await?;
    for round in 0..4 {
        let revision = commit(&shop, round).await?;
        moment(round * 3 + 2).await;
        world.hub.kill();
        world.agent("eu-1").kill();
        world.hub.spawn()?;
        world.agent("eu-1").restart()?;
        world.hub.ready().await?;
        world.arrived("shop", &revision).await?;
        is_whole(&world, round).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_hub_acknowledged_survives_its_death() -> Result<()> {
    let mut world = World::start().await?;
    for round in 0..10 {
        let cli = world.cli()?;
        let yaml = format!(
            "{{apiVersion: lockstep.dev/v1alpha1, kind: Cluster, \
             metadata: {{name: c-{round}, labels: {{round: r-{round}}}}}}}"
        );
        cli.apply(&yaml).await?;
        // Acknowledged an instant ago.
        world.hub.restart().await?;
        let cluster = world.cli()?.get("cluster", &format!("c-{round}")).await?;
        let label = &cluster["metadata"]["labels"]["round"];
        ensure!(label == &format!("r-{round}"), "{cluster}");
    }
    let list = world.cli()?.json(&["get", "clusters"]).await?;
    let Some(items) = list["items"].as_array() else {
        bail!("{list}");
    };
    ensure!(items.len() == 10, "{list}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_is_carried_out_though_everyone_dies_on_the_way() -> Result<()> {
    let (mut world, shop) = World::with_shop(Flavour::Api).await?;
    let filled = commit(&shop, 0).await?;
    world.arrived("shop", &filled).await?;
    world
        .cli()?
        .run(&["delete", "assignment", "shop"])
        .await?
        .ok()?;
    world.agent("eu-1").restart()?;
    moment(2).await;
    world.hub.kill();
    world.agent("eu-1").restart()?;
    moment(3).await;
    world.hub.restart().await?;
    let eu = world.cluster("eu-1");
    until("everything is removed", SOON, async || {
        let left = eu
            .names("v1 ConfigMap", "", "lockstep.dev/assignment=shop")
            .await?;
        ensure!(left.is_empty(), "{} left: {left:?}", left.len());
        Ok(())
    })
    .await?;
    let cli = world.cli()?;
    until("and forgotten", SOON, async || {
        let cluster = cli.get("cluster", "eu-1").await?;
        let rows = cluster["status"]["assignments"].as_array();
        ensure!(rows.is_none_or(Vec::is_empty), "{cluster}");
        Ok(())
    })
    .await
}

//! The hub, a cluster's API, or an agent is away for a while.

use lockstep_e2e::fixtures::Patience;
use lockstep_e2e::{Flavour, Result, SOON, World, config_map, ensure, json, rows_of, until};

#[tokio::test(flavor = "multi_thread")]
async fn while_the_hub_is_away_deleted_and_changed_objects_are_put_back() -> Result<()> {
    let (mut world, shop) = World::with_shop(Flavour::Api).await?;
    world.hub.kill();
    let eu = world.cluster("eu-1");
    eu.delete("v1 ConfigMap", "shop", "one").await?;
    world
        .data_becomes("eu-1", ("shop", "one", "step"), Some("1"))
        .await?;
    let edit = json!({"data": {"step": "by hand"}});
    eu.patch("v1 ConfigMap", "shop", "two", &edit).await?;
    world
        .data_becomes("eu-1", ("shop", "two", "step"), Some("1"))
        .await?;

    // Even an agent that starts without a hub works from its disk.
    world.agent("eu-1").kill();
    world
        .cluster("eu-1")
        .delete("v1 ConfigMap", "shop", "two")
        .await?;
    world.agent("eu-1").restart()?;
    world
        .data_becomes("eu-1", ("shop", "two", "step"), Some("1"))
        .await?;

    let missed = shop
        .commit(
            "Missed",
            &[("deploy/one.yaml", &config_map("one", "step", "2"))],
        )
        .await?;
    world.hub.restart().await?;
    world.arrived("shop", &missed).await?;
    world.connection("eu-1", "Online", SOON).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_went_away_is_offline_within_a_minute_and_its_state_is_marked() -> Result<()>
{
    let (mut world, shop) = World::with_shop(Flavour::Api).await?;
    let first = shop.head().await?;
    world.agent("eu-1").kill();
    world.agents.remove("eu-1");
    let cli = world.cli()?;
    world
        .connection("eu-1", "Offline", Patience::seconds(60))
        .await?;

    let next = shop
        .commit(
            "Not seen",
            &[("deploy/one.yaml", &config_map("one", "step", "2"))],
        )
        .await?;
    until("the new revision is wanted", SOON, async || {
        let row = world.row("eu-1", "shop").await?;
        ensure!(row["desiredRevision"] == *next, "{row}");
        Ok(())
    })
    .await?;
    let row = world.row("eu-1", "shop").await?;
    ensure!(
        row["stale"] == true && row["appliedRevision"] == *first,
        "{row}"
    );
    ensure!(
        row["observedAt"].as_str().is_some_and(|t| t.contains('T')),
        "{row}"
    );

    let assignment = cli.get("assignment", "shop").await?;
    let clusters = &assignment["status"]["clusters"];
    ensure!(
        clusters["offline"] == 1 && clusters["synced"] == 0,
        "{clusters}"
    );
    ensure!(clusters["unknown"] == 1, "{clusters}");

    let table = cli.run(&["status", "--exit-code"]).await?;
    ensure!(table.code == 3, "{table:?}");
    let rows = rows_of(&table.stdout);
    ensure!(rows[0]["CONN"] == "Offline", "{}", table.stdout);
    ensure!(rows[0]["HEALTH"].ends_with('*'), "{}", table.stdout);
    ensure!(
        table.stdout.contains("1 offline (* last known)"),
        "{}",
        table.stdout
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_dies_in_a_sync_and_returns_is_synced() -> Result<()> {
    let (mut world, shop) = World::with_shop(Flavour::Api).await?;
    for round in 0..3 {
        let value = format!("r{round}");
        let files: Vec<(String, String)> = (0..40)
            .map(|n| {
                let name = format!("item-{n}");
                (
                    format!("deploy/{name}.yaml"),
                    config_map(&name, "k", &value),
                )
            })
            .collect();
        let files: Vec<_> = files
            .iter()
            .map(|(p, c)| (p.as_str(), c.as_str()))
            .collect();
        let revision = shop.commit("Next", &files).await?;
        until("the hub wants it", SOON, async || {
            let row = world.row("eu-1", "shop").await?;
            ensure!(row["desiredRevision"] == *revision, "{row}");
            Ok(())
        })
        .await?;
        let cluster = world.clusters.get_mut("eu-1").expect("it joined");
        cluster.real()?.kill_api_server();
        cluster.real()?.start_api_server().await?;
        world.arrived("shop", &revision).await?;
        world
            .data_becomes("eu-1", ("shop", "item-39", "k"), Some(&value))
            .await?;
    }
    // The watches are back, too.
    world
        .cluster("eu-1")
        .delete("v1 ConfigMap", "shop", "one")
        .await?;
    world
        .data_becomes("eu-1", ("shop", "one", "step"), Some("1"))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_cluster_stays_one_bad_cluster() -> Result<()> {
    let (mut world, shop) = World::with_shop(Flavour::Api).await?;
    world.join("eu-2", &[("env", "prod")], Flavour::Api).await?;
    world.arrived("shop", &shop.head().await?).await?;
    let bad = world.clusters.get_mut("eu-2").expect("it joined");
    bad.real()?.kill_api_server();
    let next = shop
        .commit(
            "Next",
            &[("deploy/one.yaml", &config_map("one", "step", "2"))],
        )
        .await?;
    world
        .row_says(
            "eu-1",
            "shop",
            &[("sync", "Synced"), ("appliedRevision", &next)],
        )
        .await?;
    let row = until("the bad one says what is wrong", SOON, async || {
        let row = world.row("eu-2", "shop").await?;
        let said = row["message"].as_str().unwrap_or_default();
        ensure!(row["sync"] != "Synced" && !said.is_empty(), "{row}");
        Ok(row)
    })
    .await?;
    ensure!(row["appliedRevision"] != *next, "{row}");
    let bad = world.clusters.get_mut("eu-2").expect("it joined");
    bad.real()?.start_api_server().await?;
    world.arrived("shop", &next).await
}

//! `lockstep history`: who asked for what, when, and how it ended.

use lockstep_e2e::{
    Context, Flavour, Result, SOON, Value, World, config_map, ensure, rows_of, until,
};

use crate::shop::{declare, history, open, opened, run, step};

const STAY: [&str; 3] = ["--wait", "--timeout", "90s"];

/// Waits until the newest entries of `eu-1` are these: cause and revision.
async fn newest(world: &World, expected: &[(&str, &str)]) -> Result<Vec<Value>> {
    let what = format!("the history ends with {expected:?}");
    until(&what, SOON, async || {
        let items: Vec<_> = history(world)
            .await?
            .into_iter()
            .filter(|item| item["cluster"] == "eu-1" && item["cause"] != "Object")
            .collect();
        let got: Vec<_> = items
            .iter()
            .take(expected.len())
            .map(|item| {
                let text = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
                (text("cause"), text("revision"))
            })
            .collect();
        let same = got.len() == expected.len()
            && got
                .iter()
                .zip(expected)
                .all(|(got, want)| got.0 == want.0 && got.1 == want.1);
        ensure!(same, "{items:#?}");
        Ok(items)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_revision_says_who_asked_for_it_and_how_it_ended() -> Result<()> {
    let (world, shop, first) = opened(&[]).await?;
    let second = step(&shop, "2").await?;
    world.arrived("shop", &second).await?;
    run(&world, &[&["rollback", "shop"][..], &STAY].concat()).await?;
    run(&world, &["resume", "shop"]).await?;
    world.arrived("shop", &second).await?;
    let refused = config_map("Not_A_Name", "k", "v");
    let third = shop
        .commit("Refused", &[("deploy/bad.yaml", &refused)])
        .await?;
    world
        .row_says("eu-1", "shop", &[("sync", "Failed")])
        .await?;
    let items = newest(
        &world,
        &[
            ("Commit", &third),
            ("Resume", &second),
            ("Rollback", &first),
            ("Commit", &second),
        ],
    )
    .await?;
    until("it is told how the third goes", SOON, async || {
        let items = history(&world).await?;
        let now = items.iter().find(|item| item["revision"] == *third);
        let now = now.context("no third")?;
        ensure!(now["sync"] == "Failed" && now["endedAt"].is_null(), "{now}");
        ensure!(
            now["message"].as_str().is_some_and(|m| !m.is_empty()),
            "{now}"
        );
        Ok(())
    })
    .await?;
    for item in &items[1..4] {
        ensure!(
            item["sync"] == "Synced" && item["health"] == "Healthy",
            "{item}"
        );
        for time in ["at", "syncedAt", "endedAt"] {
            let text = item[time]
                .as_str()
                .with_context(|| format!("{time} of {item}"))?;
            ensure!(text.ends_with('Z'), "{text}");
        }
    }
    ensure!(
        items[0]["by"]
            .as_str()
            .is_some_and(|by| by.contains("Ada Fixture")),
        "{}",
        items[0]
    );
    for item in &items[1..3] {
        ensure!(item["by"] != "" && item["by"] != items[0]["by"], "{item}");
    }
    ensure!(items[3]["commit"]["subject"] == "Step 2", "{}", items[3]);

    let table = run(&world, &["history", "shop"]).await?;
    let header = table.lines().next().unwrap_or_default();
    for column in [
        "AT", "CLUSTER", "REVISION", "BY", "CAUSE", "SYNC", "HEALTH", "TOOK", "ENDED", "MESSAGE",
    ] {
        ensure!(header.contains(column), "{header}");
    }
    let rows = rows_of(&table);
    ensure!(
        rows.iter()
            .any(|row| row["CAUSE"] == "Rollback" && row["REVISION"] == first[..7]),
        "{table}"
    );
    let limited = world
        .cli()?
        .json(&["history", "shop", "--limit", "2"])
        .await?;
    ensure!(
        limited["items"].as_array().is_some_and(|i| i.len() == 2),
        "{limited}"
    );
    let wide = run(&world, &["history", "shop", "-o", "wide"]).await?;
    ensure!(wide.contains("Step 2"), "{wide}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_come_and_go_and_each_has_its_own_history() -> Result<()> {
    let (world, shop, first) = open(&["eu-1", "eu-2"], Flavour::Api).await?;
    declare(&world, &shop, &[]).await?;
    world.arrived("shop", &first).await?;
    run(&world, &["label", "cluster", "eu-2", "env=lab"]).await?;
    let second = step(&shop, "2").await?;
    world.arrived("shop", &second).await?;
    run(&world, &["label", "cluster", "eu-2", "env=prod"]).await?;
    until("eu-2 has it again", SOON, async || {
        let list = world
            .cli()?
            .json(&["history", "shop", "--cluster", "eu-2"])
            .await?;
        let items = list["items"].as_array().context("items")?;
        ensure!(items.iter().all(|item| item["cluster"] == "eu-2"), "{list}");
        let causes: Vec<_> = items.iter().filter_map(|i| i["cause"].as_str()).collect();
        ensure!(causes.first() == Some(&"Join"), "{causes:?}");
        ensure!(causes.contains(&"Leave"), "{causes:?}");
        ensure!(
            items[0]["revision"] == *second && items[0]["sync"] == "Synced",
            "{list}"
        );
        Ok(())
    })
    .await?;
    // A restart forgets nothing.
    let mut world = world;
    let before = history(&world).await?.len();
    world.hub.restart().await?;
    let after = history(&world).await?.len();
    ensure!(before == after, "{before} {after}");
    Ok(())
}

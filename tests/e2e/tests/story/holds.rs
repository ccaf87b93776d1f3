//! Modes, pins and pauses.

use lockstep_e2e::{Flavour, Result, SOON, ensure, json, until};

use crate::shop::{
    declare, open, opened, refused, row_becomes, run, stage_becomes, status, status_becomes, step,
    steps, table,
};

const STAY: [&str; 3] = ["--wait", "--timeout", "90s"];

#[tokio::test(flavor = "multi_thread")]
async fn in_manual_mode_the_first_revision_waits_too() -> Result<()> {
    let (world, shop, first) = open(&["eu-1"], Flavour::Api).await?;
    declare(&world, &shop, &["mode: Manual"]).await?;
    let status = status_becomes(&world, "it waits", |s| s["pending"]["revision"] == *first).await?;
    ensure!(status["pending"]["added"] == 1, "{status}");
    row_becomes(&world, "it is said", |row| {
        row["sync"] == "OutOfSync"
            && row["message"]
                .as_str()
                .is_some_and(|m| m.contains("lockstep sync shop"))
    })
    .await?;
    stage_becomes(&world, "manual", &["lockstep sync shop"]).await?;
    refused(
        &world,
        &["wait", "shop", "--timeout", "2s"],
        4,
        &["lockstep sync shop"],
    )
    .await?;
    let there = world.cluster("eu-1").data("shop", "one", "step").await?;
    ensure!(there.is_none(), "{there:?}");

    let said = run(&world, &[&["sync", "shop"][..], &STAY].concat()).await?;
    ensure!(said.contains(&first), "{said}");
    steps(&world, "1").await?;
    let (rows, _) = table(&world).await?;
    ensure!(
        rows[0]["SYNC"] == "Synced" && rows[0]["STAGE"] == "manual",
        "{rows:?}"
    );
    let output = world.cli()?.run(&["status", "--exit-code"]).await?;
    ensure!(output.code == 0, "{output:?}");

    // Two commits later one sync takes the newest, and looks for it first.
    step(&shop, "2").await?;
    let third = step(&shop, "3").await?;
    let said = run(&world, &[&["sync", "shop"][..], &STAY].concat()).await?;
    ensure!(said.contains(&third), "{said}");
    steps(&world, "3").await
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_takes_any_commit_of_the_repository_and_pins_to_it() -> Result<()> {
    let (world, shop, first) = opened(&[]).await?;
    let second = step(&shop, "2").await?;
    world.arrived("shop", &second).await?;

    // An older one of the branch, by its first digits.
    let older = ["sync", "shop", "--revision", &first[..7]];
    run(&world, &[&older[..], &STAY].concat()).await?;
    steps(&world, "1").await?;
    ensure!(status(&world).await?["pinned"]["revision"] == *first);
    stage_becomes(&world, "pinned", &["lockstep resume shop", &first[..7]]).await?;

    // One of a branch that nobody follows.
    shop.switch("feature").await?;
    let feature = step(&shop, "feature").await?;
    let elsewhere = ["sync", "shop", "--revision", &feature];
    run(&world, &[&elsewhere[..], &STAY].concat()).await?;
    steps(&world, "feature").await?;

    // None at all.
    let nowhere = "0123456789012345678901234567890123456789";
    refused(
        &world,
        &["sync", "shop", "--revision", nowhere],
        1,
        &[nowhere],
    )
    .await?;
    steps(&world, "feature").await?;

    // Without --revision it follows the ref again.
    run(&world, &[&["sync", "shop"][..], &STAY].concat()).await?;
    steps(&world, "2").await?;
    status_becomes(&world, "not pinned", |s| s["pinned"].is_null()).await?;
    stage_becomes(&world, "-", &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_holds_against_newer_commits_until_it_is_resumed() -> Result<()> {
    let (world, shop, first) = opened(&[]).await?;
    let second = step(&shop, "2").await?;
    world.arrived("shop", &second).await?;
    let said = run(&world, &[&["rollback", "shop"][..], &STAY].concat()).await?;
    ensure!(said.contains(&first), "{said}");
    steps(&world, "1").await?;
    let output = world.cli()?.run(&["status", "--exit-code"]).await?;
    ensure!(output.code == 0, "{output:?}");

    let third = step(&shop, "3").await?;
    let status = status_becomes(&world, "the third waits", |s| {
        s["pending"]["revision"] == *third
    })
    .await?;
    ensure!(status["revision"] == *first, "{status}");
    steps(&world, "1").await?;
    let row = world.row("eu-1", "shop").await?;
    ensure!(
        row["sync"] == "Synced" && row["pinned"] == true && row["desiredRevision"] == *first,
        "{row}"
    );

    run(&world, &["resume", "shop"]).await?;
    world.arrived("shop", &third).await?;
    steps(&world, "3").await?;
    stage_becomes(&world, "-", &[]).await?;

    // To one that is named, and to one that never was.
    run(
        &world,
        &[&["rollback", "shop", "--to", &first[..8]][..], &STAY].concat(),
    )
    .await?;
    steps(&world, "1").await?;
    refused(
        &world,
        &["rollback", "shop", "--to", "fffffff"],
        1,
        &["fffffff"],
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn in_manual_mode_a_resume_goes_back_to_what_was_released() -> Result<()> {
    let (world, shop, first) = opened(&["mode: Manual"]).await?;
    let second = step(&shop, "2").await?;
    run(&world, &[&["sync", "shop"][..], &STAY].concat()).await?;
    steps(&world, "2").await?;
    let third = step(&shop, "3").await?;
    status_becomes(&world, "the third waits", |s| {
        s["pending"]["revision"] == *third
    })
    .await?;
    run(&world, &[&["rollback", "shop"][..], &STAY].concat()).await?;
    steps(&world, "1").await?;
    ensure!(status(&world).await?["pinned"]["revision"] == *first);
    run(&world, &["resume", "shop"]).await?;
    steps(&world, "2").await?;
    let row = row_becomes(&world, "the third waits again", |row| {
        row["sync"] == "OutOfSync" && row["desiredRevision"] == *third
    })
    .await?;
    ensure!(row["appliedRevision"] == *second, "{row}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_stops_changes_and_not_observation() -> Result<()> {
    let (world, shop, first) = opened(&[]).await?;
    run(&world, &["pause", "shop"]).await?;
    stage_becomes(&world, "paused", &["paused by", "lockstep resume shop"]).await?;
    let row = row_becomes(&world, "paused", |row| row["paused"] == true).await?;
    ensure!(row["appliedRevision"] == *first, "{row}");
    for arguments in [
        &["get", "assignments"][..],
        &["describe", "assignment", "shop"],
        &["describe", "cluster", "eu-1"],
    ] {
        let said = run(&world, arguments).await?.to_lowercase();
        ensure!(said.contains("paused"), "{arguments:?}: {said}");
    }

    // A commit waits.
    let second = step(&shop, "2").await?;
    status_becomes(&world, "the second waits", |s| {
        s["pending"]["revision"] == *second
    })
    .await?;
    refused(&world, &["sync", "shop"], 1, &["lockstep resume shop"]).await?;

    // Drift is seen and stays.
    let eu = world.cluster("eu-1");
    let by_hand = json!({"data": {"step": "by hand"}});
    eu.patch("v1 ConfigMap", "shop", "one", &by_hand).await?;
    row_becomes(&world, "the drift is shown", |row| row["drifted"] == 1).await?;
    ensure!(eu.data("shop", "one", "step").await?.as_deref() == Some("by hand"));

    run(&world, &["resume", "shop"]).await?;
    world.arrived("shop", &second).await?;
    steps(&world, "2").await?;
    stage_becomes(&world, "-", &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_survives_a_restart_of_hub_and_agent() -> Result<()> {
    let (mut world, shop, _first) = opened(&[]).await?;
    run(&world, &["pause", "shop"]).await?;
    row_becomes(&world, "paused", |row| row["paused"] == true).await?;
    world.hub.restart().await?;
    world.agent("eu-1").restart()?;
    world.connection("eu-1", "Online", SOON).await?;
    let second = step(&shop, "2").await?;
    status_becomes(&world, "the second waits", |s| {
        s["pending"]["revision"] == *second && !s["paused"].is_null()
    })
    .await?;
    steps(&world, "1").await?;
    run(&world, &["resume", "shop"]).await?;
    world.arrived("shop", &second).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_what_cannot_arrive_is_told_by_the_exit_code() -> Result<()> {
    let (mut world, shop, _first) = opened(&[]).await?;
    world.agent("eu-1").kill();
    let second = step(&shop, "2").await?;
    until("the hub has seen it", SOON, async || {
        ensure!(status(&world).await?["revision"] == *second);
        Ok(())
    })
    .await?;
    let arguments = ["sync", "shop", "--wait", "--timeout", "2s"];
    refused(&world, &arguments, 4, &["timed out", "shop"]).await?;
    let output = world.cli()?.run(&arguments).await?;
    ensure!(output.stdout.contains(&second), "{output:?}");
    for command in ["sync", "rollback", "pause", "resume", "approve", "history"] {
        refused(&world, &[command, "nobody"], 1, &["nobody"]).await?;
    }
    refused(&world, &["diff", "nobody"], 2, &["nobody"]).await?;
    refused(&world, &["sync"], 2, &["Usage"]).await?;
    refused(&world, &["sync", "shop", "--timeout", "soon"], 2, &["soon"]).await?;
    refused(&world, &["history", "shop", "-o", "name"], 2, &["name"]).await?;
    Ok(())
}

//! Removals of more than maxPrune wait for a person.

use lockstep_e2e::{Context, Result, config_map, ensure};

use crate::shop::{
    config_maps, opened, refused, row_becomes, run, stage_becomes, status_becomes, steps,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_large_removal_waits_for_approval_and_asks_anew_for_the_next_one() -> Result<()> {
    let (world, shop, _first) = opened(&[]).await?;
    refused(&world, &["approve", "shop"], 1, &["shop", "approv"]).await?;
    let many = shop
        .commit("Ten", &[("deploy/many.yaml", &config_maps(10))])
        .await?;
    world.arrived("shop", &many).await?;

    // Four of eleven are more than a fifth. What is new arrives all the same.
    let fewer = shop
        .commit(
            "Six, and a new one",
            &[
                ("deploy/many.yaml", &config_maps(6)),
                ("deploy/one.yaml", &config_map("one", "step", "2")),
            ],
        )
        .await?;
    let row = row_becomes(&world, "four wait", |row| row["awaitingApproval"] == 4).await?;
    ensure!(row["sync"] != "Synced", "{row}");
    let said = row["message"].as_str().context("a message")?;
    ensure!(said.contains("lockstep approve shop"), "{said}");
    status_becomes(&world, "one cluster waits", |s| s["awaitingApproval"] == 1).await?;
    stage_becomes(&world, "approve", &["4 objects", "lockstep approve shop"]).await?;
    for arguments in [
        &["get", "assignments"][..],
        &["describe", "assignment", "shop"],
        &["describe", "cluster", "eu-1"],
    ] {
        let said = run(&world, arguments).await?;
        ensure!(
            said.contains("lockstep approve shop"),
            "{arguments:?}: {said}"
        );
    }
    steps(&world, "2").await?;
    let eu = world.cluster("eu-1");
    ensure!(eu.data("shop", "cm-9", "number").await?.is_some());

    run(&world, &["approve", "shop"]).await?;
    world.arrived("shop", &fewer).await?;
    ensure!(eu.data("shop", "cm-9", "number").await?.is_none());
    ensure!(eu.data("shop", "cm-5", "number").await?.is_some());
    stage_becomes(&world, "-", &[]).await?;
    refused(&world, &["approve", "shop"], 1, &["shop"]).await?;

    // The approval was for that revision alone.
    shop.commit("Two", &[("deploy/many.yaml", &config_maps(2))])
        .await?;
    row_becomes(&world, "four wait again", |row| {
        row["awaitingApproval"] == 4
    })
    .await?;
    ensure!(eu.data("shop", "cm-5", "number").await?.is_some());

    // Put back in Git, nothing waits any more.
    let back = shop
        .commit("Six again", &[("deploy/many.yaml", &config_maps(6))])
        .await?;
    world.arrived("shop", &back).await?;
    row_becomes(&world, "nothing waits", |row| row["awaitingApproval"] == 0).await?;
    stage_becomes(&world, "-", &[]).await
}

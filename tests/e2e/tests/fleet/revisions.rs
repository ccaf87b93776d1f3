//! What a new commit does to clusters: as much as it changed, no more.

use lockstep_e2e::{Assignment, Flavour, Result, SOON, World, config_map, ensure, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_outside_the_path_touches_no_cluster() -> Result<()> {
    let (world, shop) = World::with_shop(Flavour::Api).await?;
    let eu = world.cluster("eu-1");
    let before = eu.fingerprint("v1 ConfigMap", "").await?;
    let row = world.row("eu-1", "shop").await?;

    let readme = shop.commit("Words", &[("README.md", "Hello\n")]).await?;
    let cli = world.cli()?;
    until("the hub has seen it", SOON, async || {
        let assignment = cli.get("assignment", "shop").await?;
        ensure!(assignment["status"]["revision"] == *readme, "{assignment}");
        Ok(())
    })
    .await?;
    // The same content is the same Bundle: the new revision is there already.
    world.arrived("shop", &readme).await?;
    let after = world.row("eu-1", "shop").await?;
    ensure!(after["appliedDigest"] == row["appliedDigest"], "{after}");
    ensure!(
        eu.fingerprint("v1 ConfigMap", "").await? == before,
        "something was written"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_file_is_pruned_but_not_more_than_the_allowed_share() -> Result<()> {
    let (world, shop) = World::with_shop(Flavour::Api).await?;
    let many: Vec<(String, String)> = (0..10)
        .map(|n| {
            let name = format!("many-{n}");
            (format!("deploy/{name}.yaml"), config_map(&name, "k", "v"))
        })
        .collect();
    let files: Vec<_> = many.iter().map(|(p, c)| (p.as_str(), c.as_str())).collect();
    let filled = shop.commit("Twelve", &files).await?;
    world.arrived("shop", &filled).await?;

    let fewer = shop
        .remove("Two of twelve", &["deploy/one.yaml", "deploy/many-0.yaml"])
        .await?;
    world.arrived("shop", &fewer).await?;
    world
        .data_becomes("eu-1", ("shop", "one", "step"), None)
        .await?;
    world
        .data_becomes("eu-1", ("shop", "many-0", "k"), None)
        .await?;

    // Half of what is left, in one commit: a mistake until a person says otherwise.
    let half: Vec<_> = (1..6).map(|n| format!("deploy/many-{n}.yaml")).collect();
    let half: Vec<_> = half.iter().map(String::as_str).collect();
    let bold = shop.remove("Half of ten", &half).await?;
    let row = world
        .row_says("eu-1", "shop", &[("desiredRevision", &bold)])
        .await?;
    ensure!(row["name"] == "shop", "{row}");
    let row = until("the refused prune is explained", SOON, async || {
        let row = world.row("eu-1", "shop").await?;
        let said = row["message"].as_str().unwrap_or_default().to_lowercase();
        ensure!(said.contains("prune") && said.contains('5'), "{row}");
        Ok(row)
    })
    .await?;
    ensure!(row["sync"] != "Synced", "{row}");
    let eu = world.cluster("eu-1");
    for n in 1..6 {
        let kept = eu.data("shop", &format!("many-{n}"), "k").await?;
        ensure!(kept.is_some(), "many-{n} was pruned");
    }

    // The person says otherwise.
    let allowed = Assignment {
        sync: &["maxPrune: 50%"],
        ..Assignment::new("shop")
    };
    world.cli()?.apply(&allowed.yaml()).await?;
    world.arrived("shop", &bold).await?;
    world
        .data_becomes("eu-1", ("shop", "many-1", "k"), None)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_prune_what_is_removed_from_git_stays_on_the_cluster() -> Result<()> {
    let (world, shop) = World::with_shop(Flavour::Api).await?;
    let keeping = Assignment {
        sync: &["prune: false"],
        ..Assignment::new("shop")
    };
    world.cli()?.apply(&keeping.yaml()).await?;
    let without = shop.remove("Without one", &["deploy/one.yaml"]).await?;
    until("the hub has seen it", SOON, async || {
        let row = world.row("eu-1", "shop").await?;
        ensure!(row["appliedRevision"] == *without, "{row}");
        Ok(())
    })
    .await?;
    world
        .data_becomes("eu-1", ("shop", "one", "step"), Some("1"))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_tags_and_commits_are_followed_as_written() -> Result<()> {
    let (world, shop) = World::with_shop(Flavour::Api).await?;
    let cli = world.cli()?;
    let first = shop.head().await?;
    shop.tag("v1").await?;
    let on_main = shop
        .commit(
            "Two",
            &[("deploy/one.yaml", &config_map("one", "step", "2"))],
        )
        .await?;
    world.arrived("shop", &on_main).await?;
    shop.switch("stable").await?;
    let on_stable = shop
        .commit(
            "Stable",
            &[("deploy/one.yaml", &config_map("one", "step", "s"))],
        )
        .await?;

    let follow = async |reference: &str| {
        let assignment = Assignment {
            reference,
            ..Assignment::new("shop")
        };
        cli.apply(&assignment.yaml()).await
    };
    follow("branch: stable").await?;
    world.arrived("shop", &on_stable).await?;
    world
        .data_becomes("eu-1", ("shop", "one", "step"), Some("s"))
        .await?;
    follow("tag: v1").await?;
    world.arrived("shop", &first).await?;
    world
        .data_becomes("eu-1", ("shop", "one", "step"), Some("1"))
        .await?;
    follow(&format!("commit: {on_main}")).await?;
    world.arrived("shop", &on_main).await?;
    world
        .data_becomes("eu-1", ("shop", "one", "step"), Some("2"))
        .await?;

    // A tag that moved is followed; one that never was is an error, and changes nothing.
    follow("tag: v1").await?;
    world.arrived("shop", &first).await?;
    shop.tag("v1").await?;
    world.arrived("shop", &on_stable).await?;
    follow("tag: v9").await?;
    world.assignment_says("shop", "v9").await?;
    world
        .data_becomes("eu-1", ("shop", "one", "step"), Some("s"))
        .await
}

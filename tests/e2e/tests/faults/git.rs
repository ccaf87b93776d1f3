//! A remote that fails in every way we know: nothing changes on any cluster,
//! the status says why, no other repository is disturbed, and all is well
//! again when the remote is.

use lockstep_e2e::fixtures::{Fault, GitRepository};
use lockstep_e2e::{
    Assignment, Flavour, Result, SOON, World, config_map, ensure, repository, until,
};

/// Another repository and Assignment in the same world, which must not notice.
async fn bystander(world: &World) -> Result<GitRepository> {
    let other = world.git.repository("other").await?;
    let revision = other
        .commit("First", &[("deploy/x.yaml", &config_map("x", "step", "1"))])
        .await?;
    let yaml = repository("other", other.url()) + &Assignment::new("other").yaml();
    world.cli()?.apply(&yaml).await?;
    world.arrived("other", &revision).await?;
    Ok(other)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_remote_changes_nothing_says_why_and_recovers() -> Result<()> {
    let (world, shop) = World::with_shop(Flavour::Api).await?;
    let other = bystander(&world).await?;
    let eu = world.cluster("eu-1");
    for (step, (fault, word)) in [
        (Fault::Status(500), "500"),
        (Fault::Status(403), "403"),
        (Fault::Status(404), "404"),
        (Fault::Html, ""),
        (Fault::Truncate(100), ""),
    ]
    .into_iter()
    .enumerate()
    {
        let before = eu.fingerprint("v1 ConfigMap", "shop").await?;
        world.git.fault("shop", Some(fault));
        let value = format!("after-{step}");
        let next = shop
            .commit(
                "Next",
                &[("deploy/one.yaml", &config_map("one", "step", &value))],
            )
            .await?;
        let cli = world.cli()?;
        until("the repository says why", SOON, async || {
            let repository = cli.get("repository", "shop").await?;
            let said = repository["status"]["message"].as_str().unwrap_or_default();
            ensure!(
                !said.is_empty() && said.contains(word),
                "{fault:?}: {repository}"
            );
            Ok(())
        })
        .await?;
        let row = world.row("eu-1", "shop").await?;
        ensure!(row["sync"] == "Synced", "{fault:?}: {row}");
        ensure!(
            eu.fingerprint("v1 ConfigMap", "shop").await? == before,
            "{fault:?}"
        );

        let theirs = other
            .commit(
                "Next",
                &[("deploy/x.yaml", &config_map("x", "step", &value))],
            )
            .await?;
        world.arrived("other", &theirs).await?;

        world.git.fault("shop", None);
        world.arrived("shop", &next).await?;
        world.repository_says("shop", "").await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_that_hangs_or_is_gone_disturbs_nobody() -> Result<()> {
    let (mut world, shop) = World::with_shop(Flavour::Api).await?;
    let other = bystander(&world).await?;
    world.git.fault("shop", Some(Fault::Hang));
    let value = "while-hanging";
    let next = shop
        .commit(
            "Next",
            &[("deploy/one.yaml", &config_map("one", "step", value))],
        )
        .await?;
    let theirs = other
        .commit(
            "Next",
            &[("deploy/x.yaml", &config_map("x", "step", value))],
        )
        .await?;
    world.arrived("other", &theirs).await?;
    let row = world.row("eu-1", "shop").await?;
    ensure!(row["sync"] == "Synced", "{row}");
    world.git.fault("shop", None);
    // The hanging call is given up by itself.
    world.arrived("shop", &next).await?;

    // Nobody listens at all.
    world.git.vanish().await;
    let before = world
        .cluster("eu-1")
        .fingerprint("v1 ConfigMap", "")
        .await?;
    for name in ["shop", "other"] {
        let cli = world.cli()?;
        until("both say so", SOON, async || {
            let repository = cli.get("repository", name).await?;
            let said = repository["status"]["message"].as_str().unwrap_or_default();
            ensure!(!said.is_empty(), "{repository}");
            Ok(())
        })
        .await?;
    }
    let after = world
        .cluster("eu-1")
        .fingerprint("v1 ConfigMap", "")
        .await?;
    ensure!(before == after, "the cluster was touched");
    let last = shop
        .commit(
            "Last",
            &[("deploy/one.yaml", &config_map("one", "step", "last"))],
        )
        .await?;
    world.git.listen().await?;
    world.arrived("shop", &last).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_vanishes_and_returns_deletes_nothing() -> Result<()> {
    let (world, shop) = World::with_shop(Flavour::Api).await?;
    let eu = world.cluster("eu-1");
    let before = eu.fingerprint("v1 ConfigMap", "").await?;
    shop.vanish()?;
    let cli = world.cli()?;
    until("it says so", SOON, async || {
        let repository = cli.get("repository", "shop").await?;
        let said = repository["status"]["message"].as_str().unwrap_or_default();
        ensure!(!said.is_empty(), "{repository}");
        Ok(())
    })
    .await?;
    // An object that a person deletes meanwhile comes back all the same.
    eu.delete("v1 ConfigMap", "shop", "one").await?;
    world
        .data_becomes("eu-1", ("shop", "one", "step"), Some("1"))
        .await?;
    ensure!(eu.fingerprint("v1 ConfigMap", "").await?.len() == before.len());
    shop.reappear()?;
    world.repository_says("shop", "").await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_is_rewritten_is_followed_and_one_that_is_gone_changes_nothing() -> Result<()>
{
    let (world, shop) = World::with_shop(Flavour::Api).await?;
    let first = shop.head().await?;
    let dropped = shop
        .commit(
            "To be dropped",
            &[("deploy/three.yaml", &config_map("three", "k", "v"))],
        )
        .await?;
    world.arrived("shop", &dropped).await?;
    shop.reset(&first).await?;
    let rewritten = shop
        .commit(
            "Instead",
            &[("deploy/one.yaml", &config_map("one", "step", "r"))],
        )
        .await?;
    world.arrived("shop", &rewritten).await?;
    world
        .data_becomes("eu-1", ("shop", "one", "step"), Some("r"))
        .await?;
    world
        .data_becomes("eu-1", ("shop", "three", "k"), None)
        .await?;

    let before = world
        .cluster("eu-1")
        .fingerprint("v1 ConfigMap", "")
        .await?;
    shop.switch("elsewhere").await?;
    shop.commit("Elsewhere", &[("README", "x")]).await?;
    shop.delete_ref("main").await?;
    world.assignment_says("shop", "main").await?;
    let after = world
        .cluster("eu-1")
        .fingerprint("v1 ConfigMap", "")
        .await?;
    ensure!(before == after, "the cluster was touched");
    shop.switch("main").await?;
    let back = shop
        .commit(
            "Back",
            &[("deploy/one.yaml", &config_map("one", "step", "b"))],
        )
        .await?;
    world.arrived("shop", &back).await?;
    world.assignment_says("shop", "").await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_commit_wins_over_a_broken_one() -> Result<()> {
    let (world, shop) = World::with_shop(Flavour::Api).await?;
    // Valid YAML that the API server refuses.
    let refused = "
apiVersion: v1
kind: ConfigMap
metadata: {name: Not_A_Name}
";
    let bad = shop
        .commit("Refused", &[("deploy/bad.yaml", refused)])
        .await?;
    let row = world
        .row_says(
            "eu-1",
            "shop",
            &[("sync", "Failed"), ("desiredRevision", &bad)],
        )
        .await?;
    let words = row.to_string();
    ensure!(words.contains("Not_A_Name"), "the object is named: {row}");
    let good = shop.remove("Mended", &["deploy/bad.yaml"]).await?;
    world.arrived("shop", &good).await?;
    let row = world.row("eu-1", "shop").await?;
    ensure!(
        row["problems"].as_array().is_none_or(Vec::is_empty),
        "{row}"
    );
    Ok(())
}

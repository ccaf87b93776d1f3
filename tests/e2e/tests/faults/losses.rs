//! A disk is lost, or comes back older than it was. What is missing is never
//! taken for what should be removed.

use std::path::Path;

use lockstep_e2e::fixtures::{Agent, Scratch};
use lockstep_e2e::{Assignment, Context, Flavour, Result, SOON, World, config_map, ensure, until};

/// Copies a folder of files and folders.
fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("list {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_restored_from_a_backup_deletes_nothing_and_catches_up() -> Result<()> {
    let (mut world, shop) = World::with_shop(Flavour::Api).await?;
    // The backup knows `shop` at its first commit, and nothing else.
    let status = world.hub.terminate().await?;
    ensure!(status.success(), "{status}");
    let backup = Scratch::new("backup")?;
    copy(world.hub.data_dir(), &backup.join("data"))?;
    world.hub.restart().await?;

    // Life goes on: three commits, and an Assignment that the backup lacks.
    for step in ["2", "3", "4"] {
        let revision = shop
            .commit(
                "Next",
                &[("deploy/one.yaml", &config_map("one", "step", step))],
            )
            .await?;
        world.arrived("shop", &revision).await?;
    }
    let last = shop
        .commit(
            "Another folder",
            &[("later/x.yaml", &config_map("x", "k", "v"))],
        )
        .await?;
    let later = Assignment {
        repository: "shop",
        path: "later",
        ..Assignment::new("later")
    };
    world.cli()?.apply(&later.yaml()).await?;
    world.arrived("later", &last).await?;

    world.hub.terminate().await?;
    std::fs::remove_dir_all(world.hub.data_dir())?;
    copy(&backup.join("data"), world.hub.data_dir())?;
    world.hub.restart().await?;
    world.connection("eu-1", "Online", SOON).await?;
    world.arrived("shop", &last).await?;

    // It goes on delivering: its versions are above what the agent holds.
    let next = shop
        .commit(
            "After",
            &[("deploy/one.yaml", &config_map("one", "step", "5"))],
        )
        .await?;
    world.arrived("shop", &next).await?;
    world
        .data_becomes("eu-1", ("shop", "one", "step"), Some("5"))
        .await?;
    // The hub has never heard of it: no reason to remove it.
    world
        .data_becomes("eu-1", ("later", "x", "k"), Some("v"))
        .await?;
    world.cli()?.apply(&later.yaml()).await?;
    world.arrived("later", &next).await?;
    world
        .data_becomes("eu-1", ("later", "x", "k"), Some("v"))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_lost_its_disk_joins_anew_and_knows_what_it_had_applied() -> Result<()> {
    let (mut world, shop) = World::with_shop(Flavour::Api).await?;
    let before = world
        .cluster("eu-1")
        .fingerprint("v1 ConfigMap", "shop")
        .await?;
    // While nobody looks, a file is removed from Git and another changes.
    world.agents.remove("eu-1");
    shop.write("deploy/one.yaml", config_map("one", "step", "2").as_bytes())?;
    let missed = shop.remove("Missed", &["deploy/two.yaml"]).await?;

    let kubeconfig = world.cluster("eu-1").kubeconfig().to_owned();
    let agent = Agent::join(&world.hub, "eu-1", &[("env", "prod")], &kubeconfig).await?;
    world.agents.insert("eu-1".to_owned(), agent);
    world.arrived("shop", &missed).await?;
    world
        .data_becomes("eu-1", ("shop", "one", "step"), Some("2"))
        .await?;
    world
        .data_becomes("eu-1", ("shop", "two", "step"), None)
        .await?;
    // The object is the same one, changed: not made anew.
    let uid = before[0].split(' ').nth(2).context("a uid")?;
    let after = world
        .cluster("eu-1")
        .fingerprint("v1 ConfigMap", "shop")
        .await?;
    ensure!(
        after.len() == 1 && after[0].contains(uid),
        "{before:?} {after:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_that_are_lost_are_fetched_again() -> Result<()> {
    let (mut world, shop) = World::with_shop(Flavour::Api).await?;
    let before = world
        .cluster("eu-1")
        .fingerprint("v1 ConfigMap", "")
        .await?;
    world.hub.kill();
    std::fs::remove_dir_all(world.hub.data_dir().join("git"))?;
    // And the remote is away, too: there is nothing to fetch from.
    world.git.vanish().await;
    world.hub.restart().await?;
    world.connection("eu-1", "Online", SOON).await?;
    let cli = world.cli()?;
    until("the hub has noticed", SOON, async || {
        let repository = cli.get("repository", "shop").await?;
        let said = repository["status"]["message"].as_str().unwrap_or_default();
        ensure!(!said.is_empty(), "{repository}");
        Ok(())
    })
    .await?;
    let after = world
        .cluster("eu-1")
        .fingerprint("v1 ConfigMap", "")
        .await?;
    ensure!(before == after, "the cluster was touched");

    world.git.listen().await?;
    let next = shop
        .commit(
            "Next",
            &[("deploy/one.yaml", &config_map("one", "step", "2"))],
        )
        .await?;
    world.arrived("shop", &next).await
}

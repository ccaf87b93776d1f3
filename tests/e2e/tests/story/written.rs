//! The story as it is told, on a cluster with controllers and kwok.

use lockstep_e2e::fixtures::{Tool, Tools};
use lockstep_e2e::{
    Assignment, Context, Flavour, Result, SOON, World, config_map, ensure, group, json, repository,
    until,
};
use tokio::process::Command;

use crate::shop::{history, row_becomes, run, stage_becomes, status_becomes, web};

const DEPLOYMENT: &str = "apps/v1 Deployment";
const STAY: [&str; 3] = ["--wait", "--timeout", "120s"];

/// Three pods of the Deployment run this version, and no other pod does.
async fn rolled(world: &World, version: &str) -> Result<()> {
    let eu = world.cluster("eu-1");
    let image = format!("registry.example.com/web:{version}");
    let what = format!("three pods run {version}");
    until(&what, SOON, async || {
        let pods = eu.names("v1 Pod", "shop", "app=web").await?;
        ensure!(pods.len() == 3, "{pods:?}");
        for pod in pods {
            let pod = eu.get("v1 Pod", "shop", &pod).await?;
            ensure!(pod["spec"]["containers"][0]["image"] == *image, "{pod}");
            ensure!(pod["status"]["phase"] == "Running", "{pod}");
        }
        Ok(())
    })
    .await
}

async fn steer(world: &World, arguments: &[&str]) -> Result<String> {
    run(world, &[arguments, &STAY].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_first_version_to_the_last() -> Result<()> {
    let mut world = World::start().await?;
    world
        .join("eu-1", &[("env", "prod")], Flavour::Full)
        .await?;
    let eu = world.cluster("eu-1");
    let namespace = json!({"metadata": {"name": "shop", "labels": {"team": "blue"}}});
    eu.create("v1 Namespace", "", namespace).await?;
    let theirs = json!({"metadata": {"name": "theirs"}, "data": {"k": "v"}});
    eu.create("v1 ConfigMap", "shop", theirs).await?;
    let found = eu.get("v1 Namespace", "", "shop").await?;

    // A Deployment of 3 replicas at v0.5.0 from Git.
    let shop = world.git.repository("shop").await?;
    let settings = config_map("settings", "greeting", "hello");
    let first = shop
        .commit(
            "v0.5.0",
            &[
                ("deploy/web.yaml", &web("v0.5.0")),
                ("deploy/settings.yaml", &settings),
            ],
        )
        .await?;
    let assignment = |sync: &'static [&'static str]| Assignment {
        sync,
        ..Assignment::new("shop")
    };
    let yaml = [
        repository("shop", shop.url()),
        group("prod", "env", "prod"),
        assignment(&["mode: Auto"]).yaml(),
    ];
    world.cli()?.apply(&yaml.concat()).await?;
    world.wait("shop", "healthy", &first).await?;
    rolled(&world, "v0.5.0").await?;

    // Commit v0.6.0 in manual mode: OutOfSync shown.
    world
        .cli()?
        .apply(&assignment(&["mode: Manual"]).yaml())
        .await?;
    let second = shop
        .commit("v0.6.0", &[("deploy/web.yaml", &web("v0.6.0"))])
        .await?;
    let row = row_becomes(&world, "v0.6.0 waits", |row| {
        row["sync"] == "OutOfSync" && row["desiredRevision"] == *second
    })
    .await?;
    ensure!(row["appliedRevision"] == *first, "{row}");
    let said = row["message"].as_str().unwrap_or_default();
    for word in ["lockstep sync shop", "changed apps/v1 Deployment"] {
        ensure!(said.contains(word), "no {word:?} in {row}");
    }
    let status = status_becomes(&world, "pending", |s| s["pending"]["changed"] == 1).await?;
    ensure!(status["pending"]["revision"] == *second, "{status}");
    stage_becomes(&world, "manual", &[&second[..7], "lockstep sync shop"]).await?;
    rolled(&world, "v0.5.0").await?;

    // sync: rolled, Healthy.
    steer(&world, &["sync", "shop"]).await?;
    rolled(&world, "v0.6.0").await?;
    let healthy = [
        ("sync", "Synced"),
        ("health", "Healthy"),
        ("appliedRevision", second.as_str()),
    ];
    world.row_says("eu-1", "shop", &healthy).await?;

    // rollback: v0.5.0 runs, pinned and said so.
    let said = steer(&world, &["rollback", "shop"]).await?;
    ensure!(said.contains(&first), "{said}");
    rolled(&world, "v0.5.0").await?;
    let status = status_becomes(&world, "pinned", |s| s["pinned"]["revision"] == *first).await?;
    ensure!(status["pinned"]["by"] != "", "{status}");
    let row = world.row("eu-1", "shop").await?;
    ensure!(row["pinned"] == true && row["sync"] == "Synced", "{row}");
    stage_becomes(&world, "pinned", &["pinned to", "lockstep resume shop"]).await?;
    for arguments in [
        &["get", "assignments"][..],
        &["describe", "assignment", "shop"],
        &["describe", "cluster", "eu-1"],
    ] {
        let said = run(&world, arguments).await?.to_lowercase();
        ensure!(said.contains("pinned"), "{arguments:?}: {said}");
    }

    // resume: v0.6.0.
    run(&world, &["resume", "shop"]).await?;
    world.wait("shop", "healthy", &second).await?;
    rolled(&world, "v0.6.0").await?;
    stage_becomes(&world, "manual", &[]).await?;

    // kubectl set image by hand: put back within seconds, and the history says
    // who changed what.
    let kubectl = Tools::path(Tool::Kubectl).await?;
    let by_hand = Command::new(kubectl)
        .arg("--kubeconfig")
        .arg(eu.kubeconfig())
        .args(["--namespace", "shop", "set", "image", "deployment/web"])
        .arg("web=registry.example.com/web:by-hand")
        .output()
        .await?;
    ensure!(by_hand.status.success(), "{by_hand:?}");
    until("put back", SOON, async || {
        let web = eu.get(DEPLOYMENT, "shop", "web").await?;
        let image = &web["spec"]["template"]["spec"]["containers"][0]["image"];
        ensure!(image == "registry.example.com/web:v0.6.0", "{image}");
        Ok(())
    })
    .await?;
    until("the history says who and what", SOON, async || {
        let items = history(&world).await?;
        let event = items
            .iter()
            .find(|item| item["event"]["object"] == "apps/v1 Deployment shop/web")
            .context("no event of the Deployment")?;
        let text = event.to_string();
        ensure!(event["event"]["manager"] == "kubectl-set", "{text}");
        ensure!(
            text.contains("image") && !text.contains("by-hand"),
            "{text}"
        );
        let table = run(&world, &["history", "shop"]).await?;
        ensure!(
            table.contains("kubectl-set") && table.contains("put back"),
            "{table}"
        );
        Ok(())
    })
    .await?;
    rolled(&world, "v0.6.0").await?;

    // The file deleted in Git: pruned.
    let third = shop
        .remove("No settings", &["deploy/settings.yaml"])
        .await?;
    row_becomes(&world, "the removal waits", |row| {
        row["sync"] == "OutOfSync" && row["desiredRevision"] == *third
    })
    .await?;
    steer(&world, &["sync", "shop"]).await?;
    let gone = eu.find("v1 ConfigMap", "shop", "settings").await?;
    ensure!(gone.is_none(), "{gone:?}");

    // The assignment deleted: gone, and the namespace left as it was found.
    run(&world, &["delete", "assignment", "shop"]).await?;
    until("gone", SOON, async || {
        for kind in [DEPLOYMENT, "apps/v1 ReplicaSet", "v1 Pod"] {
            let left = eu.names(kind, "shop", "").await?;
            ensure!(left.is_empty(), "{kind}: {left:?}");
        }
        let cluster = world.cli()?.get("cluster", "eu-1").await?;
        let rows = &cluster["status"]["assignments"];
        ensure!(rows.as_array().is_some_and(Vec::is_empty), "{rows}");
        Ok(())
    })
    .await?;
    let left = eu.get("v1 Namespace", "", "shop").await?;
    ensure!(left == found, "found {found}, left {left}");
    let theirs = eu.names("v1 ConfigMap", "shop", "").await?;
    ensure!(theirs == ["kube-root-ca.crt", "theirs"], "{theirs:?}");
    Ok(())
}

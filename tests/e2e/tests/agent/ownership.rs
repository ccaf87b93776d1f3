//! Whose an object is.

use lockstep_e2e::{Assignment, Flavour, Result, SOON, World, config_map, ensure, until};

pub async fn two_assignments_that_claim_one_object_are_told_so_and_do_not_fight(
    flavour: Flavour,
) -> Result<()> {
    let (world, shop) = World::with_shop(flavour).await?;
    shop.commit(
        "A rival",
        &[("rival/one.yaml", &config_map("one", "step", "rival"))],
    )
    .await?;
    let rival = Assignment {
        repository: "shop",
        path: "rival",
        namespace: "shop",
        ..Assignment::new("rival")
    };
    world.cli()?.apply(&rival.yaml()).await?;
    let row = world
        .row_says("eu-1", "rival", &[("sync", "Failed")])
        .await?;
    let words = row.to_string();
    ensure!(
        words.contains("ConfigMap shop/one") && words.contains("shop"),
        "{row}"
    );
    world
        .data_becomes("eu-1", ("shop", "one", "step"), Some("1"))
        .await?;
    world
        .row_says("eu-1", "shop", &[("sync", "Synced")])
        .await?;

    // Removing the rival takes nothing that is not its own.
    world
        .cli()?
        .run(&["delete", "assignment", "rival"])
        .await?
        .ok()?;
    let cli = world.cli()?;
    until("the rival is gone", SOON, async || {
        let cluster = cli.get("cluster", "eu-1").await?;
        let rows = cluster["status"]["assignments"]
            .as_array()
            .map_or(0, Vec::len);
        ensure!(rows == 1, "{cluster}");
        Ok(())
    })
    .await?;
    world
        .data_becomes("eu-1", ("shop", "one", "step"), Some("1"))
        .await
}

pub async fn an_object_that_moved_to_another_assignment_is_not_lost(
    flavour: Flavour,
) -> Result<()> {
    let (world, shop) = World::with_shop(flavour).await?;
    // `two` moves from the folder of one Assignment to that of another.
    shop.commit("The other", &[("other/x.yaml", &config_map("x", "k", "v"))])
        .await?;
    let other = Assignment {
        repository: "shop",
        path: "other",
        namespace: "shop",
        ..Assignment::new("other")
    };
    world.cli()?.apply(&other.yaml()).await?;
    world
        .data_becomes("eu-1", ("shop", "x", "k"), Some("v"))
        .await?;
    shop.write(
        "other/two.yaml",
        config_map("two", "step", "moved").as_bytes(),
    )?;
    let moved = shop.remove("Move it", &["deploy/two.yaml"]).await?;
    world.arrived("shop", &moved).await?;
    world.arrived("other", &moved).await?;
    world
        .data_becomes("eu-1", ("shop", "two", "step"), Some("moved"))
        .await
}

pub async fn a_secret_shows_in_no_log_and_no_status(flavour: Flavour) -> Result<()> {
    let (mut world, shop) = World::with_shop(flavour).await?;
    let value = "aHVudGVyMi1odW50ZXIy"; // base64
    let secret = format!(
        "
apiVersion: v1
kind: Secret
metadata: {{name: s}}
data: {{password: {value}}}
"
    );
    let revision = shop
        .commit("A secret", &[("deploy/s.yaml", &secret)])
        .await?;
    world.arrived("shop", &revision).await?;
    // One that the API server refuses, so that somebody has to say why.
    let bad = secret.replace("name: s", "name: bad") + "immutable: \"yes\"\n";
    shop.commit("A bad secret", &[("deploy/bad.yaml", &bad)])
        .await?;
    world
        .row_says("eu-1", "shop", &[("sync", "Failed")])
        .await?;
    let cli = world.cli()?;
    let mut told = vec![
        cli.run(&["get", "clusters", "-o", "yaml"]).await?.ok()?,
        cli.run(&["describe", "cluster", "eu-1"]).await?.ok()?,
        world.hub.process()?.output()?,
    ];
    told.push(world.agent("eu-1").process()?.output()?);
    for text in told {
        ensure!(!text.contains(value) && !text.contains("hunter2"), "{text}");
    }
    Ok(())
}

pub async fn workloads_of_every_kind_become_healthy_and_are_pruned(flavour: Flavour) -> Result<()> {
    let (world, shop) = World::with_shop(flavour).await?;
    let pod = "
    metadata: {labels: {app: NAME}}
    spec:
      containers: [{name: main, image: example.com/app}]
";
    let workload = |kind: &str, extra: &str| {
        let name = kind.to_lowercase();
        format!(
            "
apiVersion: apps/v1
kind: {kind}
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
{extra}  template:{}",
            pod.replace("NAME", &name)
        )
    };
    let rest = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: deployment}, ports: [{port: 80}]}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: example.com/job}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 1, selector: {matchLabels: {app: deployment}}}
";
    let revision = shop
        .commit(
            "Everything",
            &[
                (
                    "deploy/deployment.yaml",
                    &workload("Deployment", "  replicas: 2\n"),
                ),
                (
                    "deploy/statefulset.yaml",
                    &workload("StatefulSet", "  serviceName: web\n  replicas: 1\n"),
                ),
                ("deploy/daemonset.yaml", &workload("DaemonSet", "")),
                ("deploy/rest.yaml", rest),
            ],
        )
        .await?;
    world.wait("shop", "healthy", &revision).await?;
    let row = world.row("eu-1", "shop").await?;
    ensure!(row["objects"] == 8 && row["drifted"] == 0, "{row}");

    let fewer = shop
        .remove("No Deployment", &["deploy/deployment.yaml"])
        .await?;
    world.wait("shop", "synced", &fewer).await?;
    let eu = world.cluster("eu-1");
    until("the Deployment is gone with its pods", SOON, async || {
        ensure!(
            eu.find("apps/v1 Deployment", "shop", "deployment")
                .await?
                .is_none()
        );
        let pods = eu.names("v1 Pod", "shop", "app=deployment").await?;
        ensure!(pods.is_empty(), "{pods:?}");
        Ok(())
    })
    .await
}

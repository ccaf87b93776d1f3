//! From nothing to a converged fleet.

use lockstep_e2e::fixtures::{GitAccess, GitServerOptions, HubOptions};
use lockstep_e2e::{
    Assignment, Flavour, Result, SOON, World, config_map, ensure, group, repository, rows_of, until,
};

#[tokio::test(flavor = "multi_thread")]
async fn one_commit_reaches_a_real_cluster_and_the_status_says_so() -> Result<()> {
    let (world, shop) = World::with_shop(Flavour::Api).await?;
    let first = shop.head().await?;
    let eu = world.cluster("eu-1");
    ensure!(eu.data("shop", "one", "step").await?.as_deref() == Some("1"));

    let row = world
        .row_says("eu-1", "shop", &[("sync", "Synced"), ("health", "Healthy")])
        .await?;
    ensure!(row["desiredRevision"] == *first, "{row}");
    ensure!(row["appliedRevision"] == *first, "{row}");
    ensure!(row["desiredDigest"] == row["appliedDigest"], "{row}");
    ensure!(row["objects"] == 2 && row["stale"] == false, "{row}");

    let untouched = eu.fingerprint("v1 ConfigMap", "shop").await?;
    let second = shop
        .commit(
            "Change one of two",
            &[("deploy/one.yaml", &config_map("one", "step", "2"))],
        )
        .await?;
    world.arrived("shop", &second).await?;
    ensure!(eu.data("shop", "one", "step").await?.as_deref() == Some("2"));
    let changed = eu.fingerprint("v1 ConfigMap", "shop").await?;
    let same: Vec<_> = changed
        .iter()
        .filter(|mark| untouched.contains(mark))
        .collect();
    ensure!(
        same.len() == 1,
        "only what changed is applied: {untouched:?} {changed:?}"
    );

    let table = world.cli()?.run(&["status"]).await?.ok()?;
    let rows = rows_of(&table);
    ensure!(rows.len() == 1, "{table}");
    for (column, expected) in [
        ("CLUSTER", "eu-1"),
        ("GROUP", "prod"),
        ("CONN", "Online"),
        ("ASSIGNMENT", "shop"),
        ("DESIRED", &second[..7]),
        ("APPLIED", &second[..7]),
        ("SYNC", "Synced"),
        ("HEALTH", "Healthy"),
        ("DRIFT", "0"),
    ] {
        ensure!(rows[0][column] == expected, "{column}: {table}");
    }
    ensure!(table.contains("1 cluster: 1 synced"), "{table}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn three_clusters_two_groups_over_https_with_a_password_and_a_private_ca() -> Result<()> {
    let git = GitServerOptions {
        tls: true,
        access: Some(GitAccess {
            username: "deploy".to_owned(),
            password: "correct horse".to_owned(),
        }),
        ..GitServerOptions::default()
    };
    let mut world = World::start_with(HubOptions::default(), git).await?;
    world
        .join_all(
            &[
                ("eu-1", &[("env", "prod"), ("region", "eu")]),
                ("us-1", &[("env", "prod"), ("region", "us")]),
                ("lab-1", &[("env", "lab")]),
            ],
            Flavour::Api,
        )
        .await?;
    let shop = world.git.repository("shop").await?;
    let revision = shop
        .commit(
            "Prod and lab",
            &[
                ("deploy/a.yaml", &config_map("a", "k", "prod")),
                ("lab/a.yaml", &config_map("a", "k", "lab")),
            ],
        )
        .await?;

    let cli = world.cli()?;
    let create = [
        "credential",
        "create",
        "shop-git",
        "--username",
        "deploy",
        "--password-stdin",
    ];
    cli.run_with_input(&create, "correct horse").await?.ok()?;
    let ca = world.git.ca().unwrap_or_default().replace('\n', "\n    ");
    let with_trust = format!(
        "{}  credential: shop-git\n  caBundle: |\n    {}\n",
        repository("shop", shop.url()),
        ca.trim_end()
    );
    let lab = Assignment {
        repository: "shop",
        path: "lab",
        groups: &["lab"],
        ..Assignment::new("lab")
    };
    let everything = [
        with_trust,
        group("prod", "env", "prod"),
        group("lab", "env", "lab"),
        Assignment::new("shop").yaml(),
        lab.yaml(),
    ];
    cli.apply(&everything.concat()).await?;
    world.arrived("shop", &revision).await?;
    world.arrived("lab", &revision).await?;

    for (cluster, namespace, expected) in [
        ("eu-1", "shop", Some("prod")),
        ("us-1", "shop", Some("prod")),
        ("lab-1", "shop", None),
        ("eu-1", "lab", None),
        ("us-1", "lab", None),
        ("lab-1", "lab", Some("lab")),
    ] {
        let found = world.cluster(cluster).data(namespace, "a", "k").await?;
        ensure!(
            found.as_deref() == expected,
            "{cluster} {namespace}: {found:?}"
        );
    }
    let shop_resource = cli.get("assignment", "shop").await?;
    let clusters = &shop_resource["status"]["clusters"];
    ensure!(
        clusters["total"] == 2 && clusters["synced"] == 2,
        "{clusters}"
    );

    // Nobody who looks sees the password.
    for arguments in [
        ["get", "repository", "shop", "-o", "yaml"],
        ["get", "credential", "shop-git", "-o", "yaml"],
    ] {
        let output = cli.run(&arguments).await?.ok()?;
        ensure!(!output.contains("correct horse"), "{output}");
    }

    // A wrong password changes nothing but the repository's message.
    cli.run_with_input(&create, "wrong").await?.ok()?;
    let said = world.repository_says("shop", "shop").await;
    let said = match said {
        Ok(said) => said,
        Err(_) => world.repository_says("shop", "401").await?,
    };
    ensure!(!said.contains("wrong"), "the password is in {said:?}");
    let row = world.row("eu-1", "shop").await?;
    ensure!(row["sync"] == "Synced", "{row}");
    cli.run_with_input(&create, "correct horse").await?.ok()?;
    world.repository_says("shop", "").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_becomes_healthy_when_its_pods_run_and_degraded_when_they_cannot() -> Result<()>
{
    let mut world = World::start().await?;
    world
        .join("eu-1", &[("env", "prod")], Flavour::Full)
        .await?;
    let shop = world.git.repository("shop").await?;
    let deployment = |deadline: &str, selector: &str| {
        format!(
            "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 2
  progressDeadlineSeconds: {deadline}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      nodeSelector: {selector}
      containers: [{{name: web, image: example.com/web}}]
"
        )
    };
    let good = shop
        .commit("Two pods", &[("deploy/web.yaml", &deployment("600", "{}"))])
        .await?;
    world.apply_shop(&shop).await?;
    world.wait("shop", "healthy", &good).await?;
    let web = world
        .cluster("eu-1")
        .get("apps/v1 Deployment", "shop", "web")
        .await?;
    ensure!(web["status"]["availableReplicas"] == 2, "{web}");

    let nowhere = deployment("5", "{disk: none}");
    shop.commit("Nowhere to run", &[("deploy/web.yaml", &nowhere)])
        .await?;
    let row = world
        .row_says("eu-1", "shop", &[("health", "Degraded")])
        .await?;
    ensure!(row["sync"] == "Synced", "{row}");
    let problem = &row["problems"][0];
    ensure!(problem["object"] == "apps/v1 Deployment shop/web", "{row}");
    ensure!(problem["health"] == "Degraded", "{row}");

    let cli = world.cli()?;
    let again = shop
        .commit("Back", &[("deploy/web.yaml", &deployment("600", "{}"))])
        .await?;
    world.wait("shop", "healthy", &again).await?;
    until("the roll-up agrees", SOON, async || {
        let assignment = cli.get("assignment", "shop").await?;
        ensure!(
            assignment["status"]["clusters"]["healthy"] == 1,
            "{assignment}"
        );
        Ok(())
    })
    .await
}

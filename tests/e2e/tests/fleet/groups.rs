//! Which clusters an assignment reaches, as labels and groups change.

use lockstep_e2e::{
    Assignment, Flavour, Result, SOON, World, config_map, ensure, group, repository, until,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_relabelled_out_of_its_group_is_emptied_and_back_is_filled() -> Result<()> {
    let (world, shop) = World::with_shop(Flavour::Api).await?;
    let cli = world.cli()?;
    let eu = world.cluster("eu-1");
    // Not ours, in the same namespace: stays.
    let theirs = serde_json::json!({"metadata": {"name": "theirs"}});
    eu.create("v1 ConfigMap", "shop", theirs).await?;

    cli.run(&["label", "cluster", "eu-1", "env=lab"])
        .await?
        .ok()?;
    world
        .data_becomes("eu-1", ("shop", "one", "step"), None)
        .await?;
    world
        .data_becomes("eu-1", ("shop", "two", "step"), None)
        .await?;
    until("the row is gone", SOON, async || {
        let cluster = cli.get("cluster", "eu-1").await?;
        let rows = cluster["status"]["assignments"].as_array();
        ensure!(rows.is_none_or(Vec::is_empty), "{cluster}");
        Ok(())
    })
    .await?;
    eu.get("v1 ConfigMap", "shop", "theirs").await?;
    let inventories = eu
        .names(
            "v1 ConfigMap",
            "lockstep-system",
            "lockstep.dev/assignment=shop",
        )
        .await?;
    ensure!(inventories.is_empty(), "{inventories:?}");

    // Commits while it is out do not reach it.
    let newer = shop
        .commit(
            "While it is away",
            &[("deploy/one.yaml", &config_map("one", "step", "2"))],
        )
        .await?;
    cli.run(&["label", "cluster", "eu-1", "env=prod"])
        .await?
        .ok()?;
    world.arrived("shop", &newer).await?;
    world
        .data_becomes("eu-1", ("shop", "one", "step"), Some("2"))
        .await?;
    world
        .data_becomes("eu-1", ("shop", "two", "step"), Some("1"))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_changes_its_selector_moves_its_clusters() -> Result<()> {
    let (mut world, shop) = World::with_shop(Flavour::Api).await?;
    world.join("us-1", &[("env", "lab")], Flavour::Api).await?;
    let cli = world.cli()?;
    cli.apply(&group("prod", "env", "lab")).await?;
    world
        .data_becomes("us-1", ("shop", "one", "step"), Some("1"))
        .await?;
    world
        .data_becomes("eu-1", ("shop", "one", "step"), None)
        .await?;

    // And one that names clusters by expressions.
    cli.apply(
        "
apiVersion: lockstep.dev/v1alpha1
kind: ClusterGroup
metadata: {name: prod}
spec:
  selector:
    matchExpressions: [{key: env, operator: In, values: [prod, lab]}]
",
    )
    .await?;
    world
        .data_becomes("eu-1", ("shop", "one", "step"), Some("1"))
        .await?;
    world.arrived("shop", &shop.head().await?).await?;
    let assignment = cli.get("assignment", "shop").await?;
    ensure!(
        assignment["status"]["clusters"]["total"] == 2,
        "{assignment}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_assignment_takes_its_objects_with_it_and_nothing_else() -> Result<()> {
    let (world, shop) = World::with_shop(Flavour::Api).await?;
    let cli = world.cli()?;
    shop.commit("More", &[("other/x.yaml", &config_map("x", "k", "v"))])
        .await?;
    let other = Assignment {
        repository: "shop",
        path: "other",
        ..Assignment::new("other")
    };
    cli.apply(&other.yaml()).await?;
    world
        .data_becomes("eu-1", ("other", "x", "k"), Some("v"))
        .await?;

    // What is referred to stays.
    for referred in [
        ["delete", "repository", "shop"],
        ["delete", "clustergroup", "prod"],
    ] {
        let refused = cli.run(&referred).await?;
        ensure!(refused.code == 1, "{refused:?}");
        ensure!(
            refused.stderr.contains("shop"),
            "says who refers to it: {refused:?}"
        );
    }

    cli.run(&["delete", "assignment", "shop"]).await?.ok()?;
    world
        .data_becomes("eu-1", ("shop", "one", "step"), None)
        .await?;
    world
        .data_becomes("eu-1", ("shop", "two", "step"), None)
        .await?;
    world
        .data_becomes("eu-1", ("other", "x", "k"), Some("v"))
        .await?;
    // The namespace may hold what others made there.
    world
        .cluster("eu-1")
        .get("v1 Namespace", "", "shop")
        .await?;
    until("only the other is left", SOON, async || {
        let cluster = cli.get("cluster", "eu-1").await?;
        let rows = &cluster["status"]["assignments"];
        ensure!(rows.as_array().is_some_and(|r| r.len() == 1), "{rows}");
        ensure!(rows[0]["name"] == "other", "{rows}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_joins_later_gets_what_is_there() -> Result<()> {
    let (mut world, shop) = World::with_shop(Flavour::Api).await?;
    world.join("eu-2", &[("env", "prod")], Flavour::Api).await?;
    world.arrived("shop", &shop.head().await?).await?;
    world
        .data_becomes("eu-2", ("shop", "two", "step"), Some("1"))
        .await?;
    // One repository, however many assignments and clusters: fetched once.
    let assignments: Vec<_> = ["a", "b", "c"]
        .map(|name| Assignment {
            repository: "shop",
            ..Assignment::new(name)
        })
        .iter()
        .map(Assignment::yaml)
        .collect();
    let yaml = repository("shop", shop.url()).replace("poll: 1s", "poll: 0s");
    world.cli()?.apply(&(yaml + &assignments.concat())).await?;
    for name in ["a", "b", "c"] {
        world
            .data_becomes("eu-2", (name, "two", "step"), Some("1"))
            .await?;
    }
    Ok(())
}

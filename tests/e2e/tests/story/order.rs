//! What comes before what: assignments, waves and hooks.

use lockstep_e2e::{
    Assignment, Context, Flavour, Result, SOON, World, config_map, ensure, group, repository, until,
};

use crate::shop::{declare, open, refused, row_becomes, run, web};

fn depending(name: &'static str, on: &str) -> String {
    let assignment = Assignment {
        repository: "shop",
        path: name,
        namespace: "shop",
        ..Assignment::new(name)
    };
    format!("{}  dependsOn: [{{assignment: {on}}}]\n", assignment.yaml())
}

fn plain(name: &'static str) -> String {
    let assignment = Assignment {
        repository: "shop",
        path: name,
        namespace: "shop",
        ..Assignment::new(name)
    };
    assignment.yaml()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assignment_waits_for_those_it_depends_on() -> Result<()> {
    let mut world = World::start().await?;
    world.join("eu-1", &[("env", "prod")], Flavour::Api).await?;
    let shop = world.git.repository("shop").await?;
    // Without controllers, no Deployment becomes Healthy.
    shop.commit(
        "Both",
        &[
            ("base/web.yaml", &web("v1")),
            ("top/top.yaml", &config_map("top", "step", "1")),
        ],
    )
    .await?;
    let ground = [
        repository("shop", shop.url()),
        group("prod", "env", "prod"),
        plain("base"),
        depending("top", "base"),
    ];
    world.cli()?.apply(&ground.concat()).await?;
    let eu = world.cluster("eu-1");
    until("top says what it waits for", SOON, async || {
        let row = world.row("eu-1", "top").await?;
        let said = row["message"].as_str().unwrap_or_default();
        ensure!(row["sync"] != "Synced" && said.contains("base"), "{row}");
        Ok(())
    })
    .await?;
    eu.get("apps/v1 Deployment", "shop", "web").await?;
    ensure!(eu.data("shop", "top", "step").await?.is_none());

    // base becomes healthy; top follows.
    shop.remove("No Deployment", &["base"]).await?;
    let both = shop
        .commit(
            "Healthy",
            &[
                ("base/base.yaml", &config_map("base", "step", "2")),
                ("top/top.yaml", &config_map("top", "step", "2")),
            ],
        )
        .await?;
    world.arrived("base", &both).await?;
    world.arrived("top", &both).await?;
    world
        .data_becomes("eu-1", ("shop", "top", "step"), Some("2"))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_depends_in_a_circle_or_on_nobody_is_refused() -> Result<()> {
    let world = World::start().await?;
    let shop = world.git.repository("shop").await?;
    let ground = [
        repository("shop", shop.url()),
        group("prod", "env", "prod"),
        plain("base"),
    ];
    world.cli()?.apply(&ground.concat()).await?;
    for (yaml, words) in [
        (depending("top", "nobody"), ["nobody", "top"]),
        (depending("top", "top"), ["top", "itself"]),
        (
            [depending("base", "top"), depending("top", "base")].concat(),
            ["base", "top"],
        ),
    ] {
        let output = world
            .cli()?
            .run_with_input(&["apply", "-f", "-"], &yaml)
            .await?;
        ensure!(output.code == 1, "{output:?}");
        for word in words {
            ensure!(output.stderr.contains(word), "no {word:?}: {output:?}");
        }
    }
    refused(&world, &["get", "assignment", "top"], 1, &["top"]).await
}

/// A ConfigMap or Job in a wave or as a hook.
fn annotated(manifest: &str, name: &str, annotations: &str) -> String {
    manifest.replacen(
        &format!("{{name: {name}}}"),
        &format!("{{name: {name}, annotations: {{{annotations}}}}}"),
        1,
    )
}

fn job(name: &str, annotations: &str) -> String {
    let job = format!(
        "---
apiVersion: batch/v1
kind: Job
metadata: {{name: {name}}}
spec:
  backoffLimit: 0
  template:
    metadata: {{labels: {{job: {name}}}}}
    spec:
      restartPolicy: Never
      containers: [{{name: work, image: registry.example.com/work:1}}]
"
    );
    annotated(&job, name, annotations)
}

/// When the API server made it.
async fn made(world: &World, kind: &str, name: &str) -> Result<String> {
    let object = world.cluster("eu-1").get(kind, "shop", name).await?;
    let at = object["metadata"]["creationTimestamp"].as_str();
    at.map(str::to_owned).context("a creationTimestamp")
}

#[tokio::test(flavor = "multi_thread")]
async fn waves_and_hooks_run_in_their_order() -> Result<()> {
    let (world, shop, _first) = open(&["eu-1"], Flavour::Full).await?;
    let late = config_map("late", "step", "1");
    let revision = shop
        .commit(
            "Waves",
            &[
                (
                    "deploy/web.yaml",
                    &annotated(&web("v1"), "web", "lockstep.dev/wave: '-1'"),
                ),
                (
                    "deploy/late.yaml",
                    &annotated(&late, "late", "lockstep.dev/wave: '2'"),
                ),
                (
                    "deploy/before.yaml",
                    &job("before", "lockstep.dev/hook: PreSync"),
                ),
                (
                    "deploy/after.yaml",
                    &job("after", "lockstep.dev/hook: PostSync"),
                ),
                (
                    "deploy/failed.yaml",
                    &job("failed", "lockstep.dev/hook: SyncFail"),
                ),
            ],
        )
        .await?;
    declare(&world, &shop, &[]).await?;
    world.wait("shop", "healthy", &revision).await?;
    let eu = world.cluster("eu-1");
    for name in ["before", "after"] {
        let job = eu.get("batch/v1 Job", "shop", name).await?;
        ensure!(job["status"]["succeeded"] == 1, "{job}");
    }
    ensure!(eu.find("batch/v1 Job", "shop", "failed").await?.is_none());
    let web = eu.get("apps/v1 Deployment", "shop", "web").await?;
    ensure!(web["status"]["readyReplicas"] == 3, "{web}");
    let order = [
        made(&world, "batch/v1 Job", "before").await?,
        made(&world, "apps/v1 Deployment", "web").await?,
        made(&world, "v1 ConfigMap", "one").await?,
        made(&world, "v1 ConfigMap", "late").await?,
        made(&world, "batch/v1 Job", "after").await?,
    ];
    ensure!(order.is_sorted(), "{order:?}");

    // The next revision runs them anew.
    let first_run = eu.get("batch/v1 Job", "shop", "before").await?;
    let late = config_map("late", "step", "2");
    let next = shop
        .commit(
            "Again",
            &[(
                "deploy/late.yaml",
                &annotated(&late, "late", "lockstep.dev/wave: '2'"),
            )],
        )
        .await?;
    world.wait("shop", "healthy", &next).await?;
    let second_run = eu.get("batch/v1 Job", "shop", "before").await?;
    ensure!(
        first_run["metadata"]["uid"] != second_run["metadata"]["uid"],
        "the hook did not run again"
    );
    row_becomes(&world, "all is well", |row| {
        row["sync"] == "Synced" && row["health"] == "Healthy"
    })
    .await
    .map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn annotations_that_make_no_sense_are_told_with_their_place() -> Result<()> {
    let (world, shop, first) = open(&["eu-1"], Flavour::Api).await?;
    declare(&world, &shop, &[]).await?;
    world.arrived("shop", &first).await?;
    let two = config_map("two", "step", "1");
    let soon = annotated(&two, "two", "lockstep.dev/wave: soon");
    shop.commit("Soon", &[("deploy/two.yaml", &soon)]).await?;
    let said = world.assignment_says("shop", "lockstep.dev/wave").await?;
    ensure!(said.contains("deploy/two.yaml:2"), "{said}");
    let generated = two.replace("{name: two}", "{generateName: two-}");
    shop.commit("Generated", &[("deploy/two.yaml", &generated)])
        .await?;
    let said = world.assignment_says("shop", "generateName").await?;
    ensure!(said.contains("deploy/two.yaml:2"), "{said}");
    let status = run(&world, &["status"]).await?;
    ensure!(status.contains("Synced"), "{status}");
    Ok(())
}

//! `lockstep diff`.

use lockstep_e2e::{Context, Flavour, Result, config_map, ensure, json};

use crate::shop::{declare, open, opened, refused, row_becomes, run, status, step, steps};

const SECRET: &str = "
apiVersion: v1
kind: Secret
metadata: {name: login}
stringData: {password: hunter2-VALUE}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_is_compared_with_what_the_clusters_hold() -> Result<()> {
    let (world, shop, first) = open(&["eu-1", "eu-2", "us-1"], Flavour::Api).await?;
    declare(&world, &shop, &[]).await?;
    world.arrived("shop", &first).await?;
    let same = world.cli()?.run(&["diff", "shop"]).await?;
    ensure!(same.code == 0 && same.stdout.is_empty(), "{same:?}");

    let before = status(&world).await?;
    let marks = world
        .cluster("eu-1")
        .fingerprint("v1 ConfigMap", "")
        .await?;
    shop.switch("feature").await?;
    let secret = SECRET.replace("VALUE", "1");
    let feature = shop
        .commit(
            "Feature",
            &[
                ("deploy/one.yaml", &config_map("one", "step", "2")),
                ("deploy/two.yaml", &config_map("two", "step", "1")),
                ("deploy/login.yaml", &secret),
            ],
        )
        .await?;
    for reference in ["feature", &feature, &feature[..8]] {
        let output = world
            .cli()?
            .run(&["diff", "shop", "--ref", reference])
            .await?;
        ensure!(output.code == 1, "{reference}: {output:?}");
        let text = &output.stdout;
        for word in [
            "eu-1, eu-2 and us-1",
            "--- v1 ConfigMap shop/one",
            "+++ v1 ConfigMap shop/one",
            "-  step: \"1\"",
            "+  step: \"2\"",
            "v1 ConfigMap shop/two",
            "v1 Secret shop/login",
            "@@ ",
        ] {
            ensure!(text.contains(word), "{reference}: no {word:?} in {text}");
        }
        ensure!(
            text.matches("+++ v1 ConfigMap shop/one").count() == 1,
            "{text}"
        );
        for secret in ["hunter2", "aHVudGVyMi", "\u{1b}"] {
            ensure!(!text.contains(secret), "{secret:?} in {text}");
        }
        for noise in ["managedFields", "resourceVersion", "uid:"] {
            ensure!(!text.contains(noise), "{noise:?} in {text}");
        }
    }
    let list = world
        .cli()?
        .run(&["diff", "shop", "--ref", "feature", "-o", "json"])
        .await?;
    ensure!(list.code == 1, "{list:?}");
    let list: serde_json::Value = serde_json::from_str(&list.stdout)?;
    ensure!(
        list["kind"] == "DiffList" && list["revision"] == *feature,
        "{list}"
    );
    ensure!(
        list["items"][0]["clusters"] == json!(["eu-1", "eu-2", "us-1"]),
        "{list}"
    );

    // Nothing was changed by looking.
    let after = status(&world).await?;
    ensure!(before["revision"] == after["revision"], "{after}");
    let now = world
        .cluster("eu-1")
        .fingerprint("v1 ConfigMap", "")
        .await?;
    ensure!(now == marks, "{marks:?} {now:?}");
    let login = world
        .cluster("eu-1")
        .find("v1 Secret", "shop", "login")
        .await?;
    ensure!(login.is_none(), "a dry run made it");

    refused(
        &world,
        &["diff", "shop", "--ref", "nowhere"],
        2,
        &["nowhere"],
    )
    .await?;
    refused(&world, &["diff", "shop", "--cluster", "mars"], 2, &["mars"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_that_differ_stand_apart_and_the_silent_are_named() -> Result<()> {
    let (mut world, shop, first) = open(&["eu-1", "eu-2"], Flavour::Api).await?;
    declare(&world, &shop, &["drift: Report"]).await?;
    world.arrived("shop", &first).await?;
    let by_hand = json!({"data": {"step": "by hand"}});
    let eu = world.cluster("eu-2");
    eu.patch("v1 ConfigMap", "shop", "one", &by_hand).await?;

    // The difference is with the cluster, not with what was once applied.
    let output = world.cli()?.run(&["diff", "shop"]).await?;
    ensure!(output.code == 1, "{output:?}");
    ensure!(output.stdout.contains("=== eu-2:"), "{output:?}");
    ensure!(output.stdout.contains("-  step: by hand"), "{output:?}");
    ensure!(output.stderr.contains("eu-1"), "{output:?}");
    let output = world
        .cli()?
        .run(&["diff", "shop", "--cluster", "eu-1"])
        .await?;
    ensure!(output.code == 0 && output.stdout.is_empty(), "{output:?}");

    world.agent("eu-1").kill();
    let output = world.cli()?.run(&["diff", "shop"]).await?;
    ensure!(output.code >= 2, "{output:?}");
    ensure!(
        output.stderr.contains("eu-1") && output.stdout.contains("=== eu-2:"),
        "{output:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_manual_mode_is_what_diff_shows() -> Result<()> {
    let (world, shop, _first) = opened(&["mode: Manual"]).await?;
    let second = step(&shop, "2").await?;
    row_becomes(&world, "it waits", |row| row["desiredRevision"] == *second).await?;
    let output = world.cli()?.run(&["diff", "shop"]).await?;
    ensure!(output.code == 1, "{output:?}");
    ensure!(output.stdout.contains("+  step: \"2\""), "{output:?}");
    steps(&world, "1").await?;
    run(&world, &["sync", "shop", "--wait", "--timeout", "90s"]).await?;
    let output = world.cli()?.run(&["diff", "shop"]).await?;
    ensure!(output.code == 0, "{output:?}");

    // What is gone from Git shows as removed; what would be refused is told.
    shop.switch("feature").await?;
    shop.remove("Remove", &["deploy/one.yaml"]).await?;
    let refused = config_map("Not_A_Name", "k", "v");
    shop.commit("Refused", &[("deploy/bad.yaml", &refused)])
        .await?;
    let output = world
        .cli()?
        .run(&["diff", "shop", "--ref", "feature"])
        .await?;
    ensure!(output.code >= 2, "{output:?}");
    let text = output.stdout;
    let removed = text.split("--- v1 ConfigMap shop/one").nth(1);
    let removed = removed.context("nothing is removed")?;
    ensure!(removed.trim_start().contains("+++ /dev/null"), "{text}");
    ensure!(text.contains("Not_A_Name"), "{text}");
    Ok(())
}

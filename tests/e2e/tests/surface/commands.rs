//! The other commands, as scripts use them.

use std::process::Stdio;

use lockstep_e2e::{Context, Flavour, Result, SOON, World, config_map, ensure, rows_of, until};
use tokio::io::{AsyncBufReadExt as _, BufReader};

#[tokio::test(flavor = "multi_thread")]
async fn wait_and_status_tell_by_their_exit_codes() -> Result<()> {
    let (mut world, shop) = World::with_shop(Flavour::Api).await?;
    let cli = world.cli()?;
    let first = shop.head().await?;
    let short = &first[..7];
    for arguments in [
        vec!["wait", "shop", "--for", "synced"],
        vec!["wait", "shop", "--for", "healthy", "--revision", short],
        vec!["status", "--exit-code"],
        vec![
            "status",
            "--exit-code",
            "--assignment",
            "shop",
            "--group",
            "prod",
        ],
    ] {
        until("converged", SOON, async || {
            let output = cli.run(&arguments).await?;
            ensure!(output.code == 0, "{arguments:?}: {output:?}");
            Ok(())
        })
        .await?;
    }
    let never = "0000000";
    let output = cli
        .run(&["wait", "shop", "--revision", never, "--timeout", "2s"])
        .await?;
    ensure!(output.code == 4 && output.stdout.is_empty(), "{output:?}");
    let output = cli.run(&["wait", "nobody", "--timeout", "2s"]).await?;
    ensure!(
        output.code == 1 && output.stderr.contains("nobody"),
        "{output:?}"
    );
    let output = cli.run(&["status"]).await?;
    ensure!(output.code == 0, "{output:?}");

    // Not converged: something the API server refuses.
    let refused = config_map("Not_A_Name", "k", "v");
    shop.commit("Refused", &[("deploy/bad.yaml", &refused)])
        .await?;
    world
        .row_says("eu-1", "shop", &[("sync", "Failed")])
        .await?;
    let output = cli.run(&["status", "--exit-code"]).await?;
    ensure!(output.code == 2, "{output:?}");
    ensure!(output.stdout.contains("Failed"), "{output:?}");

    world.agent("eu-1").kill();
    until("stale", SOON, async || {
        let output = cli.run(&["status", "--exit-code"]).await?;
        ensure!(output.code == 3, "{output:?}");
        Ok(())
    })
    .await?;
    // And a hub that is not there is an error, not "not converged".
    world.hub.kill();
    let output = cli.run(&["status", "--exit-code"]).await?;
    ensure!(
        output.code == 1 && output.stderr.contains("connect"),
        "{output:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_are_selected_by_labels_and_names() -> Result<()> {
    let world = World::start().await?;
    let cli = world.cli()?;
    let mut yaml = String::new();
    for n in 0..30 {
        let (env, region) = (["prod", "lab"][n % 2], ["eu", "us", "ap"][n % 3]);
        yaml += &format!(
            "---\n{{apiVersion: lockstep.dev/v1alpha1, kind: Cluster, \
             metadata: {{name: c-{n}, labels: {{env: {env}, region: {region}}}}}}}\n"
        );
    }
    cli.apply(&yaml).await?;
    for (selector, expected) in [
        ("env=prod", 15),
        ("env=prod,region in (eu,us)", 10),
        ("env!=prod", 15),
        ("env,region notin (eu)", 20),
        ("!env", 0),
    ] {
        let list = cli.json(&["get", "clusters", "-l", selector]).await?;
        let found = list["items"].as_array().map_or(0, Vec::len);
        ensure!(found == expected, "{selector}: {found}");
    }
    let bad = cli.run(&["get", "clusters", "-l", "env in prod"]).await?;
    ensure!(
        bad.code != 0 && bad.stderr.contains("env in prod"),
        "{bad:?}"
    );

    let one = cli.json(&["get", "cluster", "c-3"]).await?;
    ensure!(one["metadata"]["name"] == "c-3" && one["status"]["connection"] == "Unknown");
    let missing = cli.run(&["get", "cluster", "c-99"]).await?;
    ensure!(
        missing.code == 1 && missing.stderr.contains("c-99"),
        "{missing:?}"
    );

    cli.run(&["label", "cluster", "c-3", "env=staging", "region-"])
        .await?
        .ok()?;
    let one = cli.json(&["get", "cluster", "c-3"]).await?;
    ensure!(
        one["metadata"]["labels"] == lockstep_e2e::json!({"env": "staging"}),
        "{one}"
    );
    let bad = cli
        .run(&["label", "cluster", "c-3", "env=not a label"])
        .await?;
    ensure!(
        bad.code != 0 && bad.stderr.contains("not a label"),
        "{bad:?}"
    );

    let table = cli
        .run(&["get", "clusters", "-l", "env=staging"])
        .await?
        .ok()?;
    let rows = rows_of(&table);
    ensure!(rows.len() == 1 && rows[0]["NAME"] == "c-3", "{table}");
    let said = cli.run(&["describe", "cluster", "c-3"]).await?.ok()?;
    ensure!(said.contains("c-3") && said.contains("staging"), "{said}");
    cli.run(&["delete", "cluster", "c-3", "c-4"]).await?.ok()?;
    let list = cli.json(&["get", "clusters"]).await?;
    ensure!(list["items"].as_array().map_or(0, Vec::len) == 28, "{list}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_shows_what_changes_as_it_changes() -> Result<()> {
    let (world, shop) = World::with_shop(Flavour::Api).await?;
    let cli = world.cli()?;
    let mut watching = cli
        .command()
        .args(["status", "--watch", "--assignment", "shop"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stdout = watching.stdout.take().context("stdout is a pipe")?;
    let mut lines = BufReader::new(stdout).lines();
    let next = shop
        .commit(
            "Next",
            &[("deploy/one.yaml", &config_map("one", "step", "2"))],
        )
        .await?;
    let synced = async {
        while let Some(line) = lines.next_line().await? {
            ensure!(
                !line.contains('\u{1b}'),
                "colour without a terminal: {line:?}"
            );
            if line.matches(&next[..7]).count() == 2 && line.contains("Synced") {
                return Ok(());
            }
        }
        lockstep_e2e::bail!("the watch ended")
    };
    tokio::time::timeout(SOON.limit, synced)
        .await
        .context("no such line")??;
    watching.kill().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn describe_explains_a_failure_in_words() -> Result<()> {
    let (world, shop) = World::with_shop(Flavour::Api).await?;
    let cli = world.cli()?;
    let refused = config_map("Not_A_Name", "k", "v");
    shop.commit("Refused", &[("deploy/bad.yaml", &refused)])
        .await?;
    world
        .row_says("eu-1", "shop", &[("sync", "Failed")])
        .await?;
    let said = cli.run(&["describe", "cluster", "eu-1"]).await?.ok()?;
    ensure!(
        said.contains("Not_A_Name") && said.contains("Failed"),
        "{said}"
    );
    let said = cli.run(&["describe", "assignment", "shop"]).await?.ok()?;
    ensure!(
        said.contains("eu-1") || said.contains("1 failed") || said.contains("failed"),
        "{said}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_http_side_answers_health_and_metrics() -> Result<()> {
    let (mut world, _shop) = World::with_shop(Flavour::Api).await?;
    let addresses = [world.hub.http(), world.agent("eu-1").http()];
    for address in addresses {
        for path in ["/livez", "/readyz", "/metrics"] {
            let (status, body) = lockstep_e2e::get(&format!("{address}{path}")).await?;
            ensure!(status == 200, "{address}{path}: {status} {body}");
            if path == "/metrics" {
                ensure!(body.contains("# TYPE lockstep_"), "{body}");
            }
        }
    }
    let told = std::fs::read_to_string(world.hub.data_dir().join("http.addr"))?;
    ensure!(
        format!("http://{}", told.trim()) == world.hub.http(),
        "{told}"
    );
    Ok(())
}

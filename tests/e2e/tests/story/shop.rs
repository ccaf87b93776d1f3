//! The shop of these stories, and how a person looks at it.

use std::collections::BTreeMap;

use lockstep_e2e::fixtures::GitRepository;
use lockstep_e2e::{
    Assignment, Context, Flavour, Result, SOON, Value, World, config_map, ensure, group,
    repository, rows_of, until,
};

/// A Deployment of three replicas.
pub fn web(version: &str) -> String {
    format!(
        "---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 3
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers: [{{name: web, image: \"registry.example.com/web:{version}\"}}]
"
    )
}

/// ConfigMaps `cm-0` to `cm-N` in one file.
pub fn config_maps(count: usize) -> String {
    (0..count)
        .map(|n| config_map(&format!("cm-{n}"), "number", &n.to_string()))
        .collect()
}

/// Clusters in `prod` and a repository with one ConfigMap `one` at step 1;
/// the assignment has `sync` and waits to be declared.
pub async fn open(clusters: &[&str], flavour: Flavour) -> Result<(World, GitRepository, String)> {
    let mut world = World::start().await?;
    let labels: &[(&str, &str)] = &[("env", "prod")];
    let members: Vec<_> = clusters.iter().map(|&name| (name, labels)).collect();
    world.join_all(&members, flavour).await?;
    let shop = world.git.repository("shop").await?;
    let first = shop
        .commit(
            "First",
            &[("deploy/one.yaml", &config_map("one", "step", "1"))],
        )
        .await?;
    Ok((world, shop, first))
}

/// Declares Repository, ClusterGroup and Assignment `shop`.
pub async fn declare(world: &World, shop: &GitRepository, sync: &[&str]) -> Result<()> {
    let assignment = Assignment {
        sync,
        ..Assignment::new("shop")
    };
    let yaml = [
        repository("shop", shop.url()),
        group("prod", "env", "prod"),
        assignment.yaml(),
    ];
    world.cli()?.apply(&yaml.concat()).await.map(drop)
}

/// One cluster with `shop` at step 1, converged.
pub async fn opened(sync: &[&str]) -> Result<(World, GitRepository, String)> {
    let (world, shop, first) = open(&["eu-1"], Flavour::Api).await?;
    declare(&world, &shop, sync).await?;
    if sync.contains(&"mode: Manual") {
        run(&world, &["sync", "shop", "--wait", "--timeout", "90s"]).await?;
    }
    world.arrived("shop", &first).await?;
    Ok((world, shop, first))
}

/// A commit that sets `step` of the ConfigMap `one`.
pub async fn step(shop: &GitRepository, value: &str) -> Result<String> {
    let one = config_map("one", "step", value);
    let subject = format!("Step {value}");
    shop.commit(&subject, &[("deploy/one.yaml", &one)]).await
}

/// Waits until `step` of `one` is this on `eu-1`.
pub async fn steps(world: &World, value: &str) -> Result<()> {
    let place = ("shop", "one", "step");
    world.data_becomes("eu-1", place, Some(value)).await
}

/// What a command that goes well prints.
pub async fn run(world: &World, arguments: &[&str]) -> Result<String> {
    let output = world.cli()?.run(arguments).await?;
    output
        .ok()
        .with_context(|| format!("lockstep {}", arguments.join(" ")))
}

/// A command ends with this code and says these words on stderr.
pub async fn refused(world: &World, arguments: &[&str], code: i32, words: &[&str]) -> Result<()> {
    let output = world.cli()?.run(arguments).await?;
    ensure!(output.code == code, "{arguments:?}: {output:?}");
    for word in words {
        ensure!(output.stderr.contains(word), "no {word:?}: {output:?}");
    }
    Ok(())
}

/// The Assignment's status.
pub async fn status(world: &World) -> Result<Value> {
    let shop = world.cli()?.get("assignment", "shop").await?;
    Ok(shop["status"].clone())
}

/// Waits until the Assignment's status is as `holds` says.
pub async fn status_becomes(
    world: &World,
    what: &str,
    holds: impl Fn(&Value) -> bool,
) -> Result<Value> {
    until(what, SOON, async || {
        let status = status(world).await?;
        ensure!(holds(&status), "{status}");
        Ok(status)
    })
    .await
}

/// Waits until the row of `shop` on `eu-1` is as `holds` says.
pub async fn row_becomes(
    world: &World,
    what: &str,
    holds: impl Fn(&Value) -> bool,
) -> Result<Value> {
    until(what, SOON, async || {
        let row = world.row("eu-1", "shop").await?;
        ensure!(holds(&row), "{row}");
        Ok(row)
    })
    .await
}

/// The table of `lockstep status` by rows, and the lines below it.
pub async fn table(world: &World) -> Result<(Vec<BTreeMap<String, String>>, String)> {
    let text = run(world, &["status"]).await?;
    let rows = rows_of(&text);
    let footer: Vec<_> = text.lines().skip(1 + rows.len()).collect();
    Ok((rows, footer.join("\n")))
}

/// Waits until the STAGE of every row is this, and the footer says all `words`.
pub async fn stage_becomes(world: &World, stage: &str, words: &[&str]) -> Result<()> {
    let what = format!("the stage is {stage} and {words:?} is said");
    until(&what, SOON, async || {
        let (rows, footer) = table(world).await?;
        ensure!(
            !rows.is_empty() && rows.iter().all(|row| row["STAGE"] == stage),
            "{rows:?}"
        );
        for word in words {
            ensure!(footer.contains(word), "no {word:?}: {footer}");
        }
        Ok(())
    })
    .await
}

/// `items` of `lockstep history shop -o json`, newest first.
pub async fn history(world: &World) -> Result<Vec<Value>> {
    let list = world.cli()?.json(&["history", "shop"]).await?;
    ensure!(list["kind"] == "HistoryList", "{list}");
    let items = list["items"].as_array().context("items is a list")?;
    Ok(items.clone())
}

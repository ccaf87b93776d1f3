//! `-o json`, path by path as surface.md gives it.

use lockstep_e2e::{Flavour, Result, Value, World, ensure};

/// Asserts that each JSON pointer is there and has a value of the given type.
fn has(resource: &Value, paths: &[(&str, &str)]) -> Result<()> {
    for (path, expected) in paths {
        let value = resource.pointer(path);
        let found = match value {
            None => "nothing",
            Some(Value::Null) => "null",
            Some(Value::Bool(_)) => "bool",
            Some(Value::Number(_)) => "number",
            Some(Value::String(text)) => match *expected {
                "time" if is_time(text) => "time",
                "words" if !text.is_empty() => "words",
                _ => "string",
            },
            Some(Value::Array(_)) => "list",
            Some(Value::Object(_)) => "map",
        };
        ensure!(
            found == *expected,
            "{path} is {found}, not {expected}, in {resource:#}"
        );
    }
    Ok(())
}

/// RFC 3339, in UTC.
fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 20 && bytes[4] == b'-' && bytes[10] == b'T' && text.ends_with('Z')
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_have_the_shape_of_the_contract() -> Result<()> {
    let (world, shop) = World::with_shop(Flavour::Api).await?;
    let revision = shop.head().await?;
    world
        .row_says("eu-1", "shop", &[("health", "Healthy")])
        .await?;
    let cli = world.cli()?;

    let cluster = cli.get("cluster", "eu-1").await?;
    ensure!(
        cluster["apiVersion"] == "lockstep.dev/v1alpha1",
        "{cluster}"
    );
    ensure!(cluster["kind"] == "Cluster" && cluster["metadata"]["name"] == "eu-1");
    has(
        &cluster,
        &[
            ("/metadata/labels", "map"),
            ("/metadata/uid", "words"),
            ("/metadata/createdAt", "time"),
            ("/status/lastSeen", "time"),
            ("/status/agentVersion", "words"),
            ("/status/kubernetesVersion", "words"),
            ("/status/assignments/0/name", "words"),
            ("/status/assignments/0/desiredDigest", "words"),
            ("/status/assignments/0/appliedDigest", "words"),
            ("/status/assignments/0/objects", "number"),
            ("/status/assignments/0/drifted", "number"),
            ("/status/assignments/0/message", "string"),
            ("/status/assignments/0/observedAt", "time"),
            ("/status/assignments/0/stale", "bool"),
            ("/status/assignments/0/problems", "list"),
        ],
    )?;
    for (path, expected) in [
        ("/status/connection", "Online"),
        ("/status/sync", "Synced"),
        ("/status/health", "Healthy"),
        ("/status/assignments/0/sync", "Synced"),
        ("/status/assignments/0/health", "Healthy"),
        ("/status/assignments/0/desiredRevision", &revision),
        ("/status/assignments/0/appliedRevision", &revision),
    ] {
        ensure!(
            cluster.pointer(path) == Some(&expected.into()),
            "{path} in {cluster:#}"
        );
    }

    let assignment = cli.get("assignment", "shop").await?;
    has(
        &assignment,
        &[
            ("/spec/repository", "words"),
            ("/spec/ref/branch", "words"),
            ("/status/commit/author", "words"),
            ("/status/commit/time", "time"),
            ("/status/message", "string"),
            ("/status/clusters/total", "number"),
            ("/status/clusters/synced", "number"),
            ("/status/clusters/applying", "number"),
            ("/status/clusters/outOfSync", "number"),
            ("/status/clusters/failed", "number"),
            ("/status/clusters/unknown", "number"),
            ("/status/clusters/healthy", "number"),
            ("/status/clusters/offline", "number"),
        ],
    )?;
    ensure!(assignment["kind"] == "Assignment", "{assignment}");
    ensure!(
        assignment["status"]["revision"] == *revision,
        "{assignment}"
    );
    ensure!(
        assignment["status"]["commit"]["subject"] == "Open the shop",
        "{assignment}"
    );
    let author = assignment["status"]["commit"]["author"].to_string();
    ensure!(author.contains("Ada Fixture"), "{author}");

    let repository = cli.get("repository", "shop").await?;
    has(
        &repository,
        &[
            ("/status/lastFetched", "time"),
            ("/status/message", "string"),
        ],
    )?;
    let head = &repository["status"]["head"][0];
    ensure!(head["revision"] == *revision, "{repository}");
    ensure!(
        head["ref"].as_str().is_some_and(|r| r.contains("main")),
        "{repository}"
    );

    for (kind, list_kind) in [
        ("clusters", "ClusterList"),
        ("clustergroups", "ClusterGroupList"),
        ("repositories", "RepositoryList"),
        ("assignments", "AssignmentList"),
    ] {
        let list = cli.json(&["get", kind]).await?;
        ensure!(list["apiVersion"] == "lockstep.dev/v1alpha1", "{list}");
        ensure!(list["kind"] == list_kind, "{list}");
        ensure!(
            list["items"]
                .as_array()
                .is_some_and(|items| items.len() == 1),
            "{list}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn yaml_that_was_got_can_be_applied_again() -> Result<()> {
    let (world, _shop) = World::with_shop(Flavour::Api).await?;
    let cli = world.cli()?;
    for kind in ["repository", "assignment"] {
        let yaml = cli.run(&["get", kind, "shop", "-o", "yaml"]).await?.ok()?;
        let said = cli.run_with_input(&["apply", "-f", "-"], &yaml).await?;
        ensure!(
            said.code == 0 && said.stdout.contains("unchanged"),
            "{said:?}\n{yaml}"
        );
    }
    let names = cli.run(&["get", "clusters", "-o", "name"]).await?.ok()?;
    ensure!(names.trim().ends_with("eu-1"), "{names}");
    let path = "jsonpath={.items[*].metadata.name}";
    let names = cli.run(&["get", "clusters", "-o", path]).await?.ok()?;
    ensure!(names.trim() == "eu-1", "{names}");
    Ok(())
}

//! Many objects, many assignments, large objects, and all scopes at once.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::world::{Flavour, World, config_map};

fn maps(n: usize, value: &str) -> Vec<Value> {
    (0..n)
        .map(|i| config_map(&format!("map-{i:04}"), value))
        .collect()
}

/// Resident memory of this process, which runs the agent, in MiB.
fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib.context("no VmRSS")?.parse::<u64>()? / 1024)
}

pub async fn five_thousand_objects_in_one_assignment(flavour: Flavour) -> Result<()> {
    let mut world = World::start(flavour).await?;
    let mut objects = maps(5_000, "one");
    let (begin, before) = (Instant::now(), resident()?);
    let digest = world.assign("shop", &objects)?;
    let report = world.synced("shop", digest).await?;
    tracing::info!(
        "5,000 objects applied in {:?}, {} MiB more",
        begin.elapsed(),
        resident()?.saturating_sub(before)
    );
    ensure!(report.objects == 5_000 && report.problems.is_empty());
    ensure!(world.metrics.requests("apply") == 5_000);

    // One changed, one gone, one deleted by hand: each costs itself.
    objects[2_500] = config_map("map-2500", "two");
    objects.remove(4_999);
    let digest = world.assign("shop", &objects)?;
    let report = world.synced("shop", digest).await?;
    ensure!(report.objects == 4_999, "{report:?}");
    ensure!(world.metrics.requests("apply") == 5_001);
    world
        .becomes(("v1 ConfigMap", "shop", "map-4999"), |object| {
            object.is_none()
        })
        .await?;
    world.delete("v1 ConfigMap", "shop", "map-0007").await?;
    world
        .becomes(("v1 ConfigMap", "shop", "map-0007"), |object| {
            object.is_some()
        })
        .await?;

    // A restart looks at all of them and sends none.
    let begin = Instant::now();
    world.restart().await;
    world.synced("shop", digest).await?;
    tracing::info!("seen again after a restart in {:?}", begin.elapsed());
    ensure!(world.metrics.requests("apply") == 0);
    Ok(())
}

pub async fn five_hundred_assignments_on_one_cluster(flavour: Flavour) -> Result<()> {
    let mut world = World::start(flavour).await?;
    let name = |i: usize| format!("unit-{i}");
    let objects = |i: usize, value: &str| vec![config_map(&format!("map-{i}"), value)];
    let (begin, before) = (Instant::now(), resident()?);
    let mut digests = Vec::new();
    for i in 0..500 {
        digests.push(world.assign(&name(i), &objects(i, "one"))?);
    }
    for (i, digest) in digests.iter().enumerate() {
        world.synced(&name(i), *digest).await?;
    }
    tracing::info!(
        "500 assignments first applied in {:?}, {} MiB more",
        begin.elapsed(),
        resident()?.saturating_sub(before)
    );
    ensure!(world.metrics.requests("apply") == 500);
    digests[250] = world.assign(&name(250), &objects(250, "two"))?;
    world.synced(&name(250), digests[250]).await?;
    ensure!(world.metrics.requests("apply") == 501);

    world.restart().await;
    for (i, digest) in digests.iter().enumerate() {
        world.synced(&name(i), *digest).await?;
    }
    ensure!(world.metrics.requests("apply") == 0, "a restart sends none");
    Ok(())
}

pub async fn an_object_of_nine_hundred_kilobytes(flavour: Flavour) -> Result<()> {
    let world = World::start(flavour).await?;
    let text: String = (0..)
        .map(|n: u64| format!("{n:x} "))
        .take(180_000)
        .collect();
    let large = |last: &str| {
        let text = format!("{}{last}", &text[..900_000]);
        config_map("large", &text)
    };
    let objects = [large("one"), config_map("small", "one")];
    let digest = world.assign("shop", &objects)?;
    world.synced("shop", digest).await?;
    let digest = world.assign("shop", &[large("two"), config_map("small", "one")])?;
    world.synced("shop", digest).await?;
    let there = world.get("v1 ConfigMap", "shop", "large").await?;
    let data = there["data"]["key"].as_str().context("no data")?;
    ensure!(data.len() == 900_003 && data.ends_with("two"));

    // Somebody changes all of it: it is proved to be drift, and put back.
    let patch = json!({"data": {"key": "gone"}});
    world.merge("v1 ConfigMap", "shop", "large", &patch).await?;
    world
        .becomes(("v1 ConfigMap", "shop", "large"), |object| {
            object.is_some_and(|object| {
                object["data"]["key"]
                    .as_str()
                    .is_some_and(|text| text.ends_with("two"))
            })
        })
        .await?;
    Ok(())
}

pub async fn objects_of_the_cluster_and_of_many_namespaces_at_once(flavour: Flavour) -> Result<()> {
    let world = World::start(flavour).await?;
    let in_namespace = |mut object: Value, namespace: &str| {
        object["metadata"]["namespace"] = namespace.into();
        object
    };
    let rbac = "rbac.authorization.k8s.io/v1";
    let mut objects = vec![
        json!({"apiVersion": rbac, "kind": "ClusterRole", "metadata": {"name": "reads"},
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]}),
        // Whoever writes a namespace on what has none means nothing by it.
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": "high", "namespace": "left"}, "value": 1000}),
        config_map("here", "one"),
    ];
    for namespace in ["left", "right"] {
        objects.push(json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": namespace}}));
        objects.push(in_namespace(config_map("there", "one"), namespace));
        objects.push(in_namespace(
            json!({"apiVersion": rbac, "kind": "RoleBinding", "metadata": {"name": "reads"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reads"},
                "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}]}),
            namespace,
        ));
    }
    let mut options = World::options();
    options.max_prune = "100%".into();
    let digest = world.assign_with("shop", &objects, options.clone())?;
    let report = world.synced("shop", digest).await?;
    ensure!(
        report.objects == 9 && report.problems.is_empty(),
        "{report:?}"
    );
    for (kind, namespace, name) in [
        ("rbac.authorization.k8s.io/v1 ClusterRole", "", "reads"),
        ("scheduling.k8s.io/v1 PriorityClass", "", "high"),
        ("v1 ConfigMap", "shop", "here"),
        ("v1 ConfigMap", "right", "there"),
    ] {
        world.get(kind, namespace, name).await?;
    }
    // What is gone from Git goes, in whatever scope it stood.
    objects.retain(|object| object["kind"] == "Namespace" || object["kind"] == "ConfigMap");
    let digest = world.assign_with("shop", &objects, options)?;
    world.synced("shop", digest).await?;
    for (kind, namespace, name) in [
        ("rbac.authorization.k8s.io/v1 ClusterRole", "", "reads"),
        ("scheduling.k8s.io/v1 PriorityClass", "", "high"),
        ("rbac.authorization.k8s.io/v1 RoleBinding", "left", "reads"),
    ] {
        ensure!(world.find(kind, namespace, name).await?.is_none(), "{kind}");
    }
    Ok(())
}

//! Others write to the cluster, too.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lockstep_proto::v1::sync::Status as Sync;
use serde_json::{Value, json};

use crate::world::{Flavour, World, config_map};

fn deployment(replicas: Option<i64>) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "example.com/web:1", "ports": [{"containerPort": 80}]}]},
            },
        },
    });
    if let Some(replicas) = replicas {
        object["spec"]["replicas"] = replicas.into();
    }
    object
}

async fn quiet(world: &World) {
    let verbs = ["apply", "dry-run"];
    let count = |world: &World| verbs.map(|verb| world.metrics.requests(verb));
    let mut before = count(world);
    loop {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let now = count(world);
        if now == before {
            return;
        }
        before = now;
    }
}

pub async fn a_deleted_object_is_back_within_a_tenth_of_a_second(flavour: Flavour) -> Result<()> {
    let world = World::start(flavour).await?;
    let objects: Vec<_> = (0..100)
        .map(|i| config_map(&format!("map-{i}"), "one"))
        .collect();
    let digest = world.assign("shop", &objects)?;
    world.synced("shop", digest).await?;
    let mut took = Vec::new();
    for i in 0..20 {
        let name = format!("map-{}", i * 5);
        let begin = Instant::now();
        world.delete("v1 ConfigMap", "shop", &name).await?;
        let there = |object: Option<&Value>| object.is_some();
        world
            .becomes(("v1 ConfigMap", "shop", &name), there)
            .await?;
        took.push(begin.elapsed());
    }
    took.sort();
    tracing::info!("put back after {:?} (median)", took[10]);
    ensure!(took[10] < Duration::from_millis(250), "{took:?}");
    world.synced("shop", digest).await?;
    Ok(())
}

pub async fn a_changed_field_is_put_back_and_others_stay(flavour: Flavour) -> Result<()> {
    let world = World::start(flavour).await?;
    let digest = world.assign("shop", &[config_map("a", "one")])?;
    world.synced("shop", digest).await?;
    let patch = json!({"data": {"key": "by hand", "theirs": "x"}, "metadata": {"annotations": {"note": "y"}}});
    world.merge("v1 ConfigMap", "shop", "a", &patch).await?;
    world
        .becomes(("v1 ConfigMap", "shop", "a"), |object| {
            object.is_some_and(|o| {
                o["data"] == json!({"key": "one", "theirs": "x"})
                    && o["metadata"]["annotations"]["note"] == "y"
            })
        })
        .await?;
    quiet(&world).await;
    ensure!(world.metrics.corrections.get() == 1);
    // A field of ours that is removed is drift as well.
    let patch = json!({"data": {"key": null}});
    world.merge("v1 ConfigMap", "shop", "a", &patch).await?;
    world
        .becomes(("v1 ConfigMap", "shop", "a"), |object| {
            object.is_some_and(|o| o["data"]["key"] == "one")
        })
        .await
}

pub async fn a_label_taken_away_is_put_back(flavour: Flavour) -> Result<()> {
    let world = World::start(flavour).await?;
    let digest = world.assign("shop", &[config_map("a", "one")])?;
    world.synced("shop", digest).await?;
    for label in [json!(null), json!("somebody-else")] {
        let patch = json!({"metadata": {"labels": {"lockstep.dev/assignment": label}}});
        world.merge("v1 ConfigMap", "shop", "a", &patch).await?;
        world
            .becomes(("v1 ConfigMap", "shop", "a"), |object| {
                object.is_some_and(|o| o["metadata"]["labels"]["lockstep.dev/assignment"] == "shop")
            })
            .await?;
    }
    Ok(())
}

pub async fn scaling_by_hand_is_undone_and_an_autoscaler_is_left_alone(
    flavour: Flavour,
) -> Result<()> {
    let world = World::start(flavour).await?;
    let mut free = deployment(None);
    free["metadata"]["name"] = json!("free");
    let digest = world.assign("shop", &[deployment(Some(2)), free])?;
    world.synced("shop", digest).await?;
    let patch = json!({"spec": {"replicas": 5}});
    for name in ["free", "web"] {
        world
            .merge("apps/v1 Deployment", "shop", name, &patch)
            .await?;
    }
    world
        .becomes(("apps/v1 Deployment", "shop", "web"), |object| {
            object.is_some_and(|o| o["spec"]["replicas"] == 2)
        })
        .await?;
    quiet(&world).await;
    let free = world.get("apps/v1 Deployment", "shop", "free").await?;
    ensure!(free["spec"]["replicas"] == 5, "{free}");
    // By the subresource, as kubectl scale does it.
    let scale = json!({"spec": {"replicas": 7}});
    let api = world.api("apps/v1 Deployment", "shop");
    let parameters = kube::api::PatchParams::default();
    api.patch_scale("web", &parameters, &kube::api::Patch::Merge(&scale))
        .await?;
    world
        .becomes(("apps/v1 Deployment", "shop", "web"), |object| {
            object.is_some_and(|o| o["spec"]["replicas"] == 2)
        })
        .await
}

pub async fn defaults_and_status_are_not_drift(flavour: Flavour) -> Result<()> {
    let world = World::start(flavour).await?;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    let digest = world.assign("shop", &[deployment(Some(1)), service])?;
    world.synced("shop", digest).await?;
    quiet(&world).await;
    let applies = world.metrics.requests("apply");
    ensure!(applies == 2, "{applies}");
    let status = json!({"status": {"replicas": 1, "observedGeneration": 1}});
    let api = world.api("apps/v1 Deployment", "shop");
    let parameters = kube::api::PatchParams::default();
    api.patch_status("web", &parameters, &kube::api::Patch::Merge(&status))
        .await?;
    quiet(&world).await;
    ensure!(world.metrics.requests("apply") == 2);
    ensure!(world.metrics.requests("dry-run") == 0);
    Ok(())
}

pub async fn an_object_with_a_finalizer_is_named_while_it_goes(flavour: Flavour) -> Result<()> {
    let world = World::start(flavour).await?;
    let mut held = config_map("held", "x");
    held["metadata"]["finalizers"] = json!(["example.com/slow"]);
    let digest = world.assign("shop", &[held, config_map("free", "x")])?;
    world.synced("shop", digest).await?;
    world.entomb("shop");
    let report = world
        .until("shop", |r| r.message.contains("example.com/slow"))
        .await?;
    ensure!(!report.removed && report.sync() == Sync::Applying);
    let patch = json!({"metadata": {"finalizers": null}});
    world.merge("v1 ConfigMap", "shop", "held", &patch).await?;
    world.until("shop", |r| r.removed).await?;
    let selector = kube::api::ListParams::default().labels("lockstep.dev/component=inventory");
    let left = world.api("v1 ConfigMap", "lockstep-system");
    ensure!(left.list(&selector).await?.items.is_empty());
    world.get("v1 Namespace", "", "shop").await?;
    Ok(())
}

//! What must be there before what, and what the API server refuses.

use anyhow::{Result, ensure};
use lockstep_proto::v1::sync::Status as Sync;
use serde_json::{Value, json};

use crate::world::{Flavour, World, config_map};

fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.shop.example.com"},
        "spec": {
            "group": "shop.example.com", "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"size": {"type": "integer"}}},
                    "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}],
        },
    })
}

fn widget(name: &str) -> Value {
    json!({"apiVersion": "shop.example.com/v1", "kind": "Widget",
        "metadata": {"name": name}, "spec": {"size": 1}})
}

pub async fn definitions_come_before_their_objects_and_go_after_them(
    flavour: Flavour,
) -> Result<()> {
    let world = World::start(flavour).await?;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "extra"}});
    let mut inside = widget("inside");
    inside["metadata"]["namespace"] = json!("extra");
    let objects = [
        widget("w"),
        inside,
        namespace,
        definition(),
        config_map("c", "x"),
    ];
    let digest = world.assign("shop", &objects)?;
    let report = world.synced("shop", digest).await?;
    ensure!(report.objects == 5, "{report:?}");
    world.get("shop.example.com/v1 Widget", "shop", "w").await?;
    world
        .get("shop.example.com/v1 Widget", "extra", "inside")
        .await?;

    // A custom resource is judged by its conditions, and watched.
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "Busy",
        "message": "wait", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
    let api = world.api("shop.example.com/v1 Widget", "shop");
    let parameters = kube::api::PatchParams::default();
    api.patch_status("w", &parameters, &kube::api::Patch::Merge(&status))
        .await?;
    world
        .until("shop", |r| {
            r.problems.iter().any(|p| p.message == "Busy: wait")
        })
        .await?;

    // Without controllers the namespace never finishes: it is let go of first.
    let mut options = World::options();
    options.prune = false;
    let rest = world.assign_with("shop", &objects[..2], options)?;
    world
        .until("shop", |r| {
            r.target_digest == rest.to_string() && !r.message.is_empty()
        })
        .await?;
    Ok(())
}

pub async fn an_immutable_field_is_named(flavour: Flavour) -> Result<()> {
    let world = World::start(flavour).await?;
    let map = |value: &str| {
        let mut map = config_map("fixed", value);
        map["immutable"] = json!(true);
        map
    };
    let first = world.assign("shop", &[map("one"), config_map("free", "one")])?;
    world.synced("shop", first).await?;
    let second = world.assign("shop", &[map("two"), config_map("free", "two")])?;
    let report = world.until("shop", |r| r.sync() == Sync::Failed).await?;
    ensure!(report.problems.len() == 1, "{report:?}");
    ensure!(
        report.problems[0].object == "v1 ConfigMap shop/fixed",
        "{report:?}"
    );
    ensure!(
        report.problems[0]
            .message
            .contains(".data.key cannot be changed once the object exists"),
        "{report:?}"
    );
    ensure!(
        report.applied_digest == first.to_string() && report.target_digest == second.to_string()
    );
    world
        .becomes(("v1 ConfigMap", "shop", "free"), |object| {
            object.is_some_and(|o| o["data"]["key"] == "two")
        })
        .await?;
    let back = world.assign("shop", &[map("one"), config_map("free", "three")])?;
    world.synced("shop", back).await?;
    Ok(())
}

pub async fn a_definition_deleted_by_hand_comes_back_with_its_objects(
    flavour: Flavour,
) -> Result<()> {
    let world = World::start(flavour).await?;
    let digest = world.assign("shop", &[widget("w"), definition(), config_map("c", "x")])?;
    world.synced("shop", digest).await?;
    let first = world.get("shop.example.com/v1 Widget", "shop", "w").await?;
    world
        .delete(
            "apiextensions.k8s.io/v1 CustomResourceDefinition",
            "",
            "widgets.shop.example.com",
        )
        .await?;
    let begin = std::time::Instant::now();
    loop {
        // While the kind is not served, looking for it is an error.
        if let Ok(Some(again)) = world.find("shop.example.com/v1 Widget", "shop", "w").await
            && again["metadata"]["uid"] != first["metadata"]["uid"]
        {
            break;
        }
        ensure!(
            begin.elapsed().as_secs() < 60,
            "the widget did not come back"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    world.synced("shop", digest).await?;
    Ok(())
}

pub async fn one_document_in_each_kind_that_people_commit(flavour: Flavour) -> Result<()> {
    let world = World::start(flavour).await?;
    let container = json!({"name": "c", "image": "example.com/c:1"});
    let template =
        json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [container]}});
    let job =
        json!({"metadata": {}, "spec": {"restartPolicy": "Never", "containers": [container]}});
    let selector = json!({"matchLabels": {"app": "x"}});
    let objects = [
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": {"selector": selector, "template": template}}),
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "x"}, "spec": {"serviceName": "x", "selector": selector, "template": template}}),
        json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "x"}, "spec": {"selector": selector, "template": template}}),
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": {"template": job}}),
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "x"}, "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": job}}}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"ports": [{"port": 80}]}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "stringData": {"a": "b"}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "x"}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "x"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "x"}, "spec": {"podSelector": {}}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "x"}, "spec": {"defaultBackend": {"service": {"name": "x", "port": {"number": 80}}}}}),
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "x"}, "spec": {"minAvailable": 1, "selector": selector}}),
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "x"}, "spec": {"maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}}}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "x:y"}, "rules": []}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "lockstep:x", "namespace": "ignored"}, "rules": []}),
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "x"}, "value": 1}),
    ];
    let mut options = World::options();
    options.prune_kinds = vec!["PersistentVolumeClaim".into()];
    let digest = world.assign_with("shop", &objects, options)?;
    let report = world.synced("shop", digest).await?;
    ensure!(report.objects == 16, "{report:?}");
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let applies = world.metrics.requests("apply");
    ensure!(applies == 16, "{applies}");
    world.entomb("shop");
    // No controller is there to take the protection off, if the server put it on.
    let claim = ("v1 PersistentVolumeClaim", "shop", "x");
    if flavour == Flavour::Api {
        world
            .until("shop", |r| {
                r.message.contains("kubernetes.io/pvc-protection")
            })
            .await?;
        let patch = json!({"metadata": {"finalizers": null}});
        world.merge(claim.0, claim.1, claim.2, &patch).await?;
    }
    world.until("shop", |r| r.removed).await?;
    Ok(())
}

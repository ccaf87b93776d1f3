//! How well things are, in the Assignment's own words and in ours.

use anyhow::{Context as _, Result, ensure};
use lockstep_proto::v1::health::Status as Health;
use lockstep_proto::v1::{ApplyOptions, HealthRule, Report};
use serde_json::{Value, json};

use crate::world::{Flavour, World, config_map};

fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})
}

fn widget(size: u32) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget",
        "metadata": {"name": "a"}, "spec": {"size": size}})
}

fn options(healthy: &str) -> ApplyOptions {
    let rule = HealthRule {
        group: "example.com".into(),
        kind: "Widget".into(),
        healthy: healthy.into(),
        degraded: "status.?phase.orValue('') == 'Broken'".into(),
        message: "'phase ' + status.phase".into(),
        ..HealthRule::default()
    };
    ApplyOptions {
        health: vec![rule],
        ..World::options()
    }
}

fn problem<'a>(report: &'a Report, object: &str) -> Option<&'a str> {
    let mut all = report.problems.iter();
    let found = all.find(|problem| problem.object == object)?;
    Some(found.message.as_str())
}

pub async fn a_kind_that_nobody_knows_is_judged_by_the_assignments_expressions(
    flavour: Flavour,
) -> Result<()> {
    let world = World::start(flavour).await?;
    let objects = [definition(), widget(3)];
    let small = options("spec.size <= 3 && status.?phase.orValue('Running') == 'Running'");
    let digest = world.assign_with("shop", &objects, small)?;
    let report = world.synced("shop", digest).await?;
    if report.health() != Health::Healthy {
        world
            .until("shop", |report| report.health() == Health::Healthy)
            .await?;
    }

    // Each event is judged by it.
    let broken = json!({"status": {"phase": "Broken"}});
    world
        .merge("example.com/v1 Widget", "shop", "a", &broken)
        .await?;
    let report = world
        .until("shop", |report| report.health() == Health::Degraded)
        .await?;
    let said = problem(&report, "example.com/v1 Widget shop/a");
    ensure!(said == Some("phase Broken"), "{report:?}");
    let mended = json!({"status": {"phase": "Running"}});
    world
        .merge("example.com/v1 Widget", "shop", "a", &mended)
        .await?;
    world
        .until("shop", |report| report.health() == Health::Healthy)
        .await?;

    // Another rule is another judgement, without any event.
    let applies = world.metrics.requests("apply");
    world.assign_with("shop", &objects, options("spec.size <= 2"))?;
    let report = world
        .until("shop", |report| {
            report.health() == Health::Progressing && !report.problems.is_empty()
        })
        .await?;
    let said = problem(&report, "example.com/v1 Widget shop/a");
    ensure!(
        said.is_some_and(|said| said.contains("phase Running") || said.contains("new rule")),
        "{report:?}"
    );
    ensure!(
        world.metrics.requests("apply") == applies,
        "nothing changed"
    );
    world.assign_with("shop", &objects, options("spec.size == 3"))?;
    world
        .until("shop", |report| report.health() == Health::Healthy)
        .await?;
    Ok(())
}

fn class(name: &str, binds: &str) -> Value {
    json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": name}, "provisioner": "example.com/none",
        "volumeBindingMode": binds})
}

fn claim(name: &str, class: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"storageClassName": class, "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}})
}

pub async fn a_claim_that_waits_for_its_first_consumer_is_healthy(flavour: Flavour) -> Result<()> {
    let world = World::start(flavour).await?;
    let objects = [
        class("local", "WaitForFirstConsumer"),
        class("fast", "Immediate"),
        claim("waits", "local"),
        claim("pending", "fast"),
        claim("lost", "nowhere"),
    ];
    let digest = world.assign("shop", &objects)?;
    world.synced("shop", digest).await?;
    let report = world
        .until("shop", |report| {
            problem(report, "v1 PersistentVolumeClaim shop/lost")
                .is_some_and(|said| said.contains("no storage class nowhere"))
                && problem(report, "v1 PersistentVolumeClaim shop/pending")
                    .is_some_and(|said| said.contains("not bound to a volume yet"))
        })
        .await?;
    ensure!(
        problem(&report, "v1 PersistentVolumeClaim shop/waits").is_none(),
        "{report:?}"
    );
    // Once for all claims of a class, and again for the one that is missing.
    ensure!(world.metrics.requests("get") < 12, "asked too often");

    // Its consumer has been given a node: now it is on its way.
    let chosen =
        json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "node-1"}}});
    world
        .merge("v1 PersistentVolumeClaim", "shop", "waits", &chosen)
        .await?;
    world
        .until("shop", |report| {
            problem(report, "v1 PersistentVolumeClaim shop/waits")
                == Some("waits for a volume on node node-1")
        })
        .await?;
    Ok(())
}

pub async fn what_is_not_ready_in_time_is_degraded_and_says_why(flavour: Flavour) -> Result<()> {
    let world = World::start(flavour).await?;
    let never = HealthRule {
        group: "core".into(),
        kind: "ConfigMap".into(),
        healthy: "object.data.key == 'two'".into(),
        message: "'the key is ' + object.data.key".into(),
        ..HealthRule::default()
    };
    let options = ApplyOptions {
        timeout_seconds: 2,
        health: vec![never],
        ..World::options()
    };
    let digest = world.assign_with("shop", &[config_map("a", "one")], options.clone())?;
    world.synced("shop", digest).await?;
    let report = world
        .until("shop", |report| report.health() == Health::Degraded)
        .await?;
    let said = problem(&report, "v1 ConfigMap shop/a").context("no problem")?;
    ensure!(said == "not ready within 2s: the key is one", "{said}");

    // Late is not never.
    let digest = world.assign_with("shop", &[config_map("a", "two")], options)?;
    world.synced("shop", digest).await?;
    world
        .until("shop", |report| report.health() == Health::Healthy)
        .await?;
    Ok(())
}

//! What goes wrong around the agent. After each: converged, nothing deleted
//! that should stand, nothing left that should go, and the status true.

use std::time::Duration;

use anyhow::{Result, ensure};
use lockstep_proto::v1::Report;
use lockstep_proto::v1::sync::Status as Sync;
use lockstep_sandbox::faults::{Effect, Fault};
use serde_json::{Value, json};

use crate::world::{Flavour, World, config_map};

fn maps(n: usize, value: &str) -> Vec<Value> {
    (0..n)
        .map(|i| config_map(&format!("map-{i:02}"), value))
        .collect()
}

/// Every object as in Git, and none besides.
async fn holds(world: &World, n: usize, value: &str) -> Result<()> {
    let selector = kube::api::ListParams::default().labels("lockstep.dev/assignment=shop");
    let all = world.api("v1 ConfigMap", "shop").list(&selector).await?;
    ensure!(
        all.items.len() == n,
        "{} objects, wanted {n}",
        all.items.len()
    );
    for object in all {
        ensure!(object.data["data"]["key"] == value, "{object:?}");
    }
    Ok(())
}

pub async fn whatever_the_api_server_answers_all_lands(flavour: Flavour) -> Result<()> {
    let status = |code, wait| Effect::Status {
        code,
        retry_after_seconds: wait,
    };
    let effects = [
        status(429, Some(1)),
        status(500, None),
        status(503, Some(1)),
        Effect::Conflict,
        Effect::Reset,
        Effect::Latency { millis: 700 },
    ];
    let world = World::start(flavour).await?;
    for (round, effect) in effects.into_iter().enumerate() {
        let value = round.to_string();
        let writes = ["patch", "create", "update", "delete"];
        let fault = Fault::new(effect.clone())
            .probability(0.3)
            .times(60)
            .verbs(&writes);
        world.sandbox()?.faults().add(fault);
        // Each round changes all and prunes, or brings back, one.
        let n = 20 - round % 2;
        let digest = world.assign("shop", &maps(n, &value))?;
        world.synced("shop", digest).await?;
        world.sandbox()?.faults().clear();
        holds(&world, n, &value).await?;
    }
    Ok(())
}

pub async fn a_webhook_that_refuses_one_of_twenty_is_named_and_nineteen_land(
    flavour: Flavour,
) -> Result<()> {
    let world = World::start(flavour).await?;
    let refuse = Effect::Refuse {
        message: "not this one".to_owned(),
    };
    world
        .sandbox()?
        .faults()
        .add(Fault::new(refuse).name("map-07"));
    let digest = world.assign("shop", &maps(20, "one"))?;
    let report = world.until("shop", |r| r.sync() == Sync::Failed).await?;
    ensure!(
        report.message.contains("map-07") && report.message.contains("not this one"),
        "{report:?}"
    );
    ensure!(report.problems.len() == 1, "{report:?}");
    holds(&world, 19, "one").await?;
    world.sandbox()?.faults().clear();
    world.synced("shop", digest).await?;
    holds(&world, 20, "one").await
}

pub async fn rights_withdrawn_in_the_middle_are_said_and_taken_up_again(
    flavour: Flavour,
) -> Result<()> {
    let world = World::start(flavour).await?;
    let digest = world.assign("shop", &maps(20, "one"))?;
    world.synced("shop", digest).await?;
    let deny = Fault::new(Effect::Deny)
        .verbs(&["patch", "delete"])
        .namespace("shop");
    world.sandbox()?.faults().add(deny);
    let digest = world.assign("shop", &maps(19, "two"))?;
    let report = world.until("shop", |r| r.sync() == Sync::Failed).await?;
    ensure!(
        report.message.contains("cannot access resource"),
        "{report:?}"
    );
    holds(&world, 20, "one").await?;
    world.sandbox()?.faults().clear();
    world.synced("shop", digest).await?;
    holds(&world, 19, "two").await
}

pub async fn watches_that_expire_miss_nothing(flavour: Flavour) -> Result<()> {
    let world = World::start(flavour).await?;
    let digest = world.assign("shop", &maps(20, "one"))?;
    world.synced("shop", digest).await?;
    for round in 0..5 {
        world.sandbox()?.expire_watches();
        let name = format!("map-{round:02}");
        world.delete("v1 ConfigMap", "shop", &name).await?;
        let edit = json!({"data": {"key": "by hand"}});
        world
            .merge("v1 ConfigMap", "shop", &format!("map-1{round}"), &edit)
            .await?;
        let there = |object: Option<&Value>| object.is_some();
        world
            .becomes(("v1 ConfigMap", "shop", &name), there)
            .await?;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.synced("shop", digest).await?;
    holds(&world, 20, "one").await
}

pub async fn a_definition_deleted_under_live_objects_comes_back(flavour: Flavour) -> Result<()> {
    let world = World::start(flavour).await?;
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema":
                {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    let widget = |i| {
        json!({"apiVersion": "example.com/v1", "kind": "Widget",
        "metadata": {"name": format!("w{i}")}, "spec": {"size": i}})
    };
    let mut objects: Vec<_> = (0..5).map(widget).collect();
    objects.push(definition);
    objects.extend(maps(5, "one"));
    let digest = world.assign("shop", &objects)?;
    world.synced("shop", digest).await?;
    let kind = "apiextensions.k8s.io/v1 CustomResourceDefinition";
    world.delete(kind, "", "widgets.example.com").await?;
    for i in 0..5 {
        let there = |object: Option<&Value>| object.is_some();
        let name = format!("w{i}");
        world
            .becomes(("example.com/v1 Widget", "shop", &name), there)
            .await?;
    }
    world.synced("shop", digest).await?;
    holds(&world, 5, "one").await
}

pub async fn a_namespace_stuck_in_deletion_is_named_and_made_again(flavour: Flavour) -> Result<()> {
    let world = World::start(flavour).await?;
    let held = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "stuck", "finalizers": ["example.com/slow"]}});
    let mut inside = config_map("inside", "one");
    inside["metadata"]["namespace"] = json!("stuck");
    let digest = world.assign("shop", &[held, inside, config_map("map-00", "one")])?;
    world.synced("shop", digest).await?;
    world.delete("v1 Namespace", "", "stuck").await?;
    let named = |r: &Report| {
        let mut problems = r.problems.iter();
        r.message.contains("stuck") || problems.any(|p| p.object == "v1 Namespace stuck")
    };
    world.until("shop", named).await?;
    holds(&world, 1, "one").await?;
    world
        .merge(
            "v1 Namespace",
            "",
            "stuck",
            &json!({"metadata": {"finalizers": null}}),
        )
        .await?;
    if flavour == Flavour::Api {
        // Nobody finalizes namespaces here: that is a controller's.
        return Ok(());
    }
    let there = |object: Option<&Value>| {
        object.is_some_and(|o| o["metadata"]["deletionTimestamp"].is_null())
    };
    world
        .becomes(("v1 ConfigMap", "stuck", "inside"), there)
        .await?;
    world.synced("shop", digest).await?;
    Ok(())
}

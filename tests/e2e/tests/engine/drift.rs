//! Which fields differ, who changed them, and what is left as it is found: by
//! the words of the API server itself.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kube::api::{Patch, PatchParams};
use lockstep_proto::v1::object_event::Type;
use lockstep_proto::v1::sync::Status as Sync;
use lockstep_proto::v1::{ApplyOptions, IgnoreRule, drift};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::world::{Flavour, World, config_map};

const DEPLOYMENT: &str = "apps/v1 Deployment";

fn deployment(name: &str, image: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "web", "image": image, "ports": [{"containerPort": 80}],
                    "resources": {"requests": {"cpu": "1000m"}}}]},
            },
        },
    })
}

async fn settled(world: &World) {
    let count = || ["apply", "dry-run"].map(|verb| world.metrics.requests(verb));
    let mut before = count();
    loop {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let now = count();
        if now == before {
            return;
        }
        before = now;
    }
}

/// Strategic merge, as `kubectl set image` does it.
async fn patch(world: &World, name: &str, manager: &str, patch: &Value) -> Result<()> {
    let parameters = PatchParams {
        field_manager: Some(manager.to_owned()),
        ..PatchParams::default()
    };
    let api = world.api(DEPLOYMENT, "shop");
    api.patch(name, &parameters, &Patch::Strategic(patch))
        .await?;
    Ok(())
}

pub async fn who_changed_which_field_is_told_and_put_back(flavour: Flavour) -> Result<()> {
    let world = World::start(flavour).await?;
    let digest = world.assign("shop", &[deployment("web", "web:1", 2)])?;
    world.synced("shop", digest).await?;
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:2"}]}}}});
    patch(
        &world,
        "web",
        "annotator",
        &json!({"metadata": {"annotations": {"note": "x"}}}),
    )
    .await?;
    patch(&world, "web", "kubectl-set", &image).await?;
    let back = |object: Option<&Value>| {
        object.is_some_and(|o| o["spec"]["template"]["spec"]["containers"][0]["image"] == "web:1")
    };
    world.becomes((DEPLOYMENT, "shop", "web"), back).await?;
    settled(&world).await;
    let told = world.told().await;
    ensure!(told.len() == 2, "{told:#?}");
    for (event, kind) in told.iter().zip([Type::Drifted, Type::Corrected]) {
        ensure!(
            event.r#type() == kind && event.manager == "kubectl-set",
            "{event:?}"
        );
        ensure!(event.object == "apps/v1 Deployment shop/web", "{event:?}");
        ensure!(
            event.fields == [".spec.template.spec.containers[name=web].image"],
            "{event:?}"
        );
    }
    Ok(())
}

pub async fn an_autoscaler_keeps_what_is_ignored(flavour: Flavour) -> Result<()> {
    let world = World::start(flavour).await?;
    let rules = [
        IgnoreRule {
            kind: "Deployment".into(),
            name: "pointed".into(),
            json_pointers: vec!["/spec/replicas".into()],
            ..IgnoreRule::default()
        },
        IgnoreRule {
            name: "managed".into(),
            field_managers: vec!["autoscaler".into()],
            ..IgnoreRule::default()
        },
    ];
    let options = ApplyOptions {
        ignore: rules.into(),
        ..World::options()
    };
    let names = ["pointed", "managed"];
    let objects = |image| names.map(|name| deployment(name, image, 2));
    let digest = world.assign_with("shop", &objects("web:1"), options.clone())?;
    world.synced("shop", digest).await?;
    for name in names {
        let found = world.get(DEPLOYMENT, "shop", name).await?;
        ensure!(
            found["spec"]["replicas"] == 2,
            "Git's value where there is none: {found}"
        );
        patch(
            &world,
            name,
            "autoscaler",
            &json!({"spec": {"replicas": 5}}),
        )
        .await?;
    }
    settled(&world).await;
    let digest = world.assign_with("shop", &objects("web:2"), options.clone())?;
    world.synced("shop", digest).await?;
    settled(&world).await;
    for name in names {
        let found = world.get(DEPLOYMENT, "shop", name).await?;
        ensure!(found["spec"]["replicas"] == 5, "{found}");
        patch(
            &world,
            name,
            "autoscaler",
            &json!({"spec": {"replicas": 7}}),
        )
        .await?;
    }
    settled(&world).await;
    let mut objects = objects("web:2");
    for object in &mut objects {
        // Git gives it up: it does not fall to its default.
        let spec = object["spec"].as_object_mut();
        spec.map(|spec| spec.remove("replicas"));
    }
    let digest = world.assign_with("shop", &objects, options)?;
    world.synced("shop", digest).await?;
    settled(&world).await;
    for name in names {
        let found = world.get(DEPLOYMENT, "shop", name).await?;
        ensure!(found["spec"]["replicas"] == 7, "{found}");
    }
    let told = world.told().await;
    ensure!(told.is_empty(), "{told:#?}");
    Ok(())
}

pub async fn reported_drift_is_left(flavour: Flavour) -> Result<()> {
    let world = World::start(flavour).await?;
    let options = ApplyOptions {
        drift: drift::Policy::Report.into(),
        ..World::options()
    };
    let objects = [config_map("a", "one"), config_map("b", "one")];
    let digest = world.assign_with("shop", &objects, options.clone())?;
    world.synced("shop", digest).await?;
    let edit = json!({"data": {"key": "by hand"}});
    world.merge("v1 ConfigMap", "shop", "a", &edit).await?;
    world.delete("v1 ConfigMap", "shop", "b").await?;
    let report = world.until("shop", |r| r.drifted == 2).await?;
    ensure!(report.sync() == Sync::OutOfSync, "{report:?}");
    let words: Vec<_> = report.problems.iter().map(|p| &*p.message).collect();
    ensure!(
        words
            .iter()
            .any(|w| w.starts_with("a-person changed .data.key")),
        "{words:?}"
    );
    settled(&world).await;
    ensure!(world.find("v1 ConfigMap", "shop", "b").await?.is_none());
    let objects = [config_map("a", "two"), config_map("b", "two")];
    let digest = world.assign_with("shop", &objects, options)?;
    world.synced("shop", digest).await?;
    let found = world.get("v1 ConfigMap", "shop", "a").await?;
    ensure!(found["data"]["key"] == "two", "{found}");
    Ok(())
}

/// A property: whatever others add, in whatever way, is no drift; whatever
/// they take of ours is, and only that is put back.
pub async fn nothing_that_others_add_is_drift(flavour: Flavour) -> Result<()> {
    let seed = std::env::var("LOCKSTEP_DRIFT_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    let held = others_add(flavour, StdRng::seed_from_u64(seed)).await;
    held.with_context(|| format!("LOCKSTEP_DRIFT_SEED={seed}"))
}

async fn others_add(flavour: Flavour, mut rng: StdRng) -> Result<()> {
    let world = World::start(flavour).await?;
    let kinds = ["v1 ConfigMap", "v1 Service", DEPLOYMENT, "v1 Secret"];
    let objects: Vec<(usize, Value)> = (0..24)
        .map(|i| (i % 4, object(&mut rng, i, i % 4)))
        .collect();
    let bodies: Vec<_> = objects.iter().map(|(_, object)| object.clone()).collect();
    let digest = world.assign("shop", &bodies)?;
    world.synced("shop", digest).await?;
    settled(&world).await;
    ensure!(world.told().await.is_empty(), "defaults are no drift");
    ensure!(world.metrics.corrections.get() == 0);
    for round in 0..40 {
        let (kind, object) = &objects[rng.random_range(0..objects.len())];
        let name = object["metadata"]["name"].as_str().unwrap_or("");
        let key = format!("other-{}", rng.random_range(0..5));
        let value = format!("v{round}");
        let edit = match (rng.random_range(0..4), *kind) {
            (0, _) => json!({"metadata": {"annotations": {key: value}}}),
            (1, _) => json!({"metadata": {"labels": {key: value}}}),
            (_, 0) => json!({"data": {key: value}}),
            (_, 1) => {
                json!({"spec": {"selector": {key: value}}, "metadata": {"annotations": {"n": value}}})
            }
            (2, 2) => json!({"spec": {"minReadySeconds": round, "revisionHistoryLimit": 3}}),
            (_, 2) => {
                json!({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": round + 1}}}})
            }
            (_, _) => json!({"data": {key: "eA=="}}),
        };
        // A Service's selector is one atomic field, and ours.
        let ours = *kind == 1 && edit["spec"].is_object();
        world.merge(kinds[*kind], "shop", name, &edit).await?;
        if ours {
            let wanted = object["spec"]["selector"].clone();
            let back = move |object: Option<&Value>| {
                object.is_some_and(|o| o["spec"]["selector"] == wanted)
            };
            world.becomes((kinds[*kind], "shop", name), back).await?;
            settled(&world).await;
            let told = world.told().await;
            ensure!(
                told.len() == 2 && told[0].manager == "a-person",
                "{told:#?}"
            );
        }
    }
    settled(&world).await;
    let told = world.told().await;
    ensure!(told.is_empty(), "{told:#?}");
    let report = world.synced("shop", digest).await?;
    ensure!(report.drifted == 0, "{report:?}");
    Ok(())
}

fn object(rng: &mut StdRng, i: usize, kind: usize) -> Value {
    let name = format!("o{i}");
    let mut object = match kind {
        0 => config_map(&name, "one"),
        1 => json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": [{"port": 80}, {"name": "b", "port": 81}]}}),
        2 => deployment(&name, "web:1", rng.random_range(1..3)),
        _ => json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "stringData": {"key": "value"}}),
    };
    if kind == 1 {
        // Unnamed ports may not stand beside others.
        object["spec"]["ports"][0]["name"] = json!("a");
    }
    if rng.random_bool(0.5) {
        object["metadata"]["labels"] = json!({"ours": "1"});
    }
    if rng.random_bool(0.5) {
        object["metadata"]["annotations"] = json!({"ours": "1", "empty": ""});
    }
    object
}

//! Whose objects are, what may be removed, and as whom it is done.

use anyhow::{Result, ensure};
use lockstep_agent::caps::Caps;
use lockstep_proto::v1::adopt;
use lockstep_proto::v1::sync::Status as Sync;
use serde_json::{Value, json};

use crate::world::{Flavour, World, config_map};

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

fn deployment(name: &str, app: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": app}},
            "template": {"metadata": {"labels": {"app": app}},
                "spec": {"containers": [{"name": "main", "image": "example.com/app:1"}]}}}})
}

pub async fn what_was_there_is_adopted_as_it_is_unless_somebody_owns_it(
    flavour: Flavour,
) -> Result<()> {
    let world = World::start(flavour).await?;
    world.create("v1 Namespace", "", &namespace("shop")).await?;
    world
        .create("apps/v1 Deployment", "shop", &deployment("web", "web"))
        .await?;
    let mut helm = config_map("helm", "theirs");
    helm["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "Helm"});
    helm["metadata"]["annotations"] = json!({"meta.helm.sh/release-name": "web",
        "meta.helm.sh/release-namespace": "shop"});
    world.create("v1 ConfigMap", "shop", &helm).await?;
    let before = world.get("apps/v1 Deployment", "shop", "web").await?;

    let objects = [
        deployment("web", "web"),
        config_map("helm", "ours"),
        config_map("new", "x"),
    ];
    world.assign("shop", &objects)?;
    let report = world
        .until("shop", |r| {
            r.message.contains("Helm release shop/web owns it")
        })
        .await?;
    ensure!(report.sync() == Sync::Failed, "{report:?}");
    let theirs = world.get("v1 ConfigMap", "shop", "helm").await?;
    ensure!(theirs["data"]["key"] == "theirs", "{theirs}");

    let mut options = World::options();
    options.adopt = adopt::Policy::Always.into();
    let digest = world.assign_with("shop", &objects, options)?;
    world.synced("shop", digest).await?;
    let taken = world.get("v1 ConfigMap", "shop", "helm").await?;
    ensure!(taken["data"]["key"] == "ours", "{taken}");
    let after = world.get("apps/v1 Deployment", "shop", "web").await?;
    ensure!(
        after["metadata"]["uid"] == before["metadata"]["uid"]
            && after["metadata"]["generation"] == before["metadata"]["generation"],
        "it was restarted: {after}"
    );
    Ok(())
}

pub async fn a_namespace_stays_unless_its_kind_may_be_pruned(flavour: Flavour) -> Result<()> {
    let mut world = World::start(flavour).await?;
    let mut inside = config_map("inside", "x");
    inside["metadata"]["namespace"] = json!("other");
    for (kinds, stands) in [(vec![], true), (vec!["Namespace".to_owned()], false)] {
        let mut options = World::options();
        options.prune_kinds = kinds;
        let digest = world.assign_with("shop", &[namespace("other"), inside.clone()], options)?;
        world.synced("shop", digest).await?;
        world.entomb("shop");
        world.restart().await;
        if stands {
            let report = world.until("shop", |r| r.removed).await?;
            ensure!(
                report
                    .message
                    .contains("pruneKinds does not name Namespace"),
                "{report:?}"
            );
            let other = world.get("v1 Namespace", "", "other").await?;
            ensure!(
                other["metadata"]["deletionTimestamp"].is_null()
                    && other["metadata"]["labels"]["lockstep.dev/assignment"].is_null(),
                "{other}"
            );
        } else {
            // Without controllers it never ends, but it is going.
            world
                .becomes(("v1 Namespace", "", "other"), |object| {
                    object.is_none_or(|o| !o["metadata"]["deletionTimestamp"].is_null())
                })
                .await?;
        }
    }
    Ok(())
}

pub async fn a_first_apply_of_a_thousand_asks_a_handful_of_times(flavour: Flavour) -> Result<()> {
    let world = World::start(flavour).await?;
    world.create("v1 Namespace", "", &namespace("shop")).await?;
    world
        .create("v1 ConfigMap", "shop", &config_map("map-0007", "theirs"))
        .await?;
    let objects: Vec<_> = (0..1_000)
        .map(|i| config_map(&format!("map-{i:04}"), "x"))
        .collect();
    let reads = |world: &World| world.metrics.requests("get") + world.metrics.requests("list");
    let before = reads(&world);
    let digest = world.assign("shop", &objects)?;
    world.synced("shop", digest).await?;
    let asked = reads(&world) - before;
    ensure!(asked < 20, "{asked} reads");
    Ok(())
}

pub async fn writes_need_the_rights_of_the_account_and_no_others(flavour: Flavour) -> Result<()> {
    let mut world = World::start(flavour).await?;
    world.create("v1 Namespace", "", &namespace("shop")).await?;
    let file = "assignments:\n  shop: {serviceAccount: shop/deployer}\n";
    world.caps = Caps::parse("agent.yaml", file)?;
    world.restart().await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    let digest = world.assign("shop", &[config_map("a", "x"), secret])?;
    let report = world.until("shop", |r| r.problems.len() == 2).await?;
    ensure!(
        report.problems[0]
            .message
            .contains("system:serviceaccount:shop:deployer")
            && report.problems[0]
                .message
                .contains("service account shop/deployer, which agent.yaml names, lacks the right"),
        "{report:?}"
    );
    ensure!(world.find("v1 ConfigMap", "shop", "a").await?.is_none());

    // To the account's groups: they come along with it.
    let rbac = "rbac.authorization.k8s.io";
    let role = |resource: &str| {
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "Role", "metadata": {"name": resource},
            "rules": [{"apiGroups": [""], "resources": [resource], "verbs": ["create", "patch", "delete"]}]})
    };
    let binding = |resource: &str| {
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": {"name": resource},
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": resource},
            "subjects": [{"apiGroup": rbac, "kind": "Group", "name": "system:serviceaccounts:shop"}]})
    };
    for (resource, kind) in [("configmaps", "ConfigMap"), ("secrets", "Secret")] {
        world
            .create("rbac.authorization.k8s.io/v1 Role", "shop", &role(resource))
            .await?;
        world
            .create(
                "rbac.authorization.k8s.io/v1 RoleBinding",
                "shop",
                &binding(resource),
            )
            .await?;
        let name = if kind == "Secret" { "s" } else { "a" };
        world
            .becomes((&format!("v1 {kind}"), "shop", name), |object| {
                object.is_some()
            })
            .await?;
        if kind == "ConfigMap" {
            ensure!(world.find("v1 Secret", "shop", "s").await?.is_none());
        }
    }
    world.synced("shop", digest).await?;
    // Another assignment acts as the agent itself.
    let other = world.assign("other", &[namespace("elsewhere")])?;
    world.synced("other", other).await?;
    world.entomb("shop");
    world.until("shop", |r| r.removed).await?;
    Ok(())
}

/// An object, what is changed in it, and the field that cannot be.
fn fixed_fields() -> Vec<(Value, Value, &'static str)> {
    let job = |image: &str| {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once"},
            "spec": {"template": {"spec": {"restartPolicy": "Never",
                "containers": [{"name": "main", "image": image}]}}}})
    };
    let service = |ip: &str| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"clusterIP": ip, "selector": {"app": "web"}, "ports": [{"port": 80}]}})
    };
    let binding = |role: &str| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "bound"}, "subjects": [],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}})
    };
    let class = |provisioner: &str| {
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {"name": "fast"}, "provisioner": provisioner})
    };
    let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
        "immutable": true, "data": {"k": "b25l"}});
    let first = secret.clone();
    secret["data"]["k"] = json!("dHdv");
    vec![
        (
            deployment("web", "web"),
            deployment("web", "front"),
            ".spec.selector",
        ),
        (
            job("example.com/job:1"),
            job("example.com/job:2"),
            ".spec.template",
        ),
        (service("None"), service("10.96.0.44"), ".spec.clusterIP"),
        (binding("view"), binding("edit"), ".roleRef"),
        (
            class("example.com/a"),
            class("example.com/b"),
            ".provisioner",
        ),
        (first, secret, ".data"),
    ]
}

pub async fn fields_that_cannot_change_are_named_and_replaced_where_the_object_asks(
    flavour: Flavour,
) -> Result<()> {
    let world = World::start(flavour).await?;
    let cases = fixed_fields();
    let before: Vec<Value> = cases.iter().map(|(before, ..)| before.clone()).collect();
    let mut after: Vec<Value> = cases.iter().map(|(_, after, _)| after.clone()).collect();
    let first = world.assign("shop", &before)?;
    world.synced("shop", first).await?;
    // Stages go one by one: the class and the binding come first.
    let mut seen = std::collections::BTreeSet::new();
    for (i, (_, _, field)) in cases.iter().enumerate() {
        let mut objects = before.clone();
        objects[i] = after[i].clone();
        world.assign("shop", &objects)?;
        let kind = after[i]["kind"].as_str().unwrap_or_default().to_owned();
        let report = world
            .until("shop", |r| {
                r.problems
                    .iter()
                    .any(|p| p.object.contains(&kind) && p.sync() == Sync::Failed)
            })
            .await?;
        let said = &report.problems[0].message;
        ensure!(
            said.contains(field) && said.contains("lockstep.dev/replace: OnImmutable"),
            "{kind}: {said}"
        );
        seen.insert(kind);
    }
    ensure!(seen.len() == cases.len(), "{seen:?}");
    for object in &mut after {
        object["metadata"]["annotations"] = json!({"lockstep.dev/replace": "OnImmutable"});
    }
    let second = world.assign("shop", &after)?;
    world.synced("shop", second).await?;
    let web = world.get("apps/v1 Deployment", "shop", "web").await?;
    ensure!(
        web["spec"]["selector"]["matchLabels"]["app"] == "front",
        "{web}"
    );
    Ok(())
}

pub async fn a_secrets_content_is_in_no_failure(flavour: Flavour) -> Result<()> {
    let world = World::start(flavour).await?;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
        "stringData": {"pin": 48_151_623}, "data": {"k": "not base64: hunter2"}});
    world.assign("shop", &[secret])?;
    let report = world.until("shop", |r| r.sync() == Sync::Failed).await?;
    let said = format!("{report:?}");
    ensure!(
        !said.contains("48151623") && !said.contains("hunter2"),
        "{said}"
    );
    Ok(())
}

pub async fn a_statefulset_is_made_anew_when_its_pods_are_gone(flavour: Flavour) -> Result<()> {
    let world = World::start(flavour).await?;
    let set = |service: &str| {
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db",
                "annotations": {"lockstep.dev/replace": "OnImmutable"}},
            "spec": {"serviceName": service, "replicas": 2, "selector": {"matchLabels": {"app": "db"}},
                "template": {"metadata": {"labels": {"app": "db"}},
                    "spec": {"containers": [{"name": "main", "image": "example.com/db:1"}]}}}})
    };
    let first = world.assign("shop", &[set("one")])?;
    world.synced("shop", first).await?;
    let before = world.get("apps/v1 StatefulSet", "shop", "db").await?;
    let second = world.assign("shop", &[set("two")])?;
    world.synced("shop", second).await?;
    let after = world.get("apps/v1 StatefulSet", "shop", "db").await?;
    ensure!(after["spec"]["serviceName"] == "two", "{after}");
    ensure!(after["metadata"]["uid"] != before["metadata"]["uid"]);
    Ok(())
}

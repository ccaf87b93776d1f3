//! Workloads, definitions, namespaces, owners.

use super::*;

fn deployment(name: &str, replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}},
    })
}

/// Waits for the sandbox to hold what `look` wants.
async fn holds<T>(
    sandbox: &Sandbox,
    what: &str,
    look: impl Fn(&Sandbox) -> Option<T>,
) -> Result<T> {
    let mut changes = sandbox.changes();
    let wait = async {
        loop {
            if let Some(found) = look(sandbox) {
                return Ok(found);
            }
            changes.changed().await?;
        }
    };
    timeout(LIMIT, wait)
        .await
        .with_context(|| what.to_owned())?
}

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

#[tokio::test]
async fn workloads_become_ready_and_follow_their_newest_generation() -> Result<()> {
    let (sandbox, client) = start(SandboxOptions {
        ready_after: Duration::from_millis(20),
        pods: true,
        ..SandboxOptions::default()
    })
    .await?;
    apply(&client, &format!("{DEPLOYMENTS}/web"), deployment("web", 3)).await?;
    let ready = |generation: i64, replicas: i64| {
        move |sandbox: &Sandbox| {
            let object = sandbox.get("apps/v1", "Deployment", "default", "web")?;
            let status = &object["status"];
            (status["observedGeneration"] == generation
                && status["readyReplicas"] == replicas
                && status["updatedReplicas"] == replicas)
                .then_some(object)
        }
    };
    let object = holds(&sandbox, "three replicas", ready(1, 3)).await?;
    let available = object["status"]["conditions"]
        .as_array()
        .context("conditions")?
        .iter()
        .find(|row| row["type"] == "Available")
        .context("Available")?;
    assert_eq!(available["status"], "True");
    holds(&sandbox, "three pods", |sandbox| {
        let pods = sandbox.list("v1", "Pod", "default");
        (pods.len() == 3 && pods.iter().all(|pod| pod["status"]["phase"] == "Running"))
            .then_some(())
    })
    .await?;
    apply(&client, &format!("{DEPLOYMENTS}/web"), deployment("web", 1)).await?;
    holds(&sandbox, "one replica", ready(2, 1)).await?;
    holds(&sandbox, "one pod", |sandbox| {
        (sandbox.list("v1", "Pod", "default").len() == 1).then_some(())
    })
    .await?;
    call(
        &client,
        "DELETE",
        &format!("{DEPLOYMENTS}/web"),
        JSON,
        Value::Null,
    )
    .await?;
    holds(&sandbox, "garbage collected", |sandbox| {
        (sandbox.list("v1", "Pod", "").is_empty()
            && sandbox.list("apps/v1", "ReplicaSet", "").is_empty())
        .then_some(())
    })
    .await
}

#[tokio::test]
async fn a_deployment_told_never_to_be_ready_is_not() -> Result<()> {
    let (sandbox, client) = quick().await?;
    let id = sandbox.faults().add(
        Fault::new(Effect::NeverReady)
            .resource("deployments.apps")
            .name("bad"),
    );
    for name in ["bad", "good"] {
        apply(
            &client,
            &format!("{DEPLOYMENTS}/{name}"),
            deployment(name, 1),
        )
        .await?;
    }
    let ready = |name: &'static str| {
        move |sandbox: &Sandbox| {
            let object = sandbox.get("apps/v1", "Deployment", "default", name)?;
            (object["status"]["readyReplicas"] == 1).then_some(())
        }
    };
    holds(&sandbox, "the good one", ready("good")).await?;
    assert!(ready("bad")(&sandbox).is_none());
    assert!(sandbox.faults().remove(id));
    apply(&client, &format!("{DEPLOYMENTS}/bad"), deployment("bad", 2)).await?;
    apply(&client, &format!("{DEPLOYMENTS}/bad"), deployment("bad", 1)).await?;
    holds(&sandbox, "the bad one after all", ready("bad")).await
}

#[tokio::test]
async fn budgets_count_the_pods_of_their_workloads() -> Result<()> {
    let (sandbox, client) = quick().await?;
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    apply(
        &client,
        "/apis/policy/v1/namespaces/default/poddisruptionbudgets/web",
        budget,
    )
    .await?;
    let allowed = |count: i64| {
        move |sandbox: &Sandbox| {
            let status =
                sandbox.get("policy/v1", "PodDisruptionBudget", "default", "web")?["status"]
                    .clone();
            (status["observedGeneration"] == 1 && status["disruptionsAllowed"] == count)
                .then_some(())
        }
    };
    holds(&sandbox, "none without pods", allowed(0)).await?;
    apply(&client, &format!("{DEPLOYMENTS}/web"), deployment("web", 3)).await?;
    holds(&sandbox, "two of three", allowed(2)).await
}

#[tokio::test]
async fn definitions_serve_their_kind_and_take_its_objects_with_them() -> Result<()> {
    let (sandbox, client) = quick().await?;
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "gears.x.io"},
        "spec": {"group": "x.io", "scope": "Namespaced", "names": {"plural": "gears", "kind": "Gear"}, "versions": [
            {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]},
    });
    let gears = "/apis/x.io/v1/namespaces/default/gears";
    assert_eq!(get(&client, gears).await?.0, StatusCode::NOT_FOUND);
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gears.x.io";
    apply(&client, path, definition).await?;
    until("established", Patience::seconds(10), async || {
        let (_, crd) = get(&client, path).await?;
        let rows = crd["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        anyhow::ensure!(
            rows.iter()
                .any(|row| row["type"] == "Established" && row["status"] == "True"),
            "not yet"
        );
        Ok(())
    })
    .await?;
    let groups = kube::Discovery::new(client.clone())
        .run_aggregated()
        .await?;
    assert!(groups.groups().any(|group| group.name() == "x.io"));
    let gear = json!({"apiVersion": "x.io/v1", "kind": "Gear", "metadata": {"name": "g"}, "spec": {"any": ["thing"]}});
    assert_eq!(
        apply(&client, &format!("{gears}/g"), gear).await?.0,
        StatusCode::CREATED
    );
    call(&client, "DELETE", path, JSON, Value::Null).await?;
    until("gone", Patience::seconds(10), async || {
        anyhow::ensure!(
            get(&client, path).await?.0 == StatusCode::NOT_FOUND,
            "still there"
        );
        Ok(())
    })
    .await?;
    assert_eq!(get(&client, gears).await?.0, StatusCode::NOT_FOUND);
    assert!(sandbox.get("x.io/v1", "Gear", "default", "g").is_none());
    Ok(())
}

#[tokio::test]
async fn a_namespace_goes_when_everything_in_it_is_gone() -> Result<()> {
    let (sandbox, client) = quick().await?;
    call(
        &client,
        "POST",
        "/api/v1/namespaces",
        JSON,
        json!({"metadata": {"name": "n"}}),
    )
    .await?;
    let maps = "/api/v1/namespaces/n/configmaps";
    let mut held = config_map("held", json!({}));
    held["metadata"]["finalizers"] = json!(["x.io/hold"]);
    apply(&client, &format!("{maps}/held"), held).await?;
    apply(
        &client,
        &format!("{maps}/free"),
        config_map("free", json!({})),
    )
    .await?;
    call(&client, "DELETE", "/api/v1/namespaces/n", JSON, Value::Null).await?;
    holds(&sandbox, "the free one gone", |sandbox| {
        sandbox
            .get("v1", "ConfigMap", "n", "free")
            .is_none()
            .then_some(())
    })
    .await?;
    let (status, refusal) = apply(
        &client,
        &format!("{maps}/new"),
        config_map("new", json!({})),
    )
    .await?;
    assert_eq!(status, StatusCode::FORBIDDEN, "{refusal}");
    let namespace = sandbox
        .get("v1", "Namespace", "", "n")
        .context("still there")?;
    assert_eq!(namespace["status"]["phase"], "Terminating");
    let free = json!({"metadata": {"finalizers": null}});
    call(
        &client,
        "PATCH",
        &format!("{maps}/held"),
        "application/merge-patch+json",
        free,
    )
    .await?;
    holds(&sandbox, "the namespace gone", |sandbox| {
        sandbox
            .get("v1", "Namespace", "", "n")
            .is_none()
            .then_some(())
    })
    .await
}

#[tokio::test]
async fn owners_take_their_dependents_or_leave_them() -> Result<()> {
    let (sandbox, client) = quick().await?;
    for policy in ["Background", "Foreground", "Orphan"] {
        let owner = apply(
            &client,
            &format!("{MAPS}/owner"),
            config_map("owner", json!({})),
        )
        .await?
        .1;
        let mut child = config_map("child", json!({}));
        child["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner",
            "uid": owner["metadata"]["uid"], "blockOwnerDeletion": true}]);
        apply(&client, &format!("{MAPS}/child"), child).await?;
        call(
            &client,
            "DELETE",
            &format!("{MAPS}/owner?propagationPolicy={policy}"),
            JSON,
            Value::Null,
        )
        .await?;
        holds(&sandbox, "the owner gone", |sandbox| {
            sandbox
                .get("v1", "ConfigMap", "default", "owner")
                .is_none()
                .then_some(())
        })
        .await?;
        if policy == "Orphan" {
            let child = sandbox
                .get("v1", "ConfigMap", "default", "child")
                .context("the orphan")?;
            assert_eq!(child["metadata"].get("ownerReferences"), None);
        } else {
            holds(&sandbox, "the child gone", |sandbox| {
                sandbox
                    .get("v1", "ConfigMap", "default", "child")
                    .is_none()
                    .then_some(())
            })
            .await?;
        }
    }
    Ok(())
}

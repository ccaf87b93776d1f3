//! What is there when a cluster starts.

use anyhow::anyhow;
use serde_json::{Value, json};

use super::as_controller;
use crate::machinery::{State, Target};

/// Namespaces, the API's own service, one node.
pub(crate) fn furnish(state: &mut State, name: &str) -> anyhow::Result<()> {
    for namespace in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        create(
            state,
            "namespaces",
            "",
            json!({"metadata": {"name": namespace}}),
        )?;
    }
    let service = json!({
        "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443, "targetPort": 6443}]},
    });
    create(state, "services", "default", service)?;
    let node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
        "spec": {},
    });
    create(state, "nodes", "", node)?;
    let mut target = target(state, "nodes", "")?;
    target.name = name.to_owned();
    target.subresource = "status".to_owned();
    let status = json!({"status": {
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "the sandbox is ready"}],
        "capacity": {"cpu": "8", "memory": "16Gi", "pods": "110"}, "allocatable": {"cpu": "8", "memory": "16Gi", "pods": "110"},
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
        "nodeInfo": {"kubeletVersion": crate::VERSION, "osImage": "sandbox", "operatingSystem": "linux"},
    }});
    let patched = state.patch(
        &target,
        crate::machinery::PatchFormat::Merge,
        &status,
        &as_controller(),
    );
    patched
        .map(|_| ())
        .map_err(|status| anyhow!("{}", status.message))
}

fn target(state: &State, table: &str, namespace: &str) -> anyhow::Result<Target> {
    let resource = state
        .catalogue
        .by_key(table)
        .ok_or_else(|| anyhow!("the table of kinds has no {table}"))?;
    let version = resource
        .versions
        .first()
        .map(|version| version.name.clone())
        .unwrap_or_default();
    Ok(Target {
        resource,
        version,
        namespace: namespace.to_owned(),
        name: String::new(),
        subresource: String::new(),
    })
}

fn create(state: &mut State, table: &str, namespace: &str, object: Value) -> anyhow::Result<()> {
    let target = target(state, table, namespace)?;
    state
        .create(&target, object, &as_controller())
        .map(|_| ())
        .map_err(|status| anyhow!("{}", status.message))
}

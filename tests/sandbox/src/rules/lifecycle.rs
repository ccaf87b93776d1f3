//! What a creation sets and what an update counts: first status, generation.

use serde_json::{Value, json};

use super::defaults::{at, set};

/// Kinds without a `metadata.generation`.
const NO_GENERATION: &[(&str, &str)] = &[
    ("", "ConfigMap"),
    ("", "Secret"),
    ("", "Service"),
    ("", "ServiceAccount"),
    ("", "Namespace"),
    ("", "Node"),
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("", "Endpoints"),
    ("", "Event"),
    ("events.k8s.io", "Event"),
    ("", "LimitRange"),
    ("", "ResourceQuota"),
    ("", "PodTemplate"),
    ("apps", "ControllerRevision"),
    ("rbac.authorization.k8s.io", "Role"),
    ("rbac.authorization.k8s.io", "RoleBinding"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("storage.k8s.io", "StorageClass"),
    ("storage.k8s.io", "CSIDriver"),
    ("storage.k8s.io", "CSINode"),
    ("storage.k8s.io", "VolumeAttachment"),
    ("coordination.k8s.io", "Lease"),
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("certificates.k8s.io", "CertificateSigningRequest"),
    ("node.k8s.io", "RuntimeClass"),
    ("apiregistration.k8s.io", "APIService"),
];

/// Does the kind count the changes of its specification?
pub(crate) fn has_generation(group: &str, kind: &str) -> bool {
    !NO_GENERATION.contains(&(group, kind))
}

/// Is the change one that the generation counts? Everything but metadata and status.
pub(crate) fn bumps_generation(before: &Value, after: &Value) -> bool {
    let significant = |name: &str| !matches!(name, "metadata" | "status" | "apiVersion" | "kind");
    let names = |object: &Value| -> Vec<String> {
        object
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .filter(|name| significant(name))
            .collect()
    };
    let (mut all, others) = (names(before), names(after));
    all.extend(others);
    all.iter()
        .any(|name| match (before.get(name), after.get(name)) {
            (Some(before), Some(after)) => !crate::apply::same(before, after),
            (None, None) => false,
            _ => true,
        })
}

/// Values that the server itself gives a new object.
pub(crate) fn on_create(group: &str, kind: &str, uid: &str, now: &str, object: &mut Value) {
    match (group, kind) {
        ("", "Namespace") => {
            set(at(object, "spec"), "finalizers", json!(["kubernetes"]));
            set(at(object, "status"), "phase", "Active".into());
        }
        ("", "Pod") => {
            let class = quality(&object["spec"]);
            let spec = at(object, "spec");
            set(spec, "preemptionPolicy", "PreemptLowerPriority".into());
            set(spec, "priority", 0.into());
            tolerate(spec);
            let status = at(object, "status");
            set(status, "phase", "Pending".into());
            set(status, "qosClass", class.into());
        }
        ("", "PersistentVolumeClaim") => {
            finalize(object, "kubernetes.io/pvc-protection");
            set(at(object, "status"), "phase", "Pending".into());
        }
        ("", "PersistentVolume") => {
            finalize(object, "kubernetes.io/pv-protection");
            let status = at(object, "status");
            set(status, "phase", "Pending".into());
            set(status, "lastPhaseTransitionTime", now.into());
        }
        ("batch", "Job") if object["spec"]["manualSelector"] != true => job_selector(object, uid),
        ("apps", "StatefulSet") => at(object, "status")["availableReplicas"] = 0.into(),
        ("policy", "PodDisruptionBudget") => {
            for name in [
                "currentHealthy",
                "desiredHealthy",
                "disruptionsAllowed",
                "expectedPods",
            ] {
                set(at(object, "status"), name, 0.into());
            }
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            at(object, "status")["conditions"] = Value::Null;
            let versions = object["spec"]["versions"].as_array().into_iter().flatten();
            let stored: Vec<Value> = versions
                .filter(|version| version["storage"] == true)
                .map(|version| version["name"].clone())
                .collect();
            at(object, "status")["storedVersions"] = stored.into();
        }
        _ => {}
    }
}

/// A pod stays a while on a node that went away.
fn tolerate(spec: &mut Value) {
    set(spec, "tolerations", json!([]));
    let Some(list) = spec["tolerations"].as_array_mut() else {
        return;
    };
    for key in [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ] {
        if !list.iter().any(|known| known["key"] == key) {
            list.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}));
        }
    }
}

fn finalize(object: &mut Value, name: &str) {
    let list = at(object, "metadata");
    set(list, "finalizers", json!([]));
    if let Some(list) = list["finalizers"].as_array_mut()
        && !list.iter().any(|other| other == name)
    {
        list.push(name.into());
    }
}

/// A job selects its pods by its own uid.
fn job_selector(object: &mut Value, uid: &str) {
    let name = object["metadata"]["name"].clone();
    let labels = [
        ("batch.kubernetes.io/controller-uid", Value::from(uid)),
        ("batch.kubernetes.io/job-name", name.clone()),
        ("controller-uid", uid.into()),
        ("job-name", name),
    ];
    let spec = at(object, "spec");
    let template = at(at(at(spec, "template"), "metadata"), "labels");
    for (key, value) in &labels {
        template[*key] = value.clone();
    }
    set(
        spec,
        "selector",
        json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}),
    );
    let template = spec["template"]["metadata"]["labels"].clone();
    set(at(object, "metadata"), "labels", template);
}

fn quality(spec: &Value) -> &'static str {
    let mut any = false;
    let mut all = true;
    for container in spec["containers"].as_array().into_iter().flatten() {
        let (limits, requests) = (
            &container["resources"]["limits"],
            &container["resources"]["requests"],
        );
        any |= limits.as_object().is_some_and(|map| !map.is_empty())
            || requests.as_object().is_some_and(|map| !map.is_empty());
        all &= ["cpu", "memory"]
            .iter()
            .all(|name| !limits[name].is_null() && limits[name] == requests[name]);
    }
    match (any, all) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

//! The defaults of the kinds that workloads use, as the versioned API packages set them.

use serde_json::{Map, Value, json};

use super::pods::{container_defaults, pod_defaults, request_limits};

/// Sets a field that is not there.
pub(super) fn set(at: &mut Value, name: &str, value: Value) {
    if let Some(fields) = at.as_object_mut() {
        let slot = fields.entry(name.to_owned()).or_insert(Value::Null);
        if slot.is_null() {
            *slot = value;
        }
    }
}

/// The items of a list field, to be changed.
pub(super) fn each<'a>(at: &'a mut Value, name: &str) -> impl Iterator<Item = &'a mut Value> {
    at.get_mut(name)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
}

/// A struct field, to be changed; an empty one is put there if there is none.
pub(super) fn at<'a>(value: &'a mut Value, name: &str) -> &'a mut Value {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    set(value, name, json!({}));
    &mut value[name]
}

/// Fills an object's defaults in. Objects of unknown kinds stay as they are.
pub(crate) fn defaults(group: &str, kind: &str, object: &mut Value) {
    match (group, kind) {
        ("apps", "Deployment") => deployment(object),
        ("apps", "StatefulSet") => stateful_set(object),
        ("apps", "DaemonSet") => daemon_set(object),
        ("apps", "ReplicaSet") => replica_set(object),
        ("batch", "Job") => job(at(object, "spec")),
        ("batch", "CronJob") => cron_job(object),
        ("", "Pod") => {
            pod_defaults(at(object, "spec"));
            request_limits(at(object, "spec"));
            set(at(object, "spec"), "enableServiceLinks", true.into());
        }
        ("", "ReplicationController") => {
            let spec = at(object, "spec");
            set(spec, "replicas", 1.into());
            template(spec);
        }
        ("", "Service") => service(at(object, "spec")),
        ("", "Secret") => secret(object),
        ("", "PersistentVolumeClaim") => set(at(object, "spec"), "volumeMode", "Filesystem".into()),
        ("", "PersistentVolume") => {
            let spec = at(object, "spec");
            set(spec, "persistentVolumeReclaimPolicy", "Retain".into());
            set(spec, "volumeMode", "Filesystem".into());
            if let Some(path) = spec.get_mut("hostPath") {
                set(path, "type", "".into());
            }
        }
        ("", "Namespace") => namespace(object),
        ("", "LimitRange") => each(at(object, "spec"), "limits").for_each(limit),
        ("", "Endpoints") => {
            for subset in each(object, "subsets") {
                each(subset, "ports").for_each(|port| set(port, "protocol", "TCP".into()));
            }
        }
        _ => others(group, kind, object),
    }
}

fn others(group: &str, kind: &str, object: &mut Value) {
    match (group, kind) {
        ("networking.k8s.io", "NetworkPolicy") => network_policy(at(object, "spec")),
        ("autoscaling", "HorizontalPodAutoscaler") => {
            let spec = at(object, "spec");
            set(spec, "minReplicas", 1.into());
            let cpu = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]);
            set(spec, "metrics", cpu);
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            set(
                at(object, "roleRef"),
                "apiGroup",
                "rbac.authorization.k8s.io".into(),
            );
            for subject in each(object, "subjects") {
                if subject["kind"] != "ServiceAccount" {
                    set(subject, "apiGroup", "rbac.authorization.k8s.io".into());
                }
            }
        }
        ("storage.k8s.io", "StorageClass") => {
            set(object, "reclaimPolicy", "Delete".into());
            set(object, "volumeBindingMode", "Immediate".into());
        }
        ("scheduling.k8s.io", "PriorityClass") => {
            set(object, "preemptionPolicy", "PreemptLowerPriority".into());
        }
        ("discovery.k8s.io", "EndpointSlice") => each(object, "ports").for_each(|port| {
            set(port, "name", "".into());
            set(port, "protocol", "TCP".into());
        }),
        (
            "admissionregistration.k8s.io",
            "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration",
        ) => {
            each(object, "webhooks").for_each(|hook| webhook(hook, kind));
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(at(object, "spec")),
        _ => {}
    }
}

fn template(spec: &mut Value) {
    pod_defaults(at(at(spec, "template"), "spec"));
}

fn deployment(object: &mut Value) {
    let spec = at(object, "spec");
    set(spec, "replicas", 1.into());
    set(spec, "revisionHistoryLimit", 10.into());
    set(spec, "progressDeadlineSeconds", 600.into());
    let strategy = at(spec, "strategy");
    set(strategy, "type", "RollingUpdate".into());
    if strategy["type"] == "RollingUpdate" {
        let rolling = at(strategy, "rollingUpdate");
        set(rolling, "maxUnavailable", "25%".into());
        set(rolling, "maxSurge", "25%".into());
    }
    template(spec);
}

fn stateful_set(object: &mut Value) {
    let spec = at(object, "spec");
    set(spec, "replicas", 1.into());
    set(spec, "revisionHistoryLimit", 10.into());
    set(spec, "podManagementPolicy", "OrderedReady".into());
    let strategy = at(spec, "updateStrategy");
    set(strategy, "type", "RollingUpdate".into());
    if strategy["type"] == "RollingUpdate" {
        set(at(strategy, "rollingUpdate"), "partition", 0.into());
    }
    let retention = at(spec, "persistentVolumeClaimRetentionPolicy");
    set(retention, "whenDeleted", "Retain".into());
    set(retention, "whenScaled", "Retain".into());
    template(spec);
    for claim in each(spec, "volumeClaimTemplates") {
        set(claim, "apiVersion", "v1".into());
        set(claim, "kind", "PersistentVolumeClaim".into());
        set(at(claim, "spec"), "volumeMode", "Filesystem".into());
        set(at(claim, "status"), "phase", "Pending".into());
    }
}

fn daemon_set(object: &mut Value) {
    let generation = object["metadata"]["generation"].as_i64().unwrap_or(1);
    set(
        at(at(object, "metadata"), "annotations"),
        "deprecated.daemonset.template.generation",
        generation.to_string().into(),
    );
    let spec = at(object, "spec");
    set(spec, "revisionHistoryLimit", 10.into());
    let strategy = at(spec, "updateStrategy");
    set(strategy, "type", "RollingUpdate".into());
    if strategy["type"] == "RollingUpdate" {
        let rolling = at(strategy, "rollingUpdate");
        set(rolling, "maxUnavailable", 1.into());
        set(rolling, "maxSurge", 0.into());
    }
    template(spec);
}

fn replica_set(object: &mut Value) {
    let spec = at(object, "spec");
    set(spec, "replicas", 1.into());
    template(spec);
}

pub(super) fn job(spec: &mut Value) {
    set(spec, "backoffLimit", 6.into());
    set(spec, "completionMode", "NonIndexed".into());
    if spec.get("completions").is_none() && spec.get("parallelism").is_none() {
        set(spec, "completions", 1.into());
    }
    set(spec, "parallelism", 1.into());
    set(spec, "suspend", false.into());
    set(spec, "manualSelector", false.into());
    let replacement = if spec["podFailurePolicy"].is_object() {
        "Failed"
    } else {
        "TerminatingOrFailed"
    };
    set(spec, "podReplacementPolicy", replacement.into());
    template(spec);
}

fn cron_job(object: &mut Value) {
    let spec = at(object, "spec");
    set(spec, "concurrencyPolicy", "Allow".into());
    set(spec, "suspend", false.into());
    set(spec, "successfulJobsHistoryLimit", 3.into());
    set(spec, "failedJobsHistoryLimit", 1.into());
    template(at(at(spec, "jobTemplate"), "spec"));
}

fn service(spec: &mut Value) {
    set(spec, "type", "ClusterIP".into());
    set(spec, "sessionAffinity", "None".into());
    let kind = spec["type"].as_str().unwrap_or("").to_owned();
    if kind != "ExternalName" {
        set(spec, "internalTrafficPolicy", "Cluster".into());
    }
    if kind == "NodePort" || kind == "LoadBalancer" {
        set(spec, "externalTrafficPolicy", "Cluster".into());
    }
    if kind == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", true.into());
    }
    if spec["sessionAffinity"] == "ClientIP" {
        set(
            at(at(spec, "sessionAffinityConfig"), "clientIP"),
            "timeoutSeconds",
            10800.into(),
        );
    }
    for port in each(spec, "ports") {
        set(port, "protocol", "TCP".into());
        let number = port["port"].clone();
        set(port, "targetPort", number);
    }
}

fn secret(object: &mut Value) {
    set(object, "type", "Opaque".into());
    // Plain strings move into `data`, encoded.
    let plain = object
        .as_object_mut()
        .and_then(|fields| fields.remove("stringData"));
    if let Some(Value::Object(plain)) = plain {
        let data = at(object, "data");
        for (name, value) in plain {
            data[name] = base64(value.as_str().unwrap_or("").as_bytes()).into();
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn namespace(object: &mut Value) {
    let name = object["metadata"]["name"].clone();
    at(at(object, "metadata"), "labels")["kubernetes.io/metadata.name"] = name;
}

fn limit(limit: &mut Value) {
    if limit["type"] == "Container" {
        for (from, to) in [
            ("max", "default"),
            ("default", "defaultRequest"),
            ("min", "defaultRequest"),
        ] {
            for (name, value) in limit[from].as_object().cloned().into_iter().flatten() {
                set(at(limit, to), &name, value);
            }
        }
    }
}

fn network_policy(spec: &mut Value) {
    for rules in ["ingress", "egress"] {
        for rule in each(spec, rules) {
            each(rule, "ports").for_each(|port| set(port, "protocol", "TCP".into()));
        }
    }
    let mut types = vec!["Ingress"];
    if spec["egress"]
        .as_array()
        .is_some_and(|rules| !rules.is_empty())
    {
        types.push("Egress");
    }
    set(spec, "policyTypes", json!(types));
}

fn webhook(hook: &mut Value, kind: &str) {
    set(hook, "failurePolicy", "Fail".into());
    set(hook, "matchPolicy", "Equivalent".into());
    set(hook, "namespaceSelector", json!({}));
    set(hook, "objectSelector", json!({}));
    set(hook, "timeoutSeconds", 10.into());
    if kind == "MutatingWebhookConfiguration" {
        set(hook, "reinvocationPolicy", "Never".into());
    }
    if let Some(service) = hook["clientConfig"].get_mut("service") {
        set(service, "port", 443.into());
    }
    each(hook, "rules").for_each(|rule| set(rule, "scope", "*".into()));
}

fn definition(spec: &mut Value) {
    set(at(spec, "conversion"), "strategy", "None".into());
    let names = at(spec, "names");
    let kind = names["kind"].as_str().unwrap_or("").to_owned();
    set(names, "singular", kind.to_lowercase().into());
    set(names, "listKind", format!("{kind}List").into());
}

/// Defaults of the containers of a pod.
pub(super) fn containers(pod: &mut Value) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        each(pod, list).for_each(container_defaults);
    }
}

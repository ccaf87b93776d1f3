//! Fields that may not change once they are set.

use serde_json::Value;

use crate::apply::same;
use crate::status::Invalid;

const WHY: &str = "field is immutable";

/// Fields that an update changes although it may not.
pub(crate) fn immutable(group: &str, kind: &str, before: &Value, after: &Value) -> Vec<Invalid> {
    let fields: &[&str] = match (group, kind) {
        ("apps", "Deployment" | "DaemonSet" | "ReplicaSet") => &["spec.selector"],
        ("apps", "StatefulSet") => return stateful_set(before, after),
        ("batch", "Job") => &[
            "spec.selector",
            "spec.template",
            "spec.completionMode",
            "spec.completions",
            "spec.podFailurePolicy",
        ],
        ("storage.k8s.io", "StorageClass") => &[
            "parameters",
            "provisioner",
            "reclaimPolicy",
            "volumeBindingMode",
        ],
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            return role_binding(before, after);
        }
        ("networking.k8s.io", "IngressClass") => &["spec.controller"],
        ("scheduling.k8s.io", "PriorityClass") => &["value", "preemptionPolicy"],
        ("apiextensions.k8s.io", "CustomResourceDefinition") => &[
            "spec.group",
            "spec.names.plural",
            "spec.names.kind",
            "spec.scope",
        ],
        ("", "Secret") => return frozen(before, after, "type", &["data", "stringData"]),
        ("", "ConfigMap") => return frozen(before, after, "", &["data", "binaryData"]),
        ("", "Service") => return service(before, after),
        ("", "PersistentVolumeClaim") => return claim(before, after),
        ("", "Pod") => return pod(before, after),
        _ => &[],
    };
    fields
        .iter()
        .filter_map(|field| changed(before, after, field))
        .collect()
}

fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(object, |value, name| &value[name])
}

fn changed(before: &Value, after: &Value, path: &str) -> Option<Invalid> {
    let (old, new) = (at(before, path), at(after, path));
    (!same(old, new)).then(|| Invalid::value(path, new, WHY))
}

fn stateful_set(before: &Value, after: &Value) -> Vec<Invalid> {
    const MAY: &[&str] = &[
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let rest = |object: &Value| {
        let mut spec = object["spec"].clone();
        if let Some(fields) = spec.as_object_mut() {
            fields.retain(|name, _| !MAY.contains(&name.as_str()));
        }
        spec
    };
    if same(&rest(before), &rest(after)) {
        return Vec::new();
    }
    let message = "Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
    vec![Invalid {
        field: "spec".to_owned(),
        reason: "FieldValueForbidden",
        message: message.to_owned(),
    }]
}

fn role_binding(before: &Value, after: &Value) -> Vec<Invalid> {
    if same(&before["roleRef"], &after["roleRef"]) {
        return Vec::new();
    }
    vec![Invalid::value(
        "roleRef",
        &after["roleRef"],
        "cannot change roleRef",
    )]
}

/// A map of data that may be marked immutable; `always` may never change.
fn frozen(before: &Value, after: &Value, always: &str, fields: &[&str]) -> Vec<Invalid> {
    let mut out = Vec::new();
    if !always.is_empty() {
        out.extend(changed(before, after, always));
    }
    if before["immutable"] == true {
        let forbid = |field: &str| Invalid {
            field: field.to_owned(),
            reason: "FieldValueForbidden",
            message: "Forbidden: field is immutable when `immutable` is set".to_owned(),
        };
        if after["immutable"] != true {
            out.push(forbid("immutable"));
        }
        out.extend(
            fields
                .iter()
                .filter(|field| !same(&before[**field], &after[**field]))
                .map(|field| forbid(field)),
        );
    }
    out
}

fn service(before: &Value, after: &Value) -> Vec<Invalid> {
    if before["spec"]["type"] == "ExternalName" || after["spec"]["type"] == "ExternalName" {
        return Vec::new();
    }
    let mut out = Vec::new();
    if !same(&before["spec"]["clusterIP"], &after["spec"]["clusterIP"]) {
        let new = &after["spec"]["clusterIPs"];
        out.push(Invalid::value(
            "spec.clusterIPs[0]",
            new,
            "may not change once set",
        ));
    }
    out
}

fn claim(before: &Value, after: &Value) -> Vec<Invalid> {
    let rest = |object: &Value| {
        let mut spec = object["spec"].clone();
        if let Some(fields) = spec.as_object_mut() {
            fields.retain(|name, _| {
                name != "resources" && name != "volumeName" && name != "volumeAttributesClassName"
            });
        }
        spec
    };
    if same(&rest(before), &rest(after)) {
        return Vec::new();
    }
    let message = "Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
    vec![Invalid {
        field: "spec".to_owned(),
        reason: "FieldValueForbidden",
        message: message.to_owned(),
    }]
}

fn pod(before: &Value, after: &Value) -> Vec<Invalid> {
    let rest = |object: &Value| {
        let mut spec = object["spec"].clone();
        for list in ["containers", "initContainers"] {
            for container in spec
                .get_mut(list)
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                if let Some(fields) = container.as_object_mut() {
                    fields.remove("image");
                }
            }
        }
        if let Some(fields) = spec.as_object_mut() {
            for name in [
                "activeDeadlineSeconds",
                "tolerations",
                "terminationGracePeriodSeconds",
                "nodeName",
            ] {
                fields.remove(name);
            }
        }
        spec
    };
    if same(&rest(before), &rest(after)) {
        return Vec::new();
    }
    let message = "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
    vec![Invalid {
        field: "spec".to_owned(),
        reason: "FieldValueForbidden",
        message: message.to_owned(),
    }]
}

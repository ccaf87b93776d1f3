//! Defaults of pods and of what is in them.

use serde_json::{Value, json};

use super::defaults::{at, containers, each, set};

/// Defaults of a pod's spec, alone or in a template.
pub(super) fn pod_defaults(spec: &mut Value) {
    set(spec, "dnsPolicy", "ClusterFirst".into());
    set(spec, "restartPolicy", "Always".into());
    set(spec, "schedulerName", "default-scheduler".into());
    set(spec, "securityContext", json!({}));
    set(spec, "terminationGracePeriodSeconds", 30.into());
    // The older name is kept equal to the newer one.
    if let Some(name) = spec
        .get("serviceAccountName")
        .or_else(|| spec.get("serviceAccount"))
        .cloned()
    {
        spec["serviceAccountName"] = name.clone();
        spec["serviceAccount"] = name;
    }
    if spec["hostNetwork"] == true {
        for container in each(spec, "containers") {
            for port in each(container, "ports") {
                let number = port["containerPort"].clone();
                set(port, "hostPort", number);
            }
        }
    }
    containers(spec);
    each(spec, "volumes").for_each(volume);
}

pub(super) fn container_defaults(container: &mut Value) {
    set(
        container,
        "terminationMessagePath",
        "/dev/termination-log".into(),
    );
    set(container, "terminationMessagePolicy", "File".into());
    let policy = if moving_tag(container["image"].as_str().unwrap_or("")) {
        "Always"
    } else {
        "IfNotPresent"
    };
    set(container, "imagePullPolicy", policy.into());
    each(container, "ports").for_each(|port| set(port, "protocol", "TCP".into()));
    for variable in each(container, "env") {
        if let Some(field) = variable
            .get_mut("valueFrom")
            .and_then(|from| from.get_mut("fieldRef"))
        {
            set(field, "apiVersion", "v1".into());
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(name).filter(|probe| probe.is_object()) {
            probe_defaults(probe);
        }
    }
    for name in ["postStart", "preStop"] {
        let hook = container
            .get_mut("lifecycle")
            .and_then(|lifecycle| lifecycle.get_mut(name));
        if let Some(get) = hook.and_then(|hook| hook.get_mut("httpGet")) {
            http_get(get);
        }
    }
}

/// Without a tag, or with `latest`, the image behind a name may change.
fn moving_tag(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn probe_defaults(probe: &mut Value) {
    set(probe, "timeoutSeconds", 1.into());
    set(probe, "periodSeconds", 10.into());
    set(probe, "successThreshold", 1.into());
    set(probe, "failureThreshold", 3.into());
    if let Some(get) = probe.get_mut("httpGet") {
        http_get(get);
    }
    if let Some(call) = probe.get_mut("grpc") {
        set(call, "service", "".into());
    }
}

fn http_get(get: &mut Value) {
    set(get, "path", "/".into());
    set(get, "scheme", "HTTP".into());
}

fn volume(volume: &mut Value) {
    for (name, field, value) in [
        ("configMap", "defaultMode", Value::from(420)),
        ("secret", "defaultMode", 420.into()),
        ("downwardAPI", "defaultMode", 420.into()),
        ("projected", "defaultMode", 420.into()),
        ("hostPath", "type", "".into()),
    ] {
        if let Some(source) = volume.get_mut(name).filter(|source| source.is_object()) {
            set(source, field, value);
        }
    }
    let projected = volume
        .get_mut("projected")
        .and_then(|projected| projected.get_mut("sources"));
    for source in projected
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(token) = source.get_mut("serviceAccountToken") {
            set(token, "expirationSeconds", 3600.into());
        }
    }
    for list in ["downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(list) {
            for item in each(source, "items") {
                if let Some(field) = item.get_mut("fieldRef") {
                    set(field, "apiVersion", "v1".into());
                }
            }
        }
    }
    let bare = volume
        .as_object()
        .is_some_and(|fields| fields.len() == 1 && fields.contains_key("name"));
    if bare {
        set(volume, "emptyDir", json!({}));
    }
}

/// Limits without requests are requests as well; only in pods, not in templates.
pub(super) fn request_limits(spec: &mut Value) {
    for list in ["initContainers", "containers"] {
        for container in each(spec, list) {
            let limits = container["resources"]["limits"].as_object().cloned();
            for (name, value) in limits.into_iter().flatten() {
                set(at(at(container, "resources"), "requests"), &name, value);
            }
        }
    }
}

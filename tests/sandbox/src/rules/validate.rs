//! Validation of built-in kinds, as far as a wrong manifest commonly fails on it: missing
//! fields, selectors that do not match, sizes.

use serde_json::Value;

use crate::status::Invalid;

/// The data of a ConfigMap or a Secret together.
const MOST_DATA: usize = 1 << 20;

/// What of a built-in object is not allowed; defaults are in.
pub(crate) fn validate(group: &str, kind: &str, object: &Value) -> Vec<Invalid> {
    let mut out = Vec::new();
    let spec = &object["spec"];
    match (group, kind) {
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") => {
            non_negative(spec, "spec.replicas", &mut out);
            selector(spec, &mut out);
            template(spec, "Always", &mut out);
        }
        ("batch", "Job") => job(spec, "spec", &mut out),
        ("batch", "CronJob") => {
            if spec["schedule"].as_str().unwrap_or("").is_empty() {
                out.push(Invalid::required("spec.schedule", ""));
            }
            job(
                &spec["jobTemplate"]["spec"],
                "spec.jobTemplate.spec",
                &mut out,
            );
        }
        ("", "Pod") => pod(spec, "spec", &mut out),
        ("", "Service") => service(spec, &mut out),
        ("", "ConfigMap") => data(object, &["data", "binaryData"], "[]", &mut out),
        ("", "Secret") => data(object, &["data"], "data", &mut out),
        ("", "PersistentVolumeClaim") => claim(spec, &mut out),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding")
            if object["roleRef"]["name"].as_str().unwrap_or("").is_empty() =>
        {
            out.push(Invalid::required("roleRef.name", ""));
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object, &mut out),
        _ => {}
    }
    out
}

fn non_negative(spec: &Value, field: &str, out: &mut Vec<Invalid>) {
    if spec["replicas"]
        .as_i64()
        .is_some_and(|replicas| replicas < 0)
    {
        out.push(Invalid::value(
            field,
            &spec["replicas"],
            "must be greater than or equal to 0",
        ));
    }
}

fn selector(spec: &Value, out: &mut Vec<Invalid>) {
    let selector = &spec["selector"];
    let labels = &spec["template"]["metadata"]["labels"];
    if !selector.is_object() {
        out.push(Invalid::required("spec.selector", ""));
        let why = "`selector` does not match template `labels`";
        out.push(Invalid::value("spec.template.metadata.labels", labels, why));
        return;
    }
    let wanted = selector["matchLabels"].as_object();
    if wanted.is_none_or(serde_json::Map::is_empty)
        && selector["matchExpressions"]
            .as_array()
            .is_none_or(Vec::is_empty)
    {
        out.push(Invalid::value(
            "spec.selector",
            selector,
            "empty selector is invalid for deployment",
        ));
        return;
    }
    if wanted
        .into_iter()
        .flatten()
        .any(|(key, value)| labels.get(key) != Some(value))
    {
        let shown = if labels.is_object() {
            labels.clone()
        } else {
            Value::Null
        };
        out.push(Invalid::value(
            "spec.template.metadata.labels",
            &shown,
            "`selector` does not match template `labels`",
        ));
    }
}

fn template(spec: &Value, policy: &str, out: &mut Vec<Invalid>) {
    let pod_spec = &spec["template"]["spec"];
    pod(pod_spec, "spec.template.spec", out);
    if pod_spec["restartPolicy"]
        .as_str()
        .is_some_and(|given| given != policy)
    {
        out.push(Invalid::unsupported(
            "spec.template.spec.restartPolicy",
            &pod_spec["restartPolicy"],
            &[policy],
        ));
    }
}

fn job(spec: &Value, path: &str, out: &mut Vec<Invalid>) {
    let pod_spec = &spec["template"]["spec"];
    pod(pod_spec, &format!("{path}.template.spec"), out);
    let policy = &pod_spec["restartPolicy"];
    if policy != "Never" && policy != "OnFailure" {
        let field = format!("{path}.template.spec.restartPolicy");
        let message = "Required value: valid values: \"OnFailure\", \"Never\"".to_owned();
        out.push(Invalid {
            field,
            reason: "FieldValueRequired",
            message,
        });
    }
}

fn pod(spec: &Value, path: &str, out: &mut Vec<Invalid>) {
    let containers = spec["containers"].as_array().map_or(&[][..], Vec::as_slice);
    if containers.is_empty() {
        out.push(Invalid::required(format!("{path}.containers"), ""));
    }
    let volumes: Vec<&Value> = spec["volumes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|volume| &volume["name"])
        .collect();
    let mut names: Vec<&str> = Vec::new();
    let others = spec["initContainers"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let all = containers
        .iter()
        .enumerate()
        .map(|(at, it)| ("containers", at, it));
    for (list, at, container) in all.chain(
        others
            .iter()
            .enumerate()
            .map(|(at, it)| ("initContainers", at, it)),
    ) {
        let path = format!("{path}.{list}[{at}]");
        match container["name"].as_str() {
            None | Some("") => out.push(Invalid::required(format!("{path}.name"), "")),
            Some(name) if names.contains(&name) => {
                let message = format!("Duplicate value: {name:?}");
                out.push(Invalid {
                    field: format!("{path}.name"),
                    reason: "FieldValueDuplicate",
                    message,
                });
            }
            Some(name) => names.push(name),
        }
        if container["image"].as_str().unwrap_or("").is_empty() {
            out.push(Invalid::required(format!("{path}.image"), ""));
        }
        for (at, mount) in container["volumeMounts"]
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
        {
            if !volumes.contains(&&mount["name"]) {
                let message = format!("Not found: {}", mount["name"]);
                out.push(Invalid {
                    field: format!("{path}.volumeMounts[{at}].name"),
                    reason: "FieldValueNotFound",
                    message,
                });
            }
        }
        for (at, port) in container["ports"]
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
        {
            port_number(
                &port["containerPort"],
                &format!("{path}.ports[{at}].containerPort"),
                out,
            );
        }
    }
}

fn port_number(port: &Value, field: &str, out: &mut Vec<Invalid>) {
    match port.as_i64() {
        None => out.push(Invalid::required(field, "")),
        Some(1..=65535) => {}
        Some(_) => out.push(Invalid::value(
            field,
            port,
            "must be between 1 and 65535, inclusive",
        )),
    }
}

fn service(spec: &Value, out: &mut Vec<Invalid>) {
    if spec["type"] == "ExternalName" {
        if spec["externalName"].as_str().unwrap_or("").is_empty() {
            out.push(Invalid::required("spec.externalName", ""));
        }
        return;
    }
    let ports = spec["ports"].as_array().map_or(&[][..], Vec::as_slice);
    if ports.is_empty() && spec["clusterIP"] != "None" {
        out.push(Invalid::required("spec.ports", ""));
    }
    for (at, port) in ports.iter().enumerate() {
        port_number(&port["port"], &format!("spec.ports[{at}].port"), out);
        if ports.len() > 1 && port["name"].as_str().unwrap_or("").is_empty() {
            out.push(Invalid::required(format!("spec.ports[{at}].name"), ""));
        }
    }
}

fn data(object: &Value, fields: &[&str], shown: &str, out: &mut Vec<Invalid>) {
    let mut total = 0;
    for field in fields {
        for (key, value) in object[field].as_object().into_iter().flatten() {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if key.is_empty()
                || key.len() > 253
                || !key.chars().all(allowed)
                || key == "."
                || key == ".."
            {
                let why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
                out.push(Invalid::value(
                    format!("{field}[{key}]"),
                    &key.as_str().into(),
                    why,
                ));
            }
            let length = value.as_str().map_or(0, str::len);
            // Encoded bytes count as what they stand for.
            let encoded = *field == "binaryData" || shown == "data";
            total += if encoded { length / 4 * 3 } else { length };
        }
    }
    if total > MOST_DATA {
        out.push(Invalid::too_long(shown, MOST_DATA));
    }
}

/// Bytes that are not base64, in kinds that carry bytes.
pub(crate) fn undecodable(group: &str, kind: &str, object: &Value) -> Option<String> {
    use base64::Engine;
    let field = match (group, kind) {
        ("", "Secret") => "data",
        ("", "ConfigMap") => "binaryData",
        _ => return None,
    };
    object[field]
        .as_object()?
        .values()
        .filter_map(Value::as_str)
        .find_map(
            |text| match base64::engine::general_purpose::STANDARD.decode(text) {
                Ok(_) => None,
                Err(base64::DecodeError::InvalidByte(at, _)) => {
                    Some(format!("illegal base64 data at input byte {at}"))
                }
                Err(_) => Some(format!("illegal base64 data at input byte {}", text.len())),
            },
        )
}

fn claim(spec: &Value, out: &mut Vec<Invalid>) {
    if spec["accessModes"].as_array().is_none_or(Vec::is_empty) {
        out.push(Invalid::required(
            "spec.accessModes",
            "at least 1 access mode is required",
        ));
    }
    if spec["resources"]["requests"]["storage"].is_null() {
        out.push(Invalid::required("spec.resources[storage]", ""));
    }
}

fn definition(object: &Value, out: &mut Vec<Invalid>) {
    let spec = &object["spec"];
    let word = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let (group, plural) = (word(&spec["group"]), word(&spec["names"]["plural"]));
    let name = word(&object["metadata"]["name"]);
    if name != format!("{plural}.{group}") {
        out.push(Invalid::value(
            "metadata.name",
            &name.into(),
            "must be spec.names.plural+\".\"+spec.group",
        ));
    }
    if spec["scope"] != "Namespaced" && spec["scope"] != "Cluster" {
        out.push(Invalid::unsupported(
            "spec.scope",
            &spec["scope"],
            &["Cluster", "Namespaced"],
        ));
    }
    if spec["names"]["kind"].as_str().unwrap_or("").is_empty() {
        out.push(Invalid::required("spec.names.kind", ""));
    }
    let versions = spec["versions"].as_array().map_or(&[][..], Vec::as_slice);
    if versions
        .iter()
        .filter(|version| version["storage"] == true)
        .count()
        != 1
    {
        out.push(Invalid::value(
            "spec.versions",
            &Value::from(versions.len()),
            "must have exactly one version marked as storage version",
        ));
    }
    for (at, version) in versions.iter().enumerate() {
        if !version["schema"]["openAPIV3Schema"].is_object() {
            let field = format!("spec.versions[{at}].schema.openAPIV3Schema");
            out.push(Invalid::required(field, "schemas are required"));
        }
    }
}

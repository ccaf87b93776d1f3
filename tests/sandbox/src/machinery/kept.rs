//! What an update may not write: fields of the server, of other endpoints, addresses that
//! were given out.

use serde_json::{Value, json};

use super::state::{State, Target, random};
use super::write::has_status;

impl State {
    /// Gives a service its address.
    pub(super) fn allocate(&mut self, object: &mut Value) {
        let spec = &mut object["spec"];
        if spec["type"] == "ExternalName" {
            return;
        }
        if spec["clusterIP"].as_str().unwrap_or("").is_empty() {
            self.addresses = self.addresses.wrapping_add(1).max(2);
            let [high, low] = self.addresses.to_be_bytes();
            spec["clusterIP"] = format!("10.96.{high}.{low}").into();
        }
        if !spec["clusterIPs"].is_array() {
            spec["clusterIPs"] = json!([spec["clusterIP"]]);
        }
        for (name, value) in [
            ("ipFamilies", json!(["IPv4"])),
            ("ipFamilyPolicy", "SingleStack".into()),
        ] {
            if spec[name].is_null() {
                spec[name] = value;
            }
        }
        let node_ports = spec["type"] == "NodePort" || spec["type"] == "LoadBalancer";
        for port in spec["ports"].as_array_mut().into_iter().flatten() {
            if node_ports && port["nodePort"].as_u64().unwrap_or(0) == 0 {
                port["nodePort"] = (30000 + u16::from_le_bytes(random()) % 2768).into();
            }
        }
    }
}

/// Puts back what only the server writes, and what this endpoint does not write.
pub(super) fn keep_server_fields(target: &Target, before: &Value, object: &mut Value) {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    match target.subresource.as_str() {
        "status" => {
            let status = object.get("status").cloned();
            *object = before.clone();
            put(object, "status", status);
        }
        _ if has_status(target) => put(object, "status", before.get("status").cloned()),
        _ => {}
    }
    for name in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "selfLink",
        "resourceVersion",
        "generateName",
    ] {
        let value = before["metadata"].get(name).cloned();
        put(&mut object["metadata"], name, value);
    }
    put(&mut object["metadata"], "managedFields", None);
    for name in ["apiVersion", "kind"] {
        object[name] = before[name].clone();
    }
    let resource = &target.resource;
    if resource.group.is_empty() && resource.kind == "Namespace" && target.subresource != "finalize"
    {
        let finalizers = before["spec"].get("finalizers").cloned();
        if !object["spec"].is_object() {
            object["spec"] = json!({});
        }
        put(&mut object["spec"], "finalizers", finalizers);
    }
}

fn put(object: &mut Value, name: &str, value: Option<Value>) {
    if let Some(fields) = object.as_object_mut() {
        match value {
            Some(value) => {
                fields.insert(name.to_owned(), value);
            }
            None => {
                fields.remove(name);
            }
        }
    }
}

/// An update that names no address keeps the one that was given out.
pub(super) fn inherit_service(before: &Value, object: &mut Value) {
    if object["spec"]["type"] == "ExternalName" || before["spec"]["type"] == "ExternalName" {
        return;
    }
    for name in [
        "clusterIP",
        "clusterIPs",
        "ipFamilies",
        "ipFamilyPolicy",
        "healthCheckNodePort",
    ] {
        if object["spec"][name].is_null() {
            let value = before["spec"].get(name).cloned();
            put(&mut object["spec"], name, value);
        }
    }
    // Whoever changes the one address changes the list that it heads.
    if object["spec"]["clusterIP"] != before["spec"]["clusterIP"]
        && object["spec"]["clusterIPs"] == before["spec"]["clusterIPs"]
    {
        object["spec"]["clusterIPs"] = json!([object["spec"]["clusterIP"]]);
    }
    let old = before["spec"]["ports"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let keeps = matches!(
        object["spec"]["type"].as_str(),
        Some("NodePort" | "LoadBalancer")
    );
    for port in object["spec"]["ports"].as_array_mut().into_iter().flatten() {
        let same_port =
            |other: &&Value| other["port"] == port["port"] && other["protocol"] == port["protocol"];
        if let Some(known) = old
            .iter()
            .find(same_port)
            .map(|known| known["nodePort"].clone())
            && keeps
            && port["nodePort"].is_null()
            && !known.is_null()
        {
            port["nodePort"] = known;
        }
    }
}

//! The discovery documents, aggregated and one by one.

use serde_json::{Value, json};

use super::catalogue::Catalogue;
use super::resource::{Resource, Version};
use crate::schema::builtin;

/// `APIGroupDiscoveryList` of `/api` (the core group) or `/apis` (all others).
pub(crate) fn aggregated(catalogue: &Catalogue, core: bool) -> Value {
    let mut items: Vec<Value> = builtin()
        .groups
        .iter()
        .filter(|row| (row["group"] == "") == core)
        .map(|row| {
            let versions: Vec<Value> = row["versions"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|version| {
                    let mut version = version.clone();
                    version["freshness"] = "Current".into();
                    version
                })
                .collect();
            let metadata = if core {
                json!({"creationTimestamp": null})
            } else {
                json!({"name": row["group"], "creationTimestamp": null})
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    if !core {
        for (group, resources) in custom_groups(catalogue) {
            let versions: Vec<Value> = versions_of(&resources)
                .into_iter()
                .map(|name| {
                    let rows: Vec<Value> = resources
                        .iter()
                        .filter_map(|resource| {
                            resource
                                .version(&name)
                                .map(|version| discovered(resource, version))
                        })
                        .collect();
                    json!({"version": name, "resources": rows, "freshness": "Current"})
                })
                .collect();
            items.push(json!({"metadata": {"name": group, "creationTimestamp": null}, "versions": versions}));
        }
    }
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn discovered(resource: &Resource, version: &Version) -> Value {
    let kind = json!({"group": resource.group, "version": version.name, "kind": resource.kind});
    let mut subresources = Vec::new();
    if version.status {
        subresources.push(json!({"subresource": "status", "responseKind": kind, "verbs": ["get", "patch", "update"]}));
    }
    if version.scale.is_some() {
        let scale = json!({"group": "autoscaling", "version": "v1", "kind": "Scale"});
        subresources.push(json!({"subresource": "scale", "responseKind": scale, "verbs": ["get", "patch", "update"]}));
    }
    let mut row = json!({
        "resource": resource.plural, "responseKind": kind, "singularResource": resource.singular,
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" }, "verbs": resource.verbs,
    });
    for (name, words) in [
        ("shortNames", &resource.short_names),
        ("categories", &resource.categories),
    ] {
        if !words.is_empty() {
            row[name] = json!(words);
        }
    }
    if !subresources.is_empty() {
        row["subresources"] = subresources.into();
    }
    row
}

fn custom_groups(catalogue: &Catalogue) -> Vec<(String, Vec<&Resource>)> {
    let mut groups: std::collections::BTreeMap<String, Vec<&Resource>> =
        std::collections::BTreeMap::new();
    for resource in catalogue.custom() {
        groups
            .entry(resource.group.clone())
            .or_default()
            .push(resource);
    }
    groups.into_iter().collect()
}

fn versions_of(resources: &[&Resource]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for version in resources.iter().flat_map(|resource| &resource.versions) {
        if !names.contains(&version.name) {
            names.push(version.name.clone());
        }
    }
    names
}

/// The groups other than core with their versions, in the order of preference.
fn groups(catalogue: &Catalogue) -> Vec<(String, Vec<String>)> {
    let word = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let mut out: Vec<(String, Vec<String>)> = builtin()
        .groups
        .iter()
        .filter(|row| row["group"] != "")
        .map(|row| {
            let versions = row["versions"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|version| word(&version["version"]));
            (word(&row["group"]), versions.collect())
        })
        .collect();
    out.extend(
        custom_groups(catalogue)
            .into_iter()
            .map(|(group, resources)| (group, versions_of(&resources))),
    );
    out
}

fn group_body(group: &str, versions: &[String]) -> Value {
    let row = |version: &String| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    let all: Vec<Value> = versions.iter().map(row).collect();
    json!({"name": group, "versions": all, "preferredVersion": versions.first().map(row)})
}

/// `GET /api`.
pub(crate) fn api_versions(host: &str) -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}],
    })
}

/// `GET /apis`.
pub(crate) fn api_group_list(catalogue: &Catalogue) -> Value {
    let rows: Vec<Value> = groups(catalogue)
        .iter()
        .map(|(group, versions)| group_body(group, versions))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": rows})
}

/// `GET /apis/GROUP`.
pub(crate) fn api_group(catalogue: &Catalogue, group: &str) -> Option<Value> {
    let (_, versions) = groups(catalogue)
        .into_iter()
        .find(|(name, _)| name == group)?;
    let mut body = group_body(group, &versions);
    body["kind"] = "APIGroup".into();
    body["apiVersion"] = "v1".into();
    Some(body)
}

/// `GET /api/v1`, `GET /apis/GROUP/VERSION`.
pub(crate) fn api_resource_list(
    catalogue: &Catalogue,
    group: &str,
    version: &str,
) -> Option<Value> {
    let mut rows: Vec<Value> = Vec::new();
    let of_group = builtin().groups.iter().filter(|row| row["group"] == group);
    for row in of_group
        .flat_map(|row| row["versions"].as_array().into_iter().flatten())
        .filter(|row| row["version"] == version)
    {
        rows.extend(
            row["resources"]
                .as_array()
                .into_iter()
                .flatten()
                .flat_map(|row| legacy(row, group, version)),
        );
    }
    for resource in catalogue
        .custom()
        .filter(|resource| resource.group == group)
    {
        if let Some(version) = resource.version(version) {
            rows.extend(legacy(&discovered(resource, version), group, &version.name));
        }
    }
    if rows.is_empty() {
        return None;
    }
    let api_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    let mut list =
        json!({"kind": "APIResourceList", "groupVersion": api_version, "resources": rows});
    if !group.is_empty() {
        // The core group leaves it out, for clients older than it.
        list["apiVersion"] = "v1".into();
    }
    Some(list)
}

/// One aggregated row as the rows of the older document.
fn legacy(row: &Value, group: &str, version: &str) -> Vec<Value> {
    let namespaced = row["scope"] == "Namespaced";
    let entry = |name: String, singular: &Value, row: &Value| {
        let mut out = json!({
            "name": name, "singularName": singular, "namespaced": namespaced,
            "kind": row["responseKind"]["kind"], "verbs": row["verbs"],
        });
        let kind = &row["responseKind"];
        let own = kind["group"].as_str().unwrap_or("") == group
            && kind["version"].as_str().unwrap_or("") == version;
        for word in ["group", "version"] {
            if !own && kind[word].as_str().is_some_and(|value| !value.is_empty()) {
                out[word] = kind[word].clone();
            }
        }
        out
    };
    let plural = row["resource"].as_str().unwrap_or("").to_owned();
    let mut main = entry(plural.clone(), &row["singularResource"], row);
    for name in ["shortNames", "categories"] {
        if row[name].is_array() {
            main[name] = row[name].clone();
        }
    }
    let mut out = vec![main];
    for sub in row["subresources"].as_array().into_iter().flatten() {
        let name = format!("{plural}/{}", sub["subresource"].as_str().unwrap_or(""));
        out.push(entry(name, &"".into(), sub));
    }
    out
}

//! Finds a resource by path or by kind.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::resource::{Resource, Scale, Source, Version, key};
use crate::schema::builtin;

/// The resources of one sandbox.
pub(crate) struct Catalogue {
    custom: BTreeMap<Arc<str>, Arc<Resource>>,
}

struct Static {
    resources: Vec<Arc<Resource>>,
    /// The same, by table name.
    by_key: BTreeMap<Arc<str>, Arc<Resource>>,
}

fn shared() -> &'static Static {
    static SHARED: OnceLock<Static> = OnceLock::new();
    SHARED.get_or_init(|| {
        let resources: Vec<Arc<Resource>> = builtin()
            .groups
            .iter()
            .flat_map(read_group)
            .map(Arc::new)
            .collect();
        let by_key = resources
            .iter()
            .map(|resource| (resource.key.clone(), resource.clone()))
            .collect();
        Static { resources, by_key }
    })
}

impl Catalogue {
    pub(crate) fn new() -> Self {
        Self {
            custom: BTreeMap::new(),
        }
    }

    /// Every resource, built-in ones first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Resource>> {
        shared().resources.iter().chain(self.custom.values())
    }

    /// The resources of definitions.
    pub(crate) fn custom(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.custom.values()
    }

    /// What a path names.
    pub(crate) fn by_path(
        &self,
        group: &str,
        version: &str,
        plural: &str,
    ) -> Option<Arc<Resource>> {
        let resource = self.by_key(&key(group, plural))?;
        resource.version(version)?;
        Some(resource)
    }

    pub(crate) fn by_key(&self, key: &str) -> Option<Arc<Resource>> {
        shared()
            .by_key
            .get(key)
            .or_else(|| self.custom.get(key))
            .cloned()
    }

    pub(crate) fn by_kind(&self, group: &str, kind: &str) -> Option<Arc<Resource>> {
        self.all()
            .find(|resource| {
                resource.group == group && resource.kind == kind && resource.allows("get")
            })
            .cloned()
    }

    pub(crate) fn has_group(&self, group: &str) -> bool {
        self.all().any(|resource| resource.group == group)
    }

    pub(crate) fn serve(&mut self, resource: Resource) {
        self.custom.insert(resource.key.clone(), Arc::new(resource));
    }

    pub(crate) fn withdraw(&mut self, key: &str) {
        self.custom.remove(key);
    }
}

fn read_group(row: &Value) -> Vec<Resource> {
    let group = row["group"].as_str().unwrap_or("");
    let mut out: BTreeMap<String, Resource> = BTreeMap::new();
    for version in row["versions"].as_array().into_iter().flatten() {
        let name = version["version"].as_str().unwrap_or("");
        for resource in version["resources"].as_array().into_iter().flatten() {
            let plural = word(resource, "resource");
            let read = read_version(resource, name);
            match out.get_mut(&plural) {
                Some(known) => known.versions.push(read),
                None => {
                    out.insert(plural.clone(), read_resource(group, plural, resource, read));
                }
            }
        }
    }
    out.into_values().collect()
}

fn read_resource(group: &str, plural: String, row: &Value, version: Version) -> Resource {
    let words = |name: &str| {
        row[name]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|word| word.as_str().map(str::to_owned))
            .collect()
    };
    let kind = row["responseKind"]["kind"]
        .as_str()
        .unwrap_or("")
        .to_owned();
    Resource {
        group: group.to_owned(),
        singular: word(row, "singularResource"),
        list_kind: format!("{kind}List"),
        kind,
        short_names: words("shortNames"),
        categories: words("categories"),
        namespaced: row["scope"] == "Namespaced",
        verbs: words("verbs"),
        versions: vec![version],
        key: key(group, &plural),
        plural,
    }
}

fn read_version(row: &Value, name: &str) -> Version {
    let has = |name: &str| {
        row["subresources"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|sub| sub["subresource"] == name)
    };
    let scale = has("scale").then(|| Scale {
        spec_replicas: ".spec.replicas".to_owned(),
        status_replicas: ".status.replicas".to_owned(),
        label_selector: None,
    });
    Version {
        name: name.to_owned(),
        status: has("status"),
        scale,
        columns: Vec::new(),
        source: Source::Builtin,
    }
}

fn word(row: &Value, name: &str) -> String {
    row[name].as_str().unwrap_or("").to_owned()
}

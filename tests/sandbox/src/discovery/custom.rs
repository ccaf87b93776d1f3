//! Reads a CustomResourceDefinition into a resource.

use std::sync::Arc;

use serde_json::Value;

use super::resource::{Column, Resource, Scale, Source, Version, key};
use crate::schema::{OBJECT_META, Scalar, TypeId, Types, builtin};

/// The resource that a definition describes, with its served versions.
pub(crate) fn definition(crd: &Value) -> Resource {
    let spec = &crd["spec"];
    let names = &spec["names"];
    let group = word(spec, "group");
    let plural = word(names, "plural");
    let kind = word(names, "kind");
    let words = |name: &str| {
        names[name]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|word| word.as_str().map(str::to_owned))
            .collect()
    };
    let mut versions: Vec<Version> = spec["versions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|version| version["served"] == true)
        .map(read_version)
        .collect();
    versions.sort_by_key(|version| priority(&version.name));
    let singular = Some(word(names, "singular"))
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| kind.to_lowercase());
    let list_kind = Some(word(names, "listKind"))
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| format!("{kind}List"));
    Resource {
        key: key(&group, &plural),
        group,
        plural,
        singular,
        kind,
        list_kind,
        short_names: words("shortNames"),
        categories: words("categories"),
        namespaced: spec["scope"] == "Namespaced",
        verbs: [
            "delete",
            "deletecollection",
            "get",
            "list",
            "patch",
            "create",
            "update",
            "watch",
        ]
        .map(str::to_owned)
        .to_vec(),
        versions,
    }
}

fn read_version(row: &Value) -> Version {
    let schema = row["schema"]["openAPIV3Schema"].clone();
    let (types, root) = read_types(&schema);
    let scale = row["subresources"]["scale"].as_object().map(|scale| {
        let path = |name: &str| {
            scale
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or("")
                .to_owned()
        };
        Scale {
            spec_replicas: path("specReplicasPath"),
            status_replicas: path("statusReplicasPath"),
            label_selector: Some(path("labelSelectorPath")).filter(|path| !path.is_empty()),
        }
    });
    Version {
        name: word(row, "name"),
        status: row["subresources"]["status"].is_object(),
        scale,
        columns: columns(row),
        source: Source::Custom {
            types: Arc::new(types),
            root,
            schema: Arc::new(schema),
        },
    }
}

/// The columns that a version of a definition asks for.
pub(crate) fn columns(version: &Value) -> Vec<Column> {
    let rows = version["additionalPrinterColumns"]
        .as_array()
        .into_iter()
        .flatten();
    rows.map(|row| Column {
        name: word(row, "name"),
        kind: word(row, "type"),
        format: word(row, "format"),
        path: word(row, "jsonPath"),
        priority: row["priority"].as_i64().unwrap_or(0),
    })
    .collect()
}

/// The root of a custom resource: the definition's schema, with the fields that every
/// object has.
fn read_types(schema: &Value) -> (Types, TypeId) {
    let lookup = |name: &str| builtin().schema(name);
    let mut types = Types::default();
    let root = if schema.is_object() {
        types.read(schema, false, &lookup)
    } else {
        types.free_form()
    };
    let metadata = types.named(OBJECT_META, &lookup);
    let text = types.scalar(Scalar::String);
    types.set_field(root, "apiVersion", text);
    types.set_field(root, "kind", text);
    types.set_field(root, "metadata", metadata);
    (types, root)
}

/// Orders versions as Kubernetes does: `v2`, `v1`, `v1beta2`, `v1alpha1`, then the rest by name.
fn priority(name: &str) -> (u8, std::cmp::Reverse<(u64, u64)>, String) {
    let parsed = || {
        let rest = name.strip_prefix('v')?;
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let major: u64 = rest[..digits].parse().ok()?;
        let tail = &rest[digits..];
        if tail.is_empty() {
            return Some((0, major, 0));
        }
        let (stage, minor) = tail
            .strip_prefix("beta")
            .map(|minor| (1, minor))
            .or_else(|| Some((2, tail.strip_prefix("alpha")?)))?;
        Some((stage, major, minor.parse().ok()?))
    };
    match parsed() {
        Some((stage, major, minor)) => (stage, std::cmp::Reverse((major, minor)), String::new()),
        None => (3, std::cmp::Reverse((0, 0)), name.to_owned()),
    }
}

fn word(row: &Value, name: &str) -> String {
    row[name].as_str().unwrap_or("").to_owned()
}

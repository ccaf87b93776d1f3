//! OpenAPI documents, as far as `kubectl` reads them: to learn that the server checks fields
//! itself, to explain a kind, and to find how its lists merge.

use serde_json::{Map, Value, json};

use super::catalogue::Catalogue;
use super::resource::{Resource, Source, Version};
use crate::schema::builtin;

/// `GET /openapi/v3`.
pub(crate) fn openapi_v3_index(catalogue: &Catalogue) -> Value {
    let mut paths = Map::new();
    for resource in catalogue.all() {
        for version in &resource.versions {
            let name = root(&resource.group, &version.name);
            let url = format!("/openapi/v3/{name}");
            paths.insert(name, json!({"serverRelativeURL": url}));
        }
    }
    json!({"paths": paths})
}

fn root(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

/// `GET /openapi/v3/apis/GROUP/VERSION`: paths and schemas of one version.
pub(crate) fn openapi_v3(catalogue: &Catalogue, group: &str, version: &str) -> Option<Value> {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    for resource in catalogue
        .all()
        .filter(|resource| resource.group == group && resource.allows("get"))
    {
        let Some(version) = resource.version(version) else {
            continue;
        };
        let gvk = json!({"group": group, "version": version.name, "kind": resource.kind});
        let scope = if resource.namespaced {
            "/namespaces/{namespace}"
        } else {
            ""
        };
        let path = format!(
            "/{}{scope}/{}/{{name}}",
            root(group, &version.name),
            resource.plural
        );
        let name = schema_name(resource, version);
        paths.insert(path, operations(&gvk, &name));
        match &version.source {
            Source::Builtin => collect(&name, &mut schemas),
            Source::Custom { schema, .. } => {
                let mut schema = (**schema).clone();
                schema["x-kubernetes-group-version-kind"] = json!([gvk]);
                schemas.insert(format!("io.k8s.{name}"), schema);
            }
        }
    }
    if paths.is_empty() {
        return None;
    }
    let info = json!({"title": "Kubernetes", "version": crate::VERSION});
    Some(
        json!({"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}),
    )
}

fn schema_name(resource: &Resource, version: &Version) -> String {
    builtin()
        .schema_name(&resource.group, &version.name, &resource.kind)
        .map_or_else(
            || {
                format!(
                    "custom.{}.{}.{}",
                    resource.group, version.name, resource.kind
                )
            },
            str::to_owned,
        )
}

/// The operations of an object that a client looks for, with the parameters it may use.
fn operations(gvk: &Value, name: &str) -> Value {
    let parameter = |name: &str, kind: &str| json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}});
    let write = json!([
        parameter("dryRun", "string"),
        parameter("fieldManager", "string"),
        parameter("fieldValidation", "string"),
    ]);
    let mut patch = write.clone();
    if let Some(list) = patch.as_array_mut() {
        list.push(parameter("force", "boolean"));
    }
    let schema = json!({"$ref": format!("#/components/schemas/io.k8s.{name}")});
    let answer =
        json!({"200": {"description": "OK", "content": {"application/json": {"schema": schema}}}});
    let body = |types: &[&str]| {
        let content: Map<String, Value> = types
            .iter()
            .map(|kind| ((*kind).to_owned(), json!({"schema": {"type": "object"}})))
            .collect();
        json!({"content": content, "required": true})
    };
    let mut formats = vec![
        "application/apply-patch+yaml",
        "application/json-patch+json",
        "application/merge-patch+json",
    ];
    if !name.starts_with("custom.") {
        formats.push("application/strategic-merge-patch+json");
    }
    let operation = |action: &str, parameters: &Value, body: Value| {
        let mut out = json!({
            "x-kubernetes-action": action, "x-kubernetes-group-version-kind": gvk,
            "parameters": parameters, "responses": answer,
        });
        if !body.is_null() {
            out["requestBody"] = body;
        }
        out
    };
    json!({
        "get": operation("get", &json!([]), Value::Null),
        "put": operation("put", &write, body(&["*/*"])),
        "patch": operation("patch", &patch, body(&formats)),
        "delete": operation("delete", &json!([parameter("dryRun", "string")]), Value::Null),
    })
}

/// Adds a built-in schema and everything it refers to.
fn collect(name: &str, out: &mut Map<String, Value>) {
    let full = format!("io.k8s.{name}");
    if out.contains_key(&full) {
        return;
    }
    let Some(schema) = builtin().schema(name) else {
        return;
    };
    let mut schema = schema.clone();
    for gvk in schema
        .get_mut("x-kubernetes-group-version-kind")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        *gvk = json!({"group": gvk[0], "version": gvk[1], "kind": gvk[2]});
    }
    let mut names = Vec::new();
    refer(&mut schema, &mut names);
    out.insert(full, schema);
    for name in names {
        collect(&name, out);
    }
}

/// Writes references out in full and notes where they lead.
fn refer(value: &mut Value, names: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(name)) = fields.get_mut("$ref") {
                names.push(name.clone());
                *name = format!("#/components/schemas/io.k8s.{name}");
            }
            fields.values_mut().for_each(|value| refer(value, names));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| refer(value, names)),
        _ => {}
    }
}

/// `GET /openapi/v2`: present, and empty of kinds; clients prefer the third version.
pub(crate) fn openapi_v2() -> Value {
    json!({"swagger": "2.0", "info": {"title": "Kubernetes", "version": crate::VERSION}, "paths": {}, "definitions": {}})
}

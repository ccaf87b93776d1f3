//! From a request's body to an object that the rest can trust to have the right shape.

use serde_json::Value;

use super::state::Target;
use super::write::Validation;
use crate::rules;
use crate::schema::{
    Problem, canonical_quantities, drop_empty, drop_nulls, fill, fill_required, prune,
};
use crate::status::{Invalid, Status};

/// Refuses a body that is no object of the kind and the place that the path names.
pub(super) fn identity(target: &Target, body: &mut Value) -> Result<(), Status> {
    if !body.is_object() {
        return Err(Status::bad_request(
            "the object provided is unrecognized: not a JSON object",
        ));
    }
    let (api_version, kind) = (target.api_version(), &target.resource.kind);
    for (name, want) in [("kind", kind), ("apiVersion", &api_version)] {
        let given = body[name].as_str().unwrap_or("");
        if given.is_empty() {
            // Typed clients may leave both out.
            if body.get("kind").is_some() || body.get("apiVersion").is_some() {
                return Err(Status::bad_request(format!(
                    "Object '{}' is missing",
                    if name == "kind" { "Kind" } else { "apiVersion" }
                )));
            }
        } else if given != want {
            let (given_kind, version) = (
                body["kind"].as_str().unwrap_or(""),
                body["apiVersion"].as_str().unwrap_or(""),
            );
            let message = format!(
                "{given_kind} in version {version:?} cannot be handled as a {kind}: unknown conversion"
            );
            return Err(Status::bad_request(message));
        }
    }
    body["kind"] = kind.clone().into();
    body["apiVersion"] = api_version.into();
    if !body["metadata"].is_object() {
        body["metadata"] = serde_json::json!({});
    }
    place(target, body)
}

/// The namespace and the name must be those of the path.
fn place(target: &Target, body: &mut Value) -> Result<(), Status> {
    let metadata = &mut body["metadata"];
    if target.resource.namespaced {
        match metadata["namespace"].as_str() {
            Some(given) if !given.is_empty() && given != target.namespace => {
                let message = "the namespace of the provided object does not match the namespace sent on the request";
                return Err(Status::bad_request(message));
            }
            _ => metadata["namespace"] = target.namespace.clone().into(),
        }
    } else if let Some(fields) = metadata.as_object_mut() {
        fields.remove("namespace");
    }
    if !target.name.is_empty() {
        match metadata["name"].as_str() {
            Some(given) if given != target.name => {
                return Err(Status::bad_request(format!(
                    "the name of the object ({given}) does not match the name on the URL ({})",
                    target.name
                )));
            }
            _ => metadata["name"] = target.name.clone().into(),
        }
    }
    Ok(())
}

/// Removes unknown fields, with a word about each, and refuses wrong types.
pub(super) fn fields(
    target: &Target,
    object: &mut Value,
    validation: Validation,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    let Some(shape) = target.resource.shape(&target.version) else {
        return Ok(());
    };
    let mut unknown = Vec::new();
    let mut wrong = Vec::new();
    for problem in prune(object, shape) {
        match problem {
            Problem::Unknown(path) => unknown.push(format!("unknown field {path:?}")),
            Problem::Type(path, want, got)
                if !target.resource.is_custom() || path.starts_with("metadata") =>
            {
                let kind = &target.resource.kind;
                return Err(Status::bad_request(format!(
                    "{kind} in version {:?} cannot be handled as a {kind}: json: cannot unmarshal {got} into Go struct field {kind}.{path} of type {want}",
                    target.version
                )));
            }
            Problem::Type(path, want, got) => wrong.push(Invalid::value(
                path.clone(),
                &got.into(),
                &format!("{path} in body must be of type {want}: {got:?}"),
            )),
        }
    }
    if !wrong.is_empty() {
        let name = object["metadata"]["name"].as_str().unwrap_or("");
        return Err(Status::invalid(&target.resource, name, &wrong));
    }
    if let Some(why) = rules::undecodable(&target.resource.group, &target.resource.kind, object) {
        let kind = &target.resource.kind;
        let message = format!(
            "{kind} in version {:?} cannot be handled as a {kind}: {why}",
            target.version
        );
        return Err(Status::bad_request(message));
    }
    match validation {
        Validation::Strict if !unknown.is_empty() => {
            let kind = &target.resource.kind;
            Err(Status::bad_request(format!(
                "{kind} in version {:?} cannot be handled as a {kind}: strict decoding error: {}",
                target.version,
                unknown.join(", ")
            )))
        }
        Validation::Warn => {
            warnings.extend(unknown);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Defaults, and the structs that are always there.
pub(super) fn complete(target: &Target, object: &mut Value) {
    let resource = &target.resource;
    if let Some(schema) = custom_schema(target) {
        drop_nulls(&mut object["metadata"]);
        rules::custom_defaults(object, schema);
        return;
    }
    drop_nulls(object);
    let Some(shape) = resource.shape(&target.version) else {
        return;
    };
    drop_empty(object, shape);
    canonical_quantities(object, shape);
    fill(object, shape);
    rules::defaults(&resource.group, &resource.kind, object);
    fill(object, shape);
    if let (Some(status), Some(shape)) = (object.get_mut("status"), shape.child("status")) {
        fill_required(status, shape);
    }
}

/// The schema of a custom resource's version.
pub(super) fn custom_schema(target: &Target) -> Option<&Value> {
    target
        .resource
        .version(&target.version)
        .and_then(|version| version.schema())
}

/// Everything that the kind does not allow.
pub(super) fn invalid(target: &Target, object: &Value) -> Vec<Invalid> {
    let resource = &target.resource;
    let mut problems = rules::check_metadata(&resource.group, &resource.kind, object);
    match custom_schema(target) {
        Some(schema) => problems.extend(rules::validate_custom(object, schema)),
        None => problems.extend(rules::validate(&resource.group, &resource.kind, object)),
    }
    problems
}

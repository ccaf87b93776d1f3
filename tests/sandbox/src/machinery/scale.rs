//! The `scale` subresource: two numbers of an object under a kind of their own.

use serde_json::{Value, json};

use super::patching::{PatchFormat, patched};
use super::state::{State, Target};
use super::write::{Options, Ownership, Written};
use crate::apply::{Managed, one};
use crate::status::Status;

/// What a dotted path (`.spec.replicas`) leads to.
pub(crate) fn pick<'a>(object: &'a Value, path: &str) -> &'a Value {
    path.trim_start_matches('.')
        .split('.')
        .fold(object, |value, name| &value[name])
}

fn plant(object: &mut Value, path: &str, value: Value) {
    let mut at = object;
    for name in path.trim_start_matches('.').split('.') {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[name];
    }
    *at = value;
}

/// The scale of an object.
pub(crate) fn read_scale(target: &Target, object: &Value) -> Result<Value, Status> {
    let scale = target
        .resource
        .version(&target.version)
        .and_then(|version| version.scale.as_ref())
        .ok_or_else(|| Status::not_found(&target.resource, &target.name))?;
    let metadata = &object["metadata"];
    let selector = match &scale.label_selector {
        Some(path) => pick(object, path).as_str().unwrap_or("").to_owned(),
        None => words(&object["spec"]["selector"]),
    };
    let mut out = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {},
        "spec": {"replicas": pick(object, &scale.spec_replicas).as_i64().unwrap_or(0)},
        "status": {"replicas": pick(object, &scale.status_replicas).as_i64().unwrap_or(0)},
    });
    for name in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        if !metadata[name].is_null() {
            out["metadata"][name] = metadata[name].clone();
        }
    }
    if !selector.is_empty() {
        out["status"]["selector"] = selector.into();
    }
    Ok(out)
}

/// A label selector as one line.
fn words(selector: &Value) -> String {
    let pairs = selector["matchLabels"]
        .as_object()
        .or_else(|| selector.as_object());
    let pairs = pairs
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| value.as_str().map(|value| format!("{key}={value}")));
    pairs.collect::<Vec<_>>().join(",")
}

pub(super) fn patch_scale(
    state: &mut State,
    target: &Target,
    format: PatchFormat,
    body: &Value,
    options: &Options,
) -> Result<Written, Status> {
    let live = state.find(target)?;
    let before = state.read(target, &live);
    let scale = read_scale(target, &before)?;
    let mut changed = match format {
        PatchFormat::Apply | PatchFormat::Strategic => {
            patched(target, PatchFormat::Merge, &scale, body)?
        }
        format => patched(target, format, &scale, body)?,
    };
    changed["metadata"]["uid"] = scale["metadata"]["uid"].clone();
    write_scale(state, target, &changed, options)
}

/// PUT on a scale.
pub(crate) fn write_scale(
    state: &mut State,
    target: &Target,
    scale: &Value,
    options: &Options,
) -> Result<Written, Status> {
    let live = state.find(target)?;
    let mut object = state.read(target, &live);
    let path = target
        .resource
        .version(&target.version)
        .and_then(|version| version.scale.clone())
        .ok_or_else(|| Status::not_found(&target.resource, &target.name))?;
    if let Some(version) = scale["metadata"]["resourceVersion"].as_str()
        && !version.is_empty()
        && object["metadata"]["resourceVersion"] != version
    {
        return Err(Status::modified(&target.resource, &target.name));
    }
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    if replicas < 0 {
        return Err(Status::bad_request(
            "spec.replicas: Invalid value: must be greater than or equal to 0",
        ));
    }
    let mut managed = Managed::decode(&object).unwrap_or_default();
    if pick(&object, &path.spec_replicas).as_i64() != Some(replicas) {
        let steps: Vec<&str> = path
            .spec_replicas
            .trim_start_matches('.')
            .split('.')
            .collect();
        managed.hand_over(&one(&steps), &state.identity(target, options));
    }
    plant(&mut object, &path.spec_replicas, replicas.into());
    let written = state.change(
        target,
        &live,
        object,
        Ownership::Decided(managed),
        options,
        Vec::new(),
    )?;
    Ok(Written {
        object: read_scale(target, &written.object)?,
        ..written
    })
}

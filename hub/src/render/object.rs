//! A document's value to the Kubernetes objects in it.
//!
//! Lists are unfolded; what an object needs to be applied is checked; what
//! only the API server may say is dropped, so that a manifest exported from a
//! cluster renders to what its author meant.

use lockstep_proto::bundle::{ObjectKey, canonical_json};
use lockstep_proto::traits::{self, Traits};
use serde_json::{Map, Value};

/// Lists within lists within a document.
const MAX_NESTING: usize = 8;
/// What the API server takes for a name at most (a DNS subdomain).
const MAX_NAME: usize = 253;

/// Metadata that the API server sets; sent back, some of it refuses the apply.
const SERVER_SET: [&str; 8] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Where a value stands in its file.
pub(super) struct Source<'a> {
    pub line: usize,
    /// Lines of the elements of a top-level `items`, where they are known.
    pub item_lines: &'a [usize],
}

type Outcome = Result<(ObjectKey, Vec<u8>), String>;

/// Calls `each` with the line and the canonical JSON of every object in `value`.
pub(super) fn unfold(value: Value, source: &Source<'_>, each: &mut impl FnMut(usize, Outcome)) {
    unfold_nested(value, source, "", 0, each);
}

fn unfold_nested(
    value: Value,
    source: &Source<'_>,
    at: &str,
    nesting: usize,
    each: &mut impl FnMut(usize, Outcome),
) {
    let line = source.line;
    let mut object = match value {
        Value::Object(object) => object,
        other => {
            let found = match other {
                Value::Null => "nothing",
                Value::Array(_) => "a list",
                _ => "a single value",
            };
            return each(
                line,
                Err(format!(
                    "{at}expected a Kubernetes object with apiVersion, kind and metadata, found {found}"
                )),
            );
        }
    };
    if !is_list(&object) {
        return each(line, finish(object).map_err(|cause| format!("{at}{cause}")));
    }
    if nesting == MAX_NESTING {
        return each(
            line,
            Err(format!(
                "{at}more than {MAX_NESTING} lists within each other"
            )),
        );
    }
    let text = |object: &Map<String, Value>, key| {
        object
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (api_version, kind) = (text(&object, "apiVersion"), text(&object, "kind"));
    let item_kind = kind.strip_suffix("List").unwrap_or_default();
    let items = match object.remove("items") {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    };
    for (i, mut item) in items.into_iter().enumerate() {
        // In a typed list the list's own type says what its items are.
        if let Value::Object(item) = &mut item
            && !item_kind.is_empty()
            && !item.contains_key("kind")
        {
            item.insert("kind".into(), item_kind.into());
            item.entry("apiVersion")
                .or_insert_with(|| api_version.as_str().into());
        }
        let item_source = Source {
            line: source.item_lines.get(i).copied().unwrap_or(line),
            item_lines: &[],
        };
        unfold_nested(
            item,
            &item_source,
            &format!("{at}items[{i}]: "),
            nesting + 1,
            each,
        );
    }
}

/// As kubectl decides it: a kind that ends in List, with items.
fn is_list(object: &Map<String, Value>) -> bool {
    let kind = object
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or_default();
    kind.ends_with("List")
        && match object.get("items") {
            Some(Value::Array(_)) => true,
            Some(Value::Null) | None => kind == "List",
            _ => false,
        }
}

fn finish(mut object: Map<String, Value>) -> Outcome {
    let api_version = required(&object, "apiVersion", "")?;
    check_api_version(&api_version)?;
    let kind = required(&object, "kind", "")?;
    if !kind.starts_with(|c: char| c.is_ascii_alphabetic())
        || !kind.chars().all(|c| c.is_ascii_alphanumeric())
        || kind.len() > 63
    {
        return Err(format!("kind {} is not the name of a kind", shown(&kind)));
    }
    if api_version.starts_with("kustomize.config.k8s.io/") {
        return Err(
            "a file for Kustomize, not a Kubernetes object; this version renders plain manifests only"
                .into(),
        );
    }
    let metadata = match object.get_mut("metadata") {
        Some(Value::Object(metadata)) => metadata,
        None | Some(Value::Null) => return Err(format!("{kind}: metadata.name is missing")),
        Some(_) => return Err(format!("{kind}: metadata is not a map")),
    };
    if absent(metadata.get("name")) && !absent(metadata.get("generateName")) {
        return Err(format!(
            "{kind}: metadata.generateName would make a new object with every apply; give it a metadata.name"
        ));
    }
    metadata.remove("generateName");
    let name =
        required(metadata, "name", "metadata.").map_err(|cause| format!("{kind}: {cause}"))?;
    check_name(&name).map_err(|cause| format!("{kind}: metadata.name {} {cause}", shown(&name)))?;
    let namespace = match metadata.get("namespace") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(namespace)) => namespace.clone(),
        Some(_) => {
            return Err(format!(
                "{kind} {name}: metadata.namespace is not a text; quote it"
            ));
        }
    };
    if namespace.is_empty() {
        metadata.remove("namespace");
    } else {
        lockstep_proto::names::check_label(&namespace)
            .map_err(|error| format!("{kind} {name}: metadata.namespace: {error}"))?;
    }
    for field in ["labels", "annotations"] {
        check_texts(metadata.get(field))
            .map_err(|cause| format!("{kind} {name}: metadata.{field}{cause}"))?;
    }
    if let Some(Value::Object(annotations)) = metadata.get("annotations") {
        check_traits(annotations).map_err(|cause| format!("{kind} {name}: {cause}"))?;
    }
    for field in SERVER_SET {
        metadata.remove(field);
    }
    object.remove("status");
    let json = canonical_json(&Value::Object(object));
    let key = ObjectKey {
        api_version,
        kind,
        namespace,
        name,
    };
    Ok((key, json))
}

fn absent(value: Option<&Value>) -> bool {
    value.is_none_or(|value| value.is_null() || value.as_str() == Some(""))
}

fn required(map: &Map<String, Value>, field: &str, prefix: &str) -> Result<String, String> {
    let value = map.get(field);
    if absent(value) {
        return Err(format!("{prefix}{field} is missing"));
    }
    match value {
        Some(Value::String(text)) => Ok(text.clone()),
        _ => Err(format!("{prefix}{field} is not a text; quote it")),
    }
}

/// A label or annotation that is not a text fails the apply of the whole object.
fn check_texts(value: Option<&Value>) -> Result<(), String> {
    match value {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Object(map)) => {
            match map.iter().find(|(_, v)| !v.is_string() && !v.is_null()) {
                None => Ok(()),
                Some((key, _)) => Err(format!("[{}] is not a text; quote it", shown(key))),
            }
        }
        Some(_) => Err(" is not a map".into()),
    }
}

/// What an object asks by our annotations must be something that an agent can
/// do. A name that is not ours is a slip of the pen: who writes
/// `lockstep.dev/prunes: Disabled` would lose what they meant to keep.
fn check_traits(annotations: &Map<String, Value>) -> Result<(), String> {
    let ours = |name: &&String| name.starts_with(traits::PREFIX);
    if let Some(name) = annotations
        .keys()
        .filter(ours)
        .find(|name| !traits::NAMES.contains(&name.as_str()))
    {
        let known = traits::NAMES.join(", ");
        return Err(format!("annotation {} is not one of {known}", shown(name)));
    }
    Traits::read(annotations).map_err(|error| error.to_string())?;
    if annotations.contains_key(traits::HOOK_DELETE_POLICY)
        && !annotations.contains_key(traits::HOOK)
    {
        return Err(format!(
            "annotation {} says nothing without {}",
            traits::HOOK_DELETE_POLICY,
            traits::HOOK
        ));
    }
    Ok(())
}

fn check_api_version(text: &str) -> Result<(), String> {
    let part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
    };
    let good = match text.split_once('/') {
        Some((group, version)) => part(group) && part(version) && !group.starts_with('.'),
        None => part(text),
    };
    if good && text.len() <= MAX_NAME {
        Ok(())
    } else {
        Err(format!(
            "apiVersion {} is neither a version (v1) nor a group and version (apps/v1)",
            shown(text)
        ))
    }
}

/// What may stand in a path of the API (`path.IsValidPathSegmentName`); each
/// kind's own rules are the API server's to enforce.
fn check_name(name: &str) -> Result<(), &'static str> {
    if matches!(name, "." | "..") {
        return Err("may not be \".\" or \"..\"");
    }
    if name.contains(['/', '%']) {
        return Err("may not contain '/' or '%'");
    }
    if name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("may not contain white space");
    }
    if name.len() > MAX_NAME {
        return Err("is longer than 253 characters");
    }
    Ok(())
}

/// A name in a message: quoted, and never long.
fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    if text.chars().count() <= LONGEST {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(LONGEST).collect();
    format!("{start:?}…")
}

//! Which fields two states of one object differ in. What only a server may
//! say, and status, is no difference.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{FieldPath, Fields, Step, find_item, item_step, keys_of};

/// What the server may change without anybody wanting it to.
const SERVERS: &[&str] = &["managedFields", "resourceVersion", "generation"];

/// The fields in which `live` is not `wanted`; none where they are the same.
/// `shape`: what is known of their lists.
#[must_use]
pub fn differ(live: &Value, wanted: &Value, shape: &Fields) -> Vec<FieldPath> {
    let mut out = Vec::new();
    let nothing = Map::new();
    let (live, wanted) = (
        live.as_object().unwrap_or(&nothing),
        wanted.as_object().unwrap_or(&nothing),
    );
    let root = FieldPath::default();
    for key in keys(live, wanted)
        .into_iter()
        .filter(|key| *key != "status")
    {
        let at = root.with(Step::Field(key.to_owned()));
        let below = shape.field(key);
        match (key, live.get(key), wanted.get(key)) {
            ("metadata", Some(live), Some(wanted)) => {
                walk(&bare(live), &bare(wanted), below, &at, &mut out);
            }
            (_, live, wanted) => either(live, wanted, below, &at, &mut out),
        }
    }
    out
}

fn bare(metadata: &Value) -> Value {
    let mut metadata = metadata.clone();
    if let Some(fields) = metadata.as_object_mut() {
        fields.retain(|name, _| !SERVERS.contains(&name.as_str()));
    }
    metadata
}

fn keys<'a>(a: &'a Map<String, Value>, b: &'a Map<String, Value>) -> BTreeSet<&'a str> {
    a.keys().chain(b.keys()).map(String::as_str).collect()
}

/// Two fields of which one may be missing.
fn either(
    live: Option<&Value>,
    wanted: Option<&Value>,
    shape: Option<&Fields>,
    at: &FieldPath,
    out: &mut Vec<FieldPath>,
) {
    let nothing = Value::Object(Map::new());
    match (live, wanted) {
        (Some(live), Some(wanted)) => walk(live, wanted, shape, at, out),
        // What is in it says more than that it is not there.
        (Some(Value::Object(map)), None) if !map.is_empty() => {
            walk(&Value::Object(map.clone()), &nothing, shape, at, out);
        }
        (None, Some(Value::Object(map))) if !map.is_empty() => {
            walk(&nothing, &Value::Object(map.clone()), shape, at, out);
        }
        (None, None) => {}
        _ => out.push(at.clone()),
    }
}

fn walk(
    live: &Value,
    wanted: &Value,
    shape: Option<&Fields>,
    at: &FieldPath,
    out: &mut Vec<FieldPath>,
) {
    if live == wanted {
        return;
    }
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            for key in keys(live, wanted) {
                let step = Step::Field(key.to_owned());
                let below = shape.and_then(|shape| shape.child(&step));
                either(live.get(key), wanted.get(key), below, &at.with(step), out);
            }
        }
        (Value::Array(live), Value::Array(wanted)) => lists(live, wanted, shape, at, out),
        _ => out.push(at.clone()),
    }
}

fn lists(
    live: &[Value],
    wanted: &[Value],
    shape: Option<&Fields>,
    at: &FieldPath,
    out: &mut Vec<FieldPath>,
) {
    let before = out.len();
    let keys = keys_of(live, shape).filter(|keys| keys_of(wanted, shape).as_ref() == Some(keys));
    if let Some(keys) = keys {
        for element in live {
            let step = item_step(element, &keys);
            let Step::Item(named) = &step else { continue };
            let below = shape.and_then(|shape| shape.item(element));
            match find_item(wanted, named) {
                Some(index) => walk(element, &wanted[index], below, &at.with(step), out),
                None => out.push(at.with(step)),
            }
        }
        for element in wanted {
            let step = item_step(element, &keys);
            let Step::Item(named) = &step else { continue };
            if find_item(live, named).is_none() {
                out.push(at.with(step));
            }
        }
    } else if live.len() == wanted.len() && live.iter().chain(wanted).all(Value::is_object) {
        for (index, (live, wanted)) in live.iter().zip(wanted).enumerate() {
            walk(live, wanted, None, &at.with(Step::Index(index)), out);
        }
    }
    // Their order, or an element that cannot be told from another.
    if out.len() == before {
        out.push(at.clone());
    }
}

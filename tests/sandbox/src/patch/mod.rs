//! The three patch formats beside server-side apply. Pure: a value and a patch in, a value
//! or the reason why not out.

mod strategic;

use serde_json::{Map, Value};

pub(crate) use strategic::strategic;

/// RFC 7386.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else {
        return;
    };
    for (name, change) in changes {
        if change.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Value::Null), change);
        }
    }
}

/// RFC 6902.
pub(crate) fn json(target: &mut Value, patch: &Value) -> Result<(), String> {
    let operations: json_patch::Patch =
        serde_json::from_value(patch.clone()).map_err(|error| error.to_string())?;
    json_patch::patch(target, &operations).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;

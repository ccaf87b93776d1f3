//! Objects as leaves, and who owns them, for the API in memory.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

pub fn leaves(value: &Value) -> BTreeMap<String, Value> {
    fn walk(value: &Value, at: &str, out: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (key, value) in map {
                    walk(value, &format!("{at}\u{1}{key}"), out);
                }
            }
            other => {
                out.insert(at.to_owned(), other.clone());
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(value, "", &mut out);
    let skip = ["apiVersion", "kind", "status"].map(|f| format!("\u{1}{f}"));
    let names = ["name", "namespace"].map(|f| format!("\u{1}metadata\u{1}{f}"));
    out.retain(|path, _| {
        !skip.iter().any(|s| path.starts_with(s.as_str())) && !names.contains(path)
    });
    out
}

pub fn set(object: &mut Value, parts: &[&str], value: Value) {
    let mut at = object;
    for part in &parts[..parts.len() - 1] {
        if !at[*part].is_object() {
            at[*part] = json!({});
        }
        at = &mut at[*part];
    }
    at[parts[parts.len() - 1]] = value;
}

pub fn unset(object: &mut Value, parts: &[&str]) {
    let mut at = object;
    for part in &parts[..parts.len() - 1] {
        at = &mut at[*part];
    }
    if let Some(map) = at.as_object_mut() {
        map.remove(parts[parts.len() - 1]);
    }
}

pub fn parts(path: &str) -> Vec<&str> {
    path.split('\u{1}').skip(1).collect()
}

/// As `managedFields` says it.
pub fn fields_v1(leaves: &BTreeSet<String>) -> Value {
    let mut fields = json!({});
    for leaf in leaves {
        let parts: Vec<String> = parts(leaf).iter().map(|part| format!("f:{part}")).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        set(&mut fields, &parts, json!({}));
    }
    fields
}

//! The merge of an applied configuration into the live object.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::fields::item_step;
use super::path::Step;
use crate::schema::{Kind, ListKind, Shape};

/// A configuration that does not fit the schema; one line a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n  "))]
pub(crate) struct SchemaError(pub Vec<String>);

/// `live` with what `config` says put into it. Atomic values and scalars are replaced,
/// maps and lists with keys are merged.
pub(crate) fn merge(live: &Value, config: &Value, shape: Shape<'_>) -> Value {
    both(Some(live), Some(config), shape).unwrap_or(Value::Null)
}

fn both(left: Option<&Value>, right: Option<&Value>, shape: Shape<'_>) -> Option<Value> {
    match (left, right) {
        (_, Some(Value::Object(_))) | (Some(Value::Object(_)), None | Some(Value::Null))
            if matches!(shape.kind(), Kind::Map(_) | Kind::Deduced) && !shape.atomic_map() =>
        {
            let empty = Map::new();
            let ours = left.and_then(Value::as_object).unwrap_or(&empty);
            let theirs = right.and_then(Value::as_object).unwrap_or(&empty);
            if (ours.is_empty() && theirs.is_empty()) || right.is_some_and(Value::is_null) {
                return right.or(left).cloned();
            }
            Some(Value::Object(maps(ours, theirs, shape)))
        }
        (_, Some(Value::Array(_))) | (Some(Value::Array(_)), None | Some(Value::Null))
            if *shape.list_kind() != ListKind::Atomic =>
        {
            let ours = left
                .and_then(Value::as_array)
                .map_or(&[][..], Vec::as_slice);
            let theirs = right
                .and_then(Value::as_array)
                .map_or(&[][..], Vec::as_slice);
            if (ours.is_empty() && theirs.is_empty()) || right.is_some_and(Value::is_null) {
                return right.or(left).cloned();
            }
            Some(Value::Array(lists(ours, theirs, shape)))
        }
        _ => right.or(left).cloned(),
    }
}

fn maps(
    ours: &Map<String, Value>,
    theirs: &Map<String, Value>,
    shape: Shape<'_>,
) -> Map<String, Value> {
    let mut out = Map::new();
    for name in ours
        .keys()
        .chain(theirs.keys().filter(|name| !ours.contains_key(*name)))
    {
        let Some(child) = shape.child(name) else {
            continue;
        };
        if let Some(value) = both(ours.get(name), theirs.get(name), child) {
            out.insert(name.clone(), value);
        }
    }
    out
}

/// Merges two lists whose items have identities. The order of `theirs` wins for the items
/// of both; items of `ours` alone stay where they were among them.
fn lists(ours: &[Value], theirs: &[Value], shape: Shape<'_>) -> Vec<Value> {
    let Some(child) = shape.item() else {
        return theirs.to_vec();
    };
    let steps = |items: &[Value]| -> Vec<Step> {
        items
            .iter()
            .enumerate()
            .map(|(at, item)| item_step(shape, at, item).unwrap_or(Step::Index(at)))
            .collect()
    };
    let (left, right) = (steps(ours), steps(theirs));
    let index = |steps: &[Step]| -> BTreeMap<Step, usize> {
        let mut map = BTreeMap::new();
        for (at, step) in steps.iter().enumerate() {
            map.entry(step.clone()).or_insert(at);
        }
        map
    };
    let (in_left, in_right) = (index(&left), index(&right));
    let merged = |step: &Step, l: Option<usize>| {
        let l = l.or_else(|| in_left.get(step).copied()).map(|at| &ours[at]);
        both(l, in_right.get(step).map(|at| &theirs[*at]), child)
    };
    let mut shared = right.iter().filter(|step| in_left.contains_key(step));
    let mut next = shared.next();
    let mut done = std::collections::BTreeSet::new();
    let mut out = Vec::with_capacity(left.len().max(right.len()));
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if l < left.len() && r < right.len() {
            let step = &left[l];
            if *step == right[r] {
                done.insert(step);
                out.extend(merged(step, None));
                l += 1;
                r += 1;
                next = shared.next();
                continue;
            }
            if in_right.contains_key(step) && next.is_some_and(|next| next != step) {
                l += 1;
                continue;
            }
        }
        if l < left.len() {
            let step = &left[l];
            if !in_right.contains_key(step) {
                out.extend(both(Some(&ours[l]), None, child));
                l += 1;
                continue;
            }
            if done.contains(step) {
                l += 1;
            }
        }
        if r < right.len() {
            let step = &right[r];
            done.insert(step);
            out.extend(merged(step, None));
            r += 1;
            if next == Some(step) {
                next = shared.next();
            }
        }
    }
    out
}

/// Refuses what the schema does not declare, values of the wrong type, items without a key
/// and duplicates in lists with keys.
pub(crate) fn check(value: &Value, shape: Shape<'_>) -> Result<(), SchemaError> {
    let mut errors = Vec::new();
    visit(value, shape, "", &mut errors);
    if errors.is_empty() {
        Ok(())
    } else {
        Err(SchemaError(errors))
    }
}

fn visit(value: &Value, shape: Shape<'_>, path: &str, errors: &mut Vec<String>) {
    match (shape.kind(), value) {
        (_, Value::Null) | (Kind::Deduced | Kind::Opaque, _) => {}
        (Kind::Map(_), Value::Object(fields)) => {
            for (name, value) in fields {
                match shape.child(name) {
                    Some(child) => visit(value, child, &format!("{path}.{name}"), errors),
                    None => errors.push(format!("{path}.{name}: field not declared in schema")),
                }
            }
        }
        (Kind::List { kind, item }, Value::Array(items)) => {
            let mut seen = std::collections::BTreeSet::new();
            for (at, value) in items.iter().enumerate() {
                match item_step(shape, at, value) {
                    None => errors.push(format!(
                        "{path}: element {at}: associative list with keys has an element that omits all key fields {}",
                        keys(kind)
                    )),
                    Some(step) if *kind != ListKind::Atomic && !seen.insert(step.clone()) => {
                        errors.push(format!("{path}: duplicate entries for key {}", step.display()));
                    }
                    Some(_) => {}
                }
                let place = match item_step(shape, at, value) {
                    Some(step) => format!("{path}{}", step.display()),
                    None => format!("{path}[{at}]"),
                };
                visit(value, shape.at(*item), &place, errors);
            }
        }
        (Kind::Map(_), other) => errors.push(format!("{path}: expected map, got {}", shown(other))),
        (Kind::List { .. }, other) => {
            errors.push(format!("{path}: expected list, got {}", shown(other)));
        }
        (Kind::Scalar(scalar), other) => {
            use crate::schema::Scalar;
            let (fits, want) = match scalar {
                Scalar::String => (other.is_string(), "string"),
                Scalar::Integer | Scalar::Number => (other.is_number(), "numeric (int or float)"),
                Scalar::Boolean => (other.is_boolean(), "boolean"),
                Scalar::IntOrString | Scalar::Quantity => {
                    (!other.is_object() && !other.is_array(), "scalar")
                }
            };
            if !fits {
                let got = if matches!(scalar, Scalar::Integer | Scalar::Number) {
                    go_type(other)
                } else {
                    shown(other)
                };
                errors.push(format!("{path}: expected {want}, got {got}"));
            }
        }
    }
}

fn keys(kind: &ListKind) -> String {
    let words = match kind {
        ListKind::Map(keys) => keys
            .iter()
            .map(|key| format!("{key:?}"))
            .collect::<Vec<_>>(),
        _ => Vec::new(),
    };
    format!(
        "{} (and doesn't have defaults for any key fields)",
        words.join(", ")
    )
}

/// The name of a value's type where the real server prints that.
fn go_type(value: &Value) -> String {
    match value {
        Value::Object(_) => "map[string]interface {}",
        Value::Array(_) => "[]interface {}",
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        _ => "<nil>",
    }
    .to_owned()
}

fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "map".to_owned(),
        Value::Array(_) => "list".to_owned(),
        other => format!("&value.valueUnstructured{{Value:{other}}}"),
    }
}

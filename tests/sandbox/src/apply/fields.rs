//! Which fields an object sets, and an object without some of its fields.

use serde_json::{Map, Value};

use super::path::{Set, Step};
use crate::schema::{Kind, ListKind, Shape};

/// What tells an item of a list from its siblings.
pub(crate) fn item_step(shape: Shape<'_>, at: usize, item: &Value) -> Option<Step> {
    match shape.list_kind() {
        ListKind::Atomic => Some(Step::Index(at)),
        ListKind::Set => Some(Step::Item(item.to_string())),
        ListKind::Map(keys) => {
            let fields = item.as_object()?;
            let map = shape.item().and_then(Shape::map);
            let mut key = Map::new();
            for name in keys {
                let default = map
                    .and_then(|map| map.fields.get(name))
                    .and_then(|field| field.default.as_ref());
                if let Some(value) = fields
                    .get(name)
                    .filter(|value| !value.is_null())
                    .or(default)
                {
                    key.insert(name.clone(), value.clone());
                }
            }
            // An item without any of its keys cannot be told apart.
            (!key.is_empty()).then(|| Step::Key(Value::Object(key).to_string()))
        }
    }
}

/// The fields that `value` sets.
pub(crate) fn fields_of(value: &Value, shape: Shape<'_>) -> Set {
    let mut set = Set::default();
    collect(value, shape, &mut Vec::new(), &mut set);
    set
}

fn collect(value: &Value, shape: Shape<'_>, path: &mut Vec<Step>, set: &mut Set) {
    match value {
        Value::Object(fields) if matches!(shape.kind(), Kind::Map(_) | Kind::Deduced) => {
            if shape.atomic_map() {
                set.insert(path);
                return;
            }
            for (name, value) in fields {
                let Some(child) = shape.child(name) else {
                    continue;
                };
                path.push(Step::Field(name.clone()));
                collect(value, child, path, set);
                let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                if empty || !shape.declares(name) {
                    set.insert(path);
                }
                path.pop();
            }
        }
        Value::Array(items) if matches!(shape.kind(), Kind::List { .. }) => {
            if *shape.list_kind() == ListKind::Atomic {
                set.insert(path);
                return;
            }
            let Some(child) = shape.item() else { return };
            for (at, item) in items.iter().enumerate() {
                let Some(step) = item_step(shape, at, item) else {
                    continue;
                };
                path.push(step);
                collect(item, child, path, set);
                set.insert(path);
                path.pop();
            }
        }
        Value::Null
            if matches!(shape.kind(), Kind::Map(_) | Kind::List { .. }) && !path.is_empty() =>
        {
            // The parent owns the null.
        }
        _ => set.insert(path),
    }
}

/// `value` without the fields in `set`. An item or a struct in the set goes as a whole; what
/// loses its last part becomes null.
pub(crate) fn remove(value: &Value, shape: Shape<'_>, set: &Set) -> Value {
    match value {
        Value::Object(fields) if !shape.atomic_map() => {
            let mut out = Map::new();
            for (name, value) in fields {
                let step = Step::Field(name.clone());
                if set.has(&step) {
                    continue;
                }
                let kept = match (set.below(&step), shape.child(name)) {
                    (Some(below), Some(child)) => remove(value, child, below),
                    _ => value.clone(),
                };
                out.insert(name.clone(), kept);
            }
            if out.is_empty() {
                Value::Null
            } else {
                Value::Object(out)
            }
        }
        Value::Array(items) if *shape.list_kind() != ListKind::Atomic => {
            let mut out = Vec::new();
            for (at, item) in items.iter().enumerate() {
                let step = item_step(shape, at, item);
                if step.as_ref().is_some_and(|step| set.has(step)) {
                    continue;
                }
                match (step.as_ref().and_then(|step| set.below(step)), shape.item()) {
                    (Some(below), Some(child)) => out.push(remove(item, child, below)),
                    _ => out.push(item.clone()),
                }
            }
            if out.is_empty() {
                Value::Null
            } else {
                Value::Array(out)
            }
        }
        _ => value.clone(),
    }
}

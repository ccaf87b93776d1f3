//! What a server does to an object's fields before anything else looks at them: unknown
//! fields go, wrong types are refused, structs that are always there appear.

use serde_json::{Map as Json, Value};

use super::shape::{Kind, Map, Scalar, Shape};

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The schema has no such field.
    Unknown(String),
    /// The field has another type: path, what it should be, what it is.
    Type(String, &'static str, &'static str),
}

/// Removes fields that the schema does not know and reports them, together with values of
/// the wrong type. Paths read `spec.containers[0].name`.
pub(crate) fn prune(value: &mut Value, shape: Shape<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    walk(value, shape, "", &mut problems);
    problems
}

fn walk(value: &mut Value, shape: Shape<'_>, path: &str, problems: &mut Vec<Problem>) {
    let wrong =
        |want: &'static str, value: &Value| Problem::Type(path.to_owned(), want, word(value));
    match (shape.kind(), &mut *value) {
        (_, Value::Null) | (Kind::Deduced | Kind::Opaque, _) => {}
        (Kind::Map(map), Value::Object(fields)) => {
            fields.retain(|name, _| {
                let known = map.fields.contains_key(name) || map.rest.is_some();
                if !known {
                    problems.push(Problem::Unknown(join(path, name)));
                }
                known
            });
            for (name, field) in fields {
                if let Some(shape) = shape.child(name) {
                    walk(field, shape, &join(path, name), problems);
                }
            }
        }
        (Kind::Map(_), other) => problems.push(wrong("object", other)),
        (Kind::List { item, .. }, Value::Array(items)) => {
            for (at, value) in items.iter_mut().enumerate() {
                walk(value, shape.at(*item), &format!("{path}[{at}]"), problems);
            }
        }
        (Kind::List { .. }, other) => problems.push(wrong("array", other)),
        (Kind::Scalar(scalar), other) => {
            if let Some(want) = mismatch(*scalar, other) {
                problems.push(wrong(want, other));
            }
        }
    }
}

fn mismatch(scalar: Scalar, value: &Value) -> Option<&'static str> {
    match scalar {
        Scalar::String => (!value.is_string()).then_some("string"),
        Scalar::Integer => {
            let whole = value.is_i64()
                || value.is_u64()
                || value.as_f64().is_some_and(|n| n.fract() == 0.0);
            (!whole).then_some("integer")
        }
        Scalar::Number => (!value.is_number()).then_some("number"),
        Scalar::Boolean => (!value.is_boolean()).then_some("boolean"),
        Scalar::IntOrString => {
            (!(value.is_string() || value.is_number())).then_some("int or string")
        }
        Scalar::Quantity => (!(value.is_string() || value.is_number())).then_some("quantity"),
    }
}

fn word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// Removes nulls: a typed server reads null as
/// "not there".
pub(crate) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Removes empty lists and maps of optional fields: typed servers leave them out. A struct
/// without fields stays, it says that it was chosen.
pub(crate) fn drop_empty(value: &mut Value, shape: Shape<'_>) {
    match (shape.kind(), value) {
        (Kind::Map(map), Value::Object(fields)) => {
            for (name, value) in fields.iter_mut() {
                if let Some(child) = shape.child(name) {
                    drop_empty(value, child);
                }
            }
            fields.retain(|name, value| {
                let optional = map.fields.contains_key(name) && !map.required.contains(name);
                let plain = || match shape.child(name).map(Shape::kind) {
                    Some(Kind::List { .. }) => value.as_array().is_some_and(Vec::is_empty),
                    Some(Kind::Map(map)) => {
                        map.fields.is_empty()
                            && !map.marker
                            && value.as_object().is_some_and(Json::is_empty)
                    }
                    _ => false,
                };
                !(optional && plain())
            });
        }
        (Kind::List { item, .. }, Value::Array(items)) => {
            items
                .iter_mut()
                .for_each(|value| drop_empty(value, shape.at(*item)));
        }
        _ => {}
    }
}

/// Writes every quantity in its canonical form.
pub(crate) fn canonical_quantities(value: &mut Value, shape: Shape<'_>) {
    match (shape.kind(), value) {
        (Kind::Scalar(Scalar::Quantity), value) => {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            if let Some(canonical) = super::quantity::canonical(&text) {
                *value = canonical.into();
            }
        }
        (Kind::Map(_), Value::Object(fields)) => {
            for (name, value) in fields {
                if let Some(shape) = shape.child(name) {
                    canonical_quantities(value, shape);
                }
            }
        }
        (Kind::List { item, .. }, Value::Array(items)) => {
            items
                .iter_mut()
                .for_each(|value| canonical_quantities(value, shape.at(*item)));
        }
        _ => {}
    }
}

/// Adds the structs that a typed server always shows (`status: {}`, `resources: {}`).
pub(crate) fn fill(value: &mut Value, shape: Shape<'_>) {
    match (shape.kind(), value) {
        (Kind::Map(map), Value::Object(fields)) => {
            for (name, field) in always(map) {
                fields
                    .entry(name.clone())
                    .or_insert_with(|| field.default.clone().unwrap_or_default());
            }
            for (name, value) in fields {
                if let Some(shape) = shape.child(name) {
                    fill(value, shape);
                }
            }
        }
        (Kind::List { item, .. }, Value::Array(items)) => {
            items
                .iter_mut()
                .for_each(|value| fill(value, shape.at(*item)));
        }
        _ => {}
    }
}

fn always(map: &Map) -> impl Iterator<Item = (&String, &super::shape::Field)> {
    map.fields.iter().filter(|(_, field)| {
        field
            .default
            .as_ref()
            .and_then(Value::as_object)
            .is_some_and(Json::is_empty)
    })
}

/// Adds the required fields of a status with the values of a typed zero: counts of 0, empty
/// words, lists that are null.
pub(crate) fn fill_required(value: &mut Value, shape: Shape<'_>) {
    let (Kind::Map(map), Value::Object(fields)) = (shape.kind(), value) else {
        return;
    };
    for name in &map.required {
        let zero = match shape.child(name).map(Shape::kind) {
            Some(Kind::Scalar(Scalar::Integer | Scalar::Number)) => Value::from(0),
            Some(Kind::Scalar(Scalar::String)) => Value::from(""),
            Some(Kind::Scalar(Scalar::Boolean)) => Value::from(false),
            Some(Kind::List { .. }) => Value::Null,
            _ => continue,
        };
        fields.entry(name.clone()).or_insert(zero);
    }
    for (name, _) in always(map) {
        if let (Some(value), Some(shape)) = (fields.get_mut(name), shape.child(name)) {
            fill_required(value, shape);
        }
    }
}

/// The zero object of a typed server: what a creation is compared with to find out which
/// fields the creator owns. Required fields are there without a value.
pub(crate) fn zero(shape: Shape<'_>) -> Value {
    let mut fields = Json::new();
    if let Kind::Map(map) = shape.kind() {
        for name in &map.required {
            fields.insert(name.clone(), Value::Null);
        }
        for (name, field) in always(map) {
            fields.insert(name.clone(), zero(shape.at(field.ty)));
        }
    }
    Value::Object(fields)
}

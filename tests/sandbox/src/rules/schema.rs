//! Custom resources against the schema of their definition: defaults and validation.

use serde_json::{Map, Value};

use crate::status::Invalid;

/// Fills the schema's defaults in.
pub(crate) fn custom_defaults(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(fields) => {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                if let Some(default) = property.get("default")
                    && fields
                        .get(name)
                        .is_none_or(|value| value.is_null() && property["nullable"] != true)
                {
                    fields.insert(name.clone(), default.clone());
                }
                if let Some(value) = fields.get_mut(name) {
                    custom_defaults(value, property);
                }
            }
            if schema["additionalProperties"].is_object() {
                for (name, value) in fields {
                    if schema["properties"].get(name).is_none() {
                        custom_defaults(value, &schema["additionalProperties"]);
                    }
                }
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| custom_defaults(item, &schema["items"])),
        _ => {}
    }
}

/// What of a custom resource its schema does not allow. Metadata is checked elsewhere.
pub(crate) fn validate_custom(object: &Value, schema: &Value) -> Vec<Invalid> {
    let mut out = Vec::new();
    let mut schema = schema.clone();
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for name in ["apiVersion", "kind", "metadata"] {
            properties.remove(name);
        }
    }
    check(object, &schema, "", &mut out);
    out
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn check(value: &Value, schema: &Value, path: &str, out: &mut Vec<Invalid>) {
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    if let Some(problem) = wrong_type(value, schema, path) {
        out.push(problem);
        return;
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        let words: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
        out.push(Invalid::unsupported(path, value, &words));
    }
    if let Some(number) = value.as_f64() {
        numbers(value, number, schema, path, out);
    }
    if let Some(text) = value.as_str() {
        strings(value, text, schema, path, out);
    }
    match value {
        Value::Object(fields) => objects(fields, schema, path, out),
        Value::Array(items) => {
            let count = items.len() as u64;
            if schema["maxItems"].as_u64().is_some_and(|most| count > most) {
                let most = &schema["maxItems"];
                let message = format!("Too many: {count}: must have at most {most} items");
                out.push(Invalid {
                    field: path.to_owned(),
                    reason: "FieldValueTooMany",
                    message,
                });
            }
            if schema["minItems"]
                .as_u64()
                .is_some_and(|least| count < least)
            {
                let why = format!(
                    "{path} in body should have at least {} items",
                    schema["minItems"]
                );
                out.push(Invalid::value(path, &count.into(), &why));
            }
            for (at, item) in items.iter().enumerate() {
                check(item, &schema["items"], &format!("{path}[{at}]"), out);
            }
        }
        _ => {}
    }
    combined(value, schema, path, out);
}

fn wrong_type(value: &Value, schema: &Value, path: &str) -> Option<Invalid> {
    let wrong = |want: &str| {
        let why = format!(
            "{path} in body must be of type {want}: {}",
            Value::String(word(value).to_owned())
        );
        Some(Invalid {
            field: path.to_owned(),
            reason: "FieldValueTypeInvalid",
            message: format!(
                "Invalid value: {}: {why}",
                Value::String(word(value).to_owned())
            ),
        })
    };
    if schema["x-kubernetes-int-or-string"] == true {
        return if value.is_i64() || value.is_u64() || value.is_string() {
            None
        } else {
            wrong("integer,string")
        };
    }
    let want = schema["type"].as_str()?;
    let fits = match want {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        _ => true,
    };
    if fits { None } else { wrong(want) }
}

fn word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn numbers(value: &Value, number: f64, schema: &Value, path: &str, out: &mut Vec<Invalid>) {
    let exclusive = |name: &str| schema[name] == true;
    if let Some(least) = schema["minimum"].as_f64()
        && (number < least || (exclusive("exclusiveMinimum") && number <= least))
    {
        let or_equal = if exclusive("exclusiveMinimum") {
            ""
        } else {
            " or equal to"
        };
        out.push(Invalid::value(
            path,
            value,
            &format!(
                "{path} in body should be greater than{or_equal} {}",
                schema["minimum"]
            ),
        ));
    }
    if let Some(most) = schema["maximum"].as_f64()
        && (number > most || (exclusive("exclusiveMaximum") && number >= most))
    {
        let or_equal = if exclusive("exclusiveMaximum") {
            ""
        } else {
            " or equal to"
        };
        out.push(Invalid::value(
            path,
            value,
            &format!(
                "{path} in body should be less than{or_equal} {}",
                schema["maximum"]
            ),
        ));
    }
}

fn strings(value: &Value, text: &str, schema: &Value, path: &str, out: &mut Vec<Invalid>) {
    let length = text.chars().count() as u64;
    if schema["maxLength"]
        .as_u64()
        .is_some_and(|most| length > most)
    {
        let message = format!(
            "Too long: may not be more than {} bytes",
            schema["maxLength"]
        );
        out.push(Invalid {
            field: path.to_owned(),
            reason: "FieldValueTooLong",
            message,
        });
        return;
    }
    if schema["minLength"]
        .as_u64()
        .is_some_and(|least| length < least)
    {
        out.push(Invalid::value(
            path,
            value,
            &format!(
                "{path} in body should be at least {} chars long",
                schema["minLength"]
            ),
        ));
    }
    if let Some(pattern) = schema["pattern"].as_str()
        && regex::Regex::new(pattern).is_ok_and(|pattern| !pattern.is_match(text))
    {
        out.push(Invalid::value(
            path,
            value,
            &format!("{path} in body should match '{pattern}'"),
        ));
    }
}

fn objects(fields: &Map<String, Value>, schema: &Value, path: &str, out: &mut Vec<Invalid>) {
    for name in schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if !fields.contains_key(name) {
            out.push(Invalid::required(join(path, name), ""));
        }
    }
    for (name, value) in fields {
        let child = schema["properties"].get(name).or_else(|| {
            schema
                .get("additionalProperties")
                .filter(|rest| rest.is_object())
        });
        if let Some(child) = child {
            check(value, child, &join(path, name), out);
        }
    }
}

fn combined(value: &Value, schema: &Value, path: &str, out: &mut Vec<Invalid>) {
    let fits = |schema: &Value| {
        let mut problems = Vec::new();
        check(value, schema, path, &mut problems);
        problems.is_empty()
    };
    for part in schema["allOf"].as_array().into_iter().flatten() {
        check(value, part, path, out);
    }
    if let Some(parts) = schema["anyOf"].as_array()
        && !parts.iter().any(fits)
    {
        out.push(Invalid::value(
            path,
            value,
            &format!("{path} in body must validate at least one schema (anyOf)"),
        ));
    }
    if let Some(parts) = schema["oneOf"].as_array()
        && parts.iter().filter(|part| fits(part)).count() != 1
    {
        out.push(Invalid::value(
            path,
            value,
            &format!("{path} in body must validate one and only one schema (oneOf)"),
        ));
    }
    if schema["not"].is_object() && fits(&schema["not"]) {
        out.push(Invalid::value(
            path,
            value,
            &format!("{path} in body must not validate the schema (not)"),
        ));
    }
}

//! Strategic merge patch: a merge patch that knows which lists have keys, with directives
//! (`$patch`, `$retainKeys`, `$setElementOrder/…`, `$deleteFromPrimitiveList/…`) in the data.

use serde_json::{Map, Value};

use crate::schema::{Shape, Strategy};

const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

/// `target` with the patch in it.
pub(crate) fn strategic(target: &Value, patch: &Value, shape: Shape<'_>) -> Result<Value, String> {
    match patch {
        Value::Object(patch) => Ok(Value::Object(maps(target.as_object(), patch, Some(shape))?)),
        _ => Err("a strategic merge patch is an object".to_owned()),
    }
}

fn maps(
    target: Option<&Map<String, Value>>,
    patch: &Map<String, Value>,
    shape: Option<Shape<'_>>,
) -> Result<Map<String, Value>, String> {
    match patch.get("$patch").map(Value::as_str) {
        None | Some(Some("merge")) => {}
        Some(Some("replace")) => return Ok(plain(patch)),
        Some(Some("delete")) => return Ok(Map::new()),
        Some(other) => return Err(format!("unknown $patch directive: {other:?}")),
    }
    let mut out = target.cloned().unwrap_or_default();
    if let Some(keep) = patch.get("$retainKeys").and_then(Value::as_array) {
        out.retain(|name, _| keep.iter().any(|kept| kept == name));
    }
    for (directive, values) in patch {
        if let Some(name) = directive.strip_prefix(DELETE)
            && let (Some(list), Some(gone)) = (
                out.get_mut(name).and_then(Value::as_array_mut),
                values.as_array(),
            )
        {
            list.retain(|item| !gone.contains(item));
        }
    }
    for (name, change) in patch {
        if name.starts_with('$') {
            continue;
        }
        let strategy = shape
            .and_then(Shape::map)
            .and_then(|map| map.fields.get(name))
            .map(|field| &field.strategy);
        let child = shape.and_then(|shape| shape.child(name));
        match (change, out.get(name)) {
            (Value::Null, _) => {
                out.remove(name);
            }
            (Value::Object(change), current) => {
                // A delete directive on a whole map removes the field.
                if change.get("$patch").is_some_and(|word| word == "delete") {
                    out.remove(name);
                    continue;
                }
                let merged = maps(current.and_then(Value::as_object), change, child)?;
                out.insert(name.clone(), Value::Object(merged));
            }
            (Value::Array(change), current) => {
                let merged = lists(current, change, strategy, child)?;
                out.insert(name.clone(), Value::Array(merged));
            }
            (change, _) => {
                out.insert(name.clone(), change.clone());
            }
        }
    }
    for (directive, order) in patch {
        if let (Some(name), Some(order)) = (directive.strip_prefix(ORDER), order.as_array())
            && let Some(list) = out.get_mut(name).and_then(Value::as_array_mut)
        {
            let key = shape
                .and_then(Shape::map)
                .and_then(|map| map.fields.get(name))
                .and_then(|field| field.strategy.key.as_deref());
            reorder(list, order, key);
        }
    }
    Ok(out)
}

fn lists(
    current: Option<&Value>,
    patch: &[Value],
    strategy: Option<&Strategy>,
    shape: Option<Shape<'_>>,
) -> Result<Vec<Value>, String> {
    let Some(strategy) = strategy.filter(|strategy| strategy.merge) else {
        return Ok(patch.to_vec());
    };
    let mut out = current
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let Some(key) = &strategy.key else {
        for item in patch {
            if !out.contains(item) {
                out.push(item.clone());
            }
        }
        return Ok(out);
    };
    if patch.iter().any(|item| item["$patch"] == "replace") {
        return Ok(patch
            .iter()
            .filter(|item| item.get("$patch").is_none())
            .cloned()
            .collect());
    }
    let item_shape = shape.and_then(Shape::item);
    for change in patch {
        let Some(fields) = change.as_object() else {
            return Err(format!("an item of a list merged by {key:?} is no object"));
        };
        let Some(id) = fields.get(key) else {
            return Err(format!(
                "map: {change} does not contain declared merge key: {key}"
            ));
        };
        let place = out.iter().position(|item| item.get(key) == Some(id));
        if change["$patch"] == "delete" {
            out.retain(|item| item.get(key) != Some(id));
            continue;
        }
        match place {
            Some(at) => out[at] = Value::Object(maps(out[at].as_object(), fields, item_shape)?),
            None => out.push(Value::Object(maps(None, fields, item_shape)?)),
        }
    }
    Ok(out)
}

/// Puts the items that the order names into that order; others keep their place behind the
/// item that they followed.
fn reorder(list: &mut Vec<Value>, order: &[Value], key: Option<&str>) {
    let rank = |item: &Value| {
        order.iter().position(|wanted| match key {
            Some(key) => wanted.get(key).is_some() && wanted.get(key) == item.get(key),
            None => wanted == item,
        })
    };
    let mut last = None;
    let mut ranked: Vec<(Option<usize>, usize, Value)> = Vec::with_capacity(list.len());
    for (at, item) in list.drain(..).enumerate() {
        if let Some(rank) = rank(&item) {
            last = Some(rank);
        }
        ranked.push((last, at, item));
    }
    ranked.sort_by_key(|(rank, at, _)| (*rank, *at));
    list.extend(ranked.into_iter().map(|(_, _, item)| item));
}

/// The map without directives.
fn plain(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter()
        .filter(|(name, _)| !name.starts_with('$'))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

//! What differs between two versions of an object, field by field.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::fields::item_step;
use super::path::{Set, Step};
use crate::schema::{Kind, ListKind, Shape};

#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub added: Set,
    pub modified: Set,
    pub removed: Set,
}

impl Comparison {
    /// The differences outside of a set.
    pub(crate) fn outside(self, ignored: &Set) -> Self {
        Self {
            added: self.added.without(ignored),
            modified: self.modified.without(ignored),
            removed: self.removed.without(ignored),
        }
    }

    /// Every field that the new version sets anew or otherwise.
    pub(crate) fn changed(&self) -> Set {
        self.added.union(&self.modified)
    }
}

pub(crate) fn compare(old: &Value, new: &Value, shape: Shape<'_>) -> Comparison {
    let mut out = Comparison::default();
    walk(Some(old), Some(new), shape, &mut Vec::new(), &mut out);
    out
}

fn walk(
    old: Option<&Value>,
    new: Option<&Value>,
    shape: Shape<'_>,
    path: &mut Vec<Step>,
    out: &mut Comparison,
) {
    if inside(old, new, shape, path, out) {
        return;
    }
    match (old, new) {
        (None, Some(_)) => out.added.insert(path),
        (Some(_), None) => out.removed.insert(path),
        _ => {}
    }
}

/// Compares the parts; true if there are none and the value itself was compared.
fn inside(
    old: Option<&Value>,
    new: Option<&Value>,
    shape: Shape<'_>,
    path: &mut Vec<Step>,
    out: &mut Comparison,
) -> bool {
    let kind = |value: Option<&Value>| match value {
        None | Some(Value::Null) => 0,
        Some(Value::Object(_)) => 1,
        Some(Value::Array(_)) => 2,
        Some(_) => 3,
    };
    match kind(old).max(kind(new)) {
        1 if matches!(shape.kind(), Kind::Map(_) | Kind::Deduced) && !shape.atomic_map() => {
            let empty = Map::new();
            let ours = old.and_then(Value::as_object).unwrap_or(&empty);
            let theirs = new.and_then(Value::as_object).unwrap_or(&empty);
            if ours.is_empty() && theirs.is_empty() {
                leaf(old, new, path, out);
                return true;
            }
            let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
            for name in names {
                let Some(child) = shape.child(name) else {
                    continue;
                };
                path.push(Step::Field(name.clone()));
                walk(ours.get(name), theirs.get(name), child, path, out);
                path.pop();
            }
            false
        }
        2 if *shape.list_kind() != ListKind::Atomic && shape.item().is_some() => {
            let ours = old.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let theirs = new.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            if ours.is_empty() && theirs.is_empty() {
                leaf(old, new, path, out);
                return true;
            }
            items(ours, theirs, shape, path, out);
            false
        }
        _ => {
            leaf(old, new, path, out);
            true
        }
    }
}

fn items(
    ours: &[Value],
    theirs: &[Value],
    shape: Shape<'_>,
    path: &mut Vec<Step>,
    out: &mut Comparison,
) {
    let Some(child) = shape.item() else { return };
    let index = |items: &'_ [Value]| -> Vec<(Step, usize)> {
        let mut steps: Vec<(Step, usize)> = items
            .iter()
            .enumerate()
            .filter_map(|(at, item)| item_step(shape, at, item).map(|step| (step, at)))
            .collect();
        steps.sort();
        steps.dedup_by(|later, earlier| later.0 == earlier.0);
        steps
    };
    let (left, right) = (index(ours), index(theirs));
    let find = |steps: &[(Step, usize)], step: &Step| {
        steps
            .binary_search_by(|(other, _)| other.cmp(step))
            .ok()
            .map(|at| steps[at].1)
    };
    let all: BTreeSet<&Step> = left.iter().chain(&right).map(|(step, _)| step).collect();
    for step in all {
        path.push(step.clone());
        walk(
            find(&left, step).map(|at| &ours[at]),
            find(&right, step).map(|at| &theirs[at]),
            child,
            path,
            out,
        );
        path.pop();
    }
}

fn leaf(old: Option<&Value>, new: Option<&Value>, path: &[Step], out: &mut Comparison) {
    match (old, new) {
        (None, Some(_)) => out.added.insert(path),
        (Some(_), None) => out.removed.insert(path),
        (Some(old), Some(new)) if !same(old, new) => out.modified.insert(path),
        _ => {}
    }
}

/// Equal as Kubernetes sees it: `1` and `1.0` are one number.
pub(crate) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(l), Value::Number(r)) => l == r || l.as_f64() == r.as_f64(),
        (Value::Array(l), Value::Array(r)) => {
            l.len() == r.len() && l.iter().zip(r).all(|(l, r)| same(l, r))
        }
        (Value::Object(l), Value::Object(r)) => {
            l.len() == r.len()
                && l.iter()
                    .all(|(name, value)| r.get(name).is_some_and(|other| same(value, other)))
        }
        _ => left == right,
    }
}

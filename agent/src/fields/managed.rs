//! Who owns which fields, as `metadata.managedFields` says (KEP-555,
//! structured-merge-diff's FieldsV1).

use std::collections::BTreeMap;

use serde_json::Value;

use super::{FieldPath, Step, has};

/// A set of fields, as a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    children: BTreeMap<Step, Fields>,
}

/// One entry of `managedFields`.
#[derive(Debug, Clone)]
pub struct Manager {
    pub name: String,
    pub applies: bool,
    pub subresource: String,
    pub time: String,
    pub fields: Fields,
}

/// The managers of `object`.
#[must_use]
pub fn managers(object: &Value) -> Vec<Manager> {
    let entries = object.pointer("/metadata/managedFields");
    let entries = entries.and_then(Value::as_array).map_or(&[][..], |e| e);
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or("").to_owned();
    entries
        .iter()
        .map(|entry| Manager {
            name: text(entry, "manager"),
            applies: entry["operation"] == "Apply",
            subresource: text(entry, "subresource"),
            time: text(entry, "time"),
            fields: Fields::parse(&entry["fieldsV1"]),
        })
        .collect()
}

impl Fields {
    /// Reads FieldsV1; what makes no sense is left out.
    #[must_use]
    pub fn parse(fields: &Value) -> Self {
        let children = fields.as_object().into_iter().flatten();
        let children = children.filter_map(|(key, below)| Some((step(key)?, Self::parse(below))));
        Self {
            children: children.collect(),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    #[must_use]
    pub fn child(&self, step: &Step) -> Option<&Self> {
        self.children.get(step)
    }

    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Self> {
        self.children.get(&Step::Field(name.to_owned()))
    }

    /// Adds what `other` has.
    pub fn add(&mut self, other: &Self) {
        for (step, below) in &other.children {
            self.children.entry(step.clone()).or_default().add(below);
        }
    }

    /// The fields that have nothing below them.
    #[must_use]
    pub fn leaves(&self) -> Vec<FieldPath> {
        fn walk(fields: &Fields, at: &FieldPath, out: &mut Vec<FieldPath>) {
            for (step, below) in &fields.children {
                let path = at.with(step.clone());
                if below.is_empty() {
                    out.push(path);
                } else {
                    walk(below, &path, out);
                }
            }
        }
        let mut out = Vec::new();
        walk(self, &FieldPath::default(), &mut out);
        out
    }

    /// Whether `path`, what it is part of as a whole, or something in it
    /// belongs to the set.
    #[must_use]
    pub fn touches(&self, path: &FieldPath) -> bool {
        let mut at = self;
        for (depth, step) in path.0.iter().enumerate() {
            if at.is_empty() {
                return depth > 0;
            }
            match at.children.get(step) {
                Some(below) => at = below,
                None => return false,
            }
        }
        true
    }

    /// What tells the elements of the list apart that this is, if it is one.
    #[must_use]
    pub fn item_keys(&self) -> Option<Vec<String>> {
        self.children.keys().find_map(|step| match step {
            Step::Item(keys) => Some(keys.iter().map(|(key, _)| key.clone()).collect()),
            _ => None,
        })
    }

    /// It is a list whose elements are values that stand for themselves.
    #[must_use]
    pub fn is_set(&self) -> bool {
        matches!(self.children.keys().next(), Some(Step::Value(_)))
    }

    /// The element of a list, by the keys that both name.
    #[must_use]
    pub fn item(&self, element: &Value) -> Option<&Self> {
        self.children.iter().find_map(|(step, below)| {
            let Step::Item(keys) = step else { return None };
            let is = keys.iter().all(|(key, value)| has(element, key, value));
            is.then_some(below)
        })
    }
}

fn step(key: &str) -> Option<Step> {
    let (kind, rest) = key.split_once(':')?;
    match kind {
        "f" => Some(Step::Field(rest.to_owned())),
        "v" => Some(Step::Value(rest.to_owned())),
        "i" => rest.parse().ok().map(Step::Index),
        "k" => {
            let keys: BTreeMap<String, Value> = serde_json::from_str(rest).ok()?;
            let keys = keys
                .into_iter()
                .map(|(key, value)| (key, value.to_string()));
            Some(Step::Item(keys.collect()))
        }
        _ => None,
    }
}

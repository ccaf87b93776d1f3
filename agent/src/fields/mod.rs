//! Fields of objects: which ones differ, who owns them, and which an
//! Assignment leaves as they are found. Everything here is a pure function
//! over JSON; nothing knows of clusters or Inventories.

mod differ;
mod ignore;
mod managed;
#[cfg(test)]
mod tests;

use std::fmt;

pub use differ::differ;
pub use ignore::Ignored;
pub use managed::{Fields, Manager, managers};

use serde_json::Value;

/// One step into an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    Field(String),
    /// The element of a list that has these values, as JSON, in these fields.
    Item(Vec<(String, String)>),
    /// The element of a set.
    Value(String),
    Index(usize),
}

/// A path to a field, as people write it:
/// ".spec.template.spec.containers[name=web].image".
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(pub Vec<Step>);

impl FieldPath {
    #[must_use]
    pub fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.0 {
            match step {
                Step::Field(name) if is_plain(name) => write!(f, ".{name}")?,
                Step::Field(name) => write!(f, "[{name}]")?,
                Step::Item(keys) => {
                    let keys: Vec<_> = keys
                        .iter()
                        .map(|(key, value)| format!("{key}={}", value.trim_matches('"')))
                        .collect();
                    write!(f, "[{}]", keys.join(","))?;
                }
                // What is in a set is a value, and values are not told.
                Step::Value(_) => f.write_str("[]")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '$'))
}

/// Lists that are atomic, or that nobody owns, say nothing of what tells their
/// elements apart: most often it is the name.
const USUAL_KEY: &str = "name";

/// What tells the elements of a list apart: by what managed fields say, else
/// by their names where all have one of their own.
fn keys_of(list: &[Value], shape: Option<&Fields>) -> Option<Vec<String>> {
    if let Some(keys) = shape.and_then(Fields::item_keys) {
        return Some(keys);
    }
    let mut names: Vec<&str> = list
        .iter()
        .map(|element| element.get(USUAL_KEY)?.as_str())
        .collect::<Option<_>>()?;
    names.sort_unstable();
    let distinct = names.windows(2).all(|pair| pair[0] != pair[1]);
    (distinct && !names.is_empty()).then(|| vec![USUAL_KEY.to_owned()])
}

/// The step that leads to `element`, by `keys`.
fn item_step(element: &Value, keys: &[String]) -> Step {
    let known = keys.iter().filter_map(|key| {
        let value = element.get(key)?;
        Some((key.clone(), value.to_string()))
    });
    Step::Item(known.collect())
}

/// Whether `element` has `value`, as JSON, in field `key`.
fn has(element: &Value, key: &str, value: &str) -> bool {
    let own = element.get(key).map(Value::to_string);
    own.is_some_and(|own| own == value)
}

/// The element of `list` that is the one that `keys` name: those of them that
/// are not said may be defaults.
fn find_item(list: &[Value], keys: &[(String, String)]) -> Option<usize> {
    let is = |element: &Value, (key, value): &(String, String)| has(element, key, value);
    let all = |element: &&Value| keys.iter().all(|key| is(element, key));
    if keys.is_empty() || list.iter().filter(all).count() != 1 {
        return None;
    }
    list.iter().position(|element| all(&element))
}

//! Labels, and the selectors that match them, by the rules of Kubernetes.

use std::sync::Arc;

use lockstep_proto::v1;
use lockstep_proto::v1::label_selector_requirement::Operator;

use super::names::Names;

/// A resource's labels, sorted by key, with strings that are shared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Labels(Box<[(Arc<str>, Arc<str>)]>);

impl Labels {
    pub fn new<'a>(
        labels: impl IntoIterator<Item = (&'a String, &'a String)>,
        names: &mut Names,
    ) -> Self {
        let mut labels: Vec<_> = labels
            .into_iter()
            .map(|(key, value)| (names.get(key), names.get(value)))
            .collect();
        labels.sort_unstable();
        Self(labels.into())
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .binary_search_by(|(at, _)| (**at).cmp(key))
            .ok()
            .map(|index| &*self.0[index].1)
    }

    pub fn to_map(&self) -> std::collections::BTreeMap<String, String> {
        self.0
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect()
    }
}

/// What a label must be for a selector to match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Requirement {
    In(String, Vec<String>),
    /// Also matches where the label is absent.
    NotIn(String, Vec<String>),
    Exists(String),
    DoesNotExist(String),
    /// The label is a whole number, and larger.
    GreaterThan(String, i64),
    LessThan(String, i64),
}

/// All requirements must hold; none match everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

impl Selector {
    pub(super) fn new(requirements: Vec<Requirement>) -> Self {
        Self(requirements)
    }

    /// The selector of a group whose spec has been checked.
    pub(super) fn of_group(selector: Option<&v1::LabelSelector>) -> Self {
        let Some(selector) = selector else {
            return Self::default();
        };
        let equal = selector
            .match_labels
            .iter()
            .map(|(key, value)| Requirement::In(key.clone(), vec![value.clone()]));
        let expressions = selector.match_expressions.iter().map(|expression| {
            let (key, values) = (expression.key.clone(), expression.values.clone());
            match expression.operator() {
                Operator::In => Requirement::In(key, values),
                Operator::NotIn => Requirement::NotIn(key, values),
                Operator::Exists => Requirement::Exists(key),
                Operator::DoesNotExist => Requirement::DoesNotExist(key),
                // Refused by validation; selects nothing rather than everything.
                Operator::Unspecified => Requirement::In(key, Vec::new()),
            }
        });
        Self(equal.chain(expressions).collect())
    }

    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn matches(&self, labels: &Labels) -> bool {
        self.matches_by(|key| labels.get(key))
    }

    /// Whether labels that are looked up by `get` match.
    pub(super) fn matches_by<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => {
                get(key).is_some_and(|value| values.iter().any(|v| v == value))
            }
            Requirement::NotIn(key, values) => {
                get(key).is_none_or(|value| values.iter().all(|v| v != value))
            }
            Requirement::Exists(key) => get(key).is_some(),
            Requirement::DoesNotExist(key) => get(key).is_none(),
            Requirement::GreaterThan(key, bound) => number(get(key)).is_some_and(|n| n > *bound),
            Requirement::LessThan(key, bound) => number(get(key)).is_some_and(|n| n < *bound),
        })
    }
}

fn number(value: Option<&str>) -> Option<i64> {
    value?.parse().ok()
}

/// Checks a label key: an optional DNS prefix and "/", then a name.
pub(super) fn check_key(key: &str) -> Result<(), String> {
    let bad = || {
        format!(
            "{key:?} is not a label key: write a name of at most 63 letters, digits, '-', '_' and \
             '.', starting and ending with a letter or digit, with an optional prefix like \
             example.com/"
        )
    };
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let dns = |prefix: &str| {
        prefix.len() <= 253
            && prefix
                .split('.')
                .all(|part| lockstep_proto::names::check_label(part).is_ok())
    };
    if prefix.is_none_or(dns) && !name.is_empty() && is_qualified(name) {
        Ok(())
    } else {
        Err(bad())
    }
}

/// Checks a label value: empty, or as the name of a key.
pub(super) fn check_value(value: &str) -> Result<(), String> {
    if value.is_empty() || is_qualified(value) {
        Ok(())
    } else {
        Err(format!(
            "{value:?} is not a label value: use at most 63 letters, digits, '-', '_' and '.', \
             starting and ending with a letter or digit, or nothing"
        ))
    }
}

fn is_qualified(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let inner = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
    bytes.len() <= 63 && edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(inner)
}

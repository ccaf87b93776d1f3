//! Label and field selectors.

use serde_json::Value;

use crate::store::Object;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// `labelSelector`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels(Vec<Requirement>);

impl Labels {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        split(text)
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(requirement)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => {
                label(key).is_some_and(|value| values.iter().any(|other| other == value))
            }
            Requirement::NotIn(key, values) => {
                label(key).is_none_or(|value| values.iter().all(|other| other != value))
            }
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Absent(key) => label(key).is_none(),
        })
    }
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                out.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    out.push(text[start..].trim());
    out
}

fn requirement(part: &str) -> Result<Requirement, String> {
    let set = |rest: &str| -> Option<Vec<String>> {
        let inner = rest.trim().strip_prefix('(')?.strip_suffix(')')?;
        Some(
            inner
                .split(',')
                .map(|word| word.trim().to_owned())
                .collect(),
        )
    };
    if let Some((key, rest)) = part.split_once(" notin ") {
        let values = set(rest).ok_or_else(|| format!("unable to parse requirement: {part:?}"))?;
        return Ok(Requirement::NotIn(key.trim().to_owned(), values));
    }
    if let Some((key, rest)) = part.split_once(" in ") {
        let values = set(rest).ok_or_else(|| format!("unable to parse requirement: {part:?}"))?;
        return Ok(Requirement::In(key.trim().to_owned(), values));
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Ok(Requirement::NotIn(
            key.trim().to_owned(),
            vec![value.trim().to_owned()],
        ));
    }
    if let Some((key, value)) = part.split_once('=') {
        let value = value.strip_prefix('=').unwrap_or(value);
        return Ok(Requirement::In(
            key.trim().to_owned(),
            vec![value.trim().to_owned()],
        ));
    }
    if let Some(key) = part.strip_prefix('!') {
        return Ok(Requirement::Absent(key.trim().to_owned()));
    }
    if part.contains([' ', '(', ')']) {
        return Err(format!("unable to parse requirement: {part:?}"));
    }
    Ok(Requirement::Exists(part.to_owned()))
}

/// `fieldSelector`: path, value, and whether they are to be equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(Vec<(String, String, bool)>);

impl Fields {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut out = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (path, value, equal) = match part.split_once("!=") {
                Some((path, value)) => (path, value, false),
                None => {
                    let (path, value) = part.split_once('=').ok_or_else(|| {
                        format!("invalid selector: {part:?}; can't understand {part:?}")
                    })?;
                    (path, value.strip_prefix('=').unwrap_or(value), true)
                }
            };
            out.push((path.to_owned(), value.to_owned(), equal));
        }
        Ok(Self(out))
    }

    /// Adds: of this name.
    pub(crate) fn only(&mut self, name: &str) {
        self.0
            .push(("metadata.name".to_owned(), name.to_owned(), true));
    }

    /// The paths that are not about the name or the namespace.
    pub(crate) fn others(&self) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .map(|(path, _, _)| path.as_str())
            .filter(|path| !matches!(*path, "metadata.name" | "metadata.namespace"))
    }
}

/// Which objects of a collection a request is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    pub labels: Labels,
    pub fields: Fields,
}

impl Selector {
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.0.is_empty()
    }

    /// The one name that can match, if there is such.
    pub(crate) fn single_name(&self) -> Option<&str> {
        self.fields
            .0
            .iter()
            .find(|(path, _, equal)| path == "metadata.name" && *equal)
            .map(|(_, name, _)| name.as_str())
    }

    pub(crate) fn matches(&self, object: &Object) -> bool {
        if !self
            .labels
            .matches(|key| object.labels.get(key).map(|value| &**value))
        {
            return false;
        }
        let mut whole: Option<Value> = None;
        self.fields.0.iter().all(|(path, wanted, equal)| {
            let same = match path.as_str() {
                "metadata.name" => *object.id.name == **wanted,
                "metadata.namespace" => *object.id.namespace == **wanted,
                path => {
                    let value = whole.get_or_insert_with(|| object.value("", ""));
                    let field = path.split('.').fold(&*value, |value, name| &value[name]);
                    match field {
                        Value::String(text) => text == wanted,
                        Value::Null => wanted.is_empty(),
                        Value::Bool(flag) => flag.to_string() == **wanted,
                        Value::Number(number) => number.to_string() == **wanted,
                        _ => false,
                    }
                }
            };
            same == *equal
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Fields, Labels};

    #[test]
    fn label_selectors_as_in_the_documentation() {
        let labels: BTreeMap<&str, &str> = [("env", "prod"), ("tier", "web"), ("empty", "")].into();
        for (text, matches) in [
            ("", true),
            ("env", true),
            ("env=prod", true),
            ("env==prod,tier=web", true),
            ("env=prod,tier=db", false),
            ("env!=prod", false),
            ("missing!=prod", true),
            ("!missing", true),
            ("!env", false),
            ("env in (prod, staging)", true),
            ("env in (staging)", false),
            ("env notin (staging)", true),
            ("missing notin (a,b),env", true),
            ("empty=", true),
            ("lockstep.dev/assignment", false),
        ] {
            let selector = Labels::parse(text).unwrap();
            assert_eq!(
                selector.matches(|key| labels.get(key).copied()),
                matches,
                "{text}"
            );
        }
        for bad in ["a b", "env in prod", "env in (prod"] {
            assert!(Labels::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn field_selectors_name_the_fields_that_they_need() {
        let selector = Fields::parse("metadata.name=a,status.phase!=Running").unwrap();
        assert_eq!(selector.others().collect::<Vec<_>>(), ["status.phase"]);
        assert!(Fields::parse("metadata.name").is_err());
    }
}

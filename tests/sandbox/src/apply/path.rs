//! Sets of fields, and their form on the wire (`fieldsV1`).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::schema::{Kind, Shape};

/// One step into an object. Keys and set items are kept as canonical JSON, so that equal
/// ones compare equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Field(String),
    /// An item of a list of type `map`: its key fields.
    Key(String),
    /// An item of a list of type `set`.
    Item(String),
    Index(usize),
}

impl Step {
    fn encode(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(key) => format!("k:{key}"),
            Self::Item(value) => format!("v:{value}"),
            Self::Index(at) => format!("i:{at}"),
        }
    }

    fn decode(word: &str) -> Option<Self> {
        let (kind, rest) = word.split_at_checked(2)?;
        match kind {
            "f:" => Some(Self::Field(rest.to_owned())),
            "k:" => Some(Self::Key(canonical(rest)?)),
            "v:" => Some(Self::Item(canonical(rest)?)),
            "i:" => rest.parse().ok().map(Self::Index),
            _ => None,
        }
    }

    /// As conflicts name it: `.spec`, `[name="web"]`, `["x"]`.
    pub(crate) fn display(&self) -> String {
        match self {
            Self::Field(name) => format!(".{name}"),
            Self::Key(key) => {
                let fields: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
                let words: Vec<String> = fields
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                format!("[{}]", words.join(","))
            }
            Self::Item(value) => format!("[={value}]"),
            Self::Index(at) => format!("[{at}]"),
        }
    }
}

fn canonical(text: &str) -> Option<String> {
    serde_json::from_str::<Value>(text)
        .ok()
        .map(|value| value.to_string())
}

/// A set of paths, as a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Set(BTreeMap<Step, Node>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    member: bool,
    below: Set,
}

impl Set {
    pub(crate) fn is_empty(&self) -> bool {
        self.0
            .values()
            .all(|node| !node.member && node.below.is_empty())
    }

    pub(crate) fn insert(&mut self, path: &[Step]) {
        let Some((first, rest)) = path.split_first() else {
            return;
        };
        let node = self.0.entry(first.clone()).or_default();
        if rest.is_empty() {
            node.member = true;
        } else {
            node.below.insert(rest);
        }
    }

    /// Is the path itself a member?
    pub(crate) fn has(&self, step: &Step) -> bool {
        self.0.get(step).is_some_and(|node| node.member)
    }

    /// What the set holds below a step.
    pub(crate) fn below(&self, step: &Step) -> Option<&Set> {
        self.0
            .get(step)
            .map(|node| &node.below)
            .filter(|set| !set.is_empty())
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        for (step, theirs) in &other.0 {
            let node = out.0.entry(step.clone()).or_default();
            node.member |= theirs.member;
            node.below = node.below.union(&theirs.below);
        }
        out
    }

    pub(crate) fn difference(&self, other: &Self) -> Self {
        self.combine(
            other,
            |ours, theirs| ours && !theirs,
            Self::difference,
            true,
        )
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        self.combine(
            other,
            |ours, theirs| ours && theirs,
            Self::intersection,
            false,
        )
    }

    fn combine(
        &self,
        other: &Self,
        member: fn(bool, bool) -> bool,
        below: fn(&Self, &Self) -> Self,
        alone: bool,
    ) -> Self {
        let mut out = BTreeMap::new();
        for (step, ours) in &self.0 {
            let node = match other.0.get(step) {
                Some(theirs) => Node {
                    member: member(ours.member, theirs.member),
                    below: below(&ours.below, &theirs.below),
                },
                None if alone => ours.clone(),
                None => continue,
            };
            if node.member || !node.below.is_empty() {
                out.insert(step.clone(), node);
            }
        }
        Self(out)
    }

    /// The set without the paths of `other` and everything below them.
    pub(crate) fn without(&self, other: &Self) -> Self {
        let mut out = BTreeMap::new();
        for (step, ours) in &self.0 {
            match other.0.get(step) {
                Some(theirs) if theirs.member => {}
                Some(theirs) => {
                    let node = Node {
                        member: ours.member,
                        below: ours.below.without(&theirs.below),
                    };
                    if node.member || !node.below.is_empty() {
                        out.insert(step.clone(), node);
                    }
                }
                None => {
                    out.insert(step.clone(), ours.clone());
                }
            }
        }
        Self(out)
    }

    /// The set with every declared field above a member made a member: owning `a.b` means
    /// owning struct `a`.
    pub(crate) fn with_named_fields(&self, shape: Option<Shape<'_>>) -> Self {
        let mut out = BTreeMap::new();
        for (step, node) in &self.0 {
            let child = match (step, shape.map(Shape::kind)) {
                (Step::Field(name), Some(Kind::Map(_) | Kind::Deduced)) => {
                    shape.and_then(|shape| shape.child(name))
                }
                (Step::Key(_), Some(Kind::List { .. })) => shape.and_then(Shape::item),
                _ => None,
            };
            let below = node.below.with_named_fields(child);
            let named = matches!(step, Step::Field(name) if shape.is_some_and(|shape| shape.declares(name)));
            let member = node.member || (named && !below.is_empty());
            out.insert(step.clone(), Node { member, below });
        }
        Self(out)
    }

    /// The paths in the set, in words.
    pub(crate) fn display(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.list("", &mut out);
        out
    }

    fn list(&self, above: &str, out: &mut Vec<String>) {
        for (step, node) in &self.0 {
            if node.member {
                out.push(format!("{above}{}", step.display()));
            }
        }
        for (step, node) in &self.0 {
            node.below.list(&format!("{above}{}", step.display()), out);
        }
    }

    pub(crate) fn encode(&self) -> Value {
        let mut out = Map::new();
        for (step, node) in &self.0 {
            let mut inner = match node.below.encode() {
                Value::Object(map) => map,
                _ => Map::new(),
            };
            if inner.is_empty() && !node.member {
                continue;
            }
            if !inner.is_empty() && node.member {
                inner.insert(".".to_owned(), Value::Object(Map::new()));
            }
            out.insert(step.encode(), Value::Object(inner));
        }
        Value::Object(out)
    }

    /// Reads `fieldsV1`; steps that make no sense are an error.
    pub(crate) fn decode(value: &Value) -> Result<Self, String> {
        let mut out = BTreeMap::new();
        for (word, inner) in value.as_object().into_iter().flatten() {
            if word == "." {
                continue;
            }
            let step = Step::decode(word).ok_or_else(|| format!("no path element: {word:?}"))?;
            let below = Self::decode(inner)?;
            let member = below.0.is_empty() || inner.get(".").is_some();
            out.insert(step, Node { member, below });
        }
        Ok(Self(out))
    }
}

/// A set with one path.
pub(crate) fn one(path: &[&str]) -> Set {
    let mut set = Set::default();
    let steps: Vec<Step> = path
        .iter()
        .map(|name| Step::Field((*name).to_owned()))
        .collect();
    set.insert(&steps);
    set
}

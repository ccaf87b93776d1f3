//! Fields that an Assignment leaves as they are found: what is sent for them
//! is what the object holds, or nothing where it holds nothing. So an
//! autoscaler's `replicas` is neither drift nor reset by a new revision, and
//! does not fall to a default because we gave the field up.

use lockstep_proto::v1::IgnoreRule;
use serde_json::{Map, Value};

use super::managed::{Fields, managers};
use super::{FieldPath, Step, find_item, has, item_step, keys_of};
use crate::cluster::{ASSIGNMENT_LABEL, FIELD_MANAGER};

/// Where an object ends up, and that it is ours, is nobody else's to say.
const OURS: &[&str] = &[
    "/apiVersion",
    "/kind",
    "/metadata/name",
    "/metadata/namespace",
];

/// The rules that speak of one object.
#[derive(Debug)]
pub struct Ignored<'a> {
    rules: Vec<&'a IgnoreRule>,
}

/// One step of a rule.
#[derive(Debug, Clone, PartialEq)]
enum Part {
    /// A field, or the index of an element.
    Name(String),
    /// Every element of a list.
    Every,
    /// The element of a list that has these values.
    Item(Vec<(String, String)>),
}

impl<'a> Ignored<'a> {
    /// The rules of `rules` that speak of an object; none where none does.
    #[must_use]
    pub fn of(
        rules: &'a [IgnoreRule],
        group: &str,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Option<Self> {
        let is = |rule: &str, word: &str| rule.is_empty() || rule == word;
        let speaks = |rule: &&IgnoreRule| {
            (is(&rule.group, group) || (rule.group == "core" && group.is_empty()))
                && is(&rule.kind, kind)
                && is(&rule.namespace, namespace)
                && is(&rule.name, name)
        };
        let rules: Vec<_> = rules.iter().filter(speaks).collect();
        (!rules.is_empty()).then_some(Self { rules })
    }

    /// `body` with every ignored field as `live` holds it. Only what the body
    /// says, or what we own in `live`, is sent at all: the rest is others'.
    #[must_use]
    pub fn as_found(&self, body: &Value, live: &Value) -> Value {
        let found = Found::new(live);
        let mut sent = Some(body.clone());
        for pattern in self.patterns(live) {
            sent = found.put(
                sent,
                Some(live),
                &pattern,
                Some(&found.shape),
                Some(&found.ours),
            );
        }
        let mut sent = sent.unwrap_or_else(|| Value::Object(Map::new()));
        restore(&mut sent, body);
        sent
    }

    /// Whether a rule speaks of the field at `path`, or of what it is part of.
    #[must_use]
    pub fn covers(&self, path: &FieldPath, live: &Value) -> bool {
        self.patterns(live).iter().any(|pattern| {
            pattern.len() <= path.0.len()
                && pattern
                    .iter()
                    .zip(&path.0)
                    .all(|(part, step)| match (part, step) {
                        (Part::Name(name), Step::Field(field)) => name == field,
                        (Part::Name(name), Step::Index(index)) => *name == index.to_string(),
                        // Which element has that index is not said by its keys.
                        (Part::Name(name), Step::Item(_) | Step::Value(_)) => {
                            name.parse::<usize>().is_ok()
                        }
                        (Part::Every, step) => !matches!(step, Step::Field(_)),
                        (Part::Item(keys), Step::Item(other)) => keys == other,
                        (Part::Item(_), _) => false,
                    })
        })
    }

    fn patterns(&self, live: &Value) -> Vec<Vec<Part>> {
        let pointers = self.rules.iter().flat_map(|rule| &rule.json_pointers);
        let mut patterns: Vec<_> = pointers.filter_map(|text| pointer(text)).collect();
        if self
            .rules
            .iter()
            .any(|rule| !rule.field_managers.is_empty())
        {
            for manager in managers(live) {
                let mut ignored = self.rules.iter().flat_map(|rule| &rule.field_managers);
                if manager.name != FIELD_MANAGER && ignored.any(|name| *name == manager.name) {
                    patterns.extend(manager.fields.leaves().into_iter().filter_map(owned));
                }
            }
        }
        patterns
    }
}

/// RFC 6901; none where it is no pointer to a field.
fn pointer(text: &str) -> Option<Vec<Part>> {
    let rest = text.strip_prefix('/')?;
    let part = |part: &str| match part {
        "*" => Part::Every,
        part => Part::Name(part.replace("~1", "/").replace("~0", "~")),
    };
    Some(rest.split('/').map(part).collect())
}

/// A field that another manager owns. That an element is there at all needs no
/// rule: a list that both write is merged.
fn owned(path: FieldPath) -> Option<Vec<Part>> {
    let part = |step| match step {
        Step::Field(name) => Some(Part::Name(name)),
        Step::Item(keys) => Some(Part::Item(keys)),
        Step::Index(index) => Some(Part::Name(index.to_string())),
        Step::Value(_) => None,
    };
    if matches!(path.0.last(), Some(Step::Item(_))) {
        return None;
    }
    path.0.into_iter().map(part).collect()
}

fn restore(sent: &mut Value, body: &Value) {
    for pointer in OURS {
        let (parent, name) = pointer.rsplit_once('/').expect("each has a slash");
        if let Some(value) = body.pointer(pointer)
            && let Some(parent) = sent.pointer_mut(parent).and_then(Value::as_object_mut)
        {
            parent.insert(name.to_owned(), value.clone());
        }
    }
    let label = body["metadata"]["labels"].get(ASSIGNMENT_LABEL).cloned();
    if let Some(label) = label
        && let Some(metadata) = sent["metadata"].as_object_mut()
    {
        let labels = metadata
            .entry("labels")
            .or_insert_with(|| Value::Object(Map::new()));
        if let Some(labels) = labels.as_object_mut() {
            labels.insert(ASSIGNMENT_LABEL.to_owned(), label);
        }
    }
}

/// What is known of the object as it is.
struct Found {
    /// Who owns what, all together: it tells lists of one kind from another.
    shape: Fields,
    /// What we own.
    ours: Fields,
}

impl Found {
    fn new(live: &Value) -> Self {
        let (mut shape, mut ours) = (Fields::default(), Fields::default());
        for manager in managers(live) {
            shape.add(&manager.fields);
            if manager.name == FIELD_MANAGER && manager.applies {
                ours.add(&manager.fields);
            }
        }
        Self { shape, ours }
    }

    /// `body` with what `pattern` leads to as it is in `live`.
    fn put(
        &self,
        body: Option<Value>,
        live: Option<&Value>,
        pattern: &[Part],
        shape: Option<&Fields>,
        ours: Option<&Fields>,
    ) -> Option<Value> {
        let Some((part, rest)) = pattern.split_first() else {
            return take(body.as_ref(), live, shape, ours);
        };
        match (body, live, part) {
            (Some(Value::Array(list)), live, part) => {
                let live = live.and_then(Value::as_array).map_or(&[][..], |l| l);
                Some(self.put_in_list(list, live, part, rest, shape, ours))
            }
            (Some(Value::Object(mut map)), live, Part::Name(name)) => {
                let below = live.and_then(|live| live.get(name));
                let (shape, ours) = (
                    shape.and_then(|s| s.field(name)),
                    ours.and_then(|o| o.field(name)),
                );
                if let Some(value) = self.put(map.remove(name), below, rest, shape, ours) {
                    map.insert(name.clone(), value);
                }
                Some(Value::Object(map))
            }
            // Git says nothing of it: it is sent only where it is ours by now.
            (None, Some(Value::Object(live)), Part::Name(name)) => {
                let ours = ours.and_then(|ours| ours.field(name))?;
                let shape = shape.and_then(|shape| shape.field(name));
                let value = self.put(None, live.get(name), rest, shape, Some(ours))?;
                Some(Value::Object(Map::from_iter([(name.clone(), value)])))
            }
            (None, Some(live @ Value::Array(_)), _) if ours.is_some() => {
                let empty = Some(Value::Array(Vec::new()));
                let list = self.put(empty, Some(live), pattern, shape, ours);
                list.filter(|list| list.as_array().is_some_and(|list| !list.is_empty()))
            }
            (body, ..) => body,
        }
    }

    fn put_in_list(
        &self,
        list: Vec<Value>,
        live: &[Value],
        part: &Part,
        rest: &[Part],
        shape: Option<&Fields>,
        ours: Option<&Fields>,
    ) -> Value {
        let mut out = Vec::with_capacity(list.len());
        let keys = keys_of(live, shape);
        let all = list.clone();
        for (index, element) in list.into_iter().enumerate() {
            let meant = match part {
                Part::Every => true,
                Part::Name(name) => *name == index.to_string(),
                Part::Item(named) => {
                    agrees(&element, named) && all.iter().filter(|e| agrees(e, named)).count() == 1
                }
            };
            if !meant {
                out.push(element);
                continue;
            }
            let twin = twin(&element, index, live, keys.as_deref());
            let below = twin.and_then(|twin| shape?.item(twin));
            let own = twin.and_then(|twin| ours?.item(twin));
            if let Some(element) = self.put(Some(element), twin, rest, below, own) {
                out.push(element);
            }
        }
        // Elements that Git no longer lists, and that are ours by now.
        for element in live {
            let Some(own) = ours.and_then(|ours| ours.item(element)) else {
                continue;
            };
            let known = keys.as_deref().is_some_and(|keys| {
                let Step::Item(named) = item_step(element, keys) else {
                    return true;
                };
                all.iter().any(|other| agrees(other, &named))
            });
            let meant = match part {
                Part::Every => true,
                Part::Name(_) => false,
                Part::Item(named) => agrees(element, named),
            };
            if known || !meant || !rest.is_empty() {
                continue;
            }
            let below = shape.and_then(|shape| shape.item(element));
            out.extend(take(None, Some(element), below, Some(own)));
        }
        Value::Array(out)
    }
}

/// Of `named`, what `element` says itself.
fn said(element: &Value, named: &[(String, String)]) -> Vec<(String, String)> {
    let says = |(key, _): &&(String, String)| element.get(key).is_some();
    named.iter().filter(says).cloned().collect()
}

/// `element` says nothing else than `named`, and some of it; what it does not
/// say may be a default.
fn agrees(element: &Value, named: &[(String, String)]) -> bool {
    let said = said(element, named);
    !said.is_empty() && said.iter().all(|(key, value)| has(element, key, value))
}

/// The element of `live` that is the same one.
fn twin<'a>(
    element: &Value,
    index: usize,
    live: &'a [Value],
    keys: Option<&[String]>,
) -> Option<&'a Value> {
    let Some(keys) = keys else {
        return live.get(index);
    };
    let Step::Item(named) = item_step(element, keys) else {
        return None;
    };
    find_item(live, &named).map(|index| &live[index])
}

/// What is sent for a field that is left as it is found.
fn take(
    body: Option<&Value>,
    live: Option<&Value>,
    shape: Option<&Fields>,
    ours: Option<&Fields>,
) -> Option<Value> {
    let live = live?;
    if body.is_none() && ours.is_none() {
        return None;
    }
    let whole = shape.is_some_and(Fields::is_empty);
    match (live, body) {
        (Value::Object(live), None | Some(Value::Object(_))) if !whole => {
            let mut out = Map::new();
            for (key, value) in live {
                let body = body.and_then(|body| body.get(key));
                let (shape, ours) = (
                    shape.and_then(|s| s.field(key)),
                    ours.and_then(|o| o.field(key)),
                );
                if let Some(value) = take(body, Some(value), shape, ours) {
                    out.insert(key.clone(), value);
                }
            }
            Some(Value::Object(out))
        }
        (Value::Array(live), None | Some(Value::Array(_))) if !whole && shape.is_some() => {
            let listed = body.and_then(Value::as_array).map_or(&[][..], |l| l);
            Some(Value::Array(take_list(listed, live, shape?, ours)))
        }
        _ => Some(live.clone()),
    }
}

/// Of a list that several write, what Git lists and what is ours.
fn take_list(body: &[Value], live: &[Value], shape: &Fields, ours: Option<&Fields>) -> Vec<Value> {
    let mut out = Vec::new();
    let keys = shape.item_keys();
    for element in live {
        let (listed, own) = match &keys {
            _ if shape.is_set() => {
                let step = Step::Value(element.to_string());
                let listed = body.contains(element).then_some(element);
                (listed, ours.and_then(|ours| ours.child(&step)))
            }
            Some(keys) => {
                let Step::Item(named) = item_step(element, keys) else {
                    continue;
                };
                let listed = body.iter().find(|other| agrees(other, &named));
                (listed, ours.and_then(|ours| ours.item(element)))
            }
            None => (Some(element), None),
        };
        let below = shape.item(element);
        out.extend(take(listed, Some(element), below, own));
    }
    out
}

//! The managers of an object: who set which fields, by which operation. The two ways to
//! change an object, apply and update, and what each does to the managers.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::compare::{Comparison, compare, same};
use super::fields::{fields_of, remove};
use super::merge::{SchemaError, check, merge};
use super::path::{Set, one};
use crate::schema::Shape;

/// Updaters beyond this many are folded into one, oldest first.
const MOST_UPDATERS: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Apply,
    Update,
}

/// Who makes a change, and through what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub manager: String,
    pub api_version: String,
    pub subresource: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    operation: Operation,
    manager: String,
    /// Empty for appliers: they keep one entry whatever version they apply.
    api_version: String,
    subresource: String,
}

impl Key {
    fn new(operation: Operation, by: &Identity) -> Self {
        let api_version = match operation {
            Operation::Apply => String::new(),
            Operation::Update => by.api_version.clone(),
        };
        Self {
            operation,
            manager: by.manager.clone(),
            api_version,
            subresource: by.subresource.clone(),
        }
    }

    fn words(&self) -> String {
        let mut words = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            words = format!("{words} with subresource {:?}", self.subresource);
        }
        match self.operation {
            Operation::Apply => words,
            Operation::Update => format!("{words} using {}", self.api_version),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Owned {
    api_version: String,
    time: Option<String>,
    fields: Set,
}

/// `metadata.managedFields`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Managed(BTreeMap<Key, Owned>);

/// A field that somebody else owns with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    pub manager: String,
    pub field: String,
}

#[derive(Debug)]
pub(crate) enum ApplyError {
    Schema(SchemaError),
    Conflicts(Vec<Conflict>),
}

impl Managed {
    /// Reads `metadata.managedFields` of an object.
    pub(crate) fn decode(object: &Value) -> Result<Self, String> {
        let mut out = BTreeMap::new();
        for entry in object["metadata"]["managedFields"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let word = |name: &str| entry[name].as_str().unwrap_or("").to_owned();
            let operation = match entry["operation"].as_str() {
                Some("Apply") => Operation::Apply,
                Some("Update") => Operation::Update,
                other => return Err(format!("managedFields: no operation: {other:?}")),
            };
            let by = Identity {
                manager: word("manager"),
                api_version: word("apiVersion"),
                subresource: word("subresource"),
            };
            let owned = Owned {
                api_version: by.api_version.clone(),
                time: entry["time"].as_str().map(str::to_owned),
                fields: Set::decode(&entry["fieldsV1"])?,
            };
            out.insert(Key::new(operation, &by), owned);
        }
        Ok(Self(out))
    }

    /// Writes the managers into an object's metadata, in the server's order.
    pub(crate) fn encode(&self, object: &mut Value) {
        let mut entries: Vec<(&Key, &Owned)> = self.0.iter().collect();
        entries.sort_by(|(lk, lo), (rk, ro)| {
            (lk.operation, &lo.time, *lk).cmp(&(rk.operation, &ro.time, *rk))
        });
        let list: Vec<Value> = entries
            .into_iter()
            .map(|(key, owned)| {
                let mut entry = json!({
                    "manager": key.manager, "operation": format!("{:?}", key.operation), "apiVersion": owned.api_version,
                    "fieldsType": "FieldsV1", "fieldsV1": owned.fields.encode(),
                });
                if let Some(time) = &owned.time {
                    entry["time"] = time.clone().into();
                }
                if !key.subresource.is_empty() {
                    entry["subresource"] = key.subresource.clone().into();
                }
                entry
            })
            .collect();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            if list.is_empty() {
                metadata.remove("managedFields");
            } else {
                metadata.insert("managedFields".to_owned(), Value::Array(list));
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes changed and removed fields from everybody but `actor`.
    fn take(
        &mut self,
        actor: Option<&Key>,
        comparison: &Comparison,
        force: bool,
    ) -> Result<(), Vec<Conflict>> {
        let changed = comparison.changed();
        let mut conflicts = Vec::new();
        for (key, owned) in &self.0 {
            if Some(key) != actor {
                let fields = owned.fields.intersection(&changed).display();
                conflicts.extend(fields.into_iter().map(|field| Conflict {
                    manager: key.words(),
                    field,
                }));
            }
        }
        if !force && !conflicts.is_empty() {
            return Err(conflicts);
        }
        for (key, owned) in &mut self.0 {
            if Some(key) != actor {
                owned.fields = owned
                    .fields
                    .difference(&changed)
                    .difference(&comparison.removed);
            }
        }
        self.0.retain(|_, owned| !owned.fields.is_empty());
        Ok(())
    }

    /// Gives one field to a new updater if anybody owns it: a write through a subresource that
    /// shows this field alone. As in the real server, such an entry has no time.
    pub(crate) fn hand_over(&mut self, field: &Set, to: &Identity) {
        let owned = self
            .0
            .values()
            .any(|owned| !owned.fields.intersection(field).is_empty());
        if !owned {
            return;
        }
        for owned in self.0.values_mut() {
            owned.fields = owned.fields.difference(field);
        }
        let owned = self
            .0
            .entry(Key::new(Operation::Update, to))
            .or_insert_with(|| Owned {
                api_version: to.api_version.clone(),
                time: None,
                fields: Set::default(),
            });
        owned.fields = owned.fields.union(field);
        self.0.retain(|_, owned| !owned.fields.is_empty());
    }

    fn strip(&mut self) {
        let never = never_owned();
        for owned in self.0.values_mut() {
            owned.fields = owned.fields.difference(&never);
        }
        self.0.retain(|_, owned| !owned.fields.is_empty());
    }

    fn fold_old_updaters(&mut self) {
        let mut updaters: Vec<(Option<String>, Key)> = self
            .0
            .iter()
            .filter(|(key, _)| key.operation == Operation::Update && key.subresource.is_empty())
            .map(|(key, owned)| (owned.time.clone(), key.clone()))
            .collect();
        if updaters.len() <= MOST_UPDATERS {
            return;
        }
        updaters.sort();
        let excess = updaters.len() - MOST_UPDATERS + 1;
        let mut folded: BTreeMap<Key, Owned> = BTreeMap::new();
        for (_, key) in updaters.into_iter().take(excess) {
            if let Some(owned) = self.0.remove(&key) {
                let bucket = Key {
                    manager: "ancient-changes".to_owned(),
                    ..key
                };
                match folded.get_mut(&bucket) {
                    Some(sum) => {
                        sum.fields = sum.fields.union(&owned.fields);
                        sum.time = owned.time;
                    }
                    None => {
                        folded.insert(bucket, owned);
                    }
                }
            }
        }
        self.0.extend(folded);
    }
}

/// Identity and what the server writes itself belong to nobody.
fn never_owned() -> Set {
    let mut set = Set::default();
    for path in [
        &["apiVersion"][..],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ] {
        set = set.union(&one(path));
    }
    set
}

/// A server-side apply of `config` to `live`. `ignored`: top-level fields that this endpoint
/// does not write.
pub(crate) fn apply(
    live: &Value,
    config: &Value,
    shape: Shape<'_>,
    managed: &mut Managed,
    by: &Identity,
    how: &Applying<'_>,
) -> Result<Value, ApplyError> {
    check(config, shape).map_err(ApplyError::Schema)?;
    if managed.is_empty() && live["metadata"]["creationTimestamp"].is_string() {
        let first = Identity {
            manager: "before-first-apply".to_owned(),
            ..by.clone()
        };
        update(
            &Value::Null,
            live,
            shape,
            managed,
            &first,
            how.ignored,
            how.now,
        );
    }
    let me = Key::new(Operation::Apply, by);
    let last = managed
        .0
        .get(&me)
        .map(|owned| owned.fields.clone())
        .unwrap_or_default();
    let wanted = fields_of(config, shape).without(how.ignored);
    let time = managed.0.get(&me).and_then(|owned| owned.time.clone());
    managed.0.insert(
        me.clone(),
        Owned {
            api_version: by.api_version.clone(),
            time,
            fields: wanted,
        },
    );

    let merged = merge(live, config, shape);
    let object = prune(merged, shape, managed, &last);
    managed
        .take(
            Some(&me),
            &compare(live, &object, shape).outside(how.ignored),
            how.force,
        )
        .map_err(ApplyError::Conflicts)?;
    if !same(live, &object)
        && let Some(owned) = managed.0.get_mut(&me)
    {
        owned.time = Some(how.now.to_owned());
    }
    managed.strip();
    Ok(object)
}

/// The circumstances of an apply.
pub(crate) struct Applying<'a> {
    pub force: bool,
    pub ignored: &'a Set,
    pub now: &'a str,
}

/// Removes what the applier applied before and no longer does, unless somebody else owns it.
fn prune(merged: Value, shape: Shape<'_>, managed: &Managed, last: &Set) -> Value {
    if last.is_empty() {
        return merged;
    }
    let named = |set: Set| set.with_named_fields(Some(shape));
    let last = named(last.clone());
    let pruned = remove(&merged, shape, &last);

    // What others own comes back, and with it what it stands in.
    let owned = managed
        .0
        .values()
        .fold(Set::default(), |sum, owned| sum.union(&owned.fields));
    let all = named(fields_of(&merged, shape));
    let keep = named(fields_of(&pruned, shape)).union(&named(owned));
    let pruned = remove(&merged, shape, &all.difference(&keep));

    // What nobody applied comes back as well: it went only because it stood in something.
    let gone = all.difference(&named(fields_of(&pruned, shape)));
    remove(&merged, shape, &gone.intersection(&last))
}

/// Any other write: the writer owns what it changed.
pub(crate) fn update(
    live: &Value,
    object: &Value,
    shape: Shape<'_>,
    managed: &mut Managed,
    by: &Identity,
    ignored: &Set,
    now: &str,
) {
    let comparison = compare(live, object, shape).outside(ignored);
    // Forced, so it cannot conflict.
    let _ = managed.take(None, &comparison, true);
    let took = comparison
        .changed()
        .difference(&comparison.removed)
        .difference(&never_owned());
    if !took.is_empty() {
        let owned = managed
            .0
            .entry(Key::new(Operation::Update, by))
            .or_insert_with(|| Owned {
                api_version: by.api_version.clone(),
                time: None,
                fields: Set::default(),
            });
        owned.fields = owned.fields.union(&took);
        owned.time = Some(now.to_owned());
    }
    managed.strip();
    managed.fold_old_updaters();
}

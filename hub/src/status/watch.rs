//! Following resources: what is there, then every change. A watch remembers a
//! version and what it has sent, nothing else: nothing queues up for a slow
//! reader, and writers do not know that it is there.

use std::collections::BTreeSet;

use lockstep_proto::v1::watch_event::Type;
use lockstep_proto::v1::{self, kind::Name as Kind, resource::Resource as Any};

use super::model::Model;
use super::{Filter, Fleet, kind_word};

/// Events that one call of [`Watch::next`] returns at most, and so the memory
/// that a reader costs beside the names it has been sent.
const BATCH: usize = 256;

/// Follows the resources of a [`Filter`].
pub struct Watch {
    fleet: Fleet,
    filter: Filter,
    grown: tokio::sync::watch::Receiver<u64>,
    /// Names of what the reader has.
    sent: BTreeSet<String>,
    /// Changes up to this version are sent.
    seen: u64,
    /// The last name of the first listing that was sent; none once it is complete.
    listing: Option<Option<String>>,
}

impl Fleet {
    #[must_use]
    pub fn watch(&self, filter: Filter) -> Watch {
        let grown = self.0.version.subscribe();
        Watch {
            fleet: self.clone(),
            filter,
            seen: self.read(|model| model.version),
            grown,
            sent: BTreeSet::new(),
            listing: Some(None),
        }
    }

    /// Resolves when something that a reader can see has changed after
    /// `seen`, with the version it has then.
    pub async fn grown(&self, seen: u64) -> u64 {
        let mut grown = self.0.version.subscribe();
        let version = grown.wait_for(|version| *version > seen).await;
        version.map_or(seen, |version| *version)
    }
}

impl Watch {
    /// Whether the reader has not yet been sent all that was there at first.
    #[must_use]
    pub fn is_listing(&self) -> bool {
        self.listing.is_some()
    }

    /// The next events, in order; waits until there are some. Cancel-safe.
    pub async fn next(&mut self) -> Vec<v1::WatchEvent> {
        loop {
            let events = match self.listing.take() {
                Some(after) => self.list(after.as_deref()),
                None => self.changes(),
            };
            if !events.is_empty() {
                return events;
            }
            let seen = self.seen;
            // The sender lives as long as the fleet that this holds.
            let _ = self.grown.wait_for(|version| *version > seen).await;
        }
    }

    fn list(&mut self, after: Option<&str>) -> Vec<v1::WatchEvent> {
        let now = self.fleet.now();
        let (kind, filter) = (self.filter.kind, &self.filter);
        let found: Vec<(String, v1::Resource)> = self.fleet.read(|model| {
            model
                .names_after(filter, after)
                .filter(|name| model.matches(kind, name, &filter.selector))
                .take(BATCH)
                .filter_map(|name| Some((name.to_string(), model.view(kind, &name, now)?)))
                .collect()
        });
        let complete = found.len() < BATCH;
        self.listing = (!complete).then(|| found.last().map(|(name, _)| name.clone()));
        let mut events: Vec<_> = found
            .into_iter()
            .map(|(name, resource)| {
                self.sent.insert(name);
                event(Type::Added, Some(resource))
            })
            .collect();
        if complete {
            events.push(event(Type::Synced, None));
        }
        events
    }

    fn changes(&mut self) -> Vec<v1::WatchEvent> {
        let now = self.fleet.now();
        let (kind, filter) = (self.filter.kind, &self.filter);
        let (sent, seen) = (&mut self.sent, self.seen);
        let mut events = Vec::new();
        self.seen = self.fleet.read(|model| {
            for name in gone(model, kind, seen, sent) {
                sent.remove(&name);
                events.push(event(Type::Deleted, Some(bare(kind, &name))));
            }
            let (changed, upto) = model.changed_since(kind, seen, BATCH);
            for name in changed {
                let wanted = filter.names.is_empty() || filter.names.contains(&name);
                let matches = wanted && model.matches(kind, &name, &filter.selector);
                let resource = model.view(kind, &name, now);
                let change = match (matches, sent.contains(&name)) {
                    (true, true) => Type::Modified,
                    (true, false) => Type::Added,
                    (false, true) => Type::Deleted,
                    (false, false) => continue,
                };
                if matches {
                    sent.insert(name);
                } else {
                    sent.remove(&name);
                }
                events.push(event(change, resource));
            }
            upto
        });
        events
    }
}

fn event(r#type: Type, resource: Option<v1::Resource>) -> v1::WatchEvent {
    v1::WatchEvent {
        r#type: r#type.into(),
        resource,
    }
}

/// What was sent and is not there any more.
fn gone(model: &Model, kind: Kind, seen: u64, sent: &BTreeSet<String>) -> Vec<String> {
    let gone = |name: &&String| sent.contains(*name) && !model.exists(kind, name);
    match model.deleted_since(kind, seen) {
        Some(deleted) => {
            let unique: BTreeSet<&String> = deleted.iter().collect();
            unique.into_iter().filter(gone).cloned().collect()
        }
        None => sent.iter().filter(gone).cloned().collect(),
    }
}

/// All that is left to say of a resource that is gone.
fn bare(kind: Kind, name: &str) -> v1::Resource {
    let api_version = lockstep_proto::API_VERSION.to_owned();
    let word = kind_word(kind).to_owned();
    let metadata = Some(v1::ObjectMeta {
        name: name.to_owned(),
        ..v1::ObjectMeta::default()
    });
    macro_rules! bare {
        ($variant:ident) => {
            Some(Any::$variant(v1::$variant {
                api_version,
                kind: word,
                metadata,
                ..v1::$variant::default()
            }))
        };
    }
    v1::Resource {
        resource: match kind {
            Kind::Unspecified => None,
            Kind::Cluster => bare!(Cluster),
            Kind::ClusterGroup => bare!(ClusterGroup),
            Kind::Repository => bare!(Repository),
            Kind::Assignment => bare!(Assignment),
            Kind::JoinToken => bare!(JoinToken),
            Kind::Credential => bare!(Credential),
        },
    }
}

impl Model {
    /// At most `limit` names that changed after `seen`, and the version up to
    /// which these are all.
    fn changed_since(&self, kind: Kind, seen: u64, limit: usize) -> (Vec<String>, u64) {
        macro_rules! since {
            ($changes:expr) => {
                $changes
                    .changed_since(seen)
                    .take(limit)
                    .map(|(version, name)| (version, name.to_string()))
                    .collect()
            };
        }
        let found: Vec<(u64, String)> = match kind {
            Kind::Unspecified => Vec::new(),
            Kind::Cluster => since!(self.changed.clusters),
            Kind::ClusterGroup => since!(self.changed.groups),
            Kind::Repository => since!(self.changed.repositories),
            Kind::Assignment => since!(self.changed.assignments),
            Kind::JoinToken => since!(self.changed.join_tokens),
            Kind::Credential => since!(self.changed.credentials),
        };
        let upto = match found.last() {
            Some((version, _)) if found.len() == limit => *version,
            _ => self.version,
        };
        (found.into_iter().map(|(_, name)| name).collect(), upto)
    }

    fn deleted_since(&self, kind: Kind, seen: u64) -> Option<Vec<String>> {
        macro_rules! since {
            ($changes:expr) => {
                Some(
                    $changes
                        .deleted_since(seen)?
                        .map(ToString::to_string)
                        .collect(),
                )
            };
        }
        match kind {
            Kind::Unspecified => Some(Vec::new()),
            Kind::Cluster => since!(self.changed.clusters),
            Kind::ClusterGroup => since!(self.changed.groups),
            Kind::Repository => since!(self.changed.repositories),
            Kind::Assignment => since!(self.changed.assignments),
            Kind::JoinToken => since!(self.changed.join_tokens),
            Kind::Credential => since!(self.changed.credentials),
        }
    }
}

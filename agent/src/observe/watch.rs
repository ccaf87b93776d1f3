//! One watch, kept up: opened with a streamed list, reopened where it ended,
//! begun anew when the server has forgotten that far back.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{AsyncBufRead, AsyncBufReadExt as _};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::classes::Classes;
use super::event::{self, Event, Seen};
use super::{PATIENCE, State, is_judged, is_ruled};
use crate::cluster::{ApiError, Cluster, GroupKind, Resource};
use crate::health::Class;
use crate::inventory::registry::{Registry, Shared};
use crate::inventory::{Inventory, News, ObjectId};

/// `lockstep.dev/assignment`, escaped for a query.
const SELECTOR: &str = "labelSelector=lockstep.dev%2Fassignment";
/// The server ends a watch after about this long, so that a line that went
/// dead is noticed; spread, so that all watches do not end at once.
const LIFETIME: std::ops::Range<u64> = 280..420;
/// What a watch may take longer than it promised.
const GRACE: Duration = Duration::from_secs(30);
/// An event carries one object: 1.5 MiB in etcd, and its managed fields.
const LONGEST_LINE: usize = 16 << 20;
/// Kept of the line buffer between events.
const LINE_BUFFER: usize = 16 << 10;
const PAGE: usize = 100;
/// A watch that lived at least this long may be reopened at once.
const LIVED: Duration = Duration::from_secs(2);
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The server is away: it will be back, and somebody waits for it.
const LONGEST_WAIT_AWAY: Duration = Duration::from_secs(3);
/// The server refuses: a person has to change something first.
const LONGEST_WAIT_REFUSED: Duration = Duration::from_secs(30);

pub(super) struct Watch {
    pub cluster: Cluster,
    pub registry: Arc<Registry>,
    pub kind: GroupKind,
    pub state: Arc<Mutex<State>>,
    pub lists: Arc<AtomicBool>,
    pub classes: Arc<Classes>,
}

/// Where a watch goes on.
#[derive(Default)]
struct Place {
    /// Resource version of the last event; none before the first list.
    version: Option<String>,
    /// Something was judged without knowing all that it takes, and no event
    /// will tell of that: the next watch begins with a list.
    again: bool,
}

#[derive(Deserialize)]
struct Page<'a> {
    metadata: PageMeta,
    #[serde(borrow, default)]
    items: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    token: String,
}

impl Watch {
    /// Runs until it is dropped.
    pub(super) async fn run(self) {
        let mut place = Place::default();
        let mut failures = 0_u32;
        loop {
            let started = Instant::now();
            let ended = self.once(&mut place).await;
            match ended {
                Ok(()) if started.elapsed() >= LIVED => {
                    failures = 0;
                    if place.again {
                        place = Place::default();
                    }
                }
                Err(ref error) if error.is_expired() => {
                    place = Place::default();
                    failures += 1;
                }
                Ok(()) => failures += 1,
                Err(ref error) => {
                    failures = if started.elapsed() >= LIVED {
                        1
                    } else {
                        failures + 1
                    };
                    self.is_down(error);
                }
            }
            let longest = match ended {
                Err(ApiError::Refused(_) | ApiError::Malformed(_)) => LONGEST_WAIT_REFUSED,
                _ => LONGEST_WAIT_AWAY,
            };
            if failures > 0 {
                let wait = (FIRST_WAIT * 2_u32.saturating_pow(failures.min(10) - 1)).min(longest);
                tokio::time::sleep(wait.mul_f64(rand::random_range(0.5..1.0))).await;
            }
        }
    }

    /// One watch from opening to end.
    async fn once(&self, place: &mut Place) -> Result<(), ApiError> {
        let resource = self.resource().await?;
        let whole = is_judged(&resource) || is_ruled(&self.registry, &self.kind);
        if !resource.watchable {
            self.trust_what_cannot_be_watched();
            return std::future::pending().await;
        }
        let newest = self.newest();
        if place.version.is_none() && self.lists.load(Ordering::Relaxed) {
            place.version = Some(self.list(&resource, whole, &mut place.again).await?);
        }
        let lifetime = rand::random_range(LIFETIME);
        let collection = resource.collection("");
        let from = match &place.version {
            Some(version) => format!("resourceVersion={version}"),
            None => "sendInitialEvents=true&resourceVersionMatch=NotOlderThan".to_owned(),
        };
        let uri = format!(
            "{collection}?watch=true&allowWatchBookmarks=true&timeoutSeconds={lifetime}&{SELECTOR}&{from}"
        );
        let mut lines = match self.cluster.watch(&uri, !whole).await {
            Err(error) if error.is_kind_gone() => {
                // With the kind went every object of it.
                self.sweep(&HashSet::new(), u64::MAX);
                self.cluster.discover(Instant::now()).await?;
                return Err(error);
            }
            Err(error) if error.is_invalid() && place.version.is_none() => {
                self.lists.store(true, Ordering::Relaxed);
                return Ok(());
            }
            other => Box::pin(other?),
        };
        self.is_up();
        let end = Instant::now() + Duration::from_secs(lifetime) + GRACE;
        let mut first = place.version.is_none().then(HashSet::new);
        let mut buffer = Vec::new();
        loop {
            buffer.clear();
            buffer.shrink_to(LINE_BUFFER);
            let read = tokio::time::timeout_at(end, read_line(&mut lines, &mut buffer));
            // Neither a promised end nor an overdue one is a failure.
            let more = read.await.unwrap_or(Ok(false))?;
            if !more {
                return Ok(());
            }
            let (event, version) = event::read(&buffer)?;
            match event {
                Event::Bookmark { complete } => {
                    if complete && let Some(seen) = first.take() {
                        let version = version.parse().unwrap_or(u64::MAX);
                        if version < newest {
                            self.rewind();
                            return Err(ApiError::Malformed(
                                "the cluster's history has gone back: was it restored from a backup?"
                                    .into(),
                            ));
                        }
                        self.sweep(&seen, version);
                    }
                }
                Event::Object(seen) => {
                    let class = self.class(&seen, &resource, &mut place.again).await;
                    self.tell(&seen, &resource, class, first.as_mut())?;
                }
            }
            // Until the first list is complete there is no place to go on from.
            if first.is_none() {
                place.version = Some(version);
            }
        }
    }

    async fn resource(&self) -> Result<Arc<Resource>, ApiError> {
        let GroupKind { group, kind } = &self.kind;
        if let Some(resource) = self.cluster.kinds().preferred(group, kind) {
            return Ok(resource);
        }
        let kinds = self.cluster.discover(Instant::now()).await?;
        kinds.preferred(group, kind).ok_or_else(|| {
            self.sweep(&HashSet::new(), u64::MAX);
            ApiError::Malformed(format!("the cluster serves no kind {kind} in {group}"))
        })
    }

    /// For servers that cannot stream a list: page by page.
    async fn list(
        &self,
        resource: &Resource,
        whole: bool,
        again: &mut bool,
    ) -> Result<String, ApiError> {
        let collection = resource.collection("");
        let mut token = String::new();
        let mut seen = HashSet::new();
        loop {
            let more = if token.is_empty() { "" } else { "&continue=" };
            let uri = format!("{collection}?{SELECTOR}&limit={PAGE}{more}{token}");
            let page = self.cluster.raw_page(&uri, !whole).await?;
            let page: Page<'_> = serde_json::from_slice(&page)
                .map_err(|error| ApiError::Malformed(error.to_string()))?;
            for object in page.items {
                let object = event::listed(object)?;
                let class = self.class(&object, resource, again).await;
                self.tell(&object, resource, class, Some(&mut seen))?;
            }
            if page.metadata.token.is_empty() {
                let version = page.metadata.resource_version;
                self.sweep(&seen, version.parse().unwrap_or(u64::MAX));
                return Ok(version);
            }
            token = page.metadata.token;
        }
    }

    /// How the class of a claim binds, where the claim's health is a matter of
    /// that.
    async fn class(&self, seen: &Seen<'_>, resource: &Resource, again: &mut bool) -> Class {
        if *self.kind.kind != *"PersistentVolumeClaim" {
            return Class::Unknown;
        }
        let Some(name) = seen.waits_for_class(resource) else {
            return Class::Unknown;
        };
        let class = self.classes.get(name.as_deref()).await;
        *again |= matches!(class, Class::Missing | Class::Unknown);
        class
    }

    /// Brings the news to the Inventories that hold the object. One that is
    /// labelled for another Assignment than the one that holds it was taken by
    /// somebody: its owner hears of it all the same.
    fn tell(
        &self,
        object: &Seen<'_>,
        resource: &Resource,
        class: Class,
        seen: Option<&mut HashSet<ObjectId>>,
    ) -> Result<(), ApiError> {
        let meta = &object.meta;
        let id = ObjectId {
            kind: self.kind.clone(),
            namespace: meta.namespace.as_str().into(),
            name: meta.name.as_str().into(),
        };
        let holds = |shared: &Arc<Shared>| shared.inventory.lock().contains(&id);
        let labelled = meta.labels.assignment.as_deref();
        let holder = labelled
            .and_then(|name| self.registry.get(name))
            .filter(holds)
            .or_else(|| self.registry.all().into_iter().find(holds));
        let Some(shared) = holder else {
            return Ok(());
        };
        // Judged outside the lock: an expression takes its time.
        let rules = Arc::clone(&shared.inventory.lock().rules);
        let news = object.news(resource, &rules, class)?;
        hear(&shared, &id, news);
        if let Some(seen) = seen {
            seen.insert(id);
        }
        Ok(())
    }

    /// A list is complete: what it did not show up to `version` is not there.
    fn sweep(&self, seen: &HashSet<ObjectId>, version: u64) {
        for shared in self.registry.all() {
            let mut inventory = shared.inventory.lock();
            let absent = of_kind(&inventory, &self.kind, |id, item_version| {
                !seen.contains(id) && item_version <= version
            });
            let mut news = false;
            for id in absent {
                if let Some(item) = inventory.get_mut(&id) {
                    let version = item.version;
                    news |= item.hear(News::Gone { version });
                }
            }
            drop(inventory);
            if news {
                shared.urgent.notify_one();
            }
        }
    }

    /// The newest version that was heard of before a list begins: a list can
    /// only be newer.
    fn newest(&self) -> u64 {
        let mut newest = 0;
        for shared in self.registry.all() {
            let inventory = shared.inventory.lock();
            let versions = inventory
                .iter()
                .filter(|(id, item)| id.kind == self.kind && item.version != u64::MAX)
                .map(|(_, item)| item.version);
            newest = versions.max().unwrap_or(0).max(newest);
        }
        newest
    }

    /// What was heard so far is of another history.
    fn rewind(&self) {
        for shared in self.registry.all() {
            let mut inventory = shared.inventory.lock();
            for (id, item) in inventory.iter_mut() {
                if id.kind == self.kind {
                    item.version = 0;
                }
            }
        }
    }

    /// Kinds that cannot be watched are there once they were applied.
    fn trust_what_cannot_be_watched(&self) {
        for shared in self.registry.all() {
            let mut inventory = shared.inventory.lock();
            for id in of_kind(&inventory, &self.kind, |_, _| true) {
                if let Some(item) = inventory.get_mut(&id) {
                    item.hear(News::There {
                        version: item.version,
                        owned: item.owned,
                        going: false,
                        judgement: crate::health::Judgement::healthy(),
                    });
                }
            }
            drop(inventory);
            shared.changed.notify_one();
        }
    }

    fn is_up(&self) {
        let was_down = self.state.lock().down.take();
        if was_down.is_some() {
            self.wake_users();
        }
    }

    fn is_down(&self, error: &ApiError) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let since = state.down.as_ref().map_or(now, |(since, _)| *since);
        let words = error.to_string();
        let news = state.down.as_ref().is_none_or(|(_, was)| *was != words);
        state.down = Some((since, words));
        drop(state);
        if news {
            tracing::debug!(kind = %self.kind.kind, %error, "watch ended");
        }
        if now.duration_since(since) >= PATIENCE {
            self.wake_users();
        }
    }

    fn wake_users(&self) {
        for shared in self.registry.all() {
            let uses = shared
                .inventory
                .lock()
                .iter()
                .any(|(id, _)| id.kind == self.kind);
            if uses {
                shared.changed.notify_one();
            }
        }
    }
}

fn hear(shared: &Shared, id: &ObjectId, news: News) {
    let mut inventory = shared.inventory.lock();
    let Some(item) = inventory.get_mut(id) else {
        return;
    };
    if !item.hear(news) {
        return;
    }
    let urgent = item.is_urgent() || others_wait_for(id);
    drop(inventory);
    if urgent {
        shared.urgent.notify_one();
    } else {
        shared.changed.notify_one();
    }
}

/// Objects of a kind that is waited for by others.
fn others_wait_for(id: &ObjectId) -> bool {
    id.is("", "Namespace") || id.is("apiextensions.k8s.io", "CustomResourceDefinition")
}

fn of_kind(
    inventory: &Inventory,
    kind: &GroupKind,
    also: impl Fn(&ObjectId, u64) -> bool,
) -> Vec<ObjectId> {
    inventory
        .iter()
        .filter(|(id, item)| id.kind == *kind && also(id, item.version))
        .map(|(id, _)| id.clone())
        .collect()
}

/// Reads one line into `buffer`; false at the end of the stream.
async fn read_line(
    lines: &mut (impl AsyncBufRead + Unpin + Send),
    buffer: &mut Vec<u8>,
) -> Result<bool, ApiError> {
    loop {
        let chunk = lines
            .fill_buf()
            .await
            .map_err(|error| ApiError::Unreachable(error.to_string()))?;
        if chunk.is_empty() {
            return Ok(false);
        }
        let (end, taken) = match chunk.iter().position(|byte| *byte == b'\n') {
            Some(at) => (true, at + 1),
            None => (false, chunk.len()),
        };
        buffer.extend_from_slice(&chunk[..taken]);
        lines.consume_unpin(taken);
        if buffer.len() > LONGEST_LINE {
            return Err(ApiError::Malformed("a watch event is too long".into()));
        }
        if end {
            return Ok(true);
        }
    }
}

//! Applies objects of a Bundle, several at a time, straight from its file: no
//! more of it is in memory than what is on the wire.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use lockstep_proto::Digest;
use lockstep_proto::bundle::IndexEntry;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use super::Target;
use super::backoff::{backoff, moment};
use super::body::{as_found, body};
use super::newcomers::{Claim, Newcomers};
use super::refusal::{explain, immutable};
use super::replace::Room;
use super::tell::Wrong;
use crate::bundle::BundleFile;
use crate::caps::Caps;
use crate::cluster::{ApiError, Cluster, Meta, Resource};
use crate::inventory::ObjectId;
use crate::inventory::registry::{Registry, Shared};
use crate::inventory::store::create_namespace;
use crate::journal::Journal;
use crate::observe;
use crate::plan::redact;

/// Requests of one Assignment in flight.
pub const PARALLEL: usize = 8;
/// As good as never, and still a time that can be reckoned with.
pub const NEVER: Duration = Duration::from_hours(24 * 365);
/// Tries within one attempt at an object.
const TRIES: u32 = 3;

/// Why a step ended early. What it did until then is noted in the Inventory.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Store(#[from] crate::inventory::store::StoreError),
    #[error(transparent)]
    Bundle(#[from] crate::bundle::BundleError),
    #[error("cannot read the bundle: {0:#}")]
    Read(anyhow::Error),
}

/// What sending needs to know.
#[derive(Clone, Copy)]
pub struct Sender<'a> {
    pub cluster: &'a Cluster,
    pub registry: &'a Registry,
    pub caps: &'a Caps,
    pub shared: &'a Shared,
    pub journal: &'a Journal,
    pub assignment: &'a str,
    pub target: &'a Target,
}

/// One object on its way.
pub struct Loaded {
    pub id: ObjectId,
    pub entry: IndexEntry,
    pub json: Bytes,
}

impl Sender<'_> {
    /// Applies `ids`. One that fails is noted and disturbs no other.
    ///
    /// # Errors
    /// [`StepError`], where it is no use to try the others.
    pub async fn send(self, file: &BundleFile, ids: Vec<ObjectId>) -> Result<(), StepError> {
        let newcomers = &self.list_newcomers(&ids).await?;
        load(file, self.target, ids)
            .map(|loaded| async move { self.send_one(loaded?, newcomers).await })
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await
    }

    pub(super) async fn send_one(
        self,
        loaded: Loaded,
        newcomers: &Newcomers,
    ) -> Result<(), StepError> {
        let Loaded { id, entry, json } = loaded;
        if let Some(words) = self.caps.refuses(self.assignment, &id) {
            self.refused(&id, &words);
            return Ok(());
        }
        let wanted = entry.sha256;
        let mut wrong = None;
        {
            let mut inventory = self.shared.inventory.lock();
            let Some(item) = inventory.get_mut(&id) else {
                return Ok(());
            };
            if item.wanted != Some(wanted) {
                return Ok(());
            }
            if !item.is_outdated() && item.hook().is_none() {
                wrong = Some(if item.is_missing() {
                    Wrong::Missing
                } else {
                    Wrong::Differs
                });
                item.correcting(Instant::now());
                self.cluster.metrics().corrections.inc();
            }
        }
        let resource = match self.resource(&entry).await? {
            Ok(resource) => resource,
            Err(words) => {
                self.note_failure(&id, &words, None);
                return Ok(());
            }
        };
        let namespace = resource.namespaced.then_some(&*id.namespace);
        let body = match body(&json, namespace, self.assignment) {
            Ok(body) => body,
            Err(words) => {
                self.note_failure(&id, &words, None);
                return Ok(());
            }
        };
        drop(json);
        let Some(claim) = self.claimed(newcomers, &id, &resource).await? else {
            return Ok(());
        };
        self.apply(&id, &resource, wanted, body, wrong, claim).await
    }

    /// Applies what the object holds already, so that all of it is ours.
    pub(super) async fn take_back(
        self,
        id: &ObjectId,
        resource: &Resource,
        wanted: Digest,
        body: Bytes,
    ) -> Result<(), StepError> {
        let wrong = Some(Wrong::Owner);
        self.apply(id, resource, wanted, body, wrong, Claim::Ours)
            .await
    }

    /// Finds out whether the object may be applied; says so where it may not.
    async fn claimed(
        self,
        newcomers: &Newcomers,
        id: &ObjectId,
        resource: &Resource,
    ) -> Result<Option<Claim>, StepError> {
        let path = resource.object(&id.namespace, &id.name);
        let mut tries = 0;
        loop {
            match self.claim(newcomers, id, &path).await {
                Ok(Claim::Waits(words)) => self.note_moment(id, &words),
                Ok(Claim::Refused(words)) => self.note_failure(id, &words, None),
                Ok(claim) => return Ok(Some(claim)),
                Err(error) if error.is_transient() && tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(moment(tries, error.retry_after())).await;
                    continue;
                }
                Err(error) if error.is_about_the_server() => return Err(error.into()),
                Err(error) => self.note(id, &error),
            }
            return Ok(None);
        }
    }

    /// The resource to send to; asks discovery once where it is not known.
    pub(super) async fn resource(
        self,
        entry: &IndexEntry,
    ) -> Result<Result<Arc<Resource>, String>, ApiError> {
        let (api_version, kind) = (&entry.key.api_version, &entry.key.kind);
        let asked = Instant::now();
        if let Some(resource) = self.cluster.kinds().exact(api_version, kind) {
            return Ok(Ok(resource));
        }
        let kinds = self.cluster.discover(asked).await?;
        Ok(kinds
            .exact(api_version, kind)
            .ok_or_else(|| format!("the cluster no longer serves {kind} in {api_version}")))
    }

    async fn apply(
        self,
        id: &ObjectId,
        resource: &Resource,
        wanted: Digest,
        body: Bytes,
        wrong: Option<Wrong>,
        claim: Claim,
    ) -> Result<(), StepError> {
        let path = resource.object(&id.namespace, &id.name);
        let mut tries = 0;
        loop {
            let started = Instant::now();
            let error = match self.apply_as_found(id, &path, &body).await {
                Ok((meta, found)) => {
                    if let Some(wrong) = &wrong {
                        self.tell_put_back(id, wrong, &meta);
                    }
                    if let Claim::Adopts(from) = &claim {
                        self.adopted(id, from.as_ref());
                    }
                    let mut inventory = self.shared.inventory.lock();
                    let watched =
                        resource.watchable && observe::is_judged_by(resource, &inventory.rules);
                    if let Some(item) = inventory.get_mut(id) {
                        let (version, owned) = (meta.version(), meta.owned());
                        item.answered(version, owned, meta.is_deleting(), watched);
                        inventory.confirm(id, wanted, owned);
                        inventory.note_found(id, found);
                        // A new revision is no correction.
                        drop(inventory.holds(id, owned));
                    }
                    return Ok(());
                }
                Err(error) => told(id, error, &body),
            };
            tries += 1;
            if tries < TRIES && self.can_create(id, &error) {
                if let Err(error) = create_namespace(self.cluster, &id.namespace).await {
                    self.note(id, &error);
                    return Ok(());
                }
                continue;
            }
            if error.is_kind_gone() {
                self.cluster.discover(started).await?;
            }
            if let Some(fields) = immutable(&error).filter(|_| tries < TRIES) {
                match self.make_way(id, &path, &body, (&error, &fields)).await {
                    Ok(Room::Made) => continue,
                    Ok(Room::Going) => {}
                    Ok(Room::Stays(words)) => self.note_failure(id, &words, None),
                    Err(error) if error.is_about_the_server() => return Err(error.into()),
                    Err(error) => self.note(id, &error),
                }
                return Ok(());
            }
            tracing::debug!(object = %id, %error, tries, "apply failed");
            if tries < TRIES && error.is_transient() {
                tokio::time::sleep(moment(tries, error.retry_after())).await;
                continue;
            }
            if error.is_about_the_server() {
                return Err(error.into());
            }
            if wrong.is_some() {
                self.tell_missing(id);
            }
            self.note(id, &error);
            return Ok(());
        }
    }

    /// Applies `body` with the fields that are left as they are found. True
    /// where that is not all that Git has. What is not there yet is made as
    /// Git has it.
    async fn apply_as_found(
        self,
        id: &ObjectId,
        path: &str,
        body: &Bytes,
    ) -> Result<(Meta, bool), ApiError> {
        let Some(ignored) = self.ignored(id) else {
            return Ok((self.cluster.apply(path, body.clone()).await?, false));
        };
        let live = self.cluster.get(path).await?;
        // Somebody who writes in between makes it a conflict, not a loss.
        let version = live
            .as_ref()
            .and_then(|live| live["metadata"]["resourceVersion"].as_str());
        let sent = as_found(body, Some(&ignored), live.as_ref(), version);
        let (sent, found) = sent.map_err(ApiError::Malformed)?;
        Ok((self.cluster.apply(path, sent).await?, found))
    }

    fn can_create(self, id: &ObjectId, error: &ApiError) -> bool {
        self.target.create_namespace
            && self.caps.refuses_namespace(&id.namespace).is_none()
            && *id.namespace == *self.target.namespace
            && error.is_namespace_missing(&id.namespace)
    }

    pub(super) fn note(self, id: &ObjectId, error: &ApiError) {
        if error.is_namespace_ending() {
            let words = format!("waits for namespace {} to be gone: {error}", id.namespace);
            return self.note_moment(id, &words);
        }
        let mut words = explain(error, id, self.cluster.account());
        if error.is_namespace_missing(&id.namespace)
            && let Some(refused) = self.caps.refuses_namespace(&id.namespace)
        {
            words = format!(
                "namespace {} does not exist, and making it is {refused}",
                id.namespace
            );
        }
        self.note_failure(id, &words, error.retry_after());
    }

    /// What passes by itself, soon.
    fn note_moment(self, id: &ObjectId, words: &str) {
        let mut inventory = self.shared.inventory.lock();
        if let Some(item) = inventory.get_mut(id) {
            item.failed(words, Instant::now() + backoff(0, None));
        }
    }

    /// What only the cluster's owner can change, with another file and a
    /// restart.
    pub(super) fn refused(self, id: &ObjectId, words: &str) {
        let mut inventory = self.shared.inventory.lock();
        if let Some(item) = inventory.get_mut(id) {
            item.refused(words, Instant::now() + NEVER);
        }
    }

    fn note_failure(self, id: &ObjectId, words: &str, asked: Option<Duration>) {
        let mut inventory = self.shared.inventory.lock();
        if let Some(item) = inventory.get_mut(id) {
            let wait = backoff(item.attempts(), asked);
            item.failed(words, Instant::now() + wait);
        }
    }
}

/// `error` without a word of what a Secret holds: servers quote what they
/// cannot take.
pub(super) fn told(id: &ObjectId, error: ApiError, body: &[u8]) -> ApiError {
    if id.is("", "Secret") {
        error.said(|message| redact(message, body))
    } else {
        error
    }
}

/// Streams `ids` from the Bundle's file, in its order.
pub fn load(
    file: &BundleFile,
    target: &Target,
    ids: Vec<ObjectId>,
) -> impl futures::Stream<Item = Result<Loaded, StepError>> + use<> {
    let (give, take) = mpsc::channel(PARALLEL);
    let (file, namespace) = (file.clone(), target.namespace.clone());
    // Not awaited: it ends when it has read the file or nobody listens, and
    // says everything that it has to say through the channel.
    drop(tokio::task::spawn_blocking(move || {
        let wanted = Wanted::new(&namespace, ids);
        let read = file.read(&|entry| wanted.find(entry).is_some(), &mut |entry, json| {
            let id = wanted.find(&entry).cloned();
            let id = id.ok_or_else(|| anyhow::anyhow!("{} was not asked for", entry.key))?;
            give.blocking_send(Ok(Loaded { id, entry, json }))
                .map_err(|_| anyhow::anyhow!("nobody listens any more"))
        });
        if let Err(error) = read {
            let _ = give.blocking_send(Err(StepError::Read(error)));
        }
    }));
    ReceiverStream::new(take)
}

/// The objects that are asked for, by name.
struct Wanted<'a> {
    namespace: &'a str,
    by_name: HashMap<Arc<str>, Vec<ObjectId>>,
}

impl<'a> Wanted<'a> {
    fn new(namespace: &'a str, ids: Vec<ObjectId>) -> Self {
        let mut by_name: HashMap<_, Vec<_>> = HashMap::with_capacity(ids.len());
        for id in ids {
            by_name.entry(Arc::clone(&id.name)).or_default().push(id);
        }
        Self { namespace, by_name }
    }

    fn find(&self, entry: &IndexEntry) -> Option<&ObjectId> {
        let key = &entry.key;
        self.by_name.get(key.name.as_str())?.iter().find(|id| {
            id.is(key.group(), &key.kind)
                && match (&*id.namespace, key.namespace.as_str()) {
                    ("", _) => true,
                    (namespace, "") => namespace == self.namespace,
                    (namespace, named) => namespace == named,
                }
        })
    }
}

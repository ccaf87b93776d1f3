//! Deletes what is not wanted any more, or lets go of it. An object is deleted
//! only while it is the one that we applied: the label must name our
//! Assignment in the very version that the delete names as its precondition.

use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::Instant;

use super::backoff::{backoff, moment};
use super::refusal::explain;
use super::send::{NEVER, PARALLEL, StepError};
use crate::caps::Caps;
use crate::cluster::{ASSIGNMENT_LABEL, ApiError, Cluster, Deleted, GroupKind, Meta, Resource};
use crate::health::{Subject, judge};
use crate::inventory::registry::{Elsewhere, Registry, Shared};
use crate::inventory::{Item, News, ObjectId, Presence};

/// Tries against an object that changes while we look at it.
const TRIES: u32 = 5;
/// How long to leave an object that another Assignment is about to take.
const HAND_OVER: Duration = Duration::from_millis(300);

/// What removing needs to know.
#[derive(Clone, Copy)]
pub struct Remover<'a> {
    pub cluster: &'a Cluster,
    pub registry: &'a Registry,
    pub caps: &'a Caps,
    pub shared: &'a Shared,
    pub assignment: &'a str,
}

enum Act {
    Delete,
    /// Why it is not deleted.
    Release(String),
}

/// How one object stands after an attempt to remove it.
enum Outcome {
    /// Gone, or not ours.
    Done,
    /// It was left where it is, for this reason.
    Left(String),
    /// It goes when its finalizers are done.
    Going(Meta),
    /// Another Assignment takes it over in a moment.
    Awaited,
    /// The cluster's owner does not allow it.
    Refused(String),
}

impl Remover<'_> {
    /// Deletes `ids`, and says which were left where they are.
    ///
    /// # Errors
    /// [`StepError`], where it is no use to try the others.
    pub async fn delete(self, ids: Vec<ObjectId>) -> Result<Vec<String>, StepError> {
        let deleted = ids.into_iter().map(|id| (id, Act::Delete));
        self.each(deleted.collect()).await
    }

    /// Takes our label off `ids` and forgets them. They stay as they are, each
    /// for the reason given.
    ///
    /// # Errors
    /// [`StepError`], where it is no use to try the others.
    pub async fn release(self, ids: Vec<(ObjectId, String)>) -> Result<Vec<String>, StepError> {
        let released = ids.into_iter().map(|(id, why)| (id, Act::Release(why)));
        self.each(released.collect()).await
    }

    async fn each(self, ids: Vec<(ObjectId, Act)>) -> Result<Vec<String>, StepError> {
        let mut left = Vec::new();
        let mut outcomes = futures::stream::iter(ids)
            .map(|(id, act)| async move {
                let api_version = self.api_version(&id);
                let outcome = match act {
                    Act::Delete => self.delete_one(&id, &api_version).await,
                    Act::Release(why) => self.release_one(&id, &api_version, why).await,
                };
                (id, api_version, outcome)
            })
            .buffer_unordered(PARALLEL);
        while let Some((id, api_version, outcome)) = outcomes.next().await {
            let mut inventory = self.shared.inventory.lock();
            match outcome {
                Ok(Outcome::Done) => inventory.forget(&id),
                Ok(Outcome::Left(why)) => {
                    left.push(format!("{}: {why}", id.say(&api_version)));
                    inventory.forget(&id);
                }
                Ok(Outcome::Going(meta)) => {
                    if let Some(item) = inventory.get_mut(&id) {
                        note_going(&id, item, &meta);
                    }
                }
                Ok(Outcome::Awaited) => {
                    if let Some(item) = inventory.get_mut(&id) {
                        item.care.get_or_insert_default().not_before =
                            Some(Instant::now() + HAND_OVER);
                    }
                }
                Ok(Outcome::Refused(words)) => {
                    if let Some(item) = inventory.get_mut(&id) {
                        let words = format!("cannot be removed: {words}");
                        item.failed(&words, Instant::now() + NEVER);
                    }
                }
                Err(error) if error.is_about_the_server() => return Err(error.into()),
                Err(error) => {
                    if let Some(item) = inventory.get_mut(&id) {
                        let wait = backoff(item.attempts(), error.retry_after());
                        let words = explain(&error, &id, self.cluster.account());
                        let words = format!("cannot be removed: {words}");
                        item.failed(&words, Instant::now() + wait);
                    }
                }
            }
        }
        Ok(left)
    }

    fn api_version(self, id: &ObjectId) -> String {
        let inventory = self.shared.inventory.lock();
        inventory
            .get(id)
            .map(|item| item.api_version.to_string())
            .unwrap_or_default()
    }

    /// Another Assignment has it, or is about to.
    fn taken(self, id: &ObjectId) -> Option<Outcome> {
        match self.registry.elsewhere(self.assignment, id) {
            Elsewhere::Nobody => None,
            Elsewhere::Held(_) => Some(Outcome::Done),
            Elsewhere::Awaited(by) => {
                if let Some(contender) = self.registry.get(&by) {
                    contender.urgent.notify_one();
                }
                Some(Outcome::Awaited)
            }
        }
    }

    async fn delete_one(self, id: &ObjectId, api_version: &str) -> Result<Outcome, ApiError> {
        if let Some(outcome) = self.taken(id) {
            return Ok(outcome);
        }
        let Some(path) = self.path(id, api_version).await? else {
            return Ok(Outcome::Done);
        };
        let mut tries = 0;
        loop {
            let Some(meta) = self.cluster.meta(&path).await? else {
                return Ok(Outcome::Done);
            };
            if !meta.is_of(self.assignment) {
                return Ok(self.not_ours(id, &meta));
            }
            if let Some(words) = self.caps.refuses(self.assignment, id) {
                return Ok(Outcome::Refused(words));
            }
            if meta.is_deleting() {
                return Ok(Outcome::Going(meta));
            }
            tries += 1;
            match self.cluster.delete(&path, &meta).await {
                Ok(Deleted::Gone) => {
                    self.cluster.metrics().pruned.inc();
                    return Ok(Outcome::Done);
                }
                // Read again: it tells which finalizers hold it.
                Ok(Deleted::Going) => {}
                Ok(Deleted::Changed) if tries < TRIES => {
                    tokio::time::sleep(moment(tries, None)).await;
                }
                Ok(Deleted::Changed) => {
                    return Err(ApiError::Malformed(
                        "it changes faster than it can be deleted".into(),
                    ));
                }
                Err(error) if error.is_transient() && tries < TRIES => {
                    tokio::time::sleep(moment(tries, error.retry_after())).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn release_one(
        self,
        id: &ObjectId,
        api_version: &str,
        why: String,
    ) -> Result<Outcome, ApiError> {
        if let Some(outcome) = self.taken(id) {
            return Ok(outcome);
        }
        let Some(path) = self.path(id, api_version).await? else {
            return Ok(Outcome::Done);
        };
        let Some(meta) = self.cluster.meta(&path).await? else {
            return Ok(Outcome::Done);
        };
        if !meta.is_of(self.assignment) {
            return Ok(self.not_ours(id, &meta));
        }
        if let Some(words) = self.caps.refuses(self.assignment, id) {
            return Ok(Outcome::Left(format!(
                "left in place, labelled as it is: {words}"
            )));
        }
        let patch = serde_json::json!({"metadata": {
            "labels": {ASSIGNMENT_LABEL: null},
            "resourceVersion": meta.resource_version,
        }});
        match self.cluster.merge(&path, &patch).await {
            Ok(_) => Ok(Outcome::Left(why)),
            Err(error) if error.is_not_found() => Ok(Outcome::Done),
            Err(error) => Err(error),
        }
    }

    /// What never was ours is nothing to speak of.
    fn not_ours(self, id: &ObjectId, meta: &Meta) -> Outcome {
        let inventory = self.shared.inventory.lock();
        if inventory.get(id).is_none_or(|item| !item.ours) {
            return Outcome::Done;
        }
        Outcome::Left(match &meta.labels.assignment {
            Some(other) => format!("left alone, it is labelled for assignment {other} now"),
            None => format!("left alone, it no longer carries label {ASSIGNMENT_LABEL}"),
        })
    }

    /// Where the object is; none where its kind is served no more, so that it
    /// cannot be there either.
    async fn path(self, id: &ObjectId, api_version: &str) -> Result<Option<String>, ApiError> {
        let asked = Instant::now();
        let find = |kinds: &crate::cluster::KindMap| {
            kinds
                .exact(api_version, &id.kind.kind)
                .or_else(|| kinds.preferred(&id.kind.group, &id.kind.kind))
                .map(|resource: std::sync::Arc<Resource>| resource.object(&id.namespace, &id.name))
        };
        if let Some(path) = find(&self.cluster.kinds()) {
            return Ok(Some(path));
        }
        let kinds = self.cluster.discover(asked).await?;
        if let Some(path) = find(&kinds) {
            return Ok(Some(path));
        }
        if self.is_served_elsewhere(&id.kind, api_version).await? {
            return Err(ApiError::Malformed(format!(
                "the server behind APIService {} does not answer",
                id.kind.group
            )));
        }
        Ok(None)
    }

    /// The kind is missing only because its aggregated API server is away.
    async fn is_served_elsewhere(
        self,
        kind: &GroupKind,
        api_version: &str,
    ) -> Result<bool, ApiError> {
        let version = api_version.rsplit('/').next().unwrap_or(api_version);
        let path = format!(
            "/apis/apiregistration.k8s.io/v1/apiservices/{version}.{}",
            kind.group
        );
        let service = self.cluster.get(&path).await?;
        Ok(service.is_some_and(|s| s.pointer("/spec/service").is_some_and(|s| !s.is_null())))
    }
}

/// It is on its way: news of its end will come, but look again all the same.
fn note_going(id: &ObjectId, item: &mut Item, meta: &Meta) {
    hear_going(id, item, meta);
    let care = item.care.get_or_insert_default();
    care.failure = None;
    care.attempts = care.attempts.saturating_add(1);
    care.not_before = Some(Instant::now() + backoff(care.attempts + 1, None));
}

/// Notes what holds it, as a watch would say it.
pub(super) fn hear_going(id: &ObjectId, item: &mut Item, meta: &Meta) {
    let subject = Subject {
        metadata: crate::health::Metadata {
            deletion_timestamp: meta.deletion_timestamp.clone(),
            finalizers: meta.finalizers.clone(),
            ..crate::health::Metadata::default()
        },
        ..Subject::default()
    };
    let judgement = judge(&id.kind.group, &id.kind.kind, &subject);
    if item.presence != Presence::Going
        || item.health == lockstep_proto::v1::health::Status::Unknown
    {
        item.hear(News::There {
            version: meta.version(),
            owned: meta.owned(),
            going: true,
            judgement,
        });
    }
}

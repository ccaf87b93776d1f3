//! Runs hooks. A hook's object is marked with the target that it runs for, so
//! that a run is found again whatever became of the agent that began it; an
//! earlier one is deleted first where the hook asks for that.

use futures::{StreamExt as _, TryStreamExt as _};
use lockstep_proto::Digest;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::backoff::{backoff, moment};
use super::newcomers::Newcomers;
use super::next::is_run_to_its_end;
use super::send::{Loaded, PARALLEL, Sender, StepError, load};
use crate::bundle::BundleFile;
use crate::cluster::{ApiError, Deleted, Meta, Resource};
use crate::inventory::{News, ObjectId, Presence, Run};

/// On a hook's object: the digest of the Bundle that it runs for.
pub const MARK: &str = "lockstep.dev/hook-run";
/// Tries against an object that changes while we look at it.
const TRIES: u32 = 5;

/// What stands where a hook is to be run.
enum Found {
    /// Nothing, or what the hook may be applied over.
    Free,
    /// The run that we wanted to begin.
    Runs,
    /// An earlier one, which goes when its finalizers are done.
    Going,
}

impl Sender<'_> {
    /// Begins hooks `ids`, or finds that they were begun.
    ///
    /// # Errors
    /// [`StepError`], where it is no use to try the others.
    pub async fn run(self, file: &BundleFile, ids: Vec<ObjectId>) -> Result<(), StepError> {
        load(file, self.target, ids)
            .map(|loaded| async move { self.run_one(loaded?).await })
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await
    }

    async fn run_one(self, loaded: Loaded) -> Result<(), StepError> {
        let id = loaded.id.clone();
        let found = match self.resource(&loaded.entry).await? {
            Ok(resource) => self.make_room(&id, &resource).await,
            Err(words) => Err(ApiError::Malformed(words)),
        };
        match found {
            Ok(Found::Going) => return Ok(()),
            Ok(Found::Runs) => {}
            Ok(Found::Free) => {
                match marked(&loaded.json, self.target.digest) {
                    Ok(json) => {
                        let json = json.into();
                        let newcomers = Newcomers::default();
                        self.send_one(Loaded { json, ..loaded }, &newcomers).await?;
                    }
                    Err(words) => self.note(&id, &ApiError::Malformed(words)),
                }
                let inventory = self.shared.inventory.lock();
                let sent = inventory.get(&id).is_some_and(|item| {
                    item.failure().is_none() && item.presence == Presence::Present
                });
                if !sent {
                    return Ok(());
                }
            }
            Err(error) if error.is_about_the_server() => return Err(error.into()),
            Err(error) => {
                self.note(&id, &error);
                return Ok(());
            }
        }
        let run = Run::begun(self.target.digest);
        self.shared.inventory.lock().ran(&id, run);
        Ok(())
    }

    /// Looks at what stands where `id` is to be, and takes it away where that
    /// is an earlier run.
    async fn make_room(self, id: &ObjectId, resource: &Resource) -> Result<Found, ApiError> {
        let path = resource.object(&id.namespace, &id.name);
        let delete_first = {
            let inventory = self.shared.inventory.lock();
            let hook = inventory.get(id).and_then(|item| item.hook());
            // A Job that is done does not run again, whatever is applied to it.
            is_run_to_its_end(id) || hook.is_some_and(|(_, delete)| delete.before_creation)
        };
        let mut tries = 0;
        loop {
            let Some(live) = self.cluster.get(&path).await? else {
                return Ok(Found::Free);
            };
            let meta: Meta = serde_json::from_str(&live["metadata"].to_string())
                .map_err(|error| ApiError::Malformed(error.to_string()))?;
            if !meta.is_of(self.assignment) {
                // Whose it is, and whether it may be taken, is asked of all
                // that is sent.
                return Ok(Found::Free);
            }
            if meta.is_deleting() {
                self.saw(id, &meta);
                return Ok(Found::Going);
            }
            let mark = live["metadata"]["annotations"][MARK].as_str();
            if mark == Some(&self.target.digest.to_string()) {
                self.saw(id, &meta);
                return Ok(Found::Runs);
            }
            if !delete_first {
                return Ok(Found::Free);
            }
            tries += 1;
            match self.cluster.delete(&path, &meta).await? {
                Deleted::Gone => return Ok(Found::Free),
                // Read again: it tells how long it goes on.
                Deleted::Going => {}
                Deleted::Changed if tries < TRIES => {
                    tokio::time::sleep(moment(tries, None)).await;
                }
                Deleted::Changed => {
                    return Err(ApiError::Malformed(
                        "the earlier run changes faster than it can be deleted".into(),
                    ));
                }
            }
        }
    }

    fn saw(self, id: &ObjectId, meta: &Meta) {
        let mut inventory = self.shared.inventory.lock();
        if let Some(item) = inventory.get_mut(id) {
            item.seen(meta.version(), meta.owned(), meta.is_deleting());
        }
    }

    /// Deletes the objects of hooks that have ended. They stay known.
    ///
    /// # Errors
    /// [`StepError`], where it is no use to try the others.
    pub async fn clear(self, ids: Vec<ObjectId>) -> Result<(), StepError> {
        futures::stream::iter(ids)
            .map(|id| async move {
                match self.clear_one(&id).await {
                    Err(error) if error.is_about_the_server() => Err(error.into()),
                    Err(error) => {
                        let mut inventory = self.shared.inventory.lock();
                        if let Some(item) = inventory.get_mut(&id) {
                            let wait = backoff(item.attempts(), error.retry_after());
                            let words = format!("cannot be deleted after its run: {error}");
                            item.failed(&words, Instant::now() + wait);
                        }
                        Ok(())
                    }
                    Ok(()) => Ok(()),
                }
            })
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await
    }

    async fn clear_one(self, id: &ObjectId) -> Result<(), ApiError> {
        let api_version = {
            let inventory = self.shared.inventory.lock();
            inventory.get(id).map(|item| item.api_version.clone())
        };
        let kinds = self.cluster.kinds();
        let resource = api_version.and_then(|version| kinds.exact(&version, &id.kind.kind));
        let resource = resource.or_else(|| kinds.preferred(&id.kind.group, &id.kind.kind));
        let Some(resource) = resource else {
            // With the kind went every object of it.
            self.gone(id, 0);
            return Ok(());
        };
        let path = resource.object(&id.namespace, &id.name);
        let mut tries = 0;
        loop {
            let Some(meta) = self.cluster.meta(&path).await? else {
                self.gone(id, 0);
                return Ok(());
            };
            if !meta.is_of(self.assignment) {
                self.gone(id, meta.version());
                return Ok(());
            }
            if meta.is_deleting() {
                self.saw(id, &meta);
                return Ok(());
            }
            tries += 1;
            match self.cluster.delete(&path, &meta).await? {
                Deleted::Gone => {
                    self.gone(id, meta.version());
                    return Ok(());
                }
                Deleted::Going => {}
                Deleted::Changed if tries < TRIES => {
                    tokio::time::sleep(moment(tries, None)).await;
                }
                Deleted::Changed => {
                    return Err(ApiError::Malformed(
                        "it changes faster than it can be deleted".into(),
                    ));
                }
            }
        }
    }

    /// It is gone, as of `version` at least.
    fn gone(self, id: &ObjectId, version: u64) {
        let mut inventory = self.shared.inventory.lock();
        if let Some(item) = inventory.get_mut(id) {
            let version = version.max(item.version);
            item.hear(News::Gone { version });
            item.care = None;
        }
    }
}

/// `object`, marked as the run for `target`.
///
/// # Errors
/// In words, where it is not an object with metadata.
fn marked(object: &[u8], target: Digest) -> Result<Vec<u8>, String> {
    let not_one = |error: serde_json::Error| format!("it is not a Kubernetes object: {error}");
    let mut object: Value = serde_json::from_slice(object).map_err(not_one)?;
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    let metadata = metadata.ok_or("it has no metadata")?;
    let annotations = metadata
        .entry("annotations")
        .or_insert_with(|| Value::Object(Map::new()));
    annotations
        .as_object_mut()
        .ok_or("metadata.annotations is not a map")?
        .insert(MARK.into(), target.to_string().into());
    serde_json::to_vec(&object).map_err(not_one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_run_is_marked_with_its_target_and_nothing_else_changes() {
        let object = json!({"kind": "Job", "spec": {"x": 1},
            "metadata": {"name": "migrate", "annotations": {"lockstep.dev/hook": "PreSync"}}});
        let target = Digest::of(b"target");
        let mut marked: Value =
            serde_json::from_slice(&marked(object.to_string().as_bytes(), target).unwrap())
                .unwrap();
        let annotations = marked["metadata"]["annotations"].as_object_mut().unwrap();
        assert_eq!(annotations.remove(MARK), Some(json!(target.to_string())));
        assert_eq!(marked, object);
    }
}

//! Is it drift? A forced dry run of what we applied tells: where it would
//! change nothing, the object holds what we want of it, whoever wrote it last.

use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;
use tokio::time::Instant;

use super::backoff::backoff;
use super::body::body;
use super::send::{Loaded, PARALLEL, Sender, StepError, load};
use crate::bundle::BundleFile;
use crate::cluster::{ApiError, Meta};
use crate::inventory::{News, ObjectId, Presence};

/// What the server may change without anybody wanting it to.
const SERVERS: &[&str] = &["managedFields", "resourceVersion", "generation"];

impl Sender<'_> {
    /// Finds out which of `ids` differ from what we applied.
    ///
    /// # Errors
    /// [`StepError`], where it is no use to try the others.
    pub async fn prove(self, file: &BundleFile, ids: Vec<ObjectId>) -> Result<(), StepError> {
        load(file, self.target, ids)
            .map(|loaded| async move {
                let loaded = loaded?;
                let id = loaded.id.clone();
                match self.prove_one(loaded).await {
                    Err(error) if error.is_about_the_server() => Err(error.into()),
                    Err(error) => {
                        let mut inventory = self.shared.inventory.lock();
                        if let Some(item) = inventory.get_mut(&id) {
                            let wait = backoff(item.attempts(), error.retry_after());
                            let words = format!("cannot tell whether it drifted: {error}");
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

    async fn prove_one(self, loaded: Loaded) -> Result<(), ApiError> {
        let Loaded { id, entry, json } = loaded;
        let key = &entry.key;
        let Some(resource) = self.cluster.kinds().exact(&key.api_version, &key.kind) else {
            return Err(ApiError::Malformed(format!(
                "{} is no longer served",
                key.api_version
            )));
        };
        let namespace = resource.namespaced.then_some(&*id.namespace);
        let body = body(&json, namespace, self.assignment).map_err(ApiError::Malformed)?;
        let path = resource.object(&id.namespace, &id.name);
        let Some(live) = self.cluster.get(&path).await? else {
            if let Some(item) = self.shared.inventory.lock().get_mut(&id) {
                let version = item.version;
                item.hear(News::Gone { version });
            }
            return Ok(());
        };
        let meta = meta(&live)?;
        // A server that refuses the dry run would refuse the apply as well, or
        // cannot do dry runs (webhooks with side effects): applying tells.
        let drifted = match self.cluster.dry_run(&path, body).await {
            Ok(applied) => differ(&live, &applied),
            Err(error) if error.is_invalid() || error.is_forbidden() => true,
            Err(error) => return Err(error),
        };
        let mut inventory = self.shared.inventory.lock();
        let Some(item) = inventory.get_mut(&id) else {
            return Ok(());
        };
        if drifted {
            item.drifted = true;
            let by = meta.last_other_manager().map(Into::into);
            item.care.get_or_insert_default().by = by;
        } else if let Some(applied) = item.applied
            && item.presence == Presence::Present
        {
            let owned = meta.owned();
            item.seen_owned = owned;
            inventory.confirm(&id, applied, owned);
        }
        Ok(())
    }
}

fn meta(object: &Value) -> Result<Meta, ApiError> {
    serde_json::from_str(&object["metadata"].to_string())
        .map_err(|error| ApiError::Malformed(error.to_string()))
}

/// Whether two states of an object differ in what somebody can want of it.
fn differ(live: &Value, applied: &Value) -> bool {
    let strip = |object: &Value| {
        let mut object = object.clone();
        if let Some(parts) = object.as_object_mut() {
            parts.remove("status");
        }
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in SERVERS {
                metadata.remove(*field);
            }
        }
        object
    };
    strip(live) != strip(applied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn status_and_bookkeeping_are_not_drift() {
        let live = json!({
            "metadata": {"name": "web", "generation": 3, "resourceVersion": "9", "managedFields": [1]},
            "spec": {"replicas": 3}, "status": {"replicas": 1}});
        let applied = json!({
            "metadata": {"name": "web", "generation": 4, "resourceVersion": "9", "managedFields": []},
            "spec": {"replicas": 3}, "status": {}});
        assert!(!differ(&live, &applied));
        let scaled = json!({"metadata": {"name": "web"}, "spec": {"replicas": 1}});
        assert!(differ(&scaled, &applied));
        let relabelled =
            json!({"metadata": {"name": "web", "labels": {"a": "b"}}, "spec": {"replicas": 3}});
        assert!(differ(&relabelled, &applied));
    }
}

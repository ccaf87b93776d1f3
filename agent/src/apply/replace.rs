//! Deletes what has to change and cannot, where the object asks for that, so
//! that it is made anew. The Inventory lists it as not confirmed all the
//! while: a crash between the two leaves an object that is missing, and put
//! back like any other.

use bytes::Bytes;
use lockstep_proto::traits::Traits;
use lockstep_proto::v1::object_event::Type;
use serde_json::Value;

use super::backoff::moment;
use super::refusal::{cannot_change, listed, narrowed};
use super::removal::hear_going;
use super::send::Sender;
use crate::cluster::{ApiError, Deleted, Meta, Propagation};
use crate::inventory::ObjectId;

/// Tries against an object that changes while we look at it.
const TRIES: u32 = 5;

/// How an object stands that refused a change for good.
pub(super) enum Room {
    /// It is gone: there is room for it anew.
    Made,
    /// It goes when its finalizers are done; news of that will come.
    Going,
    /// It stays, for this reason.
    Stays(String),
}

/// How `id` is deleted to be made anew. Pods of a StatefulSet have the names
/// that the next one wants to give: they have to go with it.
fn propagation(id: &ObjectId) -> Propagation {
    if id.is("apps", "StatefulSet") {
        Propagation::Foreground
    } else {
        Propagation::Background
    }
}

impl Sender<'_> {
    /// Takes away the object at `path`, whose `fields` cannot become what
    /// `body` says, if it asks for that.
    ///
    /// # Errors
    /// [`ApiError`] of looking at it or deleting it.
    pub(super) async fn make_way(
        self,
        id: &ObjectId,
        path: &str,
        body: &Bytes,
        (error, fields): (&ApiError, &[String]),
    ) -> Result<Room, ApiError> {
        let traits = Traits::of_json(body).unwrap_or_default();
        let mut tries = 0;
        loop {
            let Some(live) = self.cluster.get(path).await? else {
                return Ok(Room::Made);
            };
            let wanted: Value = serde_json::from_slice(body).unwrap_or_default();
            let fields = narrowed(error, fields, &wanted, &live);
            let meta: Meta = serde_json::from_str(&live["metadata"].to_string())
                .map_err(|error| ApiError::Malformed(error.to_string()))?;
            if !traits.replace {
                return Ok(Room::Stays(cannot_change(&fields)));
            }
            if !meta.is_of(self.assignment) {
                return Ok(Room::Stays(format!(
                    "{} cannot be changed once the object exists, and it was not applied by this \
                     assignment, so that it is not deleted either: delete it yourself",
                    listed(&fields)
                )));
            }
            if !meta.is_deleting() {
                tries += 1;
                let how = propagation(id);
                match self.cluster.delete_by(path, &meta, how).await? {
                    Deleted::Changed if tries < TRIES => {
                        tokio::time::sleep(moment(tries, None)).await;
                        continue;
                    }
                    Deleted::Changed => {
                        return Err(ApiError::Malformed(
                            "it changes faster than it can be deleted".into(),
                        ));
                    }
                    deleted => {
                        let words = format!("{} cannot be changed", listed(&fields));
                        self.record(Type::Replaced, id, fields, words);
                        if deleted == Deleted::Gone {
                            return Ok(Room::Made);
                        }
                        // Read again: it tells which finalizers hold it.
                        continue;
                    }
                }
            }
            if let Some(item) = self.shared.inventory.lock().get_mut(id) {
                hear_going(id, item, &meta);
                item.care = None;
            }
            return Ok(Room::Going);
        }
    }
}

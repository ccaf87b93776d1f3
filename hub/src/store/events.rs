//! What happened to objects on clusters, for the history: the newest of each
//! assignment on each cluster.

use std::collections::BTreeSet;

use lockstep_proto::{ClusterName, v1};
use prost::Message as _;
use rusqlite::params;

use super::rows::signed;
use super::{StoreError, Tx};

/// Of one assignment on one cluster.
const KEPT: usize = 200;

impl Tx<'_> {
    /// Stores what is not stored yet of `events`, each with the time in
    /// milliseconds since the epoch that it is sorted by. What is said of an
    /// assignment that the cluster never had is dropped.
    pub fn put_object_events(
        &self,
        events: &[(ClusterName, v1::ObjectEvent, i64)],
    ) -> Result<(), StoreError> {
        let mut known = self.0.prepare_cached(
            "SELECT 1 FROM desired WHERE cluster = ?1 AND assignment = ?2
             UNION ALL SELECT 1 FROM history WHERE cluster = ?1 AND assignment = ?2",
        )?;
        let mut insert = self.0.prepare_cached(
            "INSERT OR IGNORE INTO object_events (cluster, id, assignment, at, body)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        let mut touched = BTreeSet::new();
        for (cluster, event, at) in events {
            let place = (cluster.as_str(), event.assignment.as_str());
            if !touched.contains(&place) {
                if !known.exists([place.0, place.1])? {
                    continue;
                }
                touched.insert(place);
            }
            insert.execute(params![
                place.0,
                signed(event.id),
                place.1,
                at,
                event.encode_to_vec()
            ])?;
        }
        let mut trim = self.0.prepare_cached(
            "DELETE FROM object_events WHERE cluster = ?1 AND id IN
               (SELECT id FROM object_events WHERE assignment = ?2 AND cluster = ?1
                ORDER BY id DESC LIMIT -1 OFFSET ?3)",
        )?;
        for (cluster, assignment) in touched {
            trim.execute(params![cluster, assignment, signed(KEPT as u64)])?;
        }
        Ok(())
    }
}

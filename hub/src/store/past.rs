//! Reading the history: in pages, newest first, with what happened to objects
//! between the revisions; and letting go of that of what is gone.

use lockstep_proto::v1::history_entry::Cause;
use lockstep_proto::{Digest, v1};
use prost::Message as _;
use rusqlite::{Row, params};

use super::{Store, StoreError, Tx, timestamp};

/// A page ends when it is larger than this: clients take messages of 4 MiB.
const PAGE_BYTES: usize = 3 << 20;
/// Assignments and clusters whose history one transaction removes.
const BATCH: usize = 256;

/// Where an entry stands: newest first is the largest first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HistoryAt {
    /// Milliseconds since the epoch.
    pub at: i64,
    pub cluster: String,
    /// What happened to an object comes after the revision that brought it.
    pub is_event: bool,
    pub number: i64,
}

/// Entries, newest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HistoryPage {
    pub items: Vec<v1::HistoryEntry>,
    /// The last item, where there are more.
    pub next: Option<HistoryAt>,
}

/// A revision that an assignment had somewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct PastRevision {
    pub revision: String,
    pub digest: Digest,
    pub commit: Option<v1::CommitInfo>,
    /// It was applied completely on some cluster.
    pub synced: bool,
}

impl Tx<'_> {
    /// Assignments on clusters of which one is gone, and long ago.
    fn history_of_the_gone(&self, before: i64) -> Result<Vec<(String, String)>, StoreError> {
        let kind = |kind: v1::kind::Name| kind as i32;
        let mut statement = self.0.prepare(
            "SELECT assignment, cluster FROM
               (SELECT assignment, cluster, max(at, coalesce(ended_at, at)) AS at FROM history
                UNION ALL SELECT assignment, cluster, at FROM object_events)
             WHERE NOT EXISTS (SELECT 1 FROM resources WHERE kind = ?1 AND name = assignment)
                OR NOT EXISTS (SELECT 1 FROM resources WHERE kind = ?2 AND name = cluster)
             GROUP BY assignment, cluster HAVING max(at) < ?3",
        )?;
        let rows = statement.query_map(
            params![
                kind(v1::kind::Name::Assignment),
                kind(v1::kind::Name::Cluster),
                before
            ],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn drop_history(&self, assignment: &str, cluster: &str) -> Result<u64, StoreError> {
        let mut removed = 0;
        for sql in [
            "DELETE FROM history WHERE assignment = ?1 AND cluster = ?2",
            "DELETE FROM object_events WHERE assignment = ?1 AND cluster = ?2",
        ] {
            removed += self.0.prepare_cached(sql)?.execute([assignment, cluster])? as u64;
        }
        Ok(removed)
    }

    fn revisions(
        &self,
        assignment: &str,
        after: Option<&HistoryAt>,
        cluster: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(HistoryAt, v1::HistoryEntry)>, StoreError> {
        let before = Before::of(after, false);
        let of_cluster = if cluster.is_some() {
            "AND cluster = ?6"
        } else {
            "AND ?6 IS NULL"
        };
        let mut statement = self.0.prepare_cached(&format!(
            "SELECT at, cluster, seq, cause, asked_by, revision, commit_info, digest, sync, health,
               message, synced_at, ended_at
             FROM history WHERE assignment = ?1 AND (at, cluster, seq) < (?2, ?3, ?4) {of_cluster}
             ORDER BY at DESC, cluster DESC, seq DESC LIMIT ?5"
        ))?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![
            assignment,
            before.at,
            before.cluster,
            before.number,
            limit,
            cluster
        ])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(revision(row)?);
        }
        Ok(found)
    }

    fn object_events(
        &self,
        assignment: &str,
        after: Option<&HistoryAt>,
        cluster: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(HistoryAt, v1::HistoryEntry)>, StoreError> {
        let before = Before::of(after, true);
        let of_cluster = if cluster.is_some() {
            "AND cluster = ?6"
        } else {
            "AND ?6 IS NULL"
        };
        let mut statement = self.0.prepare_cached(&format!(
            "SELECT at, cluster, id, body FROM object_events
             WHERE assignment = ?1 AND (at, cluster, id) < (?2, ?3, ?4) {of_cluster}
             ORDER BY at DESC, cluster DESC, id DESC LIMIT ?5"
        ))?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![
            assignment,
            before.at,
            before.cluster,
            before.number,
            limit,
            cluster
        ])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(event(row)?);
        }
        Ok(found)
    }
}

impl Store {
    /// The history of an assignment, on one cluster or all, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn history(
        &self,
        assignment: String,
        cluster: Option<String>,
        after: Option<HistoryAt>,
        limit: usize,
    ) -> Result<HistoryPage, StoreError> {
        self.read(move |tx| {
            let (after, cluster) = (after.as_ref(), cluster.as_deref());
            let mut all = tx.revisions(&assignment, after, cluster, limit + 1)?;
            all.extend(tx.object_events(&assignment, after, cluster, limit + 1)?);
            all.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
            let mut bytes = 0;
            let fits = all.iter().take(limit).take_while(|(_, entry)| {
                let fits = bytes < PAGE_BYTES;
                bytes += entry.encoded_len();
                fits
            });
            let fits = fits.count();
            let more = all.len() > fits;
            all.truncate(fits);
            let next = all.last().filter(|_| more).map(|(at, _)| at.clone());
            let items = all.into_iter().map(|(_, entry)| entry).collect();
            Ok(HistoryPage { items, next })
        })
        .await
    }

    /// Removes the history of assignments and clusters that do not exist any
    /// more, where it ended before `before` (milliseconds since the epoch).
    ///
    /// # Errors
    /// [`StoreError`]; what was removed until then stays removed.
    pub async fn collect_history(&self, before: i64) -> Result<u64, StoreError> {
        let gone = self.read(move |tx| tx.history_of_the_gone(before)).await?;
        let mut removed = 0;
        for part in gone.chunks(BATCH) {
            let part = part.to_vec();
            removed += self
                .write(move |tx| {
                    let mut removed = 0;
                    for (assignment, cluster) in &part {
                        removed += tx.drop_history(assignment, cluster)?;
                    }
                    Ok(removed)
                })
                .await?;
        }
        Ok(removed)
    }

    /// The revisions that an assignment had, by when each first came, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn past_revisions(
        &self,
        assignment: String,
    ) -> Result<Vec<PastRevision>, StoreError> {
        self.read(move |tx| {
            let mut statement = tx.0.prepare_cached(
                "SELECT revision, digest, commit_info, max(synced_at IS NOT NULL)
                 FROM history WHERE assignment = ?1 AND cause <> ?2
                 GROUP BY revision, digest ORDER BY min(at), max(seq)",
            )?;
            let mut rows = statement.query(params![assignment, Cause::Leave as i32])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(PastRevision {
                    revision: row.get(0)?,
                    digest: Digest(row.get(1)?),
                    commit: commit(row, 2)?,
                    synced: row.get(3)?,
                });
            }
            Ok(found)
        })
        .await
    }
}

/// What a page stops before.
struct Before {
    at: i64,
    cluster: String,
    number: i64,
}

impl Before {
    fn of(after: Option<&HistoryAt>, events: bool) -> Self {
        let Some(after) = after else {
            return Self {
                at: i64::MAX,
                cluster: String::new(),
                number: 0,
            };
        };
        Self {
            at: after.at,
            cluster: after.cluster.clone(),
            number: match (after.is_event, events) {
                (true, false) => i64::MAX,
                (false, true) => i64::MIN,
                _ => after.number,
            },
        }
    }
}

fn revision(row: &Row<'_>) -> Result<(HistoryAt, v1::HistoryEntry), StoreError> {
    let place = HistoryAt {
        at: row.get(0)?,
        cluster: row.get(1)?,
        is_event: false,
        number: row.get(2)?,
    };
    let entry = v1::HistoryEntry {
        at: Some(timestamp(place.at)),
        cluster: place.cluster.clone(),
        cause: row.get(3)?,
        by: row.get(4)?,
        revision: row.get(5)?,
        commit: commit(row, 6)?,
        digest: Digest(row.get(7)?).to_string(),
        sync: row.get(8)?,
        health: row.get(9)?,
        message: row.get(10)?,
        synced_at: row.get::<_, Option<i64>>(11)?.map(timestamp),
        ended_at: row.get::<_, Option<i64>>(12)?.map(timestamp),
        event: None,
    };
    Ok((place, entry))
}

fn event(row: &Row<'_>) -> Result<(HistoryAt, v1::HistoryEntry), StoreError> {
    let place = HistoryAt {
        at: row.get(0)?,
        cluster: row.get(1)?,
        is_event: true,
        number: row.get(2)?,
    };
    let body: Vec<u8> = row.get(3)?;
    let event = v1::ObjectEvent::decode(&body[..])
        .map_err(|error| StoreError::corrupt("object event", error))?;
    let entry = v1::HistoryEntry {
        at: Some(timestamp(place.at)),
        cluster: place.cluster.clone(),
        cause: Cause::Object.into(),
        revision: event.revision.clone(),
        message: event.message.clone(),
        event: Some(event),
        ..v1::HistoryEntry::default()
    };
    Ok((place, entry))
}

fn commit(row: &Row<'_>, column: usize) -> Result<Option<v1::CommitInfo>, StoreError> {
    match row.get::<_, Vec<u8>>(column)?.as_slice() {
        [] => Ok(None),
        body => v1::CommitInfo::decode(body)
            .map(Some)
            .map_err(|error| StoreError::corrupt("commit", error)),
    }
}

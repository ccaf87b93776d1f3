//! The history: what each cluster was told to run of an assignment, who or
//! what asked for it, and how it went. Written with the desired rows that it
//! speaks of, and again when a report says something else of the last entry.

use lockstep_proto::desired::options_digest;
use lockstep_proto::v1::history_entry::Cause;
use lockstep_proto::v1::{self, sync};
use lockstep_proto::{ClusterName, Digest};
use prost::Message as _;
use rusqlite::{OptionalExtension as _, params};

use super::{Because, DesiredRow, StoreError, Tx, millis};

/// Entries of one assignment on one cluster.
const KEPT: i64 = 50;
/// Bundles that an assignment can go back to without rendering them again.
const KEPT_BUNDLES: i64 = 10;

/// The last entry of an assignment on a cluster.
struct Last {
    seq: i64,
    cause: i32,
    digest: Digest,
    options: i64,
    sync: i32,
    health: i32,
    message: String,
    synced: bool,
}

impl Tx<'_> {
    /// Begins an entry for what `row` says now, and ends the one before it.
    pub(super) fn begin_history(
        &self,
        row: &DesiredRow,
        because: &Because,
    ) -> Result<(), StoreError> {
        let (assignment, cluster) = (&*row.assignment, row.cluster.as_str());
        let last = self.last_history(assignment, cluster)?;
        let seq = last.map_or(0, |last| last.seq) + 1;
        self.0
            .prepare_cached(
                "UPDATE history SET ended_at = ?4
                 WHERE assignment = ?1 AND cluster = ?2 AND seq = ?3 AND ended_at IS NULL",
            )?
            .execute(params![assignment, cluster, seq - 1, because.at])?;
        let (cause, sync) = if row.tombstone {
            (Cause::Leave, sync::Status::Applying)
        } else {
            (because.cause, sync::Status::Unknown)
        };
        let commit = because.commit.as_ref();
        self.0
            .prepare_cached(
                "INSERT INTO history
                   (assignment, cluster, seq, at, cause, asked_by, revision, commit_info, digest,
                    options, sync, health)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?
            .execute(params![
                assignment,
                cluster,
                seq,
                because.at,
                cause as i32,
                because.by,
                row.revision,
                commit
                    .map(v1::CommitInfo::encode_to_vec)
                    .unwrap_or_default(),
                row.digest.0,
                stored_options(&row.options),
                sync as i32,
                v1::health::Status::Unknown as i32
            ])?;
        self.0
            .prepare_cached(
                "DELETE FROM history WHERE assignment = ?1 AND cluster = ?2 AND seq <= ?3",
            )?
            .execute(params![assignment, cluster, seq - KEPT])?;
        // The agent may have it already, and then it has nothing new to say.
        if let Some(report) = self.report(&row.cluster, assignment)? {
            self.tell_history(&row.cluster, &report)?;
        }
        Ok(())
    }

    /// What the last entry says is now wanted with other options.
    pub(super) fn reword_history(&self, row: &DesiredRow) -> Result<(), StoreError> {
        self.0
            .prepare_cached(
                "UPDATE history SET options = ?3 WHERE assignment = ?1 AND cluster = ?2 AND seq =
                   (SELECT max(seq) FROM history WHERE assignment = ?1 AND cluster = ?2)",
            )?
            .execute(params![
                row.assignment,
                row.cluster.as_str(),
                stored_options(&row.options)
            ])?;
        Ok(())
    }

    /// The removal that the last entry speaks of is done.
    pub(super) fn end_history(
        &self,
        cluster: &ClusterName,
        assignment: &str,
    ) -> Result<(), StoreError> {
        self.0
            .prepare_cached(
                "UPDATE history SET ended_at = ?3, synced_at = ?3, sync = ?5, message = ''
                 WHERE assignment = ?1 AND cluster = ?2 AND cause = ?4 AND ended_at IS NULL",
            )?
            .execute(params![
                assignment,
                cluster.as_str(),
                millis(std::time::SystemTime::now()),
                Cause::Leave as i32,
                sync::Status::Synced as i32
            ])?;
        Ok(())
    }

    /// Keeps the Bundle of what an assignment was told last, among the newest few.
    pub(super) fn keep_bundle(&self, assignment: &str, digest: &Digest) -> Result<(), StoreError> {
        self.0
            .prepare_cached(
                "INSERT OR REPLACE INTO history_bundles (assignment, digest, used)
                 SELECT ?1, ?2, coalesce(max(used), 0) + 1 FROM history_bundles
                 WHERE assignment = ?1",
            )?
            .execute(params![assignment, digest.0])?;
        self.0
            .prepare_cached(
                "DELETE FROM history_bundles WHERE assignment = ?1 AND digest NOT IN
                   (SELECT digest FROM history_bundles WHERE assignment = ?1
                    ORDER BY used DESC LIMIT ?2)",
            )?
            .execute(params![assignment, KEPT_BUNDLES])?;
        Ok(())
    }

    /// Takes what a report says into the last entry, if it is about it.
    pub(super) fn tell_history(
        &self,
        cluster: &ClusterName,
        report: &v1::Report,
    ) -> Result<(), StoreError> {
        let Some(last) = self.last_history(&report.assignment, cluster.as_str())? else {
            return Ok(());
        };
        if !last.is_spoken_of(report) {
            return Ok(());
        }
        let words = last.words(report);
        let (sync, health, message) = words;
        let arrives = sync == sync::Status::Synced as i32 && !last.synced;
        let changed = (last.sync, last.health, last.message.as_str()) != (sync, health, message);
        if !changed && !arrives {
            return Ok(());
        }
        let synced_at = arrives.then(|| {
            let seen = report.observed_at;
            seen.map_or_else(
                || millis(std::time::SystemTime::now()),
                |seen| seen.seconds * 1000 + i64::from(seen.nanos) / 1_000_000,
            )
        });
        self.0
            .prepare_cached(
                "UPDATE history SET sync = ?4, health = ?5, message = ?6,
                   synced_at = coalesce(synced_at, ?7)
                 WHERE assignment = ?1 AND cluster = ?2 AND seq = ?3",
            )?
            .execute(params![
                report.assignment,
                cluster.as_str(),
                last.seq,
                sync,
                health,
                message,
                synced_at
            ])?;
        Ok(())
    }

    fn last_history(&self, assignment: &str, cluster: &str) -> Result<Option<Last>, StoreError> {
        Ok(self
            .0
            .prepare_cached(
                "SELECT seq, cause, digest, options, sync, health, message, synced_at IS NOT NULL
                 FROM history WHERE assignment = ?1 AND cluster = ?2 ORDER BY seq DESC LIMIT 1",
            )?
            .query_row([assignment, cluster], |row| {
                Ok(Last {
                    seq: row.get(0)?,
                    cause: row.get(1)?,
                    digest: Digest(row.get(2)?),
                    options: row.get(3)?,
                    sync: row.get(4)?,
                    health: row.get(5)?,
                    message: row.get(6)?,
                    synced: row.get(7)?,
                })
            })
            .optional()?)
    }
}

impl Last {
    /// Whether a report is about what this entry speaks of.
    fn is_spoken_of(&self, report: &v1::Report) -> bool {
        if self.cause == Cause::Leave as i32 {
            return report.target_digest.is_empty();
        }
        let options = i64::from_ne_bytes(report.target_options.to_ne_bytes());
        report.target_digest.parse() == Ok(self.digest) && (options == 0 || options == self.options)
    }

    fn words<'a>(&self, report: &'a v1::Report) -> (i32, i32, &'a str) {
        let sync = match report.sync() {
            sync::Status::Synced if self.cause == Cause::Leave as i32 => sync::Status::Applying,
            // Not a claim that can be true: something else is applied.
            sync::Status::Synced if report.applied_digest != report.target_digest => {
                sync::Status::OutOfSync
            }
            sync::Status::Unspecified => sync::Status::Unknown,
            said => said,
        };
        (sync.into(), report.health, &report.message)
    }
}

/// As `history.options` holds it: SQLite knows no unsigned numbers.
fn stored_options(options: &v1::ApplyOptions) -> i64 {
    i64::from_ne_bytes(options_digest(options).to_ne_bytes())
}

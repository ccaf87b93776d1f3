//! What the other rooms learn and decide, on disk and then in memory: what
//! repositories hold, what assignments resolved to, what clusters should run
//! and what they report.

use std::collections::BTreeSet;
use std::sync::Arc;

use lockstep_proto::desired::report_digest;
use lockstep_proto::v1::{self, health, sync};
use lockstep_proto::{ClusterName, Digest};
use pbjson_types::Timestamp;

use super::model::{Model, Row, Seen};
use super::names::Names;
use super::view::timestamp;
use super::{Effects, Fleet};
use crate::store::{AssignmentState, DesiredChange, DesiredRow, StoreError, Touched};

/// Problems of one report that are kept; the agent sends no more than fit
/// into a message, and a hostile one gets no further.
const MAX_PROBLEMS: usize = 64;
const MAX_TEXT: usize = 2048;
/// Fields of one object event.
const MAX_FIELDS: usize = 64;

/// A cluster's desired state, of one instant.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    pub version: u64,
    /// The version at which a row was last dropped: a delta since an older
    /// one would leave it standing.
    pub floor: u64,
    /// Sorted by assignment, tombstones among them.
    pub rows: Vec<DesiredRow>,
}

impl Fleet {
    /// What an assignment's ref resolved and rendered to, or failed to.
    /// Without effect where the Assignment is gone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_assignment_state(
        &self,
        assignment: &str,
        state: AssignmentState,
    ) -> Result<(), StoreError> {
        let (fleet, name) = (self.clone(), assignment.to_owned());
        let stored = state.clone();
        self.0
            .store
            .write_then(
                {
                    let name = name.clone();
                    move |tx| tx.put_assignment_state(&name, &stored)
                },
                move |written| {
                    if *written {
                        fleet.change(|model| model.set_assignment_state(&name, state));
                    }
                },
            )
            .await?;
        Ok(())
    }

    /// What a repository holds, or why it cannot be reached. Without effect
    /// where the Repository is gone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_repository_state(
        &self,
        repository: &str,
        status: v1::RepositoryStatus,
    ) -> Result<(), StoreError> {
        let (fleet, name) = (self.clone(), repository.to_owned());
        let stored = status.clone();
        self.0
            .store
            .write_then(
                {
                    let name = name.clone();
                    move |tx| tx.put_repository_state(&name, &stored)
                },
                move |written| {
                    if *written {
                        fleet.change(|model| model.set_repository_state(&name, status));
                    }
                },
            )
            .await?;
        Ok(())
    }

    /// Changes rows of desired states, and returns the clusters whose state
    /// really changed; they are marked dirty.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing changed.
    pub async fn change_desired(
        &self,
        changes: Vec<DesiredChange>,
    ) -> Result<Vec<ClusterName>, StoreError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let fleet = self.clone();
        let touched: Vec<Touched> = self
            .0
            .store
            .write_then(
                move |tx| tx.change_desired(&changes),
                move |touched: &Vec<Touched>| fleet.touched(touched),
            )
            .await?;
        Ok(touched.into_iter().map(|one| one.cluster).collect())
    }

    /// Makes the version of a cluster's desired state at least `at_least`:
    /// for a hub whose restored database is behind its agents. Returns the
    /// version; none where the cluster is gone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn raise_version(
        &self,
        cluster: &ClusterName,
        at_least: u64,
    ) -> Result<Option<u64>, StoreError> {
        let (fleet, name, stored) = (self.clone(), cluster.clone(), cluster.clone());
        self.0
            .store
            .write_then(
                move |tx| tx.raise_version(&stored, at_least),
                move |version: &Option<u64>| {
                    let Some(version) = *version else { return };
                    fleet.change(|model| {
                        if let Some(cluster) = model.clusters.get_mut(name.as_str())
                            && cluster.desired_version < version
                        {
                            cluster.desired_version = version;
                            cluster.forgotten_version = version;
                        }
                    });
                },
            )
            .await
    }

    /// Stores reports; once this resolves they survive a crash and are seen
    /// by readers. A report on an assignment that the cluster was never told
    /// of is dropped.
    ///
    /// # Errors
    /// [`StoreError`]; then none of them is stored.
    pub async fn reports(&self, reports: Vec<(ClusterName, v1::Report)>) -> Result<(), StoreError> {
        let fleet = self.clone();
        let now = timestamp(self.now());
        let reports: Arc<[(ClusterName, v1::Report)]> = reports
            .into_iter()
            .map(|(cluster, report)| (cluster, bound(report, now)))
            .collect();
        let stored = Arc::clone(&reports);
        self.0
            .store
            .write_then(
                move |tx| {
                    stored
                        .iter()
                        .map(|(cluster, report)| tx.put_report(cluster, report))
                        .collect::<Result<Vec<bool>, StoreError>>()
                },
                move |kept| {
                    fleet.change(|model| {
                        let kept = reports.iter().zip(kept).filter(|(_, kept)| **kept);
                        for ((cluster, report), _) in kept {
                            model.set_report(cluster, report);
                        }
                    });
                },
            )
            .await?;
        Ok(())
    }

    /// A cluster's desired state; none where it does not exist.
    #[must_use]
    pub fn desired(&self, cluster: &ClusterName) -> Option<Desired> {
        self.read(|model| {
            let (name, cluster) = model.clusters.get_key_value(cluster.as_str())?;
            Some(Desired {
                version: cluster.desired_version,
                floor: cluster.forgotten_version,
                rows: cluster
                    .rows
                    .iter()
                    .map(|row| row.to_desired(name))
                    .collect(),
            })
        })
    }

    /// The version of a cluster's desired state; none where it does not exist.
    #[must_use]
    pub fn desired_version(&self, cluster: &ClusterName) -> Option<u64> {
        self.read(|model| Some(model.clusters.get(cluster.as_str())?.desired_version))
    }

    /// What a cluster is told of one assignment, a tombstone included.
    #[must_use]
    pub fn desired_row(&self, cluster: &ClusterName, assignment: &str) -> Option<DesiredRow> {
        self.read(|model| {
            let (name, cluster) = model.clusters.get_key_value(cluster.as_str())?;
            Some(cluster.row(assignment)?.to_desired(name))
        })
    }

    /// The clusters that an assignment reaches and the rows that it has, of one
    /// instant; none where the assignment does not exist.
    #[must_use]
    pub fn placement(&self, assignment: &str) -> Option<(BTreeSet<ClusterName>, Vec<DesiredRow>)> {
        self.read(|model| {
            let found = model.assignments.get(assignment)?;
            let matches = model.targets(&found.resource);
            Some((matches, model.rows_of(assignment)))
        })
    }

    /// The rows of an assignment on every cluster that has one, whether or
    /// not the assignment still reaches it.
    #[must_use]
    pub fn desired_rows(&self, assignment: &str) -> Vec<DesiredRow> {
        self.read(|model| model.rows_of(assignment))
    }

    /// Whether a cluster is to run this Bundle now.
    #[must_use]
    pub fn is_assigned(&self, cluster: &ClusterName, digest: &Digest) -> bool {
        self.read(|model| {
            model.clusters.get(cluster.as_str()).is_some_and(|cluster| {
                let mut rows = cluster.rows.iter();
                rows.any(|row| !row.tombstone && row.digest == *digest)
            })
        })
    }

    /// What the hub holds of a cluster's reports.
    #[must_use]
    pub fn held_reports(&self, cluster: &ClusterName) -> Vec<v1::HeldReport> {
        self.read(|model| {
            let rows = model
                .clusters
                .get(cluster.as_str())
                .map(|cluster| &cluster.rows);
            rows.into_iter()
                .flatten()
                .filter_map(|row| {
                    Some(v1::HeldReport {
                        assignment: row.assignment.to_string(),
                        digest: row.report.as_ref()?.content,
                    })
                })
                .collect()
        })
    }

    /// What an assignment last resolved to; none where it does not exist.
    #[must_use]
    pub fn assignment_state(&self, assignment: &str) -> Option<AssignmentState> {
        self.read(|model| Some(model.assignments.get(assignment)?.state.clone()))
    }

    /// What is known of a repository; none where it does not exist.
    #[must_use]
    pub fn repository_state(&self, repository: &str) -> Option<v1::RepositoryStatus> {
        self.read(|model| Some(model.repositories.get(repository)?.status.clone()))
    }
}

impl Model {
    fn rows_of(&self, assignment: &str) -> Vec<DesiredRow> {
        let holders = self.holders.get(assignment).into_iter().flatten();
        holders
            .filter_map(|name| Some((name, self.clusters.get(name.as_str())?)))
            .filter_map(|(name, cluster)| Some(cluster.row(assignment)?.to_desired(name)))
            .collect()
    }

    pub fn install_touched(&mut self, touched: &[Touched], effects: &mut Effects) {
        for one in touched {
            for row in &one.rows {
                self.put_row(row);
            }
            for assignment in &one.forgotten {
                self.drop_row(&one.cluster, assignment);
            }
            if let Some(cluster) = self.clusters.get_mut(one.cluster.as_str()) {
                cluster.desired_version = one.version;
                if !one.forgotten.is_empty() {
                    cluster.forgotten_version = one.version;
                }
                effects.clusters.insert(one.cluster.clone());
            }
        }
    }

    pub fn set_repository_state(&mut self, name: &str, status: v1::RepositoryStatus) {
        let name = self.names.get(name);
        let Some(repository) = self.repositories.get_mut(&name) else {
            return;
        };
        repository.status = status;
        let version = self.next_version();
        self.changed.repositories.changed(name, version);
    }

    pub fn set_report(&mut self, cluster: &ClusterName, report: &v1::Report) {
        self.change_cluster(cluster, |cluster, names| {
            if let Ok(at) = cluster.find(&report.assignment) {
                cluster.rows[at].report = Some(Box::new(Seen::of(report, names)));
            }
        });
    }
}

impl Row {
    fn to_desired(&self, cluster: &ClusterName) -> DesiredRow {
        DesiredRow {
            cluster: cluster.clone(),
            assignment: self.assignment.clone(),
            version: self.version,
            digest: self.digest,
            revision: self.revision.clone(),
            options: self.options.clone(),
            tombstone: self.tombstone,
        }
    }
}

impl Seen {
    fn of(report: &v1::Report, names: &mut Names) -> Self {
        Self {
            target: report.target_digest.parse().ok(),
            options: report.target_options,
            applied: report.applied_digest.parse().ok(),
            applied_revision: names.get(&report.applied_revision),
            sync: sync::Status::try_from(report.sync).unwrap_or(sync::Status::Unknown),
            health: health::Status::try_from(report.health).unwrap_or(health::Status::Unknown),
            objects: report.objects,
            drifted: report.drifted,
            more_problems: report.more_problems,
            awaiting_approval: report.awaiting_approval,
            message: report.message.as_str().into(),
            observed_at: report.observed_at,
            problems: report.problems.clone().into(),
            content: report_digest(report),
        }
    }
}

/// A report within bounds, whoever wrote it. Its time is not after `now`, so
/// that nothing seems seen that was not.
fn bound(mut report: v1::Report, now: Timestamp) -> v1::Report {
    cut(&mut report.message);
    cut(&mut report.applied_revision);
    let dropped = report.problems.len().saturating_sub(MAX_PROBLEMS);
    report.problems.truncate(MAX_PROBLEMS);
    report.more_problems = report
        .more_problems
        .saturating_add(u32::try_from(dropped).unwrap_or(u32::MAX));
    for problem in &mut report.problems {
        cut(&mut problem.object);
        cut(&mut problem.message);
    }
    report.observed_at = report.observed_at.map(|seen| not_after(seen, now));
    report
}

/// Text of an agent within bounds.
pub(super) fn cut(text: &mut String) {
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text.push('…');
    }
}

/// A time that an agent says, if it can be one.
fn not_after(seen: Timestamp, now: Timestamp) -> Timestamp {
    let sound = seen.seconds >= 0 && (0..1_000_000_000).contains(&seen.nanos);
    if sound && (seen.seconds, seen.nanos) <= (now.seconds, now.nanos) {
        seen
    } else {
        now
    }
}

/// An event within bounds, whoever wrote it, and when it was in milliseconds
/// since the epoch: not after `now`.
pub(super) fn bound_event(mut event: v1::ObjectEvent, now: i64) -> (v1::ObjectEvent, i64) {
    let dropped = event.fields.len().saturating_sub(MAX_FIELDS);
    event.fields.truncate(MAX_FIELDS);
    event.more_fields = event
        .more_fields
        .saturating_add(u32::try_from(dropped).unwrap_or(u32::MAX));
    event.fields.iter_mut().for_each(cut);
    for text in [
        &mut event.object,
        &mut event.manager,
        &mut event.message,
        &mut event.revision,
    ] {
        cut(text);
    }
    let now = timestamp(now);
    let at = event.at.map_or(now, |at| not_after(at, now));
    event.at = Some(at);
    (event, at.seconds * 1000 + i64::from(at.nanos) / 1_000_000)
}

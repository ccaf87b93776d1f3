//! What people say of assignments beside their specs, on disk and then in
//! memory; and what they read of it: the history.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_proto::v1::sync_mode::Name::Manual;
use lockstep_proto::{ClusterName, Digest, v1};

use super::desired::{bound_event, cut};
use super::model::Model;
use super::{Effects, Fleet, shown};
use crate::store::{
    AssignmentState, Because, Control, DesiredChange, HistoryAt, HistoryPage, PastRevision, Said,
    StoreError, Touched, Tx,
};

/// An assignment with all that was said of it, of one instant.
#[derive(Debug, Clone)]
pub struct Standing {
    pub assignment: Arc<v1::Assignment>,
    pub state: AssignmentState,
    pub control: Arc<Control>,
}

impl Standing {
    #[must_use]
    pub fn spec(&self) -> v1::AssignmentSpec {
        super::spec_of(&self.assignment)
    }
}

/// Why desired state was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Somebody has said something else of the assignment since.
    #[error("overtaken by what somebody said of the assignment")]
    Overtaken,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Fleet {
    /// None where the assignment does not exist.
    #[must_use]
    pub fn standing(&self, assignment: &str) -> Option<Standing> {
        self.read(|model| model.standing(assignment))
    }

    /// Changes what is said of an assignment to what `decide` makes of it as
    /// it is then, and has the assignment looked at. None where it does not exist.
    ///
    /// # Errors
    /// Those of `decide`, and [`StoreError`]; then nothing changed.
    pub async fn control<E: From<StoreError> + Send + 'static>(
        &self,
        assignment: &str,
        decide: impl FnOnce(&Standing, i64) -> Result<Control, E> + Send + 'static,
    ) -> Result<Option<Standing>, E> {
        let (planner, applier, name) = (self.clone(), self.clone(), assignment.to_owned());
        let written = self
            .0
            .store
            .transact(
                {
                    let name = name.clone();
                    move |tx| {
                        let now = planner.now();
                        let Some(standing) = planner.standing(&name) else {
                            return Ok(None);
                        };
                        let control = decide(&standing, now)?;
                        let control = next(&standing.control, control, now);
                        tx.put_control(&name, &control)?;
                        Ok::<_, E>(Some(control))
                    }
                },
                {
                    let name = name.clone();
                    move |control| {
                        if let Some(control) = control.clone() {
                            applier.change(|model| model.set_control(&name, control));
                            applier.dirty_assignments().mark(name);
                        }
                    }
                },
            )
            .await?;
        Ok(written.and_then(|control| {
            let mut standing = self.standing(assignment)?;
            standing.control = Arc::new(control);
            Some(standing)
        }))
    }

    /// Changes rows of the desired state of `assignment`, unless more was said
    /// of it than `version` of its control, by which they were decided.
    ///
    /// # Errors
    /// [`ChangeError`]; then nothing changed.
    pub async fn release(
        &self,
        assignment: &str,
        version: u64,
        changes: Vec<DesiredChange>,
    ) -> Result<(), ChangeError> {
        if changes.is_empty() {
            return Ok(());
        }
        let (fleet, name) = (self.clone(), assignment.to_owned());
        self.0
            .store
            .write_then(
                move |tx| {
                    if tx.control_version(&name)? != version {
                        return Err(ChangeError::Overtaken);
                    }
                    Ok(tx.change_desired(&changes)?)
                },
                move |touched: &Vec<Touched>| fleet.touched(touched),
            )
            .await?;
        Ok(())
    }

    /// Stores what agents say happened to objects, once each. When this
    /// resolves it survives a crash. What is said of an assignment that the
    /// cluster never had is dropped.
    ///
    /// # Errors
    /// [`StoreError`]; then none of them is stored.
    pub async fn object_events(
        &self,
        events: Vec<(ClusterName, v1::ObjectEvent)>,
    ) -> Result<(), StoreError> {
        let now = self.now();
        let events: Vec<_> = events
            .into_iter()
            .map(|(cluster, event)| {
                let (event, at) = bound_event(event, now);
                (cluster, event, at)
            })
            .collect();
        self.0
            .store
            .write_then(move |tx| tx.put_object_events(&events), |()| ())
            .await
    }

    /// The history of an assignment, on one cluster or all, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn history(
        &self,
        assignment: &str,
        cluster: Option<&str>,
        after: Option<HistoryAt>,
        limit: usize,
    ) -> Result<HistoryPage, StoreError> {
        let cluster = cluster.map(str::to_owned);
        self.0
            .store
            .history(assignment.to_owned(), cluster, after, limit)
            .await
    }

    /// The revisions that an assignment had, by when each first came, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn past_revisions(&self, assignment: &str) -> Result<Vec<PastRevision>, StoreError> {
        self.0.store.past_revisions(assignment.to_owned()).await
    }

    /// Who deletes an assignment, for the history of the clusters that have it.
    pub(super) fn leave(&self, by: &str) -> Because {
        Because {
            cause: v1::history_entry::Cause::Leave,
            by: by.to_owned(),
            commit: None,
            at: self.now(),
        }
    }
}

/// Where removals wait for a person.
#[derive(Debug, Clone, PartialEq)]
pub struct Awaiting {
    /// The Bundle that brings them, on most of these clusters.
    pub digest: Digest,
    pub revision: Arc<str>,
    pub clusters: usize,
    pub objects: usize,
}

impl Fleet {
    /// Where removals of an assignment wait for a person. None where none do.
    #[must_use]
    pub fn awaiting(&self, assignment: &str) -> Option<Awaiting> {
        let mut all: BTreeMap<Digest, Awaiting> = BTreeMap::new();
        self.read(|model| {
            let holders = model.holders.get(assignment).into_iter().flatten();
            for cluster in holders {
                let row = model.clusters.get(cluster.as_str());
                let Some(row) = row.and_then(|cluster| cluster.row(assignment)) else {
                    continue;
                };
                let objects = shown::awaits(row) as usize;
                if objects == 0 {
                    continue;
                }
                let sum = all.entry(row.digest).or_insert_with(|| Awaiting {
                    digest: row.digest,
                    revision: row.revision.clone(),
                    clusters: 0,
                    objects: 0,
                });
                sum.clusters += 1;
                sum.objects += objects;
            }
        });
        all.into_values().max_by_key(|sum| sum.clusters)
    }
}

/// `control` as the successor of `before`. Versions are times where those are
/// larger: an assignment that is deleted and made anew has no version again.
fn next(before: &Control, control: Control, now: i64) -> Control {
    let now = u64::try_from(now).unwrap_or(0);
    Control {
        version: now.max(before.version + 1),
        ..control
    }
}

/// Notes in a transaction that changes the spec of `assignment` who does it.
pub(super) fn spec_changed(
    model: &Model,
    tx: &Tx<'_>,
    assignment: &str,
    spec: &v1::AssignmentSpec,
    by: &str,
    now: i64,
) -> Result<Control, StoreError> {
    let before = model
        .assignments
        .get(assignment)
        .map(|assignment| Arc::clone(&assignment.control))
        .unwrap_or_default();
    let mut by = by.to_owned();
    cut(&mut by);
    let mut control = Control {
        changed: Some(Said { by, at: now }),
        ..(*before).clone()
    };
    if spec.sync.as_ref().is_none_or(|sync| sync.mode() != Manual) {
        // Clusters get what the ref names: what was released is of the past.
        control.released = None;
    }
    let control = next(&before, control, now);
    tx.put_control(assignment, &control)?;
    Ok(control)
}

impl Model {
    fn standing(&self, assignment: &str) -> Option<Standing> {
        let found = self.assignments.get(assignment)?;
        Some(Standing {
            assignment: found.resource.clone(),
            state: found.state.clone(),
            control: found.control.clone(),
        })
    }
}

impl Fleet {
    /// Takes what the disk has into memory, in pieces, so that heartbeats of
    /// others need not wait for all.
    pub(super) fn touched(&self, touched: &[Touched]) {
        /// Clusters whose change holds the lock at one go: some milliseconds.
        const PIECE: usize = 512;
        let mut effects = Effects::default();
        for piece in touched.chunks(PIECE) {
            self.change(|model| model.install_touched(piece, &mut effects));
        }
        self.mark(&effects);
    }
}

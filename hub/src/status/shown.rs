//! What is shown of an assignment on a cluster, and how it counts. Pure; both
//! come from one verdict, so that a table and the sums under it agree.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_proto::Digest;
use lockstep_proto::v1::{self, connection, health, sync};

use super::counts::{Tally, worse_health, worse_sync};
use super::held;
use super::model::{Assignment, Cluster, Row, Seen};

/// What a cluster last said, held against what it should run.
struct Verdict {
    sync: sync::Status,
    health: health::Status,
}

/// What clusters are to run once somebody says so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Waits<'a> {
    digest: Digest,
    namespace: &'a str,
}

impl<'a> Waits<'a> {
    /// What waits of an assignment. Nothing does where it is pinned: what it
    /// is pinned to is what a person wants.
    pub fn of(assignment: &'a Assignment) -> Option<Self> {
        assignment.state.pending.as_ref()?;
        if assignment.control.pinned.is_some() {
            return None;
        }
        let spec = assignment.resource.spec.as_ref();
        Some(Self {
            digest: assignment.state.digest?,
            namespace: spec.map_or("", |spec| &spec.namespace),
        })
    }

    /// The same, for keeping.
    pub fn owned(&self) -> (Digest, String) {
        (self.digest, self.namespace.to_owned())
    }

    /// Whether it waits for this row's cluster.
    fn concern(&self, row: Option<&Row>) -> bool {
        row.is_none_or(|row| {
            !row.tombstone && (row.digest != self.digest || row.options.namespace != self.namespace)
        })
    }
}

fn verdict(row: Option<&Row>, assignment: Option<&Assignment>) -> Verdict {
    let said = reported(row);
    let waits = assignment.and_then(Waits::of);
    if !waits.is_some_and(|waits| waits.concern(row)) {
        return said;
    }
    let sync = match said.sync {
        sync::Status::Synced => sync::Status::OutOfSync,
        // Nothing is known of it because it was told nothing.
        _ if row.is_none() => sync::Status::OutOfSync,
        other => other,
    };
    Verdict { sync, ..said }
}

fn reported(row: Option<&Row>) -> Verdict {
    let Some((row, seen)) = row.and_then(|row| Some((row, row.report.as_deref()?))) else {
        // Never reported, and not yet told of it, are both not known. What is
        // being removed is at work, whether or not it was ever reported.
        return Verdict {
            sync: match row {
                Some(row) if row.tombstone => sync::Status::Applying,
                _ => sync::Status::Unknown,
            },
            health: health::Status::Unknown,
        };
    };
    let sync = if row.tombstone {
        // A failure of the removal itself names no target.
        match seen.sync {
            sync::Status::Failed if seen.target.is_none() => sync::Status::Failed,
            _ => sync::Status::Applying,
        }
    } else if speaks_of(seen, row) {
        match seen.sync {
            sync::Status::Unspecified => sync::Status::Unknown,
            // Not a claim that can be true: something else is applied.
            sync::Status::Synced if seen.applied != seen.target => sync::Status::OutOfSync,
            said => said,
        }
    } else if seen.sync == sync::Status::Applying {
        sync::Status::Applying
    } else {
        sync::Status::OutOfSync
    };
    Verdict {
        sync,
        health: match seen.health {
            health::Status::Unspecified => health::Status::Unknown,
            said => said,
        },
    }
}

/// Whether a report is about what its cluster should run now: the same Bundle
/// may be wanted with other options.
fn speaks_of(seen: &Seen, row: &Row) -> bool {
    seen.target == Some(row.digest) && (seen.options == 0 || seen.options == row.options_digest)
}

/// How many removals of a row's assignment wait for a person.
pub(super) fn awaits(row: &Row) -> u32 {
    let seen = row.report.as_deref().filter(|_| !row.tombstone);
    let seen = seen.filter(|seen| speaks_of(seen, row));
    seen.map_or(0, |seen| seen.awaiting_approval)
}

/// How a cluster counts for an assignment that reaches it.
pub(super) fn row_tally(
    cluster: &Cluster,
    name: &str,
    assignments: &BTreeMap<Arc<str>, Assignment>,
) -> Tally {
    let row = cluster.row(name);
    let Verdict { sync, health } = verdict(row, assignments.get(name));
    Tally {
        sync,
        health,
        connection: cluster.connection,
        awaiting: row.map_or(0, awaits) > 0,
    }
}

/// How a cluster counts as a whole: by its worst assignment, among those that
/// reach it and those that it still has.
pub(super) fn cluster_tally(
    cluster: &Cluster,
    reached: &[Arc<str>],
    assignments: &BTreeMap<Arc<str>, Assignment>,
) -> Tally {
    let mut whole = Tally {
        sync: sync::Status::Synced,
        health: health::Status::Healthy,
        connection: cluster.connection,
        awaiting: false,
    };
    for name in all_names(cluster, reached) {
        let Verdict { sync, health } = verdict(cluster.row(name), assignments.get(name));
        whole.sync = worse_sync(whole.sync, sync);
        whole.health = worse_health(whole.health, health);
        whole.awaiting |= cluster.row(name).map_or(0, awaits) > 0;
    }
    whole
}

/// Assignments that a cluster has a row for or should have, sorted.
pub(super) fn all_names<'a>(
    cluster: &'a Cluster,
    reached: &'a [Arc<str>],
) -> impl Iterator<Item = &'a Arc<str>> {
    let mut rows = cluster.rows.iter().map(|row| &row.assignment).peekable();
    let mut reached = reached.iter().peekable();
    std::iter::from_fn(move || match (rows.peek(), reached.peek()) {
        (Some(row), Some(reach)) if row == reach => {
            rows.next();
            reached.next()
        }
        (Some(row), Some(reach)) if row < reach => rows.next(),
        (_, Some(_)) => reached.next(),
        (_, None) => rows.next(),
    })
}

/// What is shown of an assignment on a cluster. `assignment` is none where the
/// resource does not exist any more.
pub(super) fn state(
    cluster: &Cluster,
    name: &str,
    assignment: Option<&Assignment>,
) -> v1::AssignmentState {
    let row = cluster.row(name);
    let Verdict { sync, health } = verdict(row, assignment);
    let newest = assignment.and_then(|assignment| {
        let waits = Waits::of(assignment)?;
        waits
            .concern(row)
            .then_some((waits.digest, &assignment.state.revision))
    });
    let mut state = v1::AssignmentState {
        name: name.to_owned(),
        sync: sync.into(),
        health: health.into(),
        stale: cluster.connection == connection::Status::Offline,
        pinned: assignment.is_some_and(|assignment| assignment.control.pinned.is_some()),
        paused: assignment.is_some_and(|assignment| assignment.control.paused.is_some()),
        ..v1::AssignmentState::default()
    };
    if let Some((digest, revision)) = newest {
        state.desired_digest = digest.to_string();
        state.desired_revision.clone_from(revision);
    }
    let words = assignment.map(|assignment| held::words(name, assignment));
    let words = words.unwrap_or_default();
    let Some(row) = row else {
        state.message = if words.is_empty() {
            waiting(assignment)
        } else {
            words
        };
        return state;
    };
    state.removing = row.tombstone;
    let revision = revision_of(row, assignment);
    if let Some(seen) = row.report.as_deref() {
        fill(&mut state, row, seen, &revision);
    }
    if !row.tombstone {
        if newest.is_none() {
            state.desired_digest = row.digest.to_string();
            state.desired_revision = revision;
        }
        if !words.is_empty() {
            let said = if state.message.is_empty() { "" } else { "; " };
            state.message = format!("{}{said}{words}", state.message);
        }
    }
    if assignment.is_none() && !row.tombstone {
        state.message = format!(
            "there is no Assignment named {name:?} any more, and nobody asked to remove it: \
             what is on the cluster stays. Apply the Assignment again, or apply and delete it"
        );
    }
    state
}

fn waiting(assignment: Option<&Assignment>) -> String {
    match assignment {
        Some(assignment) if !assignment.state.message.is_empty() => {
            assignment.state.message.clone()
        }
        _ => "waiting for the first render".to_owned(),
    }
}

/// The Assignment's own revision where its content is what the cluster should
/// run: a commit beside the path changes the revision and nothing else.
fn revision_of(row: &Row, assignment: Option<&Assignment>) -> String {
    let pinned = assignment.and_then(|a| Some(&a.control.pinned.as_ref()?.0));
    match assignment {
        _ if pinned.is_some_and(|pin| pin.digest == row.digest) => {
            pinned.map(|pin| pin.revision.clone()).unwrap_or_default()
        }
        Some(a) if a.state.digest == Some(row.digest) => a.state.revision.clone(),
        _ => row.revision.to_string(),
    }
}

/// `revision`: what the row's Bundle is shown as.
fn fill(state: &mut v1::AssignmentState, row: &Row, seen: &Seen, revision: &str) {
    if let Some(applied) = seen.applied {
        state.applied_digest = applied.to_string();
        state.applied_revision = if !row.tombstone && applied == row.digest {
            revision.to_owned()
        } else {
            seen.applied_revision.to_string()
        };
    }
    state.objects = seen.objects;
    state.drifted = seen.drifted;
    state.message = seen.message.to_string();
    state.observed_at = seen.observed_at;
    state.problems = seen.problems.to_vec();
    state.more_problems = seen.more_problems;
    state.awaiting_approval = awaits(row);
}

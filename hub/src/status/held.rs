//! What people said of an assignment, as it is shown: pins, pauses and what
//! waits for a word of theirs.

use lockstep_proto::v1;

use super::model::Assignment;
use super::shown::Waits;
use super::view::timestamp;
use crate::store::Said;

/// What an assignment's clusters show of the assignment itself: when it
/// changes, so do they.
#[derive(PartialEq)]
pub(super) struct Shown {
    revision: String,
    digest: Option<lockstep_proto::Digest>,
    /// What waits for a cluster depends on no more than this.
    waits: Option<(lockstep_proto::Digest, String)>,
    words: String,
    pinned: bool,
    paused: bool,
}

impl Shown {
    pub fn of(assignment: &Assignment) -> Self {
        Self {
            revision: assignment.state.revision.clone(),
            digest: assignment.state.digest,
            waits: Waits::of(assignment).map(|waits| waits.owned()),
            words: words("", assignment),
            pinned: assignment.control.pinned.is_some(),
            paused: assignment.control.paused.is_some(),
        }
    }

    /// Whether clusters count otherwise than before.
    pub fn counts_as(&self, other: &Self) -> bool {
        self.waits == other.waits
    }
}

/// Why clusters do not run what the ref of the assignment `name` names, and
/// what ends that. Empty where they do.
pub(super) fn words(name: &str, assignment: &Assignment) -> String {
    let control = &assignment.control;
    let back = format!("`lockstep resume {name}`");
    let pinned = control
        .pinned
        .as_ref()
        .map(|(pin, said)| format!("pinned to {} {}", short(&pin.revision), since(said)));
    let paused = control
        .paused
        .as_ref()
        .map(|(said, _)| format!("paused {}", since(said)));
    let mut text = match (pinned, paused) {
        (Some(pinned), None) => {
            format!("{pinned}; {back} goes back to {}", follows(assignment))
        }
        (None, Some(paused)) => format!("{paused}; {back} goes on"),
        (Some(pinned), Some(paused)) => {
            format!(
                "{paused}, {pinned}; {back} goes on with {}",
                follows(assignment)
            )
        }
        (None, None) => String::new(),
    };
    if let Some(pending) = &assignment.state.pending
        && control.pinned.is_none()
    {
        let waits = match text.is_empty() {
            true => format!("waits for `lockstep sync {name}`"),
            false => format!("; revision {} waits", short(&pending.revision)),
        };
        text.push_str(&waits);
        text.push_str(&summary(pending));
    }
    text
}

/// ": 1 added, 2 changed, 0 removed: changed v1 ConfigMap shop/a, …"
fn summary(pending: &v1::Pending) -> String {
    /// Objects that one line of a status names.
    const NAMED: usize = 3;
    let (added, changed, removed) = (pending.added, pending.changed, pending.removed);
    let mut text = format!(": {added} added, {changed} changed, {removed} removed");
    for (at, change) in pending.changes.iter().take(NAMED).enumerate() {
        text.push_str(if at == 0 { ": " } else { ", " });
        text.push_str(change);
    }
    if (added + changed + removed) as usize > NAMED {
        text.push_str(", …");
    }
    text
}

/// "by admin since 2026-11-21T09:00:00Z"
fn since(said: &Said) -> String {
    let at = jiff::Timestamp::from_second(said.at.div_euclid(1000));
    let at = at.map(|at| at.to_string()).unwrap_or_default();
    match said.by.as_str() {
        "" => format!("since {at}"),
        by => format!("by {by} since {at}"),
    }
}

/// A revision as it is shown to people.
pub(crate) fn short(revision: &str) -> &str {
    revision.get(..7).unwrap_or(revision)
}

fn is_manual(assignment: &Assignment) -> bool {
    let spec = assignment.resource.spec.as_ref();
    spec.and_then(|spec| spec.sync.as_ref())
        .is_some_and(|sync| sync.mode() == v1::sync_mode::Name::Manual)
}

/// "branch main", or in Manual mode what was released before.
fn follows(assignment: &Assignment) -> String {
    let spec = assignment.resource.spec.as_ref();
    if is_manual(assignment)
        && let Some(released) = &assignment.control.released
    {
        return format!("revision {}", short(&released.revision));
    }
    let r = spec.and_then(|spec| spec.r#ref.clone()).unwrap_or_default();
    let (branch, tag) = (&r.branch, &r.tag);
    if !branch.is_empty() {
        format!("branch {branch}")
    } else if !tag.is_empty() {
        format!("tag {tag}")
    } else {
        format!("commit {}", short(&r.commit))
    }
}

/// An assignment's status, but for what its clusters say.
pub(super) fn status(assignment: &Assignment) -> v1::AssignmentStatus {
    let (state, control) = (&assignment.state, &assignment.control);
    let mut status = v1::AssignmentStatus {
        revision: state.revision.clone(),
        commit: state.commit.clone(),
        message: state.message.clone(),
        clusters: Some(assignment.counts.clusters),
        awaiting_approval: assignment.counts.awaiting,
        digest: state.digest.map(|d| d.to_string()).unwrap_or_default(),
        objects: state.objects,
        pinned: control.pinned.as_ref().map(|(pin, said)| v1::Pin {
            revision: pin.revision.clone(),
            by: said.by.clone(),
            at: Some(timestamp(said.at)),
        }),
        paused: control.paused.as_ref().map(|(said, _)| v1::Pause {
            by: said.by.clone(),
            at: Some(timestamp(said.at)),
        }),
        pending: state.pending.clone(),
    };
    if state.pending.is_none() && control.pinned.is_none() {
        return status;
    }
    // What clusters are to run now is not what the ref names.
    let held = control.held(is_manual(assignment));
    status.revision = held.map_or_else(String::new, |held| held.revision.clone());
    status.commit = held.and_then(|held| held.commit.clone());
    status.digest = held.map_or_else(String::new, |held| held.digest.to_string());
    status.objects = held.map_or(0, |held| held.objects);
    status
}

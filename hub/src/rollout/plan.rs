//! Which clusters should have which Bundle of one Assignment: pure, so that
//! what may delete something on a cluster can be tried with every state there is.
//!
//! It is asked only about an Assignment that exists, and given the clusters
//! that its groups select now. So a row of a cluster outside of them is an
//! explicit departure: somebody relabelled the cluster or changed a group or
//! the Assignment. An Assignment that is missing never gets here, and one that
//! does not render has no newer target: neither can remove anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lockstep_proto::v1::history_entry::Cause;
use lockstep_proto::{ClusterName, Digest, v1};

use super::options::is_manual;
use crate::store::{Because, Change, Control, DesiredChange, DesiredRow, Held, Said};

/// What the clusters of an Assignment should run.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    pub digest: Digest,
    pub revision: Arc<str>,
    pub options: Arc<v1::ApplyOptions>,
    pub commit: Option<v1::CommitInfo>,
}

/// What is to become of the clusters of an Assignment.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// They run this.
    Run(Target),
    /// Nothing has ever rendered or been released: nobody is given anything.
    Nothing,
    /// What they run stays as it is, and nothing of it is changed.
    Pause,
}

/// What people want of an Assignment: its spec and what they said beside it.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    pub spec: &'a v1::AssignmentSpec,
    /// What the spec gives to the agents.
    pub options: &'a v1::ApplyOptions,
    pub control: &'a Control,
}

impl Wish<'_> {
    /// Whether what the ref names has to wait for a person.
    pub fn is_held(self) -> bool {
        self.control.pinned.is_some() || self.control.paused.is_some() || is_manual(self.spec)
    }

    /// What clusters are to run when the ref names `newest`: none where
    /// nothing has rendered for what the spec says now.
    pub fn wanted(self, newest: Option<&Held>) -> Wanted {
        if self.control.paused.is_some() {
            return Wanted::Pause;
        }
        let held = if self.is_held() {
            self.control.held(is_manual(self.spec))
        } else {
            newest
        };
        let Some(held) = held else {
            return Wanted::Nothing;
        };
        let approved = self.control.approved.as_ref();
        Wanted::Run(Target {
            digest: held.digest,
            revision: held.revision.as_str().into(),
            options: Arc::new(v1::ApplyOptions {
                namespace: held.namespace.clone(),
                prune_approved: approved.is_some_and(|(digest, _)| *digest == held.digest),
                ..self.options.clone()
            }),
            commit: held.commit.clone(),
        })
    }

    /// What has to be said of an Assignment that was given what its ref named
    /// and now waits for a person: that what its clusters run was released.
    /// And an approval ends with the Bundle that it was given to. None where
    /// all is said.
    pub fn settled(self, newest: Option<&Held>, standing: &[DesiredRow]) -> Option<Control> {
        let mut control = self.control.clone();
        if is_manual(self.spec) && control.released.is_none() {
            control.released = common(standing, newest);
        }
        if let (Some((digest, _)), Wanted::Run(target)) = (&control.approved, self.wanted(newest))
            && *digest != target.digest
        {
            control.approved = None;
        }
        (control != *self.control).then_some(control)
    }
}

/// What most of the clusters run.
fn common(standing: &[DesiredRow], newest: Option<&Held>) -> Option<Held> {
    let mut rows: Vec<&DesiredRow> = standing.iter().filter(|row| !row.tombstone).collect();
    rows.sort_by_key(|row| row.digest);
    let most = rows
        .chunk_by(|a, b| a.digest == b.digest)
        .max_by_key(|chunk| chunk.len())?;
    let row = most.first()?;
    let known = newest.filter(|newest| newest.digest == row.digest);
    Some(Held {
        revision: row.revision.to_string(),
        tree: known.map_or_else(String::new, |known| known.tree.clone()),
        digest: row.digest,
        objects: known.map_or(0, |known| known.objects),
        commit: known.and_then(|known| known.commit.clone()),
        namespace: row.options.namespace.clone(),
    })
}

/// Why clusters get what they get, for the history.
#[derive(Debug, Clone, Copy)]
pub struct Reasons<'a> {
    pub control: &'a Control,
    /// The spec is another than at the last release, or this is the first.
    pub changed: bool,
    /// Milliseconds since the epoch.
    pub now: i64,
}

/// The changes that bring `standing`, the rows that `assignment` has now, to
/// what is `wanted` on the clusters that it `matches`.
#[must_use]
pub fn plan(
    assignment: &Arc<str>,
    wanted: &Wanted,
    matches: &BTreeSet<ClusterName>,
    standing: &[DesiredRow],
    reasons: Reasons<'_>,
) -> Vec<DesiredChange> {
    let change = |cluster: &ClusterName, change, because: Option<Because>| DesiredChange {
        cluster: cluster.clone(),
        assignment: Arc::clone(assignment),
        change,
        because: because.map(Arc::new),
    };
    if *wanted == Wanted::Pause {
        let unpaused = |row: &&DesiredRow| !row.tombstone && !row.options.paused;
        return standing
            .iter()
            .filter(unpaused)
            .map(|row| change(&row.cluster, paused(row), None))
            .collect();
    }
    let left = standing
        .iter()
        .filter(|row| !row.tombstone && !matches.contains(&row.cluster))
        .map(|row| {
            let because = reasons.of(Cause::Leave, &Said::default(), None);
            change(&row.cluster, Change::Tombstone, Some(because))
        });
    let Wanted::Run(target) = wanted else {
        return left.collect();
    };
    let live: BTreeMap<&ClusterName, &DesiredRow> = standing
        .iter()
        .filter(|row| !row.tombstone)
        .map(|row| (&row.cluster, row))
        .collect();
    let others_run_it = live.values().any(|row| row.digest == target.digest);
    let lacks_it = matches.iter().filter_map(|cluster| {
        let live = live.get(cluster).copied();
        if live.is_some_and(|row| row.digest == target.digest && row.options == target.options) {
            return None;
        }
        let set = Change::Set {
            digest: target.digest,
            revision: Arc::clone(&target.revision),
            options: Arc::clone(&target.options),
        };
        let because = match live {
            Some(row) if row.digest == target.digest => reasons.of_options(row, target),
            None if others_run_it => Some(reasons.of(Cause::Join, &Said::default(), Some(target))),
            _ => Some(reasons.of_content(target)),
        };
        Some(change(cluster, set, because))
    });
    left.chain(lacks_it).collect()
}

/// The same row, with nothing of it to be changed.
fn paused(row: &DesiredRow) -> Change {
    Change::Set {
        digest: row.digest,
        revision: Arc::clone(&row.revision),
        options: Arc::new(v1::ApplyOptions {
            paused: true,
            ..(*row.options).clone()
        }),
    }
}

impl Reasons<'_> {
    fn of(&self, cause: Cause, said: &Said, target: Option<&Target>) -> Because {
        Because {
            cause,
            by: said.by.clone(),
            commit: target.and_then(|target| target.commit.clone()),
            at: self.now,
        }
    }

    /// Why a cluster runs the same with other options. None where that is no
    /// news: a pause ends, or an approval does.
    fn of_options(&self, row: &DesiredRow, target: &Target) -> Option<Because> {
        let approved = target.options.prune_approved && !row.options.prune_approved;
        if let (true, Some((_, said))) = (approved, &self.control.approved) {
            return Some(self.of(Cause::Approve, said, Some(target)));
        }
        let same = v1::ApplyOptions {
            paused: target.options.paused,
            prune_approved: target.options.prune_approved,
            ..(*row.options).clone()
        };
        if same == *target.options {
            return None;
        }
        let said = self.control.changed.clone().unwrap_or_default();
        Some(self.of(Cause::Change, &said, Some(target)))
    }

    /// Why a cluster runs something else than before.
    fn of_content(&self, target: &Target) -> Because {
        let order = self.control.order.as_ref();
        if let Some(order) = order.filter(|order| *order.revision == *target.revision) {
            return self.of(order.cause, &order.said, Some(target));
        }
        if self.changed {
            let said = self.control.changed.clone().unwrap_or_default();
            return self.of(Cause::Change, &said, Some(target));
        }
        let author = target.commit.as_ref().map(|commit| commit.author.clone());
        let said = Said {
            by: author.unwrap_or_default(),
            at: self.now,
        };
        self.of(Cause::Commit, &said, Some(target))
    }
}

#[cfg(test)]
mod tests;

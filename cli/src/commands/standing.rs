//! What holds an assignment: a pin, a pause, mode Manual, removals that wait
//! for a person. In words, with the next step, the same wherever it is shown.

use lockstep_proto::v1::{Assignment, AssignmentState, AssignmentStatus, Pending, sync_mode};

use super::rows::{ref_text, short, time_text};

/// Removals of an assignment that wait for `lockstep approve`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Awaiting {
    pub objects: u64,
    pub clusters: u64,
}

impl Awaiting {
    pub fn add(&mut self, state: &AssignmentState) {
        self.objects += u64::from(state.awaiting_approval);
        self.clusters += u64::from(state.awaiting_approval > 0);
    }
}

pub(super) fn is_manual(assignment: &Assignment) -> bool {
    let sync = assignment.spec.as_ref().and_then(|spec| spec.sync.as_ref());
    sync.is_some_and(|sync| sync.mode() == sync_mode::Name::Manual)
}

pub(super) fn mode(assignment: &Assignment) -> &'static str {
    if is_manual(assignment) {
        sync_mode::Name::Manual.as_str_name()
    } else {
        sync_mode::Name::Auto.as_str_name()
    }
}

/// The word of the STAGE column: the most important of what holds it.
pub(super) fn stage(state: &AssignmentState, assignment: Option<&Assignment>) -> &'static str {
    let status = assignment.and_then(|a| a.status.as_ref());
    if state.pinned || status.is_some_and(|s| s.pinned.is_some()) {
        "pinned"
    } else if state.paused || status.is_some_and(|s| s.paused.is_some()) {
        "paused"
    } else if assignment.is_some_and(is_manual) {
        "manual"
    } else if state.awaiting_approval > 0 {
        "approve"
    } else {
        "-"
    }
}

/// What holds the assignment and the next step, as one line; none where
/// nothing does.
pub(super) fn words(assignment: &Assignment, awaiting: Awaiting) -> Option<String> {
    let name = name_of(assignment);
    let status = assignment.status.clone().unwrap_or_default();
    let mut parts = Vec::new();
    let pinned = pinned(&status).map(|words| format!("pinned to {words}"));
    let paused = paused(&status).map(|words| format!("paused {words}"));
    let waits = status.pending.as_ref().map(what_waits);
    match (pinned, paused) {
        (None, None) => {
            if let Some((what, changes)) = waits {
                parts.push(format!(
                    "{what} waits for `lockstep sync {name}`: {changes}"
                ));
            }
        }
        (pin, pause) => {
            let held = [pin, pause].into_iter().flatten().collect::<Vec<_>>();
            let waits = waits.map_or_else(String::new, |(what, _)| format!(", {what} waits"));
            parts.push(format!(
                "{}{waits}; {}",
                held.join(", "),
                way_out(assignment, &status)
            ));
        }
    }
    parts.extend(approval(name, &status, awaiting));
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The next step alone, for where the rest is told beside it.
pub(super) fn next_step(assignment: &Assignment, awaiting: Awaiting) -> String {
    let name = name_of(assignment);
    let status = assignment.status.clone().unwrap_or_default();
    let step = if status.pinned.is_some() || status.paused.is_some() {
        Some(way_out(assignment, &status))
    } else {
        let waits = status.pending.is_some();
        waits.then(|| format!("`lockstep sync {name}` gives it to the clusters"))
    };
    let approval = approval(name, &status, awaiting);
    let steps: Vec<_> = [step, approval].into_iter().flatten().collect();
    steps.join("; ")
}

/// Removals that wait, and what a person says to let them happen.
fn approval(name: &str, status: &AssignmentStatus, awaiting: Awaiting) -> Option<String> {
    let clusters = awaiting.clusters.max(status.awaiting_approval.into());
    let objects = match awaiting.objects {
        0 => "objects".to_owned(),
        some => count(some, "object"),
    };
    (clusters > 0).then(|| {
        format!(
            "{objects} on {} to be removed, more than maxPrune: \
             look at them and say `lockstep approve {name}`",
            count(clusters, "cluster"),
        )
    })
}

/// `4b7d0e8 by admin since …`
pub(super) fn pinned(status: &AssignmentStatus) -> Option<String> {
    let pin = status.pinned.as_ref()?;
    let by = by(&pin.by, pin.at.as_ref());
    Some(format!("{} {by}", short(&pin.revision)))
}

/// `by admin since …`
pub(super) fn paused(status: &AssignmentStatus) -> Option<String> {
    let pause = status.paused.as_ref()?;
    Some(by(&pause.by, pause.at.as_ref()))
}

/// What waits, and what it would change.
pub(super) fn what_waits(pending: &Pending) -> (String, String) {
    let subject = pending.commit.clone().unwrap_or_default().subject;
    let mut what = short(&pending.revision);
    if !subject.is_empty() {
        what = format!("{what} {subject:?}");
    }
    let changes = format!(
        "{} added, {} changed, {} removed",
        pending.added, pending.changed, pending.removed
    );
    (what, changes)
}

/// How a pin or a pause ends.
fn way_out(assignment: &Assignment, status: &AssignmentStatus) -> String {
    let name = name_of(assignment);
    let reference = assignment.spec.as_ref().and_then(|s| s.r#ref.as_ref());
    match reference {
        Some(reference) if status.pinned.is_some() && !is_manual(assignment) => {
            format!(
                "`lockstep resume {name}` goes back to {}",
                ref_text(reference)
            )
        }
        _ if status.pinned.is_some() => {
            format!("`lockstep resume {name}` goes back to what ran before")
        }
        _ => format!("`lockstep resume {name}` ends it"),
    }
}

fn name_of(assignment: &Assignment) -> &str {
    assignment
        .metadata
        .as_ref()
        .map_or("", |meta| meta.name.as_str())
}

fn by(who: &str, at: Option<&pbjson_types::Timestamp>) -> String {
    let since = format!("since {}", time_text(at));
    if who.is_empty() {
        since
    } else {
        format!("by {who} {since}")
    }
}

pub(super) fn count(n: u64, word: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {word}{plural}")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use lockstep_proto::v1::{self, AssignmentSpec, GitRef, ObjectMeta, Pause, Pin, SyncPolicy};

    fn time() -> Option<pbjson_types::Timestamp> {
        Some(pbjson_types::Timestamp {
            seconds: 1_700_000_000,
            nanos: 0,
        })
    }

    pub fn shop(mode: sync_mode::Name, status: AssignmentStatus) -> Assignment {
        Assignment {
            metadata: Some(ObjectMeta {
                name: "shop".into(),
                ..ObjectMeta::default()
            }),
            spec: Some(AssignmentSpec {
                r#ref: Some(GitRef {
                    branch: "main".into(),
                    ..GitRef::default()
                }),
                sync: Some(SyncPolicy {
                    mode: mode.into(),
                    ..SyncPolicy::default()
                }),
                ..AssignmentSpec::default()
            }),
            status: Some(status),
            ..Assignment::default()
        }
    }

    pub fn pin() -> Option<Pin> {
        Some(Pin {
            revision: "4b7d0e8".repeat(5),
            by: "admin".into(),
            at: time(),
        })
    }

    pub fn pause() -> Option<Pause> {
        Some(Pause {
            by: "admin".into(),
            at: time(),
        })
    }

    pub fn pending() -> Option<Pending> {
        Some(Pending {
            revision: "9f3c2a1".repeat(5),
            commit: Some(v1::CommitInfo {
                subject: "v0.6.0".into(),
                ..v1::CommitInfo::default()
            }),
            added: 1,
            changed: 2,
            ..Pending::default()
        })
    }

    #[test]
    fn each_hold_is_told_with_its_next_step() {
        use sync_mode::Name::{Auto, Manual};
        let status = |pinned, paused, pending| AssignmentStatus {
            pinned,
            paused,
            pending,
            ..AssignmentStatus::default()
        };
        let none = Awaiting::default();
        let some = Awaiting {
            objects: 12,
            clusters: 1,
        };
        for (mode, status, awaiting, want) in [
            (Auto, status(None, None, None), none, None),
            (
                Auto,
                status(pin(), None, None),
                none,
                Some(
                    "pinned to 4b7d0e8 by admin since 2023-11-14T22:13:20Z; \
                     `lockstep resume shop` goes back to main",
                ),
            ),
            (
                Manual,
                status(pin(), None, pending()),
                none,
                Some(
                    "pinned to 4b7d0e8 by admin since 2023-11-14T22:13:20Z, 9f3c2a1 \"v0.6.0\" waits; \
                     `lockstep resume shop` goes back to what ran before",
                ),
            ),
            (
                Auto,
                status(None, pause(), None),
                none,
                Some("paused by admin since 2023-11-14T22:13:20Z; `lockstep resume shop` ends it"),
            ),
            (
                Manual,
                status(None, None, pending()),
                none,
                Some(
                    "9f3c2a1 \"v0.6.0\" waits for `lockstep sync shop`: 1 added, 2 changed, 0 removed",
                ),
            ),
            (
                Auto,
                status(None, None, None),
                some,
                Some(
                    "12 objects on 1 cluster to be removed, more than maxPrune: \
                     look at them and say `lockstep approve shop`",
                ),
            ),
        ] {
            let got = words(&shop(mode, status), awaiting);
            assert_eq!(got.as_deref(), want);
        }
    }

    #[test]
    fn the_most_important_hold_is_the_stage() {
        use sync_mode::Name::{Auto, Manual};
        let state = |pinned, paused, awaiting_approval| AssignmentState {
            pinned,
            paused,
            awaiting_approval,
            ..AssignmentState::default()
        };
        for (state, mode, want) in [
            (state(true, true, 3), Manual, "pinned"),
            (state(false, true, 3), Manual, "paused"),
            (state(false, false, 3), Manual, "manual"),
            (state(false, false, 3), Auto, "approve"),
            (state(false, false, 0), Auto, "-"),
        ] {
            let shop = shop(mode, AssignmentStatus::default());
            assert_eq!(stage(&state, Some(&shop)), want);
        }
        assert_eq!(stage(&state(false, false, 0), None), "-");
    }
}

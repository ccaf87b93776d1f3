//! `lockstep wait`: blocks until an assignment has arrived everywhere.

use std::time::Duration;

use anyhow::bail;
use lockstep_proto::v1::{
    Assignment, AssignmentStatus, WatchRequest, kind, resource::Resource as Is, watch_event,
};

use super::standing::{self, Awaiting};
use crate::args::{WaitArgs, WaitFor};
use crate::hub::Hub;
use crate::term::Progress;
use crate::{Exit, term};

pub(crate) async fn run(hub: &mut Hub, args: WaitArgs) -> anyhow::Result<Exit> {
    let arrival = Arrival {
        name: &args.assignment,
        state: args.state,
        revision: args.revision.as_deref(),
    };
    until(hub, &arrival, args.timeout).await
}

/// What is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub name: &'a str,
    pub state: WaitFor,
    /// A commit, or how it begins.
    pub revision: Option<&'a str>,
}

/// Returns when the assignment has arrived, or the time ran out.
pub(super) async fn until(
    hub: &mut Hub,
    arrival: &Arrival<'_>,
    timeout: Duration,
) -> anyhow::Result<Exit> {
    let name = arrival.name;
    let mut lacking = format!("assignment {name}: the hub has not answered");
    let mut progress = Progress::new();
    let arrived = arrived(hub, arrival, &mut lacking, &mut progress);
    let outcome = tokio::time::timeout(timeout, arrived).await;
    drop(progress);
    match outcome {
        Ok(outcome) => outcome.map(|()| Exit::Done),
        Err(_) => {
            term::say(&format!("error: timed out: {lacking}"));
            Ok(Exit::Timeout)
        }
    }
}

/// Returns once it is true; until then `lacking` says what is missing.
async fn arrived(
    hub: &mut Hub,
    arrival: &Arrival<'_>,
    lacking: &mut String,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    let name = arrival.name;
    let request = WatchRequest {
        kind: kind::Name::Assignment.into(),
        names: vec![name.to_owned()],
        ..WatchRequest::default()
    };
    let mut events = hub.watch(request).await?.into_inner();
    let mut exists = false;
    while let Some(event) = events.message().await? {
        match (event.r#type(), event.resource.and_then(|r| r.resource)) {
            (watch_event::Type::Synced, _) if !exists => bail!("there is no assignment {name:?}"),
            (watch_event::Type::Deleted, _) => bail!("assignment {name} was deleted"),
            (_, Some(Is::Assignment(assignment))) => {
                exists = true;
                match missing(&assignment, arrival) {
                    None => return Ok(()),
                    Some(what) => *lacking = format!("assignment {name}: {what}"),
                }
                progress.show(lacking);
            }
            _ => {}
        }
    }
    bail!("the hub ended the watch; run the command again")
}

/// What is missing until the assignment has arrived; `None` when it has.
fn missing(assignment: &Assignment, arrival: &Arrival<'_>) -> Option<String> {
    let status: AssignmentStatus = assignment.status.clone().unwrap_or_default();
    let counts = status.clusters.unwrap_or_default();
    if !status.message.is_empty() {
        return Some(status.message);
    }
    let held = |what: String| match standing::words(assignment, Awaiting::default()) {
        Some(words) => format!("{what}; it is held: {words}"),
        None => what,
    };
    let starts = |revision: &&str| status.revision.starts_with(&revision.to_lowercase());
    if let Some(revision) = arrival.revision.filter(|r| !starts(r)) {
        let at = match status.revision.as_str() {
            "" => return Some(held("its ref is not resolved yet".into())),
            at => at,
        };
        return Some(held(format!("it is at {at}, not at {revision}")));
    }
    if status.revision.is_empty() {
        return Some(held("its ref is not resolved yet".into()));
    }
    if counts.total == 0 {
        return Some("no cluster is in its groups".into());
    }
    let (count, word) = match arrival.state {
        WaitFor::Synced => (counts.synced, "synced"),
        WaitFor::Healthy => (counts.synced.min(counts.healthy), "synced and healthy"),
    };
    (count < counts.total).then(|| {
        let mut text = format!("{count} of {} clusters are {word}", counts.total);
        for (n, state) in [(counts.failed, "failed"), (counts.offline, "offline")] {
            if n > 0 {
                text.push_str(&format!(", {n} {state}"));
            }
        }
        held(format!(
            "{text}; see `lockstep status --assignment {}`",
            arrival.name
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_proto::v1::ClusterCounts;

    fn assignment(
        revision: &str,
        message: &str,
        total: u32,
        synced: u32,
        healthy: u32,
    ) -> Assignment {
        Assignment {
            status: Some(AssignmentStatus {
                revision: revision.into(),
                message: message.into(),
                clusters: Some(ClusterCounts {
                    total,
                    synced,
                    healthy,
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn it_has_arrived_when_every_cluster_has_it() {
        use WaitFor::{Healthy, Synced};
        let rev = "9f3c2a1d";
        for (assignment, state, revision, arrived) in [
            (assignment(rev, "", 3, 3, 3), Synced, None, true),
            (assignment(rev, "", 3, 3, 2), Synced, Some("9F3c2"), true),
            (assignment(rev, "", 3, 3, 2), Healthy, None, false),
            (assignment(rev, "", 3, 2, 3), Synced, None, false),
            (assignment(rev, "", 3, 2, 3), Healthy, None, false),
            (assignment(rev, "", 3, 3, 3), Synced, Some("aaaa"), false),
            (assignment(rev, "broken", 3, 3, 3), Synced, None, false),
            (assignment("", "", 0, 0, 0), Synced, None, false),
            (assignment(rev, "", 0, 0, 0), Synced, None, false),
        ] {
            let name = "shop";
            let arrival = Arrival {
                name,
                state,
                revision,
            };
            let got = missing(&assignment, &arrival);
            assert_eq!(got.is_none(), arrived, "{got:?} {assignment:?}");
        }
    }
    #[test]
    fn what_holds_it_is_named_with_the_next_step() {
        use super::standing::tests::{pause, pending, shop};
        use lockstep_proto::v1::sync_mode::Name::{Auto, Manual};
        let status = |pending, paused| AssignmentStatus {
            revision: "4b7d0e8".repeat(5),
            clusters: Some(ClusterCounts {
                total: 2,
                ..ClusterCounts::default()
            }),
            pending,
            paused,
            ..AssignmentStatus::default()
        };
        for (assignment, revision, step) in [
            (
                shop(Manual, status(pending(), None)),
                Some("9f3c2a1"),
                "lockstep sync shop",
            ),
            (
                shop(Manual, status(pending(), None)),
                None,
                "lockstep sync shop",
            ),
            (
                shop(Auto, status(None, pause())),
                None,
                "lockstep resume shop",
            ),
        ] {
            let arrival = Arrival {
                name: "shop",
                state: WaitFor::Synced,
                revision,
            };
            let got = missing(&assignment, &arrival).unwrap();
            assert!(got.contains(step), "{got}");
        }
    }
}

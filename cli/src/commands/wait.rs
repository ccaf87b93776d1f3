//! `lockstep wait`: blocks until an assignment has arrived everywhere.

use anyhow::bail;
use lockstep_proto::v1::{
    Assignment, AssignmentStatus, WatchRequest, kind, resource::Resource as Is, watch_event,
};

use crate::args::{WaitArgs, WaitFor};
use crate::hub::Hub;
use crate::{Exit, term};

pub(crate) async fn run(hub: &mut Hub, args: WaitArgs) -> anyhow::Result<Exit> {
    let mut lacking = format!("assignment {}: the hub has not answered", args.assignment);
    match tokio::time::timeout(args.timeout, arrived(hub, &args, &mut lacking)).await {
        Ok(outcome) => outcome.map(|()| Exit::Done),
        Err(_) => {
            term::say(&format!("error: timed out: {lacking}"));
            Ok(Exit::Timeout)
        }
    }
}

/// Returns once it is true; until then `lacking` says what is missing.
async fn arrived(hub: &mut Hub, args: &WaitArgs, lacking: &mut String) -> anyhow::Result<()> {
    let name = &args.assignment;
    let request = WatchRequest {
        kind: kind::Name::Assignment.into(),
        names: vec![name.clone()],
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
                match missing(&assignment, args.state, args.revision.as_deref()) {
                    None => return Ok(()),
                    Some(what) => *lacking = format!("assignment {name}: {what}"),
                }
            }
            _ => {}
        }
    }
    bail!("the hub ended the watch; run the command again")
}

/// What is missing until the assignment has arrived; `None` when it has.
fn missing(assignment: &Assignment, state: WaitFor, revision: Option<&str>) -> Option<String> {
    let status: AssignmentStatus = assignment.status.clone().unwrap_or_default();
    let counts = status.clusters.unwrap_or_default();
    if !status.message.is_empty() {
        return Some(status.message);
    }
    if status.revision.is_empty() {
        return Some("its ref is not resolved yet".into());
    }
    if let Some(revision) = revision.filter(|r| !status.revision.starts_with(&r.to_lowercase())) {
        return Some(format!("it is at {}, not at {revision}", status.revision));
    }
    if counts.total == 0 {
        return Some("no cluster is in its groups".into());
    }
    let (count, word) = match state {
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
        format!("{text}; see `lockstep status --assignment NAME`")
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
            let got = missing(&assignment, state, revision);
            assert_eq!(got.is_none(), arrived, "{got:?} {assignment:?}");
        }
    }
}

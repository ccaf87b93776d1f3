//! `lockstep status`: what runs where, in one table, and what holds it there.

use std::collections::BTreeMap;
use std::time::SystemTime;

use lockstep_proto::v1::{
    Assignment, Resource, StatusRequest, StatusResponse, StatusRow, StatusSummary, connection,
    kind, resource::Resource as Is,
};

use super::standing::{self, Awaiting};
use super::{PAGE, list_all, rows};
use crate::Exit;
use crate::args::StatusArgs;
use crate::hub::Hub;
use crate::output::{self, Format};
use crate::term::{self, Table, age};

pub(crate) async fn run(hub: &mut Hub, args: StatusArgs) -> anyhow::Result<Exit> {
    let request = StatusRequest {
        assignment: args.assignment.clone(),
        group: args.group.clone(),
        label_selector: args.selector.clone(),
        page_size: PAGE,
        ..StatusRequest::default()
    };
    if args.watch {
        return watch(hub, request, &args).await;
    }
    let whole = fetch(hub, request).await?;
    if args.output.is_table() {
        let assignments = assignments(hub, &args.assignment).await?;
        term::print(&table(
            &whole,
            &assignments,
            SystemTime::now(),
            term::is_colourful(),
        ))?;
        for line in errors(&whole) {
            term::say(&line);
        }
    } else {
        let clusters = clusters(hub, &args).await?;
        let text = match &args.output {
            Format::Name => clusters.iter().map(|r| output::name_of(r) + "\n").collect(),
            machine => {
                let mut list = output::list_json(kind::Name::Cluster, &clusters)?;
                list["summary"] = serde_json::to_value(whole.summary.clone().unwrap_or_default())?;
                output::write_value(&list, machine)?
            }
        };
        term::print(&text)?;
    }
    Ok(if args.exit_code {
        exit(&whole)
    } else {
        Exit::Done
    })
}

/// All pages of the rows, with the summary of the last one.
async fn fetch(hub: &mut Hub, mut request: StatusRequest) -> anyhow::Result<StatusResponse> {
    let mut whole = StatusResponse::default();
    loop {
        let page = hub.status(request.clone()).await?.into_inner();
        whole.rows.extend(page.rows);
        whole.summary = page.summary;
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return Ok(whole);
        }
    }
}

/// The clusters that the filters select, with the selected assignment alone
/// where one is named.
async fn clusters(hub: &mut Hub, args: &StatusArgs) -> anyhow::Result<Vec<Resource>> {
    let mut found = list_all(hub, kind::Name::Cluster, &[], &args.selector).await?;
    found.retain_mut(|resource| {
        let Some(Is::Cluster(cluster)) = &mut resource.resource else {
            return false;
        };
        let status = cluster.status.get_or_insert_default();
        if !args.group.is_empty() && !status.groups.contains(&args.group) {
            return false;
        }
        if !args.assignment.is_empty() {
            status.assignments.retain(|a| a.name == args.assignment);
            return !status.assignments.is_empty();
        }
        true
    });
    Ok(found)
}

type Assignments = BTreeMap<String, Assignment>;

/// The assignments that rows may speak of: what holds them is said of them
/// and not of each row.
async fn assignments(hub: &mut Hub, name: &str) -> anyhow::Result<Assignments> {
    let names: Vec<_> = Some(name.to_owned())
        .filter(|n| !n.is_empty())
        .into_iter()
        .collect();
    let found = match list_all(hub, kind::Name::Assignment, &names, "").await {
        // Deleted since, or being removed from clusters.
        Err(error) if is_not_found(&error) => Vec::new(),
        found => found?,
    };
    Ok(found
        .into_iter()
        .filter_map(|resource| match resource.resource {
            Some(Is::Assignment(assignment)) => {
                let name = assignment.metadata.as_ref()?.name.clone();
                Some((name, assignment))
            }
            _ => None,
        })
        .collect())
}

fn is_not_found(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<tonic::Status>()
        .is_some_and(|status| status.code() == tonic::Code::NotFound)
}

async fn watch(hub: &mut Hub, request: StatusRequest, args: &StatusArgs) -> anyhow::Result<Exit> {
    let mut updates = hub.watch_status(request).await?.into_inner();
    let mut last = String::new();
    while let Some(update) = updates.message().await? {
        let text = if args.output.is_table() {
            let assignments = assignments(hub, &args.assignment).await?;
            let now = SystemTime::now();
            let mut text = table(&update, &assignments, now, term::is_colourful());
            for line in errors(&update) {
                text.push_str(&term::line(&line));
                text.push('\n');
            }
            text
        } else {
            let mut value = serde_json::to_value(&update)?;
            output::end_times_in_z(&mut value);
            output::write_value(&value, &args.output)?
        };
        if text == last {
            continue;
        }
        if args.output.is_table() && term::is_terminal() {
            // Home, the new table with each line's rest cleared, then all below it.
            let lines = text.replace('\n', "\x1b[K\n");
            let clear = if last.is_empty() { "\x1b[2J" } else { "" };
            term::print(&format!("{clear}\x1b[H{lines}\x1b[J"))?;
        } else {
            let gap = if last.is_empty() { "" } else { "\n" };
            term::print(&format!("{gap}{text}"))?;
        }
        last = text;
    }
    Ok(Exit::Done)
}

fn table(
    status: &StatusResponse,
    assignments: &Assignments,
    now: SystemTime,
    colour: bool,
) -> String {
    let mut table = Table::new(&[
        "CLUSTER",
        "GROUP",
        "CONN",
        "ASSIGNMENT",
        "DESIRED",
        "APPLIED",
        "SYNC",
        "HEALTH",
        "DRIFT",
        "STAGE",
        "SEEN",
    ]);
    for row in &status.rows {
        let name = row.assignment.as_ref().map_or("", |state| &state.name);
        table.row(cells(row, assignments.get(name), now));
    }
    let summary = status.summary.clone().unwrap_or_default();
    let mut text = format!("{}{}\n", table.render(colour), in_words(&summary));
    for line in holds(status, assignments) {
        text.push_str(&term::line(&line));
        text.push('\n');
    }
    text
}

/// One line for each assignment in the table that something holds.
fn holds(status: &StatusResponse, assignments: &Assignments) -> Vec<String> {
    let mut awaiting = BTreeMap::<&str, Awaiting>::new();
    for state in status.rows.iter().filter_map(|row| row.assignment.as_ref()) {
        awaiting.entry(&state.name).or_default().add(state);
    }
    awaiting
        .into_iter()
        .filter_map(|(name, awaiting)| {
            let words = standing::words(assignments.get(name)?, awaiting)?;
            Some(format!("{name}: {words}"))
        })
        .collect()
}

fn cells(row: &StatusRow, assignment: Option<&Assignment>, now: SystemTime) -> Vec<String> {
    let state = row.assignment.clone().unwrap_or_default();
    let mut cells = vec![
        row.cluster.clone(),
        rows::or_dash(&row.groups.join(",")),
        row.connection().as_str_name().to_owned(),
    ];
    if state.name.is_empty() {
        cells.extend(std::iter::repeat_n("-".to_owned(), 7));
    } else {
        let star = rows::star(state.stale);
        let drift = if state.stale {
            "-".to_owned()
        } else {
            state.drifted.to_string()
        };
        let stage = standing::stage(&state, assignment).to_owned();
        let name = if state.removing {
            format!("{} (removing)", state.name)
        } else {
            state.name.clone()
        };
        cells.extend([
            name,
            rows::short(&state.desired_revision),
            rows::short(&state.applied_revision),
            format!("{}{star}", state.sync().as_str_name()),
            format!("{}{star}", state.health().as_str_name()),
            drift,
            stage,
        ]);
    }
    cells.push(age(row.last_seen.as_ref(), now));
    cells
}

/// `3 clusters: 1 synced, 1 failed, 1 offline (* last known)`.
fn in_words(summary: &StatusSummary) -> String {
    let counts = [
        (summary.synced, "synced"),
        (summary.applying, "applying"),
        (summary.out_of_sync, "out of sync"),
        (summary.failed, "failed"),
        (summary.unknown, "unknown"),
        (summary.offline, "offline"),
    ];
    let parts: Vec<_> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let plural = if summary.clusters == 1 { "" } else { "s" };
    let mut text = format!("{} cluster{plural}", summary.clusters);
    if !parts.is_empty() {
        text.push_str(": ");
        text.push_str(&parts.join(", "));
    }
    if summary.offline > 0 {
        text.push_str(" (* last known)");
    }
    text
}

fn errors(status: &StatusResponse) -> Vec<String> {
    let errors = status.summary.iter().flat_map(|s| &s.assignment_errors);
    errors
        .map(|e| format!("assignment {}: {}", e.assignment, e.message))
        .collect()
}

fn exit(status: &StatusResponse) -> Exit {
    let summary = status.summary.clone().unwrap_or_default();
    let stale = status.rows.iter().any(|row| {
        row.connection() == connection::Status::Offline
            || row.assignment.as_ref().is_some_and(|a| a.stale)
    });
    match (summary.converged, stale || summary.offline > 0) {
        (true, _) => Exit::Done,
        (false, true) => Exit::Stale,
        (false, false) => Exit::NotConverged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_proto::v1::{AssignmentState, health, sync};
    use std::time::Duration;

    fn fleet() -> StatusResponse {
        let row =
            |cluster: &str, online: bool, applied: &str, sync: sync::Status, seen: i64| StatusRow {
                cluster: cluster.into(),
                groups: vec!["prod".into()],
                connection: if online {
                    connection::Status::Online
                } else {
                    connection::Status::Offline
                }
                .into(),
                assignment: Some(AssignmentState {
                    name: "shop".into(),
                    desired_revision: "9f3c2a1".repeat(6),
                    applied_revision: applied.repeat(6),
                    sync: sync.into(),
                    health: health::Status::Healthy.into(),
                    stale: !online,
                    ..Default::default()
                }),
                last_seen: Some(pbjson_types::Timestamp {
                    seconds: 10_000 - seen,
                    nanos: 0,
                }),
            };
        StatusResponse {
            rows: vec![
                row("eu-1", true, "9f3c2a1", sync::Status::Synced, 3),
                row("eu-2", false, "4b7d0e8", sync::Status::Unknown, 14 * 60),
            ],
            summary: Some(StatusSummary {
                clusters: 2,
                synced: 1,
                offline: 1,
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn the_table_answers_the_question_that_matters() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        assert_eq!(
            table(&fleet(), &Assignments::new(), now, false),
            "\
CLUSTER  GROUP  CONN     ASSIGNMENT  DESIRED  APPLIED  SYNC      HEALTH    DRIFT  STAGE  SEEN
eu-1     prod   Online   shop        9f3c2a1  9f3c2a1  Synced    Healthy   0      -      3s
eu-2     prod   Offline  shop        9f3c2a1  4b7d0e8  Unknown*  Healthy*  -      -      14m
2 clusters: 1 synced, 1 offline (* last known)
"
        );
    }

    #[test]
    fn what_holds_an_assignment_stands_under_stage_and_below_the_table() {
        use super::standing::tests::{pin, shop};
        use lockstep_proto::v1::{AssignmentStatus, sync_mode::Name};
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        let mut fleet = fleet();
        let state = fleet.rows[0].assignment.as_mut().unwrap();
        state.awaiting_approval = 12;
        let status = AssignmentStatus {
            pinned: pin(),
            ..AssignmentStatus::default()
        };
        let shown = |mode, status| {
            let assignments = Assignments::from([("shop".to_owned(), shop(mode, status))]);
            table(&fleet, &assignments, now, false)
        };
        let text = shown(Name::Auto, status);
        assert_eq!(text.matches("  pinned  ").count(), 2, "{text}");
        assert!(
            text.ends_with(
                "\nshop: pinned to 4b7d0e8 by admin since 2023-11-14T22:13:20Z; \
                 `lockstep resume shop` goes back to main; 12 objects on 1 cluster to be removed, \
                 more than maxPrune: look at them and say `lockstep approve shop`\n"
            ),
            "{text}"
        );
        let text = shown(Name::Auto, AssignmentStatus::default());
        assert_eq!(text.matches("  approve  ").count(), 1, "{text}");
        let text = shown(Name::Manual, AssignmentStatus::default());
        assert_eq!(text.matches("  manual  ").count(), 2, "{text}");
    }

    #[test]
    fn exit_codes_tell_converged_from_stale_from_not_yet() {
        let mut status = fleet();
        assert_eq!(exit(&status), Exit::Stale);
        status.rows.pop();
        status.summary.as_mut().unwrap().offline = 0;
        assert_eq!(exit(&status), Exit::NotConverged);
        status.summary.as_mut().unwrap().converged = true;
        assert_eq!(exit(&status), Exit::Done);
    }
}

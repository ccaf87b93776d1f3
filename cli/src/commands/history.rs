//! `lockstep history`: the revisions that an assignment has had, by cluster,
//! and what happened to its objects.

use lockstep_proto::API_VERSION;
use lockstep_proto::v1::{
    HistoryEntry, HistoryRequest, ObjectEvent, health, history_entry::Cause, object_event::Type,
    sync,
};
use pbjson_types::Timestamp;
use serde_json::{Value, json};

use super::PAGE;
use super::rows::{or_dash, short, time_text};
use crate::args::HistoryArgs;
use crate::hub::Hub;
use crate::output::{self, Format};
use crate::term::{self, Table};
use crate::{Exit, Usage};

pub(crate) async fn run(hub: &mut Hub, args: HistoryArgs) -> anyhow::Result<Exit> {
    if matches!(args.output, Format::Name) {
        return Err(Usage(format!(
            "-o name: history has no names; use {}",
            Format::UNNAMED
        ))
        .into());
    }
    let entries = fetch(hub, &args).await?;
    if !args.output.is_table() {
        let items = entries.iter().map(to_json).collect::<Result<Vec<_>, _>>()?;
        let list = json!({
            "apiVersion": API_VERSION,
            "kind": "HistoryList",
            "items": items,
        });
        term::print(&output::write_value(&list, &args.output)?)?;
        return Ok(Exit::Done);
    }
    if entries.is_empty() {
        term::say("no history yet: no cluster has been given a revision");
        return Ok(Exit::Done);
    }
    let wide = matches!(args.output, Format::Wide);
    term::print(&table(&entries, wide).render(term::is_colourful()))?;
    Ok(Exit::Done)
}

fn to_json(entry: &HistoryEntry) -> serde_json::Result<Value> {
    let mut json = serde_json::to_value(entry)?;
    if let Value::Object(fields) = &mut json {
        // What happened to one object has no sync and health.
        fields.retain(|_, value| value != "Unspecified");
    }
    output::end_times_in_z(&mut json);
    Ok(json)
}

async fn fetch(hub: &mut Hub, args: &HistoryArgs) -> anyhow::Result<Vec<HistoryEntry>> {
    let limit = args.limit.map_or(usize::MAX, |n| n as usize);
    let mut request = HistoryRequest {
        assignment: args.assignment.clone(),
        cluster: args.cluster.clone(),
        ..HistoryRequest::default()
    };
    let mut entries = Vec::new();
    loop {
        let lacking = limit.saturating_sub(entries.len());
        request.page_size = u32::try_from(lacking).map_or(PAGE, |n| n.min(PAGE));
        let page = hub.history(request.clone()).await?.into_inner();
        entries.extend(page.items);
        entries.truncate(limit);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() || entries.len() == limit {
            return Ok(entries);
        }
    }
}

fn table(entries: &[HistoryEntry], wide: bool) -> Table {
    let mut header = vec![
        "AT", "CLUSTER", "REVISION", "BY", "CAUSE", "SYNC", "HEALTH", "TOOK", "ENDED", "MESSAGE",
    ];
    if wide {
        header.extend(["SUBJECT", "DIGEST"]);
    }
    let mut table = Table::new(&header);
    for entry in entries {
        table.row(row(entry, wide));
    }
    table
}

fn row(entry: &HistoryEntry, wide: bool) -> Vec<String> {
    let mut cells = vec![
        time_text(entry.at.as_ref()),
        or_dash(&entry.cluster),
        short(&entry.revision),
    ];
    if let Some(event) = &entry.event {
        cells.extend([
            or_dash(&event.manager),
            known(
                event.r#type() != Type::Unspecified,
                event.r#type().as_str_name(),
            ),
            "-".to_owned(),
            "-".to_owned(),
            "-".to_owned(),
            "-".to_owned(),
            in_words(event),
        ]);
    } else {
        cells.extend([
            or_dash(&entry.by),
            known(
                entry.cause() != Cause::Unspecified,
                entry.cause().as_str_name(),
            ),
            known(
                entry.sync() != sync::Status::Unspecified,
                entry.sync().as_str_name(),
            ),
            known(
                entry.health() != health::Status::Unspecified,
                entry.health().as_str_name(),
            ),
            took(entry.at.as_ref(), entry.synced_at.as_ref()),
            time_text(entry.ended_at.as_ref()),
            or_dash(&entry.message),
        ]);
    }
    if wide {
        let commit = entry.commit.clone().unwrap_or_default();
        cells.push(or_dash(&commit.subject));
        cells.push(or_dash(entry.digest.get(..19).unwrap_or(&entry.digest)));
    }
    cells
}

fn known(is: bool, word: &str) -> String {
    if is { word.to_owned() } else { "-".to_owned() }
}

/// `drift of apps/v1 Deployment shop/web: .spec.replicas changed by
/// kubectl-scale: put back`
fn in_words(event: &ObjectEvent) -> String {
    let object = &event.object;
    let mut fields = event.fields.join(", ");
    if event.more_fields > 0 {
        fields.push_str(&format!(" and {} more", event.more_fields));
    }
    let by = if event.manager.is_empty() {
        String::new()
    } else {
        format!(" by {}", event.manager)
    };
    let drift = if fields.is_empty() {
        format!("drift of {object}")
    } else {
        format!("drift of {object}: {fields} changed{by}")
    };
    let mut text = match event.r#type() {
        // A deletion has no fields, and says so itself.
        Type::Drifted if fields.is_empty() && event.message.is_empty() => {
            format!("{drift}: changed or deleted{by}")
        }
        Type::Drifted => drift,
        Type::Corrected if event.message.is_empty() => format!("{drift}: put back"),
        Type::Corrected => drift,
        Type::Adopted => format!("adopted {object}{}", by.replacen(" by ", " from ", 1)),
        Type::Replaced if fields.is_empty() => format!("replaced {object}"),
        Type::Replaced => format!("replaced {object}: {fields} cannot be changed in place"),
        Type::Unspecified => object.clone(),
    };
    if !event.message.is_empty() {
        text.push_str(": ");
        text.push_str(&event.message);
    }
    text
}

/// From when it was asked for to when it was applied: `0.4s`, `12s`, `3m`.
fn took(from: Option<&Timestamp>, to: Option<&Timestamp>) -> String {
    let (Some(from), Some(to)) = (from, to) else {
        return "-".to_owned();
    };
    let seconds = to.seconds - from.seconds;
    let millis = (seconds * 1000 + i64::from(to.nanos - from.nanos) / 1_000_000).max(0);
    match millis {
        0..10_000 => format!("{}.{}s", millis / 1000, millis % 1000 / 100),
        10_000..120_000 => format!("{}s", millis / 1000),
        120_000..7_200_000 => format!("{}m", millis / 60_000),
        _ => format!("{}h", millis / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64, nanos: i32) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos })
    }

    #[test]
    fn revisions_and_drift_stand_in_one_table() {
        let rolled_back = HistoryEntry {
            at: time(1_700_000_000, 0),
            cluster: "eu-1".into(),
            cause: Cause::Rollback.into(),
            by: "admin".into(),
            revision: "4b7d0e8".repeat(5),
            sync: sync::Status::Synced.into(),
            health: health::Status::Healthy.into(),
            synced_at: time(1_700_000_001, 250_000_000),
            ..HistoryEntry::default()
        };
        let drift = HistoryEntry {
            at: time(1_700_000_060, 0),
            cluster: "eu-1".into(),
            cause: Cause::Object.into(),
            revision: "4b7d0e8".repeat(5),
            event: Some(ObjectEvent {
                object: "apps/v1 Deployment shop/web".into(),
                r#type: Type::Corrected.into(),
                fields: vec![".spec.replicas".into()],
                manager: "kubectl-scale".into(),
                ..ObjectEvent::default()
            }),
            ..HistoryEntry::default()
        };
        assert_eq!(
            table(&[drift, rolled_back], false).render(false),
            "\
AT                    CLUSTER  REVISION  BY             CAUSE      SYNC    HEALTH   TOOK  ENDED  MESSAGE
2023-11-14T22:14:20Z  eu-1     4b7d0e8   kubectl-scale  Corrected  -       -        -     -      drift of apps/v1 Deployment shop/web: .spec.replicas changed by kubectl-scale: put back
2023-11-14T22:13:20Z  eu-1     4b7d0e8   admin          Rollback   Synced  Healthy  1.2s  -      -
"
        );
    }

    #[test]
    fn events_are_told_in_words() {
        let event = |kind: Type, fields: &[&str], manager: &str, message: &str| {
            in_words(&ObjectEvent {
                object: "v1 ConfigMap shop/a".into(),
                r#type: kind.into(),
                fields: fields.iter().map(|&f| f.to_owned()).collect(),
                more_fields: u32::from(fields.len() == 2),
                manager: manager.into(),
                message: message.into(),
                ..ObjectEvent::default()
            })
        };
        for (got, want) in [
            (
                event(Type::Drifted, &[".data.a", ".data.b"], "", ""),
                "drift of v1 ConfigMap shop/a: .data.a, .data.b and 1 more changed",
            ),
            (
                event(Type::Drifted, &[], "", "deleted by somebody"),
                "drift of v1 ConfigMap shop/a: deleted by somebody",
            ),
            (
                event(Type::Corrected, &[], "", "made again"),
                "drift of v1 ConfigMap shop/a: made again",
            ),
            (
                event(Type::Corrected, &[".data.a"], "kubectl-edit", ""),
                "drift of v1 ConfigMap shop/a: .data.a changed by kubectl-edit: put back",
            ),
            (
                event(Type::Adopted, &[], "helm", ""),
                "adopted v1 ConfigMap shop/a from helm",
            ),
            (
                event(Type::Replaced, &[".data"], "", ""),
                "replaced v1 ConfigMap shop/a: .data cannot be changed in place",
            ),
        ] {
            assert_eq!(got, want);
        }
    }

    #[test]
    fn what_it_took_is_short() {
        let from = time(100, 900_000_000);
        for (to, want) in [
            (time(101, 300_000_000), "0.4s"),
            (time(100, 0), "0.0s"),
            (time(130, 900_000_000), "30s"),
            (time(1000, 0), "14m"),
            (None, "-"),
        ] {
            assert_eq!(took(from.as_ref(), to.as_ref()), want);
        }
    }
}

//! The columns of `lockstep get`, one set for each kind.

use std::time::SystemTime;

use lockstep_proto::v1::{self, ClusterCounts, Resource, kind, resource::Resource as Is};

use super::standing::{self, Awaiting};
use crate::term::age;

pub(super) fn header(kind: kind::Name, wide: bool) -> Vec<&'static str> {
    let (mut columns, more): (Vec<_>, &[_]) = match kind {
        kind::Name::Cluster => (
            vec!["NAME", "CONN", "SYNC", "HEALTH", "ASSIGNMENTS", "SEEN"],
            &["GROUPS", "AGENT", "KUBERNETES", "LABELS", "AGE"],
        ),
        kind::Name::ClusterGroup => (
            vec!["NAME", "CLUSTERS", "SYNCED", "FAILED", "OFFLINE"],
            &["SELECTOR", "AGE"],
        ),
        kind::Name::Repository => (
            vec!["NAME", "URL", "FETCHED", "MESSAGE"],
            &["HEAD", "CREDENTIAL", "AGE"],
        ),
        kind::Name::Assignment => (
            vec![
                "NAME",
                "REPOSITORY",
                "REF",
                "PATH",
                "REVISION",
                "SYNCED",
                "HEALTHY",
                "MESSAGE",
            ],
            &["GROUPS", "OBJECTS", "DIGEST", "SUBJECT", "MODE", "AGE"],
        ),
        kind::Name::JoinToken => (
            vec!["ID", "CLUSTER", "EXPIRES", "STATE"],
            &["LABELS", "AGE"],
        ),
        kind::Name::Credential => (vec!["NAME", "TYPE", "USERNAME", "REPOSITORIES"], &["AGE"]),
        kind::Name::Unspecified => (vec!["NAME"], &[]),
    };
    if wide {
        columns.extend(more);
    }
    columns
}

pub(super) fn row(resource: &Resource, wide: bool, now: SystemTime) -> Vec<String> {
    let mut cells = vec![resource.name().to_owned()];
    let mut more = Vec::new();
    match &resource.resource {
        Some(Is::Cluster(c)) => {
            let status = c.status.clone().unwrap_or_default();
            let stale = star(status.connection() == v1::connection::Status::Offline);
            cells.extend([
                status.connection().as_str_name().to_owned(),
                format!("{}{stale}", status.sync().as_str_name()),
                format!("{}{stale}", status.health().as_str_name()),
                status.assignments.len().to_string(),
                age(status.last_seen.as_ref(), now),
            ]);
            more.extend([
                or_dash(&status.groups.join(",")),
                or_dash(&status.agent_version),
                or_dash(&status.kubernetes_version),
                labels(c.metadata.as_ref()),
            ]);
        }
        Some(Is::ClusterGroup(g)) => {
            let counts = g
                .status
                .as_ref()
                .and_then(|s| s.clusters)
                .unwrap_or_default();
            cells.extend(
                [counts.total, counts.synced, counts.failed, counts.offline].map(|n| n.to_string()),
            );
            let selector = g.spec.as_ref().and_then(|s| s.selector.as_ref());
            more.push(selector.map_or_else(|| "-".to_owned(), selector_text));
        }
        Some(Is::Repository(r)) => {
            let (spec, status) = (
                r.spec.clone().unwrap_or_default(),
                r.status.clone().unwrap_or_default(),
            );
            cells.extend([
                spec.url,
                age(status.last_fetched.as_ref(), now),
                or_dash(&status.message),
            ]);
            let heads: Vec<_> = status
                .head
                .iter()
                .map(|h| format!("{}@{}", h.r#ref, short(&h.revision)))
                .collect();
            more.extend([or_dash(&heads.join(",")), or_dash(&spec.credential)]);
        }
        Some(Is::Assignment(a)) => {
            // What is wrong comes before what holds it.
            let held = standing::words(a, Awaiting::default()).unwrap_or_default();
            let (spec, status) = (
                a.spec.clone().unwrap_or_default(),
                a.status.clone().unwrap_or_default(),
            );
            let counts: ClusterCounts = status.clusters.unwrap_or_default();
            cells.extend([
                spec.repository,
                spec.r#ref.as_ref().map_or_else(|| "-".to_owned(), ref_text),
                if spec.path.is_empty() {
                    ".".to_owned()
                } else {
                    spec.path
                },
                short(&status.revision),
                format!("{}/{}", counts.synced, counts.total),
                format!("{}/{}", counts.healthy, counts.total),
                or_dash(if status.message.is_empty() {
                    &held
                } else {
                    &status.message
                }),
            ]);
            more.extend([
                or_dash(&spec.cluster_groups.join(",")),
                status.objects.to_string(),
                or_dash(status.digest.get(..19).unwrap_or(&status.digest)),
                or_dash(&status.commit.unwrap_or_default().subject),
                standing::mode(a).to_owned(),
            ]);
        }
        Some(Is::JoinToken(t)) => {
            let (spec, status) = (
                t.spec.clone().unwrap_or_default(),
                t.status.clone().unwrap_or_default(),
            );
            let state = match (&status.revoked_at, &status.used_at, &status.expires_at) {
                (Some(_), _, _) => "revoked",
                (_, Some(_), _) => "used",
                (_, _, Some(t)) if age(Some(t), now) != "0s" => "expired",
                _ => "valid",
            };
            let until = status
                .expires_at
                .as_ref()
                .map_or_else(|| "-".to_owned(), |t| t.to_string_rfc3339());
            cells.extend([spec.cluster, until, state.to_owned()]);
            more.push(joined(&spec.labels));
        }
        Some(Is::Credential(c)) => {
            let (spec, status) = (
                c.spec.clone().unwrap_or_default(),
                c.status.clone().unwrap_or_default(),
            );
            cells.extend([
                spec.r#type().as_str_name().to_owned(),
                or_dash(&spec.username),
                or_dash(&status.repositories.join(",")),
            ]);
        }
        None => {}
    }
    if wide {
        more.push(age(
            resource.metadata().and_then(|m| m.created_at.as_ref()),
            now,
        ));
        cells.extend(more);
    }
    cells
}

trait Rfc3339 {
    fn to_string_rfc3339(&self) -> String;
}

impl Rfc3339 for pbjson_types::Timestamp {
    fn to_string_rfc3339(&self) -> String {
        jiff::Timestamp::new(self.seconds, self.nanos)
            .and_then(|t| t.round(jiff::Unit::Second))
            .map_or_else(|_| "-".to_owned(), |t| t.to_string())
    }
}

/// A time as it stands in YAML and descriptions; `-` where there is none.
pub(super) fn time_text(time: Option<&pbjson_types::Timestamp>) -> String {
    time.map_or_else(|| "-".to_owned(), Rfc3339::to_string_rfc3339)
}

pub(super) fn star(stale: bool) -> &'static str {
    if stale { "*" } else { "" }
}

/// The first seven digits of a commit, `-` for none.
pub(super) fn short(revision: &str) -> String {
    or_dash(revision.get(..7).unwrap_or(revision))
}

pub(super) fn or_dash(text: &str) -> String {
    if text.is_empty() {
        "-".to_owned()
    } else {
        text.to_owned()
    }
}

pub(super) fn ref_text(r: &v1::GitRef) -> String {
    match (r.branch.as_str(), r.tag.as_str(), r.commit.as_str()) {
        ("", "", commit) => short(commit),
        ("", tag, _) => format!("tag {tag}"),
        (branch, _, _) => branch.to_owned(),
    }
}

pub(super) fn labels(metadata: Option<&v1::ObjectMeta>) -> String {
    metadata.map_or_else(|| "-".to_owned(), |m| joined(&m.labels))
}

fn joined(labels: &std::collections::BTreeMap<String, String>) -> String {
    let pairs: Vec<_> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    or_dash(&pairs.join(","))
}

/// A selector in the syntax that `-l` takes; `*` matches everything.
pub(super) fn selector_text(selector: &v1::LabelSelector) -> String {
    use v1::label_selector_requirement::Operator;
    let mut terms: Vec<_> = selector
        .match_labels
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    for e in &selector.match_expressions {
        let values = e.values.join(",");
        terms.push(match e.operator() {
            Operator::In => format!("{} in ({values})", e.key),
            Operator::NotIn => format!("{} notin ({values})", e.key),
            Operator::DoesNotExist => format!("!{}", e.key),
            Operator::Exists | Operator::Unspecified => e.key.clone(),
        });
    }
    if terms.is_empty() {
        "*".to_owned()
    } else {
        terms.join(",")
    }
}

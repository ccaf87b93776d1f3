//! `lockstep describe`: all that is known of one resource, in words.

use std::fmt::Write as _;
use std::time::SystemTime;

use lockstep_proto::v1::{
    self, Assignment, AssignmentState, Cluster, ClusterCounts, ClusterGroup, Credential, JoinToken,
    ObjectMeta, Repository, StatusRequest, StatusRow, SyncPolicy, adopt, drift, kind,
    resource::Resource as Is,
};

use super::standing::{self, Awaiting};
use super::{PAGE, get_one, rows};
use crate::Exit;
use crate::args::DescribeArgs;
use crate::hub::Hub;
use crate::term::{self, age};

pub(crate) async fn run(hub: &mut Hub, args: DescribeArgs) -> anyhow::Result<Exit> {
    let resource = get_one(hub, args.kind, &args.name).await?;
    let mut page = Page::default();
    match resource.resource {
        Some(Is::Cluster(m)) => cluster(&mut page, &m),
        Some(Is::ClusterGroup(m)) => group(&mut page, &m),
        Some(Is::Repository(m)) => repository(&mut page, &m),
        Some(Is::Assignment(m)) => {
            let request = StatusRequest {
                assignment: args.name,
                only_problems: true,
                page_size: PAGE,
                ..StatusRequest::default()
            };
            let rows = hub.status(request).await?.into_inner().rows;
            assignment(&mut page, &m, &rows);
        }
        Some(Is::JoinToken(m)) => join_token(&mut page, &m),
        Some(Is::Credential(m)) => credential(&mut page, &m),
        None => anyhow::bail!("the hub sent a kind that this lockstep does not know"),
    }
    term::print(&page.text)?;
    Ok(Exit::Done)
}

/// Lines of `Name:  value`, indented by what they belong to.
#[derive(Default)]
struct Page {
    text: String,
    depth: usize,
}

impl Page {
    fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        let indent = "  ".repeat(self.depth);
        let value = value.to_string();
        if value.is_empty() {
            return;
        }
        let width = 20usize.saturating_sub(indent.len());
        let name = format!("{name}:");
        let mut name = name.as_str();
        for part in term::lines(&value).lines() {
            // Writing to a String cannot fail.
            let _ = writeln!(self.text, "{indent}{name:<width$} {part}");
            name = "";
        }
    }

    fn section(&mut self, name: &str, fill: impl FnOnce(&mut Self)) {
        let _ = writeln!(
            self.text,
            "{}{}:",
            "  ".repeat(self.depth),
            term::line(name)
        );
        self.depth += 1;
        fill(self);
        self.depth -= 1;
    }

    fn meta(&mut self, kind: kind::Name, meta: Option<&ObjectMeta>) {
        self.line("Kind", kind.as_str_name());
        let Some(meta) = meta else { return };
        self.line("Name", &meta.name);
        if !meta.labels.is_empty() {
            self.line("Labels", rows::labels(Some(meta)));
        }
        self.line("UID", &meta.uid);
        self.line("Created", rows::time_text(meta.created_at.as_ref()));
        self.line("Generation", meta.generation);
    }

    fn counts(&mut self, counts: &ClusterCounts) {
        self.line(
            "Clusters",
            format!(
                "{} total: {} synced, {} applying, {} out of sync, {} failed, {} unknown; {} healthy; {} offline",
                counts.total, counts.synced, counts.applying, counts.out_of_sync, counts.failed,
                counts.unknown, counts.healthy, counts.offline
            ),
        );
    }

    fn state(&mut self, state: &AssignmentState) {
        let star = rows::star(state.stale);
        self.line("Sync", format!("{}{star}", state.sync().as_str_name()));
        self.line("Health", format!("{}{star}", state.health().as_str_name()));
        self.line("Message", &state.message);
        self.line(
            "Desired",
            revision(&state.desired_revision, &state.desired_digest),
        );
        self.line(
            "Applied",
            revision(&state.applied_revision, &state.applied_digest),
        );
        self.line(
            "Objects",
            format!("{}, {} drifted", state.objects, state.drifted),
        );
        if state.removing {
            self.line("Removing", "yes");
        }
        let name = &state.name;
        if state.pinned {
            self.line("Pinned", format!("until `lockstep resume {name}`"));
        }
        if state.paused {
            self.line("Paused", format!("until `lockstep resume {name}`"));
        }
        if state.awaiting_approval > 0 {
            self.line(
                "Awaiting approval",
                format!(
                    "{} to be removed, more than maxPrune: `lockstep approve {name}`",
                    standing::count(state.awaiting_approval.into(), "object")
                ),
            );
        }
        self.line("Observed", rows::time_text(state.observed_at.as_ref()));
        for problem in &state.problems {
            self.section(&problem.object, |page| {
                if problem.sync() != v1::sync::Status::Unspecified {
                    page.line("Sync", problem.sync().as_str_name());
                }
                if problem.health() != v1::health::Status::Unspecified {
                    page.line("Health", problem.health().as_str_name());
                }
                page.line("Message", &problem.message);
            });
        }
        if state.more_problems > 0 {
            self.line(
                "More",
                format!("{} more objects have problems", state.more_problems),
            );
        }
    }
}

fn revision(revision: &str, digest: &str) -> String {
    match (revision, digest) {
        ("", _) => "-".to_owned(),
        (revision, "") => revision.to_owned(),
        (revision, digest) => format!("{revision} ({digest})"),
    }
}

fn cluster(page: &mut Page, m: &Cluster) {
    page.meta(kind::Name::Cluster, m.metadata.as_ref());
    let status = m.status.clone().unwrap_or_default();
    page.line("Connection", status.connection().as_str_name());
    let seen = age(status.last_seen.as_ref(), SystemTime::now());
    page.line(
        "Last seen",
        format!(
            "{} ({seen} ago)",
            rows::time_text(status.last_seen.as_ref())
        ),
    );
    page.line("Agent", &status.agent_version);
    page.line("Kubernetes", &status.kubernetes_version);
    page.line("Groups", rows::or_dash(&status.groups.join(", ")));
    page.line("Sync", status.sync().as_str_name());
    page.line("Health", status.health().as_str_name());
    page.line("Message", &status.message);
    for state in &status.assignments {
        page.section(&format!("Assignment {}", state.name), |page| {
            page.state(state);
        });
    }
}

fn group(page: &mut Page, m: &ClusterGroup) {
    page.meta(kind::Name::ClusterGroup, m.metadata.as_ref());
    if let Some(selector) = m.spec.as_ref().and_then(|s| s.selector.as_ref()) {
        page.line("Selector", rows::selector_text(selector));
    }
    page.counts(
        &m.status
            .as_ref()
            .and_then(|s| s.clusters)
            .unwrap_or_default(),
    );
}

fn repository(page: &mut Page, m: &Repository) {
    page.meta(kind::Name::Repository, m.metadata.as_ref());
    let (spec, status) = (
        m.spec.clone().unwrap_or_default(),
        m.status.clone().unwrap_or_default(),
    );
    page.line("URL", &spec.url);
    page.line(
        "Poll",
        if spec.poll.is_empty() {
            "default"
        } else {
            &spec.poll
        },
    );
    page.line("Credential", &spec.credential);
    page.line("Webhook secret", &spec.webhook_secret);
    page.line(
        "CA bundle",
        if spec.ca_bundle.is_empty() {
            ""
        } else {
            "given"
        },
    );
    for head in &status.head {
        page.line("Head", format!("{} at {}", head.r#ref, head.revision));
    }
    page.line(
        "Last fetched",
        rows::time_text(status.last_fetched.as_ref()),
    );
    page.line(
        "Last attempt",
        rows::time_text(status.last_attempt.as_ref()),
    );
    page.line("Message", &status.message);
}

fn assignment(page: &mut Page, m: &Assignment, problems: &[StatusRow]) {
    page.meta(kind::Name::Assignment, m.metadata.as_ref());
    let (spec, status) = (
        m.spec.clone().unwrap_or_default(),
        m.status.clone().unwrap_or_default(),
    );
    page.line("Repository", &spec.repository);
    page.line(
        "Ref",
        spec.r#ref.as_ref().map_or_else(String::new, rows::ref_text),
    );
    page.line(
        "Path",
        if spec.path.is_empty() {
            "."
        } else {
            &spec.path
        },
    );
    page.line("Groups", spec.cluster_groups.join(", "));
    page.line("Namespace", &spec.namespace);
    policy(page, &spec.sync.clone().unwrap_or_default());
    let depends: Vec<_> = spec
        .depends_on
        .iter()
        .map(|d| d.assignment.clone())
        .collect();
    page.line("Depends on", depends.join(", "));
    page.line("Mode", standing::mode(m));
    page.line("Pinned", standing::pinned(&status).unwrap_or_default());
    page.line("Paused", standing::paused(&status).unwrap_or_default());
    if let Some(pending) = &status.pending {
        let (what, changes) = standing::what_waits(pending);
        page.line("Waits", format!("{what}: {changes}"));
        page.line("Changes", pending.changes.join("\n"));
    }
    let mut awaiting = Awaiting::default();
    for state in problems.iter().filter_map(|row| row.assignment.as_ref()) {
        awaiting.add(state);
    }
    page.line("Next step", standing::next_step(m, awaiting));
    page.line("Revision", revision(&status.revision, &status.digest));
    if let Some(commit) = &status.commit {
        page.line(
            "Commit",
            format!(
                "{:?} by {}, {}",
                commit.subject,
                commit.author,
                rows::time_text(commit.time.as_ref())
            ),
        );
    }
    page.line("Objects", status.objects);
    page.line("Message", &status.message);
    page.counts(&status.clusters.unwrap_or_default());
    for row in problems {
        let state = row.assignment.clone().unwrap_or_default();
        let title = format!(
            "Cluster {} ({})",
            row.cluster,
            row.connection().as_str_name()
        );
        page.section(&title, |page| page.state(&state));
    }
}

/// What `spec.sync` says, with the defaults where it says nothing.
fn policy(page: &mut Page, sync: &SyncPolicy) {
    let or = |said: &str, default: &str| if said.is_empty() { default } else { said }.to_owned();
    page.line("Prune", sync.prune.unwrap_or(true));
    page.line("Max prune", or(&sync.max_prune, "20%"));
    page.line("Prune kinds", sync.prune_kinds.join(", "));
    page.line("Create namespace", sync.create_namespace.unwrap_or(true));
    let drift = match sync.drift() {
        drift::Policy::Unspecified => drift::Policy::Correct,
        said => said,
    };
    page.line("Drift", drift.as_str_name());
    let adopt = match sync.adopt() {
        adopt::Policy::Unspecified => adopt::Policy::IfUnowned,
        said => said,
    };
    page.line("Adopt", adopt.as_str_name());
    page.line("Timeout", or(&sync.timeout, "10m"));
    if !sync.ignore.is_empty() {
        page.line(
            "Ignore",
            format!(
                "{} (see -o yaml)",
                standing::count(sync.ignore.len() as u64, "rule")
            ),
        );
    }
    if !sync.health.is_empty() {
        page.line(
            "Health rules",
            format!(
                "{} (see -o yaml)",
                standing::count(sync.health.len() as u64, "rule")
            ),
        );
    }
}

fn join_token(page: &mut Page, m: &JoinToken) {
    page.meta(kind::Name::JoinToken, m.metadata.as_ref());
    let (spec, status) = (
        m.spec.clone().unwrap_or_default(),
        m.status.clone().unwrap_or_default(),
    );
    page.line("Cluster", &spec.cluster);
    page.line("Expires", rows::time_text(status.expires_at.as_ref()));
    page.line("Used", rows::time_text(status.used_at.as_ref()));
    page.line("Revoked", rows::time_text(status.revoked_at.as_ref()));
}

fn credential(page: &mut Page, m: &Credential) {
    page.meta(kind::Name::Credential, m.metadata.as_ref());
    let spec = m.spec.clone().unwrap_or_default();
    page.line("Type", spec.r#type().as_str_name());
    page.line("User name", &spec.username);
    let users = m
        .status
        .as_ref()
        .map_or_else(String::new, |s| s.repositories.join(", "));
    page.line("Repositories", rows::or_dash(&users));
}

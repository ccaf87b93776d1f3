//! The rows of `lockstep status`, and the counts under them, of one instant.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lockstep_proto::ClusterName;
use lockstep_proto::v1::{self, connection, health, sync};
use prost::Message as _;

use super::counts::worse_sync;
use super::model::{Assignment, Cluster, Model};
use super::query::PAGE_BYTES;
use super::view::timestamp;
use super::{Fleet, Selector, shown};

/// Which rows.
#[derive(Debug, Clone, Default)]
pub struct StatusQuery {
    pub assignment: Option<String>,
    /// Clusters of this group.
    pub group: Option<String>,
    /// Clusters with these labels.
    pub selector: Selector,
    pub only_problems: bool,
    /// The page begins after this cluster and assignment.
    pub after: Option<(String, String)>,
    pub limit: usize,
}

/// Rows sorted by cluster, then assignment; `summary` is of all that the
/// query selects.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StatusPage {
    pub rows: Vec<v1::StatusRow>,
    pub next: Option<(String, String)>,
    pub summary: v1::StatusSummary,
    /// The fleet's version at that instant: see [`Fleet::grown`].
    pub version: u64,
}

impl Fleet {
    /// # Errors
    /// What the query names and nobody knows, as "Assignment" or
    /// "ClusterGroup" and the name.
    pub fn status(&self, query: &StatusQuery) -> Result<StatusPage, (&'static str, String)> {
        self.read(|model| model.status(query))
    }
}

/// A row before it is written out.
struct Row<'a> {
    cluster: (&'a ClusterName, &'a Cluster),
    /// None for a cluster without an assignment.
    assignment: Option<&'a Arc<str>>,
    sync: sync::Status,
    fine: bool,
}

impl Model {
    fn status(&self, query: &StatusQuery) -> Result<StatusPage, (&'static str, String)> {
        if let Some(name) = &query.assignment
            && !self.assignments.contains_key(name.as_str())
            && !self.holders.contains_key(name.as_str())
        {
            return Err(("Assignment", name.clone()));
        }
        if let Some(name) = &query.group
            && !self.groups.contains_key(name.as_str())
        {
            return Err(("ClusterGroup", name.clone()));
        }
        let mut page = StatusPage::default();
        let mut named: BTreeSet<&str> = BTreeSet::new();
        page.summary.converged = true;
        page.version = self.version;
        let mut bytes = 0;
        for (name, cluster) in self.selected(query) {
            let reached = self.reach(&cluster.groups);
            let mut worst = None;
            for row in rows((name, cluster), &reached, query, &self.assignments) {
                page.summary.converged &= row.fine;
                worst = Some(worst.map_or(row.sync, |worst| worse_sync(worst, row.sync)));
                if let Some((assignment, _)) = row
                    .assignment
                    .and_then(|name| self.assignments.get_key_value(name))
                {
                    named.insert(assignment);
                }
                bytes += self.put(&mut page, query, &row, bytes >= PAGE_BYTES);
            }
            if let Some(worst) = worst {
                count(&mut page.summary, cluster.connection, worst);
            }
        }
        if let Some(name) = &query.assignment {
            named.insert(name);
        } else if query.group.is_none() && query.selector.is_everything() {
            named.extend(self.assignments.keys().map(|name| &**name));
        }
        page.summary.assignment_errors = named
            .into_iter()
            .filter_map(|name| Some((name, &self.assignments.get(name)?.state.message)))
            .filter(|(_, message)| !message.is_empty())
            .map(|(name, message)| v1::AssignmentError {
                assignment: name.to_owned(),
                message: message.clone(),
            })
            .collect();
        Ok(page)
    }

    /// Clusters that a query selects, in order of name.
    fn selected<'a>(
        &'a self,
        query: &'a StatusQuery,
    ) -> impl Iterator<Item = (&'a ClusterName, &'a Cluster)> {
        let all = query.group.is_none().then(|| self.clusters.iter());
        let group = query
            .group
            .as_deref()
            .and_then(|name| self.groups.get(name));
        let members = group.into_iter().flat_map(|group| &group.members);
        all.into_iter()
            .flatten()
            .chain(members.filter_map(|name| self.clusters.get_key_value(name.as_str())))
            .filter(|(_, cluster)| query.selector.matches(&cluster.meta.labels))
    }

    /// Writes a row out if it is on the page, and returns its size.
    fn put(&self, page: &mut StatusPage, query: &StatusQuery, row: &Row<'_>, full: bool) -> usize {
        let (name, cluster) = row.cluster;
        let at = (name.as_str(), row.assignment.map_or("", |name| &**name));
        if let Some((cluster, assignment)) = &query.after
            && at <= (cluster.as_str(), assignment.as_str())
        {
            return 0;
        }
        if full || page.rows.len() >= query.limit {
            if page.next.is_none() {
                page.next = page.rows.last().map(|row| {
                    let assignment = row.assignment.as_ref();
                    let assignment = assignment.map(|a| a.name.clone()).unwrap_or_default();
                    (row.cluster.clone(), assignment)
                });
            }
            return 0;
        }
        let assignment = row.assignment.and_then(|name| self.assignments.get(name));
        let through = assignment.and_then(|a| a.resource.spec.as_ref());
        let through = through
            .map(|spec| &spec.cluster_groups[..])
            .unwrap_or_default();
        let row = v1::StatusRow {
            cluster: name.to_string(),
            groups: cluster
                .groups
                .iter()
                .filter(|group| {
                    row.assignment.is_none() || through.iter().any(|name| **name == ***group)
                })
                .map(ToString::to_string)
                .collect(),
            connection: cluster.connection.into(),
            assignment: row
                .assignment
                .map(|name| shown::state(cluster, name, assignment)),
            last_seen: cluster.last_seen.map(timestamp),
        };
        let size = row.encoded_len();
        page.rows.push(row);
        size
    }
}

fn rows<'a>(
    (name, cluster): (&'a ClusterName, &'a Cluster),
    reached: &'a [Arc<str>],
    query: &'a StatusQuery,
    assignments: &'a BTreeMap<Arc<str>, Assignment>,
) -> impl Iterator<Item = Row<'a>> {
    let wanted = query.assignment.as_deref();
    let names: Vec<_> = shown::all_names(cluster, reached)
        .filter(|name| wanted.is_none_or(|wanted| wanted == &***name))
        .map(Some)
        .collect();
    let alone = (names.is_empty() && wanted.is_none()).then_some(None);
    names
        .into_iter()
        .chain(alone)
        .map(move |assignment| {
            let tally = match assignment {
                Some(assignment) => shown::row_tally(cluster, assignment, assignments),
                None => shown::cluster_tally(cluster, &[], assignments),
            };
            let removing = assignment
                .and_then(|name| cluster.row(name))
                .is_some_and(|row| row.tombstone);
            Row {
                cluster: (name, cluster),
                assignment,
                sync: tally.sync,
                fine: tally.connection == connection::Status::Online
                    && tally.sync == sync::Status::Synced
                    && tally.health == health::Status::Healthy
                    && !removing,
            }
        })
        .filter(|row| !(query.only_problems && row.fine))
}

/// Counts a cluster once, by the worst of its rows.
fn count(summary: &mut v1::StatusSummary, connection: connection::Status, worst: sync::Status) {
    summary.clusters += 1;
    let field = match (connection, worst) {
        (connection::Status::Offline, _) => &mut summary.offline,
        (connection::Status::Online, sync::Status::Synced) => &mut summary.synced,
        (connection::Status::Online, sync::Status::Applying) => &mut summary.applying,
        (connection::Status::Online, sync::Status::OutOfSync) => &mut summary.out_of_sync,
        (connection::Status::Online, sync::Status::Failed) => &mut summary.failed,
        _ => &mut summary.unknown,
    };
    *field += 1;
}

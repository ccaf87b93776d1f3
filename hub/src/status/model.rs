//! The fleet in memory: what is on disk, laid out for questions, with roll-ups
//! that every change keeps up. No I/O and no lock here: `Fleet` holds both.
//!
//! Every change of a cluster goes through [`Model::change_cluster`], which
//! takes away what the cluster counted for and adds what it counts for now, so
//! that sums equal their parts whatever changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use lockstep_proto::desired::options_digest;
use lockstep_proto::{ClusterName, Digest, v1};

use super::changes::Changes;
use super::counts::Counts;
use super::labels::{Labels, Selector};
use super::names::Names;
use crate::store::{AssignmentState, Control, DesiredRow, JoinTokenRow};

/// `metadata` as it is kept, but for the name.
#[derive(Debug, Clone, Default)]
pub(super) struct Meta {
    pub uid: Box<str>,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    pub generation: u32,
    pub labels: Labels,
    pub annotations: BTreeMap<String, String>,
}

pub(super) struct Cluster {
    pub meta: Meta,
    pub connection: v1::connection::Status,
    pub last_seen: Option<i64>,
    pub agent_version: Arc<str>,
    pub kubernetes_version: Arc<str>,
    pub identity: Box<str>,
    pub desired_version: u64,
    pub forgotten_version: u64,
    /// Groups that select it, sorted.
    pub groups: Vec<Arc<str>>,
    /// By assignment, sorted.
    pub rows: Vec<Row>,
}

/// What a cluster should run of one assignment, and what it said of it.
pub(super) struct Row {
    pub assignment: Arc<str>,
    pub digest: Digest,
    pub revision: Arc<str>,
    pub options: Arc<v1::ApplyOptions>,
    pub options_digest: u64,
    pub version: u64,
    pub tombstone: bool,
    pub report: Option<Box<Seen>>,
}

/// A Report, compact.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    pub target: Option<Digest>,
    /// Which options the target was taken with; zero where the agent does not say.
    pub options: u64,
    pub applied: Option<Digest>,
    pub applied_revision: Arc<str>,
    pub sync: v1::sync::Status,
    pub health: v1::health::Status,
    pub objects: u32,
    pub drifted: u32,
    pub more_problems: u32,
    pub awaiting_approval: u32,
    pub message: Box<str>,
    pub observed_at: Option<pbjson_types::Timestamp>,
    pub problems: Box<[v1::Problem]>,
    /// See `lockstep_proto::desired::report_digest`.
    pub content: u64,
}

pub(super) struct Group {
    pub resource: Arc<v1::ClusterGroup>,
    pub selector: Selector,
    pub members: BTreeSet<ClusterName>,
    /// Assignments that name it, sorted.
    pub assignments: Vec<Arc<str>>,
    pub counts: Counts,
}

pub(super) struct Repository {
    pub resource: Arc<v1::Repository>,
    pub status: v1::RepositoryStatus,
}

#[derive(Clone)]
pub(super) struct Assignment {
    pub resource: Arc<v1::Assignment>,
    pub state: AssignmentState,
    pub control: Arc<Control>,
    pub counts: Counts,
}

pub(super) struct Credential {
    pub uid: String,
    pub kind: v1::credential_spec::Type,
    pub username: String,
    pub created_at: i64,
}

#[derive(Default)]
pub(super) struct Model {
    pub clusters: BTreeMap<ClusterName, Cluster>,
    pub groups: BTreeMap<Arc<str>, Group>,
    pub repositories: BTreeMap<Arc<str>, Repository>,
    pub assignments: BTreeMap<Arc<str>, Assignment>,
    pub credentials: BTreeMap<Arc<str>, Credential>,
    pub join_tokens: BTreeMap<Arc<str>, JoinTokenRow>,
    /// Clusters with a desired row of an assignment, whether or not it exists.
    pub holders: HashMap<Arc<str>, BTreeSet<ClusterName>>,
    pub names: Names,
    /// Grows with every change that a reader can see.
    pub version: u64,
    pub changed: Changed,
}

/// What changed, by kind.
#[derive(Default)]
pub(super) struct Changed {
    pub clusters: Changes<ClusterName>,
    pub groups: Changes<Arc<str>>,
    pub repositories: Changes<Arc<str>>,
    pub assignments: Changes<Arc<str>>,
    pub credentials: Changes<Arc<str>>,
    pub join_tokens: Changes<Arc<str>>,
}

impl Cluster {
    /// Where the row of an assignment is, or would be.
    pub fn find(&self, assignment: &str) -> Result<usize, usize> {
        self.rows
            .binary_search_by(|row| (*row.assignment).cmp(assignment))
    }

    pub fn row(&self, assignment: &str) -> Option<&Row> {
        self.find(assignment).ok().map(|at| &self.rows[at])
    }
}

impl Model {
    pub fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// Assignments that reach a cluster through these groups, sorted.
    pub fn reach(&self, groups: &[Arc<str>]) -> Vec<Arc<str>> {
        let mut reached: Vec<Arc<str>> = groups
            .iter()
            .filter_map(|name| self.groups.get(name))
            .flat_map(|group| group.assignments.iter().cloned())
            .collect();
        reached.sort_unstable();
        reached.dedup();
        reached
    }

    /// Groups that select these labels, sorted.
    pub fn groups_of(&self, labels: &Labels) -> Vec<Arc<str>> {
        self.groups
            .iter()
            .filter(|(_, group)| group.selector.matches(labels))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Changes a cluster and keeps up every roll-up that it is part of.
    /// `change` may also touch its membership. Does nothing if it is gone.
    pub fn change_cluster<T>(
        &mut self,
        name: &ClusterName,
        change: impl FnOnce(&mut Cluster, &mut Names) -> T,
    ) -> Option<T> {
        let (name, mut cluster) = self.clusters.remove_entry(name.as_str())?;
        let before = self.places(&cluster);
        let groups_before = cluster.groups.clone();
        let value = change(&mut cluster, &mut self.names);
        let after = self.places(&cluster);
        if groups_before != cluster.groups {
            self.move_member(&name, &groups_before, &cluster.groups);
        }
        self.recount(&before, &after);
        self.clusters.insert(name.clone(), cluster);
        let version = self.next_version();
        self.changed.clusters.changed(name, version);
        Some(value)
    }

    /// Adds a cluster that is not there yet.
    pub fn add_cluster(&mut self, name: ClusterName, cluster: Cluster) {
        let after = self.places(&cluster);
        self.move_member(&name, &[], &cluster.groups);
        self.recount(&[], &after);
        for row in &cluster.rows {
            self.hold(&row.assignment, &name);
        }
        let version = self.next_version();
        self.changed.clusters.changed(name.clone(), version);
        self.clusters.insert(name, cluster);
    }

    pub fn remove_cluster(&mut self, name: &ClusterName) {
        let Some((name, cluster)) = self.clusters.remove_entry(name.as_str()) else {
            return;
        };
        let before = self.places(&cluster);
        self.move_member(&name, &cluster.groups, &[]);
        self.recount(&before, &[]);
        for row in &cluster.rows {
            self.release(&row.assignment, &name);
        }
        let version = self.next_version();
        self.changed.clusters.deleted(name, version);
    }

    /// Makes a row what it is on disk; the report on it stays.
    pub fn put_row(&mut self, row: &DesiredRow) {
        let assignment = self.names.get(&row.assignment);
        let found = self.change_cluster(&row.cluster, |cluster, names| {
            let new = Row {
                assignment: assignment.clone(),
                digest: row.digest,
                revision: names.get(&row.revision),
                options: row.options.clone(),
                options_digest: options_digest(&row.options),
                version: row.version,
                tombstone: row.tombstone,
                report: None,
            };
            match cluster.find(&assignment) {
                Ok(at) => {
                    let report = cluster.rows[at].report.take();
                    cluster.rows[at] = Row { report, ..new };
                }
                Err(at) => cluster.rows.insert(at, new),
            }
        });
        if found.is_some() {
            self.hold(&assignment, &row.cluster);
        }
    }

    pub fn drop_row(&mut self, cluster: &ClusterName, assignment: &str) {
        self.change_cluster(cluster, |cluster, _| {
            if let Ok(at) = cluster.find(assignment) {
                cluster.rows.remove(at);
            }
        });
        self.release(assignment, cluster);
    }

    /// Clusters that an assignment reaches, sorted.
    pub fn targets(&self, assignment: &v1::Assignment) -> BTreeSet<ClusterName> {
        let spec = assignment.spec.as_ref();
        spec.into_iter()
            .flat_map(|spec| &spec.cluster_groups)
            .filter_map(|group| self.groups.get(group.as_str()))
            .flat_map(|group| group.members.iter().cloned())
            .collect()
    }
}

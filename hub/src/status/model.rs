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
use super::counts::{self, Tally};
use super::labels::{Labels, Selector};
use super::names::Names;
use super::shown;
use crate::store::{AssignmentState, DesiredRow, JoinTokenRow};

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
    pub counts: v1::ClusterCounts,
}

pub(super) struct Repository {
    pub resource: Arc<v1::Repository>,
    pub status: v1::RepositoryStatus,
}

pub(super) struct Assignment {
    pub resource: Arc<v1::Assignment>,
    pub state: AssignmentState,
    pub counts: v1::ClusterCounts,
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

/// Where a cluster is counted.
#[derive(PartialEq, Eq, Clone)]
enum Place {
    Group(Arc<str>),
    Assignment(Arc<str>),
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

    /// Adds, replaces or (with none) removes an assignment.
    pub fn set_assignment(&mut self, name: &Arc<str>, resource: Option<Arc<v1::Assignment>>) {
        let before = self.assignments.get(name).map(|a| a.resource.clone());
        let affected: BTreeSet<ClusterName> = [&before, &resource]
            .into_iter()
            .flatten()
            .flat_map(|assignment| self.targets(assignment))
            .chain(self.holders.get(name).into_iter().flatten().cloned())
            .collect();
        for cluster in &affected {
            self.count(cluster, counts::take);
        }
        for group in self.groups.values_mut() {
            group.assignments.retain(|other| other != name);
        }
        let version = self.next_version();
        if let Some(resource) = resource {
            for group in resource.spec.iter().flat_map(|spec| &spec.cluster_groups) {
                if let Some(group) = self.groups.get_mut(group.as_str())
                    && let Err(at) = group.assignments.binary_search(name)
                {
                    group.assignments.insert(at, name.clone());
                }
            }
            match self.assignments.get_mut(name) {
                Some(assignment) => assignment.resource = resource,
                None => {
                    self.assignments.insert(
                        name.clone(),
                        Assignment {
                            resource,
                            state: AssignmentState::default(),
                            counts: v1::ClusterCounts::default(),
                        },
                    );
                }
            }
            self.changed.assignments.changed(name.clone(), version);
        } else {
            self.assignments.remove(name);
            self.changed.assignments.deleted(name.clone(), version);
        }
        for cluster in &affected {
            self.count(cluster, counts::add);
            self.mark_cluster(cluster);
        }
    }

    /// What the assignment resolved to now: its clusters show it.
    pub fn set_assignment_state(&mut self, name: &str, state: AssignmentState) {
        let Some((name, _)) = self.assignments.get_key_value(name) else {
            return;
        };
        let name = name.clone();
        let Some(assignment) = self.assignments.get_mut(&name) else {
            return;
        };
        let shown = (&assignment.state.revision, assignment.state.digest);
        let moved = shown != (&state.revision, state.digest);
        assignment.state = state;
        let version = self.next_version();
        self.changed.assignments.changed(name.clone(), version);
        if moved {
            for cluster in self.holders.get(&name).cloned().unwrap_or_default() {
                self.mark_cluster(&cluster);
            }
        }
    }

    /// Adds, replaces or (with none) removes a group.
    pub fn set_group(&mut self, name: &Arc<str>, resource: Option<Arc<v1::ClusterGroup>>) {
        let Some(resource) = resource else {
            let members = self
                .groups
                .get(name)
                .map(|group| group.members.clone())
                .unwrap_or_default();
            for member in members {
                self.change_cluster(&member, |cluster, _| {
                    cluster.groups.retain(|group| group != name);
                });
            }
            self.groups.remove(name);
            let version = self.next_version();
            self.changed.groups.deleted(name.clone(), version);
            return;
        };
        let selector = Selector::of_group(
            resource
                .spec
                .as_ref()
                .and_then(|spec| spec.selector.as_ref()),
        );
        let group = self.groups.entry(name.clone()).or_insert_with(|| Group {
            resource: resource.clone(),
            selector: Selector::default(),
            members: BTreeSet::new(),
            assignments: Vec::new(),
            counts: v1::ClusterCounts::default(),
        });
        group.resource = resource;
        group.selector = selector;
        let selector = group.selector.clone();
        let moved: Vec<(ClusterName, bool)> = self
            .clusters
            .iter()
            .filter_map(|(cluster, entry)| {
                let now = selector.matches(&entry.meta.labels);
                (now != entry.groups.binary_search(name).is_ok()).then(|| (cluster.clone(), now))
            })
            .collect();
        for (cluster, joins) in moved {
            self.change_cluster(&cluster, |cluster, _| {
                match cluster.groups.binary_search(name) {
                    Err(at) if joins => cluster.groups.insert(at, name.clone()),
                    Ok(at) if !joins => {
                        cluster.groups.remove(at);
                    }
                    _ => {}
                }
            });
        }
        let version = self.next_version();
        self.changed.groups.changed(name.clone(), version);
    }

    /// What a cluster counts for, and where. Sorted the same way each time.
    fn places(&self, cluster: &Cluster) -> Vec<(Place, Tally)> {
        let reached = self.reach(&cluster.groups);
        let whole = shown::cluster_tally(cluster, &reached);
        let groups = cluster
            .groups
            .iter()
            .map(|group| (Place::Group(group.clone()), whole));
        let mut places: Vec<_> = groups.collect();
        places.extend(reached.into_iter().map(|assignment| {
            let tally = shown::row_tally(cluster, &assignment);
            (Place::Assignment(assignment), tally)
        }));
        places
    }

    fn recount(&mut self, before: &[(Place, Tally)], after: &[(Place, Tally)]) {
        if before == after {
            return;
        }
        for (place, tally) in before {
            if let Some(counts) = self.counts(place) {
                counts::take(counts, *tally);
            }
        }
        for (place, tally) in after {
            if let Some(counts) = self.counts(place) {
                counts::add(counts, *tally);
            }
        }
        let gone = before.iter().filter(|one| !after.contains(one));
        let new = after.iter().filter(|one| !before.contains(one));
        for (place, _) in gone.chain(new) {
            self.mark(place);
        }
    }

    /// Adds or takes away all that a cluster counts for, everywhere.
    fn count(&mut self, cluster: &ClusterName, change: fn(&mut v1::ClusterCounts, Tally)) {
        let Some(places) = self
            .clusters
            .get(cluster)
            .map(|cluster| self.places(cluster))
        else {
            return;
        };
        for (place, tally) in places {
            if let Some(counts) = self.counts(&place) {
                change(counts, tally);
            }
            if let Place::Group(name) = place {
                let version = self.next_version();
                self.changed.groups.changed(name, version);
            }
        }
    }

    fn mark_cluster(&mut self, cluster: &ClusterName) {
        if self.clusters.contains_key(cluster) {
            let version = self.next_version();
            self.changed.clusters.changed(cluster.clone(), version);
        }
    }

    fn hold(&mut self, assignment: &Arc<str>, cluster: &ClusterName) {
        self.holders
            .entry(assignment.clone())
            .or_default()
            .insert(cluster.clone());
    }

    fn release(&mut self, assignment: &str, cluster: &ClusterName) {
        if let Some(holders) = self.holders.get_mut(assignment) {
            holders.remove(cluster);
            if holders.is_empty() {
                self.holders.remove(assignment);
            }
        }
    }

    fn move_member(&mut self, cluster: &ClusterName, from: &[Arc<str>], to: &[Arc<str>]) {
        for group in from.iter().filter(|group| !to.contains(group)) {
            if let Some(group) = self.groups.get_mut(group) {
                group.members.remove(cluster);
            }
        }
        for group in to.iter().filter(|group| !from.contains(group)) {
            if let Some(group) = self.groups.get_mut(group) {
                group.members.insert(cluster.clone());
            }
        }
    }

    fn mark(&mut self, place: &Place) {
        let version = self.next_version();
        match place {
            Place::Group(name) => self.changed.groups.changed(name.clone(), version),
            Place::Assignment(name) => self.changed.assignments.changed(name.clone(), version),
        }
    }

    fn counts(&mut self, place: &Place) -> Option<&mut v1::ClusterCounts> {
        match place {
            Place::Group(name) => self.groups.get_mut(name).map(|group| &mut group.counts),
            Place::Assignment(name) => self.assignments.get_mut(name).map(|a| &mut a.counts),
        }
    }
}

//! Which clusters belong to which groups, and which assignments reach them.

use std::collections::BTreeSet;
use std::sync::Arc;

use lockstep_proto::{ClusterName, v1};

use super::counts::{self, Counts};
use super::held::Shown;
use super::labels::Selector;
use super::model::{Assignment, Group, Model};
use crate::store::{AssignmentState, Control};

impl Model {
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
                            control: Arc::default(),
                            counts: Counts::default(),
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
        self.reshow(&name, |assignment| assignment.state = state);
    }

    /// What people said of the assignment: its clusters show it.
    pub fn set_control(&mut self, name: &str, control: Control) {
        let Some((name, _)) = self.assignments.get_key_value(name) else {
            return;
        };
        let name = name.clone();
        self.reshow(&name, |assignment| assignment.control = Arc::new(control));
    }

    /// Changes what its clusters show of an assignment, and keeps up what they
    /// count for.
    fn reshow(&mut self, name: &Arc<str>, change: impl FnOnce(&mut Assignment)) {
        let Some(assignment) = self.assignments.get(name) else {
            return;
        };
        let mut after = assignment.clone();
        change(&mut after);
        let (before, now) = (Shown::of(assignment), Shown::of(&after));
        let version = self.next_version();
        self.changed.assignments.changed(name.clone(), version);
        if before == now {
            self.assignments.insert(name.clone(), after);
            return;
        }
        // Who counts for it: those that it reaches, with or without a row.
        let reached = self.targets(&after.resource);
        let holders = self.holders.get(name).into_iter().flatten();
        let affected: BTreeSet<ClusterName> = reached.iter().chain(holders).cloned().collect();
        let recounts = !before.counts_as(&now);
        if recounts {
            for cluster in &affected {
                self.count(cluster, counts::take);
            }
            after.counts = self.assignments[name].counts;
        }
        self.assignments.insert(name.clone(), after);
        for cluster in &affected {
            if recounts {
                self.count(cluster, counts::add);
            }
            self.mark_cluster(cluster);
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
            counts: Counts::default(),
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

    pub fn hold(&mut self, assignment: &Arc<str>, cluster: &ClusterName) {
        self.holders
            .entry(assignment.clone())
            .or_default()
            .insert(cluster.clone());
    }

    pub fn release(&mut self, assignment: &str, cluster: &ClusterName) {
        if let Some(holders) = self.holders.get_mut(assignment) {
            holders.remove(cluster);
            if holders.is_empty() {
                self.holders.remove(assignment);
            }
        }
    }

    pub fn move_member(&mut self, cluster: &ClusterName, from: &[Arc<str>], to: &[Arc<str>]) {
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
}

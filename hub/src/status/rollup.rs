//! Counting each cluster where it belongs: what it counts for is taken away
//! before a change of it and added again after, so that sums equal their parts.

use std::sync::Arc;

use lockstep_proto::ClusterName;

use super::counts::{self, Counts, Tally};
use super::model::{Cluster, Model};
use super::shown;

/// Where a cluster is counted.
#[derive(PartialEq, Eq, Clone)]
pub(super) enum Place {
    Group(Arc<str>),
    Assignment(Arc<str>),
}

impl Model {
    /// What a cluster counts for, and where. Sorted the same way each time.
    pub fn places(&self, cluster: &Cluster) -> Vec<(Place, Tally)> {
        let reached = self.reach(&cluster.groups);
        let whole = shown::cluster_tally(cluster, &reached, &self.assignments);
        let groups = cluster
            .groups
            .iter()
            .map(|group| (Place::Group(group.clone()), whole));
        let mut places: Vec<_> = groups.collect();
        places.extend(reached.into_iter().map(|assignment| {
            let tally = shown::row_tally(cluster, &assignment, &self.assignments);
            (Place::Assignment(assignment), tally)
        }));
        places
    }

    pub fn recount(&mut self, before: &[(Place, Tally)], after: &[(Place, Tally)]) {
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
    pub fn count(&mut self, cluster: &ClusterName, change: fn(&mut Counts, Tally)) {
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

    pub fn mark_cluster(&mut self, cluster: &ClusterName) {
        if self.clusters.contains_key(cluster) {
            let version = self.next_version();
            self.changed.clusters.changed(cluster.clone(), version);
        }
    }

    fn mark(&mut self, place: &Place) {
        let version = self.next_version();
        match place {
            Place::Group(name) => self.changed.groups.changed(name.clone(), version),
            Place::Assignment(name) => self.changed.assignments.changed(name.clone(), version),
        }
    }

    fn counts(&mut self, place: &Place) -> Option<&mut Counts> {
        match place {
            Place::Group(name) => self.groups.get_mut(name).map(|group| &mut group.counts),
            Place::Assignment(name) => self.assignments.get_mut(name).map(|a| &mut a.counts),
        }
    }
}

//! What dispatch reads of the fleet and says to it.

use std::sync::Arc;

use lockstep_proto::{ClusterName, Digest, v1};

use super::registry::Presence;
use super::{Shared, intake, link::Link};
use crate::signal::Dirty;
use crate::status::{Desired, Fleet};
use crate::store::{Change, DesiredChange, DesiredRow, StoreError};
use crate::transport::PeerIdentity;

/// The fleet as the agents see it. Cheap to clone.
#[derive(Clone)]
pub struct View(Fleet);

impl View {
    pub fn new(fleet: Fleet) -> Self {
        Self(fleet)
    }

    /// Clusters to look at again.
    pub fn dirty(&self) -> Dirty<ClusterName> {
        self.0.dirty_clusters().clone()
    }

    /// Whether `peer` speaks for its cluster now.
    pub fn is_current(&self, peer: &PeerIdentity) -> bool {
        self.has_identity(&peer.cluster, &peer.identity)
    }

    pub fn has_identity(&self, cluster: &ClusterName, identity: &str) -> bool {
        !identity.is_empty()
            && self
                .0
                .identity(cluster)
                .is_some_and(|now| *now == *identity)
    }

    /// The version of a cluster's desired state; none where there is no such cluster.
    pub fn version(&self, cluster: &ClusterName) -> Option<u64> {
        self.0.desired_version(cluster)
    }

    /// A cluster's desired state.
    pub fn wanted(&self, cluster: &ClusterName) -> Option<Desired> {
        self.0.desired(cluster)
    }

    /// Makes the version of a cluster's desired state at least `at_least`
    /// because its agent has seen a later one than this hub, and forgets its
    /// tombstones: they are older than what the agent has seen since, so that
    /// it has either carried them out, or been given the assignment again.
    pub async fn restore(
        &self,
        cluster: &ClusterName,
        wanted: &Desired,
        at_least: u64,
    ) -> Result<(), StoreError> {
        let tombstones = wanted.rows.iter().filter(|row| row.tombstone);
        let forgotten: Vec<_> = tombstones
            .map(|row| DesiredChange {
                cluster: cluster.clone(),
                assignment: Arc::clone(&row.assignment),
                change: Change::Forget {
                    version: row.version,
                },
                because: None,
            })
            .collect();
        for change in &forgotten {
            tracing::warn!(
                %cluster, assignment = &*change.assignment,
                "not removing what a restored database says is to be removed: if it still runs \
                 and should not, assign it to the cluster and take it away again"
            );
        }
        self.0.change_desired(forgotten).await?;
        self.0.raise_version(cluster, at_least).await.map(drop)
    }

    /// What the hub holds of a cluster's reports.
    pub fn held_reports(&self, cluster: &ClusterName) -> Vec<v1::HeldReport> {
        self.0.held_reports(cluster)
    }

    /// Whether the cluster is told of the assignment that it speaks of.
    pub fn expects(&self, cluster: &ClusterName, assignment: &str) -> bool {
        self.0.desired_row(cluster, assignment).is_some()
    }

    /// Whether the cluster may have the Bundle `digest` now.
    pub fn is_assigned(&self, cluster: &ClusterName, digest: Digest) -> bool {
        self.0.is_assigned(cluster, &digest)
    }

    /// A Bundle that the cluster is assigned is not stored.
    pub fn misses(&self, cluster: &ClusterName, digest: Digest) {
        let rows = self.0.desired(cluster).map(|desired| desired.rows);
        let missing = rows
            .into_iter()
            .flatten()
            .filter(|row| row.digest == digest)
            .map(|row| row.assignment.to_string());
        self.0.dirty_assignments().mark_all(missing);
    }

    /// Something was heard of the cluster's agent.
    pub fn heard(&self, cluster: &ClusterName) {
        self.0.heartbeat(cluster);
    }
}

impl Presence for View {
    fn admits(&self, cluster: &ClusterName, identity: &str) -> bool {
        self.has_identity(cluster, identity)
    }

    fn opened(&self, cluster: &ClusterName, hello: &v1::Hello) {
        self.0
            .session_opened(cluster, &hello.agent_version, &hello.kubernetes_version);
    }

    fn closed(&self, cluster: &ClusterName) {
        self.0.session_closed(cluster);
    }
}

/// Where reports go: the fleet, after a look at who speaks.
pub struct Ledger(pub Arc<Shared>);

impl intake::Ledger for Ledger {
    fn speaks(&self, link: &Link) -> bool {
        self.0.registry.speaks(link)
    }

    async fn store(
        &self,
        reports: Vec<(ClusterName, v1::Report)>,
        events: Vec<(ClusterName, v1::ObjectEvent)>,
    ) -> Result<(), StoreError> {
        let fleet = &self.0.view.0;
        let (removed, reports): (Vec<_>, Vec<_>) =
            reports.into_iter().partition(|(_, report)| report.removed);
        let forgotten: Vec<_> = removed
            .into_iter()
            .filter_map(|(cluster, report)| {
                let row = fleet.desired_row(&cluster, &report.assignment)?;
                let version = done(&report, &row)?;
                Some(DesiredChange {
                    cluster,
                    assignment: row.assignment,
                    change: Change::Forget { version },
                    because: None,
                })
            })
            .collect();
        if !reports.is_empty() {
            let count = reports.len();
            fleet.reports(reports).await?;
            self.0.metrics.reports_stored(count);
        }
        if !forgotten.is_empty() {
            fleet.change_desired(forgotten).await?;
        }
        if !events.is_empty() {
            fleet.object_events(events).await?;
        }
        Ok(())
    }
}

/// Up to which version the report says that the tombstone in `row` is done.
/// An agent that does not say means the one that stands.
fn done(report: &v1::Report, row: &DesiredRow) -> Option<u64> {
    let version = match report.tombstone_version {
        0 => row.version,
        version => version,
    };
    (row.tombstone && row.version <= version).then_some(version)
}

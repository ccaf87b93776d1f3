//! Reading the fleet from disk, once, at the start of a hub.

use std::collections::BTreeSet;
use std::sync::Arc;

use lockstep_proto::v1::connection;
use parking_lot::RwLock;

use super::model::Model;
use super::written::decode;
use super::{Effects, Fleet, FleetOptions, Inner, keep};
use crate::signal::Dirty;
use crate::store::{ClusterState, ResourceRow, Store, StoreError, Tx};

impl Fleet {
    /// The fleet as the store has it. Every assignment and repository is
    /// dirty: whatever happened while the hub was away is looked at.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn load(store: Store, options: FleetOptions) -> Result<Self, StoreError> {
        let model = store.read(read).await?;
        let effects = Effects {
            assignments: model.assignments.keys().cloned().collect(),
            repositories: model.repositories.keys().cloned().collect(),
            clusters: BTreeSet::new(),
        };
        let (version, _) = tokio::sync::watch::channel(model.version);
        let fleet = Self(Arc::new(Inner {
            store,
            options,
            model: RwLock::new(model),
            version,
            dirty_assignments: Dirty::new(),
            dirty_repositories: Dirty::new(),
            dirty_clusters: Dirty::new(),
            unsaved: Dirty::new(),
        }));
        fleet.mark(&effects);
        Ok(fleet)
    }
}

fn read(tx: &Tx<'_>) -> Result<Model, StoreError> {
    let mut model = Model::default();
    let mut effects = Effects::default();
    // Groups before clusters and all of them before assignments: a cluster is
    // then counted once, and a name is there before what names it.
    let mut rows = Vec::new();
    tx.each_resource(|row| {
        rows.push(row);
        Ok(())
    })?;
    rows.sort_by_key(rank);
    for row in rows {
        model.install(&decode(&row)?, &mut effects);
    }
    let alive = keep::alive(tx)?;
    tx.each_cluster_state(|state| model.install_state(&state, alive))?;
    tx.each_desired(|row| model.put_row(&row))?;
    tx.each_report(|cluster, report| model.set_report(&cluster, &report))?;
    tx.each_repository_state(|name, status| model.set_repository_state(&name, status))?;
    tx.each_assignment_state(|name, state| model.set_assignment_state(&name, state))?;
    tx.each_control(|name, control| model.set_control(&name, control))?;
    tx.each_credential(|row| model.put_credential(&row))?;
    tx.each_join_token(|row| model.put_join_token(row))?;
    let missing = model.holders.keys();
    for name in missing.filter(|name| !model.assignments.contains_key(*name)) {
        let rows = model.holders.get(name).map_or(0, BTreeSet::len);
        if has_live_rows(&model, name) {
            tracing::warn!(
                assignment = &**name,
                clusters = rows,
                "clusters run an assignment that does not exist and was not deleted: \
                 left alone"
            );
        }
    }
    Ok(model)
}

fn rank(row: &ResourceRow) -> u8 {
    use lockstep_proto::v1::kind::Name as Kind;
    match row.kind {
        Kind::ClusterGroup => 0,
        Kind::Assignment => 2,
        _ => 1,
    }
}

fn has_live_rows(model: &Model, assignment: &str) -> bool {
    let holders = model.holders.get(assignment).into_iter().flatten();
    holders
        .filter_map(|name| model.clusters.get(name.as_str())?.row(assignment))
        .any(|row| !row.tombstone)
}

impl Model {
    /// `alive`: when the hub was last known to run.
    fn install_state(&mut self, state: &ClusterState, alive: Option<i64>) {
        self.change_cluster(&state.cluster, |cluster, names| {
            cluster.desired_version = state.desired_version;
            cluster.forgotten_version = state.forgotten_version;
            cluster.agent_version = names.get(&state.agent_version);
            cluster.kubernetes_version = names.get(&state.kubernetes_version);
            cluster.identity = state.identity.as_str().into();
            cluster.last_seen = keep::last_seen(state, alive);
            // Nobody is connected to a hub that is only starting.
            cluster.connection = match cluster.last_seen {
                Some(_) => connection::Status::Offline,
                None => connection::Status::Unknown,
            };
        });
    }
}

//! Connections: who is here, and when a cluster was last heard of. In memory
//! only; `keep` writes what must survive, in batches.

use lockstep_proto::ClusterName;
use lockstep_proto::v1::connection;

use super::Fleet;

/// What an agent says of itself, bounded: it is shown to people.
const MAX_VERSION: usize = 128;

impl Fleet {
    /// A session of the cluster began.
    pub fn session_opened(
        &self,
        cluster: &ClusterName,
        agent_version: &str,
        kubernetes_version: &str,
    ) {
        let now = self.now();
        let cut = |text: &str| text[..text.floor_char_boundary(MAX_VERSION)].to_owned();
        let (agent, kubernetes) = (cut(agent_version), cut(kubernetes_version));
        self.change(|model| {
            model.change_cluster(cluster, |cluster, names| {
                cluster.connection = connection::Status::Online;
                cluster.last_seen = Some(now);
                cluster.agent_version = names.get(&agent);
                cluster.kubernetes_version = names.get(&kubernetes);
            });
        });
        self.0.unsaved.mark(cluster.clone());
    }

    /// A message of the cluster arrived. Nobody is woken by it.
    pub fn heartbeat(&self, cluster: &ClusterName) {
        let now = self.now();
        if let Some(cluster) = self.0.model.write().clusters.get_mut(cluster.as_str())
            && cluster.connection == connection::Status::Online
        {
            cluster.last_seen = Some(now);
        }
    }

    /// The cluster's session ended and no other took its place: it is Offline.
    pub fn session_closed(&self, cluster: &ClusterName) {
        self.change(|model| {
            let online = model
                .clusters
                .get(cluster.as_str())
                .is_some_and(|cluster| cluster.connection == connection::Status::Online);
            if online {
                model.change_cluster(cluster, |cluster, _| {
                    cluster.connection = connection::Status::Offline;
                });
            }
        });
        self.0.unsaved.mark(cluster.clone());
    }
}

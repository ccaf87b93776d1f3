//! What the hub learnt of clusters, repositories and assignments, and its own
//! settings.

use lockstep_proto::{ClusterName, Digest, v1};
use prost::Message as _;
use rusqlite::{OptionalExtension as _, Row, params};

use super::{AssignmentState, ClusterState, Store, StoreError, Tx};

impl Tx<'_> {
    pub fn each_cluster_state(&self, mut each: impl FnMut(ClusterState)) -> Result<(), StoreError> {
        let mut statement = self
            .0
            .prepare(&format!("{CLUSTER_STATE} ORDER BY cluster"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            each(cluster_state(row)?);
        }
        Ok(())
    }

    pub fn cluster_state(&self, cluster: &str) -> Result<Option<ClusterState>, StoreError> {
        let mut statement = self
            .0
            .prepare_cached(&format!("{CLUSTER_STATE} WHERE cluster = ?1"))?;
        let mut rows = statement.query([cluster])?;
        rows.next()?.map(cluster_state).transpose()
    }

    /// Writes what the hub saw of a cluster; its desired version and identity
    /// stay. Without effect where the cluster is gone.
    pub fn put_seen(&self, state: &ClusterState) -> Result<(), StoreError> {
        self.0
            .prepare_cached(
                "UPDATE cluster_state SET agent_version = ?2, kubernetes_version = ?3,
                   last_seen = ?4, online = ?5 WHERE cluster = ?1",
            )?
            .execute(params![
                state.cluster.as_str(),
                state.agent_version,
                state.kubernetes_version,
                state.last_seen,
                state.online
            ])?;
        Ok(())
    }

    pub fn put_identity(&self, cluster: &str, identity: &str) -> Result<bool, StoreError> {
        Ok(self
            .0
            .prepare_cached("UPDATE cluster_state SET identity = ?2 WHERE cluster = ?1")?
            .execute([cluster, identity])?
            > 0)
    }

    pub fn each_repository_state(
        &self,
        mut each: impl FnMut(String, v1::RepositoryStatus),
    ) -> Result<(), StoreError> {
        let mut statement = self
            .0
            .prepare("SELECT repository, body FROM repository_state ORDER BY repository")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let body: Vec<u8> = row.get(1)?;
            let status = v1::RepositoryStatus::decode(&body[..])
                .map_err(|error| StoreError::corrupt("repository status", error))?;
            each(row.get(0)?, status);
        }
        Ok(())
    }

    /// False, and nothing written, where the Repository does not exist.
    pub fn put_repository_state(
        &self,
        repository: &str,
        status: &v1::RepositoryStatus,
    ) -> Result<bool, StoreError> {
        if !self.resource_exists(v1::kind::Name::Repository, repository)? {
            return Ok(false);
        }
        self.0
            .prepare_cached(
                "INSERT OR REPLACE INTO repository_state (repository, body) VALUES (?1, ?2)",
            )?
            .execute(params![repository, status.encode_to_vec()])?;
        Ok(true)
    }

    pub fn each_assignment_state(
        &self,
        mut each: impl FnMut(String, AssignmentState),
    ) -> Result<(), StoreError> {
        let mut statement = self.0.prepare(
            "SELECT assignment, revision, tree, options_key, digest, objects, commit_info, message,
               pending
             FROM assignment_state ORDER BY assignment",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let commit: Vec<u8> = row.get(6)?;
            let state = AssignmentState {
                revision: row.get(1)?,
                tree: row.get(2)?,
                options_key: row.get(3)?,
                digest: row.get::<_, Option<[u8; 32]>>(4)?.map(Digest),
                objects: row.get(5)?,
                commit: if commit.is_empty() {
                    None
                } else {
                    Some(
                        v1::CommitInfo::decode(&commit[..])
                            .map_err(|error| StoreError::corrupt("commit", error))?,
                    )
                },
                message: row.get(7)?,
                pending: match row.get::<_, Vec<u8>>(8)?.as_slice() {
                    [] => None,
                    body => Some(
                        v1::Pending::decode(body)
                            .map_err(|error| StoreError::corrupt("pending", error))?,
                    ),
                },
            };
            each(row.get(0)?, state);
        }
        Ok(())
    }

    /// False, and nothing written, where the Assignment does not exist.
    pub fn put_assignment_state(
        &self,
        assignment: &str,
        state: &AssignmentState,
    ) -> Result<bool, StoreError> {
        if !self.resource_exists(v1::kind::Name::Assignment, assignment)? {
            return Ok(false);
        }
        self.0
            .prepare_cached(
                "INSERT OR REPLACE INTO assignment_state
                   (assignment, revision, tree, options_key, digest, objects, commit_info,
                    message, pending)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                assignment,
                state.revision,
                state.tree,
                state.options_key,
                state.digest.map(|digest| digest.0),
                state.objects,
                state
                    .commit
                    .as_ref()
                    .map(prost::Message::encode_to_vec)
                    .unwrap_or_default(),
                state.message,
                state
                    .pending
                    .as_ref()
                    .map(prost::Message::encode_to_vec)
                    .unwrap_or_default()
            ])?;
        Ok(true)
    }

    pub fn setting(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self
            .0
            .prepare_cached("SELECT value FROM settings WHERE key = ?1")?
            .query_row([key], |row| row.get(0))
            .optional()?)
    }

    pub fn put_setting(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        self.0
            .prepare_cached("INSERT OR REPLACE INTO settings (key, value) VALUES (?1, ?2)")?
            .execute(params![key, value])?;
        Ok(())
    }
}

impl Store {
    pub async fn cluster_state(
        &self,
        cluster: &ClusterName,
    ) -> Result<Option<ClusterState>, StoreError> {
        let cluster = cluster.clone();
        self.read(move |tx| tx.cluster_state(cluster.as_str()))
            .await
    }

    /// Writes what the hub saw of clusters: see [`Tx::put_seen`].
    pub async fn put_seen(&self, states: Vec<ClusterState>) -> Result<(), StoreError> {
        self.write(move |tx| states.iter().try_for_each(|state| tx.put_seen(state)))
            .await
    }

    pub async fn setting(&self, key: &'static str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(move |tx| tx.setting(key)).await
    }

    pub async fn put_setting(&self, key: &'static str, value: Vec<u8>) -> Result<(), StoreError> {
        self.write(move |tx| tx.put_setting(key, &value)).await
    }
}

const CLUSTER_STATE: &str = "SELECT cluster, desired_version, agent_version, kubernetes_version,
    last_seen, online, identity, forgotten_version FROM cluster_state";

fn cluster_state(row: &Row<'_>) -> Result<ClusterState, StoreError> {
    Ok(ClusterState {
        cluster: super::rows::cluster(row.get_ref(0)?)?,
        desired_version: super::rows::unsigned(row.get(1)?),
        agent_version: row.get(2)?,
        kubernetes_version: row.get(3)?,
        last_seen: row.get(4)?,
        online: row.get(5)?,
        identity: row.get(6)?,
        forgotten_version: super::rows::unsigned(row.get(7)?),
    })
}

//! Housekeeping beside the fleet: writing down connections in batches, and
//! collecting garbage.
//!
//! A heartbeat writes nothing. While the hub runs it writes one row, that it
//! is alive; a cluster that was online when the hub died was heard of within
//! the time of silence that is allowed, so from that row follows a time at
//! which it certainly was there.

use std::collections::HashSet;
use std::time::Duration;

use futures::FutureExt as _;
use lockstep_proto::ClusterName;
use lockstep_proto::v1::connection;
use tokio_util::sync::CancellationToken;

use super::Fleet;
use super::model::Cluster;
use crate::store::{ClusterState, Collected, Retention, StoreError, Tx};

const ALIVE: &str = "alive";
/// How often the hub says that it is alive.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
/// A session that is silent for longer is cut, in milliseconds.
const SILENCE_MS: i64 = 50_000;
/// Connections that changed are gathered for so long before they are written.
const GATHER: Duration = Duration::from_secs(1);
/// Clusters that one transaction writes.
const BATCH: usize = 500;
const COLLECT_EVERY: Duration = Duration::from_mins(10);
/// It reads all of the history.
const COLLECT_HISTORY_EVERY: Duration = Duration::from_hours(12);
/// How long the history of what does not exist any more is kept.
const HISTORY_RETENTION_MS: i64 = 30 * 24 * 3600 * 1000;
/// How long a used or expired join token is kept, to say what became of it.
const TOKEN_RETENTION_MS: i64 = 7 * 24 * 3600 * 1000;

/// When the hub last said that it is alive.
pub(super) fn alive(tx: &Tx<'_>) -> Result<Option<i64>, StoreError> {
    let value = tx.setting(ALIVE)?;
    Ok(value
        .and_then(|bytes| <[u8; 8]>::try_from(bytes).ok())
        .map(i64::from_be_bytes))
}

/// When a cluster was last heard of, at the least.
pub(super) fn last_seen(state: &ClusterState, alive: Option<i64>) -> Option<i64> {
    let seen = state.last_seen?;
    match alive {
        Some(alive) if state.online => Some(seen.max(alive - SILENCE_MS)),
        _ => Some(seen),
    }
}

impl Fleet {
    /// Keeps the store in order until `cancel`, then writes what is left.
    pub async fn keep(self, cancel: CancellationToken) {
        let all = async {
            tokio::join!(
                self.say_alive(),
                self.save_connections(),
                self.collect(),
                self.collect_history()
            );
        };
        cancel.run_until_cancelled(all).await;
        let online = self.read(|model| {
            let online = |c: &Cluster| c.connection == connection::Status::Online;
            let clusters = model.clusters.iter();
            clusters
                .filter(|(_, cluster)| online(cluster))
                .map(|(name, _)| name.clone())
                .collect::<Vec<_>>()
        });
        self.0.unsaved.mark_all(online);
        // Marked, so that there is something to take at once.
        let left = self.0.unsaved.take().now_or_never().unwrap_or_default();
        let written = self.save(&left).await;
        if let Err(error) = written.and(self.write_alive().await) {
            tracing::warn!(%error, "the last states of connections could not be written");
        }
    }

    async fn say_alive(&self) {
        let mut timer = tokio::time::interval(ALIVE_EVERY);
        loop {
            timer.tick().await;
            log_failure(self.write_alive().await);
        }
    }

    async fn write_alive(&self) -> Result<(), StoreError> {
        let now = self.now().to_be_bytes().to_vec();
        self.0.store.put_setting(ALIVE, now).await
    }

    async fn save_connections(&self) {
        loop {
            let names = self.0.unsaved.take().await;
            // Back at once, so that being dropped here loses none of them.
            self.0.unsaved.mark_all(names);
            tokio::time::sleep(GATHER).await;
            let names = self.0.unsaved.take().await;
            let saved = self.save(&names).await;
            if saved.is_err() {
                self.0.unsaved.mark_all(names);
            }
            log_failure(saved);
        }
    }

    async fn save(&self, names: &HashSet<ClusterName>) -> Result<(), StoreError> {
        let states: Vec<ClusterState> = self.read(|model| {
            let found = names
                .iter()
                .filter_map(|name| model.clusters.get_key_value(name.as_str()));
            found
                .map(|(name, cluster)| state_of(name, cluster))
                .collect()
        });
        for batch in states.chunks(BATCH) {
            self.0.store.put_seen(batch.to_vec()).await?;
        }
        Ok(())
    }

    async fn collect(&self) {
        loop {
            tokio::time::sleep(COLLECT_EVERY).await;
            let now = (self.0.options.clock)();
            match self.0.store.collect(now, Retention::default()).await {
                Ok(done) if done == Collected::default() => {}
                Ok(done) => tracing::debug!(?done, "garbage collected"),
                Err(error) => log_failure(Err(error)),
            }
            log_failure(self.drop_old_tokens().await);
        }
    }

    async fn collect_history(&self) {
        loop {
            tokio::time::sleep(COLLECT_HISTORY_EVERY).await;
            let before = self.now() - HISTORY_RETENTION_MS;
            match self.0.store.collect_history(before).await {
                Ok(0) => {}
                Ok(removed) => tracing::debug!(removed, "history of what is gone removed"),
                Err(error) => log_failure(Err(error)),
            }
        }
    }

    async fn drop_old_tokens(&self) -> Result<(), StoreError> {
        let before = self.now() - TOKEN_RETENTION_MS;
        let old: Vec<String> = self.read(|model| {
            let tokens = model.join_tokens.values();
            tokens
                .filter(|token| token.expires_at < before)
                .map(|token| token.id.clone())
                .collect()
        });
        if old.is_empty() {
            return Ok(());
        }
        let (fleet, ids) = (self.clone(), old.clone());
        self.0
            .store
            .write_then(
                move |tx| {
                    for id in &ids {
                        tx.delete_join_token(id)?;
                    }
                    Ok::<_, StoreError>(())
                },
                move |()| fleet.change(|model| model.drop_join_tokens(&old)),
            )
            .await
    }
}

fn log_failure(done: Result<(), StoreError>) {
    if let Err(error) = done {
        tracing::warn!(%error, "housekeeping of the store failed and will be tried again");
    }
}

fn state_of(name: &ClusterName, cluster: &Cluster) -> ClusterState {
    ClusterState {
        cluster: name.clone(),
        desired_version: cluster.desired_version,
        forgotten_version: cluster.forgotten_version,
        agent_version: cluster.agent_version.to_string(),
        kubernetes_version: cluster.kubernetes_version.to_string(),
        last_seen: cluster.last_seen,
        online: cluster.connection == connection::Status::Online,
        identity: cluster.identity.to_string(),
    }
}

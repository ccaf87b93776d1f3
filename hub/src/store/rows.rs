//! The rows that the typed methods take and return.

use std::sync::Arc;

use lockstep_proto::{ClusterName, Digest, v1};

use super::StoreError;

/// A resource as it is stored: `body` is the encoded message without
/// apiVersion, kind and status.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceRow {
    pub kind: v1::kind::Name,
    pub name: String,
    pub uid: String,
    pub generation: u32,
    /// Milliseconds since the epoch.
    pub created_at: i64,
    pub body: Vec<u8>,
}

/// What the hub keeps of a cluster beside its resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterState {
    pub cluster: ClusterName,
    pub desired_version: u64,
    /// The version at which a row of its desired state was last dropped.
    pub forgotten_version: u64,
    pub agent_version: String,
    pub kubernetes_version: String,
    /// Milliseconds since the epoch; none if it never connected.
    pub last_seen: Option<i64>,
    /// A session was open when this was written.
    pub online: bool,
    /// What a certificate must carry to speak for this cluster; empty before it joined.
    pub identity: String,
}

/// One assignment of a cluster's desired state.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredRow {
    pub cluster: ClusterName,
    pub assignment: Arc<str>,
    /// The cluster's version at which this row last changed.
    pub version: u64,
    pub digest: Digest,
    pub revision: Arc<str>,
    pub options: Arc<v1::ApplyOptions>,
    /// The cluster is to remove the assignment. The other fields say what it had.
    pub tombstone: bool,
}

/// A change of one row of a cluster's desired state.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredChange {
    pub cluster: ClusterName,
    pub assignment: Arc<str>,
    pub change: Change,
    /// Makes an entry in the history; without it, what the history says of
    /// the row goes on.
    pub because: Option<Arc<Because>>,
}

/// Who or what asked for a change.
#[derive(Debug, Clone, PartialEq)]
pub struct Because {
    pub cause: v1::history_entry::Cause,
    /// A person's token, or the author of the commit; empty where nobody did.
    pub by: String,
    pub commit: Option<v1::CommitInfo>,
    /// Milliseconds since the epoch.
    pub at: i64,
}

/// See [`DesiredChange`].
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Run this. No change where digest and options are what stands already.
    /// Without effect where the Cluster or the Assignment does not exist.
    Set {
        digest: Digest,
        revision: Arc<str>,
        options: Arc<v1::ApplyOptions>,
    },
    /// Remove it. Without effect where the cluster has no row.
    Tombstone,
    /// The tombstone that the cluster's desired state held at `version` is
    /// done: drop its row, and the report with it. Without effect on a row
    /// that is no tombstone, or one that was written later.
    Forget { version: u64 },
}

/// What a change of the desired state came to, for one cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Touched {
    pub cluster: ClusterName,
    /// The version that the cluster's desired state has now.
    pub version: u64,
    /// The rows that changed, as they are now.
    pub rows: Vec<DesiredRow>,
    /// Assignments whose row is gone.
    pub forgotten: Vec<Arc<str>>,
}

/// What an assignment's ref last resolved and rendered to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AssignmentState {
    /// Empty before the first success.
    pub revision: String,
    /// Id of the tree at the assignment's path at `revision`.
    pub tree: String,
    /// Digest of the options that went into the render and the desired rows.
    pub options_key: String,
    /// The Bundle that `revision` renders to.
    pub digest: Option<Digest>,
    pub objects: u32,
    pub commit: Option<v1::CommitInfo>,
    /// Empty when the last attempt went well, else what is wrong.
    pub message: String,
    /// What `revision` would change, where clusters do not get it yet.
    pub pending: Option<v1::Pending>,
}

/// What people said of an assignment beside its spec.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Control {
    /// Grows with every change of this and of the spec.
    pub version: u64,
    /// What was last released by a person, where mode is Manual.
    pub released: Option<Held>,
    pub pinned: Option<(Held, Said)>,
    /// With what was wanted when it was paused.
    pub paused: Option<(Said, Option<Held>)>,
    /// The Bundle whose prune a person has approved.
    pub approved: Option<(Digest, Said)>,
    /// What the last of them asked for.
    pub order: Option<Order>,
    /// Who last changed the spec.
    pub changed: Option<Said>,
}

impl Control {
    /// What clusters are to run whatever the ref names: none where they are
    /// to run that, or nothing yet. `manual`: what the spec says.
    #[must_use]
    pub fn held(&self, manual: bool) -> Option<&Held> {
        let paused = self.paused.as_ref().and_then(|(_, held)| held.as_ref());
        match &self.pinned {
            Some((pin, _)) => Some(pin),
            None if manual => self.released.as_ref(),
            None => paused,
        }
    }
}

/// A revision that clusters are held to.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    pub revision: String,
    pub tree: String,
    pub digest: Digest,
    pub objects: u32,
    pub commit: Option<v1::CommitInfo>,
    /// Of the spec, when it was released.
    pub namespace: String,
}

/// Who said something, and when in milliseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said {
    pub by: String,
    pub at: i64,
}

/// A person's wish that clusters run a revision.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    pub cause: v1::history_entry::Cause,
    pub said: Said,
    pub revision: String,
}

/// A join token. Its secret is held as a hash only.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinTokenRow {
    pub id: String,
    pub hash: Digest,
    pub cluster: ClusterName,
    pub labels: std::collections::BTreeMap<String, String>,
    /// Times in milliseconds since the epoch.
    pub created_at: i64,
    pub expires_at: i64,
    pub used_at: Option<i64>,
    /// Digest of the public key that it was traded for, and the identity that
    /// the key's certificates carry.
    pub used_by: Option<Digest>,
    pub used_identity: String,
    pub revoked_at: Option<i64>,
}

/// A token that people and machines call the API with, held as a hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessTokenRow {
    pub id: String,
    pub hash: Digest,
    pub subject: String,
    pub created_at: i64,
}

/// A credential. `sealed` is opaque here: only the credential room opens it.
#[derive(Clone, PartialEq, Eq)]
pub struct CredentialRow {
    pub name: String,
    pub uid: String,
    pub kind: v1::credential_spec::Type,
    pub username: String,
    pub sealed: Vec<u8>,
    pub created_at: i64,
}

impl std::fmt::Debug for CredentialRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CredentialRow")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Versions and sizes: never negative in a table, whatever SQLite's type says.
pub(super) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// The other way; versions do not come near the limit.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn cluster(value: rusqlite::types::ValueRef<'_>) -> Result<ClusterName, StoreError> {
    let text = value
        .as_str()
        .map_err(|error| StoreError::corrupt("cluster name", error))?;
    ClusterName::new(text).map_err(|error| StoreError::corrupt("cluster name", error))
}

//! What the hub wants of this cluster: kept on disk, so that the agent goes on
//! working while the hub is away, and handed to the engine as the latest value.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lockstep_proto::v1;
use tokio::sync::watch;

/// The desired state of this cluster at one version. Complete: the engine
/// never sees a part of one.
///
/// An Assignment that stands in neither map is none of the engine's business:
/// what it applied for it before stays as it is. Absence never deletes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// Zero until the hub has said anything.
    pub version: u64,
    /// By Assignment.
    pub items: BTreeMap<String, v1::DesiredItem>,
    /// Assignments to remove.
    pub tombstones: BTreeSet<String>,
}

/// The latest desired state.
pub type DesiredWatch = watch::Receiver<Arc<Desired>>;

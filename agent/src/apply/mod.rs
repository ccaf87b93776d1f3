//! From what is wanted to what is done.
//!
//! [`aim`] compares a Bundle's index with the Inventory, [`next`] says which
//! step comes next: both are pure, and every step follows from what the
//! Inventory says, so that it does not matter where the last attempt ended.
//! [`send`], [`removal`] and [`proof`] do the steps that need the cluster.

pub mod aim;
pub mod backoff;
pub mod body;
pub mod next;
pub mod proof;
pub mod removal;
pub mod send;
pub mod share;
pub mod stage;

use lockstep_proto::desired::options_digest;
use lockstep_proto::v1::DesiredItem;
use lockstep_proto::{Digest, NameError};

use share::Share;

/// What is to become of an Assignment on this cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    Keep(Target),
    /// A tombstone: remove what the Inventory lists, then the Inventory.
    Remove,
}

/// The Bundle to apply, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub digest: Digest,
    pub revision: String,
    /// For objects that name none; never empty.
    pub namespace: String,
    pub create_namespace: bool,
    pub prune: bool,
    pub max_prune: Share,
    /// `options_digest` of what the hub said, for the Report.
    pub options: u64,
}

impl Target {
    /// Reads what the hub said.
    ///
    /// # Errors
    /// [`NameError::Digest`].
    pub fn read(item: &DesiredItem) -> Result<Self, NameError> {
        let options = item.options.clone().unwrap_or_default();
        Ok(Self {
            options: options_digest(&options),
            digest: item.bundle_digest.parse()?,
            revision: item.revision.clone(),
            namespace: match options.namespace.as_str() {
                "" => "default".to_owned(),
                namespace => namespace.to_owned(),
            },
            create_namespace: options.create_namespace,
            prune: options.prune,
            max_prune: Share::read(&options.max_prune),
        })
    }
}

impl Goal {
    #[must_use]
    pub fn target(&self) -> Option<&Target> {
        match self {
            Self::Keep(target) => Some(target),
            Self::Remove => None,
        }
    }
}

//! From what is wanted to what is done.
//!
//! [`aim`] compares a Bundle's index with the Inventory, [`next`] says which
//! step comes next: both are pure, and every step follows from what the
//! Inventory says, so that it does not matter where the last attempt ended.
//! [`send`], [`removal`] and [`proof`] do the steps that need the cluster.

pub mod aim;
pub mod backoff;
pub mod body;
pub mod fate;
pub mod hooks;
mod newcomers;
pub mod next;
pub mod ownership;
pub mod proof;
pub mod refusal;
pub mod removal;
mod replace;
pub mod send;
pub mod share;
pub mod stage;
mod tell;

use std::time::Duration;

use lockstep_proto::desired::options_digest;
use lockstep_proto::v1::{ApplyOptions, DesiredItem, HealthRule, IgnoreRule, adopt, drift};
use lockstep_proto::{Digest, NameError};

use crate::caps::PruneCap;
use share::Share;

/// A Deployment's own deadline for progress, and the most that people wait for.
const TIMEOUT: Duration = Duration::from_secs(600);

/// What is to become of an Assignment on this cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // One for each Assignment, hardly ever moved.
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
    pub policy: Policy,
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
            policy: Policy::read(options),
        })
    }
}

/// How objects are treated, where nothing but the Assignment says so.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    pub drift: drift::Policy,
    pub adopt: adopt::Policy,
    pub ignore: Vec<IgnoreRule>,
    pub health: Vec<HealthRule>,
    /// Of Namespace, CustomResourceDefinition, PersistentVolume and
    /// PersistentVolumeClaim, those that may be removed.
    pub prune_kinds: Vec<String>,
    /// How long something may be on its way before that is a failure.
    pub timeout: Duration,
    /// Assignments that must be Synced and Healthy here first.
    pub depends_on: Vec<String>,
    /// Nothing is changed.
    pub paused: bool,
    /// What this Bundle prunes is approved.
    pub prune_approved: bool,
    /// What the cluster's owner lets a revision prune, approved or not. The
    /// hub has no say in it.
    pub prune_cap: Option<PruneCap>,
}

impl Policy {
    #[must_use]
    pub fn read(options: ApplyOptions) -> Self {
        Self {
            drift: match options.drift() {
                drift::Policy::Unspecified => drift::Policy::Correct,
                said => said,
            },
            adopt: match options.adopt() {
                adopt::Policy::Unspecified => adopt::Policy::IfUnowned,
                said => said,
            },
            ignore: options.ignore,
            health: options.health,
            prune_kinds: options.prune_kinds,
            timeout: match options.timeout_seconds {
                0 => TIMEOUT,
                seconds => Duration::from_secs(seconds.into()),
            },
            depends_on: options.depends_on,
            paused: options.paused,
            prune_approved: options.prune_approved,
            prune_cap: None,
        }
    }
}

impl Eq for Policy {}

impl Goal {
    #[must_use]
    pub fn target(&self) -> Option<&Target> {
        match self {
            Self::Keep(target) => Some(target),
            Self::Remove => None,
        }
    }
}

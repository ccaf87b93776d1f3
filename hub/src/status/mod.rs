//! The fleet in memory: resources, membership, desired state, the latest
//! reports and connections, and the roll-ups over them.
//!
//! In: changes by people (`apply`, `delete`, labels, joins) and by the other
//! rooms (what a repository holds, what clusters should run, what they
//! report). Out: views of one instant for readers, versions that watchers
//! wait on, and sets of keys that reconcilers should look at again.
//!
//! What is on disk is changed there first; memory follows on the writer's
//! thread, in commit order. No lock is held across an await.

mod apply;
mod changes;
mod control;
mod counts;
mod delete;
mod depend;
mod desired;
mod enrol;
#[cfg(test)]
pub(crate) mod fixture;
mod held;
mod keep;
mod labels;
mod load;
mod membership;
mod model;
mod names;
mod query;
mod rollup;
mod selector;
mod sessions;
mod shown;
mod table;
#[cfg(test)]
mod tests;
mod validate;
mod view;
mod watch;
mod written;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use lockstep_proto::{ClusterName, v1};
use parking_lot::RwLock;

pub use apply::ApplyError;
pub use control::{ChangeError, Standing};
pub use delete::DeleteError;
pub use desired::Desired;
pub use enrol::{EnrolError, Enrolled, Enrolment};
pub use labels::Selector;
pub use query::{Filter, Page};
pub use selector::SelectorError;
pub use table::{StatusPage, StatusQuery};
pub use validate::{check_labels, poll_seconds};
pub use watch::Watch;

pub(crate) use held::short;
pub(crate) use view::kind_word;

use crate::signal::Dirty;
use crate::store::Store;
use model::Model;

/// Where time comes from, so that a test can hold it.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// How a [`Fleet`] judges and dates what it is given.
#[derive(Clone)]
pub struct FleetOptions {
    /// Whether a Repository may have a `file` URL.
    pub allow_file: bool,
    pub clock: Clock,
}

impl Default for FleetOptions {
    fn default() -> Self {
        Self {
            allow_file: false,
            clock: Arc::new(SystemTime::now),
        }
    }
}

/// The fleet. Cheap to clone; clones share one state.
#[derive(Clone)]
pub struct Fleet(Arc<Inner>);

struct Inner {
    store: Store,
    options: FleetOptions,
    model: RwLock<Model>,
    /// The model's version, for those who wait for it to grow.
    version: tokio::sync::watch::Sender<u64>,
    dirty_assignments: Dirty<String>,
    dirty_repositories: Dirty<String>,
    dirty_clusters: Dirty<ClusterName>,
    /// Clusters whose connection changed since it was last written.
    unsaved: Dirty<ClusterName>,
}

/// What a change makes others look at again.
#[derive(Debug, Default)]
struct Effects {
    assignments: BTreeSet<Arc<str>>,
    repositories: BTreeSet<Arc<str>>,
    clusters: BTreeSet<ClusterName>,
}

impl Fleet {
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Assignments whose spec, groups or members changed: for the rollout driver.
    #[must_use]
    pub fn dirty_assignments(&self) -> &Dirty<String> {
        &self.0.dirty_assignments
    }

    /// Repositories whose spec changed or that somebody wants looked at: for
    /// the git driver.
    #[must_use]
    pub fn dirty_repositories(&self) -> &Dirty<String> {
        &self.0.dirty_repositories
    }

    /// Clusters whose desired state changed, that joined anew or were
    /// deleted: for dispatch.
    #[must_use]
    pub fn dirty_clusters(&self) -> &Dirty<ClusterName> {
        &self.0.dirty_clusters
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub fn now(&self) -> i64 {
        crate::store::millis((self.0.options.clock)())
    }

    fn read<T>(&self, look: impl FnOnce(&Model) -> T) -> T {
        look(&self.0.model.read())
    }

    /// Changes the model, and wakes watchers if that changed what they see.
    fn change<T>(&self, change: impl FnOnce(&mut Model) -> T) -> T {
        let mut model = self.0.model.write();
        let value = change(&mut model);
        let version = model.version;
        drop(model);
        self.0.version.send_if_modified(|seen| {
            let grown = *seen < version;
            *seen = version.max(*seen);
            grown
        });
        value
    }

    /// Wakes those whom a change concerns.
    fn mark(&self, effects: &Effects) {
        let text = |names: &BTreeSet<Arc<str>>| names.iter().map(ToString::to_string).collect();
        let assignments: Vec<String> = text(&effects.assignments);
        let repositories: Vec<String> = text(&effects.repositories);
        self.0.dirty_repositories.mark_all(repositories);
        self.0.dirty_assignments.mark_all(assignments);
        self.0
            .dirty_clusters
            .mark_all(effects.clusters.iter().cloned());
    }
}

/// Text for a person: "1 cluster", "3 clusters".
pub(crate) fn count_of(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// The spec of an assignment; an empty one where it has none.
fn spec_of(assignment: &v1::Assignment) -> v1::AssignmentSpec {
    assignment.spec.clone().unwrap_or_default()
}

//! Watches of what we own, and nothing else: one for each kind in use, across
//! all Assignments, selected by our label.
//!
//! In come the kinds of all Inventories; out go news, written into the items
//! that they concern. Kinds whose health is that they exist are watched by
//! metadata alone; of the others status and spec are read, judged, and dropped
//! at once. Where an Assignment has a rule of its own for a kind, the whole
//! object is read. Nothing here changes the cluster.

mod classes;
mod event;
mod watch;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cluster::{Cluster, GroupKind, Resource};
use crate::health::Rules;
use crate::inventory::Presence;
use crate::inventory::registry::{Registry, Shared};
use classes::Classes;
use lockstep_proto::v1::health::Status as Health;

/// A watch that is down for longer makes what we say of its objects old news.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Built-in kinds with a status subresource whose health does not depend on it.
const EXISTING_IS_ENOUGH: &[(&str, &str)] = &[
    ("", "ResourceQuota"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("networking.k8s.io", "Ingress"),
];

/// Whether the health of a kind depends on more than that the object exists.
#[must_use]
pub fn is_judged(resource: &Resource) -> bool {
    let own = resource.group.contains('.') && !resource.group.ends_with(".k8s.io");
    let kind = (&*resource.group, &*resource.kind);
    // A custom resource may have a status without having the subresource.
    own || (resource.status && !EXISTING_IS_ENOUGH.contains(&kind))
        || matches!(kind.0, "apps" | "batch")
}

/// [`is_judged`], for an Assignment that may have a rule of its own.
#[must_use]
pub fn is_judged_by(resource: &Resource, rules: &Rules) -> bool {
    is_judged(resource) || rules.find(&resource.group, &resource.kind).is_some()
}

/// Whether any Assignment has a rule of its own for the kind.
fn is_ruled(registry: &Registry, kind: &GroupKind) -> bool {
    let all = registry.all().into_iter();
    all.map(|shared| Arc::clone(&shared.inventory.lock().rules))
        .any(|rules| rules.find(&kind.group, &kind.kind).is_some())
}

/// The state of one watch.
#[derive(Debug, Default)]
pub struct State {
    /// Since when it has been down, and why.
    pub down: Option<(Instant, String)>,
}

struct Running {
    cancel: CancellationToken,
    state: Arc<Mutex<State>>,
}

/// See the module.
pub struct Observer {
    cluster: Cluster,
    registry: Arc<Registry>,
    tracker: TaskTracker,
    cancel: CancellationToken,
    running: Mutex<HashMap<GroupKind, Running>>,
    /// The server knows no streamed lists (before Kubernetes 1.32).
    lists: Arc<AtomicBool>,
    classes: Arc<Classes>,
}

impl Observer {
    #[must_use]
    pub fn new(
        cluster: Cluster,
        registry: Arc<Registry>,
        tracker: TaskTracker,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            classes: Arc::new(Classes::new(cluster.clone())),
            cluster,
            registry,
            tracker,
            cancel,
            running: Mutex::default(),
            lists: Arc::default(),
        }
    }

    /// Starts the watches that the Inventories need, and stops the others.
    pub fn refresh(&self) {
        let mut needed = HashSet::new();
        for shared in self.registry.all() {
            needed.extend(shared.inventory.lock().kinds());
        }
        let mut running = self.running.lock();
        running.retain(|kind, watch| {
            let keep = needed.contains(kind);
            if !keep {
                watch.cancel.cancel();
            }
            keep
        });
        for kind in needed {
            running
                .entry(kind)
                .or_insert_with_key(|kind| self.start(kind));
        }
    }

    /// From now on `shared` is judged by `rules`: what they judge in another
    /// way than before is looked at again, at once and not with its next event.
    pub fn judge_by(&self, shared: &Shared, rules: Rules) {
        let mut inventory = shared.inventory.lock();
        let differ = inventory.rules.differ(&rules);
        if differ.is_empty() {
            return;
        }
        inventory.rules = Arc::new(rules);
        let mut kinds = HashSet::new();
        for (id, item) in inventory.iter_mut() {
            let key = (Box::from(&*id.kind.group), Box::from(&*id.kind.kind));
            if differ.contains(&key) && item.presence == Presence::Present {
                // What the old rules said of it is not what is asked now.
                item.health = Health::Progressing;
                item.reason = Some("is being judged by its new rule".into());
                kinds.insert(id.kind.clone());
            }
        }
        drop(inventory);
        let mut running = self.running.lock();
        for kind in kinds {
            if let Some(watch) = running.get_mut(&kind) {
                watch.cancel.cancel();
                *watch = self.start(&kind);
            }
        }
    }

    /// Which of `kinds` cannot be watched now, for long enough to matter.
    #[must_use]
    pub fn trouble(&self, kinds: &HashSet<GroupKind>, now: Instant) -> Option<String> {
        let running = self.running.lock();
        let mut down: Vec<_> = kinds
            .iter()
            .filter_map(|kind| {
                let state = running.get(kind)?.state.lock();
                let (since, why) = state.down.as_ref()?;
                (now.duration_since(*since) >= PATIENCE)
                    .then(|| format!("cannot watch {}: {why}", kind.kind))
            })
            .collect();
        down.sort();
        let more = down.len().saturating_sub(1);
        let first = down.into_iter().next()?;
        Some(match more {
            0 => first,
            more => format!("{first}; and {more} kinds more"),
        })
    }

    fn start(&self, kind: &GroupKind) -> Running {
        let cancel = self.cancel.child_token();
        let state = Arc::<Mutex<State>>::default();
        let watch = watch::Watch {
            cluster: self.cluster.clone(),
            registry: Arc::clone(&self.registry),
            kind: kind.clone(),
            state: Arc::clone(&state),
            lists: Arc::clone(&self.lists),
            classes: Arc::clone(&self.classes),
        };
        let until = cancel.clone();
        self.tracker.spawn(async move {
            // Boxed: a watch's state is some kilobytes, and there are many.
            until.run_until_cancelled(Box::pin(watch.run())).await;
        });
        Running { cancel, state }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(group: &str, kind: &str, status: bool) -> Resource {
        Resource {
            group: group.into(),
            version: "v1".into(),
            kind: kind.into(),
            plural: "x".into(),
            namespaced: true,
            status,
            watchable: true,
        }
    }

    #[test]
    fn what_is_healthy_by_being_there_is_watched_by_metadata_alone() {
        for (group, kind, status, judged) in [
            ("", "ConfigMap", false, false),
            ("", "Secret", false, false),
            ("", "ResourceQuota", true, false),
            ("rbac.authorization.k8s.io", "Role", false, false),
            ("networking.k8s.io", "Ingress", true, false),
            ("apps", "Deployment", true, true),
            ("", "Namespace", true, true),
            (
                "apiextensions.k8s.io",
                "CustomResourceDefinition",
                true,
                true,
            ),
            ("example.com", "Widget", false, true),
        ] {
            assert_eq!(is_judged(&resource(group, kind, status)), judged, "{kind}");
        }
    }
}

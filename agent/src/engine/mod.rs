//! The reconciler: keeps one worker for each Assignment that the cluster has
//! anything to do with, and hands it its latest goal.
//!
//! In come the desired state and Bundles; out go Reports. Between the two
//! stands the cluster: what is in it is read by [`crate::observe`] and changed
//! by [`crate::apply`], and what was done is kept in [`crate::inventory`].
//! Absence never deletes: an Assignment that the desired state does not
//! mention, neither as an item nor as a tombstone, is left as it is.

mod hold;
mod report;
#[cfg(test)]
pub(crate) mod tests;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use kube::Client;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::apply::backoff::backoff;
use crate::apply::{Goal, Target};
use crate::bundle::BundleSource;
use crate::caps::Caps;
use crate::cluster::Cluster;
use crate::desired::{Desired, DesiredWatch};
use crate::health::Rules;
use crate::inventory::registry::Registry;
use crate::inventory::store::{self, Store};
use crate::inventory::{Inventory, SHARD_SIZE};
use crate::journal::Journal;
use crate::observe::Observer;
use crate::plan::{Desk, Ground};
use crate::report::Outbox;
use worker::{Order, Surround, Worker};

pub use crate::cluster::{Metrics, connect, kubernetes_version};

/// The longest wait for an API server that does not let us begin.
const LONGEST_START: Duration = Duration::from_secs(15);
/// Bundles whose index is read at once.
const READING: usize = 2;

/// What the caller may set. Everything has its default.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Where the engine counts what it does.
    pub metrics: Metrics,
    /// How many objects of an Inventory go into one object of the cluster.
    pub shard_size: usize,
    /// Where the engine says what happened to objects.
    pub journal: Journal,
    /// What the cluster's owner lets the hub do.
    pub caps: Caps,
    /// Where the hub's questions find the engine.
    pub desk: Desk,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            metrics: Metrics::default(),
            shard_size: SHARD_SIZE,
            journal: Journal::default(),
            caps: Caps::default(),
            desk: Desk::default(),
        }
    }
}

/// Keeps the cluster behind `client` in the state that `desired` names, and
/// says in `outbox` how it stands. Runs until `cancel`.
///
/// # Errors
/// None that a retry could cure: today, none at all.
pub async fn run(
    client: Client,
    desired: DesiredWatch,
    bundles: Arc<dyn BundleSource>,
    outbox: Outbox,
    options: EngineOptions,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    let tracker = TaskTracker::new();
    let cluster = Cluster::new(client, options.metrics.clone());
    let stop = cancel.child_token();
    let _stop = stop.clone().drop_guard();
    let work = async {
        let stored = begin(&cluster, options.shard_size, &desired, &outbox).await;
        let registry = Arc::<Registry>::default();
        let observer = Observer::new(
            cluster.clone(),
            Arc::clone(&registry),
            tracker.clone(),
            stop.clone(),
        );
        let ground = Arc::new(Ground::new(
            cluster.clone(),
            Arc::clone(&registry),
            Arc::clone(&bundles),
            options.caps.clone(),
            desired.clone(),
        ));
        let around = Arc::new(Surround {
            cluster,
            registry,
            observer,
            bundles,
            outbox,
            journal: options.journal,
            caps: options.caps,
            reading: Semaphore::new(READING),
            started: Instant::now(),
        });
        let mut engine = Engine {
            around,
            ground,
            desk: options.desk,
            tracker: tracker.clone(),
            stop: stop.clone(),
            shard_size: options.shard_size,
            hands: BTreeMap::new(),
            stores: BTreeMap::new(),
        };
        engine.keep(desired, stored).await;
    };
    cancel.run_until_cancelled(work).await;
    stop.cancel();
    tracker.close();
    tracker.wait().await;
    Ok(())
}

/// Reads the Inventories; nothing is done before all of them are known, for
/// they say who owns what.
async fn begin(
    cluster: &Cluster,
    shard_size: usize,
    desired: &DesiredWatch,
    outbox: &Outbox,
) -> Vec<(Inventory, Store)> {
    let mut failures = 0;
    loop {
        let error = match store::load(cluster, shard_size).await {
            Ok(stored) => return stored,
            Err(error) => error,
        };
        let wait = backoff(failures, None).min(LONGEST_START);
        failures += 1;
        tracing::warn!(%error, "cannot read the inventories");
        // Only where it lasts: an agent that starts beside its API server
        // need not alarm anybody.
        if failures > 3 {
            let now: Arc<Desired> = desired.borrow().clone();
            for item in now.items.values() {
                outbox.put(report::not_begun(item, &error.to_string()));
            }
        }
        tokio::time::sleep(wait).await;
    }
}

/// One worker, from outside.
struct Hand {
    orders: watch::Sender<Order>,
    task: JoinHandle<()>,
}

struct Engine {
    around: Arc<Surround>,
    ground: Arc<Ground>,
    desk: Desk,
    tracker: TaskTracker,
    stop: CancellationToken,
    shard_size: usize,
    hands: BTreeMap<String, Hand>,
    /// Of Assignments that nothing was said about since the start.
    stores: BTreeMap<String, Store>,
}

impl Engine {
    async fn keep(&mut self, mut desired: DesiredWatch, stored: Vec<(Inventory, Store)>) {
        for (inventory, store) in stored {
            let name = inventory.assignment.to_string();
            self.around.registry.add(inventory);
            self.stores.insert(name, store);
        }
        self.desk.open(Arc::clone(&self.ground));
        loop {
            let now: Arc<Desired> = desired.borrow_and_update().clone();
            self.follow(&now).await;
            self.ground.tidy();
            if desired.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Gives every worker its goal, and ends those that have none.
    async fn follow(&mut self, desired: &Desired) {
        let ended: Vec<String> = self
            .hands
            .keys()
            .filter(|name| {
                !desired.items.contains_key(*name) && !desired.tombstones.contains(*name)
            })
            .cloned()
            .collect();
        for name in ended {
            self.end(&name).await;
        }
        let mut orders = Vec::new();
        for (name, item) in &desired.items {
            match Target::read(item) {
                Ok(mut target) => {
                    target.policy.prune_cap = self.around.caps.prune_share();
                    orders.push((name, Goal::Keep(target)));
                }
                Err(error) => {
                    tracing::error!(assignment = name, %error, "the hub named no digest");
                    self.around
                        .outbox
                        .put(report::not_begun(item, &error.to_string()));
                }
            }
        }
        let removals = desired.tombstones.iter();
        orders.extend(removals.map(|name| (name, Goal::Remove)));
        // All first, so that nobody takes an old aim for a new one.
        for (name, goal) in &orders {
            self.prepare(name, goal);
        }
        for (name, goal) in orders {
            self.order(name, goal, desired.version);
        }
    }

    fn prepare(&self, name: &str, goal: &Goal) {
        let hand = self.hands.get(name);
        if hand.is_some_and(|hand| hand.orders.borrow().goal == *goal) {
            return;
        }
        let registry = &self.around.registry;
        let shared = registry
            .get(name)
            .unwrap_or_else(|| registry.add(Inventory::new(name)));
        if let Some(target) = goal.target() {
            let before = Arc::clone(&shared.inventory.lock().rules);
            let rules = Rules::read(&target.policy.health, &before);
            self.around.observer.judge_by(&shared, rules);
        }
        let expected = goal.target().map(|target| (target.digest, target.options));
        registry.expect(&shared, expected);
        let mut inventory = shared.inventory.lock();
        inventory.pursued = true;
        inventory.aimed = false;
    }

    fn order(&mut self, name: &str, goal: Goal, version: u64) {
        let order = Order { goal, version };
        if let Some(hand) = self.hands.get(name) {
            hand.orders.send_if_modified(|now| {
                let changed = *now != order;
                *now = order;
                changed
            });
            return;
        }
        let store = self
            .stores
            .remove(name)
            .unwrap_or_else(|| Store::new(self.around.cluster.clone(), name, self.shard_size));
        let shared = self
            .around
            .registry
            .get(name)
            .unwrap_or_else(|| self.around.registry.add(Inventory::new(name)));
        let (orders, receiver) = watch::channel(order);
        let worker = Worker::new(Arc::clone(&self.around), shared, store, receiver);
        let stop = self.stop.clone();
        let work = async move {
            stop.run_until_cancelled(Box::pin(worker.run())).await;
        };
        let task = self.tracker.spawn(work.map(|()| ()));
        self.hands.insert(name.to_owned(), Hand { orders, task });
    }

    /// Nothing is wanted of the Assignment any more, not even its removal: its
    /// objects stay, and nobody speaks of them. What it owns it goes on owning.
    async fn end(&mut self, name: &str) {
        let Some(hand) = self.hands.remove(name) else {
            return;
        };
        hand.task.abort();
        let _ = hand.task.await;
        self.around.outbox.remove(name);
        let shared = self.around.registry.get(name);
        let empty = shared.is_none_or(|shared| {
            self.around.registry.expect(&shared, None);
            let mut inventory = shared.inventory.lock();
            inventory.pursued = false;
            inventory.is_empty()
        });
        if empty {
            self.around.registry.remove(name);
        }
        self.around.observer.refresh();
    }
}

//! One Assignment's worker: asks what comes next, does it, says how things
//! stand, and rests until there is news. A newer goal drops whatever is under
//! way: every step can be dropped at any point.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use lockstep_proto::Digest;
use pbjson_types::Timestamp;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until};

use super::report::{Standing, report};
use crate::apply::aim;
use crate::apply::backoff::backoff;
use crate::apply::fate::{Fate, Fates};
use crate::apply::next::{Pace, Step, Surroundings, next};
use crate::apply::removal::Remover;
use crate::apply::send::{NEVER, Sender, StepError};
use crate::apply::{Goal, Target};
use crate::bundle::{BundleError, BundleFile, BundleSource};
use crate::caps::Caps;
use crate::cluster::{ApiError, Cluster};
use crate::inventory::registry::{Registry, Said, Shared};
use crate::inventory::store::{Store, create_namespace};
use crate::inventory::{Inventory, ObjectId, Presence};
use crate::journal::Journal;
use crate::observe::Observer;
use crate::report::Outbox;

/// News come in bursts: what is not urgent waits for the end of one.
const BURST: Duration = Duration::from_millis(50);
/// How often a long step says how far it is.
const PROGRESS: Duration = Duration::from_millis(500);
/// How long a fresh agent may take to look at everything before it says that
/// it does not know.
const FIRST_LOOK: Duration = Duration::from_secs(10);
/// Between two looks for objects that others have let go of.
const CLAIM_AGAIN: Duration = Duration::from_secs(2);
/// How long a prune waits for others to say whether they take what it drops.
const OTHERS: Duration = Duration::from_secs(10);
/// An API server that was away is tried again at least this often.
const LONGEST_AWAY: Duration = Duration::from_secs(10);

/// What the worker shares with all others.
pub struct Surround {
    pub cluster: Cluster,
    pub registry: Arc<Registry>,
    pub observer: Observer,
    pub bundles: Arc<dyn BundleSource>,
    pub outbox: Outbox,
    pub journal: Journal,
    pub caps: Caps,
    /// Indexes of Bundles are read one or two at a time: they are the largest
    /// thing that is ever in memory.
    pub reading: Semaphore,
    pub started: Instant,
}

/// A goal, and the version of the desired state that it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub goal: Goal,
    pub version: u64,
}

pub struct Worker {
    pub around: Arc<Surround>,
    pub name: Arc<str>,
    pub shared: Arc<Shared>,
    pub store: Store,
    pub orders: watch::Receiver<Order>,
    /// As whom, and how fast, this Assignment's objects are changed.
    cluster: Cluster,
    standing: Standing,
    pace: Pace,
    file: Option<BundleFile>,
    failures: u32,
    /// The others were given the time to say what they want.
    waited: bool,
    /// The goal that waits for other Assignments, while another is pursued.
    pub(super) held: Option<Goal>,
}

impl Worker {
    pub fn new(
        around: Arc<Surround>,
        shared: Arc<Shared>,
        store: Store,
        orders: watch::Receiver<Order>,
    ) -> Self {
        let name = Arc::clone(&shared.inventory.lock().assignment);
        let cluster = around.cluster.acting(around.caps.actor(&name));
        Self {
            cluster,
            around,
            name,
            shared,
            store,
            orders,
            standing: Standing::default(),
            pace: Pace::default(),
            file: None,
            failures: 0,
            waited: false,
            held: None,
        }
    }

    /// Runs until the orders end.
    pub async fn run(mut self) {
        let mut orders = self.orders.clone();
        loop {
            let goal = orders.borrow_and_update().goal.clone();
            self.begin();
            tokio::select! {
                biased;
                newer = orders.wait_for(|order| order.goal != goal) => {
                    if newer.is_err() {
                        return;
                    }
                }
                () = self.reach(&goal) => {}
            }
        }
    }

    async fn reach(&mut self, goal: &Goal) {
        if let Some(target) = goal.target() {
            self.hold(goal, target).await;
        }
        self.pursue(goal).await;
    }

    /// Forgets what was known about the last goal.
    pub(super) fn begin(&mut self) {
        self.held = None;
        let mut inventory = self.shared.inventory.lock();
        inventory.aimed = false;
        inventory.iter_mut().for_each(|(_, item)| item.doubt());
        drop(inventory);
        self.held = None;
        self.standing = Standing::default();
        self.pace = Pace::default();
        self.file = None;
        self.failures = 0;
        self.waited = false;
    }

    /// Does what comes next, again and again; ends only by being dropped.
    pub(super) async fn pursue(&mut self, goal: &Goal) {
        loop {
            let step = self.next(goal);
            self.say(goal);
            let done = match step {
                Step::Rest(until) => {
                    self.rest(until).await;
                    continue;
                }
                Step::Vanish => match self.store.remove().await {
                    Ok(()) => return self.stay_removed(goal).await,
                    Err(error) => Err(error.into()),
                },
                step => self.perform_and_tell(goal, step).await,
            };
            match done {
                Ok(()) => {
                    self.failures = 0;
                    self.standing.trouble = None;
                }
                Err(error) => self.back_off(goal, &error).await,
            }
        }
    }

    /// Nothing is left. Says so for every version of the desired state that
    /// still has the tombstone: an older word does not end a newer one.
    async fn stay_removed(&mut self, goal: &Goal) {
        self.shared.inventory.lock().settled = None;
        self.around.observer.refresh();
        self.standing.trouble = None;
        let mut orders = self.orders.clone();
        loop {
            self.standing.removed = Some(orders.borrow_and_update().version);
            self.say(goal);
            if orders.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn next(&self, goal: &Goal) -> Step {
        let inventory = self.shared.inventory.lock();
        let kinds = self.around.cluster.kinds();
        next(goal, &inventory, &kinds, self.pace, Instant::now())
    }

    /// Says how things stand, if they can be known yet.
    fn say(&mut self, goal: &Goal) {
        let now = Instant::now();
        let inventory = self.shared.inventory.lock();
        let fresh = now.duration_since(self.around.started) < FIRST_LOOK;
        if fresh && inventory.aimed && self.standing.trouble.is_none() && looks(&inventory) {
            return;
        }
        let used: HashSet<_> = inventory.kinds();
        self.standing.blind = self.around.observer.trouble(&used, now);
        drop(inventory);
        self.standing.held = self.unmet();
        let goal = self.held.as_ref().unwrap_or(goal);
        put(&self.around, &self.shared, goal, &self.standing);
    }

    /// Does `step`; meanwhile says now and then how far it is.
    async fn perform_and_tell(&mut self, goal: &Goal, step: Step) -> Result<(), StepError> {
        let long = matches!(step, Step::Send(..) | Step::Delete(_));
        if !long {
            return self.perform(goal, step).await;
        }
        let around = Arc::clone(&self.around);
        let shared = Arc::clone(&self.shared);
        let standing = Standing {
            left: self.standing.left.clone(),
            held: self.standing.held.clone(),
            ..Standing::default()
        };
        let said = self.held.as_ref().unwrap_or(goal).clone();
        let mut progress = tokio::time::interval_at(Instant::now() + PROGRESS, PROGRESS);
        let mut work = std::pin::pin!(self.perform(goal, step));
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = progress.tick() => {
                    put(&around, &shared, &said, &standing);
                }
            }
        }
    }

    async fn perform(&mut self, goal: &Goal, step: Step) -> Result<(), StepError> {
        let around = Arc::clone(&self.around);
        let shared = Arc::clone(&self.shared);
        let target = goal.target();
        match (step, target) {
            (Step::Aim, None) => {
                self.store.recover(&shared.inventory).await?;
                // What lives by which definition decides what may go.
                self.know_kinds().await?;
                let mut inventory = shared.inventory.lock();
                inventory.want_nothing();
                inventory.aimed = true;
                drop(inventory);
                around.registry.has_aimed();
            }
            (Step::Aim, Some(target)) => {
                self.aim(goal, target).await?;
                self.note_refused();
            }
            (Step::Resolve, Some(target)) => {
                let kinds = around.cluster.discover(Instant::now()).await?;
                aim::resolve(&around.registry, &shared, target, &kinds);
                self.note_refused();
                self.pace_resolving();
            }
            (Step::Claim, _) => {
                aim::claim(&around.registry, &shared);
                self.note_refused();
                self.pace.claim = Some(Instant::now() + CLAIM_AGAIN);
            }
            (Step::Store { begin }, _) => {
                if begin {
                    let mut inventory = shared.inventory.lock();
                    if let Some(target) = target.filter(|t| !inventory.has_reached(t)) {
                        inventory.begin(target.digest);
                    }
                    inventory.intend();
                }
                self.store.save(&shared.inventory).await?;
                around.observer.refresh();
            }
            (Step::Prove(ids), Some(target)) => {
                let file = self.bundle(goal, target).await?;
                self.sender(target).prove(&file, ids).await?;
            }
            (Step::Send(_, ids), Some(target)) => {
                let file = self.bundle(goal, target).await?;
                self.make_namespace(target, &ids).await?;
                self.sender(target).send(&file, ids).await?;
            }
            (Step::Conclude(ended), _) => {
                for (id, end) in ended {
                    shared.inventory.lock().concluded(&id, end);
                }
                self.store.save(&shared.inventory).await?;
            }
            (Step::Run(ids), Some(target)) => {
                let file = self.bundle(goal, target).await?;
                self.make_namespace(target, &ids).await?;
                self.sender(target).run(&file, ids).await?;
            }
            (Step::Clear(ids), Some(target)) => self.sender(target).clear(ids).await?,
            (Step::Delete(ids), _) => {
                if !std::mem::replace(&mut self.waited, true) {
                    let others = around.registry.everybody_aimed();
                    let _ = tokio::time::timeout(OTHERS, others).await;
                }
                let left = self.remover().delete(ids).await?;
                self.standing.left.extend(left);
                around.registry.wake_contenders();
            }
            (Step::Release(ids), _) => {
                let ids = self.with_reasons(goal, ids);
                let left = self.remover().release(ids).await?;
                self.standing.left.extend(left);
            }
            (Step::Settle, Some(target)) => {
                shared
                    .inventory
                    .lock()
                    .settle(target.digest, &target.revision, &target.namespace);
                self.store.save(&shared.inventory).await?;
                around.observer.refresh();
            }
            // No goal asks for these, or they are not done here.
            (
                Step::Resolve
                | Step::Prove(_)
                | Step::Run(_)
                | Step::Clear(_)
                | Step::Send(..)
                | Step::Settle,
                None,
            )
            | (Step::Rest(_) | Step::Vanish, _) => {}
        }
        Ok(())
    }

    async fn know_kinds(&self) -> Result<(), ApiError> {
        if self.around.cluster.kinds().is_empty() {
            self.around.cluster.discover(Instant::now()).await?;
        }
        Ok(())
    }

    /// Compares the Inventory with the target: by what was settled where that
    /// is the same, else by the Bundle's index.
    async fn aim(&mut self, goal: &Goal, target: &Target) -> Result<(), StepError> {
        self.store.recover(&self.shared.inventory).await?;
        let may = &target.policy.prune_kinds;
        self.shared.inventory.lock().may_prune(may);
        self.know_kinds().await?;
        if self
            .shared
            .inventory
            .lock()
            .want_settled(target.digest, &target.namespace)
        {
            self.around.registry.has_aimed();
            self.around.observer.refresh();
            return Ok(());
        }
        if self.held.is_some() {
            self.shared.inventory.lock().want_applied();
            self.around.registry.has_aimed();
            return Ok(());
        }
        let file = self.bundle(goal, target).await?;
        let _reading = self.around.reading.acquire().await;
        let entries = tokio::task::spawn_blocking(move || file.index())
            .await
            .map_err(|error| StepError::Read(error.into()))??;
        let kinds = self.around.cluster.kinds();
        aim::aim(&self.around.registry, &self.shared, target, entries, &kinds);
        self.around.observer.refresh();
        Ok(())
    }

    /// The target's Bundle, from disk or from the hub.
    async fn bundle(&mut self, goal: &Goal, target: &Target) -> Result<BundleFile, StepError> {
        if let Some(file) = &self.file
            && file.digest() == target.digest
            && file.path().exists()
        {
            return Ok(file.clone());
        }
        let have = self
            .shared
            .inventory
            .lock()
            .settled
            .as_ref()
            .map(|s| s.digest);
        let have = have.filter(|have: &Digest| *have != target.digest);
        self.standing.waiting = Some("fetching the bundle from the hub".to_owned());
        self.say(goal);
        let bundles = Arc::clone(&self.around.bundles);
        let fetched = bundles.bundle(target.digest, have).await;
        self.standing.waiting = None;
        let file = fetched?;
        self.file = Some(file.clone());
        Ok(file)
    }

    /// Creates the Assignment's namespace where nothing of ours lives in it
    /// yet: else an apply would say soon enough that it is missing.
    async fn make_namespace(&self, target: &Target, ids: &[ObjectId]) -> Result<(), StepError> {
        let namespace = target.namespace.as_str();
        let needed = target.create_namespace
            && self.around.caps.refuses_namespace(namespace).is_none()
            && ids.iter().any(|id| *id.namespace == *namespace);
        if !needed {
            return Ok(());
        }
        {
            let inventory = self.shared.inventory.lock();
            let lived_in = inventory.iter().any(|(id, item)| {
                (*id.namespace == *namespace && item.presence == Presence::Present)
                    || (id.is("", "Namespace") && *id.name == *namespace)
            });
            if lived_in {
                return Ok(());
            }
        }
        match create_namespace(&self.cluster, namespace).await {
            // It may exist all the same: applying tells.
            Err(error) if !error.is_about_the_server() => Ok(()),
            other => Ok(other?),
        }
    }

    /// Says what the cluster's owner does not allow, before anybody tries.
    fn note_refused(&self) {
        let caps = &self.around.caps;
        if caps.is_none() {
            return;
        }
        let mut inventory = self.shared.inventory.lock();
        for (id, item) in inventory
            .iter_mut()
            .filter(|(_, item)| item.wanted.is_some())
        {
            if let Some(words) = caps.refuses(&self.name, id) {
                item.refused(&words, Instant::now() + NEVER);
            }
        }
    }

    /// Says of each of `ids` why it is left where it is.
    fn with_reasons(&self, goal: &Goal, ids: Vec<ObjectId>) -> Vec<(ObjectId, String)> {
        let inventory = self.shared.inventory.lock();
        let kinds = self.around.cluster.kinds();
        let around = Surroundings::new(&inventory, &kinds);
        let fates = Fates::new(goal, &inventory, &around);
        let why = |id: &ObjectId| match fates.of(id, inventory.get(id)?) {
            Fate::Leave(why) => Some(why.words(id)),
            Fate::Delete => None,
        };
        let known = |id: ObjectId| why(&id).map(|words| (id, words));
        ids.into_iter().filter_map(known).collect()
    }

    fn sender<'a>(&'a self, target: &'a Target) -> Sender<'a> {
        Sender {
            cluster: &self.cluster,
            registry: &self.around.registry,
            caps: &self.around.caps,
            shared: &self.shared,
            journal: &self.around.journal,
            assignment: &self.name,
            target,
        }
    }

    fn remover(&self) -> Remover<'_> {
        Remover {
            cluster: &self.cluster,
            registry: &self.around.registry,
            caps: &self.around.caps,
            shared: &self.shared,
            assignment: &self.name,
        }
    }

    /// A definition that was just made is served within moments: ask soon,
    /// then less and less often.
    fn pace_resolving(&mut self) {
        if self.shared.inventory.lock().unresolved.is_empty() {
            self.pace.resolve = None;
            self.standing.resolving = 0;
            return;
        }
        let tries = self.standing.resolving;
        self.standing.resolving = tries + 1;
        let wait = match tries {
            0..6 => Duration::from_millis(100 << tries),
            _ => backoff((tries - 5).min(4), None),
        };
        self.pace.resolve = Some(Instant::now() + wait);
    }

    /// Waits for news, or until `until`. What is urgent is done at once, the
    /// rest when the burst is over.
    async fn rest(&self, until: Option<Instant>) {
        let first_look = self.around.started + FIRST_LOOK;
        let until = match until {
            None if Instant::now() < first_look => Some(first_look),
            until => until,
        };
        let timer = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.shared.urgent.notified() => return,
            () = timer => return,
            () = self.shared.changed.notified() => {}
        }
        let _ = tokio::time::timeout(BURST, self.shared.urgent.notified()).await;
    }

    /// Notes what keeps everything from going on, and waits.
    async fn back_off(&mut self, goal: &Goal, error: &StepError) {
        let api = match error {
            StepError::Api(error) => Some(error),
            StepError::Store(error) => error.api(),
            StepError::Bundle(_) | StepError::Read(_) => None,
        };
        let asked = api.and_then(ApiError::retry_after);
        let mut wait = backoff(self.failures, asked);
        if api.is_some_and(ApiError::is_about_the_server) {
            wait = wait.min(LONGEST_AWAY);
        }
        self.failures = self.failures.saturating_add(1);
        self.file = None;
        let seconds = wait.as_secs().max(1);
        let words = format!("{error}; trying again in about {seconds} s");
        if matches!(error, StepError::Bundle(BundleError::NotAssigned { .. })) {
            // The desired state has moved on, and news of it are on their way.
            self.standing.waiting = Some(words);
        } else {
            self.standing.trouble = Some(words);
        }
        self.say(goal);
        tracing::warn!(assignment = %self.name, %error, "attempt failed");
        tokio::time::sleep(wait).await;
        self.standing.waiting = None;
    }
}

/// Says how things stand: to the hub, and to those that depend on it.
fn put(around: &Surround, shared: &Shared, goal: &Goal, standing: &Standing) {
    let kinds = around.cluster.kinds();
    let report = {
        let inventory = shared.inventory.lock();
        let (now, wall) = (Instant::now(), wall_clock());
        report(goal, &inventory, &kinds, standing, now, wall)
    };
    if let Some(target) = goal.target() {
        let said = Said {
            of: (target.digest, target.options),
            sync: report.sync(),
            health: report.health(),
            message: report.message.clone(),
        };
        around.registry.say(shared, said);
    }
    around.outbox.put(report);
}

/// Something that was applied before has not been looked at yet.
fn looks(inventory: &Inventory) -> bool {
    inventory.iter().any(|(_, item)| {
        item.presence == Presence::Unseen && item.applied.is_some() && item.wanted.is_some()
    })
}

fn wall_clock() -> Timestamp {
    let now = jiff::Timestamp::now();
    Timestamp {
        seconds: now.as_second(),
        nanos: now.subsec_nanosecond(),
    }
}

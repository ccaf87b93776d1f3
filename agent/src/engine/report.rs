//! What is true of an Assignment now: a pure function of its goal, its
//! Inventory and what the worker is up to.

use std::collections::HashMap;
use std::time::Duration;

use lockstep_proto::desired::options_digest;
use lockstep_proto::traits::Hook;
use lockstep_proto::v1::drift::Policy;
use lockstep_proto::v1::health::Status as Health;
use lockstep_proto::v1::sync::Status as Sync;
use lockstep_proto::v1::{ApplyOptions, Problem, Report};
use pbjson_types::Timestamp;
use tokio::time::Instant;

use crate::apply::fate::{Blocked, Fates};
use crate::apply::next::{Phase, Surroundings, Way};
use crate::apply::{Goal, Target};
use crate::cluster::KindMap;
use crate::health::{severity, worst};
use crate::inventory::{Drift, End, Inventory, Item, ObjectId, Presence};

/// Problems told one by one; the outbox cuts further to what fits a message.
const MOST_PROBLEMS: usize = 32;

/// What the worker knows beside the Inventory.
#[derive(Debug, Default)]
pub struct Standing {
    /// Why nothing goes on at all, in words.
    pub trouble: Option<String>,
    /// It is waiting for something outside, in words.
    pub waiting: Option<String>,
    /// The target waits for other Assignments, in words.
    pub held: Option<String>,
    /// Watches that are down.
    pub blind: Option<String>,
    /// Objects that were let go of on the way to this target.
    pub left: Vec<String>,
    /// What the last try to resolve kinds came to; before it, they may be on
    /// their way.
    pub resolving: u32,
    /// The tombstone is done; the version that it was done for.
    pub removed: Option<u64>,
}

/// The Report of what is so now.
#[must_use]
pub fn report(
    goal: &Goal,
    inventory: &Inventory,
    kinds: &KindMap,
    standing: &Standing,
    now: Instant,
    wall: Timestamp,
) -> Report {
    let around = Surroundings::new(inventory, kinds);
    let way = Way::new(goal, inventory, &around, now);
    let mut tally = Tally::new(goal, inventory, &around, &way, standing, now);
    tally.count();
    let (target_digest, target_revision) = goal.target().map_or_else(Default::default, |target| {
        (target.digest.to_string(), target.revision.clone())
    });
    let settled = inventory.settled.as_ref();
    let reached = settled.is_some_and(|settled| {
        goal.target()
            .is_some_and(|target| settled.digest == target.digest)
    });
    let applied_revision = match settled {
        // The same content under a newer commit.
        Some(_) if reached => target_revision.clone(),
        Some(settled) => settled.revision.clone(),
        None => String::new(),
    };
    let (sync, message) = tally.verdict();
    let health = if standing.removed.is_some() {
        Health::Healthy
    } else if standing.blind.is_some() {
        Health::Unknown
    } else {
        worst(tally.health.iter().copied())
    };
    let mut problems = std::mem::take(&mut tally.problems);
    problems.sort_by(|a, b| {
        let rank = |p: &Problem| (trouble_of(p.sync()), severity(p.health()));
        rank(b).cmp(&rank(a)).then_with(|| a.object.cmp(&b.object))
    });
    let more = problems.len().saturating_sub(MOST_PROBLEMS);
    problems.truncate(MOST_PROBLEMS);
    Report {
        seq: 0,
        assignment: inventory.assignment.to_string(),
        target_digest,
        target_revision,
        applied_digest: settled.map_or_else(String::new, |s| s.digest.to_string()),
        applied_revision,
        sync: sync.into(),
        health: health.into(),
        objects: count(tally.objects),
        drifted: count(tally.drifted),
        message,
        observed_at: Some(wall),
        problems,
        more_problems: count(more),
        removed: standing.removed.is_some(),
        tombstone_version: standing.removed.unwrap_or(0),
        target_options: goal.target().map_or(0, |target| target.options),
        awaiting_approval: count(tally.awaiting_approval()),
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Worst first: what failed, what is not as it should be, what is under way.
fn trouble_of(sync: Sync) -> u8 {
    match sync {
        Sync::Failed => 3,
        Sync::OutOfSync => 2,
        Sync::Applying => 1,
        _ => 0,
    }
}

struct Tally<'a> {
    goal: &'a Goal,
    inventory: &'a Inventory,
    around: &'a Surroundings<'a>,
    way: &'a Way<'a>,
    standing: &'a Standing,
    now: Instant,
    timeout: Duration,
    /// What is done about drift where the object does not say.
    drift: Policy,
    objects: usize,
    applied: usize,
    drifted: usize,
    failed: usize,
    unseen: usize,
    unwanted: usize,
    waiting: HashMap<String, usize>,
    going: Option<String>,
    blocked: Option<Blocked>,
    health: Vec<Health>,
    problems: Vec<Problem>,
}

impl<'a> Tally<'a> {
    fn new(
        goal: &'a Goal,
        inventory: &'a Inventory,
        around: &'a Surroundings<'a>,
        way: &'a Way<'a>,
        standing: &'a Standing,
        now: Instant,
    ) -> Self {
        Self {
            goal,
            inventory,
            around,
            way,
            standing,
            now,
            timeout: goal
                .target()
                .map_or(Duration::ZERO, |target| target.policy.timeout),
            drift: goal
                .target()
                .map_or(Policy::Correct, |target| target.policy.drift),
            objects: 0,
            applied: 0,
            drifted: 0,
            failed: 0,
            unseen: 0,
            unwanted: 0,
            waiting: HashMap::new(),
            going: None,
            blocked: None,
            health: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn count(&mut self) {
        if !self.inventory.aimed {
            // What is wanted is not known yet; what is there still counts.
            self.objects = self.inventory.len();
            self.health = self.inventory.iter().map(|(_, i)| i.health).collect();
            return;
        }
        self.blocked = Fates::new(self.goal, self.inventory, self.around).blocked();
        for (id, item) in self.inventory.iter() {
            if item.wanted.is_some() && item.hook().is_some() {
                self.count_hook(id, item);
            } else if item.wanted.is_some() {
                self.count_wanted(id, item);
            } else {
                self.count_unwanted(id, item);
            }
        }
        for unresolved in &self.inventory.unresolved {
            self.objects += 1;
            // A definition that is being made gets a moment to be served.
            let sync = if self.standing.resolving < 3 {
                Sync::Applying
            } else {
                self.failed += 1;
                Sync::Failed
            };
            self.add(
                unresolved.listed.entry.key.to_string(),
                sync,
                Health::Missing,
                &unresolved.why,
            );
            self.health.push(Health::Missing);
        }
        for (id, contested) in &self.inventory.contested {
            self.objects += 1;
            self.failed += 1;
            let words = format!(
                "assignment {} owns it: remove it from one of the two",
                contested.owner
            );
            let name = id.say(&contested.api_version);
            self.add(name, Sync::Failed, Health::Unknown, &words);
            self.health.push(Health::Unknown);
        }
        for name in &self.inventory.doubled {
            self.failed += 1;
            let words = "it is listed twice, once without its namespace";
            self.add(name.clone(), Sync::Failed, Health::Unknown, words);
        }
    }

    fn count_wanted(&mut self, id: &ObjectId, item: &Item) {
        let judgement = item.judgement(self.timeout, self.now);
        let health = judgement.health;
        self.objects += 1;
        self.applied += usize::from(!item.is_outdated());
        self.unseen += usize::from(item.presence == Presence::Unseen && !item.is_outdated());
        let policy = item.policy(self.drift);
        let ignored = policy == Policy::Ignore && item.is_missing();
        if !ignored {
            self.health.push(health);
        }
        let drifted = policy != Policy::Ignore && item.is_drifted();
        self.drifted += usize::from(drifted);
        let name = || id.say(&item.api_version);
        if let Some(failure) = item.failure() {
            self.failed += 1;
            let words = match item.attempts() {
                0 | 1 => failure.to_owned(),
                attempts => format!("{failure}; tried {attempts} times"),
            };
            self.add(name(), Sync::Failed, health, &words);
        } else if item.is_outdated() && item.presence == Presence::Going {
            let words = item.reason.as_deref().unwrap_or("is being deleted");
            let words = format!("{words}; it is made anew when it is gone");
            *self
                .waiting
                .entry(format!("{} to be gone", name()))
                .or_default() += 1;
            self.add(name(), Sync::Applying, health, &words);
        } else if item.is_outdated() {
            if let Some(need) = self.around.waits_for(id) {
                let words = format!("waits for {need}");
                *self.waiting.entry(need).or_default() += 1;
                self.add(name(), Sync::Applying, health, &words);
            }
        } else if drifted {
            self.add(name(), Sync::OutOfSync, health, &differs(item, policy));
        } else if !ignored
            && severity(health) > severity(Health::Healthy)
            && item.presence != Presence::Unseen
        {
            self.add(name(), Sync::Synced, health, &judgement.message);
        }
    }

    /// Hooks come and go: they are no part of what is applied, nor of its
    /// health. What goes wrong with them is.
    fn count_hook(&mut self, id: &ObjectId, item: &Item) {
        let Some((hook, _)) = item.hook() else {
            return;
        };
        let name = || id.say(&item.api_version);
        if let Some(failure) = item.failure() {
            self.failed += 1;
            let words = format!("{} hook: {failure}", hook.word());
            return self.add(name(), Sync::Failed, item.health, &words);
        }
        let target = self.goal.target().map(|target| target.digest);
        let run = item.run.as_deref();
        let Some(run) = run.filter(|run| Some(run.target) == target) else {
            return;
        };
        match &run.end {
            Some(End::Failed(why)) => {
                let words = format!("{} hook failed: {why}", hook.word());
                self.add(name(), Sync::Failed, Health::Degraded, &words);
            }
            None => {
                let words = match item.reason.as_deref() {
                    Some(reason) => format!("{} hook runs: {reason}", hook.word()),
                    None => format!("{} hook runs", hook.word()),
                };
                self.add(name(), Sync::Applying, Health::Progressing, &words);
            }
            Some(End::Succeeded) => {}
        }
    }

    fn count_unwanted(&mut self, id: &ObjectId, item: &Item) {
        self.unwanted += 1;
        let name = || id.say(&item.api_version);
        if let Some(failure) = item.failure() {
            self.failed += 1;
            self.add(name(), Sync::Failed, item.health, failure);
        } else if item.presence == Presence::Going {
            let words = item.reason.as_deref().unwrap_or("is being deleted");
            if self.going.is_none() {
                self.going = Some(format!("{} {words}", name()));
            }
            self.add(name(), Sync::Applying, Health::Progressing, words);
        }
    }

    fn add(&mut self, object: String, sync: Sync, health: Health, message: &str) {
        self.problems.push(Problem {
            object,
            sync: sync.into(),
            health: health.into(),
            message: message.to_owned(),
        });
    }

    /// The word for all of it, and the sentence that goes with it.
    fn verdict(&self) -> (Sync, String) {
        let standing = self.standing;
        if standing.removed.is_some() {
            return (Sync::Synced, self.notes("removed"));
        }
        if let Some(trouble) = &standing.trouble {
            return (Sync::Failed, trouble.clone());
        }
        if let Some(blind) = &standing.blind {
            return (Sync::Unknown, blind.clone());
        }
        if self.failed > 0 {
            return (Sync::Failed, self.failure());
        }
        if let Some(held) = &standing.held {
            return (Sync::Applying, held.clone());
        }
        match self.goal {
            Goal::Remove => (Sync::Applying, self.removing()),
            Goal::Keep(target) => self.keeping(target),
        }
    }

    fn keeping(&self, target: &Target) -> (Sync, String) {
        if let Some(waiting) = &self.standing.waiting {
            return (Sync::Applying, waiting.clone());
        }
        if !self.inventory.aimed {
            return (Sync::Applying, "reading the bundle".to_owned());
        }
        let open = self.objects - self.applied;
        if target.policy.paused {
            return self.paused(open);
        }
        if !self.way.reached
            && let Some(said) = said_of(&self.way.hooks.phase(Hook::PreSync), Hook::PreSync)
        {
            return said;
        }
        if let Some(held) = self.way.held() {
            let sync = if held.late {
                Sync::Failed
            } else {
                Sync::Applying
            };
            return (sync, held.say());
        }
        if open > 0 {
            let mut message = format!("{} of {} objects applied", self.applied, self.objects);
            let longest = self.waiting.iter().max_by_key(|(need, n)| (**n, *need));
            if let Some((need, n)) = longest {
                message = format!("{message}; {n} wait for {need}");
            }
            return (Sync::Applying, message);
        }
        if let Some(blocked) = &self.blocked {
            return (Sync::OutOfSync, self.stopped(target, blocked));
        }
        if self.unwanted > 0 {
            return (Sync::Applying, self.pruning());
        }
        if self.drifted > 0 {
            return (Sync::OutOfSync, self.drifting());
        }
        if self.unseen > 0 {
            let message = format!("{} objects have not been seen yet", self.unseen);
            return (Sync::Unknown, message);
        }
        if !self.way.reached || self.inventory.is_dirty() {
            return (Sync::Applying, "storing the inventory".to_owned());
        }
        self.after()
    }

    /// All is applied: what is left are hooks.
    fn after(&self) -> (Sync, String) {
        let phase = self.way.hooks.phase(Hook::PostSync);
        if !phase.is_done()
            && !phase.is_under_way()
            && let Some(unready) = self.problems.iter().find(|p| p.sync() == Sync::Synced)
        {
            let message = format!(
                "PostSync hooks wait for {}: {}",
                unready.object, unready.message
            );
            let late = unready.health() == Health::Degraded && self.way.has_failed();
            let sync = if late { Sync::Failed } else { Sync::Applying };
            return (sync, message);
        }
        said_of(&phase, Hook::PostSync).unwrap_or_else(|| (Sync::Synced, self.notes("")))
    }

    /// Nothing is changed: only what differs is said.
    fn paused(&self, open: usize) -> (Sync, String) {
        let differ = open + self.drifted + self.unwanted;
        if differ > 0 {
            let name = &self.inventory.assignment;
            let message = format!(
                "paused: {differ} objects are not as in Git; nothing is changed before \
                 `lockstep resume {name}`"
            );
            return (Sync::OutOfSync, message);
        }
        if self.unseen > 0 {
            let message = format!("{} objects have not been seen yet", self.unseen);
            return (Sync::Unknown, message);
        }
        if self.way.reached {
            (Sync::Synced, self.notes("paused"))
        } else {
            (
                Sync::OutOfSync,
                "paused before all of it was applied".to_owned(),
            )
        }
    }

    /// Why nothing is pruned, and what to do about it.
    fn stopped(&self, target: &Target, blocked: &Blocked) -> String {
        let Blocked {
            unwanted,
            base,
            allowed,
            cap,
        } = blocked;
        let name = &self.inventory.assignment;
        let (limit, way_out) = match cap {
            Some(cap) => (
                cap.to_string(),
                "ask the cluster's owner to let them go".to_owned(),
            ),
            None => (
                format!("maxPrune {}", target.max_prune),
                format!("`lockstep approve {name}` lets them go"),
            ),
        };
        format!(
            "prune stopped: {unwanted} of {base} objects are no longer in Git, and {limit} allows \
             {allowed}: put them back, or {way_out}"
        )
    }

    fn awaiting_approval(&self) -> usize {
        let blocked = self.blocked.as_ref();
        blocked
            .filter(|b| b.cap.is_none())
            .map_or(0, |b| b.unwanted)
    }

    fn failure(&self) -> String {
        let first = self
            .problems
            .iter()
            .filter(|problem| problem.sync() == Sync::Failed)
            .min_by(|a, b| a.object.cmp(&b.object));
        let first = first.map_or_else(String::new, |p| format!("{}: {}", p.object, p.message));
        let mut message = match self.failed {
            1 => first,
            failed => format!("{failed} of {} objects failed; {first}", self.objects),
        };
        if self.unwanted > 0 && *self.goal != Goal::Remove {
            message.push_str(&format!(
                " ({} objects are not pruned before all others are applied)",
                self.unwanted
            ));
        }
        message
    }

    /// The first of what differs, and how many there are.
    fn drifting(&self) -> String {
        let first = self
            .problems
            .iter()
            .filter(|problem| problem.sync() == Sync::OutOfSync)
            .min_by(|a, b| a.object.cmp(&b.object));
        let first = first.map_or_else(String::new, |p| format!("{}: {}", p.object, p.message));
        match self.drifted {
            1 => first,
            drifted => format!("{drifted} objects were changed by somebody else; {first}"),
        }
    }

    fn removing(&self) -> String {
        match &self.going {
            Some(going) => format!("removing: {} objects left; {going}", self.unwanted),
            None => format!("removing: {} objects left", self.unwanted),
        }
    }

    fn pruning(&self) -> String {
        match &self.going {
            Some(going) => format!("pruning: {} objects left; {going}", self.unwanted),
            None => format!("pruning: {} objects left", self.unwanted),
        }
    }

    /// `message`, and what was let go of.
    fn notes(&self, message: &str) -> String {
        let left = &self.standing.left;
        let Some(first) = left.iter().min() else {
            return message.to_owned();
        };
        let mut notes = match left.len() {
            1 => first.clone(),
            n => format!("{n} objects were left where they are: {first}, …"),
        };
        if !message.is_empty() {
            notes = format!("{message}; {notes}");
        }
        notes
    }
}

/// How an object differs, and what becomes of it.
fn differs(item: &Item, policy: Policy) -> String {
    let words = match &item.drift {
        Some(drift) => drift.words(),
        None => Drift::deleted().words(),
    };
    if policy == Policy::Report {
        return format!("{words}; it is left so (drift: Report)");
    }
    match &item.care {
        Some(care) if care.corrections > 1 && care.not_before.is_some() => format!(
            "{words} again, after {} corrections: waiting before the next",
            care.corrections
        ),
        _ => format!("{words}; it is being put back"),
    }
}

/// What is to be said of hooks that are not done.
fn said_of(phase: &Phase<'_>, hook: Hook) -> Option<(Sync, String)> {
    let word = hook.word();
    let name = |id: &ObjectId, item: &Item| id.say(&item.api_version);
    if let Some((id, item, why)) = phase.failed {
        let message = format!(
            "{word} hook {} failed: {why}; the next commit runs it again",
            name(id, item)
        );
        return Some((Sync::Failed, message));
    }
    if let Some((id, item)) = phase.running.first() {
        let message = match item.reason.as_deref() {
            Some(reason) => format!("{word} hook {} runs: {reason}", name(id, item)),
            None => format!("{word} hook {} runs", name(id, item)),
        };
        return Some((Sync::Applying, message));
    }
    let (id, item) = phase.idle.first()?;
    let message = match item.presence {
        Presence::Going => format!(
            "{word} hook {} waits for its last run to be gone",
            name(id, item)
        ),
        _ => format!("{word} hook {} is next", name(id, item)),
    };
    Some((Sync::Applying, message))
}

/// The Report of an Assignment that cannot even be begun.
#[must_use]
pub fn not_begun(item: &lockstep_proto::v1::DesiredItem, why: &str) -> Report {
    Report {
        assignment: item.assignment.clone(),
        target_digest: item.bundle_digest.clone(),
        target_revision: item.revision.clone(),
        target_options: options_digest(item.options.as_ref().unwrap_or(&ApplyOptions::default())),
        sync: Sync::Unknown.into(),
        health: Health::Unknown.into(),
        message: why.to_owned(),
        ..Report::default()
    }
}

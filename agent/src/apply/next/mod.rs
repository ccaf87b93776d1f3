//! Which step comes next: a pure function of the goal, the Inventory and the
//! clock. It is asked again after every step and every piece of news, so no
//! step depends on what was meant to come after another, and a crash between
//! any two changes nothing but the time.

mod around;
mod gate;
mod hooks;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod walks;

use std::time::Duration;

use lockstep_proto::traits::Hook;
use tokio::time::Instant;

use super::Goal;
use super::fate::{Blocked, Fate, Fates};
use super::stage::Place;
use crate::cluster::KindMap;
use crate::inventory::{End, Inventory, Item, Look, ObjectId, Presence};
use lockstep_proto::v1::drift::Policy;

pub use around::Surroundings;
pub use gate::Way;
pub use hooks::{Phase, is_run_to_its_end};

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Compare the target's index with the Inventory.
    Aim,
    /// Ask discovery for the kinds that were not served.
    Resolve,
    /// See whether objects of other Assignments have become free.
    Claim,
    /// Store the Inventory; `begin`: with everything marked that is about to
    /// be changed.
    Store { begin: bool },
    /// See whether these were changed by others.
    Prove(Vec<ObjectId>),
    /// Note how these hooks ended.
    Conclude(Vec<(ObjectId, End)>),
    /// Run these hooks.
    Run(Vec<ObjectId>),
    /// Delete the objects of these hooks, which have ended.
    Clear(Vec<ObjectId>),
    /// Apply these, all of one place in the order.
    Send(Place, Vec<ObjectId>),
    /// Let go of these without deleting them.
    Release(Vec<ObjectId>),
    /// Delete these, all of one place in the order.
    Delete(Vec<ObjectId>),
    /// Note that the target is reached.
    Settle,
    /// Nothing is left: remove the Inventory.
    Vanish,
    /// Wait for news, or until then.
    Rest(Option<Instant>),
}

/// When the worker last tried what is not about one object.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    pub resolve: Option<Instant>,
    pub claim: Option<Instant>,
}

/// See the module.
#[must_use]
pub fn next(goal: &Goal, inventory: &Inventory, kinds: &KindMap, pace: Pace, now: Instant) -> Step {
    if !inventory.aimed {
        return Step::Aim;
    }
    let mut wake = Wake::new(now);
    if !inventory.unresolved.is_empty() && wake.is_due(pace.resolve) {
        return Step::Resolve;
    }
    if !inventory.contested.is_empty() && wake.is_due(pace.claim) {
        return Step::Claim;
    }

    let around = Surroundings::new(inventory, kinds);
    let way = Way::new(goal, inventory, &around, now);
    let paused = goal.target().is_some_and(|target| target.policy.paused);
    let timeout = goal.target().map_or(Duration::ZERO, |t| t.policy.timeout);
    let (open_at, needs) = (way.open(), way.hooks.needs(&around));
    let may_go = |id: &ObjectId, item: &Item, place: Place| {
        // Correcting what is applied is not on the way, and waits for nobody.
        !item.is_outdated() || way.reached || open_at == Some(place.gate()) || needs.contains(id)
    };
    let mut suspects = Vec::new();
    let mut due: Vec<(Place, &ObjectId)> = Vec::new();
    let mut unwanted = Vec::new();
    let mut open = false;
    let mut unready = false;
    let mut unstored = false;
    let default = goal
        .target()
        .map_or(Policy::Correct, |target| target.policy.drift);
    for (id, item) in inventory.iter() {
        if item.wanted.is_none() {
            unwanted.push((id, item));
            continue;
        }
        if item.hook().is_some() {
            continue;
        }
        let policy = item.policy(default);
        open |= item.is_outdated() || (policy == Policy::Correct && item.is_missing());
        let let_be = policy == Policy::Ignore && item.is_missing();
        unready |= !(item.is_ready() || let_be);
        wake.not_yet(item.overdue_at(timeout));
        wake.not_yet(item.late_at(timeout));
        match item.look(policy, now) {
            Look::Now => suspects.push(id.clone()),
            Look::At(then) => wake.at(Some(then)),
            Look::No => {}
        }
        if item.is_due(policy) && !paused {
            let place = around.place(id, item.traits().wave);
            if !may_go(id, item, place) {
                continue;
            }
            let rests = item.rests_until(now);
            if rests.is_some() {
                wake.at(rests);
            } else if around.waits_for(id).is_none() {
                unstored |= !item.stored || (item.is_outdated() && item.applied.is_some());
                due.push((place, id));
            }
        }
    }
    if !suspects.is_empty() {
        return Step::Prove(suspects);
    }
    if paused {
        return rest(inventory, &wake);
    }
    let ended = way.hooks.ended();
    if !ended.is_empty() {
        return Step::Conclude(ended);
    }
    wake.not_yet(way.hooks.deadline());
    let hooks = hooks_to_begin(&way, &around, unready, &mut wake);
    unstored |= hooks.iter().any(|(_, item)| !item.stored);
    let changes = !(due.is_empty() && hooks.is_empty() && unwanted.is_empty());
    let settled = inventory
        .settled
        .as_ref()
        .is_some_and(|settled| !settled.left);
    let leaves = settled && !way.reached && changes;
    if unstored || leaves || (inventory.is_intending() && changes) {
        return Step::Store { begin: true };
    }
    let cleared: Vec<_> = way.hooks.to_clear().collect();
    let cleared = ready(&cleared, &mut wake);
    if !cleared.is_empty() {
        // How a hook ended has to be known for good before its object goes.
        return if inventory.is_dirty() {
            Step::Store { begin: false }
        } else {
            Step::Clear(cleared)
        };
    }
    if !hooks.is_empty() {
        return Step::Run(hooks.into_iter().map(|(id, _)| id.clone()).collect());
    }
    if let Some(first) = due.iter().map(|(place, _)| *place).min() {
        let of_place = due.into_iter().filter(|(place, _)| *place == first);
        return Step::Send(first, of_place.map(|(_, id)| id.clone()).collect());
    }
    let all_applied = !open
        && inventory.unresolved.is_empty()
        && inventory.contested.is_empty()
        && (way.reached || way.hooks.phase(Hook::PreSync).is_done());
    if all_applied || *goal == Goal::Remove {
        match remove(goal, inventory, &around, &unwanted, &mut wake) {
            Ok(step) => return step,
            Err(Some(_blocked)) => return rest(inventory, &wake),
            Err(None) => {}
        }
    }
    if unwanted.is_empty() && all_applied {
        if *goal == Goal::Remove {
            return Step::Vanish;
        }
        if !way.reached {
            return Step::Settle;
        }
    }
    rest(inventory, &wake)
}

/// The hooks whose turn it is.
fn hooks_to_begin<'a>(
    way: &Way<'a>,
    around: &Surroundings<'_>,
    unready: bool,
    wake: &mut Wake,
) -> Vec<(&'a ObjectId, &'a Item)> {
    if way.hooks.is_empty() {
        return Vec::new();
    }
    let mut idle = Vec::new();
    let mut take = |hook: Hook| {
        let phase = way.hooks.phase(hook);
        if phase.failed.is_none() {
            idle.extend(phase.idle);
        }
    };
    let after = way.hooks.phase(Hook::PostSync);
    if !way.reached {
        take(Hook::PreSync);
    } else if !unready || after.is_under_way() {
        take(Hook::PostSync);
    }
    if way.has_failed() {
        take(Hook::SyncFail);
    }
    idle.retain(|(id, item)| {
        let rests = item.rests_until(wake.now);
        wake.at(rests);
        rests.is_none() && item.presence != Presence::Going && around.waits_for(id).is_none()
    });
    idle
}

/// What was learned meanwhile is stored before resting on it.
fn rest(inventory: &Inventory, wake: &Wake) -> Step {
    if inventory.is_dirty() {
        Step::Store { begin: false }
    } else {
        Step::Rest(wake.earliest)
    }
}

/// The next step of removing what is not wanted; `Err(None)` where there is
/// nothing to remove or all of it is on its way, `Err(Some)` where it is too much.
fn remove(
    goal: &Goal,
    inventory: &Inventory,
    around: &Surroundings<'_>,
    unwanted: &[(&ObjectId, &Item)],
    wake: &mut Wake,
) -> Result<Step, Option<Blocked>> {
    let fates = Fates::new(goal, inventory, around);
    if let Some(blocked) = fates.blocked() {
        return Err(Some(blocked));
    }
    let (mut left, mut deleted) = (Vec::new(), Vec::new());
    for (id, item) in unwanted {
        match fates.of(id, item) {
            Fate::Leave(_) => left.push((*id, *item)),
            Fate::Delete => deleted.push((*id, *item)),
        }
    }
    // Who lets go of what lives in a namespace forgets why the namespace stays.
    if left.iter().any(|(id, _)| fates.is_container(id)) {
        left.retain(|(id, _)| fates.is_container(id));
    }
    let released = ready(&left, wake);
    if !released.is_empty() {
        return Ok(Step::Release(released));
    }
    if left.iter().any(|(id, _)| fates.is_container(id)) {
        return Err(None);
    }
    let last = deleted.iter().map(|item| turn(around, item)).max();
    deleted.retain(|item| Some(turn(around, item)) == last);
    match ready(&deleted, wake) {
        ready if ready.is_empty() => Err(None),
        ready => Ok(Step::Delete(ready)),
    }
}

/// Removal goes the other way than creation; what hooks left behind goes first.
fn turn(around: &Surroundings<'_>, (id, item): &(&ObjectId, &Item)) -> (bool, Place) {
    let traits = item.traits();
    (traits.hook.is_some(), around.place(id, traits.wave))
}

/// Those that nothing forbids to touch now.
fn ready(items: &[(&ObjectId, &Item)], wake: &mut Wake) -> Vec<ObjectId> {
    let mut ready = Vec::new();
    for (id, item) in items {
        match item.rests_until(wake.now) {
            Some(then) => wake.at(Some(then)),
            None => ready.push((*id).clone()),
        }
    }
    ready
}

struct Wake {
    now: Instant,
    earliest: Option<Instant>,
}

impl Wake {
    fn new(now: Instant) -> Self {
        Self {
            now,
            earliest: None,
        }
    }

    fn at(&mut self, then: Option<Instant>) {
        if let Some(then) = then {
            self.earliest = Some(self.earliest.map_or(then, |at| at.min(then)));
        }
    }

    /// A time to wake up at, unless it is over.
    fn not_yet(&mut self, then: Option<Instant>) {
        self.at(then.filter(|then| *then > self.now));
    }

    /// Whether that time has come; if not, it is a time to wake up.
    fn is_due(&mut self, then: Option<Instant>) -> bool {
        let due = then.is_none_or(|then| then <= self.now);
        if !due {
            self.at(then);
        }
        due
    }
}

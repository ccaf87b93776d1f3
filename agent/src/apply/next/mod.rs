//! Which step comes next: a pure function of the goal, the Inventory and the
//! clock. It is asked again after every step and every piece of news, so no
//! step depends on what was meant to come after another, and a crash between
//! any two changes nothing but the time.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use tokio::time::Instant;

use super::Goal;
use super::fate::{Blocked, Fate, Fates};
use super::stage::{Stage, stage};
use crate::cluster::{GroupKind, KindMap};
use crate::inventory::{Inventory, Item, Look, ObjectId, Presence};
use lockstep_proto::v1::drift::Policy;
use lockstep_proto::v1::health::Status as Health;

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
    /// Apply these, all of one stage.
    Send(Stage, Vec<ObjectId>),
    /// Let go of these without deleting them.
    Release(Vec<ObjectId>),
    /// Delete these, all of one stage.
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

/// What the rest of the Inventory means for one item.
pub struct Surroundings<'a> {
    namespaces: HashMap<&'a str, &'a Item>,
    definitions: HashMap<&'a str, &'a Item>,
    /// Namespaces and definitions that something wanted lives by.
    lived_by: HashSet<String>,
    kinds: &'a KindMap,
}

impl<'a> Surroundings<'a> {
    #[must_use]
    pub fn new(inventory: &'a Inventory, kinds: &'a KindMap) -> Self {
        let mut around = Self {
            namespaces: HashMap::new(),
            definitions: HashMap::new(),
            lived_by: HashSet::new(),
            kinds,
        };
        let mut unwanted = false;
        for (id, item) in inventory.iter() {
            if id.is("", "Namespace") {
                around.namespaces.insert(&id.name, item);
                unwanted |= item.wanted.is_none();
            } else if id.is("apiextensions.k8s.io", "CustomResourceDefinition") {
                around.definitions.insert(&id.name, item);
                unwanted |= item.wanted.is_none();
            }
        }
        if unwanted {
            for (id, _) in inventory.iter().filter(|(_, item)| item.wanted.is_some()) {
                around
                    .lived_by
                    .insert(format!("Namespace {}", id.namespace));
                if let Some(name) = around.definition_of(id) {
                    around.lived_by.insert(format!("Definition {name}"));
                }
            }
        }
        around
    }

    /// "widgets.example.com", where the kind is served and defined by a CRD
    /// of this Inventory.
    fn definition_of(&self, id: &ObjectId) -> Option<String> {
        if self.definitions.is_empty() {
            return None;
        }
        let resource = self.kinds.preferred(&id.kind.group, &id.kind.kind)?;
        let name = format!("{}.{}", resource.plural, resource.group);
        self.definitions.contains_key(name.as_str()).then_some(name)
    }

    #[must_use]
    pub fn stage(&self, id: &ObjectId) -> Stage {
        let defined_here = self.definition_of(id).is_some();
        stage(&id.kind.group, &id.kind.kind, defined_here)
    }

    /// What has to be ready before `id` can be applied.
    #[must_use]
    pub fn waits_for(&self, id: &ObjectId) -> Option<String> {
        if let Some(namespace) = self.namespaces.get(&*id.namespace)
            && !id.namespace.is_empty()
            && namespace.wanted.is_some()
        {
            let ready = match namespace.presence {
                Presence::Present => true,
                Presence::Unseen => namespace.applied.is_some(),
                Presence::Absent | Presence::Going => false,
            };
            if !ready {
                return Some(format!("v1 Namespace {}", id.namespace));
            }
        }
        let name = self.definition_of(id)?;
        let definition = self.definitions.get(name.as_str())?;
        let ready = definition.wanted.is_none()
            || (definition.presence == Presence::Present && definition.health == Health::Healthy);
        (!ready).then(|| format!("{} CustomResourceDefinition {name}", definition.api_version))
    }

    /// The namespace and the definition in the Inventory that `id` cannot be
    /// without.
    #[must_use]
    pub fn lives_by(&self, id: &ObjectId) -> Vec<ObjectId> {
        let named = |group: &str, kind: &str, name: &str| ObjectId {
            kind: GroupKind {
                group: group.into(),
                kind: kind.into(),
            },
            namespace: "".into(),
            name: name.into(),
        };
        let namespace = self.namespaces.contains_key(&*id.namespace);
        let namespace = namespace.then(|| named("", "Namespace", &id.namespace));
        let definition = self
            .definition_of(id)
            .map(|name| named("apiextensions.k8s.io", "CustomResourceDefinition", &name));
        namespace.into_iter().chain(definition).collect()
    }

    /// Deleting it would take down what is wanted.
    pub(super) fn is_lived_by(&self, id: &ObjectId) -> bool {
        (id.is("", "Namespace") && self.lived_by.contains(&format!("Namespace {}", id.name)))
            || (id.is("apiextensions.k8s.io", "CustomResourceDefinition")
                && self.lived_by.contains(&format!("Definition {}", id.name)))
    }
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
    let mut suspects = Vec::new();
    let mut due: Vec<(Stage, ObjectId)> = Vec::new();
    let mut unwanted = Vec::new();
    let mut open = false;
    let mut unstored = false;
    let default = goal
        .target()
        .map_or(Policy::Correct, |target| target.policy.drift);
    for (id, item) in inventory.iter() {
        if item.wanted.is_none() {
            unwanted.push((id, item));
            continue;
        }
        let policy = item.policy(default);
        open |= item.is_outdated() || (policy == Policy::Correct && item.is_missing());
        match item.look(policy, now) {
            Look::Now => suspects.push(id.clone()),
            Look::At(then) => wake.at(Some(then)),
            Look::No => {}
        }
        if item.is_due(policy) {
            let rests = item.rests_until(now);
            if rests.is_some() {
                wake.at(rests);
            } else if around.waits_for(id).is_none() {
                unstored |= !item.stored || (item.is_outdated() && item.applied.is_some());
                due.push((around.stage(id), id.clone()));
            }
        }
    }
    if !suspects.is_empty() {
        return Step::Prove(suspects);
    }
    let settled = inventory.settled.as_ref().filter(|settled| !settled.left);
    let reached = settled.is_some_and(|settled| {
        goal.target().is_some_and(|target| {
            settled.digest == target.digest && settled.namespace == target.namespace
        })
    });
    let leaves = settled.is_some() && !reached && !(due.is_empty() && unwanted.is_empty());
    let begins = inventory.is_intending() && !(due.is_empty() && unwanted.is_empty());
    if unstored || leaves || begins {
        return Step::Store { begin: true };
    }
    if let Some(stage) = due.iter().map(|(stage, _)| *stage).min() {
        let of_stage = due.into_iter().filter(|(s, _)| *s == stage);
        return Step::Send(stage, of_stage.map(|(_, id)| id).collect());
    }
    let all_applied = !open && inventory.unresolved.is_empty() && inventory.contested.is_empty();
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
        if !reached {
            return Step::Settle;
        }
    }
    rest(inventory, &wake)
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
    let last = deleted.iter().map(|(id, _)| around.stage(id)).max();
    deleted.retain(|(id, _)| Some(around.stage(id)) == last);
    match ready(&deleted, wake) {
        ready if ready.is_empty() => Err(None),
        ready => Ok(Step::Delete(ready)),
    }
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

    /// Whether that time has come; if not, it is a time to wake up.
    fn is_due(&mut self, then: Option<Instant>) -> bool {
        let due = then.is_none_or(|then| then <= self.now);
        if !due {
            self.at(then);
        }
        due
    }
}

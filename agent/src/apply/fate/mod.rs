//! What becomes of an object that is wanted no more: a pure function of the
//! goal, the Inventory, and what the object once asked for. What would take
//! with it what nobody can bring back is left where it is, unless the
//! Assignment says otherwise.

#[cfg(test)]
mod tests;

use std::collections::HashSet;

use super::Goal;
use super::next::Surroundings;
use crate::caps::PruneCap;
use crate::inventory::{Inventory, Item, ObjectId, Presence};

/// Kinds whose removal takes data, or the objects of others, with it.
const PRECIOUS: &[(&str, &str)] = &[
    ("", "Namespace"),
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
];

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Delete,
    Leave(Why),
}

/// Why an object is left where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The Assignment prunes nothing.
    PruneOff,
    /// Something that stays lives in it, or by it.
    LivedBy,
    /// It has asked for that.
    Keep,
    /// Its kind goes only where the Assignment says so.
    Kind,
}

impl Why {
    /// As people are told.
    #[must_use]
    pub fn words(self, id: &ObjectId) -> String {
        match self {
            Self::PruneOff => "left in place: spec.sync.prune is false".into(),
            Self::LivedBy => "left in place: something that stays lives in it".into(),
            Self::Keep => "left in place: it says lockstep.dev/prune: Disabled".into(),
            Self::Kind => format!(
                "left in place: spec.sync.pruneKinds does not name {}",
                id.kind.kind
            ),
        }
    }
}

/// As far as we know, it is there and ours: what was refused or in conflict
/// never was.
fn stands(item: &Item) -> bool {
    item.ours || matches!(item.presence, Presence::Present | Presence::Going)
}

/// A prune that is larger than it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    pub unwanted: usize,
    pub base: usize,
    pub allowed: usize,
    /// The cluster's owner says so, and no approval helps.
    pub cap: Option<PruneCap>,
}

/// What decides about all objects of one Inventory.
pub struct Fates<'a> {
    goal: &'a Goal,
    inventory: &'a Inventory,
    around: &'a Surroundings<'a>,
    /// What objects that are left live by: it would take them along.
    lived_by: HashSet<ObjectId>,
}

impl<'a> Fates<'a> {
    #[must_use]
    pub fn new(goal: &'a Goal, inventory: &'a Inventory, around: &'a Surroundings<'a>) -> Self {
        let mut fates = Self {
            goal,
            inventory,
            around,
            lived_by: HashSet::new(),
        };
        for (id, item) in inventory.iter().filter(|(_, item)| item.wanted.is_none()) {
            if fates.own(id, item) != Fate::Delete {
                fates.lived_by.extend(around.lives_by(id));
            }
        }
        fates
    }

    /// What becomes of an item that is not wanted.
    #[must_use]
    pub fn of(&self, id: &ObjectId, item: &Item) -> Fate {
        match self.own(id, item) {
            Fate::Delete if self.is_lived_by(id) => Fate::Leave(Why::LivedBy),
            fate => fate,
        }
    }

    /// Left only because something that stays lives in it. It has to be let
    /// go of first: once that other thing is forgotten, nobody knows why.
    #[must_use]
    pub fn is_container(&self, id: &ObjectId) -> bool {
        self.lived_by.contains(id)
    }

    fn is_lived_by(&self, id: &ObjectId) -> bool {
        self.lived_by.contains(id) || self.around.is_lived_by(id)
    }

    /// Its fate, as far as it depends on nothing else.
    fn own(&self, id: &ObjectId, item: &Item) -> Fate {
        let prune_kinds = match self.goal {
            Goal::Keep(target) => &target.policy.prune_kinds,
            Goal::Remove => self.inventory.prune_kinds.as_deref().unwrap_or_default(),
        };
        let precious = PRECIOUS.iter().any(|(group, kind)| id.is(group, kind));
        if self.goal.target().is_some_and(|target| !target.prune) {
            Fate::Leave(Why::PruneOff)
        } else if item.traits().keep {
            Fate::Leave(Why::Keep)
        } else if precious && !prune_kinds.iter().any(|kind| **kind == *id.kind.kind) {
            Fate::Leave(Why::Kind)
        } else {
            Fate::Delete
        }
    }

    /// Whether the goal would prune more than it may.
    #[must_use]
    pub fn blocked(&self) -> Option<Blocked> {
        let target = self.goal.target()?;
        let unwanted = self
            .inventory
            .iter()
            .filter(|(id, item)| {
                item.wanted.is_none() && stands(item) && self.of(id, item) == Fate::Delete
            })
            .count();
        let base = match &self.inventory.settled {
            Some(settled) => usize::try_from(settled.objects).unwrap_or(usize::MAX),
            None => self.inventory.len(),
        };
        let blocked = |allowed, cap| Blocked {
            unwanted,
            base,
            allowed,
            cap,
        };
        if let Some(cap) = &target.policy.prune_cap
            && unwanted > cap.allows(base)
        {
            return Some(blocked(cap.allows(base), Some(cap.clone())));
        }
        let allowed = target.max_prune.allows(base);
        (unwanted > allowed && !target.policy.prune_approved).then(|| blocked(allowed, None))
    }
}

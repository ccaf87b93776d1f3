//! All Inventories of the cluster, so that two Assignments never hold one
//! object: whoever stands in an Inventory first owns it until that Assignment
//! lets go.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use lockstep_proto::Digest;
use lockstep_proto::v1::health::Status as Health;
use lockstep_proto::v1::sync::Status as Sync;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::{Inventory, ObjectId};

/// One Assignment's Inventory, shared between its worker and the watches.
#[derive(Debug)]
pub struct Shared {
    pub inventory: Mutex<Inventory>,
    /// There is news for the worker.
    pub changed: Notify,
    /// There is something for the worker to do.
    pub urgent: Notify,
    /// How it stands, for those that depend on it.
    pub word: Mutex<Word>,
}

/// What an Assignment is to be, and what its worker said of that last.
#[derive(Debug, Default)]
pub struct Word {
    /// Digest and options of its goal; none where it is not assigned here.
    pub goal: Option<(Digest, u64)>,
    pub said: Option<Said>,
}

/// A worker's latest Report, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Digest and options of what it speaks of.
    pub of: (Digest, u64),
    pub sync: Sync,
    pub health: Health,
    pub message: String,
}

/// See the module. Locks are taken one at a time, never one inside another,
/// but for the claim lock, which comes first.
#[derive(Debug, Default)]
pub struct Registry {
    all: RwLock<BTreeMap<Arc<str>, Arc<Shared>>>,
    /// Held while somebody looks whether an object is free and takes it.
    pub claims: Mutex<()>,
    /// Somebody has found out what it wants.
    aimed: Notify,
    /// Somebody has a new goal, or stands otherwise than before.
    said: Notify,
}

/// What another Assignment has to do with an object that we do not want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Elsewhere {
    Nobody,
    /// It stands in that Assignment's stored Inventory, which wants it.
    Held(Arc<str>),
    /// That Assignment waits for us to let go of it, or is about to take it.
    Awaited(Arc<str>),
}

impl Registry {
    pub fn add(&self, inventory: Inventory) -> Arc<Shared> {
        let name = Arc::clone(&inventory.assignment);
        let shared = Arc::new(Shared {
            inventory: Mutex::new(inventory),
            changed: Notify::new(),
            urgent: Notify::new(),
            word: Mutex::default(),
        });
        self.all.write().insert(name, Arc::clone(&shared));
        shared
    }

    pub fn remove(&self, assignment: &str) {
        self.all.write().remove(assignment);
    }

    #[must_use]
    pub fn get(&self, assignment: &str) -> Option<Arc<Shared>> {
        self.all.read().get(assignment).cloned()
    }

    #[must_use]
    pub fn all(&self) -> Vec<Arc<Shared>> {
        self.all.read().values().cloned().collect()
    }

    fn others(&self, assignment: &str) -> Vec<(Arc<str>, Arc<Shared>)> {
        let all = self.all.read();
        all.iter()
            .filter(|(name, _)| &***name != assignment)
            .map(|(name, shared)| (Arc::clone(name), Arc::clone(shared)))
            .collect()
    }

    /// Of `ids`, those that another Assignment holds, or may hold as far as
    /// we know, and which.
    #[must_use]
    pub fn held_by_others(
        &self,
        assignment: &str,
        ids: &[ObjectId],
    ) -> BTreeMap<ObjectId, Arc<str>> {
        let mut held = BTreeMap::new();
        for (name, shared) in self.others(assignment) {
            let inventory = shared.inventory.lock();
            if inventory.is_empty() {
                continue;
            }
            for id in ids {
                let Some(item) = inventory.get(id) else {
                    continue;
                };
                if item.wanted.is_some() || !inventory.aimed {
                    held.insert(id.clone(), Arc::clone(&name));
                }
            }
        }
        held
    }

    /// Of `ids`, those that another Assignment has applied and wants no more:
    /// whoever takes them has them from it.
    #[must_use]
    pub fn left_by_others(&self, assignment: &str, ids: &[ObjectId]) -> HashSet<ObjectId> {
        let mut left = HashSet::new();
        for (_, shared) in self.others(assignment) {
            let inventory = shared.inventory.lock();
            if !inventory.is_empty() && inventory.aimed {
                let dropped = |id: &&ObjectId| {
                    let item = inventory.get(id);
                    item.is_some_and(|item| item.wanted.is_none() && item.ours)
                };
                left.extend(ids.iter().filter(dropped).cloned());
            }
        }
        left
    }

    /// Who else has to do with `id`, which `assignment` does not want.
    #[must_use]
    pub fn elsewhere(&self, assignment: &str, id: &ObjectId) -> Elsewhere {
        let mut awaited = Elsewhere::Nobody;
        for (name, shared) in self.others(assignment) {
            let inventory = shared.inventory.lock();
            if let Some(item) = inventory.get(id).filter(|item| item.wanted.is_some()) {
                // Before that is stored, a crash would leave it to nobody.
                return if item.stored && !inventory.is_intending() {
                    Elsewhere::Held(name)
                } else {
                    Elsewhere::Awaited(name)
                };
            }
            if inventory.contested.contains_key(id) {
                awaited = Elsewhere::Awaited(name);
            }
        }
        awaited
    }

    /// Tells the others that one more knows what it wants.
    pub fn has_aimed(&self) {
        self.aimed.notify_waiters();
        self.wake_contenders();
    }

    /// Waits until everybody who has a goal knows what that means: an object
    /// that one drops may be what another takes.
    pub async fn everybody_aimed(&self) {
        loop {
            let mut changed = std::pin::pin!(self.aimed.notified());
            changed.as_mut().enable();
            let open = self.all().iter().any(|shared| {
                let inventory = shared.inventory.lock();
                inventory.pursued && !inventory.aimed
            });
            if !open {
                return;
            }
            changed.await;
        }
    }

    /// Notes the goal of an Assignment: what was said of another counts no more.
    pub fn expect(&self, shared: &Shared, goal: Option<(Digest, u64)>) {
        *shared.word.lock() = Word { goal, said: None };
        self.said.notify_waiters();
    }

    /// Notes how an Assignment stands.
    pub fn say(&self, shared: &Shared, said: Said) {
        let mut word = shared.word.lock();
        if word.said.as_ref() != Some(&said) {
            word.said = Some(said);
            drop(word);
            self.said.notify_waiters();
        }
    }

    /// What `assignment`, which depends on `others`, has to wait for, in words.
    #[must_use]
    pub fn unmet(&self, assignment: &str, others: &[String]) -> Option<String> {
        let unmet: Vec<_> = others
            .iter()
            .filter_map(|other| Some((other, self.lacks(assignment, other)?)))
            .collect();
        let (other, words) = unmet.first()?;
        let more = match unmet.len() {
            1 => String::new(),
            n => format!("; and for {} more", n - 1),
        };
        Some(format!("waits for assignment {other}, {words}{more}"))
    }

    fn lacks(&self, assignment: &str, other: &str) -> Option<String> {
        const NOT_HERE: &str =
            "which does not reach this cluster: assign it here too, or take it out of dependsOn";
        let Some(shared) = self.get(other) else {
            return Some(NOT_HERE.to_owned());
        };
        let said = {
            let word = shared.word.lock();
            let Some(goal) = word.goal else {
                return Some(NOT_HERE.to_owned());
            };
            word.said.clone().filter(|said| said.of == goal)
        };
        let Some(said) = said else {
            return Some("of which nothing is known yet".to_owned());
        };
        let done =
            said.sync == Sync::Synced && matches!(said.health, Health::Healthy | Health::Suspended);
        // It waits for an object that we let go of only with our new target:
        // one of the two has to go first.
        if done || shared.inventory.lock().waits_for_objects_of(assignment) {
            return None;
        }
        let (sync, health) = (said.sync.as_str_name(), said.health.as_str_name());
        Some(match said.message.as_str() {
            "" => format!("which is {sync} and {health}"),
            message => format!("which is {sync} and {health}: {message}"),
        })
    }

    /// Waits until nothing of what `assignment` depends on is unmet; calls
    /// `news` whenever that may read otherwise than before.
    pub async fn met(&self, assignment: &str, others: &[String], news: impl Fn()) {
        loop {
            let mut changed = std::pin::pin!(self.said.notified());
            changed.as_mut().enable();
            if self.unmet(assignment, others).is_none() {
                return;
            }
            news();
            changed.await;
        }
    }

    /// Wakes everybody who waits for objects of others.
    pub fn wake_contenders(&self) {
        for shared in self.all() {
            if !shared.inventory.lock().contested.is_empty() {
                shared.urgent.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_depended_on_has_to_be_done_with_its_present_goal() {
        let registry = Registry::default();
        let others = ["base".to_owned()];
        let unmet = || registry.unmet("shop", &others);
        assert!(unmet().unwrap().contains("does not reach this cluster"));
        let base = registry.add(Inventory::new("base"));
        assert!(
            unmet()
                .unwrap()
                .contains("assignment base, which does not reach")
        );
        let goal = (Digest::of(b"one"), 7);
        registry.expect(&base, Some(goal));
        assert!(unmet().unwrap().contains("nothing is known yet"));
        let mut said = Said {
            of: goal,
            sync: Sync::Synced,
            health: Health::Progressing,
            message: String::new(),
        };
        registry.say(&base, said.clone());
        let words = unmet().unwrap();
        assert_eq!(
            words,
            "waits for assignment base, which is Synced and Progressing"
        );
        said.health = Health::Healthy;
        registry.say(&base, said.clone());
        assert_eq!(unmet(), None);
        registry.expect(&base, Some((Digest::of(b"two"), 7)));
        registry.say(&base, said);
        assert!(unmet().is_some(), "it was said of the goal before");
    }

    #[test]
    fn an_object_belongs_to_who_holds_it_until_they_let_go() {
        let registry = Registry::default();
        let one = registry.add(Inventory::new("one"));
        let two = registry.add(Inventory::new("two"));
        let id = one.inventory.lock().id("", "ConfigMap", "shop", "a");
        one.inventory.lock().want(&id, "v1", Digest::of(b""), None);
        let ids = [id.clone()];

        assert_eq!(registry.held_by_others("two", &ids)[&id], "one".into());
        assert!(registry.held_by_others("one", &ids).is_empty());

        one.inventory.lock().intend();
        one.inventory.lock().confirm(&id, Digest::of(b""), 1);
        one.inventory.lock().want_nothing();
        assert!(registry.left_by_others("two", &ids).is_empty());
        assert!(
            !registry.held_by_others("two", &ids).is_empty(),
            "one has not said yet what it wants"
        );
        one.inventory.lock().aimed = true;
        assert!(registry.left_by_others("two", &ids).contains(&id));
        assert!(registry.held_by_others("two", &ids).is_empty());
        assert_eq!(registry.elsewhere("one", &id), Elsewhere::Nobody);

        two.inventory.lock().want(&id, "v1", Digest::of(b""), None);
        assert_eq!(
            registry.elsewhere("one", &id),
            Elsewhere::Awaited("two".into()),
            "a crash now must not leave it to nobody"
        );
        two.inventory.lock().intend();
        two.inventory.lock().stored();
        assert_eq!(
            registry.elsewhere("one", &id),
            Elsewhere::Held("two".into())
        );
    }
}

//! All Inventories of the cluster, so that two Assignments never hold one
//! object: whoever stands in an Inventory first owns it until that Assignment
//! lets go.

use std::collections::BTreeMap;
use std::sync::Arc;

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
}

/// What another Assignment has to do with an object that we do not want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Elsewhere {
    Nobody,
    /// It stands in that Assignment's Inventory, which wants it.
    Held(Arc<str>),
    /// That Assignment waits for us to let go of it.
    Awaited(Arc<str>),
}

impl Registry {
    pub fn add(&self, inventory: Inventory) -> Arc<Shared> {
        let name = Arc::clone(&inventory.assignment);
        let shared = Arc::new(Shared {
            inventory: Mutex::new(inventory),
            changed: Notify::new(),
            urgent: Notify::new(),
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

    /// Who else has to do with `id`, which `assignment` does not want.
    #[must_use]
    pub fn elsewhere(&self, assignment: &str, id: &ObjectId) -> Elsewhere {
        let mut awaited = Elsewhere::Nobody;
        for (name, shared) in self.others(assignment) {
            let inventory = shared.inventory.lock();
            if inventory.get(id).is_some_and(|item| item.wanted.is_some()) {
                return Elsewhere::Held(name);
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
    use lockstep_proto::Digest;

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
        one.inventory.lock().want_nothing();
        assert!(
            !registry.held_by_others("two", &ids).is_empty(),
            "one has not said yet what it wants"
        );
        one.inventory.lock().aimed = true;
        assert!(registry.held_by_others("two", &ids).is_empty());
        assert_eq!(registry.elsewhere("one", &id), Elsewhere::Nobody);

        two.inventory.lock().want(&id, "v1", Digest::of(b""), None);
        assert_eq!(
            registry.elsewhere("one", &id),
            Elsewhere::Held("two".into())
        );
    }
}

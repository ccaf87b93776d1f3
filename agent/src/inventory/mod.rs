//! The Inventory: the objects that the agent has applied, or is about to
//! apply, for one Assignment, and what is known of each.
//!
//! What must survive a crash of it (which objects, and what content each was
//! last confirmed to hold) is kept in the cluster by [`store`]; the rest is
//! what watches say, and comes back with them. The rule that everything else
//! leans on: an object stands in the stored Inventory before it is applied,
//! marked as not confirmed, and leaves it only after it is known to be gone or
//! somebody else's. Nothing here does I/O but `store`.

mod drift;
mod item;
pub mod registry;
mod run;
mod shard;
pub mod store;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use lockstep_proto::Digest;
use lockstep_proto::bundle::ObjectKey;
use lockstep_proto::traits::Traits;
use tokio::time::Instant;

use crate::apply::Target;
use crate::bundle::{Asked, Listed};
use crate::cluster::GroupKind;
use crate::health::Rules;

pub use shard::OBJECTS as SHARD_SIZE;

pub use drift::{Drift, Look};
pub use item::{Care, Item, News, Presence, is_ready};
pub use run::{End, Run};

/// An object of the cluster: what makes it one, whatever version it is asked in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    pub kind: GroupKind,
    /// Empty for cluster-scoped objects.
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl ObjectId {
    /// As people say it: "apps/v1 Deployment shop/web".
    #[must_use]
    pub fn say(&self, api_version: &str) -> String {
        ObjectKey {
            api_version: api_version.to_owned(),
            kind: self.kind.kind.to_string(),
            namespace: self.namespace.to_string(),
            name: self.name.to_string(),
        }
        .to_string()
    }

    #[must_use]
    pub fn is(&self, group: &str, kind: &str) -> bool {
        (&*self.kind.group, &*self.kind.kind) == (group, kind)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.say(&self.kind.group))
    }
}

/// What was completely applied last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    pub digest: Digest,
    pub revision: String,
    /// For objects that name none; part of what makes two targets the same.
    pub namespace: String,
    /// How many objects it had: the base that a prune is measured against.
    pub objects: u32,
    /// Something else has been begun since: what stands in the cluster may be
    /// a mixture.
    pub left: bool,
}

/// An object of the Bundle that cannot be an item yet, because the cluster
/// does not serve its kind.
#[derive(Debug, Clone)]
pub struct Unresolved {
    pub listed: Listed,
    pub why: String,
}

/// An object of the Bundle that another Assignment holds.
#[derive(Debug, Clone)]
pub struct Contested {
    pub api_version: Arc<str>,
    pub wanted: Digest,
    pub traits: Asked,
    pub owner: Arc<str>,
}

/// See the module.
#[derive(Debug)]
pub struct Inventory {
    pub assignment: Arc<str>,
    /// It has been compared with the present goal: what is wanted is known.
    pub aimed: bool,
    /// A worker has a goal for it.
    pub pursued: bool,
    pub settled: Option<Settled>,
    /// How the Assignment wants kinds judged that nobody else knows.
    pub rules: Arc<Rules>,
    /// Kinds that may be removed although that takes other things along; a
    /// tombstone does not say it. None where nobody has said so far.
    pub prune_kinds: Option<Vec<String>>,
    pub unresolved: Vec<Unresolved>,
    pub contested: BTreeMap<ObjectId, Contested>,
    /// Objects that the Bundle lists twice, once without and once with the
    /// same namespace.
    pub doubled: Vec<String>,
    items: HashMap<ObjectId, Item>,
    words: HashSet<Arc<str>>,
    /// What is marked as not confirmed has not been stored so yet: nothing may
    /// be changed before it is.
    intending: bool,
    /// The target that was begun last.
    begun: Option<Digest>,
    /// Forgotten, and not yet so in what is stored.
    gone: HashSet<ObjectId>,
    shards: u16,
    dirty: Vec<bool>,
}

impl Inventory {
    #[must_use]
    pub fn new(assignment: &str) -> Self {
        Self {
            assignment: assignment.into(),
            aimed: false,
            pursued: false,
            settled: None,
            rules: Arc::default(),
            prune_kinds: None,
            unresolved: Vec::new(),
            contested: BTreeMap::new(),
            doubled: Vec::new(),
            items: HashMap::new(),
            words: HashSet::new(),
            intending: false,
            begun: None,
            gone: HashSet::new(),
            shards: 1,
            dirty: vec![false],
        }
    }

    /// The one copy of `text` that this Inventory shares.
    pub fn word(&mut self, text: &str) -> Arc<str> {
        if let Some(word) = self.words.get(text) {
            return Arc::clone(word);
        }
        let word: Arc<str> = text.into();
        self.words.insert(Arc::clone(&word));
        word
    }

    pub fn id(&mut self, group: &str, kind: &str, namespace: &str, name: &str) -> ObjectId {
        ObjectId {
            kind: GroupKind {
                group: self.word(group),
                kind: self.word(kind),
            },
            namespace: self.word(namespace),
            name: name.into(),
        }
    }

    #[must_use]
    pub fn get(&self, id: &ObjectId) -> Option<&Item> {
        self.items.get(id)
    }

    /// For what watches and attempts say of an item; what is stored of it is
    /// changed by the methods below only.
    pub fn get_mut(&mut self, id: &ObjectId) -> Option<&mut Item> {
        self.items.get_mut(id)
    }

    #[must_use]
    pub fn contains(&self, id: &ObjectId) -> bool {
        self.items.contains_key(id)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&ObjectId, &Item)> {
        self.items.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&ObjectId, &mut Item)> {
        self.items.iter_mut()
    }

    /// The kinds of all items.
    #[must_use]
    pub fn kinds(&self) -> HashSet<GroupKind> {
        self.items.keys().map(|id| id.kind.clone()).collect()
    }

    // ---------------------------------------------- what is stored, changing

    /// Makes `id` wanted with content `wanted`, known or not.
    pub fn want(
        &mut self,
        id: &ObjectId,
        api_version: &str,
        wanted: Digest,
        traits: Option<Box<Traits>>,
    ) {
        let api_version = self.word(api_version);
        if let Some(item) = self.items.get_mut(id) {
            if item.traits != traits {
                item.traits = traits;
                self.touch(id);
            }
            let item = self.items.get_mut(id).expect("it was there just now");
            if item.api_version != api_version {
                item.api_version = api_version;
                // The same JSON sent to another version is another request.
                item.applied = None;
            }
            item.wanted = Some(wanted);
            return;
        }
        let item = Item::wanted(api_version, wanted, traits);
        self.items.insert(id.clone(), item);
        self.gone.remove(id);
    }

    /// Where exactly this was settled and nothing begun since, all that stands
    /// in the Inventory is what is wanted: no Bundle has to be read to know.
    pub fn want_settled(&mut self, digest: Digest, namespace: &str) -> bool {
        let settled = self.settled.as_ref().is_some_and(|settled| {
            !settled.left && settled.digest == digest && settled.namespace == namespace
        });
        let complete = settled && self.items.values().all(|item| item.applied.is_some());
        if complete {
            for item in self.items.values_mut() {
                item.wanted = item.applied;
            }
            self.unresolved.clear();
            self.contested.clear();
            self.doubled.clear();
            self.aimed = true;
        }
        complete
    }

    /// Nothing is wanted any more; [`Inventory::want`] follows for what is.
    /// Items that were never stored are forgotten: they were never applied.
    pub fn want_nothing(&mut self) {
        self.items.retain(|_, item| item.stored);
        for item in self.items.values_mut() {
            item.wanted = None;
            item.care = None;
        }
        self.unresolved.clear();
        self.contested.clear();
        self.doubled.clear();
    }

    /// What [`Inventory::want_settled`] needs.
    #[must_use]
    pub fn is_settled_whole(&self) -> bool {
        self.settled.as_ref().is_some_and(|settled| !settled.left)
            && self.items.values().all(|item| item.applied.is_some())
    }

    /// Everything that stands in it is wanted as it is: what else is wanted is
    /// not for now.
    pub fn want_applied(&mut self) {
        for item in self.items.values_mut() {
            item.wanted = item.applied;
        }
        self.unresolved.clear();
        self.contested.clear();
        self.doubled.clear();
        self.aimed = true;
    }

    /// All of `target` is applied, and nothing else was begun since.
    #[must_use]
    pub fn has_reached(&self, target: &Target) -> bool {
        self.settled.as_ref().is_some_and(|settled| {
            !settled.left
                && settled.digest == target.digest
                && settled.namespace == target.namespace
        })
    }

    /// It wants an object that `assignment` holds.
    #[must_use]
    pub fn waits_for_objects_of(&self, assignment: &str) -> bool {
        let mut contested = self.contested.values();
        contested.any(|contested| &*contested.owner == assignment)
    }

    /// Notes that the way to `target` is begun, with the next save.
    pub fn begin(&mut self, target: Digest) {
        if self.begun != Some(target) {
            self.begun = Some(target);
            self.dirty[0] = true;
        }
    }

    /// Whether the way to `target` was begun, and none to another since.
    #[must_use]
    pub fn has_begun(&self, target: Digest) -> bool {
        self.begun == Some(target)
    }

    /// Marks what is about to be sent as not confirmed, so that the next save
    /// stores it before anything is sent. True where that changes what is stored.
    pub fn intend(&mut self) -> bool {
        let mut changed = Vec::new();
        for (id, item) in &mut self.items {
            let new = item.wanted.is_some() && !item.stored;
            let other = item.wanted.is_some() && item.applied.is_some() && item.is_outdated();
            if new || other {
                item.applied = None;
                item.stored = true;
                changed.push(id.clone());
            }
        }
        for id in &changed {
            self.touch(id);
        }
        if let Some(settled) = self.settled.as_mut().filter(|settled| !settled.left) {
            settled.left = true;
            self.dirty[0] = true;
        }
        self.intending |= self.is_dirty();
        self.is_dirty()
    }

    /// As if a save had stored everything.
    #[cfg(test)]
    pub fn stored(&mut self) {
        self.intending = false;
        self.dirty.fill(false);
    }

    /// See [`Inventory::intend`]: it has to be stored first.
    #[must_use]
    pub fn is_intending(&self) -> bool {
        self.intending
    }

    /// The object holds `applied` now, and our fields of it are `owned`.
    pub fn confirm(&mut self, id: &ObjectId, applied: Digest, owned: u64) {
        let Some(item) = self.items.get_mut(id) else {
            return;
        };
        item.ours = true;
        if item.applied != Some(applied) || item.owned != owned {
            item.fresh |= item.applied != Some(applied) && !item.is_ready();
            item.applied = Some(applied);
            item.owned = owned;
            self.touch(id);
        }
    }

    /// A hook runs, or has ended.
    pub fn ran(&mut self, id: &ObjectId, run: Run) {
        let Some(item) = self.items.get_mut(id) else {
            return;
        };
        if item.run.as_deref() != Some(&run) {
            item.run = Some(Box::new(run));
            self.touch(id);
        }
    }

    /// What was applied has fields as they were found, or has none such.
    pub fn note_found(&mut self, id: &ObjectId, found: bool) {
        let changed = self.items.get_mut(id).is_some_and(|item| {
            let was = std::mem::replace(&mut item.found, found);
            was != found
        });
        if changed {
            self.touch(id);
        }
    }

    /// The object differs from what was applied, as of `version`. True where
    /// that is news for the history.
    pub fn differs(&mut self, id: &ObjectId, drift: Drift, version: u64, now: Instant) -> bool {
        let left = drift.left;
        let item = self.items.get_mut(id);
        let news = item.is_some_and(|item| item.differs(drift, version, now));
        // What is put back at once need not be remembered.
        if news && left {
            self.touch(id);
        }
        news
    }

    /// The object holds what is wanted, and our fields of it are `owned`. The
    /// drift that ended with that, if the history was told of one.
    pub fn holds(&mut self, id: &ObjectId, owned: u64) -> Option<Drift> {
        let ended = self.items.get_mut(id)?.holds(owned)?;
        if ended.left {
            self.touch(id);
        }
        Some(ended)
    }

    /// A hook has ended: to be stored before anything that follows from it.
    pub fn concluded(&mut self, id: &ObjectId, end: End) {
        let run = self.items.get(id).and_then(|item| item.run.as_deref());
        if let Some(run) = run.cloned() {
            let end = Some(end);
            self.ran(id, Run { end, ..run });
            self.intending = true;
        }
    }

    /// Another Assignment has let go of the object for this one.
    pub fn take_over(&mut self, id: &ObjectId) {
        if let Some(item) = self.items.get_mut(id).filter(|item| !item.ours) {
            item.ours = true;
            if item.stored {
                self.touch(id);
            }
        }
    }

    /// The object is gone, or not ours any more.
    pub fn forget(&mut self, id: &ObjectId) {
        if self.items.remove(id).is_some_and(|item| item.stored) {
            self.gone.insert(id.clone());
            self.touch(id);
        }
    }

    /// Remembers which kinds may be removed, for the day of the tombstone.
    pub fn may_prune(&mut self, kinds: &[String]) {
        if self.prune_kinds.as_deref() != Some(kinds) {
            self.prune_kinds = Some(kinds.to_vec());
            self.dirty[0] = true;
        }
    }

    /// All that is wanted is applied and nothing else is left.
    pub fn settle(&mut self, digest: Digest, revision: &str, namespace: &str) {
        // What is not applied of hooks is not missing: a restart must not have
        // to read the Bundle to know what they are.
        let hooks = self.items.iter_mut().filter(|(_, item)| {
            item.hook().is_some()
                && item.wanted.is_some()
                && (item.applied != item.wanted || !item.stored)
        });
        let mut changed = Vec::new();
        for (id, item) in hooks {
            item.applied = item.wanted;
            item.stored = true;
            changed.push(id.clone());
        }
        for id in &changed {
            self.touch(id);
        }
        let settled = Settled {
            digest,
            revision: revision.to_owned(),
            namespace: namespace.to_owned(),
            objects: u32::try_from(self.items.len()).unwrap_or(u32::MAX),
            left: false,
        };
        if self.settled.as_ref() != Some(&settled) {
            self.settled = Some(settled);
            self.dirty[0] = true;
        }
    }

    /// Something that is stored has changed since it was stored.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.dirty.contains(&true)
    }

    fn touch(&mut self, id: &ObjectId) {
        let shard = shard::of(id, self.shards);
        self.dirty[usize::from(shard)] = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_reads_as_people_say_it() {
        let mut inventory = Inventory::new("shop");
        let id = inventory.id("apps", "Deployment", "shop", "web");
        assert_eq!(id.say("apps/v1"), "apps/v1 Deployment shop/web");
        let id = inventory.id("", "Namespace", "", "shop");
        assert_eq!(id.say("v1"), "v1 Namespace shop");
    }

    #[test]
    fn what_was_never_stored_is_forgotten_with_its_target() {
        let mut inventory = Inventory::new("shop");
        let (a, b) = (
            inventory.id("", "ConfigMap", "shop", "a"),
            inventory.id("", "ConfigMap", "shop", "b"),
        );
        inventory.want(&a, "v1", Digest::of(b"1"), None);
        assert!(inventory.intend());
        inventory.want(&b, "v1", Digest::of(b"1"), None);
        inventory.want_nothing();
        assert!(inventory.contains(&a), "it may have been applied");
        assert!(!inventory.contains(&b));
    }

    #[test]
    fn a_change_is_not_confirmed_until_it_is_applied() {
        let mut inventory = Inventory::new("shop");
        let id = inventory.id("", "ConfigMap", "shop", "a");
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        inventory.want(&id, "v1", one, None);
        inventory.intend();
        inventory.confirm(&id, one, 7);
        inventory.settle(one, "r1", "shop");
        inventory.dirty = vec![false];
        assert!(!inventory.intend() || inventory.settled.as_ref().unwrap().left);

        inventory.want(&id, "v1", two, None);
        assert!(inventory.intend());
        assert_eq!(inventory.get(&id).unwrap().applied, None);
        assert!(inventory.settled.as_ref().unwrap().left);
    }
}

//! The objects of one sandbox and the log of their changes. It knows keys and bytes, not
//! kinds: no rule of Kubernetes but the resource version is in here.

mod log;
mod object;
mod page;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use tokio::sync::watch;

pub(crate) use log::{Change, Event, Gone};
pub(crate) use object::{Object, ObjectId};
pub(crate) use page::{Pages, Token};

use log::Log;

/// Objects of one resource (`deployments.apps`).
#[derive(Default)]
struct Table {
    objects: BTreeMap<ObjectId, Arc<Object>>,
    log: Log,
}

/// Everything that a sandbox keeps. Callers hold it under one lock.
pub(crate) struct Store {
    revision: u64,
    tables: HashMap<Arc<str>, Table>,
    pages: Pages,
    /// Where the object of a uid is.
    uids: HashMap<Box<str>, (Arc<str>, ObjectId)>,
    /// The objects that name a uid as their owner.
    owned: HashMap<Box<str>, BTreeSet<(Arc<str>, ObjectId)>>,
    /// The newest revision; readers of the log wait on it.
    newest: watch::Sender<u64>,
}

impl Store {
    pub(crate) fn new() -> Self {
        // Clients take revision 0 for "any": the first one given out must be larger.
        let revision = 1;
        Self {
            revision,
            tables: HashMap::new(),
            pages: Pages::default(),
            uids: HashMap::new(),
            owned: HashMap::new(),
            newest: watch::channel(revision).0,
        }
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Resolves when something changed after the receiver last looked.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    pub(crate) fn get(&self, resource: &str, id: &ObjectId) -> Option<Arc<Object>> {
        self.tables.get(resource)?.objects.get(id).cloned()
    }

    /// Objects of a resource, of one namespace or of all, ordered by namespace and name.
    pub(crate) fn list(&self, resource: &str, namespace: Option<&str>) -> Vec<Arc<Object>> {
        let Some(table) = self.tables.get(resource) else {
            return Vec::new();
        };
        match namespace {
            None => table.objects.values().cloned().collect(),
            Some(namespace) => {
                let first = ObjectId::new(namespace, "");
                table
                    .objects
                    .range((Bound::Included(first), Bound::Unbounded))
                    .take_while(|(id, _)| &*id.namespace == namespace)
                    .map(|(_, object)| object.clone())
                    .collect()
            }
        }
    }

    /// Every resource that has objects.
    pub(crate) fn resources(&self) -> Vec<Arc<str>> {
        self.tables
            .iter()
            .filter(|(_, table)| !table.objects.is_empty())
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Every resource that ever had objects.
    pub(crate) fn tables(&self) -> Vec<Arc<str>> {
        self.tables.keys().cloned().collect()
    }

    /// Where the object with a uid is, if it is there.
    pub(crate) fn by_uid(&self, uid: &str) -> Option<(Arc<str>, ObjectId)> {
        self.uids.get(uid).cloned()
    }

    /// Does any object name this owner?
    pub(crate) fn owns(&self, uid: &str) -> bool {
        self.owned.contains_key(uid)
    }

    /// The objects that name a uid as an owner.
    pub(crate) fn dependents(&self, uid: &str) -> Vec<(Arc<str>, ObjectId)> {
        self.owned.get(uid).into_iter().flatten().cloned().collect()
    }

    fn index(&mut self, resource: &str, before: Option<&Object>, after: Option<&Object>) {
        let table: Arc<str> = self
            .tables
            .get_key_value(resource)
            .map_or_else(|| resource.into(), |(name, _)| name.clone());
        if let Some(object) = before {
            self.uids.remove(&object.uid);
            for owner in &object.owners {
                if let Some(list) = self.owned.get_mut(owner) {
                    list.remove(&(table.clone(), object.id.clone()));
                    if list.is_empty() {
                        self.owned.remove(owner);
                    }
                }
            }
        }
        if let Some(object) = after {
            self.uids
                .insert(object.uid.clone(), (table.clone(), object.id.clone()));
            for owner in &object.owners {
                self.owned
                    .entry(owner.clone())
                    .or_default()
                    .insert((table.clone(), object.id.clone()));
            }
        }
    }

    pub(crate) fn count(&self, resource: &str) -> usize {
        self.tables
            .get(resource)
            .map_or(0, |table| table.objects.len())
    }

    /// The revision that the next write will have.
    pub(crate) fn next_revision(&self) -> u64 {
        self.revision + 1
    }

    /// Stores an object under [`Self::next_revision`], which its bytes must carry.
    pub(crate) fn put(&mut self, resource: &str, object: Object) -> Arc<Object> {
        self.revision += 1;
        let object = Arc::new(object);
        let revision = self.revision;
        let table = self.table(resource);
        let before = table.objects.insert(object.id.clone(), object.clone());
        self.index(resource, before.as_deref(), Some(&object));
        let change = if before.is_some() {
            Change::Modified
        } else {
            Change::Added
        };
        self.table(resource).log.push(Event {
            revision,
            change,
            object: object.clone(),
            before,
        });
        self.newest.send_replace(revision);
        object
    }

    /// Removes an object; `last` is its final state, carrying [`Self::next_revision`].
    pub(crate) fn remove(&mut self, resource: &str, last: Object) -> Arc<Object> {
        self.revision += 1;
        let last = Arc::new(last);
        let revision = self.revision;
        let table = self.table(resource);
        let before = table.objects.remove(&last.id);
        self.index(resource, before.as_deref(), None);
        self.table(resource).log.push(Event {
            revision,
            change: Change::Deleted,
            object: last.clone(),
            before,
        });
        self.newest.send_replace(revision);
        last
    }

    /// The changes of a resource after a revision; an error if they are no longer known.
    pub(crate) fn since(&self, resource: &str, revision: u64) -> Result<Vec<Event>, Gone> {
        match self.tables.get(resource) {
            None => Ok(Vec::new()),
            Some(table) => table.log.since(revision),
        }
    }

    /// Forgets the log, as a compaction does: older watches have to list again.
    pub(crate) fn compact(&mut self) {
        let revision = self.revision;
        self.tables
            .values_mut()
            .for_each(|table| table.log.compact(revision));
        self.pages = Pages::default();
    }

    pub(crate) fn pages(&mut self) -> &mut Pages {
        &mut self.pages
    }

    fn table(&mut self, resource: &str) -> &mut Table {
        if !self.tables.contains_key(resource) {
            self.tables.insert(resource.into(), Table::default());
        }
        self.tables
            .get_mut(resource)
            .expect("the table was put there above")
    }
}

//! Toy controllers: what makes a cluster more than an API. One task a sandbox, woken by
//! changes and by its own timers, that looks at what changed and brings it one step further.
//! Every step starts from what is stored, so that a step twice is a step once.

mod budgets;
mod definitions;
mod furnish;
mod garbage;
mod namespaces;
mod pods;
mod status;
mod workloads;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use definitions::DEFINITIONS;
pub(crate) use furnish::furnish;

use crate::machinery::{Options, State, Target, Validation};
use crate::sandbox::{Inner, SandboxOptions};
use crate::store::{Change, Event, ObjectId};

/// One thing to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Work {
    /// A workload changed: say so in its status.
    Begin(Arc<str>, ObjectId),
    /// Its time has come: make it ready.
    Finish(Arc<str>, ObjectId),
    /// It should be ready by now.
    Deadline(Arc<str>, ObjectId),
    /// A definition is new, changed or going.
    Define(ObjectId),
    Establish(ObjectId),
    /// A namespace is going: empty it.
    Empty(Arc<str>),
    /// An object with finalizers of ours is going.
    Finalize(Arc<str>, ObjectId),
    /// An owner is gone.
    Orphans(Box<str>),
    /// A budget, or what it counts, changed.
    Budget(ObjectId),
    /// An object names an owner: is it there?
    Owned(Arc<str>, ObjectId),
}

/// What is due when. The same work twice at one time is once.
#[derive(Default)]
struct Agenda(BTreeMap<Instant, Vec<Work>>);

impl Agenda {
    fn now(&mut self, work: Work) {
        self.after(Duration::ZERO, work);
    }

    fn after(&mut self, delay: Duration, work: Work) {
        let list = self.0.entry(Instant::now() + delay).or_default();
        if !list.contains(&work) {
            list.push(work);
        }
    }

    fn due(&mut self) -> Vec<Work> {
        let now = Instant::now();
        let mut out = Vec::new();
        while let Some(entry) = self.0.first_entry()
            && *entry.key() <= now
        {
            for work in entry.remove() {
                if !out.contains(&work) {
                    out.push(work);
                }
            }
        }
        out
    }

    fn next(&self) -> Option<Instant> {
        self.0.first_key_value().map(|(at, _)| *at)
    }
}

/// Runs until stopped.
pub(crate) async fn run(inner: Arc<Inner>, stop: CancellationToken) {
    let mut agenda = Agenda::default();
    let mut newest = inner.state.lock().store.watch();
    // Everything there is counts as new: a restart takes up what it left.
    let mut seen = 0;
    loop {
        seen = look(&inner, seen, &mut agenda);
        loop {
            let due = agenda.due();
            if due.is_empty() {
                break;
            }
            let mut state = inner.state.lock();
            for work in due {
                step(&mut state, &inner.options, work, &mut agenda);
            }
        }
        let next = agenda.next();
        let timer = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = timer => {}
            changed = newest.changed() => if changed.is_err() { return },
        }
    }
}

/// Puts on the agenda what changed since a revision; gives the newest one.
fn look(inner: &Inner, seen: u64, agenda: &mut Agenda) -> u64 {
    let state = inner.state.lock();
    for resource in state.store.tables() {
        let events = if seen == 0 {
            None
        } else {
            state.store.since(&resource, seen).ok()
        };
        match events {
            Some(events) => events
                .iter()
                .for_each(|event| note(&state, &inner.options, &resource, event, agenda)),
            None => {
                for object in state.store.list(&resource, None) {
                    let event = Event {
                        revision: object.revision,
                        change: Change::Added,
                        object,
                        before: None,
                    };
                    note(&state, &inner.options, &resource, &event, agenda);
                }
            }
        }
    }
    state.store.revision()
}

fn note(
    state: &State,
    options: &SandboxOptions,
    resource: &Arc<str>,
    event: &Event,
    agenda: &mut Agenda,
) {
    let object = &event.object;
    let id = object.id.clone();
    if options.workloads && budgets::counts(resource) {
        for budget in budgets::of_namespace(state, &id.namespace) {
            agenda.now(Work::Budget(budget));
        }
    }
    if event.change == Change::Deleted {
        if state.store.owns(&object.uid) {
            agenda.now(Work::Orphans(object.uid.clone()));
        }
        for owner in &object.owners {
            // Somebody may wait for its dependents to be gone.
            if let Some((table, id)) = state.store.by_uid(owner) {
                agenda.now(Work::Finalize(table, id));
            }
        }
        let namespace = ObjectId::new("", &id.namespace);
        if !id.namespace.is_empty()
            && state
                .store
                .get("namespaces", &namespace)
                .is_some_and(|namespace| namespace.deleting)
        {
            agenda.now(Work::Empty(id.namespace));
        }
        if let Some(definition) = state.store.get(DEFINITIONS, &ObjectId::new("", resource))
            && definition.deleting
        {
            agenda.now(Work::Define(definition.id.clone()));
        }
    } else {
        match (&**resource, object.deleting) {
            (DEFINITIONS, _) => agenda.now(Work::Define(id)),
            (budgets::BUDGETS, false) if options.workloads => agenda.now(Work::Budget(id)),
            ("namespaces", true) => agenda.now(Work::Empty(id.name)),
            (_, true) => agenda.now(Work::Finalize(resource.clone(), id)),
            (name, false) if options.workloads && workloads::handles(name) => {
                agenda.now(Work::Begin(resource.clone(), id));
            }
            _ => {}
        }
        if !object.owners.is_empty() && event.change == Change::Added {
            agenda.now(Work::Owned(resource.clone(), object.id.clone()));
        }
    }
    if &**resource == "pods" && !object.owners.is_empty() {
        for owner in &object.owners {
            if let Some((table, id)) = state.store.by_uid(owner)
                && options.workloads
                && workloads::handles(&table)
            {
                agenda.now(Work::Begin(table, id));
            }
        }
    }
}

fn step(state: &mut State, options: &SandboxOptions, work: Work, agenda: &mut Agenda) {
    match work {
        Work::Begin(table, id) => workloads::begin(state, options, &table, &id, agenda),
        Work::Finish(table, id) => workloads::finish(state, options, &table, &id),
        Work::Deadline(table, id) => workloads::deadline(state, &table, &id),
        Work::Define(id) => definitions::define(state, options, &id, agenda),
        Work::Establish(id) => definitions::establish(state, &id),
        Work::Budget(id) => budgets::compute(state, &id),
        Work::Empty(name) => namespaces::empty(state, &name),
        Work::Finalize(table, id) => garbage::finalize(state, &table, &id),
        Work::Orphans(uid) => garbage::orphans(state, &uid),
        Work::Owned(table, id) => garbage::owned(state, &table, &id),
    }
}

/// The target of a stored object.
fn target_of(state: &State, table: &str, id: &ObjectId) -> Option<Target> {
    let resource = state.catalogue.by_key(table)?;
    let version = resource.versions.first()?.name.clone();
    Some(Target {
        resource,
        version,
        namespace: id.namespace.to_string(),
        name: id.name.to_string(),
        subresource: String::new(),
    })
}

/// How controllers write.
fn as_controller() -> Options {
    as_part("kube-controller-manager")
}

/// How a part of the cluster writes.
fn as_part(name: &str) -> Options {
    Options {
        manager: name.to_owned(),
        dry_run: false,
        force: true,
        validation: Validation::Ignore,
    }
}

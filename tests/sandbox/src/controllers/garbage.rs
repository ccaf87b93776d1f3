//! Garbage collection: dependents of what is gone, and the finalizers that the cluster
//! itself puts on objects.

use serde_json::Value;

use super::target_of;
use crate::machinery::{Deletion, PatchFormat, State};
use crate::store::ObjectId;

/// Finalizers that stand for a controller with nothing left to do.
const OURS: &[&str] = &[
    "kubernetes.io/pvc-protection",
    "kubernetes.io/pv-protection",
];

/// Removes a finalizer; the object goes if it was the last one and it is to go.
pub(super) fn drop_finalizer(state: &mut State, table: &str, id: &ObjectId, name: &str) {
    let Some(target) = target_of(state, table, id) else {
        return;
    };
    let Ok(stored) = state.find(&target) else {
        return;
    };
    let mut object = state.read(&target, &stored);
    if let Some(list) = object["metadata"]
        .get_mut("finalizers")
        .and_then(Value::as_array_mut)
    {
        list.retain(|other| other != name);
    }
    let finalizers = object["metadata"]["finalizers"].clone();
    let patch = serde_json::json!({"metadata": {"finalizers": finalizers}});
    if let Err(status) = state.patch(&target, PatchFormat::Merge, &patch, &super::as_controller()) {
        tracing::debug!(status.message, "a finalizer stays");
    }
}

/// Takes an object that is going one step on.
pub(super) fn finalize(state: &mut State, table: &str, id: &ObjectId) {
    let Some(target) = target_of(state, table, id) else {
        return;
    };
    let Ok(stored) = state.find(&target) else {
        return;
    };
    if !stored.deleting {
        return;
    }
    let object = state.read(&target, &stored);
    let names: Vec<String> = object["metadata"]["finalizers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    for name in names {
        match name.as_str() {
            "foregroundDeletion" => {
                let dependents = state.store.dependents(&stored.uid);
                for (table, id) in &dependents {
                    delete(state, table, id);
                }
                if state.store.dependents(&stored.uid).is_empty() {
                    drop_finalizer(state, table, id, &name);
                }
            }
            "orphan" => {
                for (table, id) in state.store.dependents(&stored.uid) {
                    disown(state, &table, &id, &stored.uid);
                }
                drop_finalizer(state, table, id, &name);
            }
            name if OURS.contains(&name) => drop_finalizer(state, table, id, name),
            _ => {}
        }
    }
}

/// An owner is gone: its dependents go, unless another owner is left.
pub(super) fn orphans(state: &mut State, uid: &str) {
    for (table, id) in state.store.dependents(uid) {
        collect(state, &table, &id);
    }
}

/// An object names owners: it stays as long as one of them is there.
pub(super) fn owned(state: &mut State, table: &str, id: &ObjectId) {
    collect(state, table, id);
}

fn collect(state: &mut State, table: &str, id: &ObjectId) {
    let Some(stored) = state.store.get(table, id) else {
        return;
    };
    if stored.deleting || stored.owners.is_empty() {
        return;
    }
    let gone: Vec<&str> = stored
        .owners
        .iter()
        .map(|uid| &**uid)
        .filter(|uid| state.store.by_uid(uid).is_none())
        .collect();
    if gone.len() == stored.owners.len() {
        delete(state, table, id);
    } else {
        for uid in gone {
            disown(state, table, id, uid);
        }
    }
}

fn delete(state: &mut State, table: &str, id: &ObjectId) {
    if let Some(target) = target_of(state, table, id)
        && let Err(status) = state.delete(&target, &Deletion::default())
    {
        tracing::debug!(status.message, "a dependent stays");
    }
}

fn disown(state: &mut State, table: &str, id: &ObjectId, uid: &str) {
    let Some(target) = target_of(state, table, id) else {
        return;
    };
    let Ok(stored) = state.find(&target) else {
        return;
    };
    let object = state.read(&target, &stored);
    let owners: Vec<Value> = object["metadata"]["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|owner| owner["uid"] != uid)
        .cloned()
        .collect();
    let owners = if owners.is_empty() {
        Value::Null
    } else {
        Value::Array(owners)
    };
    let patch = serde_json::json!({"metadata": {"ownerReferences": owners}});
    if let Err(status) = state.patch(&target, PatchFormat::Merge, &patch, &super::as_controller()) {
        tracing::debug!(status.message, "a dependent keeps its owner");
    }
}

//! Namespaces that are going: everything in them goes first.

use serde_json::{Value, json};

use super::status::write_status;
use super::target_of;
use crate::machinery::{Deletion, State};
use crate::store::ObjectId;

/// Empties a namespace, and lets it go once it is empty.
pub(super) fn empty(state: &mut State, name: &str) {
    let id = ObjectId::new("", name);
    let Some(target) = target_of(state, "namespaces", &id) else {
        return;
    };
    let Ok(stored) = state.find(&target) else {
        return;
    };
    if !stored.deleting {
        return;
    }
    for table in state.store.resources() {
        for object in state.store.list(&table, Some(name)) {
            if let Some(target) = target_of(state, &table, &object.id)
                && !object.deleting
                && let Err(status) = state.delete(&target, &Deletion::default())
            {
                tracing::debug!(
                    status.message,
                    "an object stays in a namespace that is going"
                );
            }
        }
    }
    let mut left: Vec<String> = Vec::new();
    for table in state.store.resources() {
        let count = state.store.list(&table, Some(name)).len();
        if count > 0 {
            left.push(format!("{table} has {count} resource instances"));
        }
    }
    if left.is_empty() {
        let mut object = state.read(&target, &stored);
        if let Some(spec) = object["spec"].as_object_mut() {
            spec.remove("finalizers");
        }
        if object["metadata"]["finalizers"]
            .as_array()
            .is_none_or(Vec::is_empty)
        {
            state.forget(&target, object);
        }
        return;
    }
    let now = state.now();
    let message = format!("Some resources are remaining: {}", left.join(", "));
    write_status(state, &target, |status| {
        let same = |condition: &Value| {
            condition["type"] == "NamespaceContentRemaining" && condition["message"] == message
        };
        if status["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(same)
        {
            return;
        }
        status["conditions"] = json!([{
            "type": "NamespaceContentRemaining", "status": "True", "reason": "SomeResourcesRemain",
            "message": message, "lastTransitionTime": now,
        }]);
    });
}

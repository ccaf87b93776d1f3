//! CustomResourceDefinitions: names accepted, then served, then established; instances go
//! before the definition does.

use serde_json::{Value, json};

use super::status::write_status_as;
use super::{Agenda, Work, target_of};
use crate::discovery::definition;
use crate::machinery::{Deletion, State};
use crate::sandbox::SandboxOptions;
use crate::store::ObjectId;

/// The table of definitions.
pub(crate) const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";
const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Takes a definition one step on.
pub(super) fn define(
    state: &mut State,
    options: &SandboxOptions,
    id: &ObjectId,
    agenda: &mut Agenda,
) {
    let Some(target) = target_of(state, DEFINITIONS, id) else {
        return;
    };
    let Ok(stored) = state.find(&target) else {
        return;
    };
    let object = state.read(&target, &stored);
    if stored.deleting {
        remove(state, id, &object);
        return;
    }
    if holds(&object, "Established") {
        state.refresh_definition(&object);
        return;
    }
    if !holds(&object, "NamesAccepted") {
        let now = state.now();
        let names = object["spec"]["names"].clone();
        write_status_as(state, &target, "kube-apiserver", |status| {
            status["acceptedNames"] = names;
            status["conditions"] = json!([condition(
                "NamesAccepted",
                "NoConflicts",
                "no conflicts found",
                &now
            )]);
        });
        agenda.after(options.established_after, Work::Establish(id.clone()));
    } else {
        agenda.after(options.established_after, Work::Establish(id.clone()));
    }
}

/// Serves a definition whose names were accepted.
pub(super) fn establish(state: &mut State, id: &ObjectId) {
    let Some(target) = target_of(state, DEFINITIONS, id) else {
        return;
    };
    let Ok(stored) = state.find(&target) else {
        return;
    };
    let object = state.read(&target, &stored);
    if stored.deleting || holds(&object, "Established") {
        return;
    }
    let now = state.now();
    state.catalogue.serve(definition(&object));
    write_status_as(state, &target, "kube-apiserver", |status| {
        let established = condition(
            "Established",
            "InitialNamesAccepted",
            "the initial names have been accepted",
            &now,
        );
        if let Some(list) = status["conditions"].as_array_mut() {
            list.push(established);
        }
    });
}

impl State {
    /// Serves a changed definition as it is now.
    pub(crate) fn refresh_definition(&mut self, object: &Value) {
        if holds(object, "Established") {
            self.catalogue.serve(definition(object));
        }
    }
}

fn remove(state: &mut State, id: &ObjectId, object: &Value) {
    if !holds(object, "Terminating")
        && let Some(target) = target_of(state, DEFINITIONS, id)
    {
        let now = state.now();
        write_status_as(state, &target, "kube-apiserver", |status| {
            let message = "CustomResource deletion is in progress";
            let terminating = condition("Terminating", "InstanceDeletionInProgress", message, &now);
            if let Some(list) = status["conditions"].as_array_mut() {
                list.push(terminating);
            }
        });
    }
    let finalizers = object["metadata"]["finalizers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if !finalizers.iter().any(|name| name == CLEANUP) {
        return;
    }
    for instance in state.store.list(&id.name, None) {
        if let Some(target) = target_of(state, &id.name, &instance.id) {
            // A refusal leaves it there: the definition waits.
            let _ = state.delete(&target, &Deletion::default());
        }
    }
    if state.store.count(&id.name) == 0 {
        state.catalogue.withdraw(&id.name);
        super::garbage::drop_finalizer(state, DEFINITIONS, id, CLEANUP);
    }
}

fn condition(kind: &str, reason: &str, message: &str, now: &str) -> Value {
    json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now})
}

fn holds(object: &Value, kind: &str) -> bool {
    let conditions = object["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten();
    conditions
        .into_iter()
        .any(|condition| condition["type"] == kind && condition["status"] == "True")
}

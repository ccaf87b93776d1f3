//! How controllers write a status.

use serde_json::{Value, json};

use super::as_part;
use crate::machinery::{State, Target};

/// Changes the status of an object; a change that changes nothing writes nothing.
pub(super) fn write_status(state: &mut State, target: &Target, change: impl FnOnce(&mut Value)) {
    write_status_as(state, target, "kube-controller-manager", change);
}

/// The same, by another part of the cluster.
pub(super) fn write_status_as(
    state: &mut State,
    target: &Target,
    part: &str,
    change: impl FnOnce(&mut Value),
) {
    let Ok(stored) = state.find(target) else {
        return;
    };
    let mut object = state.read(target, &stored);
    if !object["status"].is_object() {
        object["status"] = json!({});
    }
    change(&mut object["status"]);
    let target = Target {
        subresource: "status".to_owned(),
        ..target.clone()
    };
    if let Err(status) = state.replace(&target, object, &as_part(part)) {
        tracing::debug!(status.message, "a status could not be written");
    }
}

/// Sets a condition; its transition time moves only with its status.
pub(super) fn set_condition(
    status: &mut Value,
    kind: &str,
    word: &str,
    reason: &str,
    message: &str,
    now: &str,
) {
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(list) = status["conditions"].as_array_mut() else {
        return;
    };
    let updates = kind == "Available" || kind == "Progressing";
    match list.iter_mut().find(|condition| condition["type"] == kind) {
        Some(condition) => {
            let changed = condition["status"] != word
                || condition["reason"] != reason
                || condition["message"] != message;
            if condition["status"] != word {
                condition["lastTransitionTime"] = now.into();
            }
            if changed && updates {
                condition["lastUpdateTime"] = now.into();
            }
            condition["status"] = word.into();
            condition["reason"] = reason.into();
            condition["message"] = message.into();
        }
        None => {
            let mut condition = json!({"type": kind, "status": word, "reason": reason, "message": message, "lastTransitionTime": now});
            if updates {
                condition["lastUpdateTime"] = now.into();
            }
            list.push(condition);
        }
    }
}

//! Judging by conditions: what kstatus checks of every object before the rules
//! of its kind, and the only rule for kinds that have none of their own.

use serde_json::Value;

use super::{Judgement, Subject, int, list, text};

/// One entry of `status.conditions`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Condition<'a> {
    pub status: &'a str,
    pub reason: &'a str,
    pub message: &'a str,
    pub observed_generation: Option<i64>,
}

impl Condition<'_> {
    pub(super) fn is(&self, status: &str) -> bool {
        self.status == status
    }

    /// "reason: message", or whichever of them there is, or `name` and the status.
    pub(super) fn words(&self, name: &str) -> String {
        match (self.reason, self.message) {
            ("", "") => format!("{name} is {}", self.status),
            ("", message) => message.to_owned(),
            (reason, "") => reason.to_owned(),
            (reason, message) => format!("{reason}: {message}"),
        }
    }
}

pub(super) fn find<'a>(status: &'a Value, name: &str) -> Option<Condition<'a>> {
    list(status, "/conditions")
        .iter()
        .find(|c| text(c, "/type") == name)
        .map(|c| Condition {
            status: text(c, "/status"),
            reason: text(c, "/reason"),
            message: text(c, "/message"),
            observed_generation: c.pointer("/observedGeneration").and_then(Value::as_i64),
        })
}

/// What holds whatever the kind: its controller has not looked yet, or says
/// in the standard words that it is at work or cannot go on.
pub(super) fn before_rules(object: &Subject) -> Option<Judgement> {
    if let Some(generation) = object.metadata.generation {
        let observed = int(&object.status, "/observedGeneration", generation);
        if observed < generation {
            return Some(Judgement::progressing(format!(
                "its controller has seen generation {observed} of {generation}"
            )));
        }
    }
    if let Some(stalled) = find(&object.status, "Stalled").filter(|c| c.is("True")) {
        return Some(Judgement::degraded(stalled.words("Stalled")));
    }
    if let Some(busy) = find(&object.status, "Reconciling").filter(|c| c.is("True")) {
        return Some(Judgement::progressing(busy.words("Reconciling")));
    }
    None
}

/// Ready, else Available; an object that has neither is what it says: there.
pub(super) fn by_conditions(object: &Subject) -> Judgement {
    for name in ["Ready", "Available"] {
        let Some(condition) = find(&object.status, name) else {
            continue;
        };
        let stale = match (condition.observed_generation, object.metadata.generation) {
            (Some(observed), Some(generation)) => observed < generation,
            _ => false,
        };
        return if stale {
            Judgement::progressing(format!("{name} speaks of an older generation"))
        } else if condition.is("True") {
            Judgement::healthy()
        } else {
            Judgement::progressing(condition.words(name))
        };
    }
    Judgement::healthy()
}

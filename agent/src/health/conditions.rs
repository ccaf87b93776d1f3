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
    /// Of Cluster API, and those who learned from it: "Error", "Warning", "Info".
    severity: &'a str,
    observed_generation: Option<i64>,
}

/// Parts of reasons that nobody gives to what is only on its way.
const FAILURES: [&str; 10] = [
    "fail",
    "error",
    "invalid",
    "denied",
    "forbidden",
    "unsupported",
    "rejected",
    "misconfigured",
    "crashloop",
    "exceeded",
];

impl Condition<'_> {
    pub(super) fn is(&self, status: &str) -> bool {
        self.status == status
    }

    /// It is not so, and by its reason it will not be so by waiting.
    pub(super) fn has_failed(&self) -> bool {
        let reason = self.reason.to_ascii_lowercase();
        self.is("False")
            && (self.severity == "Error" || FAILURES.iter().any(|word| reason.contains(word)))
    }

    /// It speaks of an object that was changed since.
    pub(super) fn is_stale(&self, object: &Subject) -> bool {
        match (self.observed_generation, object.metadata.generation) {
            (Some(observed), Some(generation)) => observed < generation,
            _ => false,
        }
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

    /// What the condition `name` says of the object: true is healthy, and
    /// false is a failure only where the reason says so.
    pub(super) fn verdict(&self, name: &str, object: &Subject) -> Judgement {
        if self.is_stale(object) {
            Judgement::progressing(format!("{name} speaks of an older generation"))
        } else if self.is("True") {
            Judgement::healthy()
        } else if self.has_failed() {
            Judgement::degraded(self.words(name))
        } else {
            Judgement::progressing(self.words(name))
        }
    }
}

pub(super) fn find<'a>(status: &'a Value, name: &str) -> Option<Condition<'a>> {
    find_in(list(status, "/conditions"), name)
}

pub(super) fn find_in<'a>(conditions: &'a [Value], name: &str) -> Option<Condition<'a>> {
    conditions
        .iter()
        .find(|c| text(c, "/type") == name)
        .map(|c| Condition {
            status: text(c, "/status"),
            reason: text(c, "/reason"),
            message: text(c, "/message"),
            severity: text(c, "/severity"),
            observed_generation: c.pointer("/observedGeneration").and_then(Value::as_i64),
        })
}

/// The condition `name`, where it is true.
pub(super) fn holds<'a>(object: &'a Subject, name: &str) -> Option<Condition<'a>> {
    find(&object.status, name).filter(|condition| condition.is("True"))
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
    if let Some(stalled) = holds(object, "Stalled") {
        return Some(Judgement::degraded(stalled.words("Stalled")));
    }
    if let Some(busy) = holds(object, "Reconciling") {
        return Some(Judgement::progressing(busy.words("Reconciling")));
    }
    None
}

/// For kinds whose controller always says `name` once it has looked.
pub(super) fn said(object: &Subject, name: &str) -> Judgement {
    match find(&object.status, name) {
        Some(condition) => condition.verdict(name, object),
        None => not_looked(),
    }
}

/// [`said`], for controllers that call a condition Unknown while they work on
/// it, and false only when they cannot go on.
pub(super) fn said_firmly(object: &Subject, name: &str) -> Judgement {
    match find(&object.status, name) {
        Some(condition) if condition.is("False") && !condition.is_stale(object) => {
            Judgement::degraded(condition.words(name))
        }
        Some(condition) => condition.verdict(name, object),
        None => not_looked(),
    }
}

pub(super) fn not_looked() -> Judgement {
    Judgement::progressing("its controller has not looked at it yet")
}

/// What runs once, and then says `done` or Failed.
pub(super) fn run_once(object: &Subject, done: &str) -> Judgement {
    if let Some(failed) = holds(object, "Failed") {
        return Judgement::degraded(failed.words("Failed"));
    }
    match find(&object.status, done) {
        Some(condition) if condition.is("True") => Judgement::healthy(),
        Some(condition) if condition.is("False") && !condition.reason.is_empty() => {
            Judgement::degraded(condition.words(done))
        }
        _ => match holds(object, "Running") {
            Some(running) => Judgement::progressing(running.words("Running")),
            None => Judgement::progressing("has not ended yet"),
        },
    }
}

/// Ready, else Available, and what else is said in words that many use; an
/// object that says nothing of the kind is what it says: there.
pub(super) fn by_conditions(object: &Subject) -> Judgement {
    let status = &object.status;
    for name in ["Failed", "Degraded"] {
        if let Some(condition) = holds(object, name) {
            return Judgement::degraded(condition.words(name));
        }
    }
    for name in ["Suspended", "Paused"] {
        if let Some(condition) = holds(object, name) {
            return Judgement::suspended(condition.words(name));
        }
    }
    // Whether the spec could be brought to wherever it is brought to: of
    // Crossplane, and of operators that write into other systems.
    if let Some(synced) = find(status, "Synced").filter(|c| c.is("False") && !c.is_stale(object)) {
        return if synced.reason == "ReconcilePaused" {
            Judgement::suspended(synced.words("Synced"))
        } else {
            Judgement::degraded(synced.words("Synced"))
        };
    }
    if let Some(failed) = find(status, "LastAsyncOperation").filter(|c| c.is("False")) {
        return Judgement::degraded(failed.words("LastAsyncOperation"));
    }
    for name in ["Ready", "Available"] {
        if let Some(condition) = find(status, name) {
            return condition.verdict(name, object);
        }
    }
    // What runs to an end: Unknown while it runs, false when it has failed.
    for name in ["Succeeded", "Complete", "Completed"] {
        match find(status, name) {
            Some(condition) if condition.is("False") && !condition.reason.is_empty() => {
                return Judgement::degraded(condition.words(name));
            }
            Some(condition) => return condition.verdict(name, object),
            None => {}
        }
    }
    let phase = text(status, "/phase");
    if matches!(phase, "Failed" | "Error") {
        return Judgement::degraded(match text(status, "/message") {
            "" => match text(status, "/reason") {
                "" => format!("its phase is {phase}"),
                reason => format!("{phase}: {reason}"),
            },
            message => format!("{phase}: {message}"),
        });
    }
    Judgement::healthy()
}

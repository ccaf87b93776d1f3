//! Knative and KEDA: what comes and goes with its load.

use super::super::conditions::{find, not_looked, said, said_firmly};
use super::super::{Judgement, Subject, text};
use super::{Rule, paused};

/// Knative says Unknown while it works, and false only when it cannot go on
/// (its specification, "error signalling").
pub(super) fn knative(group: &str, kind: &str) -> Option<Rule> {
    match (group, kind) {
        ("serving.knative.dev", "Revision") => Some(revision),
        // Inside of Knative, and not ready whenever there is no load.
        ("autoscaling.internal.knative.dev" | "caching.internal.knative.dev", _) => {
            Some(|_| Judgement::healthy())
        }
        ("operator.knative.dev", _) => Some(|object| said(object, "Ready")),
        _ => Some(|object| said_firmly(object, "Ready")),
    }
}

/// A revision that nobody routes to is retired, not broken.
fn revision(object: &Subject) -> Judgement {
    let retired = find(&object.status, "Active")
        .is_some_and(|c| c.is("False") && matches!(c.reason, "NoTraffic" | "Inactive"));
    let ready = find(&object.status, "Ready");
    if retired && ready.is_none_or(|c| c.is("True") || c.reason == "NoTraffic") {
        return Judgement::healthy();
    }
    said_firmly(object, "Ready")
}

pub(super) fn keda(kind: &str) -> Option<Rule> {
    matches!(kind, "ScaledObject" | "ScaledJob").then_some(scaled as Rule)
}

fn scaled(object: &Subject) -> Judgement {
    if let Some(paused) = paused(object) {
        return paused;
    }
    match find(&object.status, "Fallback").filter(|c| c.is("True")) {
        Some(condition) => Judgement::degraded(condition.words("Fallback")),
        None if text(&object.status, "/scaleTargetKind").is_empty()
            && find(&object.status, "Ready").is_none() =>
        {
            not_looked()
        }
        None => said_firmly(object, "Ready"),
    }
}

//! A table of cases for every rule, with its corners.

use serde_json::{Value, json};

use super::Status::{self, Degraded, Healthy, Missing, Progressing, Suspended, Unknown};
use super::{Subject, judge, severity, worst};

mod anything;
mod builtin;
mod cases;
mod workloads;

/// "group/Kind", what happens, the object, the word, a part of the message.
type Case = (&'static str, &'static str, Value, Status, &'static str);

fn check(cases: Vec<Case>) {
    for (kind, story, object, health, message) in cases {
        let (group, kind) = kind.split_once('/').unwrap_or(("", kind));
        let subject: Subject = serde_json::from_value(object).unwrap();
        let judged = judge(group, kind, &subject);
        assert_eq!(judged.health, health, "{kind}: {story}: {judged:?}");
        assert!(
            judged.message.contains(message),
            "{kind}: {story}: {:?} should contain {message:?}",
            judged.message
        );
        assert_eq!(
            judged.message.is_empty(),
            health == Healthy,
            "{kind}: {story}: a reason stands with everything but Healthy"
        );
    }
}

fn condition(name: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": name, "status": status, "reason": reason, "message": message})
}

#[test]
fn anything_else_by_conditions() {
    let k = "example.com/Widget";
    check(vec![
        (k, "no status at all", json!({"spec": {}}), Healthy, ""),
        (
            k,
            "conditions nobody knows",
            json!({"status": {"conditions": [condition("Shiny", "False", "", "")]}}),
            Healthy,
            "",
        ),
        (
            k,
            "ready",
            json!({"status": {"conditions": [condition("Ready", "True", "", "")]}}),
            Healthy,
            "",
        ),
        (
            k,
            "not ready",
            json!({"status": {"conditions": [condition("Ready", "False", "Issuing", "please wait")]}}),
            Progressing,
            "Issuing: please wait",
        ),
        (
            k,
            "ready unknown",
            json!({"status": {"conditions": [condition("Ready", "Unknown", "", "")]}}),
            Progressing,
            "Ready is Unknown",
        ),
        (
            k,
            "ready, but of an older generation",
            json!({"metadata": {"generation": 3}, "status": {"conditions": [
                {"type": "Ready", "status": "True", "observedGeneration": 2}]}}),
            Progressing,
            "older generation",
        ),
        (
            k,
            "available only",
            json!({"status": {"conditions": [condition("Available", "False", "", "starting")]}}),
            Progressing,
            "starting",
        ),
        (
            k,
            "ready outranks available",
            json!({"status": {"conditions": [condition("Available", "False", "", ""), condition("Ready", "True", "", "")]}}),
            Healthy,
            "",
        ),
        (
            k,
            "stalled outranks ready",
            json!({"status": {"conditions": [condition("Ready", "True", "", ""), condition("Stalled", "True", "Quota", "")]}}),
            Degraded,
            "Quota",
        ),
        (
            k,
            "reconciling",
            json!({"status": {"conditions": [condition("Reconciling", "True", "", "step 2")]}}),
            Progressing,
            "step 2",
        ),
        (
            k,
            "not observed",
            json!({"metadata": {"generation": 2}, "status": {"observedGeneration": 1, "conditions": [condition("Ready", "True", "", "")]}}),
            Progressing,
            "generation 1 of 2",
        ),
        (
            k,
            "conditions of a strange shape",
            json!({"status": {"conditions": {"Ready": true}}}),
            Healthy,
            "",
        ),
        (
            k,
            "a status that is text",
            json!({"status": "fine"}),
            Healthy,
            "",
        ),
    ]);
}

#[test]
fn the_worst_wins_and_unknown_is_never_healthy() {
    assert_eq!(worst([]), Healthy);
    assert_eq!(worst([Healthy, Suspended]), Suspended);
    assert_eq!(worst([Healthy, Unknown, Suspended]), Unknown);
    assert_eq!(worst([Unknown, Progressing]), Progressing);
    assert_eq!(worst([Progressing, Missing, Healthy]), Missing);
    assert_eq!(worst([Missing, Degraded, Unknown]), Degraded);
    let order = [Healthy, Suspended, Unknown, Progressing, Missing, Degraded];
    assert!(order.is_sorted_by_key(|health| severity(*health)));
}

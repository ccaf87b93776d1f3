//! Prometheus Operator: what it runs says Available and Reconciled; what it
//! only reads says, since 0.86 or so, who has accepted it.

use super::super::conditions::{Condition, find, find_in, not_looked};
use super::super::{Judgement, Subject, flag, list, text};
use super::Rule;

pub(super) fn rule(kind: &str) -> Option<Rule> {
    Some(match kind {
        "Prometheus" | "PrometheusAgent" | "Alertmanager" | "ThanosRuler" => server,
        "ServiceMonitor" | "PodMonitor" | "Probe" | "PrometheusRule" | "ScrapeConfig"
        | "AlertmanagerConfig" => setting,
        _ => return None,
    })
}

fn server(object: &Subject) -> Judgement {
    if flag(&object.spec, "/paused") {
        return Judgement::suspended("is paused (spec.paused)");
    }
    let Some(available) = find(&object.status, "Available") else {
        return not_looked();
    };
    let reconciled = find(&object.status, "Reconciled");
    let stale = |condition: &Condition<'_>| condition.is_stale(object);
    if stale(&available) || reconciled.as_ref().is_some_and(stale) {
        return Judgement::progressing("its conditions speak of an older generation");
    }
    match reconciled {
        Some(condition) if condition.is("False") => {
            return Judgement::degraded(condition.words("Reconciled"));
        }
        Some(condition) if !condition.is("True") => {
            return Judgement::progressing(condition.words("Reconciled"));
        }
        _ => {}
    }
    // "Degraded" is a status there: some of the pods are not ready.
    available.verdict("Available", object)
}

fn setting(object: &Subject) -> Judgement {
    for binding in list(&object.status, "/bindings") {
        let accepted = find_in(list(binding, "/conditions"), "Accepted");
        if let Some(refused) = accepted.filter(|c| c.is("False") && !c.is_stale(object)) {
            let (kind, name) = (text(binding, "/resource"), text(binding, "/name"));
            let words = refused.words("Accepted");
            return Judgement::degraded(format!("{kind} {name}: {words}"));
        }
    }
    Judgement::healthy()
}

//! Cluster API: clusters and their machines, by the conditions of v1beta2
//! where they stand, else by those of v1beta1 with their severities.

use serde_json::Value;

use super::super::conditions::{Condition, find, find_in, not_looked};
use super::super::{Judgement, Subject, int, list, text};
use super::{Rule, paused};

pub(super) fn is_group(group: &str) -> bool {
    group == "cluster.x-k8s.io" || group.ends_with(".cluster.x-k8s.io")
}

pub(super) fn rule(kind: &str) -> Option<Rule> {
    Some(match kind {
        "Cluster" | "Machine" | "MachinePool" => one,
        "MachineDeployment" | "MachineSet" | "KubeadmControlPlane" => many,
        "MachineHealthCheck" => check,
        _ if kind.ends_with("Template") || kind == "ClusterClass" || kind.ends_with("Identity") => {
            return None;
        }
        _ => provided,
    })
}

/// v1beta1 objects of newer controllers carry the new conditions aside.
fn modern<'a>(object: &'a Subject, name: &str) -> Option<Condition<'a>> {
    let aside = list(&object.status, "/v1beta2/conditions");
    find_in(aside, name).or_else(|| {
        // Nothing but the new API has these; Ready and Available mean the same
        // in both, but for the severity, which is kept.
        find(&object.status, name)
    })
}

/// What has failed for good, or is left alone on purpose.
fn stopped(object: &Subject) -> Option<Judgement> {
    if let Some(paused) = paused(object) {
        return Some(paused);
    }
    if let Some(condition) = modern(object, "Paused").filter(|c| c.is("True")) {
        return Some(Judgement::suspended(condition.words("Paused")));
    }
    for root in ["", "/deprecated/v1beta1"] {
        let part = |name: &str| text(&object.status, &format!("{root}/{name}"));
        let (reason, message) = (part("failureReason"), part("failureMessage"));
        if !reason.is_empty() || !message.is_empty() {
            let words = [reason, message]
                .into_iter()
                .filter(|part| !part.is_empty());
            return Some(Judgement::degraded(words.collect::<Vec<_>>().join(": ")));
        }
    }
    if text(&object.status, "/phase") == "Failed" {
        return Some(Judgement::degraded("its phase is Failed"));
    }
    None
}

/// Work that is going on while the old still serves.
fn busy(object: &Subject) -> Option<Judgement> {
    ["RollingOut", "Remediating", "ScalingUp", "ScalingDown"]
        .into_iter()
        .find_map(|name| {
            let condition = modern(object, name).filter(|c| c.is("True"))?;
            Some(Judgement::progressing(condition.words(name)))
        })
}

fn ready(object: &Subject) -> Option<Judgement> {
    ["Available", "Ready"].into_iter().find_map(|name| {
        let condition = modern(object, name)?;
        Some(condition.verdict(name, object))
    })
}

fn one(object: &Subject) -> Judgement {
    stopped(object)
        .or_else(|| busy(object))
        .or_else(|| ready(object))
        .unwrap_or_else(|| match text(&object.status, "/phase") {
            "Provisioned" | "Running" => Judgement::healthy(),
            "" => not_looked(),
            phase => Judgement::progressing(format!("it is {phase}")),
        })
}

/// Sets of machines: conditions, and counts beside them.
fn many(object: &Subject) -> Judgement {
    if let Some(judged) = stopped(object).or_else(|| busy(object)) {
        return judged;
    }
    match ready(object) {
        Some(judged) if judged != Judgement::healthy() => return judged,
        None if object.status.get("replicas").is_none() => return not_looked(),
        _ => {}
    }
    let wanted = int(&object.spec, "/replicas", 1);
    let count = |name: &str| object.status.get(name).and_then(Value::as_i64);
    for (name, word) in [
        ("replicas", "created"),
        ("updatedReplicas", "updated"),
        ("upToDateReplicas", "updated"),
        ("readyReplicas", "ready"),
    ] {
        // A count that is missing is zero, but each version has its own.
        let optional = matches!(name, "updatedReplicas" | "upToDateReplicas");
        let count = match count(name) {
            None if optional => continue,
            count => count.unwrap_or(0),
        };
        if count < wanted {
            return Judgement::progressing(format!("{count} of {wanted} machines {word}"));
        }
    }
    match count("replicas") {
        Some(there) if there > wanted => Judgement::progressing(format!(
            "{} machines still to go",
            there.saturating_sub(wanted)
        )),
        _ => Judgement::healthy(),
    }
}

fn check(object: &Subject) -> Judgement {
    if let Some(paused) = paused(object) {
        return paused;
    }
    match modern(object, "RemediationAllowed").filter(|c| c.is("False")) {
        Some(condition) => Judgement::degraded(condition.words("RemediationAllowed")),
        None => Judgement::healthy(),
    }
}

/// What providers of infrastructure, bootstrap and control planes bring: they
/// promise `Ready`, or say `status.ready` and `status.initialization`.
fn provided(object: &Subject) -> Judgement {
    if let Some(judged) = stopped(object).or_else(|| ready(object)) {
        return judged;
    }
    let said = object
        .status
        .get("ready")
        .or_else(|| object.status.pointer("/initialization/provisioned"))
        .and_then(Value::as_bool);
    match said {
        Some(true) => Judgement::healthy(),
        Some(false) => Judgement::progressing("not ready yet"),
        None => not_looked(),
    }
}

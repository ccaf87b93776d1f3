//! Strimzi: Ready, or NotReady with the reason.

use super::super::conditions::{holds, not_looked, said_firmly};
use super::super::{Judgement, Subject, int};
use super::{Rule, paused};

pub(super) fn rule(kind: &str) -> Option<Rule> {
    Some(match kind {
        "KafkaRebalance" => rebalance,
        "StrimziPodSet" => pod_set,
        "KafkaNodePool" => |_| Judgement::healthy(),
        _ => ready,
    })
}

fn ready(object: &Subject) -> Judgement {
    if let Some(paused) = paused(object) {
        return paused;
    }
    match holds(object, "NotReady") {
        // The first reconciliation, which creates all that belongs to it.
        Some(condition) if condition.reason == "Creating" => {
            Judgement::progressing(condition.words("NotReady"))
        }
        Some(condition) => Judgement::degraded(condition.words("NotReady")),
        None => said_firmly(object, "Ready"),
    }
}

/// Its conditions are the states that it goes through.
fn rebalance(object: &Subject) -> Judgement {
    if let Some(condition) = holds(object, "NotReady") {
        return Judgement::degraded(condition.words("NotReady"));
    }
    if holds(object, "Ready").is_some() {
        return Judgement::healthy();
    }
    for (state, words) in [
        ("ProposalReady", "a proposal waits for its approval"),
        ("Stopped", "the rebalance was stopped"),
    ] {
        if holds(object, state).is_some() {
            return Judgement::suspended(words);
        }
    }
    for state in ["Rebalancing", "PendingProposal", "New"] {
        if let Some(condition) = holds(object, state) {
            return Judgement::progressing(condition.words(state));
        }
    }
    paused(object).unwrap_or_else(|| said_firmly(object, "Ready"))
}

fn pod_set(object: &Subject) -> Judgement {
    let count = |name: &str| int(&object.status, name, 0);
    let pods = count("/pods");
    let (current, ready) = (count("/currentPods"), count("/readyPods"));
    if object.status.get("pods").is_none() {
        not_looked()
    } else if ready < pods {
        Judgement::progressing(format!("{ready} of {pods} pods ready"))
    } else if current < pods {
        Judgement::progressing(format!("{current} of {pods} pods current"))
    } else {
        Judgement::healthy()
    }
}

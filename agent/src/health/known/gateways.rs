//! Gateway API: everything is accepted, or not, by whoever it is attached to.

use serde_json::Value;

use super::super::conditions::{Condition, find, find_in, not_looked};
use super::super::{Judgement, Subject, list, severity, text};
use super::Rule;

/// Reasons of what is only on its way. `Waiting` is of early versions.
const WAITS: [&str; 5] = [
    "Pending",
    "Waiting",
    "NotReconciled",
    "AddressNotAssigned",
    "NoReadyBackend",
];

pub(super) fn rule(kind: &str) -> Option<Rule> {
    Some(match kind {
        "GatewayClass" => class,
        "Gateway" | "ListenerSet" | "XListenerSet" => gateway,
        _ if kind.ends_with("Route") => route,
        _ if kind.ends_with("Policy") => policy,
        _ => return None,
    })
}

/// False is final but for the reasons that say otherwise; unknown is on its way.
fn verdict(name: &str, condition: Option<Condition<'_>>, object: &Subject) -> Judgement {
    let Some(condition) = condition else {
        return not_looked();
    };
    let final_word =
        condition.is("False") && !condition.is_stale(object) && !WAITS.contains(&condition.reason);
    if final_word {
        Judgement::degraded(condition.words(name))
    } else {
        condition.verdict(name, object)
    }
}

fn class(object: &Subject) -> Judgement {
    verdict("Accepted", find(&object.status, "Accepted"), object)
}

fn gateway(object: &Subject) -> Judgement {
    for name in ["Accepted", "Programmed"] {
        let judged = verdict(name, find(&object.status, name), object);
        if judged != Judgement::healthy() {
            return judged;
        }
    }
    for listener in list(&object.status, "/listeners") {
        let conditions = list(listener, "/conditions");
        let of = |judgement: Judgement| Judgement {
            message: format!(
                "listener {}: {}",
                text(listener, "/name"),
                judgement.message
            ),
            ..judgement
        };
        let conflict = find_in(conditions, "Conflicted").filter(|c| c.is("True"));
        if let Some(conflict) = conflict {
            return of(Judgement::degraded(conflict.words("Conflicted")));
        }
        for name in ["Accepted", "ResolvedRefs", "Programmed"] {
            let Some(condition) = find_in(conditions, name) else {
                continue;
            };
            let judged = verdict(name, Some(condition), object);
            if judged != Judgement::healthy() {
                return of(judged);
            }
        }
    }
    Judgement::healthy()
}

/// Every gateway that it names must have accepted it, whichever controller
/// speaks for it.
fn route(object: &Subject) -> Judgement {
    let parents = list(&object.status, "/parents");
    let wanted = list(&object.spec, "/parentRefs");
    if let Some(judged) = worst(parents, "/parentRef/name", object) {
        return judged;
    }
    let missing = wanted.iter().find(|wanted| {
        !parents.iter().any(|parent| {
            let same = |path: &str| {
                let said = parent.pointer(&format!("/parentRef{path}"));
                wanted.pointer(path).is_none_or(|named| said == Some(named))
            };
            ["/name", "/namespace", "/sectionName", "/port"]
                .into_iter()
                .all(same)
        })
    });
    match missing {
        Some(parent) => Judgement::progressing(format!(
            "gateway {} has not taken it yet",
            text(parent, "/name")
        )),
        None => Judgement::healthy(),
    }
}

/// A policy without anything to say about is in nobody's way.
fn policy(object: &Subject) -> Judgement {
    let ancestors = list(&object.status, "/ancestors");
    worst(ancestors, "/ancestorRef/name", object).unwrap_or_else(|| {
        if ancestors.is_empty() {
            not_looked()
        } else {
            Judgement::healthy()
        }
    })
}

/// What the first of `places` says that is not content: failures first.
fn worst(places: &[Value], name: &str, object: &Subject) -> Option<Judgement> {
    let mut found: Option<Judgement> = None;
    for place in places {
        let conditions = list(place, "/conditions");
        let partly = find_in(conditions, "PartiallyInvalid").filter(|c| c.is("True"));
        let judged = partly
            .map(|condition| Judgement::degraded(condition.words("PartiallyInvalid")))
            .into_iter()
            .chain(["Accepted", "ResolvedRefs"].into_iter().filter_map(|name| {
                // Some controllers say nothing of references where there are none.
                let condition = find_in(conditions, name);
                (condition.is_some() || name == "Accepted")
                    .then(|| verdict(name, condition, object))
            }))
            .filter(|judged| *judged != Judgement::healthy())
            .max_by_key(|judged| severity(judged.health));
        let Some(judged) = judged else { continue };
        let judged = Judgement {
            message: format!("{}: {}", text(place, name), judged.message),
            ..judged
        };
        let worse = found
            .as_ref()
            .is_none_or(|found| severity(judged.health) > severity(found.health));
        if worse {
            found = Some(judged);
        }
    }
    found
}

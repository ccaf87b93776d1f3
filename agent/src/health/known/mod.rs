//! Custom resources that half of all clusters have: what their controllers say
//! in their own words. Every rule is tried on statuses as they come from real
//! clusters: `../cases`.
//!
//! A kind that is not listed here is judged by its conditions like any other.

mod certificates;
mod crossplane;
mod delivery;
mod gateways;
mod kafka;
mod machines;
mod monitoring;
mod serving;

use super::conditions::{self, holds};
use super::{Judgement, Subject, flag, text};

type Rule = fn(&Subject) -> Judgement;

/// The rule for a kind that is known by its group.
pub(super) fn rule(group: &str, kind: &str) -> Option<Rule> {
    match group {
        "cert-manager.io" | "acme.cert-manager.io" => certificates::cert_manager(kind),
        "external-secrets.io" => certificates::external_secrets(kind),
        "argoproj.io" => delivery::argo(kind),
        "pkg.crossplane.io" | "apiextensions.crossplane.io" => crossplane::rule(group, kind),
        "gateway.networking.k8s.io" | "gateway.networking.x-k8s.io" => gateways::rule(kind),
        "monitoring.coreos.com" => monitoring::rule(kind),
        "kafka.strimzi.io" | "core.strimzi.io" => kafka::rule(kind),
        "keda.sh" => serving::keda(kind),
        _ if group.ends_with(".fluxcd.io") => Some(delivery::flux),
        _ if group.ends_with(".knative.dev") => serving::knative(group, kind),
        _ if machines::is_group(group) => machines::rule(kind),
        _ => None,
    }
}

/// `status.phase`, which says it all: the first of `good` and `bad` that it is
/// a word of.
fn by_phase(object: &Subject, path: &str, good: &[&str], bad: &[&str]) -> Judgement {
    let phase = text(&object.status, path);
    if good.contains(&phase) {
        return Judgement::healthy();
    }
    let why = ["/message", "/reason"].map(|path| text(&object.status, path));
    let why = why.into_iter().find(|why| !why.is_empty());
    let words = match (phase, why) {
        ("", _) => return conditions::not_looked(),
        (phase, Some(why)) => format!("{phase}: {why}"),
        (phase, None) => format!("it is {phase}"),
    };
    if bad.contains(&phase) {
        Judgement::degraded(words)
    } else {
        Judgement::progressing(words)
    }
}

/// Its controller was told to leave it alone.
fn paused(object: &Subject) -> Option<Judgement> {
    for field in ["/paused", "/suspend"] {
        if flag(&object.spec, field) {
            let field = field.trim_start_matches('/');
            return Some(Judgement::suspended(format!("is paused (spec.{field})")));
        }
    }
    if let Some(annotation) = object.metadata.annotations.paused() {
        return Some(Judgement::suspended(format!(
            "is paused (annotation {annotation})"
        )));
    }
    ["Paused", "ReconciliationPaused"]
        .into_iter()
        .find_map(|name| holds(object, name).map(|c| Judgement::suspended(c.words(name))))
}

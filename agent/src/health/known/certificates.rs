//! cert-manager and External Secrets: what brings keys and secrets.

use super::super::conditions::{find, holds, said, said_firmly};
use super::super::{Judgement, Subject, text};
use super::{Rule, by_phase};

pub(super) fn cert_manager(kind: &str) -> Option<Rule> {
    Some(match kind {
        "Certificate" => certificate,
        "CertificateRequest" => request,
        "Issuer" | "ClusterIssuer" => issuer,
        "Order" | "Challenge" => acme,
        _ => return None,
    })
}

/// An attempt that failed leaves `Issuing` false, and is repeated after an
/// hour; until then nothing is on its way.
fn certificate(object: &Subject) -> Judgement {
    let ready = said(object, "Ready");
    let expired = find(&object.status, "Ready").filter(|c| c.is("False") && c.reason == "Expired");
    let failed = find(&object.status, "Issuing").filter(|c| c.is("False") && c.reason == "Failed");
    match (expired.or(failed), holds(object, "Issuing")) {
        (Some(why), None) if ready != Judgement::healthy() => {
            Judgement::degraded(why.words("Issuing"))
        }
        // Renewed while the old one still serves.
        (_, Some(issuing)) if ready != Judgement::healthy() => {
            Judgement::progressing(issuing.words("Issuing"))
        }
        _ => ready,
    }
}

fn request(object: &Subject) -> Judgement {
    for name in ["Denied", "InvalidRequest"] {
        if let Some(condition) = holds(object, name) {
            return Judgement::degraded(condition.words(name));
        }
    }
    match find(&object.status, "Ready") {
        None if holds(object, "Approved").is_none() => {
            Judgement::progressing("the request is not approved yet")
        }
        _ => said(object, "Ready"),
    }
}

/// Reasons of issuers that cannot begin say "Err…".
fn issuer(object: &Subject) -> Judgement {
    let refused = find(&object.status, "Ready")
        .filter(|c| c.is("False") && c.reason.starts_with("Err") && !c.is_stale(object));
    match refused {
        Some(condition) => Judgement::degraded(condition.words("Ready")),
        None => said(object, "Ready"),
    }
}

/// RFC 8555, section 7.1.6; ready is for us to act on, not the end.
fn acme(object: &Subject) -> Judgement {
    if object.status.get("state").is_none() && !text(&object.status, "/reason").is_empty() {
        return Judgement::progressing(text(&object.status, "/reason"));
    }
    by_phase(
        object,
        "/state",
        &["valid"],
        &["invalid", "expired", "errored"],
    )
}

pub(super) fn external_secrets(kind: &str) -> Option<Rule> {
    Some(match kind {
        "ExternalSecret"
        | "ClusterExternalSecret"
        | "PushSecret"
        | "ClusterPushSecret"
        | "SecretStore"
        | "ClusterSecretStore" => |object| said_firmly(object, "Ready"),
        _ => return None,
    })
}

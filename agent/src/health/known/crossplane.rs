//! Crossplane's own kinds. What it manages has any group, and is judged by the
//! conditions Synced and Ready wherever they stand, see
//! [`super::super::conditions::by_conditions`].

use super::super::conditions::{find, said};
use super::super::{Judgement, Subject, text};
use super::Rule;

pub(super) fn rule(group: &str, kind: &str) -> Option<Rule> {
    Some(match (group, kind) {
        ("pkg.crossplane.io", "Provider" | "Configuration" | "Function") => package,
        (
            "pkg.crossplane.io",
            "ProviderRevision" | "ConfigurationRevision" | "FunctionRevision",
        ) => revision,
        ("apiextensions.crossplane.io", "CompositeResourceDefinition") => definition,
        _ => return None,
    })
}

/// Installed, then Healthy. Right after it is made, both are only on their way.
fn package(object: &Subject) -> Judgement {
    let installed = said(object, "Installed");
    if installed != Judgement::healthy() {
        return installed;
    }
    healthy(object, "Healthy")
}

fn revision(object: &Subject) -> Judgement {
    if text(&object.spec, "/desiredState") == "Inactive" {
        return Judgement::healthy();
    }
    // Of Crossplane 2; before it there was one condition for both.
    for name in ["RevisionHealthy", "RuntimeHealthy"] {
        if find(&object.status, name).is_some() {
            let judged = healthy(object, name);
            if judged != Judgement::healthy() {
                return judged;
            }
        }
    }
    match find(&object.status, "RevisionHealthy") {
        Some(_) => Judgement::healthy(),
        None => healthy(object, "Healthy"),
    }
}

fn healthy(object: &Subject, name: &str) -> Judgement {
    match find(&object.status, name) {
        Some(condition) if condition.is("False") && condition.reason.starts_with("Unhealthy") => {
            Judgement::degraded(condition.words(name))
        }
        _ => said(object, name),
    }
}

/// Offered only where it defines a claim.
fn definition(object: &Subject) -> Judgement {
    let established = said(object, "Established");
    let claims = object.spec.get("claimNames").is_some();
    if established == Judgement::healthy() && claims {
        return said(object, "Offered");
    }
    established
}

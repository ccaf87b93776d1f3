//! Rules for the built-in kinds that run nothing themselves.

use serde_json::Value;

use super::conditions::{find, holds, not_looked};
use super::{Class, Judgement, Status, Subject, flag, int, list, text};

pub(super) fn service(object: &Subject) -> Judgement {
    if let Some(refused) = holds(object, "LoadBalancerPortsError") {
        return Judgement::degraded(refused.words("LoadBalancerPortsError"));
    }
    let waits = text(&object.spec, "/type") == "LoadBalancer"
        && list(&object.status, "/loadBalancer/ingress").is_empty();
    if waits {
        Judgement::progressing("waits for an address of its load balancer")
    } else {
        Judgement::healthy()
    }
}

pub(super) fn volume_claim(object: &Subject) -> Judgement {
    let (spec, status) = (&object.spec, &object.status);
    match text(status, "/phase") {
        "Bound" => return resized(status),
        "Lost" => {
            return Judgement::degraded(format!(
                "its volume {} is lost",
                text(spec, "/volumeName")
            ));
        }
        _ => {}
    }
    if let Some(node) = &object.metadata.annotations.selected_node {
        return Judgement::progressing(format!("waits for a volume on node {node}"));
    }
    match (text(spec, "/volumeName"), object.class) {
        ("", Class::WaitForFirstConsumer) => {
            Judgement::new(Status::Healthy, "waits for its first consumer")
        }
        ("", Class::Missing) => Judgement::progressing(match storage_class(object) {
            None => "names no storage class, and the cluster has no default one".to_owned(),
            Some(class) => format!("there is no storage class {class}"),
        }),
        ("", _) => Judgement::progressing("not bound to a volume yet"),
        (volume, _) => Judgement::progressing(format!("not bound to volume {volume} yet")),
    }
}

/// What became of a wish for more room, or for another class of attributes.
fn resized(status: &Value) -> Judgement {
    let refused = status
        .pointer("/allocatedResourceStatuses/storage")
        .and_then(Value::as_str)
        .filter(|state| state.ends_with("Infeasible"));
    if let Some(state) = refused {
        return Judgement::degraded(format!("its volume cannot be resized: {state}"));
    }
    if text(status, "/modifyVolumeStatus/status") == "Infeasible" {
        let class = text(
            status,
            "/modifyVolumeStatus/targetVolumeAttributesClassName",
        );
        return Judgement::degraded(format!(
            "its volume cannot take the attributes of class {class}"
        ));
    }
    Judgement::healthy()
}

/// The class that a claim names; none where it leaves that to the cluster.
pub(super) fn storage_class(object: &Subject) -> Option<&str> {
    let annotated = object.metadata.annotations.storage_class.as_deref();
    annotated.or_else(|| object.spec.pointer("/storageClassName")?.as_str())
}

pub(super) fn volume(object: &Subject) -> Judgement {
    match text(&object.status, "/phase") {
        "Failed" => match text(&object.status, "/message") {
            "" => Judgement::degraded("its reclamation failed"),
            message => Judgement::degraded(message),
        },
        "Pending" => Judgement::progressing("not available yet"),
        _ => Judgement::healthy(),
    }
}

pub(super) fn namespace(object: &Subject) -> Judgement {
    if text(&object.status, "/phase") == "Terminating" {
        Judgement::progressing("is being deleted")
    } else {
        Judgement::healthy()
    }
}

pub(super) fn disruption_budget(object: &Subject) -> Judgement {
    if let Some(c) = find(&object.status, "DisruptionAllowed").filter(|c| c.reason == "SyncFailed")
    {
        return Judgement::degraded(c.words("DisruptionAllowed"));
    }
    let looked = object.status.get("observedGeneration").is_some();
    if looked || object.metadata.generation.is_none() {
        Judgement::healthy()
    } else {
        Judgement::progressing("allowed disruptions are not computed yet")
    }
}

pub(super) fn autoscaler(object: &Subject) -> Judgement {
    let status = &object.status;
    if let Some(c) = find(status, "AbleToScale").filter(|c| c.is("False")) {
        return Judgement::degraded(c.words("AbleToScale"));
    }
    match find(status, "ScalingActive") {
        Some(c) if c.is("False") && c.reason == "ScalingDisabled" => {
            Judgement::suspended(c.words("ScalingActive"))
        }
        // Pods that have just begun have no metrics yet; if it lasts, that is
        // what the timeout is for.
        Some(c) if c.is("False") && c.reason.starts_with("FailedGet") => {
            Judgement::progressing(c.words("ScalingActive"))
        }
        Some(c) if c.is("False") => Judgement::degraded(c.words("ScalingActive")),
        Some(_) => Judgement::healthy(),
        // autoscaling/v1 has no conditions in its status; what it has is the count.
        None if int(status, "/currentReplicas", -1) >= 0 => Judgement::healthy(),
        None => not_looked(),
    }
}

pub(super) fn definition(object: &Subject) -> Judgement {
    let status = &object.status;
    if let Some(c) = find(status, "NamesAccepted").filter(|c| c.is("False")) {
        return Judgement::degraded(c.words("NamesAccepted"));
    }
    if let Some(going) = holds(object, "Terminating") {
        return Judgement::progressing(going.words("Terminating"));
    }
    match find(status, "Established") {
        Some(c) if c.is("True") => Judgement::healthy(),
        Some(c) if c.is("False") && c.reason != "Installing" => {
            Judgement::degraded(c.words("Established"))
        }
        _ => Judgement::progressing("not established yet"),
    }
}

pub(super) fn api_service(object: &Subject) -> Judgement {
    match find(&object.status, "Available") {
        Some(c) if c.is("True") => Judgement::healthy(),
        Some(c) => Judgement::progressing(c.words("Available")),
        None => Judgement::progressing("not Available yet"),
    }
}

pub(super) fn signing_request(object: &Subject) -> Judgement {
    for name in ["Denied", "Failed"] {
        if let Some(c) = find(&object.status, name).filter(|c| c.is("True")) {
            return Judgement::degraded(c.words(name));
        }
    }
    if text(&object.status, "/certificate").is_empty() {
        Judgement::progressing(match holds(object, "Approved") {
            Some(_) => "no certificate is issued yet",
            None => "the request is not approved yet",
        })
    } else {
        Judgement::healthy()
    }
}

pub(super) fn flow_schema(object: &Subject) -> Judgement {
    match find(&object.status, "Dangling").filter(|c| c.is("True")) {
        Some(c) => Judgement::degraded(c.words("Dangling")),
        None => Judgement::healthy(),
    }
}

pub(super) fn pod_certificate(object: &Subject) -> Judgement {
    for name in ["Denied", "Failed"] {
        if let Some(c) = holds(object, name) {
            return Judgement::degraded(c.words(name));
        }
    }
    match holds(object, "Issued") {
        Some(_) => Judgement::healthy(),
        None => Judgement::progressing("no certificate is issued yet"),
    }
}

pub(super) fn volume_attachment(object: &Subject) -> Judgement {
    for path in ["/attachError/message", "/detachError/message"] {
        let error = text(&object.status, path);
        if !error.is_empty() {
            return Judgement::degraded(error);
        }
    }
    if flag(&object.status, "/attached") {
        Judgement::healthy()
    } else {
        Judgement::progressing("not attached yet")
    }
}

pub(super) fn device_taint(object: &Subject) -> Judgement {
    match holds(object, "EvictionInProgress") {
        Some(c) => Judgement::progressing(c.words("EvictionInProgress")),
        None => Judgement::healthy(),
    }
}

pub(super) fn pod_group(object: &Subject) -> Judgement {
    if let Some(c) = holds(object, "DisruptionTarget") {
        return Judgement::degraded(c.words("DisruptionTarget"));
    }
    match find(&object.status, "PodGroupScheduled") {
        Some(c) if c.reason == "SchedulerError" => {
            Judgement::degraded(c.words("PodGroupScheduled"))
        }
        Some(c) => c.verdict("PodGroupScheduled", object),
        None => Judgement::progressing("not scheduled yet"),
    }
}

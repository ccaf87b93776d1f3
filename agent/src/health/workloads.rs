//! Rules for what runs: the kinds of `apps`, Pods, Jobs.

use serde_json::Value;

use super::conditions::find;
use super::{Judgement, Subject, flag, int, list, text};

/// `progressDeadlineSeconds` of a Deployment that asks for no deadline.
const NO_DEADLINE: i64 = i32::MAX as i64;

/// Why a container that waits will not start by waiting.
const STUCK: &[&str] = &[
    "CrashLoopBackOff",
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
];

pub(super) fn deployment(object: &Subject) -> Judgement {
    let (spec, status) = (&object.spec, &object.status);
    if flag(spec, "/paused") {
        return Judgement::suspended("the rollout is paused (spec.paused)");
    }
    let progressing = find(status, "Progressing");
    if let Some(late) = progressing.filter(|c| c.reason == "ProgressDeadlineExceeded") {
        return Judgement::degraded(late.words("Progressing"));
    }
    if let Some(refused) = find(status, "ReplicaFailure").filter(|c| c.is("True")) {
        return Judgement::degraded(refused.words("ReplicaFailure"));
    }
    let wanted = int(spec, "/replicas", 1);
    let replicas = int(status, "/replicas", 0);
    let updated = int(status, "/updatedReplicas", 0);
    let available = int(status, "/availableReplicas", 0);
    let ready = int(status, "/readyReplicas", 0);
    let waits =
        if status.get("observedGeneration").is_none() && object.metadata.generation.is_some() {
            Some("its controller has not looked at it yet".to_owned())
        } else if replicas < wanted {
            Some(format!("{replicas} of {wanted} replicas created"))
        } else if updated < wanted {
            Some(format!("{updated} of {wanted} replicas updated"))
        } else if replicas > updated {
            Some(format!(
                "{} old replicas still run",
                replicas.saturating_sub(updated)
            ))
        } else if available < updated {
            Some(format!("{available} of {updated} replicas available"))
        } else if ready < wanted {
            Some(format!("{ready} of {wanted} replicas ready"))
        } else {
            None
        };
    if let Some(message) = waits {
        return Judgement::progressing(message);
    }
    let deadline = int(spec, "/progressDeadlineSeconds", NO_DEADLINE) != NO_DEADLINE;
    if deadline && progressing.is_some_and(|c| c.reason != "NewReplicaSetAvailable") {
        return Judgement::progressing("the new ReplicaSet is not available yet");
    }
    match find(status, "Available") {
        Some(c) if c.is("True") => Judgement::healthy(),
        Some(c) => Judgement::progressing(c.words("Available")),
        None if wanted == 0 => Judgement::healthy(),
        None => Judgement::progressing("not Available yet"),
    }
}

pub(super) fn stateful_set(object: &Subject) -> Judgement {
    let (spec, status) = (&object.spec, &object.status);
    if text(spec, "/updateStrategy/type") == "OnDelete" {
        return Judgement::healthy();
    }
    let wanted = int(spec, "/replicas", 1);
    let replicas = int(status, "/replicas", 0);
    let ready = int(status, "/readyReplicas", 0);
    let current = int(status, "/currentReplicas", 0);
    let updated = int(status, "/updatedReplicas", 0);
    if status.get("observedGeneration").is_none() && object.metadata.generation.is_some() {
        return Judgement::progressing("its controller has not looked at it yet");
    }
    if replicas < wanted {
        return Judgement::progressing(format!("{replicas} of {wanted} replicas created"));
    }
    if ready < wanted {
        return Judgement::progressing(format!("{ready} of {wanted} replicas ready"));
    }
    if replicas > wanted {
        return Judgement::progressing(format!(
            "{} replicas still to go",
            replicas.saturating_sub(wanted)
        ));
    }
    let available = int(status, "/availableReplicas", ready);
    if int(spec, "/minReadySeconds", 0) > 0 && available < wanted {
        return Judgement::progressing(format!("{available} of {wanted} replicas available"));
    }
    let partition = int(spec, "/updateStrategy/rollingUpdate/partition", 0);
    if partition > 0 {
        let due = wanted.saturating_sub(partition).max(0);
        return if updated < due {
            Judgement::progressing(format!(
                "{updated} of {due} replicas above partition {partition} updated"
            ))
        } else {
            Judgement::healthy()
        };
    }
    let revision = text(status, "/updateRevision");
    if !revision.is_empty() && revision != text(status, "/currentRevision") {
        return Judgement::progressing(format!("{updated} of {wanted} replicas updated"));
    }
    if current < wanted && !revision.is_empty() {
        return Judgement::progressing(format!("{current} of {wanted} replicas current"));
    }
    Judgement::healthy()
}

pub(super) fn daemon_set(object: &Subject) -> Judgement {
    let (spec, status) = (&object.spec, &object.status);
    if status.get("observedGeneration").is_none() {
        return Judgement::progressing("its controller has not looked at it yet");
    }
    let wanted = int(status, "/desiredNumberScheduled", 0);
    let current = int(status, "/currentNumberScheduled", 0);
    let updated = int(status, "/updatedNumberScheduled", 0);
    let available = int(status, "/numberAvailable", 0);
    let ready = int(status, "/numberReady", 0);
    let by_hand = text(spec, "/updateStrategy/type") == "OnDelete";
    if current < wanted {
        Judgement::progressing(format!("{current} of {wanted} nodes scheduled"))
    } else if updated < wanted && !by_hand {
        Judgement::progressing(format!("{updated} of {wanted} pods updated"))
    } else if available < wanted {
        Judgement::progressing(format!("{available} of {wanted} pods available"))
    } else if ready < wanted {
        Judgement::progressing(format!("{ready} of {wanted} pods ready"))
    } else {
        Judgement::healthy()
    }
}

pub(super) fn replica_set(object: &Subject) -> Judgement {
    let (spec, status) = (&object.spec, &object.status);
    if let Some(refused) = find(status, "ReplicaFailure").filter(|c| c.is("True")) {
        return Judgement::degraded(refused.words("ReplicaFailure"));
    }
    let wanted = int(spec, "/replicas", 1);
    let replicas = int(status, "/replicas", 0);
    let labelled = int(status, "/fullyLabeledReplicas", replicas);
    let available = int(status, "/availableReplicas", 0);
    let ready = int(status, "/readyReplicas", 0);
    if replicas < wanted {
        Judgement::progressing(format!("{replicas} of {wanted} replicas created"))
    } else if replicas > wanted {
        Judgement::progressing(format!(
            "{} replicas still to go",
            replicas.saturating_sub(wanted)
        ))
    } else if labelled < wanted {
        Judgement::progressing(format!("{labelled} of {wanted} replicas labelled"))
    } else if available < wanted {
        Judgement::progressing(format!("{available} of {wanted} replicas available"))
    } else if ready < wanted {
        Judgement::progressing(format!("{ready} of {wanted} replicas ready"))
    } else {
        Judgement::healthy()
    }
}

pub(super) fn pod(object: &Subject) -> Judgement {
    let status = &object.status;
    match text(status, "/phase") {
        "Succeeded" => return Judgement::healthy(),
        "Failed" => {
            let words = [text(status, "/reason"), text(status, "/message")];
            let words: Vec<_> = words.into_iter().filter(|w| !w.is_empty()).collect();
            return Judgement::degraded(if words.is_empty() {
                "the pod failed".to_owned()
            } else {
                words.join(": ")
            });
        }
        "Unknown" => {
            return Judgement::new(
                super::Status::Unknown,
                "the node that runs the pod does not answer",
            );
        }
        _ => {}
    }
    if let Some(stuck) = stuck_container(status) {
        return Judgement::degraded(stuck);
    }
    if let Some(c) = find(status, "PodScheduled").filter(|c| c.is("False")) {
        return Judgement::progressing(c.words("PodScheduled"));
    }
    if let Some(judged) = resizing(status) {
        return judged;
    }
    match find(status, "Ready") {
        Some(c) if c.is("True") || c.reason == "PodCompleted" => Judgement::healthy(),
        Some(c) if text(status, "/phase") == "Running" => Judgement::progressing(c.words("Ready")),
        _ => Judgement::progressing("the pod is starting"),
    }
}

/// A resize in place (KEP-1287) that is under way, or that its node cannot do.
fn resizing(status: &Value) -> Option<Judgement> {
    if let Some(pending) = find(status, "PodResizePending").filter(|c| c.is("True")) {
        let words = pending.words("PodResizePending");
        return Some(if pending.reason == "Infeasible" {
            Judgement::degraded(words)
        } else {
            Judgement::progressing(words)
        });
    }
    let busy = find(status, "PodResizeInProgress").filter(|c| c.is("True"))?;
    let words = busy.words("PodResizeInProgress");
    Some(if busy.reason == "Error" {
        Judgement::degraded(words)
    } else {
        Judgement::progressing(words)
    })
}

/// "container NAME: reason: message" of the first container that is stuck.
fn stuck_container(status: &Value) -> Option<String> {
    ["/initContainerStatuses", "/containerStatuses"]
        .into_iter()
        .flat_map(|path| list(status, path))
        .find_map(|container| {
            let reason = text(container, "/state/waiting/reason");
            STUCK.contains(&reason).then(|| {
                let name = text(container, "/name");
                match text(container, "/state/waiting/message") {
                    "" => format!("container {name}: {reason}"),
                    message => format!("container {name}: {reason}: {message}"),
                }
            })
        })
}

pub(super) fn job(object: &Subject) -> Judgement {
    let (spec, status) = (&object.spec, &object.status);
    if let Some(failed) = find(status, "Failed").filter(|c| c.is("True")) {
        return Judgement::degraded(failed.words("Failed"));
    }
    if find(status, "Complete").is_some_and(|c| c.is("True")) {
        return Judgement::healthy();
    }
    // Decided; its pods are still being ended.
    if let Some(failing) = find(status, "FailureTarget").filter(|c| c.is("True")) {
        return Judgement::degraded(failing.words("FailureTarget"));
    }
    let suspended = find(status, "Suspended").is_some_and(|c| c.is("True"));
    if suspended || flag(spec, "/suspend") {
        return Judgement::suspended("the job is suspended (spec.suspend)");
    }
    if text(status, "/startTime").is_empty() {
        return Judgement::progressing("the job has not started");
    }
    let done = int(status, "/succeeded", 0);
    let active = int(status, "/active", 0);
    let failed = int(status, "/failed", 0);
    let wanted = int(spec, "/completions", int(spec, "/parallelism", 1));
    Judgement::progressing(format!(
        "{done} of {wanted} completed, {active} running, {failed} failed"
    ))
}

pub(super) fn cron_job(object: &Subject) -> Judgement {
    if flag(&object.spec, "/suspend") {
        Judgement::suspended("the schedule is suspended (spec.suspend)")
    } else {
        Judgement::healthy()
    }
}

//! How well an object is, judged from its own JSON and nothing else.
//!
//! In comes an object's metadata, spec and status; out goes one of the design's
//! words and, for anything but Healthy, the reason. The rules are kstatus's
//! (sigs.k8s.io/cli-utils, pkg/kstatus) with departures that people expect: a
//! running Job is Progressing until it completes, whatever is paused or
//! suspended on purpose says Suspended, a Pod that failed or cannot start its
//! containers is Degraded at once, and so is a condition that is false for a
//! reason that names a failure. A claim that waits for its first consumer is
//! Healthy. Nothing here asks a cluster or a clock.

mod builtin;
mod conditions;
mod known;
mod overdue;
mod rules;
#[cfg(test)]
mod tests;
mod workloads;

use lockstep_proto::v1::health::Status;
use serde::Deserialize;
use serde_json::Value;

pub use overdue::{overdue, overdue_at};
pub use rules::Rules;

/// What is read of an object to judge it. Everything else of it is skipped
/// while parsing, so that a watch of many large objects stays cheap.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Subject {
    pub metadata: Metadata,
    pub spec: Value,
    pub status: Value,
    /// Of a claim: what is known of its class. Not part of the object.
    #[serde(skip)]
    pub class: Class,
}

/// How the StorageClass of a PersistentVolumeClaim binds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    #[default]
    Unknown,
    /// There is none of that name.
    Missing,
    Immediate,
    WaitForFirstConsumer,
}

/// The part of an object's metadata that health depends on.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    pub generation: Option<i64>,
    pub deletion_timestamp: Option<String>,
    pub finalizers: Vec<String>,
    pub annotations: Annotations,
}

/// The annotations that health depends on.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Annotations {
    /// A pod that uses the claim has been given a node.
    #[serde(rename = "volume.kubernetes.io/selected-node")]
    pub selected_node: Option<String>,
    /// The name of a claim's class before `spec.storageClassName`.
    #[serde(rename = "volume.beta.kubernetes.io/storage-class")]
    pub storage_class: Option<String>,
    /// Whatever it says, it counts.
    #[serde(rename = "cluster.x-k8s.io/paused")]
    machines_paused: Option<String>,
    #[serde(rename = "strimzi.io/pause-reconciliation")]
    kafka_paused: Option<String>,
    #[serde(rename = "autoscaling.keda.sh/paused")]
    scaling_paused: Option<String>,
}

impl Annotations {
    /// The annotation that tells a controller to leave the object alone.
    fn paused(&self) -> Option<&'static str> {
        let says = |said: &Option<String>| said.as_deref() == Some("true");
        if self.machines_paused.is_some() {
            Some("cluster.x-k8s.io/paused")
        } else if says(&self.kafka_paused) {
            Some("strimzi.io/pause-reconciliation")
        } else if says(&self.scaling_paused) {
            Some("autoscaling.keda.sh/paused")
        } else {
            None
        }
    }
}

/// A word and the reason for it; Healthy needs none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    pub health: Status,
    pub message: String,
    /// It has run to its end, well or badly: a Job, or a Pod.
    pub ended: bool,
}

impl Judgement {
    #[must_use]
    pub fn healthy() -> Self {
        Self::new(Status::Healthy, "")
    }

    fn new(health: Status, message: impl Into<String>) -> Self {
        Self {
            health,
            message: message.into(),
            ended: false,
        }
    }

    fn progressing(message: impl Into<String>) -> Self {
        Self::new(Status::Progressing, message)
    }

    fn degraded(message: impl Into<String>) -> Self {
        Self::new(Status::Degraded, message)
    }

    fn suspended(message: impl Into<String>) -> Self {
        Self::new(Status::Suspended, message)
    }
}

/// Of a claim that is not bound yet, the name of the class that says whether
/// that is as it should be: `Some(None)` is the cluster's default. None where
/// the class does not matter.
#[must_use]
pub fn waits_for_class(group: &str, kind: &str, object: &Subject) -> Option<Option<String>> {
    let pending = (group, kind) == ("", "PersistentVolumeClaim")
        && !matches!(text(&object.status, "/phase"), "Bound" | "Lost")
        && text(&object.spec, "/volumeName").is_empty()
        && object.metadata.annotations.selected_node.is_none()
        && object.metadata.deletion_timestamp.is_none();
    match builtin::storage_class(object) {
        // It waits for a volume that somebody makes by hand.
        Some("") => None,
        class => pending.then(|| class.map(str::to_owned)),
    }
}

/// Judges one object of `kind` in API group `group` (empty for the core group).
#[must_use]
pub fn judge(group: &str, kind: &str, object: &Subject) -> Judgement {
    if object.metadata.deletion_timestamp.is_some() {
        return Judgement::progressing(deleting(group, kind, object));
    }
    if let Some(early) = conditions::before_rules(object) {
        return early;
    }
    let rule = match (group, kind) {
        ("apps", "Deployment") => workloads::deployment,
        ("apps", "StatefulSet") => workloads::stateful_set,
        ("apps", "DaemonSet") => workloads::daemon_set,
        ("apps", "ReplicaSet") | ("", "ReplicationController") => workloads::replica_set,
        ("", "Pod") => workloads::pod,
        ("batch", "Job") => workloads::job,
        ("batch", "CronJob") => workloads::cron_job,
        ("", "Service") => builtin::service,
        ("", "PersistentVolumeClaim") => builtin::volume_claim,
        ("", "PersistentVolume") => builtin::volume,
        ("", "Namespace") => builtin::namespace,
        ("policy", "PodDisruptionBudget") => builtin::disruption_budget,
        ("autoscaling", "HorizontalPodAutoscaler") => builtin::autoscaler,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => builtin::definition,
        ("apiregistration.k8s.io", "APIService") => builtin::api_service,
        ("certificates.k8s.io", "CertificateSigningRequest") => builtin::signing_request,
        ("flowcontrol.apiserver.k8s.io", "FlowSchema" | "PriorityLevelConfiguration") => {
            builtin::flow_schema
        }
        ("certificates.k8s.io", "PodCertificateRequest") => builtin::pod_certificate,
        ("storage.k8s.io", "VolumeAttachment") => builtin::volume_attachment,
        ("storagemigration.k8s.io", "StorageVersionMigration") => {
            |object: &Subject| conditions::run_once(object, "Succeeded")
        }
        ("resource.k8s.io", "ResourcePoolStatusRequest") => {
            |object: &Subject| conditions::run_once(object, "Complete")
        }
        ("resource.k8s.io", "DeviceTaintRule") => builtin::device_taint,
        ("scheduling.k8s.io", "PodGroup") => builtin::pod_group,
        // kstatus calls an Ingress current as soon as it exists: many
        // controllers never publish an address.
        ("networking.k8s.io", "Ingress" | "NetworkPolicy") => |_: &Subject| Judgement::healthy(),
        _ => known::rule(group, kind).unwrap_or(conditions::by_conditions),
    };
    let mut judgement = rule(object);
    judgement.ended = has_ended(group, kind, &object.status);
    judgement
}

/// A Job that completed or failed, a Pod that did.
fn has_ended(group: &str, kind: &str, status: &Value) -> bool {
    match (group, kind) {
        ("", "Pod") => matches!(text(status, "/phase"), "Succeeded" | "Failed"),
        ("batch", "Job") => ["Complete", "Failed"].into_iter().any(|name| {
            conditions::find(status, name).is_some_and(|condition| condition.is("True"))
        }),
        _ => false,
    }
}

/// The worst of many, by the design's order. Unknown is worse than Suspended
/// and Healthy (nobody may call the whole healthy while a part is not known)
/// and better than what is known to be wrong. Healthy where there are none.
#[must_use]
pub fn worst(all: impl IntoIterator<Item = Status>) -> Status {
    all.into_iter()
        .max_by_key(|health| severity(*health))
        .unwrap_or(Status::Healthy)
}

/// Grows with how bad it is.
#[must_use]
pub fn severity(health: Status) -> u8 {
    match health {
        Status::Healthy => 0,
        Status::Suspended => 1,
        Status::Unknown | Status::Unspecified => 2,
        Status::Progressing => 3,
        Status::Missing => 4,
        Status::Degraded => 5,
    }
}

/// What the namespace controller says of what keeps it.
const NAMESPACE_HANGS: [&str; 5] = [
    "NamespaceDeletionDiscoveryFailure",
    "NamespaceDeletionGroupVersionParsingFailure",
    "NamespaceDeletionContentFailure",
    "NamespaceContentRemaining",
    "NamespaceFinalizersRemaining",
];

fn deleting(group: &str, kind: &str, object: &Subject) -> String {
    let mut message = "is being deleted".to_owned();
    if !object.metadata.finalizers.is_empty() {
        message.push_str("; waits for finalizers ");
        message.push_str(&object.metadata.finalizers.join(", "));
    }
    if (group, kind) == ("", "Namespace") {
        let remaining: Vec<&str> = NAMESPACE_HANGS
            .into_iter()
            .filter_map(|name| conditions::find(&object.status, name))
            .filter(|condition| condition.status == "True" && !condition.message.is_empty())
            .map(|condition| condition.message)
            .collect();
        if !remaining.is_empty() {
            message.push_str(": ");
            message.push_str(&remaining.join("; "));
        }
    }
    message
}

/// `path` in `value` as a whole number; `or` where it is missing.
fn int(value: &Value, path: &str, or: i64) -> i64 {
    value.pointer(path).and_then(Value::as_i64).unwrap_or(or)
}

/// `path` in `value` as text; empty where it is missing.
fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or("")
}

/// `path` in `value` as a flag; false where it is missing.
fn flag(value: &Value, path: &str) -> bool {
    value.pointer(path).and_then(Value::as_bool) == Some(true)
}

/// `path` in `value` as a list; empty where it is missing.
fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    value
        .pointer(path)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

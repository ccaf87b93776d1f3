//! A table of cases for every rule, with its corners.

use serde_json::{Value, json};

use super::Status::{self, Degraded, Healthy, Missing, Progressing, Suspended, Unknown};
use super::{Subject, judge, severity, worst};

/// "group/Kind", what happens, the object, the word, a part of the message.
type Case = (&'static str, &'static str, Value, Status, &'static str);

fn check(cases: Vec<Case>) {
    for (kind, story, object, health, message) in cases {
        let (group, kind) = kind.split_once('/').unwrap_or(("", kind));
        let subject: Subject = serde_json::from_value(object).unwrap();
        let judged = judge(group, kind, &subject);
        assert_eq!(judged.health, health, "{kind}: {story}: {judged:?}");
        assert!(
            judged.message.contains(message),
            "{kind}: {story}: {:?} should contain {message:?}",
            judged.message
        );
        assert_eq!(
            judged.message.is_empty(),
            health == Healthy,
            "{kind}: {story}: a reason stands with everything but Healthy"
        );
    }
}

fn condition(name: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": name, "status": status, "reason": reason, "message": message})
}

fn deployment(spec: Value, status: Value) -> Value {
    let mut object = json!({"metadata": {"generation": 2}});
    object["spec"] = spec;
    object["status"] = status;
    object
}

#[test]
fn deployments() {
    let rolled = json!({
        "observedGeneration": 2, "replicas": 3, "updatedReplicas": 3,
        "availableReplicas": 3, "readyReplicas": 3,
        "conditions": [
            condition("Available", "True", "MinimumReplicasAvailable", ""),
            condition("Progressing", "True", "NewReplicaSetAvailable", ""),
        ]
    });
    let with = |change: Value| {
        let mut status = rolled.clone();
        for (key, value) in change.as_object().unwrap() {
            status[key] = value.clone();
        }
        status
    };
    let spec = || json!({"replicas": 3, "progressDeadlineSeconds": 600});
    let d = "apps/Deployment";
    check(vec![
        (
            d,
            "rolled out",
            deployment(spec(), rolled.clone()),
            Healthy,
            "",
        ),
        (
            d,
            "no status",
            deployment(spec(), json!({})),
            Progressing,
            "not looked",
        ),
        (
            d,
            "status of an older generation",
            deployment(spec(), with(json!({"observedGeneration": 1}))),
            Progressing,
            "generation 1 of 2",
        ),
        (
            d,
            "too few",
            deployment(spec(), with(json!({"replicas": 1}))),
            Progressing,
            "1 of 3 replicas created",
        ),
        (
            d,
            "half updated",
            deployment(spec(), with(json!({"updatedReplicas": 1}))),
            Progressing,
            "1 of 3 replicas updated",
        ),
        (
            d,
            "old ones left",
            deployment(spec(), with(json!({"replicas": 4}))),
            Progressing,
            "1 old replicas",
        ),
        (
            d,
            "not available",
            deployment(spec(), with(json!({"availableReplicas": 2}))),
            Progressing,
            "2 of 3 replicas available",
        ),
        (
            d,
            "not ready",
            deployment(spec(), with(json!({"readyReplicas": 2}))),
            Progressing,
            "2 of 3 replicas ready",
        ),
        (
            d,
            "stalled rollout",
            deployment(
                spec(),
                with(
                    json!({"conditions": [condition("Progressing", "False", "ProgressDeadlineExceeded", "timed out")]}),
                ),
            ),
            Degraded,
            "ProgressDeadlineExceeded: timed out",
        ),
        (
            d,
            "quota refuses its pods",
            deployment(
                spec(),
                with(
                    json!({"replicas": 0, "conditions": [condition("ReplicaFailure", "True", "FailedCreate", "exceeded quota")]}),
                ),
            ),
            Degraded,
            "exceeded quota",
        ),
        (
            d,
            "paused",
            deployment(json!({"replicas": 3, "paused": true}), rolled.clone()),
            Suspended,
            "paused",
        ),
        (
            d,
            "scaled to zero",
            deployment(json!({"replicas": 0}), json!({"observedGeneration": 2})),
            Healthy,
            "",
        ),
        (
            d,
            "replicas default to one",
            deployment(json!({}), json!({"observedGeneration": 2})),
            Progressing,
            "0 of 1",
        ),
        (
            d,
            "being deleted",
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["foregroundDeletion"]}, "status": rolled}),
            Progressing,
            "waits for finalizers foregroundDeletion",
        ),
    ]);
}

#[test]
fn stateful_sets() {
    let k = "apps/StatefulSet";
    let o = |spec: Value, status: Value| json!({"metadata": {"generation": 1}, "spec": spec, "status": status});
    let done = json!({"observedGeneration": 1, "replicas": 3, "readyReplicas": 3, "currentReplicas": 3,
        "updatedReplicas": 3, "currentRevision": "a", "updateRevision": "a"});
    let mid = json!({"observedGeneration": 1, "replicas": 3, "readyReplicas": 3, "currentReplicas": 2,
        "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "b"});
    let partition =
        |n: i64| json!({"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": n}}});
    check(vec![
        (
            k,
            "done",
            o(json!({"replicas": 3}), done.clone()),
            Healthy,
            "",
        ),
        (
            k,
            "no status",
            o(json!({"replicas": 3}), json!({})),
            Progressing,
            "not looked",
        ),
        (
            k,
            "creating",
            o(
                json!({"replicas": 3}),
                json!({"observedGeneration": 1, "replicas": 1}),
            ),
            Progressing,
            "1 of 3 replicas created",
        ),
        (
            k,
            "starting",
            o(
                json!({"replicas": 3}),
                json!({"observedGeneration": 1, "replicas": 3, "readyReplicas": 1}),
            ),
            Progressing,
            "1 of 3 replicas ready",
        ),
        (
            k,
            "rolling",
            o(json!({"replicas": 3}), mid.clone()),
            Progressing,
            "1 of 3 replicas updated",
        ),
        (
            k,
            "partition reached",
            o(partition(2), mid.clone()),
            Healthy,
            "",
        ),
        (
            k,
            "partition not reached",
            o(partition(1), mid.clone()),
            Progressing,
            "1 of 2 replicas above partition 1",
        ),
        (
            k,
            "by hand",
            o(
                json!({"replicas": 3, "updateStrategy": {"type": "OnDelete"}}),
                mid,
            ),
            Healthy,
            "",
        ),
        (
            k,
            "scaling down",
            o(json!({"replicas": 1}), done),
            Progressing,
            "2 replicas still to go",
        ),
    ]);
}

#[test]
fn daemon_sets_and_replica_sets() {
    let d = "apps/DaemonSet";
    let o = |spec: Value, status: Value| json!({"metadata": {"generation": 1}, "spec": spec, "status": status});
    let full = json!({"observedGeneration": 1, "desiredNumberScheduled": 2, "currentNumberScheduled": 2,
        "updatedNumberScheduled": 2, "numberAvailable": 2, "numberReady": 2});
    let with = |key: &str, n: i64| {
        let mut status = full.clone();
        status[key] = json!(n);
        status
    };
    check(vec![
        (d, "done", o(json!({}), full.clone()), Healthy, ""),
        (
            d,
            "no status",
            o(json!({}), json!({})),
            Progressing,
            "not looked",
        ),
        (
            d,
            "no node",
            o(json!({}), json!({"observedGeneration": 1})),
            Healthy,
            "",
        ),
        (
            d,
            "scheduling",
            o(json!({}), with("currentNumberScheduled", 1)),
            Progressing,
            "1 of 2 nodes",
        ),
        (
            d,
            "rolling",
            o(json!({}), with("updatedNumberScheduled", 1)),
            Progressing,
            "1 of 2 pods updated",
        ),
        (
            d,
            "rolled by hand",
            o(
                json!({"updateStrategy": {"type": "OnDelete"}}),
                with("updatedNumberScheduled", 1),
            ),
            Healthy,
            "",
        ),
        (
            d,
            "not available",
            o(json!({}), with("numberAvailable", 0)),
            Progressing,
            "0 of 2 pods available",
        ),
        (
            d,
            "not ready",
            o(json!({}), with("numberReady", 1)),
            Progressing,
            "1 of 2 pods ready",
        ),
    ]);
    let r = "apps/ReplicaSet";
    check(vec![
        (
            r,
            "done",
            json!({"spec": {"replicas": 1}, "status": {"replicas": 1, "availableReplicas": 1, "readyReplicas": 1}}),
            Healthy,
            "",
        ),
        (
            r,
            "starting",
            json!({"spec": {"replicas": 1}, "status": {"replicas": 1}}),
            Progressing,
            "available",
        ),
        (
            r,
            "too many",
            json!({"spec": {"replicas": 0}, "status": {"replicas": 1}}),
            Progressing,
            "still to go",
        ),
        (
            "ReplicationController",
            "refused",
            json!({"status": {"conditions": [condition("ReplicaFailure", "True", "FailedCreate", "forbidden")]}}),
            Degraded,
            "forbidden",
        ),
    ]);
}

#[test]
fn pods() {
    let p = "Pod";
    let waiting = |reason: &str| {
        json!({"status": {"phase": "Pending", "containerStatuses": [
        {"name": "app", "state": {"waiting": {"reason": reason, "message": "back-off"}}}]}})
    };
    check(vec![
        (
            p,
            "runs",
            json!({"status": {"phase": "Running", "conditions": [condition("Ready", "True", "", "")]}}),
            Healthy,
            "",
        ),
        (
            p,
            "ran",
            json!({"status": {"phase": "Succeeded"}}),
            Healthy,
            "",
        ),
        (
            p,
            "failed",
            json!({"status": {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}}),
            Degraded,
            "Evicted: low on memory",
        ),
        (
            p,
            "failed without words",
            json!({"status": {"phase": "Failed"}}),
            Degraded,
            "failed",
        ),
        (p, "new", json!({}), Progressing, "starting"),
        (
            p,
            "cannot pull",
            waiting("ImagePullBackOff"),
            Degraded,
            "container app: ImagePullBackOff: back-off",
        ),
        (
            p,
            "crashes",
            waiting("CrashLoopBackOff"),
            Degraded,
            "CrashLoopBackOff",
        ),
        (
            p,
            "is created",
            waiting("ContainerCreating"),
            Progressing,
            "starting",
        ),
        (
            p,
            "no node",
            json!({"status": {"phase": "Pending", "conditions": [condition("PodScheduled", "False", "Unschedulable", "0/3 nodes")]}}),
            Progressing,
            "0/3 nodes",
        ),
        (
            p,
            "not ready",
            json!({"status": {"phase": "Running", "conditions": [condition("Ready", "False", "ContainersNotReady", "")]}}),
            Progressing,
            "ContainersNotReady",
        ),
        (
            p,
            "node lost",
            json!({"status": {"phase": "Unknown"}}),
            Unknown,
            "node",
        ),
    ]);
}

#[test]
fn jobs() {
    let j = "batch/Job";
    check(vec![
        (
            j,
            "complete",
            json!({"status": {"conditions": [condition("Complete", "True", "", "")]}}),
            Healthy,
            "",
        ),
        (
            j,
            "failed",
            json!({"status": {"conditions": [condition("Failed", "True", "BackoffLimitExceeded", "")]}}),
            Degraded,
            "BackoffLimitExceeded",
        ),
        (
            j,
            "suspended",
            json!({"spec": {"suspend": true}, "status": {"conditions": [condition("Suspended", "True", "JobSuspended", "")]}}),
            Suspended,
            "suspended",
        ),
        (
            j,
            "suspended before its controller looked",
            json!({"spec": {"suspend": true}}),
            Suspended,
            "suspended",
        ),
        (
            j,
            "resumed",
            json!({"status": {"startTime": "t", "conditions": [condition("Suspended", "False", "JobResumed", "")]}}),
            Progressing,
            "0 of 1",
        ),
        (j, "not started", json!({}), Progressing, "not started"),
        (
            j,
            "runs",
            json!({"spec": {"completions": 4}, "status": {"startTime": "t", "succeeded": 1, "active": 2, "failed": 1}}),
            Progressing,
            "1 of 4 completed, 2 running, 1 failed",
        ),
        (
            "batch/CronJob",
            "scheduled",
            json!({"spec": {}}),
            Healthy,
            "",
        ),
        (
            "batch/CronJob",
            "suspended",
            json!({"spec": {"suspend": true}}),
            Suspended,
            "suspended",
        ),
    ]);
}

#[test]
fn built_in_kinds_that_run_nothing() {
    check(vec![
        ("ConfigMap", "is there", json!({"data": {}}), Healthy, ""),
        (
            "Service",
            "inside",
            json!({"spec": {"type": "ClusterIP"}}),
            Healthy,
            "",
        ),
        (
            "Service",
            "pending balancer",
            json!({"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {}}}),
            Progressing,
            "load balancer",
        ),
        (
            "Service",
            "balanced",
            json!({"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}}),
            Healthy,
            "",
        ),
        (
            "PersistentVolumeClaim",
            "bound",
            json!({"status": {"phase": "Bound"}}),
            Healthy,
            "",
        ),
        (
            "PersistentVolumeClaim",
            "pending",
            json!({"status": {"phase": "Pending"}}),
            Progressing,
            "not bound",
        ),
        (
            "PersistentVolumeClaim",
            "lost",
            json!({"spec": {"volumeName": "pv-1"}, "status": {"phase": "Lost"}}),
            Degraded,
            "pv-1",
        ),
        (
            "PersistentVolume",
            "free",
            json!({"status": {"phase": "Available"}}),
            Healthy,
            "",
        ),
        (
            "PersistentVolume",
            "failed",
            json!({"status": {"phase": "Failed", "message": "no"}}),
            Degraded,
            "no",
        ),
        (
            "Namespace",
            "active",
            json!({"status": {"phase": "Active"}}),
            Healthy,
            "",
        ),
        (
            "Namespace",
            "hangs",
            json!({"metadata": {"deletionTimestamp": "t"}, "status": {"phase": "Terminating", "conditions": [
                    condition("NamespaceContentRemaining", "True", "SomeResourcesRemain", "pods. has 2 resource instances")]}}),
            Progressing,
            "pods. has 2 resource instances",
        ),
        (
            "policy/PodDisruptionBudget",
            "computed",
            json!({"metadata": {"generation": 1}, "status": {"observedGeneration": 1}}),
            Healthy,
            "",
        ),
        (
            "policy/PodDisruptionBudget",
            "new",
            json!({"metadata": {"generation": 1}, "status": {}}),
            Progressing,
            "not computed",
        ),
        (
            "policy/PodDisruptionBudget",
            "failing",
            json!({"status": {"conditions": [condition("DisruptionAllowed", "False", "SyncFailed", "no scale")]}}),
            Degraded,
            "no scale",
        ),
        (
            "autoscaling/HorizontalPodAutoscaler",
            "scales",
            json!({"status": {"conditions": [condition("AbleToScale", "True", "", ""), condition("ScalingActive", "True", "", "")]}}),
            Healthy,
            "",
        ),
        (
            "autoscaling/HorizontalPodAutoscaler",
            "no metrics",
            json!({"status": {"conditions": [condition("ScalingActive", "False", "FailedGetResourceMetric", "no metrics")]}}),
            Degraded,
            "no metrics",
        ),
        (
            "autoscaling/HorizontalPodAutoscaler",
            "target scaled to zero",
            json!({"status": {"conditions": [condition("ScalingActive", "False", "ScalingDisabled", "zero")]}}),
            Suspended,
            "zero",
        ),
        (
            "autoscaling/HorizontalPodAutoscaler",
            "new",
            json!({}),
            Progressing,
            "not looked",
        ),
        (
            "networking.k8s.io/Ingress",
            "no address",
            json!({"status": {"loadBalancer": {}}}),
            Healthy,
            "",
        ),
        (
            "apiextensions.k8s.io/CustomResourceDefinition",
            "established",
            json!({"status": {"conditions": [condition("NamesAccepted", "True", "", ""), condition("Established", "True", "", "")]}}),
            Healthy,
            "",
        ),
        (
            "apiextensions.k8s.io/CustomResourceDefinition",
            "new",
            json!({}),
            Progressing,
            "not established",
        ),
        (
            "apiextensions.k8s.io/CustomResourceDefinition",
            "installing",
            json!({"status": {"conditions": [condition("Established", "False", "Installing", "")]}}),
            Progressing,
            "not established",
        ),
        (
            "apiextensions.k8s.io/CustomResourceDefinition",
            "names taken",
            json!({"status": {"conditions": [condition("NamesAccepted", "False", "ListKindConflict", "in use")]}}),
            Degraded,
            "in use",
        ),
        (
            "apiregistration.k8s.io/APIService",
            "no backend",
            json!({"status": {"conditions": [condition("Available", "False", "MissingEndpoints", "no endpoints")]}}),
            Progressing,
            "no endpoints",
        ),
        (
            "apiregistration.k8s.io/APIService",
            "serves",
            json!({"status": {"conditions": [condition("Available", "True", "Passed", "")]}}),
            Healthy,
            "",
        ),
        (
            "certificates.k8s.io/CertificateSigningRequest",
            "denied",
            json!({"status": {"conditions": [condition("Denied", "True", "No", "policy")]}}),
            Degraded,
            "policy",
        ),
        (
            "flowcontrol.apiserver.k8s.io/FlowSchema",
            "dangling",
            json!({"status": {"conditions": [condition("Dangling", "True", "NotFound", "no such level")]}}),
            Degraded,
            "no such level",
        ),
    ]);
}

#[test]
fn anything_else_by_conditions() {
    let k = "example.com/Widget";
    check(vec![
        (k, "no status at all", json!({"spec": {}}), Healthy, ""),
        (
            k,
            "conditions nobody knows",
            json!({"status": {"conditions": [condition("Shiny", "False", "", "")]}}),
            Healthy,
            "",
        ),
        (
            k,
            "ready",
            json!({"status": {"conditions": [condition("Ready", "True", "", "")]}}),
            Healthy,
            "",
        ),
        (
            k,
            "not ready",
            json!({"status": {"conditions": [condition("Ready", "False", "Issuing", "please wait")]}}),
            Progressing,
            "Issuing: please wait",
        ),
        (
            k,
            "ready unknown",
            json!({"status": {"conditions": [condition("Ready", "Unknown", "", "")]}}),
            Progressing,
            "Ready is Unknown",
        ),
        (
            k,
            "ready, but of an older generation",
            json!({"metadata": {"generation": 3}, "status": {"conditions": [
                {"type": "Ready", "status": "True", "observedGeneration": 2}]}}),
            Progressing,
            "older generation",
        ),
        (
            k,
            "available only",
            json!({"status": {"conditions": [condition("Available", "False", "", "starting")]}}),
            Progressing,
            "starting",
        ),
        (
            k,
            "ready outranks available",
            json!({"status": {"conditions": [condition("Available", "False", "", ""), condition("Ready", "True", "", "")]}}),
            Healthy,
            "",
        ),
        (
            k,
            "stalled outranks ready",
            json!({"status": {"conditions": [condition("Ready", "True", "", ""), condition("Stalled", "True", "Quota", "")]}}),
            Degraded,
            "Quota",
        ),
        (
            k,
            "reconciling",
            json!({"status": {"conditions": [condition("Reconciling", "True", "", "step 2")]}}),
            Progressing,
            "step 2",
        ),
        (
            k,
            "not observed",
            json!({"metadata": {"generation": 2}, "status": {"observedGeneration": 1, "conditions": [condition("Ready", "True", "", "")]}}),
            Progressing,
            "generation 1 of 2",
        ),
        (
            k,
            "conditions of a strange shape",
            json!({"status": {"conditions": {"Ready": true}}}),
            Healthy,
            "",
        ),
        (
            k,
            "a status that is text",
            json!({"status": "fine"}),
            Healthy,
            "",
        ),
    ]);
}

#[test]
fn the_worst_wins_and_unknown_is_never_healthy() {
    assert_eq!(worst([]), Healthy);
    assert_eq!(worst([Healthy, Suspended]), Suspended);
    assert_eq!(worst([Healthy, Unknown, Suspended]), Unknown);
    assert_eq!(worst([Unknown, Progressing]), Progressing);
    assert_eq!(worst([Progressing, Missing, Healthy]), Missing);
    assert_eq!(worst([Missing, Degraded, Unknown]), Degraded);
    let order = [Healthy, Suspended, Unknown, Progressing, Missing, Degraded];
    assert!(order.is_sorted_by_key(|health| severity(*health)));
}

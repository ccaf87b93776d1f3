//! What runs, with the corners of each rule.

use serde_json::{Value, json};

use super::{Degraded, Healthy, Progressing, Suspended, Unknown, check, condition};

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

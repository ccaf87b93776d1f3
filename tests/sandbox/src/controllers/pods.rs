//! ReplicaSets and pods, for sandboxes that have them: as many as asked for, of the newest
//! template, ready after a while. No schedule, no image, no restart.

use serde_json::{Value, json};

use super::status::{set_condition, write_status};
use super::{as_controller, target_of};
use crate::machinery::{Deletion, PatchFormat, State, Target};
use crate::sandbox::SandboxOptions;
use crate::store::ObjectId;

/// How deployments and their sets count templates.
const REVISION: &str = "deployment.kubernetes.io/revision";

/// A short name for a template; the same template has the same.
pub(super) fn template_hash(template: &Value) -> String {
    // FNV-1a: stable across processes, and nobody attacks it here.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in template.to_string().bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    crate::rules::generated_name("", hash) + &crate::rules::generated_name("", hash >> 32)
}

/// Makes what a workload owns match it.
pub(super) fn match_pods(state: &mut State, target: &Target, object: &Value) {
    match &*target.resource.key {
        "deployments.apps" => replica_sets(state, object),
        "replicasets.apps" => pods(
            state,
            target,
            object,
            object["spec"]["replicas"].as_i64().unwrap_or(1),
            "ReplicaSet",
        ),
        "statefulsets.apps" => pods(
            state,
            target,
            object,
            object["spec"]["replicas"].as_i64().unwrap_or(1),
            "StatefulSet",
        ),
        "daemonsets.apps" => pods(state, target, object, 1, "DaemonSet"),
        "jobs.batch" if object["spec"]["suspend"] != true => {
            pods(
                state,
                target,
                object,
                object["spec"]["parallelism"].as_i64().unwrap_or(1),
                "Job",
            );
        }
        _ => {}
    }
}

fn owner(object: &Value, kind: &str) -> Value {
    json!([{
        "apiVersion": object["apiVersion"], "kind": kind, "name": object["metadata"]["name"], "uid": object["metadata"]["uid"],
        "controller": true, "blockOwnerDeletion": true,
    }])
}

fn replica_sets(state: &mut State, deployment: &Value) {
    let word = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let (namespace, name) = (
        word(&deployment["metadata"]["namespace"]),
        word(&deployment["metadata"]["name"]),
    );
    let hash = template_hash(&deployment["spec"]["template"]);
    let current = ObjectId::new(&namespace, &format!("{name}-{hash}"));
    let wanted = deployment["spec"]["replicas"].clone();
    let uid = word(&deployment["metadata"]["uid"]);
    let mut sets: Vec<(i64, ObjectId)> = state
        .store
        .dependents(&uid)
        .into_iter()
        .filter(|(table, _)| &**table == "replicasets.apps")
        .map(|(table, id)| (revision_of(state, &table, &id), id))
        .collect();
    sets.sort();
    let newest = sets.last().map_or(0, |(revision, _)| *revision);
    let there = sets.iter().any(|(_, id)| *id == current);
    // The newest template has the newest revision, also when it is one from before.
    let is_newest = sets.last().is_some_and(|(_, id)| *id == current);
    let revision = if is_newest { newest } else { newest + 1 };
    let keep = usize::try_from(
        deployment["spec"]["revisionHistoryLimit"]
            .as_i64()
            .unwrap_or(10),
    )
    .unwrap_or(0);
    let old: Vec<&ObjectId> = sets
        .iter()
        .map(|(_, id)| id)
        .filter(|id| **id != current)
        .collect();
    for (at, id) in old.iter().enumerate() {
        let Some(target) = target_of(state, "replicasets.apps", id) else {
            continue;
        };
        if at + keep < old.len() {
            let _ = state.delete(&target, &Deletion::default());
        } else {
            let _ = state.patch(
                &target,
                PatchFormat::Merge,
                &json!({"spec": {"replicas": 0}}),
                &as_controller(),
            );
        }
    }
    let annotations = json!({REVISION: revision.to_string()});
    if let Some(target) = target_of(state, "deployments.apps", &ObjectId::new(&namespace, &name)) {
        let patch = json!({"metadata": {"annotations": annotations}});
        let _ = state.patch(&target, PatchFormat::Merge, &patch, &as_controller());
    }
    if there {
        if let Some(target) = target_of(state, "replicasets.apps", &current) {
            let patch =
                json!({"metadata": {"annotations": annotations}, "spec": {"replicas": wanted}});
            let _ = state.patch(&target, PatchFormat::Merge, &patch, &as_controller());
        }
        return;
    }
    let Some(mut target) = target_of(state, "replicasets.apps", &current) else {
        return;
    };
    target.name = String::new();
    let mut template = deployment["spec"]["template"].clone();
    template["metadata"]["labels"]["pod-template-hash"] = hash.clone().into();
    let mut selector = deployment["spec"]["selector"].clone();
    selector["matchLabels"]["pod-template-hash"] = hash.into();
    let set = json!({
        "metadata": {
            "name": *current.name, "namespace": namespace, "labels": template["metadata"]["labels"],
            "annotations": annotations, "ownerReferences": owner(deployment, "Deployment"),
        },
        "spec": {"replicas": wanted, "selector": selector, "template": template},
    });
    if let Err(status) = state.create(&target, set, &as_controller()) {
        tracing::debug!(status.message, "no ReplicaSet for a Deployment");
    }
}

fn revision_of(state: &State, table: &str, id: &ObjectId) -> i64 {
    let Some(set) = state.store.get(table, id) else {
        return 0;
    };
    let annotation = &set.metadata()["annotations"][REVISION];
    annotation
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

fn pods(state: &mut State, target: &Target, object: &Value, wanted: i64, kind: &str) {
    let uid = object["metadata"]["uid"].as_str().unwrap_or("").to_owned();
    let finished = object["status"]["completionTime"].is_string();
    let mut mine: Vec<ObjectId> = state
        .store
        .dependents(&uid)
        .into_iter()
        .filter(|(table, _)| &**table == "pods")
        .map(|(_, id)| id)
        .collect();
    let hash = template_hash(&object["spec"]["template"]);
    // A pod of an older template goes; ReplicaSets have but one.
    if kind == "StatefulSet" || kind == "DaemonSet" {
        mine.retain(|id| {
            let old = state.store.get("pods", id).is_some_and(|pod| {
                pod.labels
                    .get("controller-revision-hash")
                    .is_none_or(|other| **other != *hash)
            });
            if old {
                remove(state, id);
            }
            !old
        });
    }
    let wanted = usize::try_from(wanted).unwrap_or(0);
    while mine.len() > wanted {
        if let Some(id) = mine.pop() {
            remove(state, &id);
        }
    }
    if finished {
        return;
    }
    for number in 0..wanted {
        if mine.len() >= wanted {
            break;
        }
        let base = &target.name;
        let name = match kind {
            "StatefulSet" => format!("{base}-{number}"),
            _ => crate::rules::generated_name(
                &format!("{base}-"),
                u64::from_le_bytes(crate::machinery::random()),
            ),
        };
        let id = ObjectId::new(&target.namespace, &name);
        if mine.contains(&id) {
            continue;
        }
        let mut metadata = object["spec"]["template"]["metadata"].clone();
        if !metadata.is_object() {
            metadata = json!({});
        }
        metadata["name"] = name.into();
        metadata["namespace"] = target.namespace.clone().into();
        metadata["ownerReferences"] = owner(object, kind);
        if kind == "StatefulSet" || kind == "DaemonSet" {
            metadata["labels"]["controller-revision-hash"] = hash.clone().into();
        }
        let pod = json!({"metadata": metadata, "spec": object["spec"]["template"]["spec"]});
        let Some(mut place) = target_of(state, "pods", &id) else {
            return;
        };
        place.name = String::new();
        match state.create(&place, pod, &as_controller()) {
            Ok(_) => mine.push(id),
            Err(status) => {
                tracing::debug!(status.message, "no pod for a workload");
                return;
            }
        }
    }
}

fn remove(state: &mut State, id: &ObjectId) {
    if let Some(target) = target_of(state, "pods", id) {
        let _ = state.delete(&target, &Deletion::default());
    }
}

/// A pod runs; one that is not to be restarted has done its work.
pub(super) fn start(
    state: &mut State,
    options: &SandboxOptions,
    target: &Target,
    object: &Value,
    now: &str,
) {
    let patch = json!({"spec": {"nodeName": options.name}});
    if object["spec"]["nodeName"].is_null() {
        let _ = state.patch(target, PatchFormat::Merge, &patch, &as_controller());
    }
    let done = object["spec"]["restartPolicy"] != "Always";
    let low = object["metadata"]["uid"]
        .as_str()
        .and_then(|uid| u8::from_str_radix(uid.get(..2)?, 16).ok())
        .unwrap_or(1);
    let containers: Vec<Value> = object["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|container| {
            let running = if done {
                json!({"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}})
            } else {
                json!({"running": {"startedAt": now}})
            };
            json!({
                "name": container["name"], "image": container["image"], "imageID": "", "restartCount": 0,
                "ready": !done, "started": !done, "state": running,
            })
        })
        .collect();
    write_status(state, target, |status| {
        status["phase"] = if done { "Succeeded" } else { "Running" }.into();
        status["podIP"] = format!("10.244.0.{low}").into();
        status["podIPs"] = json!([{"ip": format!("10.244.0.{low}")}]);
        status["hostIP"] = "127.0.0.1".into();
        status["startTime"] = now.into();
        status["containerStatuses"] = containers.into();
        let (word, reason) = if done {
            ("False", "PodCompleted")
        } else {
            ("True", "")
        };
        set_condition(status, "PodScheduled", "True", "", "", now);
        set_condition(status, "Initialized", "True", "", "", now);
        set_condition(status, "ContainersReady", word, reason, "", now);
        set_condition(status, "Ready", word, reason, "", now);
    });
}

//! Workloads become ready, jobs complete, claims are bound, balancers get an address.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::status::{set_condition, write_status};
use super::{Agenda, Work, pods, target_of};
use crate::machinery::{State, Target};
use crate::sandbox::SandboxOptions;
use crate::store::ObjectId;

/// Does this room know what to do with a resource?
pub(super) fn handles(table: &str) -> bool {
    matches!(
        table,
        "deployments.apps"
            | "statefulsets.apps"
            | "daemonsets.apps"
            | "replicasets.apps"
            | "jobs.batch"
            | "persistentvolumeclaims"
            | "services"
            | "pods"
    )
}

fn load(state: &State, table: &str, id: &ObjectId) -> Option<(Target, Value)> {
    let target = target_of(state, table, id)?;
    let stored = state.find(&target).ok()?;
    if stored.deleting {
        return None;
    }
    let object = state.read(&target, &stored);
    Some((target, object))
}

fn replicas(object: &Value) -> i64 {
    object["spec"]["replicas"].as_i64().unwrap_or(1)
}

/// Is the status that of the newest specification, and complete?
fn settled(table: &str, object: &Value) -> bool {
    let status = &object["status"];
    let number = |name: &str| status[name].as_i64().unwrap_or(0);
    let observed = status["observedGeneration"] == object["metadata"]["generation"];
    match table {
        "deployments.apps" => {
            let wanted = replicas(object);
            observed
                && number("readyReplicas") == wanted
                && number("updatedReplicas") == wanted
                && number("replicas") == wanted
        }
        "statefulsets.apps" => {
            observed
                && number("readyReplicas") == replicas(object)
                && number("updatedReplicas") == replicas(object)
                && !status["updateRevision"].is_null()
        }
        "replicasets.apps" => {
            observed
                && number("readyReplicas") == replicas(object)
                && number("replicas") == replicas(object)
        }
        "daemonsets.apps" => {
            observed && number("numberReady") == 1 && number("updatedNumberScheduled") == 1
        }
        "jobs.batch" => {
            let ended = status["conditions"]
                .as_array()
                .is_some_and(|list| list.iter().any(|condition| condition["status"] == "True"));
            ended && object["spec"]["suspend"] != true
                || holds(status, "Suspended") && object["spec"]["suspend"] == true
        }
        "persistentvolumeclaims" => status["phase"] == "Bound",
        "services" => {
            object["spec"]["type"] != "LoadBalancer" || status["loadBalancer"]["ingress"].is_array()
        }
        "pods" => matches!(
            status["phase"].as_str(),
            Some("Running" | "Succeeded" | "Failed")
        ),
        _ => true,
    }
}

fn holds(status: &Value, kind: &str) -> bool {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    conditions
        .into_iter()
        .any(|condition| condition["type"] == kind && condition["status"] == "True")
}

/// A workload changed: its status says that it is on its way.
pub(super) fn begin(
    state: &mut State,
    options: &SandboxOptions,
    table: &Arc<str>,
    id: &ObjectId,
    agenda: &mut Agenda,
) {
    let Some((target, object)) = load(state, table, id) else {
        return;
    };
    if options.pods {
        pods::match_pods(state, &target, &object);
    }
    if settled(table, &object) {
        return;
    }
    let now = state.now();
    let generation = object["metadata"]["generation"].clone();
    if object["status"]["observedGeneration"] != generation {
        match &**table {
            "deployments.apps" => {
                let wanted = replicas(&object);
                write_status(state, &target, |status| {
                    status["observedGeneration"] = generation;
                    let ready = status["readyReplicas"].as_i64().unwrap_or(0).min(wanted);
                    counts(
                        status,
                        &[
                            ("replicas", wanted),
                            ("updatedReplicas", 0),
                            ("readyReplicas", ready),
                            ("availableReplicas", ready),
                            ("unavailableReplicas", wanted - ready),
                        ],
                    );
                    if ready < wanted {
                        set_condition(
                            status,
                            "Available",
                            "False",
                            "MinimumReplicasUnavailable",
                            "Deployment does not have minimum availability.",
                            &now,
                        );
                    }
                    set_condition(
                        status,
                        "Progressing",
                        "True",
                        "ReplicaSetUpdated",
                        "ReplicaSet is progressing.",
                        &now,
                    );
                });
            }
            "statefulsets.apps" | "replicasets.apps" => {
                let wanted = replicas(&object);
                write_status(state, &target, |status| {
                    status["observedGeneration"] = generation;
                    let ready = status["readyReplicas"].as_i64().unwrap_or(0).min(wanted);
                    counts(
                        status,
                        &[
                            ("replicas", wanted),
                            ("readyReplicas", ready),
                            ("availableReplicas", ready),
                        ],
                    );
                });
            }
            "daemonsets.apps" => write_status(state, &target, |status| {
                status["observedGeneration"] = generation;
                counts(
                    status,
                    &[("desiredNumberScheduled", 1), ("currentNumberScheduled", 1)],
                );
                status["updatedNumberScheduled"] = 0.into();
            }),
            "jobs.batch"
                if object["status"]["startTime"].is_null() && object["spec"]["suspend"] != true =>
            {
                let wanted = object["spec"]["parallelism"].as_i64().unwrap_or(1);
                write_status(state, &target, |status| {
                    status["startTime"] = now.into();
                    counts(status, &[("active", wanted), ("ready", 0)]);
                });
            }
            _ => {}
        }
    }
    agenda.after(options.ready_after, Work::Finish(table.clone(), id.clone()));
    if &**table == "deployments.apps" {
        let seconds = object["spec"]["progressDeadlineSeconds"]
            .as_u64()
            .unwrap_or(600);
        agenda.after(
            Duration::from_secs(seconds),
            Work::Deadline(table.clone(), id.clone()),
        );
    }
}

/// Writes counts; those that are nothing are left out, as the real controllers do.
fn counts(status: &mut Value, pairs: &[(&str, i64)]) {
    for (name, count) in pairs {
        let always = matches!(
            *name,
            "currentNumberScheduled"
                | "desiredNumberScheduled"
                | "numberReady"
                | "numberMisscheduled"
        );
        if *count > 0 || always {
            status[*name] = (*count).into();
        } else if let Some(fields) = status.as_object_mut() {
            fields.remove(*name);
        }
    }
}

/// The time has come: the workload is ready, unless it is told never to be.
pub(super) fn finish(state: &mut State, options: &SandboxOptions, table: &str, id: &ObjectId) {
    let Some((target, object)) = load(state, table, id) else {
        return;
    };
    if settled(table, &object) || state.faults.never_ready(table, &id.namespace, &id.name) {
        return;
    }
    let now = state.now();
    let generation = object["metadata"]["generation"].clone();
    let name = id.name.clone();
    match table {
        "deployments.apps" => {
            let wanted = replicas(&object);
            write_status(state, &target, |status| {
                status["observedGeneration"] = generation;
                counts(
                    status,
                    &[
                        ("replicas", wanted),
                        ("updatedReplicas", wanted),
                        ("readyReplicas", wanted),
                        ("availableReplicas", wanted),
                        ("unavailableReplicas", 0),
                    ],
                );
                set_condition(
                    status,
                    "Available",
                    "True",
                    "MinimumReplicasAvailable",
                    "Deployment has minimum availability.",
                    &now,
                );
                let message = format!("ReplicaSet \"{name}\" has successfully progressed.");
                set_condition(
                    status,
                    "Progressing",
                    "True",
                    "NewReplicaSetAvailable",
                    &message,
                    &now,
                );
            });
        }
        "statefulsets.apps" => {
            let wanted = replicas(&object);
            let revision = format!(
                "{name}-{}",
                pods::template_hash(&object["spec"]["template"])
            );
            write_status(state, &target, |status| {
                status["observedGeneration"] = generation;
                counts(
                    status,
                    &[
                        ("replicas", wanted),
                        ("readyReplicas", wanted),
                        ("availableReplicas", wanted),
                        ("updatedReplicas", wanted),
                        ("currentReplicas", wanted),
                    ],
                );
                status["currentRevision"] = revision.clone().into();
                status["updateRevision"] = revision.into();
                status["collisionCount"] = 0.into();
            });
        }
        "replicasets.apps" => {
            let wanted = replicas(&object);
            write_status(state, &target, |status| {
                status["observedGeneration"] = generation;
                status["replicas"] = wanted.into();
                counts(
                    status,
                    &[
                        ("fullyLabeledReplicas", wanted),
                        ("readyReplicas", wanted),
                        ("availableReplicas", wanted),
                    ],
                );
            });
        }
        "daemonsets.apps" => write_status(state, &target, |status| {
            status["observedGeneration"] = generation;
            let names = [
                "desiredNumberScheduled",
                "currentNumberScheduled",
                "numberReady",
                "numberAvailable",
                "updatedNumberScheduled",
            ];
            counts(status, &names.map(|name| (name, 1)));
        }),
        "jobs.batch" => job(state, &target, &object, &now),
        "persistentvolumeclaims" => claim(state, &target, &object),
        "services" => {
            let last = object["metadata"]["uid"]
                .as_str()
                .and_then(|uid| u8::from_str_radix(&uid[..2], 16).ok())
                .unwrap_or(1);
            write_status(state, &target, |status| {
                status["loadBalancer"] =
                    json!({"ingress": [{"ip": format!("192.0.2.{last}"), "ipMode": "VIP"}]});
            });
        }
        "pods" => pods::start(state, options, &target, &object, &now),
        _ => {}
    }
}

fn job(state: &mut State, target: &Target, object: &Value, now: &str) {
    if object["spec"]["suspend"] == true {
        write_status(state, target, |status| {
            set_condition(
                status,
                "Suspended",
                "True",
                "JobSuspended",
                "Job suspended",
                now,
            );
        });
        return;
    }
    let wanted = object["spec"]["completions"].as_i64().unwrap_or(1);
    write_status(state, target, |status| {
        counts(
            status,
            &[("active", 0), ("ready", 0), ("succeeded", wanted)],
        );
        status["completionTime"] = now.into();
        status["uncountedTerminatedPods"] = json!({});
        let message = "Reached expected number of succeeded pods";
        if holds(status, "Suspended") {
            set_condition(
                status,
                "Suspended",
                "False",
                "JobResumed",
                "Job resumed",
                now,
            );
        }
        set_condition(
            status,
            "SuccessCriteriaMet",
            "True",
            "CompletionsReached",
            message,
            now,
        );
        set_condition(
            status,
            "Complete",
            "True",
            "CompletionsReached",
            message,
            now,
        );
    });
}

fn claim(state: &mut State, target: &Target, object: &Value) {
    let volume = format!("pvc-{}", object["metadata"]["uid"].as_str().unwrap_or(""));
    let patch = json!({"spec": {"volumeName": volume}});
    if object["spec"]["volumeName"].is_null()
        && let Err(status) = state.patch(
            target,
            crate::machinery::PatchFormat::Merge,
            &patch,
            &super::as_controller(),
        )
    {
        tracing::debug!(status.message, "a claim could not be bound");
        return;
    }
    let (capacity, modes) = (
        object["spec"]["resources"]["requests"].clone(),
        object["spec"]["accessModes"].clone(),
    );
    write_status(state, target, |status| {
        status["phase"] = "Bound".into();
        status["capacity"] = capacity;
        status["accessModes"] = modes;
    });
}

/// A deployment that is still not ready has failed to progress.
pub(super) fn deadline(state: &mut State, table: &str, id: &ObjectId) {
    let Some((target, object)) = load(state, table, id) else {
        return;
    };
    if settled(table, &object) {
        return;
    }
    let now = state.now();
    let message = format!("ReplicaSet \"{}\" has timed out progressing.", id.name);
    write_status(state, &target, |status| {
        set_condition(
            status,
            "Progressing",
            "False",
            "ProgressDeadlineExceeded",
            &message,
            &now,
        );
    });
}

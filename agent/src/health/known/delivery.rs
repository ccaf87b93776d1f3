//! Argo (Rollouts, Workflows, CD) and Flux: what brings other things about.

use lockstep_proto::v1::health::Status;
use serde_json::Value;

use super::super::conditions::{by_conditions, find, holds, not_looked, said};
use super::super::{Judgement, Subject, flag, list, text};
use super::{Rule, by_phase, paused};

pub(super) fn argo(kind: &str) -> Option<Rule> {
    Some(match kind {
        "Rollout" => rollout,
        "AnalysisRun" | "Experiment" => analysis,
        "Workflow" => workflow,
        "CronWorkflow" => cron_workflow,
        "Application" => application,
        "ApplicationSet" => application_set,
        _ => return None,
    })
}

/// A Rollout writes the generation that it has seen as text, and sums itself
/// up in a phase.
fn rollout(object: &Subject) -> Judgement {
    let observed = text(&object.status, "/observedGeneration").parse::<i64>();
    if let (Ok(observed), Some(generation)) = (observed, object.metadata.generation)
        && observed < generation
    {
        return Judgement::progressing(format!(
            "its controller has seen generation {observed} of {generation}"
        ));
    }
    if let Some(invalid) = holds(object, "InvalidSpec") {
        return Judgement::degraded(invalid.words("InvalidSpec"));
    }
    if flag(&object.spec, "/paused") {
        return Judgement::suspended("the rollout is paused (spec.paused)");
    }
    if text(&object.status, "/phase") == "Paused" {
        return Judgement::suspended(match text(&object.status, "/message") {
            "" => "the rollout is paused at a step".to_owned(),
            message => format!("the rollout is paused at a step: {message}"),
        });
    }
    by_phase(object, "/phase", &["Healthy"], &["Degraded", "Error"])
}

fn analysis(object: &Subject) -> Judgement {
    let judged = by_phase(object, "/phase", &["Successful"], &["Failed", "Error"]);
    if text(&object.status, "/phase") == "Inconclusive" {
        return Judgement::new(Status::Unknown, judged.message);
    }
    judged
}

fn workflow(object: &Subject) -> Judgement {
    if flag(&object.spec, "/suspend") {
        return Judgement::suspended("the workflow is suspended (spec.suspend)");
    }
    by_phase(object, "/phase", &["Succeeded"], &["Failed", "Error"])
}

fn cron_workflow(object: &Subject) -> Judgement {
    if let Some(wrong) = holds(object, "SpecError") {
        return Judgement::degraded(wrong.words("SpecError"));
    }
    paused(object).unwrap_or_else(Judgement::healthy)
}

/// Argo CD says how an Application does in the words that we use too.
fn application(object: &Subject) -> Judgement {
    let wrong = list(&object.status, "/conditions")
        .iter()
        .find(|condition| text(condition, "/type").ends_with("Error"));
    if let Some(condition) = wrong {
        let (name, message) = (text(condition, "/type"), text(condition, "/message"));
        return Judgement::degraded(format!("{name}: {message}"));
    }
    if let failed @ ("Failed" | "Error") = text(&object.status, "/operationState/phase") {
        let message = text(&object.status, "/operationState/message");
        return Judgement::degraded(format!("its last sync is {failed}: {message}"));
    }
    let words = |health: &str| match text(&object.status, "/health/message") {
        "" => format!("Argo CD calls it {health}"),
        message => message.to_owned(),
    };
    match text(&object.status, "/health/status") {
        "" => not_looked(),
        "Healthy" => Judgement::healthy(),
        "Degraded" => Judgement::degraded(words("Degraded")),
        "Missing" => Judgement::new(Status::Missing, words("Missing")),
        "Suspended" => Judgement::suspended(words("Suspended")),
        "Progressing" => Judgement::progressing(words("Progressing")),
        other => Judgement::new(Status::Unknown, words(other)),
    }
}

fn application_set(object: &Subject) -> Judgement {
    if let Some(wrong) = holds(object, "ErrorOccurred") {
        return Judgement::degraded(wrong.words("ErrorOccurred"));
    }
    if let Some(busy) = holds(object, "RolloutProgressing") {
        return Judgement::progressing(busy.words("RolloutProgressing"));
    }
    match find(&object.status, "ResourcesUpToDate") {
        Some(condition) => condition.verdict("ResourcesUpToDate", object),
        None => not_looked(),
    }
}

/// All of Flux's kinds follow kstatus, and can be suspended.
pub(super) fn flux(object: &Subject) -> Judgement {
    if let Some(paused) = paused(object) {
        return paused;
    }
    // Alerts, Providers and static sources have no status to wait for.
    match object.status.pointer("/conditions") {
        Some(Value::Array(conditions)) if !conditions.is_empty() => said(object, "Ready"),
        _ if object.status.get("observedGeneration").is_some() => not_looked(),
        _ => by_conditions(object),
    }
}

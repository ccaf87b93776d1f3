//! PodDisruptionBudgets: how many pods there are, and how many of them may go.

use serde_json::Value;

use super::status::{set_condition, write_status};
use super::target_of;
use crate::machinery::State;
use crate::store::ObjectId;

/// The table of budgets.
pub(super) const BUDGETS: &str = "poddisruptionbudgets.policy";
/// What has pods: their workloads stand for them.
const WORKLOADS: &[&str] = &["deployments.apps", "statefulsets.apps"];

/// Does a change of this resource change what budgets allow?
pub(super) fn counts(table: &str) -> bool {
    WORKLOADS.contains(&table)
}

/// Computes the status of a budget.
pub(super) fn compute(state: &mut State, id: &ObjectId) {
    let Some(target) = target_of(state, BUDGETS, id) else {
        return;
    };
    let Ok(stored) = state.find(&target) else {
        return;
    };
    if stored.deleting {
        return;
    }
    let budget = state.read(&target, &stored);
    let (expected, healthy) = pods(state, &id.namespace, &budget["spec"]["selector"]);
    let desired = wanted(&budget["spec"], expected);
    let allowed = (healthy - desired).max(0);
    let now = state.now();
    let generation = budget["metadata"]["generation"].clone();
    write_status(state, &target, |status| {
        status["observedGeneration"] = generation;
        status["expectedPods"] = expected.into();
        status["currentHealthy"] = healthy.into();
        status["desiredHealthy"] = desired.into();
        status["disruptionsAllowed"] = allowed.into();
        let (word, reason) = if allowed > 0 {
            ("True", "SufficientPods")
        } else {
            ("False", "InsufficientPods")
        };
        set_condition(status, "DisruptionAllowed", word, reason, "", &now);
    });
}

/// The pods that a selector means, and how many of them are ready.
fn pods(state: &State, namespace: &str, selector: &Value) -> (i64, i64) {
    let mut sum = (0, 0);
    for table in WORKLOADS {
        for object in state.store.list(table, Some(namespace)) {
            let object = object.value("", "");
            if selects(selector, &object["spec"]["template"]["metadata"]["labels"]) {
                sum.0 += object["spec"]["replicas"].as_i64().unwrap_or(1);
                sum.1 += object["status"]["readyReplicas"].as_i64().unwrap_or(0);
            }
        }
    }
    sum
}

/// Does a selector of labels match? A budget without one means no pod, an empty one all.
fn selects(selector: &Value, labels: &Value) -> bool {
    let label = |key: &str| labels[key].as_str();
    let pairs = selector["matchLabels"].as_object().into_iter().flatten();
    let expressions = selector["matchExpressions"]
        .as_array()
        .into_iter()
        .flatten();
    selector.is_object()
        && pairs
            .into_iter()
            .all(|(key, value)| label(key) == value.as_str())
        && expressions.into_iter().all(|row| {
            let value = label(row["key"].as_str().unwrap_or(""));
            let listed = |value| {
                row["values"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|other| other == value)
            };
            match row["operator"].as_str() {
                Some("In") => value.is_some_and(listed),
                Some("NotIn") => !value.is_some_and(listed),
                Some("Exists") => value.is_some(),
                Some("DoesNotExist") => value.is_none(),
                _ => false,
            }
        })
}

/// How many pods must be healthy.
fn wanted(spec: &Value, expected: i64) -> i64 {
    // Shares are rounded up, either way.
    let amount = |value: &Value| match value {
        Value::String(text) => {
            let share: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            (share * expected + 99) / 100
        }
        number => number.as_i64().unwrap_or(0),
    };
    match (&spec["minAvailable"], &spec["maxUnavailable"]) {
        (Value::Null, Value::Null) => (expected - 1).max(0),
        (Value::Null, most) => (expected - amount(most)).max(0),
        (least, _) => amount(least),
    }
}

/// The budgets of a namespace, to be computed again.
pub(super) fn of_namespace(state: &State, namespace: &str) -> Vec<ObjectId> {
    let objects = state.store.list(BUDGETS, Some(namespace));
    objects.iter().map(|object| object.id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{selects, wanted};

    #[test]
    fn what_a_budget_keeps_of_its_pods() {
        for (spec, expected, kept) in [
            (json!({"minAvailable": 1}), 3, 1),
            (json!({"minAvailable": "50%"}), 3, 2),
            (json!({"maxUnavailable": 1}), 3, 2),
            (json!({"maxUnavailable": "25%"}), 3, 2),
            (json!({"maxUnavailable": 5}), 3, 0),
            (json!({}), 3, 2),
            (json!({}), 0, 0),
        ] {
            assert_eq!(wanted(&spec, expected), kept, "{spec}");
        }
    }

    #[test]
    fn a_budget_without_a_selector_means_no_pod() {
        let labels = json!({"app": "web"});
        assert!(!selects(&json!(null), &labels));
        assert!(selects(&json!({}), &labels));
        assert!(selects(&json!({"matchLabels": {"app": "web"}}), &labels));
        assert!(!selects(&json!({"matchLabels": {"app": "db"}}), &labels));
        assert!(!selects(
            &json!({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}),
            &labels
        ));
    }
}

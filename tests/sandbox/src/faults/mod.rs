//! Faults on demand: what the sandbox does wrong, to whom, how often. Rules are data, so
//! that a test, a person with `curl` and the demo set them the same way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::machinery::{Target, random};
use crate::selector::Labels;
use crate::status::Status;

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Effect {
    /// The answer comes later.
    Latency { millis: u64 },
    /// A refusal with this code; 429 and 503 may say when to come back.
    Status {
        code: u16,
        #[serde(default)]
        retry_after_seconds: Option<u64>,
    },
    /// The connection breaks without an answer.
    Reset,
    /// Somebody else was faster: 409 for a write.
    Conflict,
    /// An admission webhook refuses the object.
    Refuse { message: String },
    /// The client may not do this: 403.
    Deny,
    /// The revision is too old: 410 for a watch or a list that names one.
    Expired,
    /// The workload never becomes ready.
    NeverReady,
}

/// One rule: whom it meets, how often, and what happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    pub effect: Effect,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`; empty for all.
    #[serde(default)]
    pub verbs: Vec<String>,
    /// `deployments.apps`, `configmaps`; empty for all.
    #[serde(default)]
    pub resources: Vec<String>,
    #[serde(default)]
    pub namespace: Option<String>,
    #[serde(default)]
    pub name: Option<String>,
    /// For [`Effect::Refuse`]: a label selector on the object.
    #[serde(default)]
    pub selector: Option<String>,
    /// How often it happens, 0 to 1.
    #[serde(default = "always")]
    pub probability: f64,
    /// How many times it happens before it stops; without end if not set.
    #[serde(default)]
    pub times: Option<u64>,
}

fn always() -> f64 {
    1.0
}

impl Fault {
    /// A rule that meets every request.
    pub fn new(effect: Effect) -> Self {
        Self {
            effect,
            verbs: Vec::new(),
            resources: Vec::new(),
            namespace: None,
            name: None,
            selector: None,
            probability: 1.0,
            times: None,
        }
    }

    /// Only for these verbs.
    #[must_use]
    pub fn verbs(mut self, verbs: &[&str]) -> Self {
        self.verbs = verbs.iter().map(|verb| (*verb).to_owned()).collect();
        self
    }

    /// Only for a resource (`deployments.apps`).
    #[must_use]
    pub fn resource(mut self, resource: &str) -> Self {
        self.resources.push(resource.to_owned());
        self
    }

    /// Only in a namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Only for objects of this name.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Only so many times.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Only now and then.
    #[must_use]
    pub fn probability(mut self, probability: f64) -> Self {
        self.probability = probability;
        self
    }
}

/// What a request is, as rules see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub verb: &'a str,
    pub resource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
}

struct Rule {
    id: u64,
    fault: Fault,
}

/// The rules of one sandbox. Clones are the same set.
#[derive(Clone, Default)]
pub struct Faults {
    rules: Arc<Mutex<Vec<Rule>>>,
    next: Arc<AtomicU64>,
}

impl Faults {
    /// Adds a rule; it stands until its times are up or it is removed.
    pub fn add(&self, fault: Fault) -> u64 {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.rules.lock().push(Rule { id, fault });
        id
    }

    /// Takes a rule away; false if it was gone.
    pub fn remove(&self, id: u64) -> bool {
        let mut rules = self.rules.lock();
        let before = rules.len();
        rules.retain(|rule| rule.id != id);
        rules.len() != before
    }

    /// Takes every rule away.
    pub fn clear(&self) {
        self.rules.lock().clear();
    }

    /// The rules that stand, with their ids.
    pub fn list(&self) -> Vec<(u64, Fault)> {
        self.rules
            .lock()
            .iter()
            .map(|rule| (rule.id, rule.fault.clone()))
            .collect()
    }

    /// The effects that meet a request, in the order of the rules; each counts once.
    pub(crate) fn meet(&self, asked: Asked<'_>) -> Vec<Effect> {
        self.take(asked, None, |effect| {
            !matches!(effect, Effect::Refuse { .. } | Effect::NeverReady)
        })
    }

    /// Asks the webhooks that the rules stand for.
    pub(crate) fn admit(&self, verb: &str, target: &Target, object: &Value) -> Result<(), Status> {
        let asked = Asked {
            verb,
            resource: &target.resource.key,
            namespace: &target.namespace,
            name: &target.name,
        };
        let refusal = self
            .take(asked, Some(object), |effect| {
                matches!(effect, Effect::Refuse { .. })
            })
            .pop();
        match refusal {
            Some(Effect::Refuse { message }) => {
                let message = format!(
                    "admission webhook \"sandbox.lockstep.dev\" denied the request: {message}"
                );
                Err(Status::new(403, "Forbidden", message))
            }
            _ => Ok(()),
        }
    }

    /// Is a workload told never to become ready?
    pub(crate) fn never_ready(&self, resource: &str, namespace: &str, name: &str) -> bool {
        let asked = Asked {
            verb: "",
            resource,
            namespace,
            name,
        };
        !self
            .take(asked, None, |effect| *effect == Effect::NeverReady)
            .is_empty()
    }

    fn take(
        &self,
        asked: Asked<'_>,
        object: Option<&Value>,
        of: impl Fn(&Effect) -> bool,
    ) -> Vec<Effect> {
        let mut rules = self.rules.lock();
        let mut out = Vec::new();
        for rule in rules.iter_mut() {
            if of(&rule.fault.effect)
                && matches(&rule.fault, asked, object)
                && happens(rule.fault.probability)
            {
                out.push(rule.fault.effect.clone());
                if let Some(times) = &mut rule.fault.times {
                    *times = times.saturating_sub(1);
                }
            }
        }
        rules.retain(|rule| rule.fault.times != Some(0));
        out
    }
}

fn matches(fault: &Fault, asked: Asked<'_>, object: Option<&Value>) -> bool {
    let listed = |list: &[String], word: &str| {
        list.is_empty() || list.iter().any(|other| other == word || other == "*")
    };
    let equal =
        |wanted: &Option<String>, word: &str| wanted.as_ref().is_none_or(|wanted| wanted == word);
    let selected = || match (&fault.selector, object) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(text), Some(object)) => Labels::parse(text).is_ok_and(|selector| {
            selector.matches(|key| object["metadata"]["labels"][key].as_str())
        }),
    };
    (asked.verb.is_empty() || listed(&fault.verbs, asked.verb))
        && listed(&fault.resources, asked.resource)
        && equal(&fault.namespace, asked.namespace)
        && equal(&fault.name, asked.name)
        && selected()
}

fn happens(probability: f64) -> bool {
    probability >= 1.0
        || f64::from(u32::from_le_bytes(random())) < probability * f64::from(u32::MAX)
}

/// The answer that an effect gives in place of the real one.
pub(crate) fn refusal(
    effect: &Effect,
    target: Option<&Target>,
) -> Option<(Status, Option<Duration>)> {
    match effect {
        Effect::Status {
            code,
            retry_after_seconds,
        } => {
            let (reason, message) = match code {
                429 => (
                    "TooManyRequests",
                    "the server has received too many requests and has asked us to try again later",
                ),
                503 => (
                    "ServiceUnavailable",
                    "the server is currently unable to handle the request",
                ),
                504 => (
                    "Timeout",
                    "the server was unable to return a response in the time allotted",
                ),
                _ => (
                    "InternalError",
                    "an error on the server has prevented the request from succeeding",
                ),
            };
            let mut status = Status::new(*code, reason, message);
            if let Some(seconds) = retry_after_seconds {
                status.details = serde_json::json!({"retryAfterSeconds": seconds});
            }
            Some((status, retry_after_seconds.map(Duration::from_secs)))
        }
        Effect::Conflict => {
            target.map(|target| (Status::modified(&target.resource, &target.name), None))
        }
        Effect::Deny => target.map(|target| {
            let scope = if target.namespace.is_empty() {
                "at the cluster scope".to_owned()
            } else {
                format!("in the namespace {:?}", target.namespace)
            };
            let why = format!(
                "User \"sandbox\" cannot access resource {:?} in API group {:?} {scope}",
                target.resource.plural, target.resource.group
            );
            (
                Status::forbidden(&target.resource, &target.name, &why),
                None,
            )
        }),
        Effect::Expired => Some((
            Status::expired("The resourceVersion for the provided watch is too old."),
            None,
        )),
        _ => None,
    }
}

//! What a refusal of the API server means to people: the cause in its words,
//! and what to do about it; and which refusals are about fields that cannot
//! change. Pure functions over what the server said.

#[cfg(test)]
mod tests;

use lockstep_proto::traits::REPLACE;
use serde_json::Value;

use crate::cluster::{ApiError, ServiceAccount};
use crate::inventory::ObjectId;

/// Fields named in one sentence; more are counted.
const NAMED: usize = 4;

/// `error`, as said of applying or deleting `id`, with the next step where
/// there is one to name.
#[must_use]
pub fn explain(error: &ApiError, id: &ObjectId, account: Option<&ServiceAccount>) -> String {
    if error.is_kind_gone() {
        let (kind, group) = (&id.kind.kind, &id.kind.group);
        return format!(
            "the cluster serves no kind {kind} of group {group:?} any more: is its \
             CustomResourceDefinition missing?"
        );
    }
    match error
        .refusal()
        .and_then(|refusal| next_step(&refusal.message, id, account))
    {
        Some(step) => format!("{error}; {step}"),
        None => error.to_string(),
    }
}

fn next_step(message: &str, id: &ObjectId, account: Option<&ServiceAccount>) -> Option<String> {
    let has = |words: &str| message.contains(words);
    let namespace = &id.namespace;
    Some(
        if let Some(name) = quoted(message, "failed calling webhook ") {
            format!("webhook {name} does not answer: see whether the service behind it runs")
        } else if let Some(name) = quoted(message, "admission webhook ") {
            format!("change the object as webhook {name} asks, or ask whoever runs it")
        } else if let Some(name) = quoted(message, "ValidatingAdmissionPolicy ") {
            format!("change the object as policy {name} asks")
        } else if let Some((_, rest)) = message.split_once("exceeded quota: ") {
            let name = rest.split([',', ' ']).next().unwrap_or(rest);
            format!("raise ResourceQuota {namespace}/{name}, or ask for less")
        } else if has("violates PodSecurity") {
            "change the pods' securityContext, or the namespace's label \
         pod-security.kubernetes.io/enforce"
                .to_owned()
        } else if has("attempting to grant RBAC permissions not currently held")
            || has("attempting to grant RBAC permissions")
        {
            format!(
                "whoever grants rights must hold them: give them to {}",
                who(account)
            )
        } else if has("cannot impersonate resource") {
            let account = account.map_or_else(|| "the account".into(), ToString::to_string);
            format!(
                "give the agent the verb impersonate on serviceaccounts {account}, or name another \
             serviceAccount in its agent.yaml"
            )
        } else if has("User \"") && has(" cannot ") {
            format!("{} lacks the right: bind a Role that has it", who(account))
        } else if has("namespaces \"") && has("\" not found") {
            format!("add Namespace {namespace} to Git, or set spec.sync.createNamespace to true")
        } else if has("field not declared in schema") || has("unknown field") {
            "the field is misspelt, or of a version that the cluster does not serve".to_owned()
        } else if has("etcdserver: request is too large") {
            "the API server takes objects of up to 1.5 MiB".to_owned()
        } else {
            return None;
        },
    )
}

fn who(account: Option<&ServiceAccount>) -> String {
    match account {
        Some(account) => format!("service account {account}, which agent.yaml names,"),
        None => "the agent's own user".to_owned(),
    }
}

/// What stands in quotes after `before`.
fn quoted<'a>(message: &'a str, before: &str) -> Option<&'a str> {
    let (_, rest) = message.split_once(before)?;
    let quote = rest.chars().next().filter(|c| "\"'".contains(*c))?;
    rest[1..].split(quote).next()
}

/// The fields that cannot change, where that is why `error` came: ".spec.selector".
#[must_use]
pub fn immutable(error: &ApiError) -> Option<Vec<String>> {
    let refusal = error.refusal().filter(|refusal| refusal.code == 422)?;
    let mut fields: Vec<String> = refusal
        .causes
        .iter()
        .filter(|(_, message)| is_immutable(message))
        .map(|(field, _)| format!(".{field}"))
        .collect();
    if fields.is_empty() && refusal.causes.is_empty() && is_immutable(&refusal.message) {
        fields.push(".spec".to_owned());
    }
    fields.sort();
    fields.dedup();
    (!fields.is_empty()).then_some(fields)
}

/// Every way in which Kubernetes says it.
fn is_immutable(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    let any = [
        "immutable",
        "may not change once set",
        "may not be changed",
        "can not be changed",
        "cannot be changed",
        "cannot change roleref",
        "may not change fields other than",
    ];
    any.iter().any(|words| message.contains(words))
        || (message.contains("updates to ") && message.contains("forbidden"))
}

/// Names the fields more exactly: where the server names only a part of the
/// object, what differs in it between `wanted` and `live` and is not said to
/// be free to change.
#[must_use]
pub fn narrowed(error: &ApiError, fields: &[String], wanted: &Value, live: &Value) -> Vec<String> {
    let said = error.refusal().map_or("", |refusal| &refusal.message);
    let free = said.split_once("other than").or(said.split_once("except"));
    let free = free.map_or("", |(_, rest)| rest);
    let mut narrowed = Vec::new();
    for field in fields {
        let pointer = field.replace('.', "/");
        let parts = wanted.pointer(&pointer).zip(live.pointer(&pointer));
        let differing: Vec<String> = match parts {
            Some((Value::Object(wanted), live)) => wanted
                .iter()
                .filter(|(key, value)| !holds(live.get(key.as_str()), value))
                .filter(|(key, _)| {
                    !free
                        .split(|c: char| !c.is_alphanumeric())
                        .any(|w| w == *key)
                })
                .map(|(key, _)| format!("{field}.{key}"))
                .collect(),
            _ => Vec::new(),
        };
        if differing.is_empty() {
            narrowed.push(field.clone());
        } else {
            narrowed.extend(differing);
        }
    }
    narrowed
}

/// Whether `live` has all of `wanted`; what else it has, the server added.
fn holds(live: Option<&Value>, wanted: &Value) -> bool {
    match (live, wanted) {
        (Some(Value::Object(live)), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, value)| holds(live.get(key), value)),
        (Some(Value::Array(live)), Value::Array(wanted)) => {
            live.len() == wanted.len()
                && live
                    .iter()
                    .zip(wanted)
                    .all(|(live, wanted)| holds(Some(live), wanted))
        }
        (live, wanted) => live == Some(wanted),
    }
}

/// That `fields` cannot change, and what can be done about it.
#[must_use]
pub fn cannot_change(fields: &[String]) -> String {
    format!(
        "{} cannot be changed once the object exists: put it back in Git, or annotate the object \
         {REPLACE}: OnImmutable to have it deleted and made anew",
        listed(fields)
    )
}

/// ".spec.a, .spec.b and 3 more"
#[must_use]
pub fn listed(fields: &[String]) -> String {
    let named = fields
        .iter()
        .take(NAMED)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    match fields.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

//! Refusals, in the words of the real server: clients decide by code and reason, people
//! read the message.

use serde_json::{Value, json};

use crate::discovery::Resource;

/// An answer other than success.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Status {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    pub details: Value,
}

impl Status {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: Value::Null,
        }
    }

    fn about(mut self, resource: &Resource, name: &str) -> Self {
        self.details = json!({"name": name, "group": resource.group, "kind": resource.plural});
        tidy(&mut self.details);
        self
    }

    fn causes(mut self, causes: Vec<Value>) -> Self {
        if !causes.is_empty() {
            if self.details.is_null() {
                self.details = json!({});
            }
            self.details["causes"] = Value::Array(causes);
        }
        self
    }

    /// The path leads nowhere.
    pub(crate) fn no_such_path() -> Self {
        let mut status = Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        );
        status.details = json!({});
        status
    }

    pub(crate) fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(
            404,
            "NotFound",
            format!("{} {name:?} not found", resource.qualified()),
        )
        .about(resource, name)
    }

    pub(crate) fn already_exists(resource: &Resource, name: &str) -> Self {
        Self::new(
            409,
            "AlreadyExists",
            format!("{} {name:?} already exists", resource.qualified()),
        )
        .about(resource, name)
    }

    pub(crate) fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {name:?}: {why}",
            resource.qualified()
        );
        Self::new(409, "Conflict", message).about(resource, name)
    }

    /// A conflict that names the kind instead of the resource, as deletions do.
    pub(crate) fn conflict_of(kind: &str, resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {kind} {name:?}: {why}");
        let mut status = Self::new(409, "Conflict", message).about(resource, name);
        status.details["kind"] = kind.into();
        status
    }

    pub(crate) fn modified(resource: &Resource, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// An apply that would take fields from other managers.
    pub(crate) fn apply_conflict(conflicts: &[crate::apply::Conflict]) -> Self {
        let causes: Vec<Value> = conflicts
            .iter()
            .map(|conflict| {
                json!({"reason": "FieldManagerConflict", "message": format!("conflict with {}", conflict.manager), "field": conflict.field})
            })
            .collect();
        let message = match conflicts {
            [one] => format!(
                "Apply failed with 1 conflict: conflict with {}: {}",
                one.manager, one.field
            ),
            many => {
                let mut lines = Vec::new();
                let mut managers: Vec<&str> = many
                    .iter()
                    .map(|conflict| conflict.manager.as_str())
                    .collect();
                managers.sort_unstable();
                managers.dedup();
                for manager in managers {
                    lines.push(format!("conflicts with {manager}:"));
                    lines.extend(
                        many.iter()
                            .filter(|other| other.manager == manager)
                            .map(|other| format!("- {}", other.field)),
                    );
                }
                format!(
                    "Apply failed with {} conflicts: {}",
                    many.len(),
                    lines.join("\n")
                )
            }
        };
        Self::new(409, "Conflict", message).causes(causes)
    }

    /// Fields with values that the kind does not allow.
    pub(crate) fn invalid(resource: &Resource, name: &str, problems: &[Invalid]) -> Self {
        let words: Vec<String> = problems
            .iter()
            .map(|problem| format!("{}: {}", problem.field, problem.message))
            .collect();
        let list = match words.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let causes = problems
            .iter()
            .map(|problem| json!({"reason": problem.reason, "message": problem.message, "field": problem.field}))
            .collect();
        let kind = if resource.group.is_empty() {
            resource.kind.clone()
        } else {
            format!("{}.{}", resource.kind, resource.group)
        };
        let mut status = Self::new(
            422,
            "Invalid",
            format!("{kind} {name:?} is invalid: {list}"),
        );
        status.details = json!({"name": name, "group": resource.group, "kind": resource.kind});
        tidy(&mut status.details);
        status.causes(causes)
    }

    /// Options of a request that it may not have, or must.
    pub(crate) fn options(kind: &str, field: &str, reason: &str, why: &str) -> Self {
        let mut status = Self::new(
            422,
            "Invalid",
            format!("{kind}.meta.k8s.io \"\" is invalid: {why}"),
        );
        status.details = json!({"group": "meta.k8s.io", "kind": kind});
        let message = why.split_once(": ").map_or(why, |(_, rest)| rest);
        status.causes(vec![
            json!({"reason": reason, "message": message, "field": field}),
        ])
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn forbidden(resource: &Resource, name: &str, why: &str) -> Self {
        let name_shown = if name.is_empty() {
            String::new()
        } else {
            format!(" {name:?}")
        };
        Self::new(
            403,
            "Forbidden",
            format!("{}{name_shown} is forbidden: {why}", resource.qualified()),
        )
        .about(resource, name)
    }

    pub(crate) fn terminating(resource: &Resource, name: &str, namespace: &str) -> Self {
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        Self::forbidden(resource, name, &why).causes(vec![json!({
            "reason": "NamespaceTerminating", "field": "metadata.namespace",
            "message": format!("namespace {namespace} is being terminated"),
        })])
    }

    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub(crate) fn method_not_allowed() -> Self {
        let mut status = Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        );
        status.details = json!({});
        status
    }

    pub(crate) fn unsupported_media(given: &str, allowed: &[&str]) -> Self {
        tracing::debug!(given, ?allowed, "unknown media type");
        let mut status = Self::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
        status.details = json!({});
        status
    }

    pub(crate) fn not_acceptable() -> Self {
        let message = "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf";
        Self::new(406, "NotAcceptable", message)
    }

    /// One form was asked for where only the other makes sense.
    pub(crate) fn wrong_form(resource: &Resource, list: bool) -> Self {
        let package = if resource.group.is_empty() {
            "core"
        } else {
            resource.group.split('.').next().unwrap_or("")
        };
        let kind = &resource.kind;
        let message = if list {
            format!(
                "you requested PartialObjectMetadata, but the requested object is a list (*{package}.{kind}List)"
            )
        } else {
            format!(
                "you requested PartialObjectMetadataList, but the requested object is not a list (*{package}.{kind})"
            )
        };
        Self::new(406, "NotAcceptable", message)
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {limit}"),
        )
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "InternalError", message)
    }

    /// The object as it goes over the wire.
    pub(crate) fn body(&self) -> Value {
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "details": self.details, "code": self.code,
        });
        if self.reason.is_empty() {
            body.as_object_mut().map(|fields| fields.remove("reason"));
        }
        if self.details.is_null() {
            body.as_object_mut().map(|fields| fields.remove("details"));
        }
        body
    }
}

fn tidy(details: &mut Value) {
    if let Some(fields) = details.as_object_mut() {
        fields.retain(|_, value| value != "");
    }
}

/// One field with a value that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invalid {
    pub field: String,
    pub reason: &'static str,
    pub message: String,
}

impl Invalid {
    pub(crate) fn required(field: impl Into<String>, why: &str) -> Self {
        let message = if why.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {why}")
        };
        Self {
            field: field.into(),
            reason: "FieldValueRequired",
            message,
        }
    }

    pub(crate) fn value(field: impl Into<String>, value: &Value, why: &str) -> Self {
        Self {
            field: field.into(),
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {}: {why}", short(value)),
        }
    }

    pub(crate) fn unsupported(field: impl Into<String>, value: &Value, allowed: &[&str]) -> Self {
        let list: Vec<String> = allowed.iter().map(|word| format!("{word:?}")).collect();
        let message = format!(
            "Unsupported value: {}: supported values: {}",
            short(value),
            list.join(", ")
        );
        Self {
            field: field.into(),
            reason: "FieldValueNotSupported",
            message,
        }
    }

    pub(crate) fn too_long(field: impl Into<String>, limit: usize) -> Self {
        Self {
            field: field.into(),
            reason: "FieldValueTooLong",
            message: format!("Too long: may not be more than {limit} bytes"),
        }
    }
}

/// A value in an error: whole if it is short.
fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.len() <= 200 {
        return text;
    }
    let end = (0..=200)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    format!("{}…", &text[..end])
}

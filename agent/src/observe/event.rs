//! From a line of a watch to news: parsed once, judged, and dropped.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cluster::{ApiError, Envelope, Meta, Refusal, Resource};
use crate::health::{Judgement, Subject, judge};
use crate::inventory::News;

/// What one line says.
#[derive(Debug)]
pub(super) enum Event {
    Object {
        namespace: String,
        name: String,
        /// The Assignment that the object's label names.
        assignment: Option<String>,
        news: News,
    },
    Bookmark {
        /// All that existed has been said.
        complete: bool,
    },
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bookmark {
    metadata: BookmarkMeta,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct BookmarkMeta {
    resource_version: String,
    annotations: Annotations,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Annotations {
    #[serde(rename = "k8s.io/initial-events-end")]
    initial_events_end: Option<String>,
}

/// Reads one line of a watch of `resource`; `judged` as it was opened.
///
/// # Errors
/// What the server said in an ERROR event, or that the line makes no sense.
pub(super) fn read(
    line: &[u8],
    resource: &Resource,
    judged: bool,
) -> Result<(Event, String), ApiError> {
    let line: Line<'_> = parse(line)?;
    let object = line.object.get().as_bytes();
    match line.kind {
        "ADDED" | "MODIFIED" => {
            let meta = parse::<Envelope>(object)?.metadata;
            let version = meta.resource_version.clone();
            Ok((there(object, meta, resource, judged)?, version))
        }
        "DELETED" => {
            let meta = parse::<Envelope>(object)?.metadata;
            let news = News::Gone {
                version: meta.version(),
            };
            let version = meta.resource_version.clone();
            Ok((about(meta, news), version))
        }
        "BOOKMARK" => {
            let meta = parse::<Bookmark>(object)?.metadata;
            let event = Event::Bookmark {
                complete: meta.annotations.initial_events_end.as_deref() == Some("true"),
            };
            Ok((event, meta.resource_version))
        }
        "ERROR" => {
            let code = serde_json::from_slice::<Code>(object).map_or(500, |status| status.code);
            let refusal = Refusal::read(code, object, None);
            Err(ApiError::Refused(Box::new(refusal)))
        }
        other => Err(ApiError::Malformed(format!("a watch event {other:?}"))),
    }
}

/// Reads one object of a listed page.
///
/// # Errors
/// Where it makes no sense.
pub(super) fn listed(
    object: &RawValue,
    resource: &Resource,
    judged: bool,
) -> Result<Event, ApiError> {
    let object = object.get().as_bytes();
    let meta = parse::<Envelope>(object)?.metadata;
    there(object, meta, resource, judged)
}

#[derive(Deserialize)]
struct Code {
    code: u16,
}

fn there(object: &[u8], meta: Meta, resource: &Resource, judged: bool) -> Result<Event, ApiError> {
    let judgement = if judged || meta.is_deleting() {
        let subject: Subject = parse(object)?;
        judge(&resource.group, &resource.kind, &subject)
    } else {
        Judgement::healthy()
    };
    let news = News::There {
        version: meta.version(),
        owned: meta.owned(),
        going: meta.is_deleting(),
        judgement,
    };
    Ok(about(meta, news))
}

fn about(meta: Meta, news: News) -> Event {
    Event::Object {
        namespace: meta.namespace,
        name: meta.name,
        assignment: meta.labels.assignment,
        news,
    }
}

fn parse<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(text).map_err(|error| ApiError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_proto::v1::health::Status;
    use serde_json::json;

    fn deployments() -> Resource {
        Resource {
            group: "apps".into(),
            version: "v1".into(),
            kind: "Deployment".into(),
            plural: "deployments".into(),
            namespaced: true,
            status: true,
            watchable: true,
        }
    }

    fn event(kind: &str, object: &serde_json::Value) -> Result<(Event, String), ApiError> {
        let line = json!({"type": kind, "object": object}).to_string();
        read(line.as_bytes(), &deployments(), true)
    }

    #[test]
    fn an_object_is_reduced_to_what_we_keep_of_it() {
        let object = json!({
            "metadata": {"name": "web", "namespace": "shop", "resourceVersion": "12",
                "labels": {"lockstep.dev/assignment": "shop"}, "generation": 1},
            "spec": {"replicas": 1}, "status": {"observedGeneration": 1}});
        let (
            Event::Object {
                namespace,
                name,
                assignment,
                news,
            },
            version,
        ) = event("MODIFIED", &object).unwrap()
        else {
            panic!("not about an object");
        };
        assert_eq!((&*namespace, &*name, &*version), ("shop", "web", "12"));
        assert_eq!(assignment.as_deref(), Some("shop"));
        let News::There {
            version, judgement, ..
        } = news
        else {
            panic!("not there");
        };
        assert_eq!((version, judgement.health), (12, Status::Progressing));
    }

    #[test]
    fn the_end_of_the_first_list_and_an_old_version_are_understood() {
        let end = json!({"kind": "Deployment", "metadata": {"resourceVersion": "40",
            "annotations": {"k8s.io/initial-events-end": "true"}}});
        let (event_read, version) = event("BOOKMARK", &end).unwrap();
        assert!(matches!(event_read, Event::Bookmark { complete: true }));
        assert_eq!(version, "40");
        let expired =
            json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"});
        assert!(event("ERROR", &expired).unwrap_err().is_expired());
        assert!(event("SURPRISE", &json!({})).is_err());
    }
}

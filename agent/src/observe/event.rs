//! From a line of a watch to news: parsed once, judged, and dropped.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::is_judged;
use crate::cluster::{ApiError, Envelope, Meta, Refusal, Resource};
use crate::health::{Class, Judgement, Rules, Subject, judge, waits_for_class};
use crate::inventory::News;

/// What one line says.
#[derive(Debug)]
pub(super) enum Event<'a> {
    Object(Box<Seen<'a>>),
    Bookmark {
        /// All that existed has been said.
        complete: bool,
    },
}

/// An object, as a watch or a list shows it.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub meta: Meta,
    /// Its JSON; none where it was deleted.
    object: Option<&'a [u8]>,
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

/// Reads one line of a watch, and the version that it stands for.
///
/// # Errors
/// What the server said in an ERROR event, or that the line makes no sense.
pub(super) fn read(line: &[u8]) -> Result<(Event<'_>, String), ApiError> {
    let line: Line<'_> = parse(line)?;
    let object = line.object.get().as_bytes();
    match line.kind {
        "ADDED" | "MODIFIED" | "DELETED" => {
            let meta = parse::<Envelope>(object)?.metadata;
            let version = meta.resource_version.clone();
            let object = (line.kind != "DELETED").then_some(object);
            Ok((Event::Object(Box::new(Seen { meta, object })), version))
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
pub(super) fn listed(object: &RawValue) -> Result<Box<Seen<'_>>, ApiError> {
    let object = object.get().as_bytes();
    Ok(Box::new(Seen {
        meta: parse::<Envelope>(object)?.metadata,
        object: Some(object),
    }))
}

#[derive(Deserialize)]
struct Code {
    code: u16,
}

impl Seen<'_> {
    /// What [`waits_for_class`] says of it.
    pub(super) fn waits_for_class(&self, resource: &Resource) -> Option<Option<String>> {
        let subject: Subject = serde_json::from_slice(self.object?).ok()?;
        waits_for_class(&resource.group, &resource.kind, &subject)
    }

    /// What it means for whoever holds it, judged by `rules` and, where they
    /// say nothing of the kind, by what everybody knows.
    ///
    /// # Errors
    /// Where it is no object of Kubernetes.
    pub(super) fn news(
        &self,
        resource: &Resource,
        rules: &Rules,
        class: Class,
    ) -> Result<News, ApiError> {
        let meta = &self.meta;
        let Some(object) = self.object else {
            return Ok(News::Gone {
                version: meta.version(),
            });
        };
        let (group, kind) = (&*resource.group, &*resource.kind);
        let rule = rules.find(group, kind).filter(|_| !meta.is_deleting());
        let judgement = if let Some(rule) = rule {
            rule.judge(&parse(object)?)
        } else if is_judged(resource) || meta.is_deleting() {
            let mut subject: Subject = parse(object)?;
            subject.class = class;
            judge(group, kind, &subject)
        } else {
            Judgement::healthy()
        };
        Ok(News::There {
            version: meta.version(),
            owned: meta.owned(),
            going: meta.is_deleting(),
            judgement,
        })
    }
}

fn parse<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(text).map_err(|error| ApiError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_proto::v1::HealthRule;
    use lockstep_proto::v1::health::Status;
    use serde_json::{Value, json};

    fn resource(group: &str, kind: &str, status: bool) -> Resource {
        Resource {
            group: group.into(),
            version: "v1".into(),
            kind: kind.into(),
            plural: "x".into(),
            namespaced: true,
            status,
            watchable: true,
        }
    }

    fn line(kind: &str, object: &Value) -> String {
        json!({"type": kind, "object": object}).to_string()
    }

    #[test]
    fn an_object_is_reduced_to_what_we_keep_of_it() {
        let object = json!({
            "metadata": {"name": "web", "namespace": "shop", "resourceVersion": "12",
                "labels": {"lockstep.dev/assignment": "shop"}, "generation": 1},
            "spec": {"replicas": 1}, "status": {"observedGeneration": 1}});
        let line = line("MODIFIED", &object);
        let (Event::Object(seen), version) = read(line.as_bytes()).unwrap() else {
            panic!("not about an object");
        };
        let meta = &seen.meta;
        assert_eq!(
            (&*meta.namespace, &*meta.name, &*version),
            ("shop", "web", "12")
        );
        assert_eq!(meta.labels.assignment.as_deref(), Some("shop"));
        let deployments = resource("apps", "Deployment", true);
        let news = seen.news(&deployments, &Rules::default(), Class::Unknown);
        let News::There {
            version, judgement, ..
        } = news.unwrap()
        else {
            panic!("not there");
        };
        assert_eq!((version, judgement.health), (12, Status::Progressing));
    }

    #[test]
    fn a_rule_of_the_assignment_wins_over_ours_and_a_deletion_over_both() {
        let rule = HealthRule {
            group: "apps".into(),
            kind: "Deployment".into(),
            healthy: "object.data.ready == 'yes'".into(),
            ..HealthRule::default()
        };
        let plain = HealthRule {
            group: String::new(),
            kind: "ConfigMap".into(),
            ..rule.clone()
        };
        let rules = Rules::read(&[rule, plain], &Rules::default());
        let health = |resource: &Resource, object: &Value, rules: &Rules| {
            let line = line("ADDED", object);
            let (Event::Object(seen), _) = read(line.as_bytes()).unwrap() else {
                panic!("not about an object");
            };
            match seen.news(resource, rules, Class::Unknown).unwrap() {
                News::There { judgement, .. } => judgement.health,
                News::Gone { .. } => Status::Missing,
            }
        };
        let ready = json!({"metadata": {"name": "a"}, "data": {"ready": "yes"}});
        let not = json!({"metadata": {"name": "a"}, "data": {"ready": "no"}});
        let going = json!({"metadata": {"name": "a", "deletionTimestamp": "t"},
            "data": {"ready": "yes"}});
        for kind in [
            resource("apps", "Deployment", true),
            resource("", "ConfigMap", false),
        ] {
            assert_eq!(health(&kind, &ready, &rules), Status::Healthy);
            assert_eq!(health(&kind, &not, &rules), Status::Progressing);
            assert_eq!(health(&kind, &going, &rules), Status::Progressing);
        }
        let none = Rules::default();
        assert_eq!(
            health(&resource("", "ConfigMap", false), &not, &none),
            Status::Healthy
        );
    }

    #[test]
    fn the_end_of_the_first_list_and_an_old_version_are_understood() {
        let end = json!({"kind": "Deployment", "metadata": {"resourceVersion": "40",
            "annotations": {"k8s.io/initial-events-end": "true"}}});
        let text = line("BOOKMARK", &end);
        let (event_read, version) = read(text.as_bytes()).unwrap();
        assert!(matches!(event_read, Event::Bookmark { complete: true }));
        assert_eq!(version, "40");
        let expired =
            json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"});
        let error = read(line("ERROR", &expired).as_bytes()).unwrap_err();
        assert!(error.is_expired());
        assert!(read(line("SURPRISE", &json!({})).as_bytes()).is_err());
    }
}

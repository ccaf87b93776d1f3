//! The verbs on objects and collections.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use serde_json::{Value, json};

use super::accept::{View, view};
use super::answer::{Answer, bytes, json as answer_json, warn};
use super::body::{PROTOBUF, json as parse_json, media_type, parse, yaml};
use super::query::Query;
use crate::machinery::{PatchFormat, State, Target, Written, read_scale, write_scale};
use crate::sandbox::Inner;
use crate::selector::Selector;
use crate::status::Status;
use crate::store::{Object, Token};
use crate::table;
use crate::watch::{Start, Watching, watch};

/// Revisions this far ahead are refused instead of waited for.
const WAIT_FOR_REVISION: Duration = Duration::from_secs(3);

/// One request on an object or a collection.
pub(super) struct Call<'a> {
    pub inner: &'a Arc<Inner>,
    pub parts: &'a Parts,
    pub query: &'a Query,
    pub target: Target,
    pub body: Bytes,
}

impl Call<'_> {
    pub(super) async fn answer(self, verb: &str) -> Result<Answer, Status> {
        let allowed = self.target.resource.allows(verb) || !self.target.subresource.is_empty();
        if !allowed {
            return Err(Status::method_not_allowed());
        }
        match verb {
            "get" => self.get(),
            "list" => self.list().await,
            "watch" => self.watch().await,
            "create" => self.create(),
            "update" => self.update(),
            "patch" => self.patch(),
            "delete" => self.delete(),
            _ => self.delete_collection(),
        }
    }

    fn view(&self) -> Result<View, Status> {
        view(&self.parts.headers)
    }

    fn get(self) -> Result<Answer, Status> {
        let view = match self.view()? {
            View::MetadataList => return Err(Status::wrong_form(&self.target.resource, false)),
            view => view,
        };
        let state = self.inner.state.lock();
        let object = state.find(&self.target)?;
        match self.target.subresource.as_str() {
            "" | "status" => {}
            "scale" => {
                let scale = read_scale(&self.target, &state.read(&self.target, &object))?;
                return Ok(answer_json(200, &scale));
            }
            _ => return Err(Status::no_such_path()),
        }
        drop(state);
        Ok(self.one(200, view, &object))
    }

    /// One object in the form that the client wants.
    fn one(&self, code: u16, view: View, object: &Object) -> Answer {
        match view {
            View::Whole => {
                let text = object.typed(&self.target.api_version(), &self.target.resource.kind);
                bytes(code, "application/json", text.into())
            }
            View::Metadata | View::MetadataList => answer_json(code, &partial(object)),
            View::Table => {
                let rows = table::Rows::new(&self.target, self.query.word("includeObject"), true);
                answer_json(
                    code,
                    &rows.of(
                        std::slice::from_ref(&object),
                        &object.revision.to_string(),
                        None,
                    ),
                )
            }
        }
    }

    fn written(&self, written: &Written) -> Result<Answer, Status> {
        let code = if written.created { 201 } else { 200 };
        let mut answer = match self.view()? {
            View::Whole => answer_json(code, &written.object),
            view => self.one(code, view, &Object::new(&written.object)),
        };
        warn(&mut answer, &written.warnings);
        Ok(answer)
    }

    fn selector(&self) -> Result<Selector, Status> {
        let selector = self.query.selector()?;
        if self.target.resource.is_custom()
            && let Some(path) = selector.fields.others().next()
        {
            return Err(Status::bad_request(format!(
                "field label not supported: {path}"
            )));
        }
        Ok(selector)
    }

    async fn list(self) -> Result<Answer, Status> {
        let view = match self.view()? {
            View::Metadata => return Err(Status::wrong_form(&self.target.resource, true)),
            view => view,
        };
        let selector = self.selector()?;
        let limit = self
            .query
            .number("limit")
            .filter(|limit| *limit > 0)
            .map_or(usize::MAX, |limit| {
                usize::try_from(limit).unwrap_or(usize::MAX)
            });
        let token = self.query.word("continue");
        let asked = self.query.number("resourceVersion").unwrap_or(0);
        wait_for(self.inner, asked).await?;
        let (objects, next, revision) = {
            let mut state = self.inner.state.lock();
            let revision = state.store.revision();
            if token.is_empty() {
                if self.query.word("resourceVersionMatch") == "Exact" && asked < revision {
                    exact(&state, &self.target, asked)?;
                }
                let all = self.select(&state, &selector);
                let (objects, next) = state.store.pages().start(all, revision, limit);
                (objects, next, revision)
            } else {
                let token = Token::decode(token).ok_or_else(|| {
                    Status::bad_request("invalid continue token: continue key is not valid: it was not made by this server")
                })?;
                let too_old = "The provided continue parameter is too old to display a consistent list result. You must start a new list without the continue parameter.";
                let page = state
                    .store
                    .pages()
                    .read(&token, limit)
                    .ok_or_else(|| Status::expired(too_old))?;
                (page.0, page.1, token.revision)
            }
        };
        let more = next.map(|(token, left)| (token.encode(), left));
        Ok(self.collection(view, &objects, revision, more, &selector))
    }

    fn select(&self, state: &State, selector: &Selector) -> Vec<Arc<Object>> {
        let namespace = Some(self.target.namespace.as_str()).filter(|name| !name.is_empty());
        if let Some(name) = selector.single_name()
            && let Some(namespace) = namespace.or((!self.target.resource.namespaced).then_some(""))
        {
            let found = state.store.get(
                &self.target.resource.key,
                &crate::store::ObjectId::new(namespace, name),
            );
            return found
                .into_iter()
                .filter(|object| selector.matches(object))
                .collect();
        }
        let mut all = state.store.list(&self.target.resource.key, namespace);
        if !selector.is_empty() {
            all.retain(|object| selector.matches(object));
        }
        all
    }

    fn collection(
        &self,
        view: View,
        objects: &[Arc<Object>],
        revision: u64,
        more: Option<(String, usize)>,
        selector: &Selector,
    ) -> Answer {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if let Some((token, left)) = &more {
            metadata["continue"] = token.clone().into();
            if selector.is_empty() {
                metadata["remainingItemCount"] = (*left).into();
            }
        }
        let resource = &self.target.resource;
        if more.is_none() && resource.is_custom() {
            // The real server shows an empty token for custom resources, and only for them.
            metadata["continue"] = "".into();
        }
        match view {
            View::Table => {
                let rows = table::Rows::new(&self.target, self.query.word("includeObject"), true);
                let refs: Vec<&Object> = objects.iter().map(AsRef::as_ref).collect();
                answer_json(200, &rows.of(&refs, &revision.to_string(), more))
            }
            View::Metadata | View::MetadataList => {
                let items: Vec<Value> = objects.iter().map(|object| partial(object)).collect();
                answer_json(
                    200,
                    &json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items}),
                )
            }
            View::Whole => {
                let head = json!({"kind": resource.list_kind, "apiVersion": self.target.api_version(), "metadata": metadata}).to_string();
                let mut out = head.into_bytes();
                out.pop();
                out.extend_from_slice(b",\"items\":[");
                for (at, object) in objects.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    if resource.is_custom() {
                        out.extend_from_slice(
                            &object.typed(&self.target.api_version(), &resource.kind),
                        );
                    } else {
                        out.extend_from_slice(object.bytes());
                    }
                }
                out.extend_from_slice(b"]}");
                bytes(200, "application/json", out.into())
            }
        }
    }

    async fn watch(self) -> Result<Answer, Status> {
        let view = self.view()?;
        let mut selector = self.selector()?;
        if !self.target.name.is_empty() {
            selector.fields.only(&self.target.name);
        }
        let initial = self.query.has("sendInitialEvents");
        if initial && self.query.word("resourceVersionMatch") != "NotOlderThan" {
            let why = "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            return Err(Status::options(
                "ListOptions",
                "resourceVersionMatch",
                "FieldValueForbidden",
                why,
            ));
        }
        let asked = self.query.number("resourceVersion").unwrap_or(0);
        if initial {
            wait_for(self.inner, asked).await?;
        }
        let start = match (initial && self.query.flag("sendInitialEvents"), asked) {
            (true, _) => Start::Initial,
            (false, 0) => Start::Now,
            (false, asked) => Start::After(asked),
        };
        let watching = Watching {
            target: self.target.clone(),
            selector,
            view,
            include: self.query.word("includeObject").to_owned(),
            bookmarks: self.query.flag("allowWatchBookmarks"),
            timeout: self.query.number("timeoutSeconds").map(Duration::from_secs),
        };
        watch(self.inner, watching, start)
    }

    fn options(&self) -> Result<crate::machinery::Options, Status> {
        let agent = self
            .parts
            .headers
            .get(http::header::USER_AGENT)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("");
        self.query.options(agent, self.parts.method.as_str())
    }

    fn create(self) -> Result<Answer, Status> {
        if !self.target.name.is_empty() && self.target.subresource.is_empty() {
            return Err(Status::method_not_allowed());
        }
        let media = media_type(&self.parts.headers);
        if !self.target.resource.allows("get") {
            // The answer does not depend on the question, so it need not be understood.
            let body = if media == PROTOBUF {
                json!({"spec": {}})
            } else {
                parse(&self.body, &media)?
            };
            return Ok(answer_json(201, &review(&self.target, body)));
        }
        let body = parse(&self.body, &media)?;
        if !self.target.name.is_empty() {
            // The only subresources that are created are not served: tokens, evictions, bindings.
            return Err(Status::no_such_path());
        }
        let options = self.options()?;
        let written = self
            .inner
            .state
            .lock()
            .create(&self.target, body, &options)?;
        self.written(&written)
    }

    fn update(self) -> Result<Answer, Status> {
        let body = parse(&self.body, &media_type(&self.parts.headers))?;
        let options = self.options()?;
        let mut state = self.inner.state.lock();
        let written = match self.target.subresource.as_str() {
            "" | "status" | "finalize" => state.replace(&self.target, body, &options)?,
            "scale" => write_scale(&mut state, &self.target, &body, &options)?,
            _ => return Err(Status::no_such_path()),
        };
        drop(state);
        self.written(&written)
    }

    fn patch(self) -> Result<Answer, Status> {
        let media = media_type(&self.parts.headers);
        let (format, body) = match media.as_str() {
            "application/json-patch+json" => (PatchFormat::Json, parse_json(&self.body)?),
            "application/merge-patch+json" => (PatchFormat::Merge, parse_json(&self.body)?),
            "application/strategic-merge-patch+json" => {
                (PatchFormat::Strategic, parse_json(&self.body)?)
            }
            "application/apply-patch+yaml" | "application/apply-patch+json" => {
                (PatchFormat::Apply, yaml(&self.body)?)
            }
            other => return Err(Status::unsupported_media(other, &[])),
        };
        if format == PatchFormat::Apply && self.query.word("fieldManager").is_empty() {
            let why = "fieldManager: Required value: is required for apply patch";
            return Err(Status::options(
                "PatchOptions",
                "fieldManager",
                "FieldValueRequired",
                why,
            ));
        }
        if format != PatchFormat::Apply && self.query.flag("force") {
            let why = "force: Forbidden: may not be specified for non-apply patch";
            return Err(Status::options(
                "PatchOptions",
                "force",
                "FieldValueForbidden",
                why,
            ));
        }
        if !matches!(self.target.subresource.as_str(), "" | "status" | "scale") {
            return Err(Status::no_such_path());
        }
        let options = self.options()?;
        let written = self
            .inner
            .state
            .lock()
            .patch(&self.target, format, &body, &options)?;
        self.written(&written)
    }

    fn deletion(&self) -> Result<crate::machinery::Deletion, Status> {
        let body = if self.body.is_empty() {
            Value::Null
        } else {
            parse(&self.body, &media_type(&self.parts.headers))?
        };
        self.query.deletion(&body)
    }

    fn delete(self) -> Result<Answer, Status> {
        let how = self.deletion()?;
        let removal = self.inner.state.lock().delete(&self.target, &how)?;
        Ok(answer_json(200, &removal.body()))
    }

    fn delete_collection(self) -> Result<Answer, Status> {
        let how = self.deletion()?;
        let selector = self.selector()?;
        let mut state = self.inner.state.lock();
        let objects = self.select(&state, &selector);
        let names: Vec<(String, String)> = objects
            .iter()
            .map(|object| (object.id.namespace.to_string(), object.id.name.to_string()))
            .collect();
        state.delete_all(&self.target, &how, &names)?;
        let revision = state.store.revision();
        drop(state);
        Ok(self.collection(View::Whole, &objects, revision, None, &selector))
    }
}

/// The metadata of an object, as an object.
pub(crate) fn partial(object: &Object) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object.metadata()})
}

/// Waits until the store is as new as the client has seen it.
async fn wait_for(inner: &Inner, asked: u64) -> Result<(), Status> {
    let (mut newest, current) = {
        let state = inner.state.lock();
        (state.store.watch(), state.store.revision())
    };
    if asked <= current {
        return Ok(());
    }
    let reached = tokio::time::timeout(
        WAIT_FOR_REVISION,
        newest.wait_for(|revision| *revision >= asked),
    )
    .await;
    if reached.is_ok() {
        return Ok(());
    }
    let mut status = Status::new(
        504,
        "Timeout",
        format!("Timeout: Too large resource version: {asked}, current: {current}"),
    );
    status.details = json!({
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}], "retryAfterSeconds": 1,
    });
    Err(status)
}

/// A list at an older revision is only known if nothing of it changed since.
fn exact(state: &State, target: &Target, asked: u64) -> Result<(), Status> {
    match state.store.since(&target.resource.key, asked) {
        Ok(events) if events.is_empty() => Ok(()),
        _ => Err(Status::expired(
            "The resourceVersion for the provided list is too old.",
        )),
    }
}

/// Reviews are answered and not kept: here everybody may do everything.
fn review(target: &Target, mut body: Value) -> Value {
    body["kind"] = target.resource.kind.clone().into();
    body["apiVersion"] = target.api_version().into();
    body["status"] = match target.resource.kind.as_str() {
        "SelfSubjectReview" => {
            json!({"userInfo": {"username": "sandbox", "groups": ["system:masters", "system:authenticated"]}})
        }
        "TokenReview" => json!({"authenticated": true, "user": {"username": "sandbox"}}),
        "SelfSubjectRulesReview" => json!({
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}], "incomplete": false,
        }),
        _ => json!({"allowed": true}),
    };
    body
}

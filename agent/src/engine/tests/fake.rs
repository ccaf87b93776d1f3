//! A Kubernetes API in memory, behind the same HTTP client as the real one:
//! enough of server-side apply, field ownership, watches, discovery and
//! preconditions for the engine to be driven through every step, with faults
//! and crashes at any request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::body::Body as Reply;
use bytes::Bytes;
use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, mpsc};
use tower::BoxError;

use super::fields::{fields_v1, leaves, parts, set, unset};

/// Group, version, kind, plural, namespaced, has a status.
type Served = (String, String, String, String, bool, bool);

const KINDS: &[(&str, &str, &str, &str, bool, bool)] = &[
    ("", "v1", "Namespace", "namespaces", false, true),
    ("", "v1", "ConfigMap", "configmaps", true, false),
    ("", "v1", "Secret", "secrets", true, false),
    ("", "v1", "ServiceAccount", "serviceaccounts", true, false),
    ("apps", "v1", "Deployment", "deployments", true, true),
    ("batch", "v1", "Job", "jobs", true, true),
    (
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        false,
        true,
    ),
];

/// One stored object.
#[derive(Clone)]
struct Stored {
    value: Value,
    uid: u64,
    version: u64,
    deleting: bool,
    /// Leaves that field manager `lockstep` owns.
    owned: BTreeSet<String>,
    other: Option<String>,
    /// Leaves that the other one owns.
    theirs: BTreeSet<String>,
}

/// When the machine that runs the agent dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// Before the request reaches the server.
    Before,
    /// After the server did it, before the answer came.
    After,
}

type Fault = Box<dyn Fn(&Method, &str) -> Option<(u16, Value)> + Send>;

#[derive(Default)]
struct State {
    version: u64,
    objects: BTreeMap<String, Stored>,
    watches: Vec<(String, mpsc::UnboundedSender<String>)>,
    log: Vec<String>,
    /// Requests, and who they were made as where that was not the agent.
    acts: Vec<(String, Option<String>)>,
    deleted: Vec<String>,
    fault: Option<Fault>,
    crash: Option<(usize, Crash)>,
    crashed: bool,
    /// The request that is never answered; the agent lives on.
    stall: Option<(usize, Crash)>,
    epoch: u64,
    /// CRDs are established only when the test says so.
    slow_definitions: bool,
    /// Watches are refused.
    blind: bool,
    /// Deployments are rolled out and Jobs done as soon as they are applied.
    controllers: bool,
    /// Paths of what was created, in order.
    created: Vec<String>,
    /// Paths of what applies changed or created, in order.
    applied: Vec<String>,
}

/// See the module. Cheap to clone.
#[derive(Clone, Default)]
pub struct Fake {
    state: Arc<Mutex<State>>,
    pub crashed: Arc<Notify>,
}

type Answer = Response<Reply>;

impl Fake {
    /// A client of a fresh agent; earlier ones hear nothing any more.
    pub fn client(&self) -> Client {
        let epoch = {
            let mut state = self.state.lock();
            state.epoch += 1;
            state.crashed = false;
            state.watches.clear();
            state.epoch
        };
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move { Ok::<_, BoxError>(fake.answer(epoch, request).await) }
        });
        Client::new(service, "default")
    }

    /// Dies at the `n`th request from now that is no watch.
    pub fn crash_at(&self, n: usize, crash: Crash) {
        self.state.lock().crash = Some((n, crash));
    }

    /// The `n`th request from now that is no watch is never answered: it does
    /// not arrive, or it is done all the same.
    pub fn stall_at(&self, n: usize, how: Crash) {
        self.state.lock().stall = Some((n, how));
    }

    /// The cluster comes back from a backup: its history begins again.
    pub fn restore(&self) {
        let mut state = self.state.lock();
        let mut version = 0;
        for stored in state.objects.values_mut() {
            version += 1;
            stored.version = version;
        }
        state.version = version;
        state.watches.clear();
    }

    pub fn never_crash(&self) {
        self.state.lock().crash = None;
    }

    pub fn fault(&self, fault: impl Fn(&Method, &str) -> Option<(u16, Value)> + Send + 'static) {
        self.state.lock().fault = Some(Box::new(fault));
    }

    pub fn no_fault(&self) {
        self.state.lock().fault = None;
    }

    pub fn blind(&self, blind: bool) {
        let mut state = self.state.lock();
        state.blind = blind;
        state.watches.clear();
    }

    pub fn controllers(&self) {
        self.state.lock().controllers = true;
    }

    /// Paths of what applies changed or created so far, in order; taken away.
    pub fn applied(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().applied)
    }

    pub fn no_controllers(&self) {
        self.state.lock().controllers = false;
    }

    /// Paths of what was created so far, in order; taken away.
    pub fn created(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().created)
    }

    pub fn slow_definitions(&self) {
        self.state.lock().slow_definitions = true;
    }

    /// Requests so far, as "PATCH /api/v1/…"; taken away.
    pub fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().log)
    }

    /// All requests that were no watches, and who they were made as.
    pub fn acts(&self) -> Vec<(String, Option<String>)> {
        std::mem::take(&mut self.state.lock().acts)
    }

    pub fn deleted(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().deleted)
    }

    pub fn get(&self, path: &str) -> Option<Value> {
        let state = self.state.lock();
        state.objects.get(path).map(|stored| shown(path, stored))
    }

    /// Paths of all objects but the agent's own and the namespaces.
    pub fn paths(&self) -> Vec<String> {
        let state = self.state.lock();
        let all = state.objects.keys();
        all.filter(|p| !p.contains("lockstep-system"))
            .cloned()
            .collect()
    }

    pub fn inventories(&self) -> Vec<Value> {
        let state = self.state.lock();
        let all = state.objects.iter();
        all.filter(|(path, _)| path.contains("/lockstep-system/configmaps/"))
            .map(|(path, stored)| shown(path, stored))
            .collect()
    }

    /// Somebody creates an object.
    pub fn put(&self, path: &str, value: Value) {
        self.state.lock().store(path, value, "kubectl", None);
    }

    /// Somebody sets a field: "data.key".
    pub fn edit(&self, path: &str, field: &str, value: Value) {
        let mut state = self.state.lock();
        let mut object = state.objects[path].value.clone();
        let parts: Vec<&str> = field.split('.').collect();
        set(&mut object, &parts, value);
        state.store(path, object, "kubectl-edit", None);
    }

    /// Somebody deletes an object.
    pub fn delete(&self, path: &str) {
        let mut state = self.state.lock();
        state.version += 1;
        state.remove(path);
        state.deleted.pop();
    }

    /// Somebody deletes an object that finalizers hold.
    pub fn remove_as_a_person(&self, path: &str) {
        let mut state = self.state.lock();
        state.version += 1;
        let version = state.version;
        let stored = state.objects.get_mut(path).unwrap();
        stored.deleting = true;
        stored.version = version;
        state.emit("MODIFIED", path);
    }

    /// What was held by a finalizer goes.
    pub fn finish(&self, path: &str) {
        let mut state = self.state.lock();
        let object = &mut state.objects.get_mut(path).unwrap().value;
        object["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("finalizers");
        state.version += 1;
        state.remove(path);
    }

    pub fn set_status(&self, path: &str, status: Value) {
        let mut state = self.state.lock();
        state.set_status(path, status);
    }

    async fn answer(&self, epoch: u64, request: Request<Body>) -> Answer {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap();
        let path = parts.uri.path().to_owned();
        let query = parts.uri.query().unwrap_or("").to_owned();
        let watch = query.contains("watch=true");
        let answer = {
            let mut state = self.state.lock();
            let dead = epoch != state.epoch || state.crashed;
            let mut crash = None;
            if !dead
                && !watch
                && let Some((n, how)) = state.crash.as_mut()
            {
                if *n == 0 {
                    crash = Some(*how);
                } else {
                    *n -= 1;
                }
            }
            if crash.is_some() {
                state.crash = None;
                state.crashed = true;
                self.crashed.notify_one();
            }
            if !dead && !watch {
                let stall = state.stall.take();
                state.stall = stall.and_then(|(n, how)| Some((n.checked_sub(1)?, how)));
                if let Some((0, how)) = stall {
                    crash = Some(how);
                    self.crashed.notify_one();
                }
            }
            if dead || crash == Some(Crash::Before) {
                None
            } else {
                let line = format!("{} {path}?{query}", parts.method);
                if !watch {
                    let who = parts.headers.get("impersonate-user");
                    let who = who.map(|who| who.to_str().unwrap().to_owned());
                    state.acts.push((line.clone(), who));
                }
                state.log.push(line);
                let answer = state.handle(&parts.method, &path, &query, &body);
                crash.is_none().then_some(answer)
            }
        };
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

fn json_answer(code: u16, value: &Value) -> Answer {
    text_answer(code, value.to_string())
}

fn text_answer(code: u16, text: String) -> Answer {
    Response::builder()
        .status(code)
        .body(Reply::from(text))
        .unwrap()
}

pub fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": reason, "message": message, "details": {"name": "x"}})
}

fn refuse(code: u16, reason: &str, message: &str) -> Answer {
    json_answer(code, &status(code, reason, message))
}

/// The object with the metadata that a server adds.
fn shown(path: &str, stored: &Stored) -> Value {
    let mut value = stored.value.clone();
    let metadata = value["metadata"].as_object_mut().unwrap();
    metadata.insert("name".into(), path.rsplit('/').next().unwrap().into());
    if let Some(namespace) = namespace_of(path) {
        metadata.insert("namespace".into(), namespace.into());
    }
    metadata.insert("uid".into(), format!("uid-{}", stored.uid).into());
    metadata.insert("resourceVersion".into(), stored.version.to_string().into());
    if stored.deleting {
        metadata.insert("deletionTimestamp".into(), "2026-01-01T00:00:00Z".into());
    }
    let mut managed = Vec::new();
    if let Some(other) = &stored.other {
        managed.push(
            json!({"manager": other, "operation": "Update", "time": "2026-01-01T00:00:00Z",
                "fieldsV1": fields_v1(&stored.theirs)}),
        );
    }
    if !stored.owned.is_empty() {
        managed.push(json!({"manager": "lockstep", "operation": "Apply",
                "fieldsV1": fields_v1(&stored.owned)}));
    }
    metadata.insert("managedFields".into(), managed.into());
    value
}

fn namespace_of(path: &str) -> Option<String> {
    let (_, rest) = path.split_once("/namespaces/")?;
    let (namespace, rest) = rest.split_once('/')?;
    rest.contains('/').then(|| namespace.to_owned())
}

impl State {
    fn served(&self) -> Vec<Served> {
        let built_in = KINDS.iter().map(|(g, v, k, p, n, s)| {
            (
                g.to_string(),
                v.to_string(),
                k.to_string(),
                p.to_string(),
                *n,
                *s,
            )
        });
        let custom = self.objects.iter().filter_map(|(path, stored)| {
            let established =
                stored.value.pointer("/status/conditions/0/status") == Some(&json!("True"));
            (path.contains("/customresourcedefinitions/") && established).then(|| {
                let spec = &stored.value["spec"];
                let text = |p: &str| spec.pointer(p).unwrap().as_str().unwrap().to_owned();
                (
                    text("/group"),
                    "v1".into(),
                    text("/names/kind"),
                    text("/names/plural"),
                    true,
                    true,
                )
            })
        });
        built_in.chain(custom).collect()
    }

    fn discovery(&self, core: bool) -> Value {
        let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (group, version, kind, plural, namespaced, status) in self.served() {
            if group.is_empty() == core {
                let subresources = if status {
                    json!([{"subresource": "status"}])
                } else {
                    json!([])
                };
                groups.entry(group.clone()).or_default().push(json!({
                    "resource": plural, "scope": if namespaced {"Namespaced"} else {"Cluster"},
                    "responseKind": {"group": group, "version": version, "kind": kind},
                    "verbs": ["get", "watch"], "subresources": subresources}));
            }
        }
        let items: Vec<Value> = groups
            .into_iter()
            .map(|(group, resources)| {
                json!({"metadata": {"name": group},
                "versions": [{"version": "v1", "resources": resources}]})
            })
            .collect();
        json!({"kind": "APIGroupDiscoveryList", "items": items})
    }

    fn handle(&mut self, method: &Method, path: &str, query: &str, body: &[u8]) -> Answer {
        if path == "/api" || path == "/apis" {
            return json_answer(200, &self.discovery(path == "/api"));
        }
        if let Some((code, value)) = self.fault.as_ref().and_then(|fault| fault(method, path)) {
            return json_answer(code, &value);
        }
        let plural = |p: &str| {
            let tail: Vec<&str> = p.rsplit('/').take(2).collect();
            let served = self.served();
            let collection = served
                .iter()
                .any(|s| s.3 == tail[0] && tail[1] != "namespaces");
            let object = served.iter().any(|s| tail.len() > 1 && s.3 == tail[1]);
            (collection, object)
        };
        let (collection, object) = plural(path);
        if !collection && !object {
            return text_answer(404, "404 page not found".into());
        }
        if query.contains("watch=true") {
            return self.watch(path, query);
        }
        let value: Value = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(body).unwrap()
        };
        match *method {
            Method::GET if collection && !self.objects.contains_key(path) => self.list(path, query),
            Method::GET => match self.objects.get(path) {
                Some(stored) => json_answer(200, &shown(path, stored)),
                None => refuse(404, "NotFound", "not found"),
            },
            Method::POST => {
                let name = value["metadata"]["name"].as_str().unwrap();
                let path = format!("{path}/{name}");
                self.create(&path, value)
            }
            Method::PUT => self.replace(path, value),
            Method::PATCH if query.contains("force=true") => {
                self.apply(path, &value, query.contains("dryRun"))
            }
            Method::PATCH => self.merge(path, &value),
            Method::DELETE => self.delete_checked(path, &value),
            _ => refuse(405, "MethodNotAllowed", "no"),
        }
    }

    fn namespace_missing(&self, path: &str) -> Option<Answer> {
        let namespace = namespace_of(path)?;
        let known = self
            .objects
            .contains_key(&format!("/api/v1/namespaces/{namespace}"));
        (!known).then(|| {
            refuse(
                404,
                "NotFound",
                &format!("namespaces {namespace:?} not found"),
            )
        })
    }

    fn create(&mut self, path: &str, value: Value) -> Answer {
        if let Some(missing) = self.namespace_missing(path) {
            return missing;
        }
        if self.objects.contains_key(path) {
            return refuse(409, "AlreadyExists", "it already exists");
        }
        self.store(path, value, "lockstep", None);
        json_answer(201, &shown(path, &self.objects[path]))
    }

    fn replace(&mut self, path: &str, value: Value) -> Answer {
        let Some(stored) = self.objects.get(path) else {
            return refuse(404, "NotFound", "not found");
        };
        let version = value["metadata"]["resourceVersion"].as_str();
        if version.is_some_and(|v| v != stored.version.to_string()) {
            return refuse(409, "Conflict", "the object has been modified");
        }
        self.store(path, value, "lockstep", None);
        json_answer(200, &shown(path, &self.objects[path]))
    }

    fn merge(&mut self, path: &str, patch: &Value) -> Answer {
        let Some(stored) = self.objects.get(path) else {
            return refuse(404, "NotFound", "not found");
        };
        let mut value = stored.value.clone();
        for (leaf, new) in leaves(patch) {
            let parts = parts(&leaf);
            match new {
                Value::Null => unset(&mut value, &parts),
                _ if parts == ["metadata", "resourceVersion"] => {}
                new => set(&mut value, &parts, new),
            }
        }
        self.store(path, value, "lockstep", None);
        json_answer(200, &shown(path, &self.objects[path]))
    }

    fn apply(&mut self, path: &str, body: &Value, dry_run: bool) -> Answer {
        if let Some(missing) = self.namespace_missing(path) {
            return missing;
        }
        let mut body = body.clone();
        let said = body["metadata"].as_object_mut().unwrap();
        if let Some(version) = said.remove("resourceVersion") {
            let now = self.objects.get(path).map(|s| s.version.to_string());
            if version.as_str() != now.as_deref() {
                return refuse(409, "Conflict", "the object has been modified");
            }
        }
        let new = leaves(&body);
        let (mut value, owned) = match self.objects.get(path) {
            Some(stored) => (stored.value.clone(), stored.owned.clone()),
            None => (
                json!({"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": {}}),
                BTreeSet::new(),
            ),
        };
        for gone in owned.iter().filter(|leaf| !new.contains_key(*leaf)) {
            unset(&mut value, &parts(gone));
        }
        for (leaf, field) in &new {
            set(&mut value, &parts(leaf), field.clone());
        }
        // `data.fixed` cannot change once an object exists.
        let fixed = |value: &Value| value.pointer("/data/fixed").cloned();
        if let Some(stored) = self.objects.get(path)
            && fixed(&stored.value) != fixed(&value)
        {
            let mut refusal = status(422, "Invalid", "data.fixed: field is immutable");
            refusal["details"]["causes"] =
                json!([{"field": "data.fixed", "message": "Invalid value: field is immutable"}]);
            return json_answer(422, &refusal);
        }
        let owned: BTreeSet<String> = new.into_keys().collect();
        if dry_run {
            let stored = Stored {
                value,
                uid: 0,
                version: 0,
                deleting: false,
                owned,
                other: None,
                theirs: BTreeSet::new(),
            };
            let mut shown = shown(path, &stored);
            shown["metadata"]["uid"] = self
                .objects
                .get(path)
                .map_or(json!(""), |s| json!(format!("uid-{}", s.uid)));
            return json_answer(200, &shown);
        }
        self.is_accounted_for(path);
        let before = self.objects.get(path).map(|stored| &stored.value);
        if before != Some(&value) {
            self.applied.push(path.to_owned());
        }
        let code = if self.objects.contains_key(path) {
            200
        } else {
            201
        };
        self.store(path, value, "lockstep", Some(owned));
        if path.contains("/customresourcedefinitions/") && !self.slow_definitions {
            self.set_status(
                path,
                json!({"conditions": [{"type": "Established", "status": "True"}]}),
            );
        }
        if self.controllers && path.contains("/deployments/") {
            self.set_status(path, rolled_out(1));
        }
        if self.controllers && path.contains("/jobs/") {
            self.set_status(path, done());
        }
        json_answer(code, &shown(path, &self.objects[path]))
    }

    /// The law that the inventory is written before the objects are.
    fn is_accounted_for(&self, path: &str) {
        let name = path.rsplit('/').next().unwrap();
        let listed = self.objects.iter().any(|(map, stored)| {
            map.contains("/lockstep-system/configmaps/inventory-")
                && listed(&stored.value).iter().any(|line| {
                    line["name"] == name
                        && line["namespace"].as_str().unwrap_or("")
                            == namespace_of(path).unwrap_or_default()
                })
        });
        assert!(
            listed,
            "{path} is applied, but no stored inventory lists it"
        );
    }

    fn set_status(&mut self, path: &str, status: Value) {
        let stored = self.objects.get_mut(path).unwrap();
        if stored.value.get("status") == Some(&status) {
            return;
        }
        stored.value["status"] = status;
        self.version += 1;
        stored.version = self.version;
        self.emit("MODIFIED", path);
    }

    fn store(&mut self, path: &str, value: Value, manager: &str, owned: Option<BTreeSet<String>>) {
        self.version += 1;
        let version = self.version;
        let Some(stored) = self.objects.get_mut(path) else {
            let other = owned.is_none().then(|| manager.to_owned());
            let stored = Stored {
                value,
                uid: version,
                version,
                deleting: false,
                owned: owned.unwrap_or_default(),
                other,
                theirs: BTreeSet::new(),
            };
            self.objects.insert(path.to_owned(), stored);
            self.created.push(path.to_owned());
            return self.emit("ADDED", path);
        };
        let (was, is) = (leaves(&stored.value), leaves(&value));
        let changed = |leaf: &String| was.get(leaf) != is.get(leaf);
        stored.theirs.retain(|leaf| is.contains_key(leaf));
        if owned.is_none() && manager != "lockstep" {
            stored
                .theirs
                .extend(is.keys().filter(|l| changed(l)).cloned());
        } else {
            stored.theirs.retain(|leaf| !changed(leaf));
        }
        let owned = owned.unwrap_or_else(|| {
            // What somebody else changes is theirs.
            let kept = stored
                .owned
                .iter()
                .filter(|leaf| was.get(*leaf) == is.get(*leaf));
            kept.cloned().collect()
        });
        if stored.value == value && stored.owned == owned {
            return;
        }
        if manager != "lockstep" {
            stored.other = Some(manager.to_owned());
        }
        stored.value = value;
        stored.owned = owned;
        stored.version = version;
        self.emit("MODIFIED", path);
    }

    fn delete_checked(&mut self, path: &str, options: &Value) -> Answer {
        let Some(stored) = self.objects.get_mut(path) else {
            return refuse(404, "NotFound", "not found");
        };
        let expected = (format!("uid-{}", stored.uid), stored.version.to_string());
        let given = &options["preconditions"];
        if given["uid"] != expected.0.as_str() || given["resourceVersion"] != expected.1.as_str() {
            return refuse(409, "Conflict", "the precondition does not hold");
        }
        self.version += 1;
        let held = stored.value.pointer("/metadata/finalizers").is_some();
        if held {
            stored.deleting = true;
            stored.version = self.version;
            self.emit("MODIFIED", path);
            return json_answer(200, &shown(path, &self.objects[path]));
        }
        self.remove(path);
        if path.starts_with("/api/v1/namespaces/") && namespace_of(path).is_none() {
            let inside = format!("{path}/");
            let inside: Vec<String> = self
                .objects
                .keys()
                .filter(|p| p.starts_with(&inside))
                .cloned()
                .collect();
            for path in inside {
                self.remove(&path);
            }
        }
        json_answer(200, &json!({"kind": "Status", "status": "Success"}))
    }

    fn remove(&mut self, path: &str) {
        if let Some(mut stored) = self.objects.remove(path) {
            self.deleted.push(path.to_owned());
            stored.version = self.version;
            self.tell("DELETED", path, &shown(path, &stored));
        }
    }

    fn emit(&mut self, event: &str, path: &str) {
        let object = shown(path, &self.objects[path]);
        self.tell(event, path, &object);
    }

    fn tell(&mut self, event: &str, path: &str, object: &Value) {
        if object
            .pointer("/metadata/labels/lockstep.dev~1assignment")
            .is_none()
            && event != "MODIFIED"
        {
            return;
        }
        let labelled = object
            .pointer("/metadata/labels/lockstep.dev~1assignment")
            .is_some();
        let event = if labelled { event } else { "DELETED" };
        let line = format!("{}\n", json!({"type": event, "object": object}));
        self.watches.retain(|(collection, lines)| {
            !matches(collection, path) || lines.send(line.clone()).is_ok()
        });
    }

    fn watch(&mut self, path: &str, query: &str) -> Answer {
        if self.blind {
            return refuse(403, "Forbidden", "watching is forbidden");
        }
        let (give, take) = mpsc::unbounded_channel();
        if query.contains("sendInitialEvents=true") {
            for (object, stored) in &self.objects {
                let shown = shown(object, stored);
                if matches(path, object)
                    && shown
                        .pointer("/metadata/labels/lockstep.dev~1assignment")
                        .is_some()
                {
                    give.send(format!("{}\n", json!({"type": "ADDED", "object": shown})))
                        .unwrap();
                }
            }
            let end = json!({"type": "BOOKMARK", "object": {"metadata": {
                "resourceVersion": self.version.to_string(),
                "annotations": {"k8s.io/initial-events-end": "true"}}}});
            give.send(format!("{end}\n")).unwrap();
        } else if self.version > 0 {
            // This server remembers nothing: whoever comes back starts anew.
            return refuse(410, "Expired", "too old resource version");
        }
        self.watches.push((path.to_owned(), give));
        let lines = tokio_stream::wrappers::UnboundedReceiverStream::new(take);
        let chunks = futures::StreamExt::map(lines, |line| Ok::<_, BoxError>(Bytes::from(line)));
        Response::builder()
            .status(200)
            .body(Reply::from_stream(chunks))
            .unwrap()
    }

    fn list(&self, path: &str, query: &str) -> Answer {
        // labelSelector=a%3Db%2Cc%3Dd
        let selector = query
            .split('&')
            .find_map(|part| part.strip_prefix("labelSelector="))
            .unwrap_or("")
            .replace("%3D", "=")
            .replace("%2C", ",")
            .replace("%2F", "/");
        let wanted: Vec<(&str, &str)> = selector
            .split(',')
            .filter_map(|s| s.split_once('='))
            .collect();
        let items: Vec<Value> = self
            .objects
            .iter()
            .filter(|(object, _)| matches(path, object))
            .map(|(path, stored)| shown(path, stored))
            .filter(|object| {
                let none = Map::new();
                let labels = object["metadata"]["labels"].as_object().unwrap_or(&none);
                wanted
                    .iter()
                    .all(|(key, value)| labels.get(*key) == Some(&json!(value)))
            })
            .collect();
        json_answer(
            200,
            &json!({"metadata": {"resourceVersion": self.version.to_string()}, "items": items}),
        )
    }
}

/// The status of a Deployment that is rolled out.
pub fn rolled_out(replicas: u32) -> Value {
    json!({"replicas": replicas, "updatedReplicas": replicas, "availableReplicas": replicas,
        "readyReplicas": replicas, "observedGeneration": 1,
        "conditions": [{"type": "Available", "status": "True"}]})
}

/// The status of a Job that is done.
pub fn done() -> Value {
    json!({"startTime": "2026-01-01T00:00:00Z", "succeeded": 1,
        "conditions": [{"type": "Complete", "status": "True"}]})
}

/// What a stored inventory lists.
pub fn listed(map: &Value) -> Vec<Value> {
    use base64::Engine as _;
    let packed = map["binaryData"]["items.jsonl.zst"].as_str().unwrap_or("");
    let packed = base64::engine::general_purpose::STANDARD.decode(packed);
    let text = zstd::decode_all(&*packed.unwrap()).unwrap_or_default();
    text.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// Whether the object at `path` is in `collection`, which may span namespaces.
fn matches(collection: &str, path: &str) -> bool {
    let Some((folder, _)) = path.rsplit_once('/') else {
        return false;
    };
    if folder == collection {
        return true;
    }
    let (Some((root, plural)), Some((prefix, own))) =
        (collection.rsplit_once('/'), folder.rsplit_once('/'))
    else {
        return false;
    };
    plural == own && prefix.starts_with(&format!("{root}/namespaces/"))
}

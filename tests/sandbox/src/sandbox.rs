//! A sandbox from outside: start, stop, look, disturb.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::Context;
use http::{Request, Response};
use hyper::body::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::controllers;
use crate::faults::Faults;
use crate::http::{AnswerBody, Broken, bind, handle, serve};
use crate::machinery::{Deletion, Options, State, Target, Validation};
use crate::store::ObjectId;

/// How a sandbox behaves.
#[derive(Clone, Debug)]
pub struct SandboxOptions {
    /// The name of the cluster, of its node and of the context in its kubeconfig.
    pub name: String,
    /// How long workloads take to become ready, jobs to complete.
    pub ready_after: Duration,
    /// How long a new CustomResourceDefinition takes until its kind is served.
    pub established_after: Duration,
    /// Do workloads become ready? Without, the sandbox is an API server and no more.
    pub workloads: bool,
    /// Do workloads have ReplicaSets and Pods, or only a status?
    pub pods: bool,
    /// The port; 0 takes a free one.
    pub port: u16,
}

impl Default for SandboxOptions {
    fn default() -> Self {
        Self {
            name: "sandbox".to_owned(),
            ready_after: Duration::from_millis(500),
            established_after: Duration::from_millis(100),
            workloads: true,
            pods: false,
            port: 0,
        }
    }
}

/// How often each verb was used on each resource.
#[derive(Default)]
pub(crate) struct Requests(Mutex<BTreeMap<(String, String), u64>>);

impl Requests {
    pub(crate) fn count(&self, verb: &str, resource: &str) {
        *self
            .0
            .lock()
            .entry((verb.to_owned(), resource.to_owned()))
            .or_default() += 1;
    }

    pub(crate) fn snapshot(&self) -> BTreeMap<(String, String), u64> {
        self.0.lock().clone()
    }

    pub(crate) fn reset(&self) {
        self.0.lock().clear();
    }
}

/// What requests, watches and controllers share.
pub(crate) struct Inner {
    pub state: Mutex<State>,
    pub faults: Faults,
    pub requests: Requests,
    pub options: SandboxOptions,
    port: AtomicU16,
    /// Ends what runs now; a restart makes another.
    run: Mutex<CancellationToken>,
    /// Ends the watches that run now.
    watches: Mutex<CancellationToken>,
}

impl Inner {
    pub(crate) fn running(&self) -> CancellationToken {
        self.run.lock().clone()
    }

    pub(crate) fn watches(&self) -> CancellationToken {
        self.watches.lock().clone()
    }

    /// Tells every watch that its revision is too old, and forgets the past.
    pub(crate) fn expire_watches(&self) {
        self.state.lock().store.compact();
        std::mem::take(&mut *self.watches.lock()).cancel();
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port.load(Ordering::Relaxed))
    }
}

/// A small Kubernetes cluster in this process. Dropping it stops it.
pub struct Sandbox {
    inner: Arc<Inner>,
    tasks: TaskTracker,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.inner.running().cancel();
    }
}

impl Sandbox {
    /// Starts a cluster on a port of its own.
    ///
    /// # Errors
    ///
    /// If the port cannot be bound.
    pub async fn start(options: SandboxOptions) -> anyhow::Result<Self> {
        let sandbox = Self::furnished(options)?;
        sandbox.run().await?;
        Ok(sandbox)
    }

    /// A cluster without a port: requests come by [`Self::call`] alone, so that all of it
    /// runs on the caller's runtime, and by its clock.
    ///
    /// # Errors
    ///
    /// If the first objects cannot be made.
    pub fn without_port(options: SandboxOptions) -> anyhow::Result<Self> {
        let sandbox = Self::furnished(options)?;
        let stop = sandbox.inner.running();
        sandbox
            .tasks
            .spawn(controllers::run(sandbox.inner.clone(), stop));
        Ok(sandbox)
    }

    /// Answers one request, as if it had come by a connection.
    ///
    /// # Errors
    ///
    /// If a fault breaks the connection.
    pub fn call<B>(
        &self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<AnswerBody>, Broken>> + Send + use<B>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let inner = self.inner.clone();
        async move { handle(&inner, request).await }
    }

    fn furnished(options: SandboxOptions) -> anyhow::Result<Self> {
        let faults = Faults::default();
        let mut state = State::new(faults.clone());
        controllers::furnish(&mut state, &options.name)
            .context("the first objects of the sandbox")?;
        Ok(Self {
            inner: Arc::new(Inner {
                state: Mutex::new(state),
                faults,
                requests: Requests::default(),
                port: AtomicU16::new(options.port),
                options,
                run: Mutex::default(),
                watches: Mutex::default(),
            }),
            tasks: TaskTracker::new(),
        })
    }

    async fn run(&self) -> anyhow::Result<()> {
        let wanted = self.inner.port.load(Ordering::Relaxed);
        let listener = bind(wanted)
            .await
            .with_context(|| format!("port {wanted} of sandbox {}", self.inner.options.name))?;
        self.inner
            .port
            .store(listener.local_addr()?.port(), Ordering::Relaxed);
        let stop = CancellationToken::new();
        *self.inner.run.lock() = stop.clone();
        self.tasks
            .spawn(serve(self.inner.clone(), listener, stop.clone()));
        self.tasks.spawn(controllers::run(self.inner.clone(), stop));
        Ok(())
    }

    /// Takes the API away: connections break, the port is closed. Objects stay.
    pub async fn stop(&self) {
        self.inner.running().cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Brings the API back after [`Self::stop`], on the same port and with the same objects.
    ///
    /// # Errors
    ///
    /// If somebody took the port meanwhile.
    pub async fn restart(&self) -> anyhow::Result<()> {
        self.stop().await;
        self.tasks.reopen();
        self.run().await
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.inner.host())
    }

    /// The name from the options.
    pub fn name(&self) -> &str {
        &self.inner.options.name
    }

    /// A kubeconfig with one context, named as the sandbox.
    pub fn kubeconfig(&self) -> String {
        let name = self.name();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": name,
            "clusters": [{"name": name, "cluster": {"server": self.url()}}],
            "users": [{"name": name, "user": {"token": "sandbox"}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        });
        // JSON is YAML that every reader takes.
        serde_json::to_string_pretty(&config).unwrap_or_default()
    }

    /// Writes the kubeconfig to `DIR/NAME.kubeconfig`.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn write_kubeconfig(&self, dir: &Path) -> anyhow::Result<PathBuf> {
        let path = dir.join(format!("{}.kubeconfig", self.name()));
        std::fs::write(&path, self.kubeconfig())
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// What goes wrong from now on.
    pub fn faults(&self) -> &Faults {
        &self.inner.faults
    }

    /// Tells every watch that it is too old, as a compaction does: clients have to list again.
    pub fn expire_watches(&self) {
        self.inner.expire_watches();
    }

    /// An object, if it is there. `api_version` as in manifests (`apps/v1`); `namespace` is
    /// empty for cluster-scoped kinds.
    pub fn get(&self, api_version: &str, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let state = self.inner.state.lock();
        let target = target(&state, api_version, kind, namespace, name)?;
        let object = state.store.get(&target.resource.key, &target.id())?;
        Some(state.read(&target, &object))
    }

    /// The objects of a kind in a namespace, or in all if it is empty.
    pub fn list(&self, api_version: &str, kind: &str, namespace: &str) -> Vec<Value> {
        let state = self.inner.state.lock();
        let Some(target) = target(&state, api_version, kind, namespace, "") else {
            return Vec::new();
        };
        let within = Some(namespace).filter(|name| !name.is_empty());
        state
            .store
            .list(&target.resource.key, within)
            .iter()
            .map(|object| state.read(&target, object))
            .collect()
    }

    /// Puts an object there by server-side apply, as somebody else than the agent would.
    ///
    /// # Errors
    ///
    /// What the API would answer.
    pub fn apply(&self, manager: &str, object: &Value) -> anyhow::Result<Value> {
        let mut state = self.inner.state.lock();
        let word = |value: &Value| value.as_str().unwrap_or("").to_owned();
        let metadata = &object["metadata"];
        let target = target(
            &state,
            &word(&object["apiVersion"]),
            &word(&object["kind"]),
            &word(&metadata["namespace"]),
            &word(&metadata["name"]),
        )
        .with_context(|| {
            format!(
                "the sandbox serves no {} {}",
                object["apiVersion"], object["kind"]
            )
        })?;
        let options = Options {
            manager: manager.to_owned(),
            dry_run: false,
            force: true,
            validation: Validation::Warn,
        };
        let written = state.patch(
            &target,
            crate::machinery::PatchFormat::Apply,
            object,
            &options,
        );
        written
            .map(|written| written.object)
            .map_err(|status| anyhow::anyhow!("{}", status.message))
    }

    /// Deletes an object behind everybody's back; false if it was not there.
    pub fn delete(&self, api_version: &str, kind: &str, namespace: &str, name: &str) -> bool {
        let mut state = self.inner.state.lock();
        target(&state, api_version, kind, namespace, name)
            .is_some_and(|target| state.delete(&target, &Deletion::default()).is_ok())
    }

    /// Resolves at the next change of any object, or at once if there was one since the last call
    /// on this receiver: `changed()` of a watch channel that carries the store's revision.
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.inner.state.lock().store.watch()
    }

    /// Requests so far, by verb and resource (`("patch", "deployments.apps")`).
    pub fn requests(&self) -> BTreeMap<(String, String), u64> {
        self.inner.requests.snapshot()
    }

    /// Requests of one verb so far, over all resources.
    pub fn count(&self, verb: &str) -> u64 {
        self.requests()
            .iter()
            .filter(|((other, _), _)| other == verb)
            .map(|(_, count)| count)
            .sum()
    }

    /// Sets the counters back to nothing.
    pub fn reset_requests(&self) {
        self.inner.requests.reset();
    }
}

fn target(
    state: &State,
    api_version: &str,
    kind: &str,
    namespace: &str,
    name: &str,
) -> Option<Target> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = state.catalogue.by_kind(group, kind)?;
    resource.version(version)?;
    let id = ObjectId::new(if resource.namespaced { namespace } else { "" }, name);
    Some(Target {
        resource,
        version: version.to_owned(),
        namespace: id.namespace.to_string(),
        name: name.to_owned(),
        subresource: String::new(),
    })
}

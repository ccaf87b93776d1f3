//! The agent's engine alone on a cluster: Bundles come from a folder, the
//! desired state from the test. A test cannot tell which cluster it got.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, Config};
use lockstep_agent::bundle::{BundleError, BundleFile, BundleSource, Writer};
use lockstep_agent::caps::Caps;
use lockstep_agent::desired::Desired;
use lockstep_agent::engine::{EngineOptions, Metrics, connect, run};
use lockstep_agent::journal::Journal;
use lockstep_agent::report::Outbox;
use lockstep_fixtures::{Cluster, ClusterOptions, Scratch};
use lockstep_proto::Digest;
use lockstep_proto::bundle::{IndexEntry, ObjectKey, canonical_json};
use lockstep_proto::v1::sync::Status;
use lockstep_proto::v1::{ApplyOptions, DesiredItem, ObjectEvent, Report};
use lockstep_sandbox::{Sandbox, SandboxOptions};
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What kind of cluster a story runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// kube-apiserver alone.
    Api,
    /// kube-apiserver with controllers.
    Full,
    Sandbox,
}

pub enum Part {
    Real(Box<Cluster>),
    Sandbox(Sandbox),
}

/// API servers are large: not all tests at once.
static ROOM: Semaphore = Semaphore::const_new(3);
/// Nothing that works takes a tenth of it.
const PATIENCE: Duration = Duration::from_secs(90);

struct Folder {
    scratch: Scratch,
    files: parking_lot::Mutex<HashMap<Digest, BundleFile>>,
}

impl BundleSource for Folder {
    fn bundle(
        &self,
        digest: Digest,
        _have: Option<Digest>,
    ) -> BoxFuture<'_, Result<BundleFile, BundleError>> {
        let file = self.files.lock().get(&digest).cloned();
        let missing = BundleError::NotAssigned {
            digest,
            cause: "it was never written".into(),
        };
        async move { file.ok_or(missing) }.boxed()
    }

    fn retain(&self, _keep: &HashSet<Digest>) {}
}

/// See the module.
pub struct World {
    pub part: Part,
    pub client: Client,
    pub metrics: Metrics,
    /// What the cluster's owner allows, from the next start on.
    pub caps: Caps,
    pub journal: Journal,
    folder: Arc<Folder>,
    desired: watch::Sender<Arc<Desired>>,
    outbox: Outbox,
    latest: Mutex<BTreeMap<String, Report>>,
    agent: Option<(JoinHandle<()>, CancellationToken)>,
    _room: SemaphorePermit<'static>,
}

pub fn config_map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": value}})
}

async fn config(path: &Path) -> Result<Config> {
    let kubeconfig = Kubeconfig::read_from(path)?;
    let options = KubeConfigOptions::default();
    Ok(Config::from_custom_kubeconfig(kubeconfig, &options).await?)
}

impl World {
    pub async fn start(flavour: Flavour) -> Result<Self> {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::new(
                std::env::var("LOCKSTEP_LOG").unwrap_or_else(|_| "off".to_owned()),
            ))
            .with_test_writer()
            .try_init();
        let room = ROOM.acquire().await?;
        let scratch = Scratch::new("engine")?;
        let (part, kubeconfig) = match flavour {
            Flavour::Sandbox => {
                let sandbox = Sandbox::start(SandboxOptions::default()).await?;
                let kubeconfig = sandbox.write_kubeconfig(scratch.path())?;
                (Part::Sandbox(sandbox), kubeconfig)
            }
            flavour => {
                let mut options = ClusterOptions::new("engine");
                if flavour == Flavour::Full {
                    options = options.with_controllers();
                }
                let cluster = Cluster::start(options).await?;
                let kubeconfig = cluster.kubeconfig().to_owned();
                (Part::Real(Box::new(cluster)), kubeconfig)
            }
        };
        let client = connect(&config(&kubeconfig).await?)?;
        let mut world = Self {
            part,
            client,
            metrics: Metrics::default(),
            caps: Caps::default(),
            journal: Journal::default(),
            folder: Arc::new(Folder {
                scratch,
                files: parking_lot::Mutex::default(),
            }),
            desired: watch::Sender::new(Arc::default()),
            outbox: Outbox::new(),
            latest: Mutex::default(),
            agent: None,
            _room: room,
        };
        world.restart().await;
        Ok(world)
    }

    /// Kills the agent, if it runs, and starts a new one.
    pub async fn restart(&mut self) {
        self.kill();
        self.outbox = Outbox::new();
        self.latest.lock().await.clear();
        self.metrics = Metrics::default();
        let cancel = CancellationToken::new();
        let bundles: Arc<dyn BundleSource> = Arc::<Folder>::clone(&self.folder);
        let options = EngineOptions {
            metrics: self.metrics.clone(),
            caps: self.caps.clone(),
            journal: self.journal.clone(),
            ..EngineOptions::default()
        };
        let engine = run(
            self.client.clone(),
            self.desired.subscribe(),
            bundles,
            self.outbox.clone(),
            options,
            cancel.clone(),
        );
        let task = tokio::spawn(async move {
            engine.await.expect("the engine never fails");
        });
        self.agent = Some((task, cancel));
    }

    /// As `kill -9`.
    pub fn kill(&mut self) {
        if let Some((task, cancel)) = self.agent.take() {
            task.abort();
            cancel.cancel();
        }
    }

    pub fn cluster(&mut self) -> Result<&mut Cluster> {
        match &mut self.part {
            Part::Real(cluster) => Ok(cluster),
            Part::Sandbox(_) => bail!("this story is about a real API server"),
        }
    }

    pub fn sandbox(&self) -> Result<&Sandbox> {
        match &self.part {
            Part::Sandbox(sandbox) => Ok(sandbox),
            Part::Real(_) => bail!("this story needs faults on demand"),
        }
    }

    /// What the history was told since it was last asked.
    pub async fn told(&self) -> Vec<ObjectEvent> {
        let mut told = Vec::new();
        let soon = Duration::from_millis(20);
        while let Ok(event) = tokio::time::timeout(soon, self.journal.next()).await {
            self.journal.acked(event.id);
            told.push(event);
        }
        told
    }

    pub fn options() -> ApplyOptions {
        ApplyOptions {
            namespace: "shop".into(),
            create_namespace: true,
            prune: true,
            max_prune: String::new(),
            ..ApplyOptions::default()
        }
    }

    fn bundle(&self, objects: &[Value]) -> Result<Digest> {
        let mut entries = Vec::new();
        for object in objects {
            let text = |pointer: &str| {
                let text = object.pointer(pointer).and_then(Value::as_str);
                text.unwrap_or("").to_owned()
            };
            let key = ObjectKey {
                api_version: text("/apiVersion"),
                kind: text("/kind"),
                namespace: text("/metadata/namespace"),
                name: text("/metadata/name"),
            };
            let json = canonical_json(object);
            let sha256 = Digest::of(&json);
            entries.push((IndexEntry { key, sha256 }, json));
        }
        entries.sort_by(|a, b| a.0.key.cmp(&b.0.key));
        let mut writer = Writer::create(self.folder.scratch.path())?;
        for (entry, json) in entries {
            writer.push(entry, json.into())?;
        }
        let file = writer.finish()?;
        let digest = file.digest();
        self.folder.files.lock().insert(digest, file);
        Ok(digest)
    }

    /// The hub assigns `objects` as `name`.
    pub fn assign(&self, name: &str, objects: &[Value]) -> Result<Digest> {
        self.assign_with(name, objects, Self::options())
    }

    pub fn assign_with(
        &self,
        name: &str,
        objects: &[Value],
        options: ApplyOptions,
    ) -> Result<Digest> {
        let digest = self.bundle(objects)?;
        self.change(|desired| {
            desired.tombstones.remove(name);
            let item = DesiredItem {
                assignment: name.to_owned(),
                bundle_digest: digest.to_string(),
                revision: format!("{:040x}", desired.version),
                options: Some(options),
            };
            desired.items.insert(name.to_owned(), item);
        });
        Ok(digest)
    }

    /// The hub writes a tombstone for `name`.
    pub fn entomb(&self, name: &str) {
        self.change(|desired| {
            desired.items.remove(name);
            desired.tombstones.insert(name.to_owned());
        });
    }

    fn change(&self, change: impl FnOnce(&mut Desired)) {
        self.desired.send_modify(|desired| {
            let mut next = Desired::clone(desired);
            next.version += 1;
            change(&mut next);
            *desired = Arc::new(next);
        });
    }

    /// Waits until the engine reports of `name` what satisfies `holds`.
    pub async fn until(&self, name: &str, holds: impl Fn(&Report) -> bool) -> Result<Report> {
        let mut latest = self.latest.lock().await;
        let wait = async {
            loop {
                if let Some(report) = latest.get(name).filter(|report| holds(report)) {
                    return report.clone();
                }
                let report = self.outbox.next().await;
                latest.insert(report.assignment.clone(), report);
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.with_context(|| format!("{name} never came to it: {:#?}", latest.get(name)))
    }

    pub async fn synced(&self, name: &str, digest: Digest) -> Result<Report> {
        let digest = digest.to_string();
        let revision = self.desired.borrow().items.get(name).cloned();
        let revision = revision.unwrap_or_default().revision;
        let done = |r: &Report| {
            r.sync() == Status::Synced
                && r.applied_digest == digest
                && r.target_digest == digest
                && r.target_revision == revision
        };
        self.until(name, done).await
    }

    /// Objects of a kind: `v1 ConfigMap`.
    pub fn api(&self, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let (api_version, kind) = kind.split_once(' ').expect("API version and kind");
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        match namespace {
            "" => Api::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        }
    }

    pub async fn find(&self, kind: &str, namespace: &str, name: &str) -> Result<Option<Value>> {
        let object = match self.api(kind, namespace).get_opt(name).await {
            // A kind that is not served at the moment: "404 page not found".
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            other => other?,
        };
        Ok(object.map(serde_json::to_value).transpose()?)
    }

    pub async fn get(&self, kind: &str, namespace: &str, name: &str) -> Result<Value> {
        let found = self.find(kind, namespace, name).await?;
        found.with_context(|| format!("{kind} {namespace}/{name} is not there"))
    }

    /// Creates an object, as a person would.
    pub async fn create(&self, kind: &str, namespace: &str, object: &Value) -> Result<()> {
        let object: DynamicObject = serde_json::from_value(object.clone())?;
        let parameters = PostParams::default();
        self.api(kind, namespace)
            .create(&parameters, &object)
            .await?;
        Ok(())
    }

    pub async fn delete(&self, kind: &str, namespace: &str, name: &str) -> Result<()> {
        let api = self.api(kind, namespace);
        api.delete(name, &DeleteParams::background()).await?;
        Ok(())
    }

    /// Merges `patch`, as a person would.
    pub async fn merge(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        patch: &Value,
    ) -> Result<()> {
        let parameters = PatchParams {
            field_manager: Some("a-person".to_owned()),
            ..PatchParams::default()
        };
        let api = self.api(kind, namespace);
        api.patch(name, &parameters, &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Waits until the object is as `holds` says.
    pub async fn becomes(
        &self,
        (kind, namespace, name): (&str, &str, &str),
        holds: impl Fn(Option<&Value>) -> bool,
    ) -> Result<()> {
        let begin = std::time::Instant::now();
        loop {
            let object = self.find(kind, namespace, name).await?;
            if holds(object.as_ref()) {
                return Ok(());
            }
            ensure!(
                begin.elapsed() < PATIENCE,
                "{kind} {namespace}/{name} is {object:?}"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
    }
}

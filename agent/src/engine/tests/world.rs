//! What every test of the engine needs: a cluster, Bundles, a desired state to
//! change, and a way to wait for what the engine says.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use lockstep_proto::Digest;
use lockstep_proto::bundle::{IndexEntry, ObjectKey, canonical_json};
use lockstep_proto::v1::{ApplyOptions, DesiredItem, ObjectEvent, Report};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::fake::{Fake, listed};
use crate::bundle::{BundleError, BundleFile, BundleSource, Writer};
use crate::caps::Caps;
use crate::desired::Desired;
use crate::engine::{EngineOptions, run};
use crate::journal::Journal;
use crate::plan::Desk;
use crate::report::Outbox;

/// Bundles that are on disk already.
pub struct Bundles {
    folder: tempfile::TempDir,
    files: Mutex<HashMap<Digest, BundleFile>>,
    pub reads: Mutex<usize>,
}

impl BundleSource for Bundles {
    fn bundle(
        &self,
        digest: Digest,
        _have: Option<Digest>,
    ) -> BoxFuture<'_, Result<BundleFile, BundleError>> {
        *self.reads.lock() += 1;
        let file = self.files.lock().get(&digest).cloned();
        async move {
            file.ok_or_else(|| BundleError::NotAssigned {
                digest,
                cause: "it was never written".into(),
            })
        }
        .boxed()
    }

    fn retain(&self, _keep: &HashSet<Digest>) {}
}

/// See the module.
pub struct World {
    pub fake: Fake,
    pub bundles: Arc<Bundles>,
    desired: watch::Sender<Arc<Desired>>,
    pub outbox: Outbox,
    pub shard_size: usize,
    pub caps: Caps,
    pub journal: Journal,
    pub desk: Desk,
    agent: Option<(JoinHandle<()>, CancellationToken)>,
    latest: Mutex<BTreeMap<String, Report>>,
}

pub fn config_map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": value}})
}

pub fn path(name: &str) -> String {
    format!("/api/v1/namespaces/shop/configmaps/{name}")
}

impl World {
    pub fn new() -> Self {
        let fake = Fake::default();
        fake.put("/api/v1/namespaces/default", json!({"metadata": {}}));
        Self {
            fake,
            bundles: Arc::new(Bundles {
                folder: tempfile::tempdir().unwrap(),
                files: Mutex::default(),
                reads: Mutex::default(),
            }),
            desired: watch::Sender::new(Arc::default()),
            outbox: Outbox::new(),
            shard_size: 512,
            caps: Caps::default(),
            journal: Journal::default(),
            desk: Desk::default(),
            agent: None,
            latest: Mutex::default(),
        }
    }

    /// What the owner's file says, from the next start on.
    pub fn caps(&mut self, text: &str) {
        self.caps = Caps::parse("agent.yaml", text).unwrap();
    }

    /// Stores a Bundle of `objects`.
    pub fn bundle(&self, objects: &[Value]) -> Digest {
        let mut entries: Vec<(IndexEntry, Bytes)> = objects
            .iter()
            .map(|object| {
                let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
                let key = ObjectKey {
                    api_version: text(&object["apiVersion"]),
                    kind: text(&object["kind"]),
                    namespace: text(&object["metadata"]["namespace"]),
                    name: text(&object["metadata"]["name"]),
                };
                let json = canonical_json(object);
                let sha256 = Digest::of(&json);
                (IndexEntry { key, sha256 }, json.into())
            })
            .collect();
        entries.sort_by(|a, b| a.0.key.cmp(&b.0.key));
        let mut writer = Writer::create(self.bundles.folder.path()).unwrap();
        for (entry, json) in entries {
            writer.push(entry, json).unwrap();
        }
        let file = writer.finish().unwrap();
        let digest = file.digest();
        self.bundles.files.lock().insert(digest, file);
        digest
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

    /// The hub assigns `objects` as `name`.
    pub fn assign(&self, name: &str, objects: &[Value]) -> Digest {
        self.assign_with(name, objects, Self::options())
    }

    pub fn assign_with(&self, name: &str, objects: &[Value], options: ApplyOptions) -> Digest {
        let digest = self.bundle(objects);
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
        digest
    }

    /// The hub writes a tombstone for `name`.
    pub fn entomb(&self, name: &str) {
        self.change(|desired| {
            desired.items.remove(name);
            desired.tombstones.insert(name.to_owned());
        });
    }

    pub fn change(&self, change: impl FnOnce(&mut Desired)) {
        self.desired.send_modify(|desired| {
            let mut next = Desired::clone(desired);
            next.version += 1;
            change(&mut next);
            *desired = Arc::new(next);
        });
    }

    /// Starts an agent; one that ran before is killed.
    pub fn start(&mut self) {
        self.kill();
        self.outbox = Outbox::new();
        self.desk = Desk::default();
        self.latest.lock().clear();
        let cancel = CancellationToken::new();
        let bundles: Arc<dyn BundleSource> = Arc::<Bundles>::clone(&self.bundles);
        let engine = run(
            self.fake.client(),
            self.desired.subscribe(),
            bundles,
            self.outbox.clone(),
            EngineOptions {
                shard_size: self.shard_size,
                caps: self.caps.clone(),
                journal: self.journal.clone(),
                desk: self.desk.clone(),
                ..EngineOptions::default()
            },
            cancel.clone(),
        );
        let task = tokio::spawn(async move { engine.await.unwrap() });
        self.agent = Some((task, cancel));
    }

    /// As `kill -9`.
    pub fn kill(&mut self) {
        if let Some((task, cancel)) = self.agent.take() {
            task.abort();
            cancel.cancel();
        }
    }

    /// Waits until the engine reports of `name` what satisfies `holds`.
    pub async fn until(&self, name: &str, holds: impl Fn(&Report) -> bool) -> Report {
        let wait = async {
            loop {
                if let Some(report) = self.latest.lock().get(name).filter(|r| holds(r)) {
                    return report.clone();
                }
                let report = self.outbox.next().await;
                self.latest.lock().insert(report.assignment.clone(), report);
            }
        };
        match tokio::time::timeout(Duration::from_secs(1_000), wait).await {
            Ok(report) => report,
            Err(_) => panic!(
                "{name} never came to it: {:#?}\n{:#?}",
                self.latest.lock().get(name),
                self.fake.log().iter().rev().take(20).collect::<Vec<_>>()
            ),
        }
    }

    /// Waits until the cluster is as `holds` says.
    pub async fn eventually(&self, what: &str, holds: impl Fn(&Fake) -> bool) {
        for _ in 0..100_000 {
            if holds(&self.fake) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what}: {:#?}", self.fake.log());
    }

    pub async fn synced(&self, name: &str, digest: Digest) -> Report {
        use lockstep_proto::v1::sync::Status;
        let digest = digest.to_string();
        let revision = self.desired.borrow().items[name].revision.clone();
        self.until(name, |r| {
            r.sync() == Status::Synced
                && r.applied_digest == digest
                && r.target_digest == digest
                && r.target_revision == revision
        })
        .await
    }

    /// What the history was told since it was last asked.
    pub async fn told(&self) -> Vec<ObjectEvent> {
        let mut told = Vec::new();
        let soon = Duration::from_millis(1);
        while let Ok(event) = tokio::time::timeout(soon, self.journal.next()).await {
            self.journal.acked(event.id);
            told.push(event);
        }
        told
    }

    /// What the stored inventory of `name` lists: "kind namespace/name".
    pub fn inventory(&self, name: &str) -> HashSet<String> {
        let mut all = HashSet::new();
        for map in self.fake.inventories() {
            if map["metadata"]["labels"]["lockstep.dev/assignment"] != name {
                continue;
            }
            for line in listed(&map) {
                let text = |field: &str| line[field].as_str().unwrap_or("").to_owned();
                all.insert(format!(
                    "{} {}/{}",
                    text("kind"),
                    text("namespace"),
                    text("name")
                ));
            }
        }
        all
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
    }
}

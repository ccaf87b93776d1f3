//! One schedule: a cluster, an agent that dies and comes back, and a hub that
//! goes on wanting new things.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use lockstep_agent::bundle::{BundleError, BundleFile, BundleSource, Writer};
use lockstep_agent::desired::Desired;
use lockstep_agent::engine::{EngineOptions, run};
use lockstep_agent::report::Outbox;
use lockstep_proto::Digest;
use lockstep_proto::bundle::{IndexEntry, ObjectKey, canonical_json};
use lockstep_proto::v1::{DesiredItem, Report, drift};
use lockstep_sandbox::faults::{Effect, Fault};
use lockstep_sandbox::{Sandbox, SandboxOptions};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::check;
use crate::model::{ASSIGNMENTS, Hand, Model, SLOTS, State};
use crate::wire::{Crash, Wire};

/// How long the agent may take to come to rest: several of its longest waits.
const LONGEST: Duration = Duration::from_secs(20 * 60);
const MOMENT: Duration = Duration::from_millis(100);
const LONGEST_MOMENT: Duration = Duration::from_secs(5);
/// What is so has to be so a while later.
const LATER: Duration = Duration::from_secs(3);

/// Bundles that are on disk already.
struct Folder {
    folder: tempfile::TempDir,
    files: Mutex<HashMap<Digest, BundleFile>>,
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
    pub sandbox: Arc<Sandbox>,
    pub wire: Wire,
    pub model: Model,
    pub digests: BTreeMap<usize, Digest>,
    /// Annotations that somebody else put on an object, by its UID.
    pub theirs: HashMap<String, usize>,
    /// Somebody changed or deleted something since it last converged.
    pub touched: bool,
    pub reports: Arc<Mutex<BTreeMap<String, Report>>>,
    folder: Arc<Folder>,
    desired: watch::Sender<Arc<Desired>>,
    agent: Option<(Vec<JoinHandle<()>>, CancellationToken)>,
}

/// Runs the schedule that `seed` names.
pub async fn schedule(seed: u64) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(seed);
    let model = Model::new(&mut rng);
    let mut world = World::new(model)?;
    let told = world.play(&mut rng).await;
    told.map_err(|error| {
        let log = world.wire.log().join("\n  ");
        error.context(format!(
            "{:#?}\n{:#?}\n  {log}\n",
            world.model,
            world.reports.lock()
        ))
    })
}

impl World {
    fn new(model: Model) -> Result<Self> {
        let sandbox = Arc::new(Sandbox::without_port(SandboxOptions::default())?);
        let folder = Folder {
            folder: tempfile::tempdir()?,
            files: Mutex::default(),
        };
        Ok(Self {
            wire: Wire::new(Arc::clone(&sandbox)),
            sandbox,
            model,
            digests: BTreeMap::new(),
            theirs: HashMap::new(),
            touched: false,
            reports: Arc::default(),
            folder: Arc::new(folder),
            desired: watch::Sender::new(Arc::default()),
            agent: None,
        })
    }

    async fn play(&mut self, rng: &mut StdRng) -> Result<()> {
        self.want()?;
        self.start();
        for step in 0..rng.random_range(2..6) {
            self.wire.note(&format!("--- step {step}"));
            self.disturb(rng);
            for _ in 0..rng.random_range(0..4) {
                self.die(rng).await?;
            }
            self.sandbox.faults().clear();
            self.converge()
                .await
                .with_context(|| format!("step {step}"))?;
            for _ in 0..rng.random_range(0..3) {
                self.meddle(rng)?;
            }
            // What is changed by hand just before it is wanted otherwise may
            // rightly be put back or not.
            if self.touched || rng.random_bool(0.3) {
                self.converge()
                    .await
                    .with_context(|| format!("by hand, after step {step}"))?;
            }
            let before = self.model.clone();
            self.model.revise(rng, 0.4);
            let stands = self.model.stands(&before);
            self.wire
                .must_stand(stands.into_iter().map(|slot| SLOTS[slot].path()).collect());
            self.want()?;
        }
        self.wire.note("--- the end");
        self.converge().await.context("in the end")?;
        self.wire.must_stand(Vec::new());
        self.model.end();
        self.want()?;
        self.die(rng).await?;
        self.converge().await.context("after the end")
    }

    /// The hub wants what the model says.
    fn want(&mut self) -> Result<()> {
        let mut items = Vec::new();
        self.digests.clear();
        for owner in 0..ASSIGNMENTS.len() {
            let objects = self.model.objects(owner);
            if !objects.is_empty() {
                let digest = self.bundle(&objects)?;
                self.model.known[owner] = true;
                self.digests.insert(owner, digest);
                items.push((owner, digest));
            }
        }
        let (options, known) = (self.model.options.clone(), self.model.known);
        self.desired.send_modify(|desired| {
            let mut next = Desired::clone(desired);
            next.version += 1;
            next.items.clear();
            next.tombstones.clear();
            for (owner, name) in ASSIGNMENTS.iter().enumerate() {
                let item = items.iter().find(|(of, _)| *of == owner);
                if let Some((_, digest)) = item {
                    let item = DesiredItem {
                        assignment: (*name).to_owned(),
                        bundle_digest: digest.to_string(),
                        revision: format!("{:040x}", next.version),
                        options: Some(options[owner].clone()),
                    };
                    next.items.insert((*name).to_owned(), item);
                } else if known[owner] {
                    next.tombstones.insert((*name).to_owned());
                }
            }
            *desired = Arc::new(next);
        });
        Ok(())
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
        let mut writer = Writer::create(self.folder.folder.path())?;
        for (entry, json) in entries {
            writer.push(entry, json.into())?;
        }
        let file = writer.finish()?;
        let digest = file.digest();
        self.folder.files.lock().insert(digest, file);
        Ok(digest)
    }

    fn start(&mut self) {
        self.reports.lock().clear();
        let outbox = Outbox::new();
        let cancel = CancellationToken::new();
        let bundles: Arc<dyn BundleSource> = Arc::<Folder>::clone(&self.folder);
        let options = EngineOptions {
            // Several pieces: each is one more place to die at.
            shard_size: 4,
            ..EngineOptions::default()
        };
        let engine = run(
            self.wire.client(),
            self.desired.subscribe(),
            bundles,
            outbox.clone(),
            options,
            cancel.clone(),
        );
        let reports = Arc::clone(&self.reports);
        let tasks = vec![
            tokio::spawn(async move {
                engine.await.expect("the engine never fails");
            }),
            tokio::spawn(async move {
                loop {
                    let report = outbox.next().await;
                    reports.lock().insert(report.assignment.clone(), report);
                }
            }),
        ];
        self.agent = Some((tasks, cancel));
    }

    /// As `kill -9`.
    fn kill(&mut self) {
        if let Some((tasks, cancel)) = self.agent.take() {
            tasks.iter().for_each(JoinHandle::abort);
            cancel.cancel();
        }
    }

    /// The agent dies at some request, or some time, from now.
    async fn die(&mut self, rng: &mut StdRng) -> Result<()> {
        let how = if rng.random_bool(0.5) {
            Crash::Before
        } else {
            Crash::After
        };
        if rng.random_bool(0.9) {
            self.wire.crash_at(rng.random_range(0..40), how);
        }
        let patience = Duration::from_millis(rng.random_range(1..8_000));
        let _ = tokio::time::timeout(patience, self.wire.crashed.notified()).await;
        self.kill();
        self.wire.note("killed");
        check::nothing_leaked(self)?;
        self.start();
        Ok(())
    }

    /// The API server is not at its best.
    fn disturb(&self, rng: &mut StdRng) {
        if !rng.random_bool(0.3) {
            return;
        }
        let effects = [
            Effect::Status {
                code: 500,
                retry_after_seconds: None,
            },
            Effect::Status {
                code: 429,
                retry_after_seconds: Some(1),
            },
            Effect::Status {
                code: 503,
                retry_after_seconds: None,
            },
            Effect::Conflict,
            Effect::Reset,
            Effect::Deny,
            Effect::Expired,
            Effect::Latency { millis: 3_000 },
        ];
        let effect = effects[rng.random_range(0..effects.len())].clone();
        let verbs: &[&str] = match effect {
            Effect::Conflict => &["patch", "create", "update", "delete"],
            Effect::Expired => &["watch"],
            _ => &[],
        };
        let fault = Fault::new(effect)
            .probability(rng.random_range(0.05..0.5))
            .verbs(verbs);
        self.wire.note(&format!("fault {fault:?}"));
        self.sandbox.faults().add(fault);
    }

    /// Somebody changes something by hand.
    fn meddle(&mut self, rng: &mut StdRng) -> Result<()> {
        let slot = rng.random_range(0..SLOTS.len());
        let at = SLOTS[slot];
        let Some(object) = self.get(slot) else {
            return Ok(());
        };
        let ours = object["metadata"]["labels"]
            .get("lockstep.dev/assignment")
            .is_some();
        let State::Ours(_) = self.model.states[slot] else {
            return Ok(());
        };
        if !ours || !object["metadata"]["deletionTimestamp"].is_null() {
            return Ok(());
        }
        let mut edit =
            json!({"apiVersion": at.api_version, "kind": at.kind, "metadata": {"name": at.name}});
        if !at.namespace.is_empty() {
            edit["metadata"]["namespace"] = at.namespace.into();
        }
        match rng.random_range(0..4) {
            0 if at.is_plain() => {
                self.wire.note(&format!("somebody deletes {}", at.path()));
                self.sandbox
                    .delete(at.api_version, at.kind, at.namespace, at.name);
                self.hand(slot, Hand::Deleted);
            }
            1 | 2 if at.is_plain() => {
                self.wire.note(&format!("somebody edits {}", at.path()));
                edit["metadata"]["annotations"] = json!({"content": "by hand"});
                self.sandbox.apply("a-person", &edit)?;
                self.hand(slot, Hand::Edited);
            }
            _ => {
                self.wire.note(&format!("somebody adds to {}", at.path()));
                edit["metadata"]["annotations"] = json!({"theirs": "x"});
                let object = self.sandbox.apply("another", &edit)?;
                let uid = object["metadata"]["uid"].as_str().unwrap_or("").to_owned();
                self.theirs.insert(uid, slot);
            }
        }
        Ok(())
    }

    fn hand(&mut self, slot: usize, hand: Hand) {
        self.touched = true;
        if self.model.policy(slot) != drift::Policy::Correct {
            self.model.hands[slot] = Some(hand);
        }
    }

    pub fn get(&self, slot: usize) -> Option<Value> {
        let at = SLOTS[slot];
        self.sandbox
            .get(at.api_version, at.kind, at.namespace, at.name)
    }

    /// Waits until all is as it should be, and stays so.
    async fn converge(&mut self) -> Result<()> {
        let end = tokio::time::Instant::now() + LONGEST;
        let mut moment = MOMENT;
        loop {
            let wrong = check::wrong(self);
            let Some(wrong) = wrong else {
                tokio::time::sleep(LATER).await;
                match check::wrong(self) {
                    None => break,
                    Some(_) => continue,
                }
            };
            ensure!(
                tokio::time::Instant::now() < end,
                "never converged: {wrong}"
            );
            tokio::time::sleep(moment).await;
            moment = LONGEST_MOMENT.min(moment * 3 / 2);
        }
        self.touched = false;
        check::nothing_leaked(self)?;
        let fallen = self.wire.fallen();
        ensure!(
            fallen.is_empty(),
            "deleted, though it had to stand: {fallen:?}"
        );
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
    }
}

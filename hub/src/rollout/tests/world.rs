//! A fleet with its driver at work, and a Git that tests hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lockstep_proto::desired::options_digest;
use lockstep_proto::{ClusterName, Revision, v1};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::{Content, Release, Source, run};
use crate::git::{GitError, Resolved, SourceFile, SourceTree};
use crate::metrics::Metrics;
use crate::status::{Fleet, FleetOptions, StatusQuery};
use crate::store::{DesiredRow, Store};

use v1::resource::Resource as Any;

/// Paths with the content of their one file; a commit is a number.
#[derive(Clone, Default)]
pub struct FakeGit(pub Arc<Inner>);

#[derive(Default)]
pub struct Inner {
    state: Mutex<State>,
    pub gate: Mutex<Option<Arc<Notify>>>,
    pub reading: Notify,
}

#[derive(Default)]
struct State {
    commit: u64,
    paths: BTreeMap<String, String>,
    /// What `paths` was at each commit.
    past: BTreeMap<u64, BTreeMap<String, String>>,
    looks: usize,
    trees: BTreeMap<String, String>,
    down: bool,
    reads: Vec<String>,
    at_work: BTreeSet<String>,
}

impl State {
    fn at(&mut self, commit: u64, path: &str) -> Resolved {
        let content = self.past.get(&commit).and_then(|paths| paths.get(path));
        let content = content.cloned().unwrap_or_default();
        let tree = format!("tree of {content}");
        self.trees.insert(tree.clone(), content);
        Resolved {
            revision: Revision::new(&format!("{commit:040x}")).unwrap(),
            commit: v1::CommitInfo {
                author: "Ada".into(),
                subject: format!("commit {commit}"),
                ..v1::CommitInfo::default()
            },
            tree,
        }
    }
}

impl FakeGit {
    /// A commit that makes the file at `path` hold `content`.
    pub fn commit(&self, path: &str, content: &str) -> String {
        let mut state = self.0.state.lock();
        state.commit += 1;
        state.paths.insert(path.into(), content.into());
        let (commit, paths) = (state.commit, state.paths.clone());
        state.past.insert(commit, paths);
        format!("{commit:040x}")
    }

    /// Looks that somebody waited for.
    pub fn looks(&self) -> usize {
        self.0.state.lock().looks
    }

    pub fn down(&self, down: bool) {
        self.0.state.lock().down = down;
    }

    /// Trees read so far: each is one render.
    pub fn reads(&self) -> usize {
        self.0.state.lock().reads.len()
    }

    /// From now on, reads of trees wait for the returned signal.
    pub fn hold(&self) -> Arc<Notify> {
        let gate = Arc::new(Notify::new());
        *self.0.gate.lock() = Some(Arc::clone(&gate));
        gate
    }

    pub fn release(&self, gate: &Notify) {
        *self.0.gate.lock() = None;
        gate.notify_one();
    }
}

impl Source for FakeGit {
    async fn resolve(
        &self,
        repository: &str,
        _: &v1::GitRef,
        path: &str,
    ) -> Result<Resolved, GitError> {
        let mut state = self.0.state.lock();
        if state.down {
            return Err(GitError::NotFetched {
                repository: repository.into(),
            });
        }
        let commit = state.commit;
        Ok(state.at(commit, path))
    }

    async fn resolve_any(
        &self,
        repository: &str,
        text: &str,
        path: &str,
    ) -> Result<Resolved, GitError> {
        let mut state = self.0.state.lock();
        if state.down {
            return Err(GitError::Unreachable {
                repository: repository.into(),
                cause: "it is down".into(),
            });
        }
        match u64::from_str_radix(text, 16) {
            Ok(commit) if state.past.contains_key(&commit) => Ok(state.at(commit, path)),
            _ => Err(GitError::NoSuchRef {
                repository: repository.into(),
                cause: format!("commit {text} does not exist"),
            }),
        }
    }

    async fn look_now(&self, repository: &str) -> Result<(), GitError> {
        let mut state = self.0.state.lock();
        state.looks += 1;
        if state.down {
            return Err(GitError::Unreachable {
                repository: repository.into(),
                cause: "it is down".into(),
            });
        }
        Ok(())
    }

    async fn read_tree(&self, _: &str, tree: &str) -> Result<SourceTree, GitError> {
        let content = {
            let mut state = self.0.state.lock();
            state.reads.push(tree.into());
            assert!(state.at_work.insert(tree.into()), "one tree, twice at once");
            state.trees[tree].clone()
        };
        self.0.reading.notify_one();
        let gate = self.0.gate.lock().clone();
        if let Some(gate) = gate {
            gate.notified().await;
        }
        self.0.state.lock().at_work.remove(tree);
        let file = SourceFile {
            path: "all.yaml".into(),
            content: Bytes::from(content),
        };
        Ok(SourceTree { files: vec![file] })
    }
}

pub struct World {
    pub fleet: Fleet,
    pub git: FakeGit,
    pub dir: tempfile::TempDir,
    pub orders: Release<FakeGit>,
    pub stop: DropGuard,
}

pub fn manifest(value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata: {{value: {value:?}}}\n")
}

fn meta(name: &str) -> Option<v1::ObjectMeta> {
    Some(v1::ObjectMeta {
        name: name.into(),
        ..v1::ObjectMeta::default()
    })
}

pub fn assignment(name: &str, path: &str) -> Any {
    Any::Assignment(v1::Assignment {
        metadata: meta(name),
        spec: Some(v1::AssignmentSpec {
            repository: "shop".into(),
            r#ref: Some(v1::GitRef {
                branch: "main".into(),
                ..v1::GitRef::default()
            }),
            path: path.into(),
            cluster_groups: vec!["prod".into()],
            ..v1::AssignmentSpec::default()
        }),
        ..v1::Assignment::default()
    })
}

/// The same, released by people.
pub fn manual(name: &str, path: &str) -> Any {
    let mut resource = assignment(name, path);
    if let Any::Assignment(assignment) = &mut resource {
        let spec = assignment.spec.as_mut().unwrap();
        spec.sync = Some(v1::SyncPolicy {
            mode: v1::sync_mode::Name::Manual.into(),
            ..v1::SyncPolicy::default()
        });
    }
    resource
}

pub fn labelled(name: &str, env: &str) -> Any {
    Any::Cluster(v1::Cluster {
        metadata: Some(v1::ObjectMeta {
            name: name.into(),
            labels: [("env".to_owned(), env.to_owned())].into(),
            ..v1::ObjectMeta::default()
        }),
        ..v1::Cluster::default()
    })
}

pub async fn open(dir: &tempfile::TempDir) -> Fleet {
    let store = Store::open(dir.path().join("lockstep.db")).unwrap();
    Fleet::load(store, FleetOptions::default()).await.unwrap()
}

pub fn start(fleet: &Fleet, git: &FakeGit) -> (Release<FakeGit>, DropGuard) {
    let cancel = CancellationToken::new();
    let content = Content::new(fleet.store().clone(), git.clone(), Metrics::new());
    let release = Release::new(fleet.clone(), content);
    tokio::spawn(run(release.clone(), cancel.clone()));
    (release, cancel.drop_guard())
}

/// A repository, the group `prod` of the clusters eu-1 and eu-2, and the
/// Assignment `shop` of the path `deploy`, where there is a ConfigMap.
pub async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let fleet = open(&dir).await;
    let git = FakeGit::default();
    git.commit("deploy", &manifest("one"));
    let (orders, stop) = start(&fleet, &git);
    let world = World {
        fleet,
        git,
        dir,
        orders,
        stop,
    };
    let repository = Any::Repository(v1::Repository {
        metadata: meta("shop"),
        spec: Some(v1::RepositorySpec {
            url: "https://git.example.com/shop.git".into(),
            ..v1::RepositorySpec::default()
        }),
        ..v1::Repository::default()
    });
    let group = Any::ClusterGroup(v1::ClusterGroup {
        metadata: meta("prod"),
        spec: Some(v1::ClusterGroupSpec {
            selector: Some(v1::LabelSelector {
                match_labels: [("env".to_owned(), "prod".to_owned())].into(),
                ..v1::LabelSelector::default()
            }),
        }),
        ..v1::ClusterGroup::default()
    });
    world
        .apply(vec![
            repository,
            group,
            labelled("eu-1", "prod"),
            labelled("eu-2", "prod"),
            assignment("shop", "deploy"),
        ])
        .await;
    world
}

impl World {
    pub async fn apply(&self, resources: Vec<Any>) {
        let resources = resources
            .into_iter()
            .map(|resource| v1::Resource {
                resource: Some(resource),
            })
            .collect();
        self.fleet.apply(resources, false, "admin").await.unwrap();
    }

    /// What the hub's git room does when a head moved.
    pub fn pushed(&self, assignment: &str) {
        self.fleet.dirty_assignments().mark(assignment.into());
    }

    pub fn rows(&self, assignment: &str) -> Vec<DesiredRow> {
        self.fleet.desired_rows(assignment)
    }

    /// The rows, as "eu-1 set, eu-2 tombstone".
    pub fn told(&self, assignment: &str) -> String {
        let words: Vec<_> = self
            .rows(assignment)
            .iter()
            .map(|row| {
                let verb = if row.tombstone { "tombstone" } else { "set" };
                format!("{} {verb}", row.cluster)
            })
            .collect();
        words.join(", ")
    }

    pub fn revision(&self) -> String {
        self.fleet
            .assignment_state("shop")
            .unwrap_or_default()
            .revision
    }

    pub fn message(&self) -> String {
        self.fleet
            .assignment_state("shop")
            .unwrap_or_default()
            .message
    }

    pub fn version(&self, cluster: &str) -> u64 {
        let name = ClusterName::new(cluster).unwrap();
        self.fleet.desired(&name).unwrap().version
    }

    /// Another hub on the same disk, as after `kill -9`.
    pub async fn restart(self) -> Self {
        let Self {
            fleet,
            git,
            dir,
            orders,
            stop,
        } = self;
        drop((fleet, orders, stop));
        let fleet = open(&dir).await;
        let (orders, stop) = start(&fleet, &git);
        Self {
            fleet,
            git,
            dir,
            orders,
            stop,
        }
    }

    /// What `lockstep get assignment` shows.
    pub fn status(&self, assignment: &str) -> v1::AssignmentStatus {
        match self.fleet.get(v1::kind::Name::Assignment, assignment) {
            Some(v1::Resource {
                resource: Some(Any::Assignment(assignment)),
            }) => assignment.status.unwrap(),
            other => panic!("no assignment {assignment}: {other:?}"),
        }
    }

    /// What `lockstep status` shows of `shop`.
    pub fn shown(&self) -> Vec<v1::AssignmentState> {
        let query = StatusQuery {
            assignment: Some("shop".into()),
            limit: 100,
            ..StatusQuery::default()
        };
        let page = self.fleet.status(&query).unwrap();
        page.rows
            .into_iter()
            .filter_map(|row| row.assignment)
            .collect()
    }

    /// The clusters' agents apply what they are told, and say so.
    pub async fn applied(&self) {
        for row in self.rows("shop") {
            let report = v1::Report {
                assignment: "shop".into(),
                target_digest: row.digest.to_string(),
                target_revision: row.revision.to_string(),
                applied_digest: row.digest.to_string(),
                applied_revision: row.revision.to_string(),
                sync: v1::sync::Status::Synced.into(),
                health: v1::health::Status::Healthy.into(),
                target_options: options_digest(&row.options),
                ..v1::Report::default()
            };
            let cluster = row.cluster.clone();
            self.fleet.heartbeat(&cluster);
            self.fleet.reports(vec![(cluster, report)]).await.unwrap();
        }
    }

    /// The history on one cluster, newest first: "Rollback by admin 0000002 Synced".
    pub async fn history(&self, cluster: &str) -> Vec<String> {
        let page = self.fleet.history("shop", Some(cluster), None, 100).await;
        page.unwrap()
            .items
            .iter()
            .map(|entry| {
                let (cause, sync) = (entry.cause().as_str_name(), entry.sync().as_str_name());
                let number = u64::from_str_radix(&entry.revision, 16).unwrap();
                let ended = if entry.ended_at.is_some() {
                    " ended"
                } else {
                    ""
                };
                format!("{cause} by {:?} {number} {sync}{ended}", entry.by)
            })
            .collect()
    }

    /// Waits until `is` holds. Looks after every change of the model.
    pub async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !is(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(20), waiting)
            .await
            .is_err()
        {
            panic!("not {what}: {} / {:?}", self.told("shop"), self.message());
        }
    }

    pub async fn settled(&self) {
        self.until("released everywhere", |world| {
            let digest = world
                .fleet
                .assignment_state("shop")
                .unwrap_or_default()
                .digest;
            let rows = world.rows("shop");
            digest.is_some() && rows.len() == 2 && rows.iter().all(|row| Some(row.digest) == digest)
        })
        .await;
    }
}

//! The driver at work on a real fleet and store, with a Git that tests hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lockstep_proto::{ClusterName, Revision, v1};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Source, run};
use crate::git::{GitError, Resolved, SourceFile, SourceTree};
use crate::metrics::Metrics;
use crate::status::{Fleet, FleetOptions};
use crate::store::{DesiredRow, Store};

use v1::resource::Resource as Any;

/// Paths with the content of their one file; a commit is a number.
#[derive(Clone, Default)]
struct FakeGit(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    gate: Mutex<Option<Arc<Notify>>>,
    reading: Notify,
}

#[derive(Default)]
struct State {
    commit: u64,
    paths: BTreeMap<String, String>,
    trees: BTreeMap<String, String>,
    down: bool,
    reads: Vec<String>,
    at_work: BTreeSet<String>,
}

impl FakeGit {
    /// A commit that makes the file at `path` hold `content`.
    fn commit(&self, path: &str, content: &str) -> String {
        let mut state = self.0.state.lock();
        state.commit += 1;
        state.paths.insert(path.into(), content.into());
        format!("{:040x}", state.commit)
    }

    fn down(&self, down: bool) {
        self.0.state.lock().down = down;
    }

    /// Trees read so far: each is one render.
    fn reads(&self) -> usize {
        self.0.state.lock().reads.len()
    }

    /// From now on, reads of trees wait for the returned signal.
    fn hold(&self) -> Arc<Notify> {
        let gate = Arc::new(Notify::new());
        *self.0.gate.lock() = Some(Arc::clone(&gate));
        gate
    }

    fn release(&self, gate: &Notify) {
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
        let content = state.paths.get(path).cloned().unwrap_or_default();
        let tree = format!("tree of {content}");
        state.trees.insert(tree.clone(), content);
        Ok(Resolved {
            revision: Revision::new(&format!("{:040x}", state.commit)).unwrap(),
            commit: v1::CommitInfo {
                subject: format!("commit {}", state.commit),
                ..v1::CommitInfo::default()
            },
            tree,
        })
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

struct World {
    fleet: Fleet,
    git: FakeGit,
    dir: tempfile::TempDir,
    _stop: DropGuard,
}

fn manifest(value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata: {{value: {value:?}}}\n")
}

fn meta(name: &str) -> Option<v1::ObjectMeta> {
    Some(v1::ObjectMeta {
        name: name.into(),
        ..v1::ObjectMeta::default()
    })
}

fn assignment(name: &str, path: &str) -> Any {
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

fn labelled(name: &str, env: &str) -> Any {
    Any::Cluster(v1::Cluster {
        metadata: Some(v1::ObjectMeta {
            name: name.into(),
            labels: [("env".to_owned(), env.to_owned())].into(),
            ..v1::ObjectMeta::default()
        }),
        ..v1::Cluster::default()
    })
}

async fn open(dir: &tempfile::TempDir) -> Fleet {
    let store = Store::open(dir.path().join("lockstep.db")).unwrap();
    Fleet::load(store, FleetOptions::default()).await.unwrap()
}

fn start(fleet: &Fleet, git: &FakeGit) -> DropGuard {
    let cancel = CancellationToken::new();
    tokio::spawn(run(
        fleet.clone(),
        git.clone(),
        Metrics::new(),
        cancel.clone(),
    ));
    cancel.drop_guard()
}

/// A repository, the group `prod` of the clusters eu-1 and eu-2, and the
/// Assignment `shop` of the path `deploy`, where there is a ConfigMap.
async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let fleet = open(&dir).await;
    let git = FakeGit::default();
    git.commit("deploy", &manifest("one"));
    let stop = start(&fleet, &git);
    let world = World {
        fleet,
        git,
        dir,
        _stop: stop,
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
    async fn apply(&self, resources: Vec<Any>) {
        let resources = resources
            .into_iter()
            .map(|resource| v1::Resource {
                resource: Some(resource),
            })
            .collect();
        self.fleet.apply(resources, false).await.unwrap();
    }

    /// What the hub's git room does when a head moved.
    fn pushed(&self, assignment: &str) {
        self.fleet.dirty_assignments().mark(assignment.into());
    }

    fn rows(&self, assignment: &str) -> Vec<DesiredRow> {
        self.fleet.desired_rows(assignment)
    }

    /// The rows, as "eu-1 set, eu-2 tombstone".
    fn told(&self, assignment: &str) -> String {
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

    fn revision(&self) -> String {
        self.fleet
            .assignment_state("shop")
            .unwrap_or_default()
            .revision
    }

    fn message(&self) -> String {
        self.fleet
            .assignment_state("shop")
            .unwrap_or_default()
            .message
    }

    fn version(&self, cluster: &str) -> u64 {
        let name = ClusterName::new(cluster).unwrap();
        self.fleet.desired(&name).unwrap().version
    }

    /// Waits until `is` holds. Looks after every change of the model.
    async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
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

    async fn settled(&self) {
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

#[tokio::test]
async fn a_commit_reaches_every_cluster_by_one_render() {
    let world = world().await;
    world.settled().await;
    let before = world.rows("shop")[0].digest;
    let revision = world.git.commit("deploy", &manifest("two"));
    world.pushed("shop");
    world
        .until("at the new revision", |world| world.revision() == revision)
        .await;
    world.settled().await;
    let rows = world.rows("shop");
    assert!(
        rows.iter()
            .all(|row| row.digest != before && *row.revision == *revision)
    );
    assert_eq!(world.git.reads(), 2);
}

#[tokio::test]
async fn a_commit_beside_the_path_renders_nothing_and_touches_no_cluster() {
    let world = world().await;
    world.settled().await;
    let (version, rows) = (world.version("eu-1"), world.rows("shop"));
    let revision = world.git.commit("docs", "elsewhere");
    world.pushed("shop");
    world
        .until("at the new revision", |world| world.revision() == revision)
        .await;
    let state = world.fleet.assignment_state("shop").unwrap();
    assert_eq!(state.commit.unwrap().subject, "commit 2");
    assert_eq!((world.version("eu-1"), world.rows("shop")), (version, rows));
    assert_eq!(world.git.reads(), 1);
}

#[tokio::test]
async fn what_does_not_render_changes_no_cluster_and_says_why() {
    let world = world().await;
    world.settled().await;
    let (revision, rows) = (world.revision(), world.rows("shop"));
    let twice = format!("{}---\n{}", manifest("x"), manifest("x"));
    for (story, content, words) in [
        ("broken", "kind: [", "all.yaml"),
        ("empty", "", ""),
        ("the same object twice", &twice, "all.yaml"),
    ] {
        world.git.commit("deploy", content);
        let before = world.message();
        world.pushed("shop");
        world
            .until(story, |world| {
                !world.message().is_empty() && world.message() != before
            })
            .await;
        assert!(world.message().contains(words), "{}", world.message());
        assert!(
            world.message().contains(&revision[..7]),
            "{}",
            world.message()
        );
        assert_eq!(
            (world.revision(), world.rows("shop")),
            (revision.clone(), rows.clone())
        );
    }
    world.git.commit("deploy", &manifest("fixed"));
    world.pushed("shop");
    world
        .until("well again", |world| world.message().is_empty())
        .await;
    world.settled().await;
}

#[tokio::test]
async fn a_failure_is_tried_again_without_anybody_asking() {
    let world = world().await;
    world.settled().await;
    world.git.down(true);
    world.pushed("shop");
    world
        .until("failing", |world| {
            world.message().contains("repository \"shop\"")
        })
        .await;
    assert_eq!(world.told("shop"), "eu-1 set, eu-2 set");
    world.git.down(false);
    world
        .until("well again", |world| world.message().is_empty())
        .await;
}

#[tokio::test]
async fn a_cluster_that_leaves_is_told_to_remove_and_one_that_returns_gets_it_back() {
    let world = world().await;
    world.settled().await;
    world.apply(vec![labelled("eu-2", "test")]).await;
    world
        .until("gone", |world| {
            world.told("shop") == "eu-1 set, eu-2 tombstone"
        })
        .await;
    world.apply(vec![labelled("eu-2", "prod")]).await;
    world
        .until("back", |world| world.told("shop") == "eu-1 set, eu-2 set")
        .await;
    // Also while Git is away: both are a person's decision.
    world.git.down(true);
    world.apply(vec![labelled("eu-2", "test")]).await;
    world
        .until("gone", |world| {
            world.told("shop") == "eu-1 set, eu-2 tombstone"
        })
        .await;
    world.apply(vec![labelled("eu-2", "prod")]).await;
    world
        .until("back", |world| world.told("shop") == "eu-1 set, eu-2 set")
        .await;
    assert_eq!(world.git.reads(), 1);
}

#[tokio::test]
async fn a_spec_that_cannot_be_released_leaves_what_runs() {
    let world = world().await;
    world.settled().await;
    let rows = world.rows("shop");
    world
        .apply(vec![
            assignment("shop", "nowhere"),
            labelled("eu-3", "prod"),
        ])
        .await;
    world
        .until("refused", |world| !world.message().is_empty())
        .await;
    assert_eq!(
        world.rows("shop"),
        rows,
        "nobody gets the old path under the new spec"
    );
}

#[tokio::test]
async fn one_tree_is_rendered_once_for_all_assignments_and_restarts() {
    let world = world().await;
    world.settled().await;
    world.git.commit("copy", &manifest("one"));
    world.apply(vec![assignment("copy", "copy")]).await;
    world
        .until("released", |world| world.rows("copy").len() == 2)
        .await;
    assert_eq!(world.rows("copy")[0].digest, world.rows("shop")[0].digest);

    let World {
        fleet,
        git,
        dir,
        _stop,
    } = world;
    drop((fleet, _stop));
    let fleet = open(&dir).await;
    let stop = start(&fleet, &git);
    let again = World {
        fleet,
        git,
        dir,
        _stop: stop,
    };
    again.apply(vec![assignment("third", "deploy")]).await;
    again
        .until("released", |world| world.rows("third").len() == 2)
        .await;
    assert_eq!(again.git.reads(), 1);
}

#[tokio::test]
async fn assignments_of_one_tree_that_come_together_render_it_once() {
    let world = world().await;
    world.settled().await;
    let gate = world.git.hold();
    let names: Vec<String> = (0..8).map(|i| format!("copy-{i}")).collect();
    for name in &names {
        world.git.commit(name, &manifest("the same"));
    }
    let copies = names.iter().map(|name| assignment(name, name)).collect();
    world.apply(copies).await;
    while world.git.reads() < 2 {
        world.git.0.reading.notified().await;
    }
    world.git.release(&gate);
    for name in &names {
        world
            .until("released", |world| world.rows(name).len() == 2)
            .await;
    }
    assert_eq!(world.git.reads(), 2);
}

#[tokio::test]
async fn a_newer_commit_overtakes_a_render() {
    let world = world().await;
    world.settled().await;
    let before = world.rows("shop");
    let gate = world.git.hold();
    world.git.commit("deploy", &manifest("slow"));
    world.pushed("shop");
    while world.git.reads() < 2 {
        world.git.0.reading.notified().await;
    }
    let newest = world.git.commit("deploy", &manifest("newest"));
    world.pushed("shop");
    assert_eq!(
        world.rows("shop"),
        before,
        "nothing is released while it renders"
    );
    world.git.release(&gate);
    world
        .until("at the newest", |world| world.revision() == newest)
        .await;
    world.settled().await;
    // One version more than before: the slow one was never told to anybody.
    assert_eq!(world.version("eu-1"), before[0].version + 1);
}

#[tokio::test]
async fn one_that_takes_long_holds_up_no_other_and_never_runs_twice() {
    let world = world().await;
    world.settled().await;
    let gate = world.git.hold();
    world.git.commit("deploy", &manifest("slow"));
    for _ in 0..5 {
        world.pushed("shop");
    }
    while world.git.reads() < 2 {
        world.git.0.reading.notified().await;
    }
    *world.git.0.gate.lock() = None;
    world.git.commit("other", &manifest("quick"));
    world.apply(vec![assignment("other", "other")]).await;
    world
        .until("released", |world| world.rows("other").len() == 2)
        .await;
    for _ in 0..5 {
        world.pushed("shop");
    }
    gate.notify_one();
    world.settled().await;
    assert_eq!(world.git.reads(), 3);
}

#[tokio::test]
async fn a_missing_assignment_takes_nothing_away() {
    let world = world().await;
    world.settled().await;
    world.pushed("never-heard-of");
    world.git.commit("deploy", &manifest("two"));
    world.pushed("shop");
    world.settled().await;
    assert_eq!(world.told("shop"), "eu-1 set, eu-2 set");
}

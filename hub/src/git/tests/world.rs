//! A fleet of repositories without a store, and the room running on it.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use lockstep_fixtures::GitRepository;
use lockstep_proto::v1;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::git::fleet::Repositories;
use crate::git::follow::Follow;
use crate::git::{BasicAuth, CredentialSource, Git, GitError, GitOptions, Limits, Resolved};
use crate::metrics::Metrics;
use crate::secret::Secret;
use crate::signal::Dirty;
use crate::store::StoreError;

/// How long anything may take on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(super) struct FakeFleet(Arc<Inner>);

struct Inner {
    repositories: Mutex<BTreeMap<String, Arc<v1::Repository>>>,
    follows: Mutex<BTreeMap<String, Vec<(String, Follow)>>>,
    states: watch::Sender<BTreeMap<String, v1::RepositoryStatus>>,
    dirty: Dirty<String>,
    marked: Dirty<String>,
}

impl Repositories for FakeFleet {
    fn names(&self) -> Vec<String> {
        self.0.repositories.lock().keys().cloned().collect()
    }

    fn get(&self, name: &str) -> Option<Arc<v1::Repository>> {
        self.0.repositories.lock().get(name).cloned()
    }

    fn follows(&self, name: &str) -> Vec<(String, Follow)> {
        self.0.follows.lock().get(name).cloned().unwrap_or_default()
    }

    fn state(&self, name: &str) -> v1::RepositoryStatus {
        self.0
            .states
            .borrow()
            .get(name)
            .cloned()
            .unwrap_or_default()
    }

    async fn dirty(&self) -> HashSet<String> {
        self.0.dirty.take().await
    }

    async fn set_state(&self, name: &str, status: v1::RepositoryStatus) -> Result<(), StoreError> {
        self.0.states.send_modify(|states| {
            states.insert(name.to_owned(), status);
        });
        Ok(())
    }

    fn mark(&self, assignments: Vec<String>) {
        self.0.marked.mark_all(assignments);
    }
}

/// Every credential is the user `me` with this password.
struct Passwords(&'static str);

impl CredentialSource for Passwords {
    fn basic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<BasicAuth, String>> {
        Box::pin(async move {
            if name == "missing" {
                return Err("credential \"missing\" does not exist".to_owned());
            }
            Ok(BasicAuth {
                username: "me".into(),
                password: Secret::new(self.0),
            })
        })
    }
}

pub(super) const PASSWORD: &str = "hunter2";

pub(super) struct World {
    pub fleet: FakeFleet,
    pub git: Git,
    pub dir: tempfile::TempDir,
    tracker: TaskTracker,
    cancel: CancellationToken,
    limits: Limits,
}

/// Limits at which a test need not wait long for a server that hangs.
pub(super) fn short() -> Limits {
    Limits {
        answer: Duration::from_millis(1500),
        idle: Duration::from_millis(1500),
        ..Limits::default()
    }
}

impl World {
    pub(super) async fn new(limits: Limits) -> Self {
        let fleet = FakeFleet(Arc::new(Inner {
            repositories: Mutex::default(),
            follows: Mutex::default(),
            states: watch::Sender::new(BTreeMap::new()),
            dirty: Dirty::new(),
            marked: Dirty::new(),
        }));
        let dir = tempfile::tempdir().unwrap();
        let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
        let git = start(&fleet, dir.path(), &limits, &tracker, &cancel).await;
        Self {
            fleet,
            git,
            dir,
            tracker,
            cancel,
            limits,
        }
    }

    /// Ends all tasks, lets `between` do to the disk what it likes, and starts again.
    pub(super) async fn restart(&mut self, between: impl FnOnce(&Path)) {
        self.cancel.cancel();
        self.tracker.close();
        self.tracker.wait().await;
        between(self.dir.path());
        (self.tracker, self.cancel) = (TaskTracker::new(), CancellationToken::new());
        self.git = start(
            &self.fleet,
            self.dir.path(),
            &self.limits,
            &self.tracker,
            &self.cancel,
        )
        .await;
    }

    /// Applies a repository that is never polled.
    pub(super) fn apply(&self, name: &str, spec: v1::RepositorySpec) {
        let spec = v1::RepositorySpec {
            poll: "0".into(),
            ..spec
        };
        let repository = v1::Repository {
            spec: Some(spec),
            ..v1::Repository::default()
        };
        let mut all = self.fleet.0.repositories.lock();
        all.insert(name.to_owned(), Arc::new(repository));
        drop(all);
        self.wake(name);
    }

    pub(super) fn delete(&self, name: &str) {
        self.fleet.0.repositories.lock().remove(name);
        self.wake(name);
    }

    /// As a webhook does.
    pub(super) fn wake(&self, name: &str) {
        self.fleet.0.dirty.mark(name.to_owned());
    }

    /// An assignment of the same name follows `r`.
    pub(super) fn follow(&self, repository: &str, r: &v1::GitRef) {
        let follow = Follow::of(r).unwrap();
        let mut all = self.fleet.0.follows.lock();
        let follows = all.entry(repository.to_owned()).or_default();
        follows.push((follow.to_string(), follow));
    }

    pub(super) fn unfollow(&self, repository: &str) {
        self.fleet.0.follows.lock().remove(repository);
    }

    /// Waits until the state of `repository` is as `wanted`.
    pub(super) async fn until(
        &self,
        repository: &str,
        mut wanted: impl FnMut(&v1::RepositoryStatus) -> bool,
    ) -> v1::RepositoryStatus {
        let mut states = self.fleet.0.states.subscribe();
        let seen = states.wait_for(|all| all.get(repository).is_some_and(&mut wanted));
        let seen = tokio::time::timeout(PATIENCE, seen).await.ok();
        let Some(seen) = seen else {
            panic!("{repository} stays at {:?}", self.fleet.state(repository))
        };
        seen.unwrap()[repository].clone()
    }

    /// Waits until a look that begins after this call has ended.
    pub(super) async fn look(&self, repository: &str) -> v1::RepositoryStatus {
        let before = self.fleet.state(repository).last_attempt;
        self.wake(repository);
        self.until(repository, |status| status.last_attempt != before)
            .await
    }

    /// Waits until `message` of the repository's state contains `part`.
    pub(super) async fn says(&self, repository: &str, part: &str) -> v1::RepositoryStatus {
        self.until(repository, |status| status.message.contains(part))
            .await
    }

    /// Waits until the repository's only head is `revision`.
    pub(super) async fn at(&self, repository: &str, revision: &str) -> v1::RepositoryStatus {
        self.until(repository, |status| {
            status.head.len() == 1
                && status.head[0].revision == revision
                && status.message.is_empty()
        })
        .await
    }

    pub(super) async fn resolve(
        &self,
        repository: &str,
        r: &v1::GitRef,
        path: &str,
    ) -> Result<Resolved, GitError> {
        self.git.resolve(repository, r, path).await
    }

    /// The files of `path` at `r`, as `path=content`.
    pub(super) async fn files(
        &self,
        repository: &str,
        r: &v1::GitRef,
        path: &str,
    ) -> Result<Vec<String>, GitError> {
        let tree = self.resolve(repository, r, path).await?.tree;
        let tree = self.git.read_tree(repository, &tree, |_| true).await?;
        let text = |file: crate::git::SourceFile| {
            format!("{}={}", file.path, String::from_utf8_lossy(&file.content))
        };
        Ok(tree.files.into_iter().map(text).collect())
    }

    /// Assignments that were marked since the last call; waits for the first.
    pub(super) async fn marked(&self) -> HashSet<String> {
        let marked = self.fleet.0.marked.take();
        tokio::time::timeout(PATIENCE, marked).await.unwrap()
    }
}

async fn start(
    fleet: &FakeFleet,
    dir: &Path,
    limits: &Limits,
    tracker: &TaskTracker,
    cancel: &CancellationToken,
) -> Git {
    let options = GitOptions {
        dir: dir.to_owned(),
        allow_file: true,
        limits: limits.clone(),
        credentials: Arc::new(Passwords(PASSWORD)),
        metrics: Metrics::new(),
    };
    Git::start_with(options, fleet.clone(), tracker, cancel.clone())
        .await
        .unwrap()
}

pub(super) fn branch(name: &str) -> v1::GitRef {
    v1::GitRef {
        branch: name.into(),
        ..v1::GitRef::default()
    }
}

pub(super) fn tag(name: &str) -> v1::GitRef {
    v1::GitRef {
        tag: name.into(),
        ..v1::GitRef::default()
    }
}

pub(super) fn commit(id: &str) -> v1::GitRef {
    v1::GitRef {
        commit: id.into(),
        ..v1::GitRef::default()
    }
}

/// How the repository is reached.
pub(super) fn spec(repository: &GitRepository) -> v1::RepositorySpec {
    at_url(repository.url())
}

pub(super) fn at_url(url: &str) -> v1::RepositorySpec {
    v1::RepositorySpec {
        url: url.into(),
        ..v1::RepositorySpec::default()
    }
}

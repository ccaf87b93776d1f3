//! Repositories, mirrored: what comes in is a Repository's URL, credential and
//! trust; what goes out is the commit that a ref resolves to and the files of
//! a folder at it.
//!
//! One task per Repository asks its remote which refs moved and fetches only
//! then, however many Assignments follow it. Nothing here renders, and nothing
//! that a remote does reaches further than its own Repository's status.
//!
//! Git's smart protocol is spoken here, over hyper and rustls; libgit2 keeps
//! the objects, on threads that may block, and never touches the network.

mod ask;
mod cause;
mod driver;
mod error;
mod file;
mod fleet;
mod follow;
mod http;
mod intake;
mod look;
mod mirror;
mod pktline;
mod protocol;
mod read;
mod remote;
mod scan;
mod schedule;
mod source;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use git2::Oid;
use lockstep_proto::{Revision, v1};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use error::{GitError, StartError};
pub use source::{SourceFile, SourceTree, TreeLimits};

use crate::metrics::Metrics;
use crate::secret::Secret;
use crate::status::Fleet;
use ask::{Looked, Wants};
use driver::Driver;
use fleet::Repositories;
use follow::Follow;
use remote::Means;

/// A login at a Git server.
#[derive(Debug, Clone)]
pub struct BasicAuth {
    /// Empty for a token.
    pub username: String,
    pub password: Secret,
}

/// Where the logins of repositories come from.
pub trait CredentialSource: Send + Sync + 'static {
    /// The login `name`, or in words why there is none.
    fn basic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<BasicAuth, String>>;
}

/// Bounds of what the hub takes from repositories.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Of the folder that an Assignment names.
    pub tree: TreeLimits,
    /// Bytes of one fetch.
    pub fetch_bytes: u64,
    /// From the first byte of a fetch to its last object being indexed.
    pub fetch_time: Duration,
    /// Until a server lists its refs.
    pub list_time: Duration,
    /// Until the head of a pack's answer: servers count objects before they send.
    pub answer: Duration,
    /// Between two pieces of an answer.
    pub idle: Duration,
    /// Fetches at once, over all repositories.
    pub fetches: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tree: TreeLimits::default(),
            fetch_bytes: 1 << 30,
            fetch_time: Duration::from_secs(300),
            list_time: Duration::from_secs(30),
            answer: Duration::from_secs(60),
            idle: Duration::from_secs(30),
            fetches: 16,
        }
    }
}

/// How the room is set up.
pub struct GitOptions {
    /// Where the mirrors are; made where it is missing.
    pub dir: PathBuf,
    /// Whether a Repository may be a folder on the hub's own disk.
    pub allow_file: bool,
    pub limits: Limits,
    pub credentials: Arc<dyn CredentialSource>,
    pub metrics: Metrics,
}

/// What an Assignment's ref and path name now.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// The commit.
    pub revision: Revision,
    /// Who, what and when.
    pub commit: v1::CommitInfo,
    /// Id of the Git tree at the path: equal trees hold equal files.
    pub tree: String,
}

/// A folder's path as people write it, without what means nothing: "./a//b/" is "a/b".
pub(crate) fn plain_path(path: &str) -> String {
    read::components(path).collect::<Vec<_>>().join("/")
}

/// The mirrors of all Repositories. Cheap to clone.
#[derive(Clone)]
pub struct Git {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    limits: Limits,
    entries: RwLock<HashMap<String, Arc<Entry>>>,
}

impl Shared {
    fn entry(&self, repository: &str) -> Arc<Entry> {
        let mut entries = self.entries.write();
        entries.entry(repository.to_owned()).or_default().clone()
    }
}

/// What readers and the task of one repository share.
#[derive(Default)]
struct Entry {
    /// By the ref that is followed: "branch main".
    seen: RwLock<BTreeMap<String, Seen>>,
    /// Read-locked by those who read the mirror's files; write-locked while
    /// some of them are taken away.
    files: Arc<RwLock<()>>,
    /// Somebody wants a look now.
    wake: Notify,
    damaged: AtomicBool,
    /// What is asked for beside what is followed.
    wants: Mutex<Wants>,
    /// Tickets given to those who wait for a look.
    tickets: AtomicU64,
    looked: watch::Sender<Looked>,
}

/// Where a ref was at the last look.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    At(Oid),
    /// Not there, in words.
    Missing(String),
    /// No look has succeeded since somebody follows it.
    Waiting,
}

impl Entry {
    fn set_damaged(&self) {
        self.damaged.store(true, Ordering::Release);
    }

    fn take_damaged(&self) -> bool {
        self.damaged.swap(false, Ordering::AcqRel)
    }

    /// A ticket that a look which begins from now on answers.
    fn take_ticket(&self) -> u64 {
        self.tickets.fetch_add(1, Ordering::SeqCst) + 1
    }
}

impl Git {
    /// Starts a task for every Repository of `fleet`, and goes on as they
    /// come and go, until `cancel`.
    ///
    /// # Errors
    /// [`StartError`]: the folder of the mirrors cannot be used.
    pub async fn start(
        options: GitOptions,
        fleet: Fleet,
        tracker: &TaskTracker,
        cancel: CancellationToken,
    ) -> Result<Self, StartError> {
        Self::start_with(options, fleet, tracker, cancel).await
    }

    async fn start_with(
        options: GitOptions,
        repositories: impl Repositories,
        tracker: &TaskTracker,
        cancel: CancellationToken,
    ) -> Result<Self, StartError> {
        let dir = options.dir.clone();
        let roots = tokio::task::spawn_blocking(move || {
            // Mirrors may hold what only some people may see.
            use std::os::unix::fs::DirBuilderExt as _;
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .map_err(|cause| StartError::Dir { dir, cause })?;
            Ok::<_, StartError>(http::system_roots())
        });
        let roots = roots.await.map_err(|_| StartError::Stopped)??;
        let plain = http::client(&roots, "").map_err(|e| StartError::Tls(e.to_string()))?;
        let shared = Arc::new(Shared {
            dir: options.dir,
            limits: options.limits.clone(),
            entries: RwLock::default(),
        });
        let driver = Driver {
            shared: shared.clone(),
            means: Arc::new(Means {
                fetches: Semaphore::new(options.limits.fetches),
                limits: options.limits,
                allow_file: options.allow_file,
                credentials: options.credentials,
                roots,
                plain,
            }),
            repositories,
            metrics: options.metrics,
            tracker: tracker.clone(),
            cancel,
        };
        tracker.spawn(driver.run());
        Ok(Self { shared })
    }

    /// What `r` and `path` name in the mirror of `repository`, as of the last
    /// look at its remote. Waits for none: the Assignment is marked dirty when
    /// there is something to know.
    ///
    /// # Errors
    /// [`GitError`]: what is missing, by name.
    pub async fn resolve(
        &self,
        repository: &str,
        r: &v1::GitRef,
        path: &str,
    ) -> Result<Resolved, GitError> {
        let follow = Follow::of(r).ok_or(GitError::EmptyRef)?;
        let entry = self.shared.entry(repository);
        let seen = entry.seen.read().get(&follow.to_string()).cloned();
        let commit = match seen {
            Some(Seen::At(commit)) => commit,
            Some(Seen::Missing(cause)) => {
                return Err(GitError::NoSuchRef {
                    repository: repository.to_owned(),
                    cause,
                });
            }
            waiting => {
                if waiting.is_none() {
                    entry.wake.notify_one();
                }
                return Err(GitError::NotFetched {
                    repository: repository.to_owned(),
                });
            }
        };
        let path = path.to_owned();
        self.reading(repository, entry, move |mirror, name| {
            read::resolve(mirror, name, commit, &path)
        })
        .await
    }

    /// The files of the tree `tree` of `repository` whose path `wanted` picks.
    ///
    /// # Errors
    /// [`GitError`]: a bound that is passed or a link that leaves the tree, by name.
    pub async fn read_tree(
        &self,
        repository: &str,
        tree: &str,
        wanted: fn(&str) -> bool,
    ) -> Result<SourceTree, GitError> {
        let (tree, limits) = (tree.to_owned(), self.shared.limits.tree.clone());
        let entry = self.shared.entry(repository);
        self.reading(repository, entry, move |mirror, name| {
            read::read_tree(mirror, name, &tree, wanted, &limits)
        })
        .await
    }

    /// Reads the mirror of `repository`; what cannot be read is fetched again.
    async fn reading<T: Send + 'static>(
        &self,
        repository: &str,
        entry: Arc<Entry>,
        read: impl FnOnce(&std::path::Path, &str) -> Result<T, GitError> + Send + 'static,
    ) -> Result<T, GitError> {
        let (mirror, name) = (self.shared.dir.join(repository), repository.to_owned());
        let files = entry.files.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _nothing_is_taken_away = files.read();
            read(&mirror, &name)
        });
        let result = match done.await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(GitError::NotFetched {
                    repository: repository.to_owned(),
                }),
            },
        };
        if let Err(GitError::Mirror { .. }) = &result {
            entry.set_damaged();
            entry.wake.notify_one();
        }
        result
    }
}

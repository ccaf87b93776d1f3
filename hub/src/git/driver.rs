//! One task for each Repository: look, note what was seen, wait, look again.
//!
//! Tasks come and go with the resources. A task never waits for another one:
//! what a remote does to its task, nobody else notices.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use lockstep_proto::v1;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cause::RemoteError;
use super::fleet::Repositories;
use super::follow::Follow;
use super::look::{Look, Memory, Sight};
use super::mirror::{Mirror, remove_orphans};
use super::remote::Means;
use super::schedule::{GAP, wait};
use super::{Entry, Seen, Shared, ask};
use crate::metrics::{FetchResult, Metrics};

/// Tasks are looked after this often even when nobody asks.
const AGAIN: Duration = Duration::from_secs(30);
/// How often mirrors without a repository are looked for.
const SWEEP: Duration = Duration::from_secs(3600);
/// Before a task that panicked is started again.
const BROKEN_DOWN: Duration = Duration::from_secs(30);

/// Starts and stops the tasks of repositories, and wakes them.
pub(super) struct Driver<R> {
    pub shared: Arc<Shared>,
    pub means: Arc<Means>,
    pub repositories: R,
    pub metrics: Metrics,
    pub tracker: TaskTracker,
    pub cancel: CancellationToken,
}

struct Running {
    entry: Arc<Entry>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl<R: Repositories> Driver<R> {
    pub(super) async fn run(self) {
        let mut running: HashMap<String, Running> = HashMap::new();
        let mut swept = None;
        loop {
            self.follow(&mut running);
            if swept.is_none_or(|at: Instant| at.elapsed() > SWEEP) {
                swept = Some(Instant::now());
                self.sweep(running.keys().cloned().collect()).await;
            }
            let dirty = tokio::time::timeout(AGAIN, self.repositories.dirty());
            let Some(dirty) = self.cancel.run_until_cancelled(dirty).await else {
                break;
            };
            for name in dirty.unwrap_or_default() {
                if let Some(task) = running.get(&name) {
                    task.entry.wake.notify_one();
                }
            }
        }
        for (_, task) in running {
            let _ = task.task.await;
        }
    }

    /// Removes mirrors that nobody needs.
    async fn sweep(&self, needed: BTreeSet<String>) {
        let dir = self.shared.dir.clone();
        let swept = move || remove_orphans(&dir, |name| needed.contains(name));
        if let Ok(Err(error)) = tokio::task::spawn_blocking(swept).await {
            tracing::warn!(%error, "cannot remove mirrors that no repository needs");
        }
    }

    /// Makes the tasks those of the repositories that there are. Waits for
    /// none of them: one that ends may still be at a disk.
    fn follow(&self, running: &mut HashMap<String, Running>) {
        let names: BTreeSet<_> = self.repositories.names().into_iter().collect();
        running.retain(|name, task| {
            if names.contains(name) {
                return true;
            }
            if !task.cancel.is_cancelled() {
                task.cancel.cancel();
                self.shared.entries.write().remove(name);
            }
            !task.task.is_finished()
        });
        for name in names {
            let alive = |task: &Running| !task.cancel.is_cancelled() && !task.task.is_finished();
            if running.get(&name).is_some_and(alive) {
                continue;
            }
            let entry = self.shared.entry(&name);
            let cancel = self.cancel.child_token();
            let task = Task {
                name: name.clone(),
                entry: entry.clone(),
                path: self.shared.dir.join(&name),
                means: self.means.clone(),
                repositories: self.repositories.clone(),
                metrics: self.metrics.clone(),
                cancel: cancel.clone(),
            };
            let before = running.remove(&name).map(|task| task.task);
            let task = self.tracker.spawn(async move {
                // Two tasks never write to one mirror.
                if let Some(before) = before
                    && let Err(error) = before.await
                {
                    tracing::error!(repository = task.name, %error, "the task of a repository broke down");
                    tokio::time::sleep(BROKEN_DOWN).await;
                }
                task.run().await;
            });
            running.insert(
                name,
                Running {
                    entry,
                    cancel,
                    task,
                },
            );
        }
    }
}

/// What became of a look.
struct Looked {
    /// Looks that failed in a row.
    failed: u32,
    /// Until the next one is due.
    next: Option<Duration>,
    /// Why the remote could not be looked at, if it could not.
    failure: Option<String>,
}

struct Task<R> {
    name: String,
    entry: Arc<Entry>,
    path: std::path::PathBuf,
    means: Arc<Means>,
    repositories: R,
    metrics: Metrics,
    cancel: CancellationToken,
}

impl<R: Repositories> Task<R> {
    async fn run(self) {
        let mut memory = Memory::default();
        let mut url = None;
        let mut failures = 0;
        while let Some(repository) = self.repositories.get(&self.name) {
            if self.cancel.is_cancelled() {
                return;
            }
            let spec = repository.spec.clone().unwrap_or_default();
            let mirror = Mirror::new(self.path.clone(), &spec.url);
            let damaged = self.entry.take_damaged();
            if damaged || url.as_ref() != Some(&spec.url) {
                memory = self.load(&mirror, damaged).await;
                url = Some(spec.url.clone());
            }
            let started = Instant::now();
            let ticket = self.entry.tickets.load(Ordering::SeqCst);
            let looked = self.look(&spec, &mirror, &mut memory, failures).await;
            let Some(Looked {
                failed,
                next,
                failure,
            }) = looked
            else {
                return;
            };
            self.entry
                .looked
                .send_replace(ask::Looked { ticket, failure });
            failures = failed;
            self.pause(started, next).await;
        }
    }

    /// Until the next look is due, or somebody wants one; bursts of wishes make one.
    async fn pause(&self, started: Instant, next: Option<Duration>) {
        let due = async {
            match next {
                Some(next) => tokio::time::sleep(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.cancel.cancelled() => {}
            () = due => {}
            () = self.entry.wake.notified() => {
                let gap = tokio::time::sleep_until(started + GAP);
                let _ = self.cancel.run_until_cancelled(gap).await;
            }
        }
    }

    /// What the mirror holds; a mirror that is not sound is dropped.
    async fn load(&self, mirror: &Mirror, damaged: bool) -> Memory {
        let (mirror, files) = (mirror.clone(), self.entry.files.clone());
        let loaded = tokio::task::spawn_blocking(move || {
            let cause = match mirror.load() {
                Ok(heads) if !damaged && (heads.is_empty() || mirror.prepare().is_ok()) => {
                    return Ok(heads);
                }
                Ok(_) => "a read failed".to_owned(),
                Err(error) => error.to_string(),
            };
            let _nobody_reads = files.write();
            mirror
                .drop_all()
                .map(|()| BTreeMap::new())
                .map_err(|e| (cause, e))
        });
        let heads = match loaded.await {
            Ok(Ok(heads)) => heads,
            Ok(Err((cause, error))) => {
                tracing::error!(repository = self.name, %cause, %error, "cannot remove a mirror that is not sound");
                BTreeMap::new()
            }
            Err(_) => BTreeMap::new(),
        };
        let memory = Memory::of(heads);
        self.note(&memory, None, &BTreeSet::new());
        memory
    }

    /// One look, and what everybody is told of it; none when the task is to end.
    async fn look(
        &self,
        spec: &v1::RepositorySpec,
        mirror: &Mirror,
        memory: &mut Memory,
        failures: u32,
    ) -> Option<Looked> {
        let assignments = self.repositories.follows(&self.name);
        let followed: BTreeSet<_> = assignments
            .iter()
            .map(|(_, follow)| follow.clone())
            .collect();
        let wants = self.entry.wants.lock().at(Instant::now());
        let follows = &followed | &wants;
        let look = Look {
            means: &self.means,
            spec,
            mirror,
            files: &self.entry.files,
            follows: &follows,
            cancel: &self.cancel,
        };
        let started = Instant::now();
        let seen = look.run(memory).await;
        if self.cancel.is_cancelled() {
            return None;
        }
        let mut status = self.repositories.state(&self.name);
        let now = timestamp(SystemTime::now());
        status.last_attempt = Some(now);
        let (failed, result) = match seen {
            Ok(mut sight) => {
                status.last_fetched = Some(now);
                self.note(memory, Some(&sight), &wants);
                // What was only asked for is told to whoever asked.
                sight.keep(&followed);
                status.message = message(&sight);
                let changed = if sight.changed {
                    FetchResult::Changed
                } else {
                    FetchResult::Unchanged
                };
                (!sight.problems.is_empty(), changed)
            }
            Err(RemoteError::Stopped) => return None,
            Err(error) => {
                if matches!(error, RemoteError::Mirror(_)) {
                    self.suspect(mirror).await;
                }
                status.message = error.to_string();
                self.note(memory, None, &wants);
                (true, FetchResult::Failed)
            }
        };
        let failure = (result == FetchResult::Failed).then(|| status.message.clone());
        let poll = crate::status::poll_seconds(&spec.poll).unwrap_or(Some(60));
        let count = if failed {
            failures.saturating_add(1)
        } else {
            0
        };
        let next = wait(poll.map(Duration::from_secs), count, rand::random());
        if let (true, Some(next)) = (failed, next) {
            let seconds = next.as_secs().max(1);
            status
                .message
                .push_str(&format!("; the next attempt is in {seconds}s"));
        }
        self.metrics.git_fetched(result, started.elapsed());
        if failed && failures == 0 {
            tracing::warn!(
                repository = self.name,
                message = status.message,
                "cannot follow a repository"
            );
        } else if !failed && failures > 0 {
            tracing::info!(repository = self.name, "the repository is followed again");
        }
        status.head = memory
            .heads
            .iter()
            .filter(|(name, _)| followed.iter().any(|follow| follow.to_string() == **name))
            .map(|(name, tip)| v1::RefHead {
                r#ref: name.clone(),
                revision: tip.commit.to_string(),
            })
            .collect();
        if let Err(error) = self.repositories.set_state(&self.name, status).await {
            tracing::warn!(repository = self.name, %error, "cannot write the state of a repository");
        }
        Some(Looked {
            failed: count,
            next,
            failure,
        })
    }

    /// A fetch could not be written: was that the pack, or is it our disk?
    async fn suspect(&self, mirror: &Mirror) {
        let mirror = mirror.clone();
        let sound = tokio::task::spawn_blocking(move || mirror.load().is_ok()).await;
        if !matches!(sound, Ok(true)) {
            self.entry.set_damaged();
        }
    }

    /// Makes what was seen visible to readers, and wakes the assignments that
    /// it concerns. Without a sight the remote said nothing: what was missing
    /// still is.
    fn note(&self, memory: &Memory, sight: Option<&Sight>, wants: &BTreeSet<Follow>) {
        let concerned = self.repositories.follows(&self.name);
        let mut seen = self.entry.seen.write();
        let mut now: BTreeMap<String, Seen> = BTreeMap::new();
        for follow in concerned.iter().map(|(_, follow)| follow).chain(wants) {
            let name = follow.to_string();
            let what = match (memory.heads.get(&name), sight, seen.get(&name)) {
                (Some(tip), ..) => Seen::At(tip.commit),
                (None, None, Some(Seen::Missing(cause))) => Seen::Missing(cause.clone()),
                (None, sight, _) => sight
                    .and_then(|sight| sight.missing.get(follow))
                    .map_or(Seen::Waiting, |cause| Seen::Missing(cause.clone())),
            };
            now.insert(name, what);
        }
        let before = std::mem::replace(&mut *seen, now.clone());
        drop(seen);
        let moved = concerned.into_iter().filter(|(_, follow)| {
            let name = follow.to_string();
            before.get(&name) != now.get(&name)
        });
        self.repositories
            .mark(moved.map(|(assignment, _)| assignment).collect());
    }
}

fn message(sight: &Sight) -> String {
    /// Of a status line; more is more of the same.
    const MOST: usize = 5;
    let all: Vec<_> = sight
        .missing
        .values()
        .chain(sight.problems.iter().map(|(_, problem)| problem))
        .collect();
    let mut text = all
        .iter()
        .take(MOST)
        .map(|text| text.as_str())
        .collect::<Vec<_>>()
        .join("; ");
    if all.len() > MOST {
        text.push_str(&format!("; and {} more", all.len() - MOST));
    }
    text
}

fn timestamp(at: SystemTime) -> pbjson_types::Timestamp {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    pbjson_types::Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
    }
}

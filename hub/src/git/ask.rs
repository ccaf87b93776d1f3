//! What people ask of a repository beside what Assignments follow: a look at
//! its remote now, and commits, branches and tags on demand.
//!
//! The repository's task answers: it alone fetches. What is asked for joins
//! what is followed for some minutes, so that the mirror keeps it for as long
//! as whoever asked works with it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::time::Duration;

use git2::{ErrorCode, Oid, Repository};
use tokio::time::Instant;

use super::follow::Follow;
use super::mirror::check_tip;
use super::{Entry, Git, GitError, Resolved, Seen, read};

/// How long whoever asks waits for a look.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long what was asked for is kept.
const KEPT: Duration = Duration::from_mins(10);
/// Asked for at once, of one repository: the oldest go first.
const MOST: usize = 32;
/// Digits of a commit that may be cut short: as many as are shown.
const SHORTEST: usize = 7;
const FULL: usize = 40;

/// What was asked for, and when last.
#[derive(Default)]
pub(super) struct Wants(BTreeMap<Follow, Instant>);

impl Wants {
    fn add(&mut self, follow: Follow, now: Instant) {
        self.0.insert(follow, now);
        while self.0.len() > MOST {
            let oldest = self.0.iter().min_by_key(|(_, at)| **at);
            let Some(oldest) = oldest.map(|(follow, _)| follow.clone()) else {
                return;
            };
            self.0.remove(&oldest);
        }
    }

    /// What is asked for at `now`; what was asked for long ago is dropped.
    pub(super) fn at(&mut self, now: Instant) -> BTreeSet<Follow> {
        self.0.retain(|_, at| now.duration_since(*at) < KEPT);
        self.0.keys().cloned().collect()
    }
}

/// The last look that ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Looked {
    /// Whoever held a ticket up to this one has been answered.
    pub ticket: u64,
    /// Why the remote could not be looked at.
    pub failure: Option<String>,
}

impl Git {
    /// Waits for a look at the remote of `repository` that begins after this
    /// call: what [`Git::resolve`] says then is what the remote has now.
    ///
    /// # Errors
    /// [`GitError::Unreachable`]: the remote cannot be asked, or takes too long.
    pub async fn look_now(&self, repository: &str) -> Result<(), GitError> {
        self.look_of(&self.shared.entry(repository), repository)
            .await
    }

    async fn look_of(&self, entry: &Entry, repository: &str) -> Result<(), GitError> {
        let mut looked = entry.looked.subscribe();
        let ticket = entry.take_ticket();
        entry.wake.notify_one();
        let answered = looked.wait_for(|looked| looked.ticket >= ticket);
        let failure = match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(looked)) => looked.failure.clone(),
            Ok(Err(_)) => Some("the hub is stopping".to_owned()),
            Err(_) => Some(format!(
                "its remote has not answered within {} seconds",
                PATIENCE.as_secs()
            )),
        };
        match failure {
            None => Ok(()),
            Some(cause) => Err(GitError::Unreachable {
                repository: repository.to_owned(),
                cause,
            }),
        }
    }

    /// What `text` names at `path`: a commit by its 40 digits, by fewer where
    /// the mirror holds it, or else a branch or a tag. What the mirror lacks
    /// is fetched.
    ///
    /// # Errors
    /// [`GitError`]: what is missing, by name.
    pub async fn resolve_any(
        &self,
        repository: &str,
        text: &str,
        path: &str,
    ) -> Result<Resolved, GitError> {
        let entry = self.shared.entry(repository);
        let digits = text.to_ascii_lowercase();
        let is_commit = digits.len() <= FULL
            && digits.len() >= SHORTEST
            && digits.bytes().all(|b| b.is_ascii_hexdigit());
        if is_commit {
            let (digits, path) = (digits.clone(), path.to_owned());
            let here = self.reading(repository, entry.clone(), move |mirror, name| {
                match held(mirror, name, &digits)? {
                    Some(commit) => read::resolve(mirror, name, commit, &path).map(Some),
                    None => Ok(None),
                }
            });
            if let Some(resolved) = here.await? {
                return Ok(resolved);
            }
        }
        let wanted = if is_commit && digits.len() == FULL {
            vec![Follow::Commit(digits)]
        } else {
            vec![
                Follow::Branch(text.to_owned()),
                Follow::Tag(text.to_owned()),
            ]
        };
        {
            let mut wants = entry.wants.lock();
            for follow in &wanted {
                wants.add(follow.clone(), Instant::now());
            }
        }
        self.look_of(&entry, repository).await?;
        let found = {
            let seen = entry.seen.read();
            wanted
                .iter()
                .find_map(|follow| match seen.get(&follow.to_string()) {
                    Some(Seen::At(commit)) => Some(*commit),
                    Some(Seen::Missing(_) | Seen::Waiting) | None => None,
                })
        };
        let Some(commit) = found else {
            return Err(GitError::NoSuchRef {
                repository: repository.to_owned(),
                cause: nothing(text, is_commit, &wanted),
            });
        };
        let path = path.to_owned();
        self.reading(repository, entry, move |mirror, name| {
            read::resolve(mirror, name, commit, &path)
        })
        .await
    }
}

/// How to say that `text` names nothing.
fn nothing(text: &str, is_commit: bool, wanted: &[Follow]) -> String {
    match wanted {
        [follow] => follow.missing(),
        _ if is_commit => format!(
            "{text:?} is neither a branch nor a tag, and no commit that the hub holds begins with \
             it (give all {FULL} digits of one that it does not hold): it does not exist"
        ),
        _ => format!("{text:?} is neither a branch, a tag nor a commit: it does not exist"),
    }
}

/// The one commit of the mirror whose id begins with `digits`, if all that it
/// leads to is here as well.
fn held(mirror: &Path, repository: &str, digits: &str) -> Result<Option<Oid>, GitError> {
    let Ok(repo) = Repository::open_bare(mirror) else {
        // Nothing was fetched yet, or its task is about to find it damaged.
        return Ok(None);
    };
    let commit = match repo.find_commit_by_prefix(digits) {
        Ok(commit) => commit.id(),
        Err(error) if error.code() == ErrorCode::Ambiguous && digits.len() < FULL => {
            return Err(GitError::NoSuchRef {
                repository: repository.to_owned(),
                cause: format!("more than one commit begins with {digits}: give more digits"),
            });
        }
        Err(_) => return Ok(None),
    };
    let whole = check_tip(&repo, commit, None, &mut HashSet::new());
    Ok(whole.is_ok().then_some(commit))
}

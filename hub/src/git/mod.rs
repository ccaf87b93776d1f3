//! Repositories, mirrored: what comes in is a Repository's URL, credential and
//! trust; what goes out is the commit that a ref resolves to and the files of
//! a folder at it.
//!
//! One task per Repository asks its remote which refs moved and fetches only
//! then, however many Assignments follow it. Nothing here renders, and nothing
//! that a remote does reaches further than its own Repository's status.

mod error;
mod read;
mod source;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lockstep_proto::{Revision, v1};

pub use error::GitError;
pub use source::{SourceFile, SourceTree, TreeLimits};

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

/// Bounds of what the hub takes from repositories.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// Of the folder that an Assignment names.
    pub tree: TreeLimits,
}

/// The mirrors of all Repositories. Cheap to clone.
#[derive(Clone)]
pub struct Git {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    limits: Limits,
}

impl Git {
    /// Mirrors under `dir`.
    #[must_use]
    pub fn open(dir: &Path, limits: Limits) -> Self {
        Self {
            shared: Arc::new(Shared {
                dir: dir.to_owned(),
                limits,
            }),
        }
    }

    /// What `r` and `path` name in the mirror of `repository`. Asks no remote.
    ///
    /// # Errors
    /// [`GitError`]: what is missing, by name.
    pub async fn resolve(
        &self,
        repository: &str,
        r: &v1::GitRef,
        path: &str,
    ) -> Result<Resolved, GitError> {
        let mirror = self.shared.dir.join(repository);
        let (name, r, path) = (repository.to_owned(), r.clone(), path.to_owned());
        blocking(move || read::resolve(&mirror, &name, &r, &path)).await
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
        let mirror = self.shared.dir.join(repository);
        let (name, tree) = (repository.to_owned(), tree.to_owned());
        let limits = self.shared.limits.tree.clone();
        blocking(move || read::read_tree(&mirror, &name, &tree, wanted, &limits)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, GitError> + Send + 'static,
) -> Result<T, GitError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

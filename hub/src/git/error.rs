//! Why a repository does not give what an Assignment asks of it.

/// Each message names the thing, the cause and, where there is one, the next step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GitError {
    /// The ref has not been fetched yet: its Repository's task is at it, and
    /// marks the Assignment dirty when it knows.
    #[error("waiting for the first fetch of repository {repository:?}")]
    NotFetched { repository: String },
    /// The remote has no such branch, tag or commit: `cause` says which.
    #[error("{cause} in repository {repository:?}")]
    NoSuchRef { repository: String, cause: String },
    /// Somebody waits for a look at the remote, and it went wrong.
    #[error("cannot look at repository {repository:?} now: {cause}")]
    Unreachable { repository: String, cause: String },
    /// The ref of the Assignment names nothing at all.
    #[error("the assignment's ref names no branch, tag or commit")]
    EmptyRef,
    /// The tree was resolved some time ago, and the branch has moved on since.
    #[error("that revision of repository {repository:?} has been overtaken; resolve its ref again")]
    Gone { repository: String },
    /// The commit has no such folder.
    #[error("there is no folder {path:?} at {revision} of repository {repository:?}{hint}")]
    NoSuchPath {
        repository: String,
        path: String,
        revision: String,
        /// " (it is a file)", or empty.
        hint: &'static str,
    },
    /// Something in the folder passes a bound or leaves it.
    #[error("{path}: {cause}")]
    Tree { path: String, cause: String },
    /// The mirror on the hub's disk is not sound; its task rebuilds it.
    #[error(
        "the hub's mirror of repository {repository:?} is damaged and is being fetched again: {cause}"
    )]
    Mirror { repository: String, cause: String },
}

impl GitError {
    /// The same with the file that a [`GitError::Tree`] is about named from
    /// the root of the repository that has the folder at `folder`.
    #[must_use]
    pub fn beneath(self, folder: &str) -> Self {
        let folder = super::plain_path(folder);
        match self {
            Self::Tree { path, cause } if !folder.is_empty() => Self::Tree {
                path: match path.as_str() {
                    "." => folder,
                    path => format!("{folder}/{path}"),
                },
                cause,
            },
            other => other,
        }
    }

    pub(super) fn mirror(repository: &str, error: &git2::Error) -> Self {
        Self::Mirror {
            repository: repository.to_owned(),
            cause: error.message().to_owned(),
        }
    }
}

/// Why the room cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot make the folder for mirrors of repositories, {}: {cause}", dir.display())]
    Dir {
        dir: std::path::PathBuf,
        cause: std::io::Error,
    },
    #[error("cannot set up TLS for Git: {0}")]
    Tls(String),
    #[error("the hub is stopping")]
    Stopped,
}

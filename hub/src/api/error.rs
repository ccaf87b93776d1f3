//! Errors as callers see them: a code to decide by, and a sentence for people.

use tonic::Status;

use crate::diff::DiffError;
use crate::git::GitError;
use crate::rollout::{OrderError, Trouble};
use crate::status::{ApplyError, DeleteError};
use crate::store::StoreError;

/// A message travels in a header: a longer one would break the call, and
/// parts of it are what the caller wrote.
const MAX_MESSAGE: usize = 4096;

fn bounded(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        message.push('…');
    }
    message
}

pub(super) fn invalid(message: impl Into<String>) -> Status {
    Status::invalid_argument(bounded(message.into()))
}

pub(super) fn no_such(kind: &str, name: &str) -> Status {
    Status::not_found(bounded(format!("there is no {kind} named {name:?}")))
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        let message = bounded(error.to_string());
        match error {
            StoreError::Full => Self::resource_exhausted(message),
            StoreError::Closed | StoreError::Aborted => Self::unavailable(message),
            StoreError::Open { .. }
            | StoreError::Newer { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Sqlite(_) => {
                tracing::error!(%error, "a call failed in the store");
                Self::internal(message)
            }
        }
    }
}

impl From<DiffError> for Status {
    fn from(error: DiffError) -> Self {
        let message = bounded(error.to_string());
        match error {
            DiffError::Busy => Self::resource_exhausted(message),
            DiffError::NoAssignment(_) | DiffError::NoCluster(_) => Self::not_found(message),
            DiffError::NotReached { .. } => Self::failed_precondition(message),
            DiffError::Trouble(trouble) => trouble.into(),
        }
    }
}

impl From<OrderError> for Status {
    fn from(error: OrderError) -> Self {
        let message = bounded(error.to_string());
        match error {
            OrderError::NoAssignment(_) | OrderError::NoRevision(_) => Self::not_found(message),
            OrderError::Refused(_) => Self::failed_precondition(message),
            OrderError::Overtaken(_) => Self::aborted(message),
            OrderError::Trouble(trouble) => trouble.into(),
            OrderError::Store(error) => error.into(),
        }
    }
}

impl From<Trouble> for Status {
    fn from(trouble: Trouble) -> Self {
        let message = bounded(trouble.to_string());
        match trouble {
            Trouble::Git(GitError::NoSuchRef { .. }) => Self::not_found(message),
            Trouble::Git(
                GitError::NotFetched { .. }
                | GitError::Unreachable { .. }
                | GitError::Gone { .. }
                | GitError::Mirror { .. },
            ) => Self::unavailable(message),
            Trouble::Git(
                GitError::EmptyRef | GitError::NoSuchPath { .. } | GitError::Tree { .. },
            )
            | Trouble::Render { .. } => Self::failed_precondition(message),
            Trouble::Store(error) => error.into(),
        }
    }
}

impl From<ApplyError> for Status {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Store(error) => error.into(),
            ApplyError::NoCluster(name) => no_such("Cluster", &name),
            ApplyError::Invalid(_) => invalid(error.to_string()),
        }
    }
}

impl From<DeleteError> for Status {
    fn from(error: DeleteError) -> Self {
        let message = bounded(error.to_string());
        match error {
            DeleteError::Store(error) => error.into(),
            DeleteError::NotFound { .. } => Self::not_found(message),
            DeleteError::InUse { .. } => Self::failed_precondition(message),
            DeleteError::Kind => invalid(message),
        }
    }
}

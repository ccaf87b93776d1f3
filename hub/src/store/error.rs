//! What can go wrong between the hub and its database, in words for the
//! person who runs it.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::ErrorCode;

/// Why the database could not be opened, read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error("cannot open the database {}: {cause}. {next}", path.display())]
    Open {
        path: PathBuf,
        cause: String,
        next: &'static str,
    },
    #[error(
        "the database {} has schema version {found}, and this hub knows versions up to {known}: \
         it was written by a newer hub. Start that version or a newer one, or restore a backup \
         made by this one",
        path.display()
    )]
    Newer {
        path: PathBuf,
        found: i64,
        known: i64,
    },
    #[error(
        "the disk that holds the database is full: nothing of this change was kept. \
         Free some space and try again"
    )]
    Full,
    #[error("the database holds a {what} that cannot be read: {cause}. Restore a backup")]
    Corrupt { what: &'static str, cause: String },
    #[error(
        "the database took back this change because one beside it met a full or failing disk. \
         Try again"
    )]
    Aborted,
    #[error("the database: {0}")]
    Sqlite(Arc<rusqlite::Error>),
    #[error("the database is closed: the hub is shutting down, or its writer failed (see the log)")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::corrupt("page", error)
            }
            _ => Self::Sqlite(Arc::new(error)),
        }
    }
}

impl StoreError {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "called with errors at hand, mostly in map_err"
    )]
    pub(crate) fn corrupt(what: &'static str, cause: impl ToString) -> Self {
        Self::Corrupt {
            what,
            cause: cause.to_string(),
        }
    }
}

/// The next step for a person whose database cannot be opened.
pub(in crate::store) fn next_step(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            "Check that the data directory exists, is on a writable file system and belongs to \
             the user that runs the hub"
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            "The file is not a database or is damaged: restore a backup of it, or move it away \
             to start with an empty one"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "Another process has it open: stop the other hub first"
        }
        Some(ErrorCode::DiskFull) => "The disk is full: free some space",
        _ => "Check the file and the disk it is on",
    }
}

//! The only room that knows SQL: an embedded SQLite file.
//!
//! [`Store`] is a cheap handle. Writes go to one thread that commits them in
//! groups ([`writer`]); reads run on a few connections beside it, each on a
//! snapshot of one instant. What a write resolved with survives `kill -9`.
//!
//! Everything that [`crate::status::Fleet`] mirrors in memory is changed
//! through [`Store::transact`], so that memory follows the disk in commit
//! order; rooms other than `status` use the typed methods of what is not
//! mirrored: bundles, renders, tokens, credentials and settings.

mod access;
mod bundles;
mod collect;
mod control;
mod desired;
mod error;
mod events;
mod history;
mod past;
mod reports;
mod resources;
mod rows;
mod schema;
mod state;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::metrics::Metrics;
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{Semaphore, mpsc};

pub use access::JoinTokenState;
pub use bundles::{Sizes, StoredObject};
pub use collect::{Collected, Retention};
pub use error::StoreError;
pub use past::{HistoryAt, HistoryPage, PastRevision};
pub use rows::{
    AccessTokenRow, AssignmentState, Because, Change, ClusterState, Control, CredentialRow,
    DesiredChange, DesiredRow, Held, JoinTokenRow, Order, ResourceRow, Said, Touched,
};

/// Readers at work at once. Each costs a connection of about half a MiB.
const READERS: usize = 3;

/// The database. Cheap to clone; closed when the last clone is dropped.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    path: PathBuf,
    writer: mpsc::Sender<writer::Job>,
    turns: Arc<Semaphore>,
    readers: Mutex<Vec<Connection>>,
}

/// A transaction, or a snapshot that is only read: the typed statements are
/// its methods.
pub struct Tx<'a>(&'a Connection);

impl Store {
    /// Opens the database at `path`, makes it where there is none, and brings
    /// its schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Open`] and [`StoreError::Newer`], with the next step.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_measured(path, Metrics::new())
    }

    /// [`Store::open`], with each commit told to `metrics`.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_measured(path: impl AsRef<Path>, metrics: Metrics) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let conn = schema::open_writer(path)?;
        let writer = writer::start(conn, metrics).map_err(|error| StoreError::Open {
            path: path.to_owned(),
            cause: error.to_string(),
            next: "The system refused to start a thread: raise its limits",
        })?;
        Ok(Self(Arc::new(Inner {
            path: path.to_owned(),
            writer,
            turns: Arc::new(Semaphore::new(READERS)),
            readers: Mutex::new(Vec::new()),
        })))
    }

    /// Runs `work` on a snapshot, away from the executor's threads.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.0);
        let turn = Arc::clone(&inner.turns).acquire_owned().await;
        tokio::task::spawn_blocking(move || {
            // Held until the work is done, also where the caller went away.
            let _turn = turn.map_err(|_| StoreError::Closed)?;
            let idle = inner.readers.lock().pop();
            let conn = idle.map_or_else(|| schema::open_reader(&inner.path), Ok)?;
            let snapshot = conn.unchecked_transaction()?;
            let outcome = work(&Tx(&snapshot));
            // Only what was read ends here.
            if snapshot.finish().is_ok() {
                inner.readers.lock().push(conn);
            }
            outcome
        })
        .await
        .map_err(|_| StoreError::Closed)?
    }

    /// Runs `work` in a transaction that it shares with others, rolled back
    /// alone if it fails. Resolves after COMMIT.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.submit(false, work, |_| ()).await
    }

    /// Like a plain write; `then` runs right after COMMIT, in commit order,
    /// before this resolves and also where the caller has gone away.
    ///
    /// # Errors
    /// Those of `work`, or that it could not be committed.
    pub async fn write_then<T, E>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
        then: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.submit(false, work, then).await
    }

    /// Runs `work` in a transaction of its own when everything written before
    /// is committed and its `then` has run: what `work` sees in memory is what
    /// the disk holds, and nobody changes either meanwhile.
    ///
    /// # Errors
    /// Those of `work`, or that it could not be committed.
    pub async fn transact<T, E>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
        then: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.submit(true, work, then).await
    }

    async fn submit<T, E>(
        &self,
        alone: bool,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
        then: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (job, result) = writer::Job::new(alone, work, then);
        if self.0.writer.send(job).await.is_err() {
            return Err(StoreError::Closed.into());
        }
        result
            .await
            .unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }
}

/// Milliseconds since the epoch, as the tables hold times.
pub(crate) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Milliseconds since the epoch as a message.
pub(crate) fn timestamp(millis: i64) -> pbjson_types::Timestamp {
    let nanos = u32::try_from(millis.rem_euclid(1000)).expect("below 1000") * 1_000_000;
    pbjson_types::Timestamp {
        seconds: millis.div_euclid(1000),
        nanos: i32::try_from(nanos).expect("below a billion"),
    }
}

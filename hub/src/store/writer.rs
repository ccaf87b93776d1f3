//! The one thread that writes. It takes jobs in the order they were sent and
//! commits many of them together, each within a savepoint of its own, so that
//! a thousand reports cost one sync of the disk and one bad job spoils none.
//!
//! A job resolves after COMMIT. What must change in memory with it is done on
//! this thread, right after the commit and in commit order: memory never shows
//! what the disk may lose, nor two changes in another order than the disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{StoreError, Tx};
use crate::metrics::Metrics;

/// Jobs that wait before their senders have to.
const QUEUE: usize = 256;
/// A group is closed after so many jobs …
const GROUP_JOBS: usize = 256;
/// … or after it has been open for so long.
const GROUP_TIME: Duration = Duration::from_millis(20);

type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Run = Box<dyn FnOnce(Result<&Connection, StoreError>) -> Done + Send>;

pub(super) struct Job {
    run: Run,
    /// Starts when all that was sent before is committed and visible in
    /// memory, and shares its transaction with nobody.
    alone: bool,
}

impl Job {
    /// A job, and where its result arrives once it is committed and `then` has run.
    pub(super) fn new<T, E>(
        alone: bool,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
        then: impl FnOnce(&T) + Send + 'static,
    ) -> (Self, oneshot::Receiver<Result<T, E>>)
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, result) = oneshot::channel();
        let run: Run = Box::new(move |conn| {
            let outcome = conn
                .map_err(E::from)
                .and_then(|conn| in_savepoint(conn, work));
            Box::new(move |committed| {
                let outcome = match committed {
                    Ok(()) => outcome,
                    Err(error) => outcome.and(Err(E::from(error))),
                };
                if let Ok(value) = &outcome {
                    then(value);
                }
                // Nobody waits any more where the caller was cancelled.
                let _ = reply.send(outcome);
            })
        });
        (Self { run, alone }, result)
    }
}

fn in_savepoint<T, E: From<StoreError>>(
    conn: &Connection,
    work: impl FnOnce(&Tx<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let sql = |text: &str| {
        conn.prepare_cached(text)
            .and_then(|mut statement| statement.execute([]))
            .map_err(|error| E::from(StoreError::from(error)))
    };
    sql("SAVEPOINT job")?;
    let outcome = catch_unwind(AssertUnwindSafe(|| work(&Tx(conn)))).unwrap_or_else(|_| {
        tracing::error!("a database job panicked and was rolled back: this is a bug");
        Err(E::from(StoreError::Closed))
    });
    // A full disk or a failed read may have ended the whole transaction.
    if !conn.is_autocommit() {
        let undone = match &outcome {
            Ok(_) => Ok(0),
            Err(_) => sql("ROLLBACK TO job"),
        };
        if let Err(error) = undone.and_then(|_| sql("RELEASE job")) {
            // Half a job must never be committed with the others.
            let _ = conn.execute_batch("ROLLBACK");
            return outcome.and(Err(error));
        }
    }
    outcome
}

/// Starts the thread. It ends when the last sender is dropped.
pub(super) fn start(conn: Connection, metrics: Metrics) -> std::io::Result<mpsc::Sender<Job>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    std::thread::Builder::new()
        .name("store-writer".into())
        .spawn(move || write_all(&conn, receiver, &metrics))?;
    Ok(sender)
}

fn write_all(conn: &Connection, mut jobs: mpsc::Receiver<Job>, metrics: &Metrics) {
    let mut held = None;
    while let Some(first) = held.take().or_else(|| jobs.blocking_recv()) {
        held = write_group(conn, first, &mut jobs, metrics);
    }
}

/// Runs one group, and returns the job that must not be part of it.
fn write_group(
    conn: &Connection,
    first: Job,
    jobs: &mut mpsc::Receiver<Job>,
    metrics: &Metrics,
) -> Option<Job> {
    let started = Instant::now();
    let mut done: Vec<Done> = Vec::new();
    let mut held = None;
    if let Err(error) = conn.execute_batch("BEGIN IMMEDIATE") {
        let error = StoreError::from(error);
        tracing::error!(%error, "cannot begin a transaction");
        (first.run)(Err(error.clone()))(Err(error));
        return None;
    }
    let alone = first.alone;
    let mut next = Some(first);
    let mut broken = None;
    while let Some(job) = next.take() {
        done.push((job.run)(Ok(conn)));
        if conn.is_autocommit() {
            broken = Some(StoreError::Aborted);
            break;
        }
        if alone || done.len() >= GROUP_JOBS || started.elapsed() >= GROUP_TIME {
            break;
        }
        match jobs.try_recv() {
            Ok(job) if job.alone => held = Some(job),
            Ok(job) => next = Some(job),
            Err(_) => {}
        }
    }
    let committed = match broken {
        Some(error) => Err(error),
        None => conn.execute_batch("COMMIT").map_err(StoreError::from),
    };
    metrics.committed(done.len(), started.elapsed());
    if let Err(error) = &committed {
        tracing::error!(%error, jobs = done.len(), "a transaction was rolled back");
        if !conn.is_autocommit() {
            let _ = conn.execute_batch("ROLLBACK");
        }
    }
    for job in done {
        job(committed.clone());
    }
    held
}

//! Opening a database file: its settings, and the migrations that bring it to
//! the schema of this hub. `user_version` counts the migrations applied.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::{StoreError, next_step};

/// In order; never edited once released, only added to.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_initial.sql"),
    include_str!("migrations/0002_control.sql"),
];

/// A backup tool may hold a lock for a moment; longer than this is somebody else's hub.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// KiB of pages that a connection keeps. Small: the system caches the file anyway.
const CACHE_KIB: i64 = 512;
/// The write-ahead log is cut back to this once it has been checkpointed.
const JOURNAL_LIMIT: i64 = 16 << 20;

/// Opens the one connection that writes, and migrates.
pub(super) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    let open = |error: rusqlite::Error| StoreError::Open {
        path: path.to_owned(),
        next: next_step(&error),
        cause: error.to_string(),
    };
    let mut conn = Connection::open(path).map_err(open)?;
    conn.busy_timeout(BUSY_TIMEOUT).map_err(open)?;
    // Takes effect only before the first table of a new file.
    conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")
        .map_err(open)?;
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
        .map_err(open)?;
    conn.pragma_update(None, "synchronous", "FULL")
        .map_err(open)?;
    conn.pragma_update(None, "foreign_keys", true)
        .map_err(open)?;
    conn.pragma_update_and_check(None, "journal_size_limit", JOURNAL_LIMIT, |_| Ok(()))
        .map_err(open)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)
        .map_err(open)?;
    conn.set_prepared_statement_cache_capacity(64);
    migrate(&mut conn, path, open)?;
    Ok(conn)
}

/// Opens a connection that cannot write.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.pragma_update(None, "query_only", true)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    conn.set_prepared_statement_cache_capacity(32);
    Ok(conn)
}

fn migrate(
    conn: &mut Connection,
    path: &Path,
    open: impl Fn(rusqlite::Error) -> StoreError,
) -> Result<(), StoreError> {
    let version = |conn: &Connection| -> Result<i64, StoreError> {
        conn.pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(&open)
    };
    let known = i64::try_from(MIGRATIONS.len()).expect("few migrations");
    if version(conn)? == known {
        return Ok(());
    }
    // Read again under the lock: another process may be migrating.
    let tx = conn
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .map_err(&open)?;
    let found = version(&tx)?;
    if found > known || found < 0 {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    let done = usize::try_from(found).expect("checked above");
    for migration in &MIGRATIONS[done..] {
        tx.execute_batch(migration).map_err(&open)?;
    }
    tx.pragma_update(None, "user_version", known)
        .map_err(&open)?;
    tx.commit().map_err(&open)
}

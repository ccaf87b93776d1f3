//! Garbage: renders that nobody needed for long, Bundles that nothing names
//! any more, and the objects that only they held.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use lockstep_proto::Digest;
use rusqlite::params;

use super::bundles::decode_index;
use super::{Store, StoreError, Tx, millis};

/// How long what nobody names is kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// A commit that returns to an earlier tree within this time needs no render.
    pub renders: Duration,
    /// A Bundle is stored before what names it.
    pub bundles: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            renders: Duration::from_hours(7 * 24),
            bundles: Duration::from_hours(1),
        }
    }
}

/// What one collection removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    pub renders: u64,
    pub bundles: u64,
    pub objects: u64,
}

/// Bundles that one transaction removes: it must not hold up other writers.
const BATCH: usize = 16;

const NAMED: &str = "SELECT 1 FROM desired WHERE desired.digest = bundles.digest
    UNION ALL SELECT 1 FROM renders WHERE renders.digest = bundles.digest
    UNION ALL SELECT 1 FROM assignment_state WHERE assignment_state.digest = bundles.digest
    UNION ALL SELECT 1 FROM control WHERE control.released_digest = bundles.digest
    UNION ALL SELECT 1 FROM control WHERE control.pinned_digest = bundles.digest
    UNION ALL SELECT 1 FROM history_bundles WHERE history_bundles.digest = bundles.digest";

impl Store {
    /// Removes garbage as of `now`, a few Bundles at a time.
    ///
    /// # Errors
    /// [`StoreError`]; what was removed until then stays removed.
    pub async fn collect(&self, now: SystemTime, keep: Retention) -> Result<Collected, StoreError> {
        let since =
            move |age: Duration| millis(now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH));
        let (renders_since, bundles_since) = (since(keep.renders), since(keep.bundles));
        let renders = self
            .write(move |tx| {
                Ok(tx
                    .0
                    .prepare_cached("DELETE FROM renders WHERE used_at < ?1")?
                    .execute([renders_since])?)
            })
            .await?;
        let mut all = Collected {
            renders: renders as u64,
            ..Collected::default()
        };
        loop {
            // What takes long, reading every index, happens on a snapshot …
            let Some(found) = self.read(move |tx| tx.garbage(bundles_since)).await? else {
                break;
            };
            // … and what was stored since is looked at by the writer.
            let removed = self
                .write(move |tx| tx.sweep(&found, bundles_since))
                .await?;
            if removed == Collected::default() {
                break;
            }
            all.bundles += removed.bundles;
            all.objects += removed.objects;
        }
        if all.objects > 0 {
            self.write(|tx| Ok(tx.0.execute_batch("PRAGMA incremental_vacuum(1000)")?))
                .await?;
        }
        Ok(all)
    }
}

pub(super) struct Garbage {
    bundles: Vec<Digest>,
    /// Objects of those that no other Bundle up to `seen` holds.
    objects: HashSet<Digest>,
    seen: i64,
}

impl Tx<'_> {
    pub(super) fn garbage(&self, created_before: i64) -> Result<Option<Garbage>, StoreError> {
        let mut statement = self.0.prepare_cached(&format!(
            "SELECT digest, object_index FROM bundles
             WHERE created_at < ?1 AND NOT EXISTS ({NAMED}) ORDER BY seq LIMIT ?2"
        ))?;
        let mut rows = statement.query(params![created_before, BATCH as i64])?;
        let mut bundles = Vec::new();
        let mut objects = HashSet::new();
        while let Some(row) = rows.next()? {
            bundles.push(Digest(row.get(0)?));
            objects.extend(index(row, 1)?);
        }
        if bundles.is_empty() {
            return Ok(None);
        }
        let doomed: HashSet<&Digest> = bundles.iter().collect();
        let mut seen = 0;
        let mut statement = self
            .0
            .prepare_cached("SELECT seq, digest, object_index FROM bundles ORDER BY seq")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            seen = row.get(0)?;
            if !doomed.contains(&Digest(row.get(1)?)) {
                for object in index(row, 2)? {
                    objects.remove(&object);
                }
            }
        }
        Ok(Some(Garbage {
            bundles,
            objects,
            seen,
        }))
    }

    pub(super) fn sweep(
        &self,
        garbage: &Garbage,
        created_before: i64,
    ) -> Result<Collected, StoreError> {
        let mut objects = garbage.objects.clone();
        let mut collected = Collected::default();
        let mut delete = self.0.prepare_cached(&format!(
            "DELETE FROM bundles
             WHERE digest = ?1 AND created_at < ?2 AND NOT EXISTS ({NAMED})"
        ))?;
        let mut kept = false;
        for digest in &garbage.bundles {
            let deleted = delete.execute(params![digest.0, created_before])?;
            collected.bundles += deleted as u64;
            kept |= deleted == 0;
        }
        let mut statement = self
            .0
            .prepare_cached("SELECT object_index FROM bundles WHERE seq > ?1 OR digest = ?2")?;
        let mut spare = |seq: i64, digest: &[u8]| -> Result<(), StoreError> {
            let mut rows = statement.query(params![seq, digest])?;
            while let Some(row) = rows.next()? {
                for object in index(row, 0)? {
                    objects.remove(&object);
                }
            }
            Ok(())
        };
        spare(garbage.seen, &[])?;
        if kept {
            for digest in &garbage.bundles {
                spare(i64::MAX, &digest.0)?;
            }
        }
        let mut delete = self
            .0
            .prepare_cached("DELETE FROM objects WHERE sha256 = ?1")?;
        for object in objects {
            collected.objects += delete.execute([object.0])? as u64;
        }
        Ok(collected)
    }
}

fn index(row: &rusqlite::Row<'_>, column: usize) -> Result<Vec<Digest>, StoreError> {
    let packed = row
        .get_ref(column)?
        .as_blob()
        .map_err(|error| StoreError::corrupt("bundle index", error))?;
    Ok(decode_index(packed)?
        .into_iter()
        .map(|object| object.entry.sha256)
        .collect())
}

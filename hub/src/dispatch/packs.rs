//! The packs that are being fetched or were a moment ago. A commit to a
//! hundred thousand clusters makes one pack, and a hundred thousand streams of
//! slices of it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lockstep_proto::Digest;
use parking_lot::Mutex;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::Instant;

use super::pack::{Pack, PackError};
use crate::store::{Store, StoreError};

/// Packs made at once. Each takes a core and a few MiB while it lasts.
const MAKERS: usize = 2;
/// Chunks read from files at once.
const READERS: usize = 8;
/// Packs kept. As only small ones are in memory, this bounds it: 16 MiB.
const KEPT: usize = 256;
/// Bytes of all packs kept: bounds the disk.
const KEPT_BYTES: u64 = 1 << 30;
/// A rollout comes back to the same packs; after this long it is over.
const KEPT_FOR: Duration = Duration::from_secs(600);

/// Which pack: the Bundle, and the one that the receiver has.
type Key = (Digest, Option<Digest>);

/// See the module.
pub struct Packs {
    store: Store,
    dir: PathBuf,
    slots: Mutex<HashMap<Key, Slot>>,
    makers: Semaphore,
    readers: Semaphore,
}

struct Slot {
    cell: Arc<OnceCell<Arc<Pack>>>,
    used: Instant,
}

impl Packs {
    /// Packs of the Bundles in `store`; large ones lie in `dir`, without names.
    pub fn new(store: Store, dir: PathBuf) -> Self {
        Self {
            store,
            dir,
            slots: Mutex::default(),
            makers: Semaphore::new(MAKERS),
            readers: Semaphore::new(READERS),
        }
    }

    /// The pack of `digest` for a receiver that has `have`. A `have` that is
    /// not stored any more is as none. Dropping the call is fine: whoever else
    /// waits for the same pack goes on with it.
    ///
    /// # Errors
    /// [`PackError`].
    pub async fn get(&self, digest: Digest, have: Option<Digest>) -> Result<Arc<Pack>, PackError> {
        let key = (digest, have);
        let cell = {
            let mut slots = self.slots.lock();
            let slot = slots.entry(key).or_insert_with(|| Slot {
                cell: Arc::default(),
                used: Instant::now(),
            });
            slot.used = Instant::now();
            Arc::clone(&slot.cell)
        };
        let fresh = !cell.initialized();
        let pack = cell
            .get_or_try_init(|| async { self.make(digest, have).await.map(Arc::new) })
            .await;
        match pack {
            Ok(pack) => {
                if fresh {
                    self.trim();
                }
                Ok(Arc::clone(pack))
            }
            Err(error) => {
                // Unless another has begun to wait for it, who then tries.
                self.slots
                    .lock()
                    .retain(|other, slot| *other != key || Arc::strong_count(&slot.cell) > 2);
                Err(error)
            }
        }
    }

    /// The chunk of `pack` at `offset`; empty at the end.
    ///
    /// # Errors
    /// That the file cannot be read.
    pub async fn chunk(&self, pack: &Pack, offset: u64) -> io::Result<Bytes> {
        let _turn = match pack.in_memory() {
            true => None,
            false => self.readers.acquire().await.ok(),
        };
        pack.chunk(offset).await
    }

    /// Lets go of packs that nobody has asked for in a while.
    pub fn trim(&self) {
        let mut slots = self.slots.lock();
        slots.retain(|_, slot| slot.used.elapsed() < KEPT_FOR);
        loop {
            let ready = || {
                slots
                    .iter()
                    .filter_map(|(key, slot)| Some((key, slot, slot.cell.get()?)))
            };
            let bytes: u64 = ready().map(|(_, _, pack)| pack.len).sum();
            if ready().count() <= KEPT && bytes <= KEPT_BYTES {
                return;
            }
            let Some(oldest) = ready()
                .min_by_key(|(_, slot, _)| slot.used)
                .map(|(key, ..)| *key)
            else {
                return;
            };
            slots.remove(&oldest);
        }
    }

    async fn make(&self, digest: Digest, have: Option<Digest>) -> Result<Pack, PackError> {
        let _turn = self
            .makers
            .acquire()
            .await
            .map_err(|_| StoreError::Closed)?;
        let index = self.store.bundle_index(digest).await?;
        let index = index.ok_or(PackError::Missing(digest))?;
        let have: HashSet<Digest> = match have {
            Some(have) => self
                .store
                .bundle_index(have)
                .await?
                .unwrap_or_default()
                .into_iter()
                .map(|object| object.entry.sha256)
                .collect(),
            None => HashSet::new(),
        };
        Pack::make(&self.store, index, have, &self.dir).await
    }
}

#[cfg(test)]
mod tests;

//! Bundles: an index by digest, and the objects that indexes share by SHA-256,
//! compressed. And which bundle a tree rendered to.

use bytes::Bytes;
use lockstep_proto::bundle::{IndexEntry, ObjectKey};
use lockstep_proto::{Digest, v1};
use prost::Message;
use rusqlite::{OptionalExtension as _, params};

use super::rows::{signed, unsigned};
use super::{Store, StoreError, Tx};

/// Good for YAML-like text at a speed that a commit does not notice.
const LEVEL: i32 = 3;
/// Larger than any object that an API server takes.
const MAX_OBJECT: usize = 64 << 20;
/// A render that was of use within a day need not be written as used again.
const FRESH_MS: i64 = 24 * 3600 * 1000;

/// An object of a stored Bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    pub entry: IndexEntry,
    /// Length of its canonical JSON.
    pub bytes: u32,
}

/// [`StoredObject`] as it stands in `bundles.object_index`.
#[derive(Clone, PartialEq, Message)]
struct StoredEntry {
    #[prost(message, optional, tag = "1")]
    object: Option<v1::ObjectRef>,
    #[prost(bytes = "vec", tag = "2")]
    sha256: Vec<u8>,
    #[prost(uint32, tag = "3")]
    bytes: u32,
}

impl Tx<'_> {
    pub(super) fn has_bundle(&self, digest: &Digest) -> Result<bool, StoreError> {
        Ok(self
            .0
            .prepare_cached("SELECT 1 FROM bundles WHERE digest = ?1")?
            .exists([digest.0])?)
    }

    pub(super) fn has_object(&self, sha256: &Digest) -> Result<bool, StoreError> {
        Ok(self
            .0
            .prepare_cached("SELECT 1 FROM objects WHERE sha256 = ?1")?
            .exists([sha256.0])?)
    }

    fn bundle_index(&self, digest: &Digest) -> Result<Option<Vec<StoredObject>>, StoreError> {
        let index: Option<Vec<u8>> = self
            .0
            .prepare_cached("SELECT object_index FROM bundles WHERE digest = ?1")?
            .query_row([digest.0], |row| row.get(0))
            .optional()?;
        index.map(|index| decode_index(&index)).transpose()
    }
}

impl Store {
    /// Stores a Bundle: its objects in the order of its digest, each with its
    /// canonical JSON. Objects that are stored already are not written again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn save_bundle(
        &self,
        digest: Digest,
        objects: Vec<(IndexEntry, Bytes)>,
    ) -> Result<(), StoreError> {
        let now = super::millis(std::time::SystemTime::now());
        // Young again, so that it is not collected before something names it.
        let known = self
            .write(move |tx| {
                Ok(tx
                    .0
                    .prepare_cached("UPDATE bundles SET created_at = ?2 WHERE digest = ?1")?
                    .execute(params![digest.0, now])?)
            })
            .await?;
        if known > 0 {
            return Ok(());
        }
        // Compressed here, so that the one thread that writes only writes.
        let (objects, index, packed) = self
            .read(move |tx| {
                let mut packed = Vec::new();
                for (entry, json) in &objects {
                    if !tx.has_object(&entry.sha256)? {
                        packed.push((entry.sha256, compress(json)?));
                    }
                }
                let index = encode_index(&objects)?;
                Ok((objects, index, packed))
            })
            .await?;
        self.write(move |tx| {
            for (sha256, body) in packed {
                tx.put_object(&sha256, &body)?;
            }
            let mut bytes = 0;
            for (entry, json) in &objects {
                // Collected as garbage since it was looked for above.
                if !tx.has_object(&entry.sha256)? {
                    tx.put_object(&entry.sha256, &compress(json)?)?;
                }
                bytes += json.len() as u64;
            }
            tx.0.prepare_cached(
                "INSERT OR IGNORE INTO bundles (digest, objects, bytes, object_index, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                digest.0,
                signed(objects.len() as u64),
                signed(bytes),
                index,
                now
            ])?;
            Ok(())
        })
        .await
    }

    /// The objects of a Bundle in the order of its digest; none where it is not stored.
    pub async fn bundle_index(
        &self,
        digest: Digest,
    ) -> Result<Option<Vec<StoredObject>>, StoreError> {
        self.read(move |tx| tx.bundle_index(&digest)).await
    }

    pub async fn bundle_exists(&self, digest: Digest) -> Result<bool, StoreError> {
        self.read(move |tx| tx.has_bundle(&digest)).await
    }

    /// Canonical JSON of objects, in the order asked for: as many of the first
    /// of `digests` as fit into `max_bytes`, but one at least. Ask again for
    /// the rest.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] where one of them is not stored.
    pub async fn object_bodies(
        &self,
        digests: Vec<Digest>,
        max_bytes: usize,
    ) -> Result<Vec<(Digest, Bytes)>, StoreError> {
        self.read(move |tx| {
            let mut bodies = Vec::new();
            let mut total = 0;
            let mut statement =
                tx.0.prepare_cached("SELECT body FROM objects WHERE sha256 = ?1")?;
            for digest in digests {
                let mut rows = statement.query([digest.0])?;
                let Some(row) = rows.next()? else {
                    return Err(StoreError::corrupt(
                        "bundle",
                        format!("object {digest} is missing"),
                    ));
                };
                let packed = row
                    .get_ref(0)?
                    .as_blob()
                    .map_err(|error| StoreError::corrupt("object", error))?;
                let json = decompress(packed)?;
                total += json.len();
                if total > max_bytes && !bodies.is_empty() {
                    break;
                }
                bodies.push((digest, json));
            }
            Ok(bodies)
        })
        .await
    }

    /// What a tree rendered to, if that is known and the Bundle still stored.
    /// Both then stay for days, so that what asked has time to name them.
    pub async fn render_get(&self, key: String) -> Result<Option<Digest>, StoreError> {
        let asked = key.clone();
        let found = self.read(move |tx| tx.render(&asked)).await?;
        let now = super::millis(std::time::SystemTime::now());
        if found.is_none_or(|(_, used_at)| now - used_at <= FRESH_MS) {
            return Ok(found.map(|(digest, _)| digest));
        }
        self.write(move |tx| {
            tx.0.prepare_cached("UPDATE renders SET used_at = ?2 WHERE key = ?1")?
                .execute(params![key, now])?;
            Ok(tx.render(&key)?.map(|(digest, _)| digest))
        })
        .await
    }

    /// Remembers what a tree rendered to.
    pub async fn render_put(&self, key: String, digest: Digest) -> Result<(), StoreError> {
        let now = super::millis(std::time::SystemTime::now());
        self.write(move |tx| {
            tx.0.prepare_cached(
                "INSERT OR REPLACE INTO renders (key, digest, used_at) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![key, digest.0, now])?;
            Ok(())
        })
        .await
    }

    /// How many Bundles and objects are stored, and the size of the file: for metrics.
    pub async fn sizes(&self) -> Result<Sizes, StoreError> {
        self.read(|tx| {
            let one = |sql: &str| -> Result<u64, StoreError> {
                Ok(tx
                    .0
                    .prepare_cached(sql)?
                    .query_row([], |row| row.get(0).map(unsigned))?)
            };
            Ok(Sizes {
                bundles: one("SELECT count(*) FROM bundles")?,
                objects: one("SELECT count(*) FROM objects")?,
                bytes: one("PRAGMA page_count")? * one("PRAGMA page_size")?,
            })
        })
        .await
    }
}

/// See [`Store::sizes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    pub bundles: u64,
    pub objects: u64,
    /// Of the database file.
    pub bytes: u64,
}

impl Tx<'_> {
    /// What a tree rendered to, and when that was last of use.
    fn render(&self, key: &str) -> Result<Option<(Digest, i64)>, StoreError> {
        Ok(self
            .0
            .prepare_cached(
                "SELECT renders.digest, used_at FROM renders JOIN bundles USING (digest)
                 WHERE key = ?1",
            )?
            .query_row([key], |row| Ok((Digest(row.get(0)?), row.get(1)?)))
            .optional()?)
    }

    fn put_object(&self, sha256: &Digest, body: &[u8]) -> Result<(), StoreError> {
        self.0
            .prepare_cached("INSERT OR IGNORE INTO objects (sha256, body) VALUES (?1, ?2)")?
            .execute(params![sha256.0, body])?;
        Ok(())
    }
}

fn compress(bytes: &[u8]) -> Result<Vec<u8>, StoreError> {
    zstd::bulk::compress(bytes, LEVEL).map_err(|error| StoreError::corrupt("object", error))
}

fn decompress(packed: &[u8]) -> Result<Bytes, StoreError> {
    zstd::bulk::decompress(packed, decompressed_size(packed)?)
        .map(Bytes::from)
        .map_err(|error| StoreError::corrupt("object", error))
}

fn decompressed_size(packed: &[u8]) -> Result<usize, StoreError> {
    zstd::bulk::Decompressor::upper_bound(packed)
        .filter(|size| *size <= MAX_OBJECT)
        .ok_or_else(|| StoreError::corrupt("object", "its size is not plausible"))
}

fn encode_index(objects: &[(IndexEntry, Bytes)]) -> Result<Vec<u8>, StoreError> {
    let mut plain = Vec::new();
    for (entry, json) in objects {
        let stored = StoredEntry {
            object: Some(entry.key.clone().into()),
            sha256: entry.sha256.0.to_vec(),
            bytes: u32::try_from(json.len()).unwrap_or(u32::MAX),
        };
        stored
            .encode_length_delimited(&mut plain)
            .map_err(|error| StoreError::corrupt("bundle index", error))?;
    }
    compress(&plain)
}

pub(super) fn decode_index(packed: &[u8]) -> Result<Vec<StoredObject>, StoreError> {
    let bad = |error: prost::DecodeError| StoreError::corrupt("bundle index", error);
    let mut plain = decompress(packed)?;
    let mut objects = Vec::new();
    while !plain.is_empty() {
        let stored = StoredEntry::decode_length_delimited(&mut plain).map_err(bad)?;
        let sha256 = <[u8; 32]>::try_from(&stored.sha256[..])
            .map_err(|error| StoreError::corrupt("bundle index", error))?;
        objects.push(StoredObject {
            entry: IndexEntry {
                key: ObjectKey::from(stored.object.unwrap_or_default()),
                sha256: Digest(sha256),
            },
            bytes: stored.bytes,
        });
    }
    Ok(objects)
}

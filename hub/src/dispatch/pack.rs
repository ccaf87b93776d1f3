//! A Bundle, or what a receiver lacks of one, as the bytes that go over the
//! wire: compressed once, however many agents fetch it.
//!
//! A pack is made piece by piece into memory while it is small and into an
//! unnamed file when it is not, so that no Bundle is ever held in memory as a
//! whole, and a slow receiver holds up nobody's compression.

use std::collections::HashSet;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use lockstep_proto::{Digest, v1};
use prost::Message as _;
use tempfile::{SpooledData, SpooledTempFile};

use crate::store::{Store, StoreError, StoredObject};

/// The largest chunk that is sent.
pub const CHUNK: usize = 64 << 10;
/// Packs up to this size are kept in memory.
const IN_MEMORY: usize = 64 << 10;
/// How much JSON is read from the store and compressed at a time.
const PIECE: usize = 1 << 20;
/// Fast, and small for text that repeats itself as manifests do. Its window
/// (2 MiB) is what a receiver needs in memory.
const LEVEL: i32 = 3;

/// Why a pack could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("bundle {0} is not stored")]
    Missing(Digest),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot write a bundle for sending: {0}")]
    Io(#[from] io::Error),
}

/// See the module.
#[derive(Debug)]
pub struct Pack {
    /// How many objects the Bundle has, sent or not.
    pub objects: u32,
    /// Size of the stream when decompressed.
    pub bytes: u64,
    /// Size of the stream as it is.
    pub len: u64,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Memory(Bytes),
    File(Arc<std::fs::File>),
}

type Encoder = zstd::stream::write::Encoder<'static, SpooledTempFile>;

impl Pack {
    /// Packs the objects of `index`, without the JSON of those that `have`
    /// lists. `dir` is where a large one goes.
    ///
    /// # Errors
    /// [`PackError`].
    pub async fn make(
        store: &Store,
        index: Vec<StoredObject>,
        have: HashSet<Digest>,
        dir: &Path,
    ) -> Result<Self, PackError> {
        let objects = u32::try_from(index.len()).unwrap_or(u32::MAX);
        let spool = tempfile::spooled_tempfile_in(IN_MEMORY, dir);
        let mut encoder = Encoder::new(spool, LEVEL)?;
        let mut bytes = 0;
        let mut rest = index.into_iter().peekable();
        while rest.peek().is_some() {
            let mut piece = Vec::new();
            let mut size = 0;
            while let Some(object) = rest.next_if(|object| {
                let more = if have.contains(&object.entry.sha256) {
                    0
                } else {
                    object.bytes as usize
                };
                let fits = piece.is_empty() || size + more <= PIECE;
                size += more;
                fits
            }) {
                piece.push(object);
            }
            let lacking: Vec<_> = piece
                .iter()
                .map(|object| object.entry.sha256)
                .filter(|sha256| !have.contains(sha256))
                .collect();
            let bodies = store.object_bodies(lacking, usize::MAX).await?;
            let (back, added) = blocking(move || compress(encoder, piece, bodies)).await?;
            encoder = back;
            bytes += added;
        }
        blocking(move || finish(encoder, objects, bytes)).await
    }

    /// Whether reading it waits for no disk.
    #[must_use]
    pub fn in_memory(&self) -> bool {
        matches!(self.body, Body::Memory(_))
    }

    /// The chunk that begins at `offset`; empty at the end.
    ///
    /// # Errors
    /// That the file cannot be read.
    pub async fn chunk(&self, offset: u64) -> io::Result<Bytes> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let size = left.min(CHUNK);
        if size == 0 {
            return Ok(Bytes::new());
        }
        match &self.body {
            Body::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(bytes.len());
                Ok(bytes.slice(start..start + size))
            }
            Body::File(file) => {
                let file = Arc::clone(file);
                blocking(move || {
                    let mut chunk = vec![0; size];
                    file.read_exact_at(&mut chunk, offset)?;
                    Ok(chunk.into())
                })
                .await
            }
        }
    }
}

/// Adds `piece` to the stream. `bodies` are those of its objects that are to
/// be sent, in the same order.
fn compress(
    mut encoder: Encoder,
    piece: Vec<StoredObject>,
    bodies: Vec<(Digest, Bytes)>,
) -> Result<(Encoder, u64), PackError> {
    let mut bodies = bodies.into_iter().peekable();
    let mut bytes = 0;
    let mut head = Vec::new();
    for object in piece {
        let sha256 = object.entry.sha256;
        let json = bodies.next_if(|(digest, _)| *digest == sha256);
        let entry = v1::BundleEntry {
            object: Some(object.entry.key.into()),
            sha256: Bytes::copy_from_slice(&sha256.0),
            json: json.map(|(_, json)| json).unwrap_or_default(),
        };
        head.clear();
        entry
            .encode_length_delimited(&mut head)
            .map_err(io::Error::other)?;
        encoder.write_all(&head)?;
        bytes += head.len() as u64;
    }
    Ok((encoder, bytes))
}

fn finish(encoder: Encoder, objects: u32, bytes: u64) -> Result<Pack, PackError> {
    let (body, len) = match encoder.finish()?.into_inner() {
        SpooledData::InMemory(cursor) => {
            let bytes = Bytes::from(cursor.into_inner());
            let len = bytes.len() as u64;
            (Body::Memory(bytes), len)
        }
        SpooledData::OnDisk(file) => {
            let len = file.metadata()?.len();
            (Body::File(Arc::new(file)), len)
        }
    };
    Ok(Pack {
        objects,
        bytes,
        len,
        body,
    })
}

async fn blocking<T: Send + 'static, E: Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // Not cancelled: nobody aborts it.
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

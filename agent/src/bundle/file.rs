//! One Bundle as a file: a zstd stream of length-delimited `BundleEntry`
//! messages in the order of the Bundle's digest, every one with its JSON.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read};
use std::path::{Path, PathBuf};

use bytes::{Buf as _, Bytes, BytesMut};
use lockstep_proto::Digest;
use lockstep_proto::bundle::{BundleHash, IndexEntry, ObjectKey};
use lockstep_proto::traits::Traits;
use lockstep_proto::v1::{BundleEntry, ObjectRef};
use prost::Message as _;

use super::{BundleError, limits};
use crate::disk::{self, Draft};

/// Speed matters more than size on the agent's own disk.
const LEVEL: i32 = 1;
/// 256 KiB: what reading a Bundle back costs in memory.
const WINDOW_LOG: u32 = 18;
/// Keys and framing beside the JSON.
const ENTRY_OVERHEAD: usize = 16 << 10;

/// An object that a Bundle lists, and what it asks for beside its content.
#[derive(Debug, Clone)]
pub struct Listed {
    pub entry: IndexEntry,
    pub traits: Asked,
}

/// What annotations ask for: nothing, for nearly every object. In words, where
/// they make no sense.
pub type Asked = Result<Option<Box<Traits>>, Box<str>>;

/// A complete Bundle on disk, checked when it was stored. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BundleFile {
    digest: Digest,
    path: PathBuf,
}

impl BundleFile {
    /// Where the Bundle `digest` stands in `folder`.
    pub(super) fn at(folder: &Path, digest: Digest) -> Self {
        Self {
            digest,
            path: folder.join(format!("{}.zst", hex::encode(digest.0))),
        }
    }

    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the Bundle lists, in its order. Blocks.
    ///
    /// # Errors
    /// [`BundleError::Damaged`] or [`BundleError::Disk`].
    pub fn index(&self) -> Result<Vec<Listed>, BundleError> {
        self.entries()?
            .map(|entry| {
                let (entry, json) = entry?;
                let traits = match Traits::of_json(&json) {
                    Ok(traits) if traits == Traits::default() => Ok(None),
                    Ok(traits) => Ok(Some(Box::new(traits))),
                    Err(why) => Err(why.into()),
                };
                Ok(Listed { entry, traits })
            })
            .collect::<io::Result<_>>()
            .map_err(|error| self.error(error))
    }

    /// Gives every object that is `wanted` to `each`, in the Bundle's order,
    /// its JSON checked against its SHA-256. Holds one object at a time. Blocks.
    ///
    /// # Errors
    /// [`BundleError`], or the first error of `each`.
    pub fn read(
        &self,
        wanted: &dyn Fn(&IndexEntry) -> bool,
        each: &mut dyn FnMut(IndexEntry, Bytes) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for entry in self.entries()? {
            let (entry, json) = entry.map_err(|error| self.error(error))?;
            if wanted(&entry) {
                check(&entry, &json).map_err(|error| self.error(error))?;
                each(entry, json)?;
            }
        }
        Ok(())
    }

    /// Reads all of it and compares every digest. Blocks.
    pub(super) fn verify(&self) -> Result<(), BundleError> {
        let mut hash = BundleHash::default();
        for entry in self.entries()? {
            let (entry, json) = entry.map_err(|error| self.error(error))?;
            check(&entry, &json).map_err(|error| self.error(error))?;
            hash.push(&entry);
        }
        let found = hash.finish();
        if found == self.digest {
            Ok(())
        } else {
            Err(self.error(invalid(format!("its content has digest {found}"))))
        }
    }

    pub(super) fn entries(&self) -> Result<Entries, BundleError> {
        File::open(&self.path)
            .and_then(zstd::Decoder::new)
            .map(|stream| Entries {
                stream: BufReader::new(stream),
            })
            .map_err(|error| self.error(disk::at(&self.path)(error)))
    }

    fn error(&self, error: io::Error) -> BundleError {
        self::error(self.digest, error)
    }
}

/// Tells damage from a disk that does not work.
pub(super) fn error(digest: Digest, error: io::Error) -> BundleError {
    match error.kind() {
        io::ErrorKind::InvalidData
        | io::ErrorKind::UnexpectedEof
        // What zstd says of a stream that is none.
        | io::ErrorKind::Other => BundleError::Damaged {
            digest,
            cause: error.to_string(),
        },
        _ => BundleError::Disk {
            digest,
            source: error,
        },
    }
}

/// The entries of a stored Bundle, one by one.
pub(super) struct Entries {
    stream: BufReader<zstd::Decoder<'static, BufReader<File>>>,
}

impl Iterator for Entries {
    type Item = io::Result<(IndexEntry, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        let length = match read_length(&mut self.stream) {
            Ok(Some(length)) => length,
            Ok(None) => return None,
            Err(error) => return Some(Err(error)),
        };
        let mut buffer = vec![0; length];
        if let Err(error) = self.stream.read_exact(&mut buffer) {
            return Some(Err(error));
        }
        Some(decode(buffer.into()))
    }
}

/// A length, or nothing at the end of the stream.
fn read_length(stream: &mut impl Read) -> io::Result<Option<usize>> {
    let mut length = Length::default();
    loop {
        let mut byte = [0];
        match stream.read(&mut byte)? {
            0 if length.bytes == 0 => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {
                if let Some(length) = length.push(byte[0])? {
                    return Ok(Some(length));
                }
            }
        }
    }
}

/// Takes the first entry off `buffer`, if it is there completely.
pub(super) fn split(buffer: &mut BytesMut) -> io::Result<Option<(IndexEntry, Bytes)>> {
    let mut length = Length::default();
    for byte in buffer.iter() {
        if let Some(size) = length.push(*byte)? {
            let framing = length.bytes;
            if buffer.len() < framing + size {
                return Ok(None);
            }
            buffer.advance(framing);
            return decode(buffer.split_to(size).freeze()).map(Some);
        }
    }
    Ok(None)
}

/// A varint that bounds an entry, byte by byte.
#[derive(Default)]
struct Length {
    value: usize,
    bytes: usize,
}

impl Length {
    fn push(&mut self, byte: u8) -> io::Result<Option<usize>> {
        self.value |= usize::from(byte & 0x7f) << (7 * self.bytes);
        self.bytes += 1;
        if self.value > limits::OBJECT_BYTES + ENTRY_OVERHEAD || self.bytes > 4 {
            return Err(invalid(format!(
                "an object is larger than {} bytes",
                limits::OBJECT_BYTES
            )));
        }
        Ok((byte & 0x80 == 0).then_some(self.value))
    }
}

fn decode(buffer: Bytes) -> io::Result<(IndexEntry, Bytes)> {
    let BundleEntry {
        object,
        sha256,
        json,
    } = BundleEntry::decode(buffer).map_err(|error| invalid(error.to_string()))?;
    let key = ObjectKey::from(object.ok_or_else(|| invalid("an entry names no object".into()))?);
    let sha256: [u8; 32] = sha256
        .as_ref()
        .try_into()
        .map_err(|_| invalid(format!("{key} has no SHA-256")))?;
    let entry = IndexEntry {
        key,
        sha256: Digest(sha256),
    };
    Ok((entry, json))
}

/// Whether `json` is what `entry` says.
fn check(entry: &IndexEntry, json: &[u8]) -> io::Result<()> {
    if Digest::of(json) == entry.sha256 {
        Ok(())
    } else {
        Err(invalid(format!(
            "{} is not what its digest says",
            entry.key
        )))
    }
}

pub(super) fn invalid(cause: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, cause)
}

/// Writes a Bundle object by object; it appears in the folder when complete.
pub struct Writer {
    folder: PathBuf,
    draft: Draft,
    stream: zstd::Encoder<'static, BufWriter<File>>,
    hash: BundleHash,
    last: Option<ObjectKey>,
}

impl Writer {
    /// Blocks, as all of it.
    ///
    /// # Errors
    /// What the file system says, with the path.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let draft = Draft::create(&folder.join("bundle"))?;
        let mut stream = zstd::Encoder::new(BufWriter::new(draft.file.try_clone()?), LEVEL)?;
        stream.window_log(WINDOW_LOG)?;
        stream.include_checksum(true)?;
        Ok(Self {
            folder: folder.to_owned(),
            draft,
            stream,
            hash: BundleHash::default(),
            last: None,
        })
    }

    /// Adds the next object; its key must be greater than the last one's.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] when out of order, too large, or not
    /// what `entry` says; else what the file system says.
    pub fn push(&mut self, entry: IndexEntry, json: Bytes) -> io::Result<()> {
        if self.last.as_ref().is_some_and(|last| *last >= entry.key) {
            return Err(invalid(format!("{} is out of order", entry.key)));
        }
        if json.len() > limits::OBJECT_BYTES {
            return Err(invalid(format!("{} is too large", entry.key)));
        }
        check(&entry, &json)?;
        self.hash.push(&entry);
        let message = BundleEntry {
            object: Some(ObjectRef::from(entry.key.clone())),
            sha256: entry.sha256.0.to_vec().into(),
            json,
        };
        io::Write::write_all(&mut self.stream, &message.encode_length_delimited_to_vec())?;
        self.last = Some(entry.key);
        Ok(())
    }

    /// The digest of what has been written so far.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.hash.clone().finish()
    }

    /// Makes the Bundle durable, under its digest.
    ///
    /// # Errors
    /// What the file system says, with the path.
    pub fn finish(self) -> io::Result<BundleFile> {
        let bundle = BundleFile::at(&self.folder, self.hash.finish());
        self.stream
            .finish()?
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        self.draft.publish(&bundle.path)?;
        Ok(bundle)
    }
}

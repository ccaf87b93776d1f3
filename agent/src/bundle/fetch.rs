//! `AgentService.FetchBundle`: compressed pieces come in, a checked file comes
//! out. What the hub left out is filled in from a Bundle that is on disk.

use std::io;
use std::iter::Peekable;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use lockstep_proto::Digest;
use lockstep_proto::bundle::IndexEntry;
use lockstep_proto::v1::agent_service_client::AgentServiceClient;
use lockstep_proto::v1::fetch_bundle_response::Part;
use lockstep_proto::v1::{BundleHeader, FetchBundleRequest, FetchBundleResponse};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::codec::Streaming;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::file::{self, Entries};
use super::store::blocking;
use super::{BundleError, BundleFile, Writer, limits};
use crate::link::words;

/// Pieces between the connection and the disk; the connection waits when full.
const PIECES: usize = 4;
/// A piece is at most 64 KiB by contract.
const LARGEST_MESSAGE: usize = 1 << 20;
/// A hub that says nothing for so long in the middle of a Bundle is away.
const SILENCE: std::time::Duration = std::time::Duration::from_secs(60);

pub(super) enum FetchError {
    /// Trying the same again will not help.
    Final(BundleError),
    /// The hub or the way to it failed.
    Passing(String),
}

/// Fetches `digest` into `folder`; what `base` shares with it stays off the
/// wire. Gives the file and how many bytes came.
pub(super) async fn fetch(
    channel: Channel,
    folder: &Path,
    digest: Digest,
    base: Option<BundleFile>,
) -> Result<(BundleFile, u64), FetchError> {
    let request = FetchBundleRequest {
        digest: digest.to_string(),
        have_digest: base
            .as_ref()
            .map(|base| base.digest().to_string())
            .unwrap_or_default(),
    };
    let mut client = AgentServiceClient::new(channel).max_decoding_message_size(LARGEST_MESSAGE);
    let answer = timeout(SILENCE, client.fetch_bundle(request));
    let mut stream = match answer.await {
        Ok(Ok(stream)) => stream.into_inner(),
        Ok(Err(status)) => return Err(refused(digest, &status)),
        Err(_) => return Err(silent()),
    };
    let Some(Part::Header(header)) = next(digest, &mut stream).await? else {
        return Err(damaged(digest, "it came without a header"));
    };
    let header = accept(digest, &header).map_err(FetchError::Final)?;
    let (pieces, incoming) = mpsc::channel(PIECES);
    let folder = folder.to_owned();
    // Ends by itself when `pieces` is dropped, also when we are.
    let assembled = blocking(digest, move || {
        Assembler::new(&folder, digest, header, base)
            .and_then(|assembler| assembler.run(incoming))
            .map_err(|error| file::error(digest, error))
    });
    let received = async move {
        let mut bytes = 0;
        while let Some(part) = next(digest, &mut stream).await? {
            // Whatever else a newer hub says between the pieces is not for us.
            if let Part::Chunk(piece) = part {
                bytes += piece.len() as u64;
                if pieces.send(Some(piece)).await.is_err() {
                    // The other side has seen enough, and says why.
                    return Ok(bytes);
                }
            }
        }
        let _ = pieces.send(None).await;
        Ok(bytes)
    };
    let (received, assembled) = tokio::join!(received, assembled);
    let bytes = received?;
    assembled
        .map(|file| (file, bytes))
        .map_err(FetchError::Final)
}

async fn next(
    digest: Digest,
    stream: &mut Streaming<FetchBundleResponse>,
) -> Result<Option<Part>, FetchError> {
    loop {
        match timeout(SILENCE, stream.message()).await {
            Ok(Ok(Some(FetchBundleResponse { part: Some(part) }))) => return Ok(Some(part)),
            Ok(Ok(Some(FetchBundleResponse { part: None }))) => {}
            Ok(Ok(None)) => return Ok(None),
            Ok(Err(status)) => return Err(refused(digest, &status)),
            Err(_) => return Err(silent()),
        }
    }
}

fn refused(digest: Digest, status: &Status) -> FetchError {
    let cause = words(status);
    match status.code() {
        Code::PermissionDenied | Code::NotFound | Code::FailedPrecondition => {
            FetchError::Final(BundleError::NotAssigned { digest, cause })
        }
        Code::OutOfRange => damaged(digest, &cause),
        _ => FetchError::Passing(cause),
    }
}

fn silent() -> FetchError {
    FetchError::Passing("the hub fell silent".into())
}

fn damaged(digest: Digest, cause: &str) -> FetchError {
    FetchError::Final(BundleError::Damaged {
        digest,
        cause: cause.into(),
    })
}

/// What may come, as the header says and the limits allow.
#[derive(Debug, Clone, Copy)]
struct Allowed {
    objects: u32,
    bytes: u64,
}

fn accept(digest: Digest, header: &BundleHeader) -> Result<Allowed, BundleError> {
    if header.digest != digest.to_string() {
        return Err(BundleError::Damaged {
            digest,
            cause: format!("the hub sent {} instead", header.digest),
        });
    }
    let too_large = |cause| Err(BundleError::TooLarge { digest, cause });
    if header.objects > limits::OBJECTS {
        return too_large(format!(
            "{} objects; an agent takes {}",
            header.objects,
            limits::OBJECTS
        ));
    }
    if header.bytes > limits::BUNDLE_BYTES {
        return too_large(format!(
            "{} bytes; an agent takes {}",
            header.bytes,
            limits::BUNDLE_BYTES
        ));
    }
    Ok(Allowed {
        objects: header.objects,
        bytes: header.bytes,
    })
}

/// Takes the decompressed stream apart into entries, fills in what is missing
/// from the base, checks, and writes. Never holds more than one object.
struct Assembler {
    digest: Digest,
    left: Allowed,
    buffer: BytesMut,
    /// In the same order as what comes, so that one pass over it is enough.
    base: Option<Peekable<Entries>>,
    writer: Writer,
}

impl Assembler {
    fn new(
        folder: &Path,
        digest: Digest,
        left: Allowed,
        base: Option<BundleFile>,
    ) -> io::Result<Self> {
        let base = base
            .map(|base| base.entries().map(Iterator::peekable))
            .transpose()
            .map_err(|error| file::invalid(format!("what it builds on: {error}")))?;
        Ok(Self {
            digest,
            left,
            buffer: BytesMut::new(),
            base,
            writer: Writer::create(folder)?,
        })
    }

    fn run(self, mut pieces: mpsc::Receiver<Option<Bytes>>) -> io::Result<BundleFile> {
        let mut stream = zstd::stream::write::Decoder::new(self)?;
        loop {
            match pieces.blocking_recv() {
                Some(Some(piece)) => io::Write::write_all(&mut stream, &piece)?,
                Some(None) => break,
                None => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
        io::Write::flush(&mut stream)?;
        stream.into_inner().finish()
    }

    fn finish(self) -> io::Result<BundleFile> {
        if !self.buffer.is_empty() || self.left.objects > 0 {
            return Err(file::invalid(format!(
                "it ended with {} objects missing",
                self.left.objects
            )));
        }
        let found = self.writer.digest();
        if found != self.digest {
            return Err(file::invalid(format!("what came has digest {found}")));
        }
        self.writer.finish()
    }

    fn push(&mut self, entry: IndexEntry, json: Bytes) -> io::Result<()> {
        self.left.objects = self
            .left
            .objects
            .checked_sub(1)
            .ok_or_else(|| file::invalid("more objects came than its header says".into()))?;
        let json = if json.is_empty() {
            self.fill_in(&entry)?
        } else {
            json
        };
        self.writer.push(entry, json)
    }

    fn fill_in(&mut self, entry: &IndexEntry) -> io::Result<Bytes> {
        let missing = || file::invalid(format!("{} came without content", entry.key));
        let base = self.base.as_mut().ok_or_else(missing)?;
        loop {
            let read = base.next_if(|read| match read {
                Ok((found, _)) => found.key <= entry.key,
                Err(_) => true,
            });
            match read.transpose()? {
                Some((found, json)) if found == *entry => return Ok(json),
                Some(_) => {}
                None => return Err(missing()),
            }
        }
    }
}

impl io::Write for Assembler {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.left.bytes = self
            .left
            .bytes
            .checked_sub(data.len() as u64)
            .ok_or_else(|| file::invalid("it is larger than its header says".into()))?;
        self.buffer.extend_from_slice(data);
        while let Some((entry, json)) = file::split(&mut self.buffer)? {
            self.push(entry, json)?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

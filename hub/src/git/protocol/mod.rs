//! What Git's servers say and what we ask of them (gitprotocol-http,
//! gitprotocol-pack, gitprotocol-v2). No I/O: packets in, refs and pack bytes
//! out, everything bounded.
//!
//! Version 2 is asked for, because there a server lists only the refs that
//! are followed; versions 0 and 1 are understood. A fetch is one request: it
//! says what is wanted and what is there, and takes whatever pack the server
//! makes of it.

mod fetch;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use git2::Oid;

use super::pktline::{NotPackets, Packet, Request};

pub(super) use fetch::{PackStream, Want};

/// Refs that are kept of one listing.
const MAX_REFS: usize = 100_000;
/// Branches and tags asked for by name; with more, all are listed.
const MAX_PREFIXES: usize = 100;
const AGENT: &str = concat!("agent=git/lockstep-", env!("CARGO_PKG_VERSION"));

/// Why a server's answer is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProtocolError {
    #[error(transparent)]
    NotPackets(#[from] NotPackets),
    #[error("the server's answer is not a Git server's: {0}")]
    Unexpected(&'static str),
    #[error("the server says: {0}")]
    Server(String),
    #[error("the repository names its objects by SHA-256, which this version cannot read")]
    Sha256,
    #[error("the server lists more than {MAX_REFS} refs")]
    TooManyRefs,
    #[error("the server's Git is too old: it does not support {0}")]
    TooOld(&'static str),
}

/// A ref of the remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RemoteRef {
    pub id: Oid,
    /// What an annotated tag leads to.
    pub peeled: Option<Oid>,
}

/// By full name: `refs/heads/main`.
pub(super) type RemoteRefs = BTreeMap<String, RemoteRef>;

/// Which refs a listing is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// These, by full name.
    Named(BTreeSet<String>),
    /// All branches and tags.
    All,
}

impl Wanted {
    fn has(&self, name: &str) -> bool {
        match self {
            Self::Named(names) => names.contains(name),
            Self::All => name.starts_with("refs/heads/") || name.starts_with("refs/tags/"),
        }
    }
}

/// What a server can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Server {
    pub v2: bool,
    /// Gives a commit without its history.
    pub shallow: bool,
    /// Gives commits that no ref names.
    pub any_commit: bool,
    side_band: bool,
    thin_pack: bool,
    ofs_delta: bool,
    no_progress: bool,
}

impl Server {
    fn capability(&mut self, text: &str) -> Result<(), ProtocolError> {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        match name {
            "object-format" if value != "sha1" => return Err(ProtocolError::Sha256),
            "fetch" => self.shallow = value.split(' ').any(|feature| feature == "shallow"),
            "shallow" => self.shallow = true,
            "side-band-64k" => self.side_band = true,
            "thin-pack" => self.thin_pack = true,
            "ofs-delta" => self.ofs_delta = true,
            "no-progress" => self.no_progress = true,
            "allow-reachable-sha1-in-want" => self.any_commit = true,
            _ => {}
        }
        Ok(())
    }
}

/// The answer to `GET …/info/refs`: what the server can do and, before
/// version 2, its refs.
#[derive(Debug)]
pub(super) struct Advertisement {
    wanted: Wanted,
    at: At,
    pub server: Server,
    pub refs: RemoteRefs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    /// After `# service=…`.
    Service,
    First,
    Refs,
    Capabilities,
    Done,
}

impl Advertisement {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            at: At::Start,
            server: Server::default(),
            refs: RemoteRefs::new(),
        }
    }

    pub(super) fn done(&self) -> bool {
        self.at == At::Done
    }

    pub(super) fn packet(&mut self, packet: &Packet) -> Result<(), ProtocolError> {
        let Some(line) = packet.line() else {
            self.at = match (self.at, packet) {
                (At::Service, Packet::Flush) => At::First,
                (At::First | At::Refs | At::Capabilities, Packet::Flush) => At::Done,
                _ => return Err(ProtocolError::Unexpected("a message ends in its middle")),
            };
            return Ok(());
        };
        refuse_error(line)?;
        match self.at {
            At::Start if line.starts_with(b"# service=") => {
                if line != b"# service=git-upload-pack" {
                    return Err(ProtocolError::Unexpected("another service answers"));
                }
                self.at = At::Service;
            }
            At::Start | At::First => match line {
                b"version 2" => {
                    self.server.v2 = true;
                    self.server.any_commit = true;
                    self.at = At::Capabilities;
                }
                b"version 1" => self.at = At::First,
                _ => {
                    self.at = At::Refs;
                    self.first_ref(line)?;
                }
            },
            At::Refs => self.a_ref(line)?,
            At::Capabilities => {
                if let Ok(text) = std::str::from_utf8(line) {
                    self.server.capability(text)?;
                }
            }
            At::Service | At::Done => {
                return Err(ProtocolError::Unexpected("lines after the end"));
            }
        }
        Ok(())
    }

    /// The first ref of versions 0 and 1 carries the capabilities.
    fn first_ref(&mut self, line: &[u8]) -> Result<(), ProtocolError> {
        let Some(nul) = line.iter().position(|b| *b == 0) else {
            return Err(ProtocolError::Unexpected("no capabilities"));
        };
        let (line, capabilities) = (&line[..nul], &line[nul + 1..]);
        for text in String::from_utf8_lossy(capabilities).split(' ') {
            self.server.capability(text)?;
        }
        self.a_ref(line)
    }

    fn a_ref(&mut self, line: &[u8]) -> Result<(), ProtocolError> {
        if line.starts_with(b"shallow ") {
            return Ok(());
        }
        let (id, name) = id_and_name(line)?;
        let Some(name) = name else { return Ok(()) };
        if let Some(tag) = name.strip_suffix("^{}") {
            if let Some(found) = self.refs.get_mut(tag) {
                found.peeled = Some(id);
            }
        } else if self.wanted.has(name) {
            insert(&mut self.refs, name, RemoteRef { id, peeled: None })?;
        }
        Ok(())
    }
}

/// The answer to `ls-refs` of version 2.
#[derive(Debug)]
pub(super) struct Listing {
    wanted: Wanted,
    pub done: bool,
    pub refs: RemoteRefs,
}

impl Listing {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            done: false,
            refs: RemoteRefs::new(),
        }
    }

    pub(super) fn request(wanted: &Wanted) -> Bytes {
        let mut request = Request::default();
        request.line("command=ls-refs");
        request.line(AGENT);
        request.line("object-format=sha1");
        request.delimiter();
        request.line("peel");
        match wanted {
            // Without a prefix a server lists everything.
            Wanted::Named(names) if names.is_empty() => request.line("ref-prefix HEAD"),
            Wanted::Named(names) if names.len() <= MAX_PREFIXES => {
                for name in names {
                    request.line(&format!("ref-prefix {name}"));
                }
            }
            Wanted::Named(_) | Wanted::All => {
                request.line("ref-prefix refs/heads/");
                request.line("ref-prefix refs/tags/");
            }
        }
        request.flush();
        request.into_bytes()
    }

    pub(super) fn packet(&mut self, packet: &Packet) -> Result<(), ProtocolError> {
        let Some(line) = packet.line() else {
            if *packet != Packet::Flush || self.done {
                return Err(ProtocolError::Unexpected("a message ends in its middle"));
            }
            self.done = true;
            return Ok(());
        };
        refuse_error(line)?;
        if self.done {
            return Err(ProtocolError::Unexpected("lines after the end"));
        }
        let (id, rest) = id_and_name(line)?;
        let Some(rest) = rest else { return Ok(()) };
        let mut words = rest.split(' ');
        let name = words.next().unwrap_or_default();
        let peeled = words
            .find_map(|word| word.strip_prefix("peeled:"))
            .map(|id| oid(id.as_bytes()))
            .transpose()?;
        if self.wanted.has(name) {
            insert(&mut self.refs, name, RemoteRef { id, peeled })?;
        }
        Ok(())
    }
}

fn insert(refs: &mut RemoteRefs, name: &str, found: RemoteRef) -> Result<(), ProtocolError> {
    if refs.len() == MAX_REFS {
        return Err(ProtocolError::TooManyRefs);
    }
    refs.insert(name.to_owned(), found);
    Ok(())
}

/// `<id> <rest>`; no rest where it is not UTF-8, and so names nothing that is followed.
fn id_and_name(line: &[u8]) -> Result<(Oid, Option<&str>), ProtocolError> {
    match line.split_at_checked(40) {
        Some((id, [b' ', name @ ..])) => Ok((oid(id)?, std::str::from_utf8(name).ok())),
        _ => Err(ProtocolError::Unexpected("a ref without an id")),
    }
}

fn oid(text: &[u8]) -> Result<Oid, ProtocolError> {
    let bad = ProtocolError::Unexpected("an id that is not hexadecimal");
    if text.len() != 40 {
        return Err(bad);
    }
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| Oid::from_str(text).ok())
        .ok_or(bad)
}

fn refuse_error(line: &[u8]) -> Result<(), ProtocolError> {
    line.strip_prefix(b"ERR ")
        .map_or(Ok(()), |text| Err(ProtocolError::Server(said(text))))
}

/// What a server says, as part of one line of a status.
fn said(text: &[u8]) -> String {
    const LONGEST: usize = 200;
    let text = String::from_utf8_lossy(text);
    let words: Vec<_> = text.split_whitespace().collect();
    words
        .join(" ")
        .chars()
        .filter(|c| !c.is_control())
        .take(LONGEST)
        .collect()
}

#[cfg(test)]
mod tests;

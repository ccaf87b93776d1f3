//! What Git's servers say and what we ask of them (gitprotocol-http,
//! gitprotocol-pack, gitprotocol-v2). No I/O: packets in, refs and pack bytes
//! out, everything bounded.
//!
//! Version 2 is asked for, because there a server lists only the refs that
//! are followed; versions 0 and 1 are understood. A fetch is one request: it
//! says what is wanted and what is there, and takes whatever pack the server
//! makes of it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf as _, Bytes};
use git2::Oid;

use super::pktline::{NotPackets, Packet, Request};

/// Refs that are kept of one listing.
const MAX_REFS: usize = 100_000;
/// Branches and tags asked for by name; with more, all are listed.
const MAX_PREFIXES: usize = 100;
/// The depth that means everything (git's INFINITE_DEPTH).
const EVERYTHING: &str = "deepen 2147483647";
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
            "allow-tip-sha1-in-want" | "allow-reachable-sha1-in-want" => self.any_commit = true,
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

/// What a fetch asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Want {
    /// Objects to get, with all that they need.
    pub ids: Vec<Oid>,
    /// Commits that are here, whole but for their history.
    pub haves: Vec<Oid>,
    /// Those of `haves` whose history is not here.
    pub shallow: Vec<Oid>,
    /// Whether history is wanted as well.
    pub history: bool,
}

impl Want {
    pub(super) fn request(&self, server: &Server) -> Result<Bytes, ProtocolError> {
        let mut request = Request::default();
        if server.v2 {
            request.line("command=fetch");
            request.line(AGENT);
            request.line("object-format=sha1");
            request.delimiter();
            for option in ["thin-pack", "ofs-delta", "no-progress"] {
                request.line(option);
            }
            self.wants(&mut request, "");
            self.depth(&mut request, server);
        } else {
            if !server.side_band {
                return Err(ProtocolError::TooOld("side-band-64k"));
            }
            let mut options = format!(" side-band-64k {AGENT}");
            for (has, option) in [
                (server.thin_pack, " thin-pack"),
                (server.ofs_delta, " ofs-delta"),
                (server.no_progress, " no-progress"),
                (server.shallow, " shallow"),
            ] {
                if has {
                    options.push_str(option);
                }
            }
            self.wants(&mut request, &options);
            self.depth(&mut request, server);
            request.flush();
        }
        for id in &self.haves {
            request.line(&format!("have {id}"));
        }
        request.line("done");
        if server.v2 {
            request.flush();
        }
        Ok(request.into_bytes())
    }

    fn wants(&self, request: &mut Request, options: &str) {
        for (i, id) in self.ids.iter().enumerate() {
            request.line(&format!("want {id}{}", if i == 0 { options } else { "" }));
        }
    }

    fn depth(&self, request: &mut Request, server: &Server) {
        if !server.shallow {
            return;
        }
        for id in &self.shallow {
            request.line(&format!("shallow {id}"));
        }
        request.line(if self.history { EVERYTHING } else { "deepen 1" });
    }
}

/// The answer to a fetch: the bytes of a pack, out of the side band.
#[derive(Debug)]
pub(super) struct PackStream {
    v2: bool,
    at: PackAt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PackAt {
    /// Before the pack: acknowledgements and the edges of history.
    Before,
    Pack,
    Done,
}

impl PackStream {
    pub(super) fn new(server: &Server) -> Self {
        Self {
            v2: server.v2,
            at: PackAt::Before,
        }
    }

    pub(super) fn done(&self) -> bool {
        self.at == PackAt::Done
    }

    /// The bytes of the pack in `packet`, if it has any.
    pub(super) fn packet(&mut self, packet: Packet) -> Result<Option<Bytes>, ProtocolError> {
        match self.at {
            PackAt::Before => self.before(packet),
            PackAt::Pack => self.band(packet),
            PackAt::Done => Err(ProtocolError::Unexpected("packets after the end")),
        }
    }

    fn before(&mut self, packet: Packet) -> Result<Option<Bytes>, ProtocolError> {
        let Some(line) = packet.line() else {
            // Sections end here; in version 2 a flush would end the message.
            return if self.v2 && packet == Packet::Flush {
                Err(ProtocolError::Unexpected("no pack"))
            } else {
                Ok(None)
            };
        };
        refuse_error(line)?;
        if self.v2 {
            if line == b"packfile" {
                self.at = PackAt::Pack;
            }
            return Ok(None);
        }
        if matches!(line.first(), Some(1..=3)) {
            self.at = PackAt::Pack;
            return self.band(packet);
        }
        let known = [&b"shallow "[..], b"unshallow ", b"ACK ", b"NAK"];
        if known.iter().any(|start| line.starts_with(start)) {
            Ok(None)
        } else {
            Err(ProtocolError::Unexpected(
                "neither an acknowledgement nor a pack",
            ))
        }
    }

    fn band(&mut self, packet: Packet) -> Result<Option<Bytes>, ProtocolError> {
        match packet {
            Packet::Flush => {
                self.at = PackAt::Done;
                Ok(None)
            }
            Packet::Delimiter => Err(ProtocolError::Unexpected("a section inside of the pack")),
            Packet::Data(mut data) => match data.first() {
                Some(1) => {
                    data.advance(1);
                    Ok(Some(data))
                }
                Some(2) | None => Ok(None),
                Some(3) => Err(ProtocolError::Server(said(&data[1..]))),
                Some(_) => Err(ProtocolError::Unexpected("an unknown side band")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::git::pktline::Decoder;

    const A: &str = "1111111111111111111111111111111111111111";
    const B: &str = "2222222222222222222222222222222222222222";

    fn packets(text: &[&str]) -> Vec<Packet> {
        text.iter()
            .map(|text| match *text {
                "0000" => Packet::Flush,
                "0001" => Packet::Delimiter,
                text => Packet::Data(Bytes::copy_from_slice(text.as_bytes())),
            })
            .collect()
    }

    fn named(names: &[&str]) -> Wanted {
        Wanted::Named(names.iter().map(|name| (*name).to_owned()).collect())
    }

    fn advertised(text: &[&str], wanted: Wanted) -> Result<Advertisement, ProtocolError> {
        let mut advertisement = Advertisement::new(wanted);
        for packet in packets(text) {
            advertisement.packet(&packet)?;
        }
        assert!(advertisement.done());
        Ok(advertisement)
    }

    #[test]
    fn version_0_lists_refs_and_peels_tags() {
        let first = format!("{A} HEAD\0side-band-64k shallow thin-pack object-format=sha1\n");
        let main = format!("{A} refs/heads/main\n");
        let other = format!("{B} refs/heads/other\n");
        let tag = format!("{B} refs/tags/v1\n");
        let peeled = format!("{A} refs/tags/v1^{{}}\n");
        let text = [
            "# service=git-upload-pack\n",
            "0000",
            &first,
            &main,
            &other,
            &tag,
            &peeled,
            "0000",
        ];
        let got = advertised(&text, named(&["refs/heads/main", "refs/tags/v1"])).unwrap();
        assert!(got.server.shallow && got.server.side_band && !got.server.v2);
        assert!(!got.server.any_commit);
        let found: Vec<_> = got.refs.into_iter().collect();
        let (a, b) = (Oid::from_str(A).unwrap(), Oid::from_str(B).unwrap());
        assert_eq!(
            found,
            [
                (
                    "refs/heads/main".to_owned(),
                    RemoteRef {
                        id: a,
                        peeled: None
                    }
                ),
                (
                    "refs/tags/v1".to_owned(),
                    RemoteRef {
                        id: b,
                        peeled: Some(a)
                    }
                ),
            ]
        );
        let all = advertised(&text, Wanted::All).unwrap();
        assert_eq!(all.refs.len(), 3);
    }

    #[test]
    fn an_empty_repository_has_no_refs() {
        let zero = format!("{} capabilities^{{}}\0side-band-64k\n", "0".repeat(40));
        for text in [
            &["# service=git-upload-pack\n", "0000", &zero, "0000"][..],
            &["# service=git-upload-pack\n", "0000", "0000"],
        ] {
            assert!(advertised(text, Wanted::All).unwrap().refs.is_empty());
        }
    }

    #[test]
    fn version_2_says_what_it_can_and_lists_on_request() {
        let got = advertised(
            &[
                "# service=git-upload-pack\n",
                "0000",
                "version 2\n",
                "agent=git/2\n",
                "fetch=shallow filter\n",
                "0000",
            ],
            Wanted::All,
        )
        .unwrap();
        assert!(got.server.v2 && got.server.shallow && got.server.any_commit);
        let wanted = named(&["refs/heads/main", "refs/tags/v1"]);
        let request = Listing::request(&wanted);
        assert!(
            request.ends_with(b"001fref-prefix refs/heads/main\n001cref-prefix refs/tags/v1\n0000")
        );
        let mut listing = Listing::new(wanted);
        for packet in packets(&[
            &format!("{A} refs/heads/main\n"),
            &format!("{A} refs/heads/main-2\n"),
            &format!("{B} refs/tags/v1 peeled:{A}\n"),
            "0000",
        ]) {
            listing.packet(&packet).unwrap();
        }
        assert!(listing.done);
        assert_eq!(listing.refs.len(), 2);
        assert_eq!(listing.refs["refs/tags/v1"].peeled, Oid::from_str(A).ok());
    }

    #[test]
    fn what_is_not_a_git_server_is_told_apart() {
        for (text, want) in [
            (
                &["# service=git-receive-pack\n"][..],
                "another service answers",
            ),
            (&["hello\n"], "no capabilities"),
            (&["hello\0x\n"], "a ref without an id"),
            (
                &[
                    "# service=git-upload-pack\n",
                    "0000",
                    "ERR  access\n denied\n",
                ],
                "the server says: access denied",
            ),
            (&["version 2\n", "object-format=sha256\n"], "SHA-256"),
            (&["0001"], "ends in its middle"),
        ] {
            let error = advertised(text, Wanted::All).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn a_fetch_asks_for_the_tip_and_says_what_is_here() {
        let (a, b) = (Oid::from_str(A).unwrap(), Oid::from_str(B).unwrap());
        let want = Want {
            ids: vec![a],
            haves: vec![b],
            shallow: vec![b],
            history: false,
        };
        let v2 = Server {
            v2: true,
            shallow: true,
            ..Server::default()
        };
        let text = String::from_utf8(want.request(&v2).unwrap().to_vec()).unwrap();
        assert!(text.contains(&format!(
            "0032want {A}\n0035shallow {B}\n000ddeepen 1\n0032have {B}\n0009done\n0000"
        )));
        let v0 = Server {
            side_band: true,
            shallow: true,
            ..Server::default()
        };
        let text = String::from_utf8(want.request(&v0).unwrap().to_vec()).unwrap();
        assert!(
            text.contains(&format!(
                "\n0035shallow {B}\n000ddeepen 1\n00000032have {B}\n0009done\n"
            )),
            "{text}"
        );
        assert!(want.request(&Server::default()).is_err());
    }

    #[test]
    fn a_pack_comes_out_of_the_side_band() {
        let acks = [
            (
                false,
                vec![
                    "shallow x",
                    "0000",
                    "NAK\n",
                    "\u{1}PA",
                    "\u{2}counting",
                    "\u{1}CK",
                    "0000",
                ],
            ),
            (false, vec!["ACK x", "\u{1}PACK", "0000"]),
            (
                true,
                vec![
                    "shallow-info\n",
                    "shallow x\n",
                    "0001",
                    "packfile\n",
                    "\u{1}PACK",
                    "0000",
                ],
            ),
        ];
        for (v2, text) in acks {
            let mut stream = PackStream::new(&Server {
                v2,
                ..Server::default()
            });
            let mut pack = Vec::new();
            for packet in packets(&text) {
                pack.extend(stream.packet(packet).unwrap().unwrap_or_default());
            }
            assert_eq!(pack, b"PACK");
            assert!(stream.done());
        }
        let mut stream = PackStream::new(&Server::default());
        let said = packets(&["NAK\n", "\u{3}not our ref"]);
        assert_eq!(stream.packet(said[0].clone()), Ok(None));
        assert_eq!(
            stream.packet(said[1].clone()),
            Err(ProtocolError::Server("not our ref".into()))
        );
    }

    proptest! {
        /// Whatever a hostile server sends, reading it ends in a value or an error.
        #[test]
        fn hostile_answers_never_panic(
            lines in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..60).prop_map(Some),
                    prop::sample::select(vec![
                        "# service=git-upload-pack\n", "version 2\n", "version 1\n", "NAK\n", "ERR x", "packfile\n",
                        "\u{1}x", "\u{3}x", "fetch=shallow\n",
                    ]).prop_map(|text| Some(text.as_bytes().to_vec())),
                    Just(Some(format!("{A} refs/heads/main\0shallow\n").into_bytes())),
                    Just(Some(format!("{A} refs/tags/v^{{}} peeled:{A}\n").into_bytes())),
                    Just(None),
                ],
                0..20,
            ),
            v2 in any::<bool>(),
        ) {
            let mut decoder = Decoder::default();
            for line in &lines {
                match line {
                    Some(line) => {
                        decoder.push(format!("{:04x}", line.len() + 4).as_bytes());
                        decoder.push(line);
                    }
                    None => decoder.push(b"0000"),
                }
            }
            let mut advertisement = Advertisement::new(Wanted::All);
            let mut listing = Listing::new(Wanted::All);
            let mut pack = PackStream::new(&Server { v2, ..Server::default() });
            let mut packets = 0;
            while let Some(packet) = decoder.next().unwrap() {
                let _ = advertisement.packet(&packet);
                let _ = listing.packet(&packet);
                let _ = pack.packet(packet);
                packets += 1;
            }
            prop_assert_eq!(packets, lines.len());
        }
    }
}

//! One request for a pack, and the pack in its answer.

use bytes::{Buf as _, Bytes};
use git2::Oid;

use super::{AGENT, ProtocolError, Server, refuse_error, said};
use crate::git::pktline::{Packet, Request};

/// The depth that means everything (git's INFINITE_DEPTH).
const EVERYTHING: &str = "deepen 2147483647";

/// What a fetch asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::git) struct Want {
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
    pub(in crate::git) fn request(&self, server: &Server) -> Result<Bytes, ProtocolError> {
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
pub(in crate::git) struct PackStream {
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
    pub(in crate::git) fn new(server: &Server) -> Self {
        Self {
            v2: server.v2,
            at: PackAt::Before,
        }
    }

    pub(in crate::git) fn done(&self) -> bool {
        self.at == PackAt::Done
    }

    /// The bytes of the pack in `packet`, if it has any.
    pub(in crate::git) fn packet(
        &mut self,
        packet: Packet,
    ) -> Result<Option<Bytes>, ProtocolError> {
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

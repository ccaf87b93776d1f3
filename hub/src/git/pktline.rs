//! Git's packet lines (gitprotocol-common), encoded and decoded. No I/O.

use bytes::{Buf as _, Bytes, BytesMut};

/// Bytes of the longest packet, its length included.
const LONGEST: usize = 65_520;

/// One packet of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Packet {
    /// `0000`: the end of a message.
    Flush,
    /// `0001`: the end of a section.
    Delimiter,
    Data(Bytes),
}

impl Packet {
    /// A data packet as a line of text, without the line feed that may end it.
    pub(super) fn line(&self) -> Option<&[u8]> {
        match self {
            Self::Data(data) => Some(data.strip_suffix(b"\n").unwrap_or(data)),
            Self::Flush | Self::Delimiter => None,
        }
    }
}

/// What is not a stream of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server's answer is not in Git's packet format")]
pub(super) struct NotPackets;

/// Packets out of bytes that come in pieces. Holds one packet and one piece at most.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next packet, or none before more bytes came.
    pub(super) fn next(&mut self) -> Result<Option<Packet>, NotPackets> {
        let Some(digits) = self.buffer.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = hexadecimal(*digits).ok_or(NotPackets)?;
        let packet = match length {
            0 => Packet::Flush,
            1 => Packet::Delimiter,
            // 0002 ends a whole response in protocol 2; over HTTP it is never sent.
            4..=LONGEST if self.buffer.len() < length => return Ok(None),
            4..=LONGEST => {
                self.buffer.advance(4);
                return Ok(Some(Packet::Data(
                    self.buffer.split_to(length - 4).freeze(),
                )));
            }
            _ => return Err(NotPackets),
        };
        self.buffer.advance(4);
        Ok(Some(packet))
    }
}

fn hexadecimal(digits: [u8; 4]) -> Option<usize> {
    digits.into_iter().try_fold(0, |value, digit| {
        Some(value * 16 + char::from(digit).to_digit(16)? as usize)
    })
}

/// A request under construction.
#[derive(Debug, Default)]
pub(super) struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// Adds a line; the caller keeps it far below [`LONGEST`].
    pub(super) fn line(&mut self, text: &str) {
        debug_assert!(text.len() + 5 <= LONGEST, "a packet has a bounded length");
        let length = text.len() + 5;
        self.bytes
            .extend_from_slice(format!("{length:04x}{text}\n").as_bytes());
    }

    pub(super) fn flush(&mut self) {
        self.bytes.extend_from_slice(b"0000");
    }

    pub(super) fn delimiter(&mut self) {
        self.bytes.extend_from_slice(b"0001");
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.bytes.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(pieces: &[&[u8]]) -> Result<Vec<Packet>, NotPackets> {
        let mut decoder = Decoder::default();
        let mut packets = Vec::new();
        for piece in pieces {
            decoder.push(piece);
            while let Some(packet) = decoder.next()? {
                packets.push(packet);
            }
        }
        Ok(packets)
    }

    #[test]
    fn a_request_reads_back() {
        let mut request = Request::default();
        request.line("command=fetch");
        request.delimiter();
        request.line("done");
        request.flush();
        let bytes = request.into_bytes();
        assert_eq!(bytes, "0012command=fetch\n00010009done\n0000");
        let packets = all(&[&bytes]).unwrap();
        assert_eq!(packets[0].line(), Some(&b"command=fetch"[..]));
        assert_eq!(packets[1], Packet::Delimiter);
        assert_eq!(packets[3], Packet::Flush);
    }

    #[test]
    fn other_bytes_are_refused_at_once() {
        for bytes in [
            "<html>", "0002", "0003", "fff1", "ffff", "00g0", "-001", "+009a\n",
        ] {
            assert_eq!(all(&[bytes.as_bytes()]), Err(NotPackets), "{bytes}");
        }
        assert_eq!(all(&[b"0004"]), Ok(vec![Packet::Data(Bytes::new())]));
    }

    proptest! {
        /// However the network cuts them, the packets are the same.
        #[test]
        fn pieces_do_not_matter(
            lines in prop::collection::vec("[a-z]{0,40}", 0..20),
            cuts in prop::collection::vec(0usize..500, 0..8),
        ) {
            let mut request = Request::default();
            for line in &lines {
                request.line(line);
            }
            request.flush();
            let bytes = request.into_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|at| at.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            let packets = all(&pieces).unwrap();
            prop_assert_eq!(packets.len(), lines.len() + 1);
            for (packet, line) in packets.iter().zip(&lines) {
                prop_assert_eq!(packet.line(), Some(line.as_bytes()));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_never_pile_up(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..50),
        ) {
            let mut decoder = Decoder::default();
            'stream: for piece in pieces {
                decoder.push(&piece);
                loop {
                    match decoder.next() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(NotPackets) => break 'stream,
                    }
                }
                prop_assert!(decoder.buffer.len() < LONGEST + 100);
            }
        }
    }
}

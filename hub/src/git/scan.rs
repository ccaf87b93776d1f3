//! Looks at a pack on its way to libgit2 (gitformat-pack), which would take an
//! object of any size into memory: a delta of eight kilobytes can stand for
//! gigabytes. No I/O: bytes in, a refusal out.

use flate2::{Decompress, FlushDecompress, Status};

/// Objects of one pack; each costs the indexer about a hundred bytes of memory.
const MAX_OBJECTS: u32 = 5_000_000;
/// Bytes of an object that is sent as a delta, which is put together in memory.
const MAX_DELTA: u64 = 256 << 20;
/// Bytes of a commit, tree or tag, which is read as a whole.
const MAX_STRUCTURE: u64 = 32 << 20;
/// The length of the checksum at the end, and of an object's id.
const HASH: usize = 20;

/// Why a pack is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("what came is not a pack")]
    NotAPack,
    #[error("the pack has more than {MAX_OBJECTS} objects")]
    TooMany,
    #[error("the pack holds a file of more than {} MiB as a delta", MAX_DELTA >> 20)]
    BigDelta,
    #[error("the pack holds a commit, folder or tag of more than {} MiB", MAX_STRUCTURE >> 20)]
    BigStructure,
    #[error("the pack is broken: an object does not have the size that it claims")]
    Size,
}

/// The state of looking at one pack.
pub(super) struct Scan {
    at: At,
    /// Objects still to come.
    left: u32,
    inflate: Decompress,
    scratch: Box<[u8]>,
}

enum At {
    /// The head of the pack, as far as it came.
    Head(Vec<u8>),
    /// The head of an object, as far as it came.
    Object(Vec<u8>),
    Content(Content),
    /// The checksum, of which so much came.
    Trailer(usize),
}

struct Content {
    is_delta: bool,
    size: u64,
    /// The first bytes of a delta, which say how big its result is.
    start: Vec<u8>,
}

impl Scan {
    pub(super) fn new() -> Self {
        Self {
            at: At::Head(Vec::with_capacity(12)),
            left: 0,
            inflate: Decompress::new(true),
            scratch: vec![0; 32 << 10].into_boxed_slice(),
        }
    }

    /// Looks at the next bytes.
    pub(super) fn look(&mut self, mut bytes: &[u8]) -> Result<(), Refused> {
        while !bytes.is_empty() {
            bytes = match &mut self.at {
                At::Head(head) => {
                    head.push(bytes[0]);
                    if head.len() == 12 {
                        self.left = objects(head)?;
                        self.next();
                    }
                    &bytes[1..]
                }
                At::Object(head) => {
                    head.push(bytes[0]);
                    if let Some(content) = content(head)? {
                        self.inflate.reset(true);
                        self.at = At::Content(content);
                    }
                    &bytes[1..]
                }
                At::Content(_) => self.inflate(bytes)?,
                At::Trailer(seen) => {
                    *seen += bytes.len();
                    if *seen > HASH {
                        return Err(Refused::NotAPack);
                    }
                    &[]
                }
            };
        }
        Ok(())
    }

    fn next(&mut self) {
        self.at = if self.left == 0 {
            At::Trailer(0)
        } else {
            self.left -= 1;
            At::Object(Vec::with_capacity(32))
        };
    }

    /// Inflates some of the content; returns the bytes that are left.
    fn inflate<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Refused> {
        let At::Content(content) = &mut self.at else {
            return Ok(bytes);
        };
        let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self
            .inflate
            .decompress(bytes, &mut self.scratch, FlushDecompress::None)
            .map_err(|_| Refused::NotAPack)?;
        let read = usize::try_from(self.inflate.total_in() - read).map_err(|_| Refused::Size)?;
        let total = self.inflate.total_out();
        let written = usize::try_from(total - written).map_err(|_| Refused::Size)?;
        if total > content.size {
            return Err(Refused::Size);
        }
        if content.is_delta && content.start.len() < HASH {
            let lack = HASH - content.start.len();
            content
                .start
                .extend_from_slice(&self.scratch[..written.min(lack)]);
            if result_size(&content.start).is_some_and(|size| size > MAX_DELTA) {
                return Err(Refused::BigDelta);
            }
        }
        match status {
            Status::StreamEnd if total < content.size => return Err(Refused::Size),
            Status::StreamEnd => self.next(),
            // No progress with bytes at hand and room for more: it never ends.
            _ if read == 0 && written == 0 => return Err(Refused::NotAPack),
            _ => {}
        }
        Ok(&bytes[read..])
    }
}

fn objects(head: &[u8]) -> Result<u32, Refused> {
    match head {
        [b'P', b'A', b'C', b'K', 0, 0, 0, 2 | 3, count @ ..] => {
            let count = u32::from_be_bytes(count.try_into().map_err(|_| Refused::NotAPack)?);
            if count > MAX_OBJECTS {
                return Err(Refused::TooMany);
            }
            Ok(count)
        }
        _ => Err(Refused::NotAPack),
    }
}

/// What follows the head of an object, once all of `head` is there.
fn content(head: &[u8]) -> Result<Option<Content>, Refused> {
    const COMMIT: u8 = 1;
    const TREE: u8 = 2;
    const BLOB: u8 = 3;
    const TAG: u8 = 4;
    const OFFSET_DELTA: u8 = 6;
    const ID_DELTA: u8 = 7;
    let kind = head[0] >> 4 & 7;
    let mut size = u64::from(head[0] & 0x0f);
    let mut used = 1;
    let mut shift = 4;
    while head[used - 1] & 0x80 != 0 {
        if shift > 60 {
            return Err(Refused::Size);
        }
        let Some(byte) = head.get(used) else {
            return Ok(None);
        };
        size |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        used += 1;
    }
    let rest = &head[used..];
    let (is_delta, whole) = match kind {
        COMMIT | TREE | TAG if size > MAX_STRUCTURE => return Err(Refused::BigStructure),
        COMMIT | TREE | BLOB | TAG => (false, true),
        // A base that is further back than ten such bytes say is in no file.
        OFFSET_DELTA if rest.len() > 10 => return Err(Refused::NotAPack),
        OFFSET_DELTA => (true, rest.last().is_some_and(|byte| byte & 0x80 == 0)),
        ID_DELTA => (true, rest.len() == HASH),
        _ => return Err(Refused::NotAPack),
    };
    if is_delta && size > MAX_DELTA {
        return Err(Refused::BigDelta);
    }
    Ok(whole.then_some(Content {
        is_delta,
        size,
        start: Vec::new(),
    }))
}

/// The size of what a delta makes, once all of that number is there.
fn result_size(delta: &[u8]) -> Option<u64> {
    let mut numbers = delta.split_inclusive(|byte| byte & 0x80 == 0);
    let (_base, result) = (numbers.next()?, numbers.next()?);
    if result.last()? & 0x80 != 0 {
        return None;
    }
    let mut size = 0u64;
    for (i, byte) in result.iter().enumerate() {
        // More than an u64 holds is more than any bound.
        let Some(part) = u64::from(byte & 0x7f).checked_shl(7 * u32::try_from(i).ok()?) else {
            return Some(u64::MAX);
        };
        size |= part;
    }
    Some(size)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use proptest::prelude::*;

    use super::*;

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn number(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let byte = (value & 0x7f) as u8;
            value >>= 7;
            bytes.push(if value == 0 { byte } else { byte | 0x80 });
            if value == 0 {
                return bytes;
            }
        }
    }

    /// An object of `kind` that claims `size` bytes.
    fn object(kind: u8, size: u64, base: &[u8], content: &[u8]) -> Vec<u8> {
        let more = if size > 15 { 0x80 } else { 0 };
        let mut bytes = vec![kind << 4 | (size & 15) as u8 | more];
        if size > 15 {
            bytes.extend(number(size >> 4));
        }
        bytes.extend(base);
        bytes.extend(deflated(content));
        bytes
    }

    fn pack(objects: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = b"PACK\0\0\0\x02".to_vec();
        bytes.extend((objects.len() as u32).to_be_bytes());
        bytes.extend(objects.concat());
        bytes.extend([7; HASH]);
        bytes
    }

    fn look(bytes: &[u8], piece: usize) -> Result<(), Refused> {
        let mut scan = Scan::new();
        bytes.chunks(piece).try_for_each(|piece| scan.look(piece))
    }

    fn delta(result: u64) -> Vec<u8> {
        [number(5), number(result), vec![0x90, 5]].concat()
    }

    #[test]
    fn ordinary_packs_pass_however_they_are_cut() {
        let text = "hello world ".repeat(1000);
        let small = delta(5);
        let bytes = pack(&[
            object(1, 5, &[], b"hello"),
            object(3, text.len() as u64, &[], text.as_bytes()),
            object(3, 0, &[], b""),
            object(6, small.len() as u64, &[0x81, 0x05], &small),
            object(7, small.len() as u64, &[9; HASH], &small),
        ]);
        for piece in [1, 2, 3, 7, 100, 100_000] {
            assert_eq!(look(&bytes, piece), Ok(()), "{piece}");
        }
        assert_eq!(look(&pack(&[]), 5), Ok(()));
    }

    #[test]
    fn what_would_fill_the_memory_is_refused() {
        let bomb = delta(16 << 30);
        for (bytes, want) in [
            (
                pack(&[object(6, bomb.len() as u64, &[5], &bomb)]),
                Refused::BigDelta,
            ),
            (
                pack(&[object(7, 1 << 40, &[9; HASH], b"")]),
                Refused::BigDelta,
            ),
            (pack(&[object(2, 1 << 30, &[], b"")]), Refused::BigStructure),
            (pack(&[object(3, 3, &[], b"hello")]), Refused::Size),
            (pack(&[object(3, 10, &[], b"hello")]), Refused::Size),
            (pack(&[object(5, 3, &[], b"hello")]), Refused::NotAPack),
            (b"PACK\0\0\0\x02\xff\xff\xff\xff".to_vec(), Refused::TooMany),
            (b"<html>hello</html>".to_vec(), Refused::NotAPack),
            ([pack(&[]), vec![0]].concat(), Refused::NotAPack),
        ] {
            assert_eq!(look(&bytes, 3), Err(want));
            assert_eq!(look(&bytes, 100_000), Err(want));
        }
        let huge = [number(5), vec![0xff; 12], vec![1]].concat();
        assert_eq!(result_size(&huge), Some(u64::MAX));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            head in any::<bool>(),
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            piece in 1usize..50,
        ) {
            let mut all = if head { b"PACK\0\0\0\x02\0\0\0\x09".to_vec() } else { Vec::new() };
            all.extend(bytes);
            let _ = look(&all, piece);
        }
    }
}

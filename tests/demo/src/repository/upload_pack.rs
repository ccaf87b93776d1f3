//! The serving side of a fetch, in version 0 of Git's protocol (gitprotocol-pack,
//! gitprotocol-http): refs are told, wanted commits are packed.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use git2::{Oid, Repository};

const CAPABILITIES: &str = "side-band-64k ofs-delta allow-tip-sha1-in-want allow-reachable-sha1-in-want symref=HEAD:refs/heads/main object-format=sha1 agent=lockstep-demo";
/// What fits a packet of band 1.
const CHUNK: usize = 65_515;

fn packet(out: &mut Vec<u8>, data: &[u8]) {
    out.extend_from_slice(format!("{:04x}", data.len() + 4).as_bytes());
    out.extend_from_slice(data);
}

fn flush(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0000");
}

/// The answer to `GET info/refs`.
pub(super) fn advertisement(bare: &Path) -> Result<Vec<u8>> {
    let repository = Repository::open(bare)?;
    let mut out = Vec::new();
    packet(&mut out, b"# service=git-upload-pack\n");
    flush(&mut out);
    match repository.refname_to_id("refs/heads/main") {
        Ok(id) => {
            packet(&mut out, format!("{id} HEAD\0{CAPABILITIES}\n").as_bytes());
            packet(&mut out, format!("{id} refs/heads/main\n").as_bytes());
        }
        // Nothing was committed yet.
        Err(_) => packet(
            &mut out,
            format!("{} capabilities^{{}}\0{CAPABILITIES}\n", Oid::ZERO_SHA1).as_bytes(),
        ),
    }
    flush(&mut out);
    Ok(out)
}

/// What a client wants.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wants {
    wants: Vec<Oid>,
    haves: Vec<Oid>,
    side_band: bool,
    done: bool,
}

fn read(request: &[u8]) -> Result<Wants> {
    let mut out = Wants::default();
    let mut rest = request;
    while !rest.is_empty() {
        let length = rest
            .get(..4)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let length = length
            .and_then(|digits| usize::from_str_radix(digits, 16).ok())
            .context("no packet")?;
        if length < 4 {
            rest = &rest[4..];
            continue;
        }
        let data = rest.get(4..length).context("half a packet")?;
        rest = &rest[length..];
        let line = std::str::from_utf8(data)
            .context("a line in UTF-8")?
            .trim_end();
        match line.split_once(' ') {
            Some(("want", words)) => {
                let (id, capabilities) = words.split_once(' ').unwrap_or((words, ""));
                out.side_band |= capabilities.split(' ').any(|word| word == "side-band-64k");
                out.wants.push(Oid::from_str(id).context("want")?);
            }
            Some(("have", id)) => out.haves.push(Oid::from_str(id).context("have")?),
            None if line == "done" => out.done = true,
            _ => bail!("not understood: {line:?}"),
        }
    }
    ensure!(!out.wants.is_empty(), "nothing is wanted");
    Ok(out)
}

/// The answer to `POST git-upload-pack`.
pub(super) fn answer(bare: &Path, request: &[u8]) -> Result<Vec<u8>> {
    let wants = read(request)?;
    let repository = Repository::open(bare)?;
    let mut out = Vec::new();
    let common = wants
        .haves
        .iter()
        .find(|id| repository.find_commit(**id).is_ok());
    match common {
        Some(id) => packet(&mut out, format!("ACK {id}\n").as_bytes()),
        None => packet(&mut out, b"NAK\n"),
    }
    if !wants.done {
        return Ok(out);
    }
    let mut walk = repository.revwalk()?;
    for id in &wants.wants {
        walk.push(*id)
            .with_context(|| format!("{id} is not here"))?;
    }
    for id in wants
        .haves
        .iter()
        .filter(|id| repository.find_commit(**id).is_ok())
    {
        walk.hide(*id)?;
    }
    let mut builder = repository.packbuilder()?;
    builder.insert_walk(&mut walk)?;
    let mut pack = git2::Buf::new();
    builder.write_buf(&mut pack)?;
    if !wants.side_band {
        out.extend_from_slice(&pack);
        return Ok(out);
    }
    for chunk in pack.chunks(CHUNK) {
        let mut data = vec![1];
        data.extend_from_slice(chunk);
        packet(&mut out, &data);
    }
    flush(&mut out);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_whole_or_not_at_all() {
        let id = "0123456789012345678901234567890123456789";
        let mut request = Vec::new();
        packet(
            &mut request,
            format!("want {id} side-band-64k ofs-delta\n").as_bytes(),
        );
        flush(&mut request);
        packet(&mut request, format!("have {id}\n").as_bytes());
        packet(&mut request, b"done\n");
        let wants = read(&request).unwrap();
        assert_eq!(
            (
                wants.wants.len(),
                wants.haves.len(),
                wants.side_band,
                wants.done
            ),
            (1, 1, true, true)
        );
        for bad in [
            &b""[..],
            b"0000",
            b"xyz",
            b"0032want short",
            b"000ewant nope\n",
            b"000dshallow 1",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}

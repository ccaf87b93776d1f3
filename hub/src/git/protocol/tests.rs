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

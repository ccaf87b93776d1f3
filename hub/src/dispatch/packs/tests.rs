use std::io::Read as _;

use lockstep_proto::bundle::{IndexEntry, ObjectKey, bundle_digest};
use lockstep_proto::v1;
use prost::Message as _;

use super::*;

struct World {
    _dir: tempfile::TempDir,
    store: Store,
    packs: Arc<Packs>,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("lockstep.db")).unwrap();
    let packs = Arc::new(Packs::new(store.clone(), dir.path().to_owned()));
    World {
        _dir: dir,
        store,
        packs,
    }
}

fn object(name: &str, json: Vec<u8>) -> (IndexEntry, Bytes) {
    let entry = IndexEntry {
        key: ObjectKey {
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
            namespace: "shop".into(),
            name: name.into(),
        },
        sha256: Digest::of(&json),
    };
    (entry, json.into())
}

/// Bytes that do not compress, the same for the same seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 32);
    let mut block = 0_u64;
    while out.len() < len {
        out.extend(Digest::of(&[seed.to_be_bytes(), block.to_be_bytes()].concat()).0);
        block += 1;
    }
    out.truncate(len);
    out
}

async fn save(store: &Store, objects: Vec<(IndexEntry, Bytes)>) -> Digest {
    let digest = bundle_digest(objects.iter().map(|(entry, _)| entry));
    store.save_bundle(digest, objects).await.unwrap();
    digest
}

/// What a receiver reads: the entries, after checking the announced size and chunks.
async fn read(packs: &Packs, pack: &Pack) -> Vec<v1::BundleEntry> {
    let mut stream = Vec::new();
    loop {
        let chunk = packs.chunk(pack, stream.len() as u64).await.unwrap();
        assert!(chunk.len() <= super::super::pack::CHUNK);
        if chunk.is_empty() {
            break;
        }
        stream.extend_from_slice(&chunk);
    }
    let mut plain = Vec::new();
    zstd::stream::read::Decoder::new(&stream[..])
        .unwrap()
        .read_to_end(&mut plain)
        .unwrap();
    assert_eq!(plain.len() as u64, pack.bytes);
    let mut plain = Bytes::from(plain);
    let mut entries = Vec::new();
    while !plain.is_empty() {
        entries.push(v1::BundleEntry::decode_length_delimited(&mut plain).unwrap());
    }
    assert_eq!(entries.len(), pack.objects as usize);
    entries
}

#[tokio::test]
async fn a_whole_bundle_comes_in_the_order_of_its_digest() {
    let world = world();
    let objects: Vec<_> = (0..500)
        .map(|i| object(&format!("o{i:03}"), noise(i, 900)))
        .collect();
    let digest = save(&world.store, objects.clone()).await;
    let pack = world.packs.get(digest, None).await.unwrap();
    let entries = read(&world.packs, &pack).await;
    let index: Vec<_> = entries
        .iter()
        .map(|entry| IndexEntry {
            key: entry.object.clone().unwrap().into(),
            sha256: Digest::of(&entry.json),
        })
        .collect();
    assert_eq!(bundle_digest(&index), digest);
}

#[tokio::test]
async fn only_what_the_receiver_lacks_is_sent() {
    let world = world();
    let old = vec![object("a", noise(1, 5000)), object("b", noise(2, 5000))];
    let new = vec![
        object("a", noise(1, 5000)),
        object("b", noise(3, 5000)),
        object("c", noise(4, 10)),
    ];
    let (old, new) = (save(&world.store, old).await, save(&world.store, new).await);
    let pack = world.packs.get(new, Some(old)).await.unwrap();
    let sent: Vec<_> = read(&world.packs, &pack)
        .await
        .iter()
        .map(|e| e.json.len())
        .collect();
    assert_eq!(sent, [0, 5000, 10]);
    let same = world.packs.get(new, Some(new)).await.unwrap();
    assert!(
        read(&world.packs, &same)
            .await
            .iter()
            .all(|entry| entry.json.is_empty())
    );
}

#[tokio::test]
async fn a_base_that_is_not_known_any_more_gets_everything() {
    let world = world();
    let digest = save(&world.store, vec![object("a", noise(1, 100))]).await;
    let pack = world
        .packs
        .get(digest, Some(Digest::of(b"forgotten")))
        .await
        .unwrap();
    assert_eq!(read(&world.packs, &pack).await[0].json.len(), 100);
}

#[tokio::test]
async fn a_large_bundle_goes_through_a_file_and_many_fetches_make_it_once() {
    let world = world();
    let objects = (0..40)
        .map(|i| object(&format!("o{i:02}"), noise(i, 100_000)))
        .collect();
    let digest = save(&world.store, objects).await;
    let fetches = (0..50).map(|_| {
        let packs = Arc::clone(&world.packs);
        tokio::spawn(async move { packs.get(digest, None).await.unwrap() })
    });
    let fetched = futures::future::join_all(fetches).await;
    let first = Arc::clone(fetched[0].as_ref().unwrap());
    assert!(!first.in_memory());
    assert!(
        fetched
            .iter()
            .all(|pack| Arc::ptr_eq(pack.as_ref().unwrap(), &first))
    );
    assert_eq!(read(&world.packs, &first).await.len(), 40);
}

#[tokio::test]
async fn a_bundle_that_is_not_stored_is_an_error_and_not_remembered() {
    let world = world();
    let objects = vec![object("a", noise(1, 100))];
    let digest = bundle_digest(objects.iter().map(|(entry, _)| entry));
    assert!(world.packs.get(digest, None).await.is_err());
    save(&world.store, objects).await;
    assert!(world.packs.get(digest, None).await.is_ok());
}

#[tokio::test]
async fn packs_kept_are_bounded() {
    let world = world();
    let digest = save(&world.store, vec![object("a", noise(1, 100))]).await;
    for i in 0..(KEPT as u64 + 20) {
        let have = Some(Digest::of(&i.to_be_bytes()));
        world.packs.get(digest, have).await.unwrap();
    }
    assert_eq!(world.packs.slots.lock().len(), KEPT);
}

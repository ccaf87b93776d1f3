//! How an Inventory is cut into pieces that fit an object of the cluster, and
//! what a piece looks like: zstd over one line of JSON for each object, so
//! that a person can read it with `base64 -d | zstd -d`.

use std::borrow::Cow;
use std::io::Read as _;

use lockstep_proto::Digest;
use lockstep_proto::traits::Traits;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::run::RunText;
use super::{Inventory, Item, ObjectId};

/// Objects of one shard, on average. With the longest names that Kubernetes
/// takes, one is 700 bytes and hardly compresses: 360 KB, well below 1 MiB.
pub const OBJECTS: usize = 512;
/// More shards than for 50,000 objects are nobody's.
pub(super) const MOST_SHARDS: u16 = 128;
/// What one shard may unpack to.
const LARGEST: u64 = 8 << 20;
const LEVEL: i32 = 3;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    #[serde(borrow)]
    api_version: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    namespace: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    /// SHA-256 of the content last confirmed; missing where none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    applied: Option<String>,
    /// Fingerprint of our fields after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owned: Option<String>,
    /// It holds ignored fields as they were found.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    found: bool,
    /// Fingerprint of the drift that the history was told of, where it is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    told: Option<String>,
    /// Without content confirmed: it is ours all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    ours: bool,
    /// Its annotations that are ours.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    traits: Map<String, Value>,
    /// Applied, and not ready once since then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    fresh: bool,
    /// Of a hook: its latest run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<RunText>,
}

/// The shard of `shards` that `id` belongs to.
pub(super) fn of(id: &ObjectId, shards: u16) -> u16 {
    if shards <= 1 {
        return 0;
    }
    let mut hash = Sha256::new();
    for part in [&id.kind.group, &id.kind.kind, &id.namespace, &id.name] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let hash = hash.finalize();
    u16::from_be_bytes([hash[0], hash[1]]) % shards
}

/// How many shards of `size` objects `objects` take, given that there are
/// `now`: growing at once, shrinking only when most are empty.
pub(super) fn count(objects: usize, size: usize, now: u16) -> u16 {
    let wanted = objects.div_ceil(size).max(1).next_power_of_two();
    let wanted = u16::try_from(wanted)
        .unwrap_or(MOST_SHARDS)
        .min(MOST_SHARDS);
    if wanted > now || wanted < now / 4 {
        wanted
    } else {
        now
    }
}

impl Inventory {
    /// Spreads the items over `shards`: all of them are to be stored again.
    pub(super) fn reshard(&mut self, shards: u16) {
        self.shards = shards;
        self.dirty = vec![true; usize::from(shards)];
    }
}

/// The content of each shard that `which` asks for.
pub(super) fn encode(inventory: &Inventory, which: &[bool]) -> Vec<Option<Vec<u8>>> {
    let mut lines: Vec<Vec<(&ObjectId, &Item)>> = vec![Vec::new(); which.len()];
    for (id, item) in inventory.iter().filter(|(_, item)| item.stored) {
        let shard = usize::from(of(id, inventory.shards));
        if which[shard] {
            lines[shard].push((id, item));
        }
    }
    let encode = |(mut lines, wanted): (Vec<(&ObjectId, &Item)>, &bool)| {
        wanted.then(|| {
            lines.sort_unstable_by_key(|(id, _)| *id);
            pack(&lines)
        })
    };
    lines.into_iter().zip(which).map(encode).collect()
}

fn pack(lines: &[(&ObjectId, &Item)]) -> Vec<u8> {
    let mut text = Vec::with_capacity(lines.len() * 200);
    for (id, item) in lines {
        let line = Line {
            api_version: (&*item.api_version).into(),
            kind: (&*id.kind.kind).into(),
            namespace: (&*id.namespace).into(),
            name: (&*id.name).into(),
            applied: item.applied.map(|digest| hex::encode(digest.0)),
            owned: item.applied.map(|_| format!("{:016x}", item.owned)),
            found: item.found,
            told: (item.told != 0 && item.drift.as_ref().is_none_or(|drift| drift.left))
                .then(|| format!("{:016x}", item.told)),
            ours: item.ours && item.applied.is_none(),
            traits: item
                .traits
                .as_deref()
                .map_or_else(Map::new, Traits::annotations),
            fresh: item.fresh && item.applied.is_some(),
            run: item.run.as_deref().map(RunText::write),
        };
        serde_json::to_writer(&mut text, &line).expect("text writes to memory");
        text.push(b'\n');
    }
    zstd::bulk::compress(&text, LEVEL).expect("zstd packs what memory holds")
}

/// Adds the objects of one shard to `inventory`. Where two shards disagree
/// about an object (a crash while the number of shards changed), its content
/// is not confirmed.
pub(super) fn decode(inventory: &mut Inventory, packed: &[u8]) -> Result<(), String> {
    let mut text = Vec::new();
    zstd::Decoder::new(packed)
        .and_then(|stream| stream.take(LARGEST).read_to_end(&mut text))
        .map_err(|error| error.to_string())?;
    for line in text.split(|byte| *byte == b'\n').filter(|l| !l.is_empty()) {
        let line: Line<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let group = line.api_version.split_once('/').map_or("", |(g, _)| g);
        let id = inventory.id(group, &line.kind, &line.namespace, &line.name);
        let applied = line.applied.as_deref().and_then(digest);
        let owned = line
            .owned
            .and_then(|text| u64::from_str_radix(&text, 16).ok())
            .unwrap_or(0);
        let api_version = inventory.word(&line.api_version);
        // Written by a newer agent, perhaps: what it means is read again from
        // the Bundle.
        let traits = Traits::read(&line.traits).unwrap_or_default();
        let traits = (traits != Traits::default()).then(|| Box::new(traits));
        let mut item = Item::stored(api_version, applied, owned, traits);
        item.fresh = line.fresh;
        item.run = line.run.and_then(RunText::read).map(Box::new);
        item.found = line.found;
        let told = line
            .told
            .and_then(|text| u64::from_str_radix(&text, 16).ok());
        item.told = told.unwrap_or(0);
        item.ours |= line.ours;
        add(inventory, id, item);
    }
    Ok(())
}

fn add(inventory: &mut Inventory, id: ObjectId, item: Item) {
    match inventory.items.get_mut(&id) {
        Some(known) if known.applied != item.applied => known.applied = None,
        Some(_) => {}
        None => {
            inventory.items.insert(id, item);
        }
    }
}

fn digest(text: &str) -> Option<Digest> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(Digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filled(objects: usize, name: impl Fn(usize) -> String) -> Inventory {
        let mut inventory = Inventory::new("shop");
        for i in 0..objects {
            let id = inventory.id("apps", "Deployment", "shop", &name(i));
            let digest = Digest::of(&i.to_be_bytes());
            let wave = i16::try_from(i % 5).unwrap();
            let traits = Traits {
                wave,
                ..Traits::default()
            };
            let traits = (wave != 0).then(|| Box::new(traits));
            inventory.want(&id, "apps/v1", digest, traits);
            inventory.intend();
            if i % 3 != 0 {
                inventory.confirm(&id, digest, i as u64);
            }
        }
        inventory
    }

    fn read_back(inventory: &Inventory) -> Inventory {
        let all = vec![true; usize::from(inventory.shards)];
        let mut read = Inventory::new("shop");
        for shard in encode(inventory, &all).into_iter().flatten() {
            decode(&mut read, &shard).unwrap();
        }
        read
    }

    fn stored(inventory: &Inventory) -> Vec<(ObjectId, String, Option<Digest>, u64, i16)> {
        let mut all: Vec<_> = inventory
            .iter()
            .map(|(id, item)| {
                let owned = item.applied.map_or(0, |_| item.owned);
                (
                    id.clone(),
                    item.api_version.to_string(),
                    item.applied,
                    owned,
                    item.traits().wave,
                )
            })
            .collect();
        all.sort();
        all
    }

    #[test]
    fn five_thousand_objects_with_the_longest_names_fit() {
        let mut state = 1_u64;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            b"abcdefghijklmnopqrstuvwxyz0123456789"[(state >> 33) as usize % 36] as char
        };
        let names: Vec<String> = (0..5_000)
            .map(|_| (0..253).map(|_| random()).collect())
            .collect();
        let mut inventory = filled(0, |_| String::new());
        inventory.reshard(count(5_000, OBJECTS, 1));
        for (i, name) in names.iter().enumerate() {
            let id = inventory.id(&"g".repeat(100), &"k".repeat(63), &"n".repeat(63), name);
            inventory.want(
                &id,
                &format!("{}/v1", "g".repeat(100)),
                Digest::of(name.as_bytes()),
                None,
            );
            if i == 0 {
                assert!(inventory.intend());
            }
        }
        inventory.intend();
        for name in &names {
            let id = inventory.id(&"g".repeat(100), &"k".repeat(63), &"n".repeat(63), name);
            inventory.confirm(&id, Digest::of(name.as_bytes()), 1);
        }
        assert_eq!(inventory.shards, 16);
        let all = vec![true; 16];
        let shards: Vec<_> = encode(&inventory, &all).into_iter().flatten().collect();
        let largest = shards.iter().map(Vec::len).max().unwrap();
        assert!(largest < 200_000, "{largest}");
        assert_eq!(stored(&read_back(&inventory)), stored(&inventory));
    }

    #[test]
    fn a_small_change_touches_one_shard() {
        let mut inventory = filled(2_000, |i| format!("object-{i}"));
        inventory.reshard(4);
        inventory.dirty = vec![false; 4];
        let id = inventory.id("apps", "Deployment", "shop", "object-77");
        inventory.confirm(&id, Digest::of(b"new"), 1);
        assert_eq!(inventory.dirty.iter().filter(|dirty| **dirty).count(), 1);
    }

    #[test]
    fn shards_grow_at_once_and_shrink_late() {
        assert_eq!(count(0, OBJECTS, 1), 1);
        assert_eq!(count(512, OBJECTS, 1), 1);
        assert_eq!(count(513, OBJECTS, 1), 2);
        assert_eq!(count(5_000, OBJECTS, 1), 16);
        assert_eq!(count(3_000, OBJECTS, 16), 16);
        assert_eq!(count(1_000, OBJECTS, 16), 2);
        assert_eq!(count(1_000_000, OBJECTS, 1), MOST_SHARDS);
    }

    #[test]
    fn shards_that_disagree_confirm_nothing() {
        let inventory = filled(2, |i| format!("object-{i}"));
        let mut other = filled(2, |i| format!("object-{i}"));
        let id = other.id("apps", "Deployment", "shop", "object-1");
        other.confirm(&id, Digest::of(b"else"), 1);
        let mut read = Inventory::new("shop");
        for source in [&inventory, &other] {
            for shard in encode(source, &[true]).into_iter().flatten() {
                decode(&mut read, &shard).unwrap();
            }
        }
        assert_eq!(read.get(&id).unwrap().applied, None);
    }

    #[test]
    fn what_objects_ask_for_is_kept_and_lines_without_it_are_read() {
        let line = r#"{"apiVersion":"v1","kind":"ConfigMap","namespace":"shop","name":"a"}"#;
        let asks = r#"{"apiVersion":"v1","kind":"ConfigMap","namespace":"shop","name":"b","traits":{"lockstep.dev/wave":"3","lockstep.dev/hook":"PreSync","lockstep.dev/prune":"Disabled"}}"#;
        let packed = zstd::bulk::compress(format!("{line}\n{asks}\n").as_bytes(), 3).unwrap();
        let mut read = Inventory::new("shop");
        decode(&mut read, &packed).unwrap();
        for inventory in [&read, &read_back(&read)] {
            let of = |name: &str| {
                let mut all = inventory.iter();
                all.find(|(id, _)| &*id.name == name).unwrap().1.traits()
            };
            assert_eq!(of("a"), Traits::default());
            let traits = of("b");
            assert!(traits.wave == 3 && traits.keep && traits.hook.is_some());
        }
    }

    #[test]
    fn a_damaged_or_swollen_shard_is_an_error() {
        let mut read = Inventory::new("shop");
        assert!(decode(&mut read, b"not zstd").is_err());
        let bomb = zstd::bulk::compress(&vec![b' '; 64 << 20], 3).unwrap();
        assert!(decode(&mut read, &bomb).is_err());
    }

    proptest! {
        #[test]
        fn what_is_stored_is_read_back(names in prop::collection::btree_set("[a-z0-9.:\"\\\\ä-]{1,60}", 0..60), shards in 1_u16..9) {
            let names: Vec<_> = names.into_iter().collect();
            let mut inventory = filled(names.len(), |i| names[i].clone());
            inventory.reshard(shards);
            prop_assert_eq!(stored(&read_back(&inventory)), stored(&inventory));
        }
    }
}

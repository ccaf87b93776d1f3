//! A desired state as it came over the wire. Items are kept as bytes: a newer
//! hub may say more of an item than this agent knows, and the digest of the
//! whole must still be the same at both ends.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use lockstep_proto::desired::digest_of_parts;
use lockstep_proto::names::check_label;
use lockstep_proto::{Digest, v1};
use prost::Message as _;
use tracing::warn;

use super::Desired;

/// [`v1::DesiredState`] with its items and tombstones left encoded: the same
/// bytes on the wire.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Part {
    #[prost(uint64, tag = "1")]
    pub version: u64,
    #[prost(uint64, tag = "2")]
    pub base: u64,
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub items: Vec<Bytes>,
    #[prost(message, repeated, tag = "4")]
    pub tombstones: Vec<v1::Tombstone>,
    #[prost(bool, tag = "5")]
    pub last: bool,
    #[prost(string, tag = "6")]
    pub digest: String,
}

/// A complete desired state.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Held {
    pub version: u64,
    /// By Assignment: its item, or nothing for a tombstone.
    parts: BTreeMap<String, Option<Bytes>>,
}

impl Held {
    #[must_use]
    pub fn digest(&self) -> Digest {
        digest_of_parts(
            self.parts.iter().map(|(assignment, item)| {
                (assignment.as_str(), item.as_deref().unwrap_or_default())
            }),
        )
    }

    /// How many Assignments it speaks of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Replaces what it said of the Assignments that `part` names.
    ///
    /// # Errors
    /// An item that is no `DesiredItem`.
    pub fn merge(&mut self, part: Part) -> Result<(), prost::DecodeError> {
        for item in part.items {
            let assignment = v1::DesiredItem::decode(item.clone())?.assignment;
            self.parts.insert(assignment, Some(item));
        }
        for tombstone in part.tombstones {
            self.parts.insert(tombstone.assignment, None);
        }
        Ok(())
    }

    /// All of it as one part, as it is kept on disk.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let tombstone = |(assignment, item): (&String, &Option<Bytes>)| {
            item.is_none().then(|| v1::Tombstone {
                assignment: assignment.clone(),
            })
        };
        Part {
            version: self.version,
            base: 0,
            items: self.parts.values().flatten().cloned().collect(),
            tombstones: self.parts.iter().filter_map(tombstone).collect(),
            last: true,
            digest: self.digest().to_string(),
        }
        .encode_to_vec()
    }

    /// What [`Held::encode`] wrote; a reason in words for anything else.
    ///
    /// # Errors
    /// Why it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let part = Part::decode(bytes).map_err(|error| error.to_string())?;
        let (said, complete) = (part.digest.clone(), part.last);
        let mut held = Self {
            version: part.version,
            parts: BTreeMap::new(),
        };
        held.merge(part).map_err(|error| error.to_string())?;
        let found = held.digest().to_string();
        if complete && said == found {
            Ok(held)
        } else {
            Err(format!(
                "its content has digest {found} and should have {said:?}"
            ))
        }
    }

    /// What it means to the engine. What the hub said of an Assignment and this
    /// agent cannot make sense of is left out: the engine then leaves it alone.
    #[must_use]
    pub fn desired(&self) -> Desired {
        let mut items = BTreeMap::new();
        let mut tombstones = BTreeSet::new();
        for (assignment, item) in &self.parts {
            match item.as_ref().map(|item| sensible(item.clone())) {
                None => {
                    tombstones.insert(assignment.clone());
                }
                Some(Ok(item)) => {
                    items.insert(assignment.clone(), item);
                }
                Some(Err(cause)) => {
                    warn!(assignment, %cause, "the hub's desired state makes no sense here; what is applied stays");
                }
            }
        }
        Desired {
            version: self.version,
            items,
            tombstones,
        }
    }
}

fn sensible(item: Bytes) -> anyhow::Result<v1::DesiredItem> {
    let item = v1::DesiredItem::decode(item)?;
    check_label(&item.assignment)?;
    item.bundle_digest.parse::<Digest>()?;
    Ok(item)
}

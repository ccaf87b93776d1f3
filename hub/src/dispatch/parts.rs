//! Cuts what the hub has to say into messages of at most 4 KiB: pure.
//!
//! Names are RFC 1123 labels and options are checked when they are applied, so
//! that one item is a few hundred bytes; the bound holds for every list of them.

use lockstep_proto::{Digest, v1};
use prost::Message;
use prost::encoding::encoded_len_varint;

use v1::hub_message::Message as Kind;

/// The largest message of a session, either way.
pub const MESSAGE_LIMIT: usize = 4096;

/// Room for what stands around the list: the message that carries it, and the
/// numbers and the digest beside it.
const AROUND: usize = 256;

/// An item that is alone too large for a message: nothing that passed
/// validation is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("assignment {assignment:?} has options of {bytes} bytes, too large for a message")]
pub struct TooLarge {
    pub assignment: String,
    pub bytes: usize,
}

/// A desired state, or a change of one since `base`, part by part.
///
/// # Errors
/// [`TooLarge`].
pub fn desired_state(
    version: u64,
    base: u64,
    digest: Digest,
    items: Vec<v1::DesiredItem>,
    tombstones: Vec<v1::Tombstone>,
) -> Result<Vec<v1::HubMessage>, TooLarge> {
    let empty = || v1::DesiredState {
        version,
        base,
        ..v1::DesiredState::default()
    };
    let mut parts = Vec::new();
    let mut part = empty();
    let mut used = AROUND;
    for item in items {
        let bytes = listed(&item);
        if AROUND + bytes > MESSAGE_LIMIT {
            return Err(TooLarge {
                assignment: item.assignment,
                bytes,
            });
        }
        if used + bytes > MESSAGE_LIMIT {
            parts.push(std::mem::replace(&mut part, empty()));
            used = AROUND;
        }
        used += bytes;
        part.items.push(item);
    }
    for tombstone in tombstones {
        let bytes = listed(&tombstone);
        if used + bytes > MESSAGE_LIMIT {
            parts.push(std::mem::replace(&mut part, empty()));
            used = AROUND;
        }
        used += bytes;
        part.tombstones.push(tombstone);
    }
    part.last = true;
    part.digest = digest.to_string();
    parts.push(part);
    Ok(parts
        .into_iter()
        .map(|p| message(Kind::DesiredState(p)))
        .collect())
}

/// The answer to Hello.
#[must_use]
pub fn welcome(heartbeat_seconds: u32, held: Vec<v1::HeldReport>) -> Vec<v1::HubMessage> {
    let empty = || v1::Welcome {
        heartbeat_seconds,
        held_reports: Vec::new(),
        more: false,
    };
    let mut parts = Vec::new();
    let mut part = empty();
    let mut used = AROUND;
    for report in held {
        let bytes = listed(&report);
        if used + bytes > MESSAGE_LIMIT {
            part.more = true;
            parts.push(std::mem::replace(&mut part, empty()));
            used = AROUND;
        }
        used += bytes;
        part.held_reports.push(report);
    }
    parts.push(part);
    parts
        .into_iter()
        .map(|p| message(Kind::Welcome(p)))
        .collect()
}

/// That all Reports up to `seq` are stored, and all ObjectEvents up to `event_id`.
#[must_use]
pub fn ack(seq: u64, event_id: u64) -> v1::HubMessage {
    message(Kind::Ack(v1::Ack { seq, event_id }))
}

/// A question. Its options are checked when they are applied, so that it fits.
#[must_use]
pub fn plan(plan: v1::Plan) -> v1::HubMessage {
    message(Kind::Plan(plan))
}

fn message(kind: Kind) -> v1::HubMessage {
    v1::HubMessage {
        message: Some(kind),
    }
}

/// Bytes of an entry of a repeated field whose number is below 16.
fn listed(entry: &impl Message) -> usize {
    let len = entry.encoded_len();
    1 + encoded_len_varint(len as u64) + len
}

#[cfg(test)]
mod tests {
    use lockstep_proto::desired::desired_digest;
    use proptest::prelude::*;

    use super::*;

    fn item(name: String, filler: usize) -> v1::DesiredItem {
        v1::DesiredItem {
            assignment: name,
            bundle_digest: Digest::of(b"x").to_string(),
            revision: "f".repeat(64),
            options: Some(v1::ApplyOptions {
                namespace: "n".repeat(filler),
                create_namespace: true,
                prune: true,
                max_prune: "100%".into(),
                ..v1::ApplyOptions::default()
            }),
        }
    }

    fn name(i: usize) -> String {
        format!("{i:0>63}")
    }

    /// Puts parts together as an agent does, checking the protocol on the way.
    fn assembled(parts: Vec<v1::HubMessage>, version: u64, base: u64) -> v1::DesiredState {
        let mut whole = v1::DesiredState::default();
        let count = parts.len();
        for (i, part) in parts.into_iter().enumerate() {
            assert!(
                part.encoded_len() <= MESSAGE_LIMIT,
                "{}",
                part.encoded_len()
            );
            let Some(Kind::DesiredState(part)) = part.message else {
                panic!("not a part of a desired state: {part:?}");
            };
            assert_eq!((part.version, part.base), (version, base));
            assert_eq!(part.last, i + 1 == count);
            assert_eq!(part.digest.is_empty(), !part.last);
            whole.items.extend(part.items);
            whole.tombstones.extend(part.tombstones);
            whole.digest = part.digest;
        }
        whole
    }

    proptest! {
        #[test]
        fn no_part_of_a_desired_state_is_larger_than_the_limit(
            items in 0_usize..400, tombstones in 0_usize..400, filler in 0_usize..3000,
        ) {
            let items: Vec<_> = (0..items).map(|i| item(name(i), filler)).collect();
            let tombstones: Vec<_> =
                (0..tombstones).map(|i| v1::Tombstone { assignment: name(i) }).collect();
            let digest = desired_digest(&items, &tombstones);
            let parts =
                desired_state(u64::MAX, u64::MAX, digest, items.clone(), tombstones.clone());
            let whole = assembled(parts.unwrap(), u64::MAX, u64::MAX);
            prop_assert_eq!(&whole.digest, &digest.to_string());
            prop_assert_eq!(whole.items, items);
            prop_assert_eq!(whole.tombstones, tombstones);
        }

        #[test]
        fn no_part_of_a_welcome_is_larger_than_the_limit(reports in 0_usize..500) {
            let held: Vec<_> = (0..reports)
                .map(|i| v1::HeldReport { assignment: name(i), digest: u64::MAX })
                .collect();
            let parts = welcome(u32::MAX, held.clone());
            let count = parts.len();
            let mut seen = Vec::new();
            for (i, part) in parts.into_iter().enumerate() {
                prop_assert!(part.encoded_len() <= MESSAGE_LIMIT);
                let Some(Kind::Welcome(part)) = part.message else {
                    panic!("not a welcome: {part:?}");
                };
                prop_assert_eq!(part.more, i + 1 < count);
                seen.extend(part.held_reports);
            }
            prop_assert_eq!(seen, held);
        }
    }

    #[test]
    fn an_empty_state_is_one_part() {
        let digest = desired_digest(&[], &[]);
        let parts = desired_state(3, 0, digest, vec![], vec![]).unwrap();
        assert_eq!(parts.len(), 1);
        assert!(assembled(parts, 3, 0).items.is_empty());
    }

    #[test]
    fn an_item_that_no_message_can_hold_is_an_error() {
        let parts = desired_state(1, 0, Digest::of(b""), vec![item(name(1), 4000)], vec![]);
        assert!(parts.is_err());
    }
}

//! Digests of desired states and reports: both ends compute them to find out,
//! at every reconnect, whether they hold the same.

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::names::Digest;
use crate::v1::{ApplyOptions, DesiredItem, Report, Tombstone};

/// The digest of a whole desired state. `items` and `tombstones` in any order.
#[must_use]
pub fn desired_digest(items: &[DesiredItem], tombstones: &[Tombstone]) -> Digest {
    digest_of_parts(
        items
            .iter()
            .map(|i| (i.assignment.as_str(), i.encode_to_vec()))
            .chain(
                tombstones
                    .iter()
                    .map(|t| (t.assignment.as_str(), Vec::new())),
            ),
    )
}

/// [`desired_digest`] over encoded items: each Assignment with its item as it
/// came over the wire, a tombstone with nothing. So a receiver that does not
/// know every field of an item computes the same digest as the sender.
#[must_use]
pub fn digest_of_parts<'a, B: AsRef<[u8]> + Ord>(
    parts: impl IntoIterator<Item = (&'a str, B)>,
) -> Digest {
    let mut parts: Vec<(&str, B)> = parts.into_iter().collect();
    parts.sort_unstable();
    let mut hash = Sha256::new();
    for (assignment, item) in &parts {
        for bytes in [assignment.as_bytes(), item.as_ref()] {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        }
    }
    Digest(hash.finalize().into())
}

/// The digest of options, as a Report says which it speaks of. Never zero.
#[must_use]
pub fn options_digest(options: &ApplyOptions) -> u64 {
    let digest = Digest::of(&options.encode_to_vec());
    let bytes = digest.0[..8].try_into().expect("32 bytes hold 8");
    u64::from_be_bytes(bytes).max(1)
}

/// The digest of a Report's content: all of it but `seq` and `observed_at`.
#[must_use]
pub fn report_digest(report: &Report) -> u64 {
    let content = Report {
        seq: 0,
        observed_at: None,
        ..report.clone()
    };
    let digest = Digest::of(&content.encode_to_vec());
    u64::from_be_bytes(digest.0[..8].try_into().expect("32 bytes hold 8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str) -> DesiredItem {
        DesiredItem {
            assignment: name.into(),
            ..DesiredItem::default()
        }
    }

    #[test]
    fn order_does_not_count_but_content_does() {
        let t = Tombstone {
            assignment: "c".into(),
        };
        let one = desired_digest(&[item("a"), item("b")], std::slice::from_ref(&t));
        let two = desired_digest(&[item("b"), item("a")], std::slice::from_ref(&t));
        assert_eq!(one, two);
        assert_ne!(one, desired_digest(&[item("a"), item("b")], &[]));
        assert_ne!(one, desired_digest(&[item("a"), item("b"), item("c")], &[]));
    }

    #[test]
    fn a_report_is_the_same_whenever_it_is_sent() {
        let report = Report {
            seq: 1,
            assignment: "a".into(),
            ..Report::default()
        };
        let later = Report {
            seq: 9,
            observed_at: Some(pbjson_types::Timestamp::default()),
            ..report.clone()
        };
        assert_eq!(report_digest(&report), report_digest(&later));
    }
}

//! What to tell an agent, from what it holds and what the hub wants: pure.

use lockstep_proto::desired::desired_digest;
use lockstep_proto::{Digest, v1};

use crate::status::Desired;
use crate::store::DesiredRow;

/// Versions grow by one with each change; nothing but a lie comes near this,
/// and a cluster whose version ran out could never be told anything again.
pub const MAX_VERSION: u64 = 1 << 48;

/// The digest of no desired state, for what cannot be read as one.
pub const NO_DIGEST: Digest = Digest([0; 32]);

/// The desired state that an agent holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub version: u64,
    /// None where the hub itself sent that version in this session.
    pub digest: Option<Digest>,
}

/// See [`reply`].
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// The agent holds what the hub wants.
    Nothing,
    /// The agent holds a version that this hub never gave out, so the hub was
    /// restored from a backup: make the cluster's version at least this, then
    /// ask again as for an agent that holds nothing. Else it would take what is
    /// new for something old.
    Raise(u64),
    /// Send this.
    State(State),
}

/// A desired state to send.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    pub version: u64,
    /// Zero for a snapshot.
    pub base: u64,
    pub digest: Digest,
    pub items: Vec<v1::DesiredItem>,
    pub tombstones: Vec<v1::Tombstone>,
}

/// What to say to an agent that holds `held`.
#[must_use]
pub fn reply(wanted: &Desired, held: Held) -> Reply {
    if held.version > wanted.version {
        return Reply::Raise(held.version + 1);
    }
    let (items, tombstones) = messages(wanted.rows.iter());
    let digest = desired_digest(&items, &tombstones);
    let same = wanted.version == 0 || held.digest.is_none_or(|held| held == digest);
    if held.version == wanted.version && same {
        return Reply::Nothing;
    }
    let delta = (1..wanted.version).contains(&held.version) && held.version >= wanted.floor;
    let (base, items, tombstones) = if delta {
        let newer = wanted.rows.iter().filter(|row| row.version > held.version);
        let (items, tombstones) = messages(newer);
        (held.version, items, tombstones)
    } else {
        (0, items, tombstones)
    };
    Reply::State(State {
        version: wanted.version,
        base,
        digest,
        items,
        tombstones,
    })
}

fn messages<'a>(
    rows: impl Iterator<Item = &'a DesiredRow>,
) -> (Vec<v1::DesiredItem>, Vec<v1::Tombstone>) {
    let (mut items, mut tombstones) = (Vec::new(), Vec::new());
    for row in rows {
        let assignment = row.assignment.to_string();
        if row.tombstone {
            tombstones.push(v1::Tombstone { assignment });
        } else {
            items.push(v1::DesiredItem {
                assignment,
                bundle_digest: row.digest.to_string(),
                revision: row.revision.to_string(),
                options: Some(v1::ApplyOptions::clone(&row.options)),
            });
        }
    }
    (items, tombstones)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lockstep_proto::ClusterName;
    use proptest::prelude::*;

    use super::*;

    fn row(name: &str, version: u64, content: u8, tombstone: bool) -> DesiredRow {
        DesiredRow {
            cluster: ClusterName::new("eu-1").unwrap(),
            assignment: name.into(),
            version,
            digest: Digest::of(&[content]),
            revision: "f".repeat(40).into(),
            options: std::sync::Arc::default(),
            tombstone,
        }
    }

    fn empty() -> Desired {
        Desired {
            version: 0,
            floor: 0,
            rows: Vec::new(),
        }
    }

    fn wanted() -> Desired {
        Desired {
            version: 7,
            floor: 3,
            rows: vec![
                row("a", 2, 1, false),
                row("b", 5, 1, false),
                row("c", 7, 1, true),
            ],
        }
    }

    fn digest_of(wanted: &Desired) -> Digest {
        let (items, tombstones) = messages(wanted.rows.iter());
        desired_digest(&items, &tombstones)
    }

    /// What is sent to who holds `version`: base, items, tombstones.
    fn sent(wanted: &Desired, version: u64, digest: Option<Digest>) -> (u64, String, String) {
        let Reply::State(state) = reply(wanted, Held { version, digest }) else {
            panic!("nothing is sent");
        };
        assert_eq!(state.version, wanted.version);
        assert_eq!(state.digest, digest_of(wanted));
        let items: Vec<_> = state.items.into_iter().map(|i| i.assignment).collect();
        let tombstones: Vec<_> = state.tombstones.into_iter().map(|t| t.assignment).collect();
        (state.base, items.join(" "), tombstones.join(" "))
    }

    #[test]
    fn who_holds_the_same_is_told_nothing() {
        let wanted = wanted();
        for digest in [Some(digest_of(&wanted)), None] {
            assert_eq!(reply(&wanted, Held { version: 7, digest }), Reply::Nothing);
        }
    }

    #[test]
    fn another_content_under_the_same_version_is_replaced() {
        let whole = (0, "a b".to_owned(), "c".to_owned());
        assert_eq!(sent(&wanted(), 7, Some(Digest::of(b"else"))), whole);
    }

    #[test]
    fn a_known_base_gets_what_changed_since() {
        assert_eq!(sent(&wanted(), 6, None), (6, String::new(), "c".into()));
        assert_eq!(sent(&wanted(), 3, None), (3, "b".into(), "c".into()));
    }

    #[test]
    fn a_base_before_a_row_was_removed_gets_a_snapshot() {
        let whole = (0, "a b".to_owned(), "c".to_owned());
        assert_eq!(sent(&wanted(), 2, None), whole);
        assert_eq!(sent(&wanted(), 0, Some(Digest::of(b""))), whole);
    }

    #[test]
    fn a_version_from_the_future_raises_ours_and_then_gets_a_snapshot() {
        let mut wanted = wanted();
        let held = Held {
            version: 12,
            digest: Some(Digest::of(b"x")),
        };
        assert_eq!(reply(&wanted, held), Reply::Raise(13));
        wanted.version = 13;
        assert_eq!(sent(&wanted, 0, None), (0, "a b".into(), "c".into()));
    }

    #[test]
    fn a_cluster_that_was_never_told_anything_is_told_nothing() {
        let held = Held {
            version: 0,
            digest: Some(NO_DIGEST),
        };
        assert_eq!(reply(&empty(), held), Reply::Nothing);
    }

    proptest! {
        /// An agent that applies what it is sent to what it holds ends up with
        /// what the hub wants, whatever happened to the rows in between.
        #[test]
        fn applying_what_is_sent_leads_to_what_is_wanted(
            steps in prop::collection::vec(("[a-d]", 0_u8..4), 1..20),
            joined in 0_usize..20,
        ) {
            let mut hub = empty();
            let mut rows: BTreeMap<String, DesiredRow> = BTreeMap::new();
            let mut held = empty();
            for (i, (name, step)) in steps.into_iter().enumerate() {
                hub.version += 1;
                match step {
                    0 => if rows.remove(&name).is_some() { hub.floor = hub.version },
                    1 => { rows.insert(name.clone(), row(&name, hub.version, 0, true)); }
                    content => {
                        rows.insert(name.clone(), row(&name, hub.version, content, false));
                    }
                }
                hub.rows = rows.values().cloned().collect();
                if i == joined {
                    held = hub.clone();
                }
            }
            let digest = Some(digest_of(&held));
            let mut agent: BTreeMap<String, Option<v1::DesiredItem>> = BTreeMap::new();
            let (items, tombstones) = messages(held.rows.iter());
            let put = |agent: &mut BTreeMap<_, _>, items: Vec<v1::DesiredItem>,
                       tombstones: Vec<v1::Tombstone>| {
                agent.extend(items.into_iter().map(|i| (i.assignment.clone(), Some(i))));
                agent.extend(tombstones.into_iter().map(|t| (t.assignment, None)));
            };
            put(&mut agent, items, tombstones);
            match reply(&hub, Held { version: held.version, digest }) {
                Reply::State(state) => {
                    if state.base == 0 {
                        agent.clear();
                    }
                    put(&mut agent, state.items, state.tombstones);
                }
                Reply::Nothing => {}
                Reply::Raise(_) => prop_assert!(false),
            }
            let items: Vec<_> = agent.values().flatten().cloned().collect();
            let tombstones: Vec<_> = agent.into_iter().filter(|(_, item)| item.is_none())
                .map(|(assignment, _)| v1::Tombstone { assignment }).collect();
            prop_assert_eq!(desired_digest(&items, &tombstones), digest_of(&hub));
        }
    }
}

//! Puts a desired state together from the parts that it comes in. Pure.

use lockstep_proto::Digest;

use crate::desired::{Held, Part};

/// What an agent accepts of one desired state: guards it against a hub that
/// has lost its mind.
const ASSIGNMENTS: usize = 10_000;

/// Why the parts do not make a state. The cure is the same for all of them: a
/// new session that asks for a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Diverged {
    #[error("version {version} is a change to version {base}, and this agent holds {held}")]
    Base { version: u64, base: u64, held: u64 },
    #[error("version {version} should have digest {said:?}, and what arrived has {found}")]
    Digest {
        version: u64,
        said: String,
        found: Digest,
    },
    #[error("version {version} cannot be read: {cause}")]
    Item { version: u64, cause: String },
    #[error("version {0} is of more than {ASSIGNMENTS} assignments")]
    TooLarge(u64),
}

/// The state that is arriving, if one is.
#[derive(Debug, Default)]
pub struct Assembly {
    draft: Option<Held>,
}

impl Assembly {
    /// Adds a part to what is arriving on top of `held`. Gives the state when
    /// it is complete. A part of another version begins anew: the hub has
    /// something newer to say.
    ///
    /// # Errors
    /// [`Diverged`]; nothing is kept of what had arrived.
    pub fn take(&mut self, held: &Held, part: Part) -> Result<Option<Held>, Diverged> {
        let version = part.version;
        let mut draft = match self.draft.take().filter(|draft| draft.version == version) {
            Some(draft) => draft,
            None if part.base == 0 => Held::default(),
            None if part.base == held.version => held.clone(),
            None => {
                return Err(Diverged::Base {
                    version,
                    base: part.base,
                    held: held.version,
                });
            }
        };
        draft.version = version;
        let (last, said) = (part.last, part.digest.clone());
        draft.merge(part).map_err(|error| Diverged::Item {
            version,
            cause: error.to_string(),
        })?;
        if draft.len() > ASSIGNMENTS {
            return Err(Diverged::TooLarge(version));
        }
        if !last {
            self.draft = Some(draft);
            return Ok(None);
        }
        let found = draft.digest();
        if said == found.to_string() {
            Ok(Some(draft))
        } else {
            Err(Diverged::Digest {
                version,
                said,
                found,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_proto::desired::desired_digest;
    use lockstep_proto::v1::{DesiredItem, Tombstone};
    use proptest::prelude::*;
    use prost::Message as _;
    use std::collections::BTreeMap;

    /// What a hub wants: by Assignment the revision, or nothing for a tombstone.
    type Wanted = BTreeMap<u8, Option<u8>>;

    fn item(assignment: u8, revision: u8) -> DesiredItem {
        DesiredItem {
            assignment: format!("a{assignment}"),
            bundle_digest: Digest::of(&[revision]).to_string(),
            revision: revision.to_string(),
            options: None,
        }
    }

    fn tombstone(assignment: u8) -> Tombstone {
        Tombstone {
            assignment: format!("a{assignment}"),
        }
    }

    /// `said` of `wanted`, cut into parts of at most `size`.
    fn parts(version: u64, base: u64, said: &Wanted, wanted: &Wanted, size: usize) -> Vec<Part> {
        let entries: Vec<_> = said.iter().collect();
        let mut parts: Vec<Part> = entries
            .chunks(size)
            .map(|chunk| {
                let mut part = Part {
                    version,
                    base,
                    ..Part::default()
                };
                for (assignment, revision) in chunk {
                    match revision {
                        Some(revision) => part
                            .items
                            .push(item(**assignment, *revision).encode_to_vec().into()),
                        None => part.tombstones.push(tombstone(**assignment)),
                    }
                }
                part
            })
            .collect();
        if parts.is_empty() {
            parts.push(Part {
                version,
                base,
                ..Part::default()
            });
        }
        let items: Vec<_> = wanted
            .iter()
            .filter_map(|(a, r)| r.map(|r| item(*a, r)))
            .collect();
        let gone = wanted.iter().filter(|(_, r)| r.is_none());
        let gone: Vec<_> = gone.map(|(a, _)| tombstone(*a)).collect();
        let last = parts.last_mut().expect("there is one");
        last.last = true;
        last.digest = desired_digest(&items, &gone).to_string();
        parts
    }

    fn named(wanted: &Wanted) -> (Vec<String>, Vec<String>) {
        let of = |gone: bool| {
            let some = wanted.iter().filter(move |(_, r)| r.is_none() == gone);
            some.map(|(a, _)| format!("a{a}")).collect::<Vec<_>>()
        };
        (of(false), of(true))
    }

    proptest! {
        /// Whatever the hub changes, in whatever pieces it arrives, and however
        /// often a state is cut short by a newer one: what is held is what the
        /// hub wanted at some version, whole.
        #[test]
        fn the_agent_holds_whole_states_and_nothing_else(
            changes in proptest::collection::vec(
                (
                    proptest::collection::btree_map(0_u8..10, proptest::option::of(any::<u8>()), 0..6),
                    1_usize..4,
                    any::<bool>(),
                    any::<bool>(),
                ),
                1..12,
            )
        ) {
            let mut wanted = Wanted::new();
            let mut held = Held::default();
            let mut held_wanted = Wanted::new();
            let mut assembly = Assembly::default();
            for (version, (change, size, snapshot, cut_short)) in (1..).zip(changes) {
                wanted.extend(change);
                let parts = if snapshot || held.version == 0 {
                    parts(version, 0, &wanted, &wanted, size)
                } else {
                    let differs = |a: &u8, r: &Option<u8>| held_wanted.get(a) != Some(r);
                    let delta = wanted.iter().filter(|(a, r)| differs(a, r));
                    let delta = delta.map(|(a, r)| (*a, *r)).collect();
                    parts(version, held.version, &delta, &wanted, size)
                };
                let sent = parts.len() - usize::from(cut_short);
                for part in parts.into_iter().take(sent) {
                    if let Some(state) = assembly.take(&held, part).unwrap() {
                        held = state;
                        held_wanted.clone_from(&wanted);
                    }
                }
                prop_assert_eq!(held.version == version, !cut_short);
                let desired = held.desired();
                let found: (Vec<_>, Vec<_>) = (
                    desired.items.into_keys().collect(),
                    desired.tombstones.into_iter().collect(),
                );
                prop_assert_eq!(found, named(&held_wanted));
            }
        }

        #[test]
        fn damaged_bytes_are_never_a_state(at in any::<prop::sample::Index>(), bit in 0_u32..8) {
            let wanted = Wanted::from([(1, Some(1)), (2, None), (3, Some(3))]);
            let part = parts(7, 0, &wanted, &wanted, 9).remove(0);
            let held = Assembly::default().take(&Held::default(), part).unwrap().unwrap();
            let mut bytes = held.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            if let Ok(other) = Held::decode(&bytes) {
                // Only what the digest does not cover may differ unnoticed.
                prop_assert_eq!(other.digest(), held.digest());
            }
        }
    }
}

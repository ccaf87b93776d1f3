//! What would become of the objects that a Bundle no longer lists: by the same
//! rules as when it is applied, on a copy of the Inventory.

use std::sync::Arc;

use lockstep_proto::Digest;

use crate::apply::fate::{Blocked, Fate, Fates};
use crate::apply::next::Surroundings;
use crate::apply::{Goal, Target};
use crate::cluster::KindMap;
use crate::inventory::{Inventory, ObjectId, Presence};

/// An object of the Inventory that the Bundle does not list.
#[derive(Debug, PartialEq, Eq)]
pub struct Going {
    pub id: ObjectId,
    pub api_version: Arc<str>,
    pub deleted: bool,
    /// What there is to say beside that.
    pub note: String,
}

/// As far as is known, what stands in `inventory` now, with only what `wanted`
/// says wanted of it.
#[must_use]
pub fn aimed<'a>(
    inventory: &Inventory,
    wanted: impl Iterator<Item = (&'a ObjectId, &'a str)>,
) -> Inventory {
    // Which content it is does not matter here.
    let some = Digest([0; 32]);
    let mut copy = Inventory::new(&inventory.assignment);
    copy.settled.clone_from(&inventory.settled);
    for (id, item) in inventory.iter() {
        if item.presence != Presence::Absent {
            copy.want(id, &item.api_version, some, item.traits.clone());
        }
    }
    copy.intend();
    copy.want_nothing();
    for (id, item) in copy.iter_mut() {
        if let Some(known) = inventory.get(id) {
            (item.presence, item.ours) = (known.presence, known.ours);
        }
    }
    for (id, api_version) in wanted {
        let traits = copy.get(id).and_then(|item| item.traits.clone());
        copy.want(id, api_version, some, traits);
    }
    copy
}

/// Of what is not wanted any more, what would become of it. Sorted, so that
/// clusters that are alike say the same. Nothing where nothing is pruned: then
/// nothing happens to it.
#[must_use]
pub fn going(target: &Target, inventory: &Inventory, kinds: &KindMap) -> Vec<Going> {
    if !target.prune {
        return Vec::new();
    }
    let goal = Goal::Keep(target.clone());
    let around = Surroundings::new(inventory, kinds);
    let fates = Fates::new(&goal, inventory, &around);
    let stop = fates.blocked().map(|blocked| words(target, &blocked));
    let mut going: Vec<_> = inventory
        .iter()
        .filter(|(_, item)| item.wanted.is_none())
        .map(|(id, item)| {
            let (deleted, note) = match fates.of(id, item) {
                Fate::Delete => (true, stop.clone().unwrap_or_default()),
                Fate::Leave(why) => (false, why.words(id)),
            };
            Going {
                id: id.clone(),
                api_version: Arc::clone(&item.api_version),
                deleted,
                note,
            }
        })
        .collect();
    going.sort_by(|a, b| a.id.cmp(&b.id));
    going
}

fn words(target: &Target, blocked: &Blocked) -> String {
    let Blocked { unwanted, base, .. } = blocked;
    match &blocked.cap {
        Some(cap) => format!("would stay: {unwanted} of {base} objects are more than {cap} allows"),
        None => format!(
            "would wait for `lockstep approve`: {unwanted} of {base} objects are more than \
             spec.sync.maxPrune ({}) allows",
            target.max_prune
        ),
    }
}

//! Whether the cluster and the status are as they should be.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use lockstep_proto::v1::drift::Policy;
use lockstep_proto::v1::sync::Status as Sync;
use serde_json::Value;

use crate::model::{ASSIGNMENTS, Hand, SLOTS, State};
use crate::world::World;

const LABEL: &str = "lockstep.dev/assignment";

/// What stored Inventories list: (assignment, kind, namespace, name).
fn listed(world: &World) -> Result<BTreeSet<(String, String, String, String)>> {
    let mut all = BTreeSet::new();
    for map in world.sandbox.list("v1", "ConfigMap", "lockstep-system") {
        let assignment = map["metadata"]["labels"][LABEL]
            .as_str()
            .unwrap_or("")
            .to_owned();
        let packed = map["binaryData"]["items.jsonl.zst"].as_str();
        let packed = packed.with_context(|| format!("no inventory: {map}"))?;
        let packed = base64::engine::general_purpose::STANDARD.decode(packed)?;
        for line in zstd::decode_all(&*packed)?.split(|byte| *byte == b'\n') {
            if line.is_empty() {
                continue;
            }
            let line: Value = serde_json::from_slice(line)?;
            let text = |name: &str| line[name].as_str().unwrap_or("").to_owned();
            all.insert((
                assignment.clone(),
                text("kind"),
                text("namespace"),
                text("name"),
            ));
        }
    }
    Ok(all)
}

/// Whatever is labelled as ours stands in a stored Inventory: at every moment,
/// whenever the agent dies.
pub fn nothing_leaked(world: &World) -> Result<()> {
    let listed = listed(world)?;
    for (slot, at) in SLOTS.iter().enumerate() {
        let Some(object) = world.get(slot) else {
            continue;
        };
        if object["metadata"]["labels"].get(LABEL).is_some() {
            let known = listed.iter().any(|(_, kind, namespace, name)| {
                (&**kind, &**namespace, &**name) == (at.kind, at.namespace, at.name)
            });
            ensure!(known, "{} leaked; listed: {listed:?}", at.path());
        }
    }
    Ok(())
}

/// The first thing that is not as it should be.
pub fn wrong(world: &World) -> Option<String> {
    for (owner, name) in ASSIGNMENTS.iter().enumerate() {
        if let Some(wrong) = wrong_report(world, owner) {
            return Some(format!("report of {name}: {wrong}"));
        }
    }
    for (slot, at) in SLOTS.iter().enumerate() {
        if let Some(wrong) = wrong_object(world, slot) {
            return Some(format!("{}: {wrong}", at.path()));
        }
    }
    match listed(world) {
        Ok(listed) => {
            let wanted = world
                .model
                .wants
                .iter()
                .zip(SLOTS)
                .filter_map(|(want, at)| {
                    let text = str::to_owned;
                    let owner = ASSIGNMENTS[want.owner?];
                    Some((
                        text(owner),
                        text(at.kind),
                        text(at.namespace),
                        text(at.name),
                    ))
                });
            let wanted: BTreeSet<_> = wanted.collect();
            (listed != wanted).then(|| format!("inventories list {listed:?}, wanted {wanted:?}"))
        }
        Err(error) => Some(format!("{error:#}")),
    }
}

fn wrong_object(world: &World, slot: usize) -> Option<String> {
    let object = world.get(slot);
    let label = object.as_ref().and_then(|object| {
        object["metadata"]["labels"]
            .get(LABEL)?
            .as_str()
            .map(str::to_owned)
    });
    let hand = world.model.hands[slot];
    match world.model.states[slot] {
        State::Absent => object.map(|_| "it is still there".to_owned()),
        State::Ours(_) if hand == Some(Hand::Deleted) => {
            object.map(|_| "it was made again, against drift policy".to_owned())
        }
        State::Left => match (object, label) {
            (None, _) => Some("it is gone, and should have been left".to_owned()),
            (Some(_), Some(label)) => Some(format!("it is still labelled {label}")),
            _ => None,
        },
        State::Ours(owner) => {
            let Some(object) = object else {
                return Some("it is not there".to_owned());
            };
            if label.as_deref() != Some(ASSIGNMENTS[owner]) {
                return Some(format!("it is labelled {label:?}"));
            }
            let notes = &object["metadata"]["annotations"];
            let wanted = match hand {
                Some(Hand::Edited) => "by hand".to_owned(),
                _ => world.model.wants[slot].content.to_string(),
            };
            if notes["content"] != wanted.as_str() {
                return Some(format!("it holds {}, wanted {wanted}", notes["content"]));
            }
            let uid = object["metadata"]["uid"].as_str().unwrap_or("");
            let theirs = world.theirs.contains_key(uid);
            (theirs && notes["theirs"] != "x").then(|| "what others added is gone".to_owned())
        }
    }
}

fn wrong_report(world: &World, owner: usize) -> Option<String> {
    let reports = world.reports.lock();
    let report = reports.get(ASSIGNMENTS[owner]);
    let Some(digest) = world.digests.get(&owner) else {
        let removed = report.is_some_and(|report| report.removed);
        return (world.model.known[owner] && !removed).then(|| format!("{report:?}"));
    };
    let Some(report) = report else {
        return Some("none".to_owned());
    };
    let mine = || (0..SLOTS.len()).filter(|slot| world.model.wants[*slot].owner == Some(owner));
    let drifted = mine()
        .filter(|slot| world.model.policy(*slot) == Policy::Report)
        .filter(|slot| world.model.hands[*slot].is_some())
        .count();
    let sync = if drifted > 0 {
        Sync::OutOfSync
    } else {
        Sync::Synced
    };
    let so = report.sync() == sync
        && report.applied_digest == digest.to_string()
        && report.target_digest == digest.to_string()
        && usize::try_from(report.objects).ok() == Some(mine().count())
        && usize::try_from(report.drifted).ok() == Some(drifted);
    (!so).then(|| format!("{report:?}, wanted {sync:?} with {drifted} drifted"))
}

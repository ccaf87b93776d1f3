//! Compares a Bundle's index with the Inventory: what is wanted, in which
//! namespace, and what can be neither applied nor looked up yet.

use std::sync::Arc;

use lockstep_proto::Digest;
use lockstep_proto::bundle::IndexEntry;
use tokio::time::Instant;

use super::Target;
use super::send::NEVER;
use crate::bundle::{Asked, Listed};
use crate::cluster::KindMap;
use crate::inventory::registry::{Registry, Shared};
use crate::inventory::{Contested, Inventory, ObjectId, Unresolved};

/// Makes `entries` what `shared` wants, and nothing else.
pub fn aim(
    registry: &Registry,
    shared: &Shared,
    target: &Target,
    entries: Vec<Listed>,
    kinds: &KindMap,
) {
    shared.inventory.lock().want_nothing();
    take(registry, shared, target, entries, kinds);
    shared.inventory.lock().aimed = true;
    registry.has_aimed();
}

/// Tries again to make items of what could not be resolved.
pub fn resolve(registry: &Registry, shared: &Shared, target: &Target, kinds: &KindMap) {
    let unresolved = std::mem::take(&mut shared.inventory.lock().unresolved);
    let entries = unresolved.into_iter().map(|u| u.listed).collect();
    take(registry, shared, target, entries, kinds);
}

/// Takes what others have let go of. True where that was something.
pub fn claim(registry: &Registry, shared: &Shared) -> bool {
    let _claiming = registry.claims.lock();
    let (assignment, ids) = {
        let inventory = shared.inventory.lock();
        let ids: Vec<_> = inventory.contested.keys().cloned().collect();
        (Arc::clone(&inventory.assignment), ids)
    };
    let held = registry.held_by_others(&assignment, &ids);
    let left = registry.left_by_others(&assignment, &ids);
    let mut inventory = shared.inventory.lock();
    let mut claimed = false;
    for id in ids {
        if let Some(owner) = held.get(&id) {
            if let Some(contested) = inventory.contested.get_mut(&id) {
                contested.owner = Arc::clone(owner);
            }
        } else if let Some(free) = inventory.contested.remove(&id) {
            want(
                &mut inventory,
                &id,
                &free.api_version,
                free.wanted,
                free.traits,
            );
            if left.contains(&id) {
                inventory.take_over(&id);
            }
            claimed = true;
        }
    }
    claimed
}

fn take(
    registry: &Registry,
    shared: &Shared,
    target: &Target,
    entries: Vec<Listed>,
    kinds: &KindMap,
) {
    let _claiming = registry.claims.lock();
    let mut inventory = shared.inventory.lock();
    let assignment = Arc::clone(&inventory.assignment);
    let mut resolved = Vec::with_capacity(entries.len());
    for listed in entries {
        match identify(&mut inventory, &listed.entry, &target.namespace, kinds) {
            Ok(id) => resolved.push((id, listed)),
            Err(why) => inventory.unresolved.push(Unresolved { listed, why }),
        }
    }
    // Only what is new to us can be somebody else's.
    let new: Vec<_> = resolved
        .iter()
        .filter(|(id, _)| inventory.get(id).is_none_or(|item| item.applied.is_none()))
        .map(|(id, _)| id.clone())
        .collect();
    drop(inventory);
    let held = registry.held_by_others(&assignment, &new);
    let left = registry.left_by_others(&assignment, &new);
    let mut inventory = shared.inventory.lock();
    for (id, Listed { entry, traits }) in resolved {
        let api_version = &entry.key.api_version;
        let known = inventory.get(&id).is_some_and(|item| item.wanted.is_some());
        if known || inventory.contested.contains_key(&id) {
            inventory.doubled.push(id.say(api_version));
        } else if let Some(owner) = held.get(&id) {
            let contested = Contested {
                api_version: inventory.word(api_version),
                wanted: entry.sha256,
                traits,
                owner: Arc::clone(owner),
            };
            inventory.contested.insert(id, contested);
        } else {
            want(&mut inventory, &id, api_version, entry.sha256, traits);
            if left.contains(&id) {
                inventory.take_over(&id);
            }
        }
    }
}

/// What asks for nonsense is wanted all the same, so that nobody prunes it; it
/// fails until it asks for something else.
fn want(
    inventory: &mut Inventory,
    id: &ObjectId,
    api_version: &str,
    wanted: Digest,
    traits: Asked,
) {
    let (traits, nonsense) = match traits {
        Ok(traits) => (traits, None),
        Err(words) => (None, Some(words)),
    };
    inventory.want(id, api_version, wanted, traits);
    if let Some(words) = nonsense
        && let Some(item) = inventory.get_mut(id)
    {
        // No attempt mends what only another commit can.
        item.failed(&words, Instant::now() + NEVER);
    }
}

/// The object that `entry` means, in `namespace` where it is namespaced and
/// names none.
///
/// # Errors
/// In words, where the cluster does not serve its kind.
pub fn identify(
    inventory: &mut Inventory,
    entry: &IndexEntry,
    namespace: &str,
    kinds: &KindMap,
) -> Result<ObjectId, String> {
    let key = &entry.key;
    let Some(resource) = kinds.exact(&key.api_version, &key.kind) else {
        let served: Vec<_> = kinds
            .versions(key.group(), &key.kind)
            .iter()
            .map(|resource| resource.api_version())
            .collect();
        return Err(if served.is_empty() {
            format!(
                "the cluster serves no kind {} in {}: is its CustomResourceDefinition missing?",
                key.kind, key.api_version
            )
        } else {
            format!(
                "the cluster does not serve {} in {}, only in {}",
                key.kind,
                key.api_version,
                served.join(", ")
            )
        });
    };
    let namespace = match key.namespace.as_str() {
        _ if !resource.namespaced => "",
        "" => namespace,
        named => named,
    };
    Ok(inventory.id(key.group(), &key.kind, namespace, &key.name))
}

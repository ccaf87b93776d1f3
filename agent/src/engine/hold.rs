//! A new target waits until the Assignments that it depends on are Synced and
//! Healthy here. Meanwhile what is applied is kept as it is.

use std::sync::Arc;

use super::worker::Worker;
use crate::apply::{Goal, Target};
use crate::inventory::Inventory;

impl Worker {
    /// Returns when `target` may begin. What was begun is not held.
    pub(super) async fn hold(&mut self, goal: &Goal, target: &Target) {
        let depends_on = &target.policy.depends_on;
        let registry = Arc::clone(&self.around.registry);
        let shared = Arc::clone(&self.shared);
        let name = Arc::clone(&self.name);
        let kept = {
            let inventory = shared.inventory.lock();
            let begun = inventory.has_reached(target) || inventory.has_begun(target.digest);
            if begun || target.policy.paused {
                return;
            }
            kept(&inventory, target)
        };
        if registry.unmet(&name, depends_on).is_none() {
            return;
        }
        self.held = Some(goal.clone());
        let met = registry.met(&name, depends_on, || shared.changed.notify_one());
        tokio::select! {
            biased;
            () = met => {}
            () = self.pursue(&kept) => {}
        }
        self.begin();
    }

    /// What the goal that is held waits for.
    pub(super) fn unmet(&self) -> Option<String> {
        let target = self.held.as_ref()?.target()?;
        let registry = &self.around.registry;
        registry.unmet(&self.name, &target.policy.depends_on)
    }
}

/// What to keep while `target` is held: what was settled, or, where something
/// else was begun since, whatever there is, as it is.
fn kept(inventory: &Inventory, target: &Target) -> Goal {
    let mut kept = target.clone();
    kept.policy.paused = !inventory.is_settled_whole();
    if let Some(settled) = &inventory.settled {
        kept.digest = settled.digest;
        kept.revision.clone_from(&settled.revision);
        kept.namespace.clone_from(&settled.namespace);
    }
    Goal::Keep(kept)
}

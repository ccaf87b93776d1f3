//! Whether the hub is ready: when everything that had to start has started,
//! and nothing has begun to stop.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

/// Ready when nobody holds an [`Unready`]. Cheap to clone.
#[derive(Clone, Default)]
pub struct Readiness(Arc<Mutex<BTreeSet<&'static str>>>);

/// Keeps the hub unready while it lives.
#[must_use]
pub struct Unready {
    what: &'static str,
    of: Readiness,
}

impl Readiness {
    /// The hub is not ready until the answer is dropped. `what` in words, one
    /// of a kind.
    pub fn wait_for(&self, what: &'static str) -> Unready {
        self.0.lock().insert(what);
        Unready {
            what,
            of: self.clone(),
        }
    }

    /// What it waits for.
    #[must_use]
    pub fn waiting(&self) -> Vec<&'static str> {
        self.0.lock().iter().copied().collect()
    }
}

impl Drop for Unready {
    fn drop(&mut self) {
        self.of.0.lock().remove(self.what);
    }
}

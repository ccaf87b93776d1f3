//! One copy of each string that many rows share: names of groups and
//! assignments, revisions, versions, labels.

use std::collections::HashSet;
use std::sync::Arc;

#[derive(Default)]
pub(super) struct Names {
    known: HashSet<Arc<str>>,
    /// Those that nobody holds any more are dropped when this many are known.
    sweep_at: usize,
}

impl Names {
    pub fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|name| Arc::strong_count(name) > 1);
            self.sweep_at = 1024.max(self.known.len() * 2);
        }
        let name: Arc<str> = text.into();
        self.known.insert(name.clone());
        name
    }
}

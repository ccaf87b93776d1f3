//! Which keys changed since a reader last looked: each key once, at its latest
//! version. A reader that is slow finds fewer, later states, and costs the
//! writers nothing.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;

/// Deleted keys that are remembered. A reader that is further behind compares
/// what it has sent with what is there.
const DELETED: usize = 1024;

pub(super) struct Changes<K> {
    by_version: BTreeMap<u64, K>,
    versions: HashMap<K, u64>,
    deleted: VecDeque<(u64, K)>,
    /// Deletions up to this version may be forgotten.
    horizon: u64,
}

impl<K> Default for Changes<K> {
    fn default() -> Self {
        Self {
            by_version: BTreeMap::new(),
            versions: HashMap::new(),
            deleted: VecDeque::new(),
            horizon: 0,
        }
    }
}

impl<K: Clone + Eq + Hash> Changes<K> {
    /// `version` is larger than any before.
    pub fn changed(&mut self, key: K, version: u64) {
        if let Some(before) = self.versions.insert(key.clone(), version) {
            self.by_version.remove(&before);
        }
        self.by_version.insert(version, key);
    }

    pub fn deleted(&mut self, key: K, version: u64) {
        if let Some(before) = self.versions.remove(&key) {
            self.by_version.remove(&before);
        }
        self.deleted.push_back((version, key));
        if self.deleted.len() > DELETED
            && let Some((version, _)) = self.deleted.pop_front()
        {
            self.horizon = version;
        }
    }

    /// Keys that exist and changed after `version`, oldest change first.
    pub fn changed_since(&self, version: u64) -> impl Iterator<Item = (u64, &K)> {
        self.by_version
            .range(version.saturating_add(1)..)
            .map(|(version, key)| (*version, key))
    }

    /// Keys deleted after `version`, some of which may exist again. None where
    /// that is longer ago than is remembered.
    pub fn deleted_since(&self, version: u64) -> Option<impl Iterator<Item = &K>> {
        (version >= self.horizon).then(|| {
            self.deleted
                .iter()
                .filter(move |(at, _)| *at > version)
                .map(|(_, key)| key)
        })
    }
}

//! What stands between reconcilers: a set of keys that somebody should look at
//! again. A set, not a queue, because what counts is the state at the time of
//! looking: marking twice is marking once, so it cannot outgrow its keys
//! however fast they change.

use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Keys that somebody should look at again. Clones share one set.
pub struct Dirty<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    keys: Mutex<HashSet<K>>,
    marked: Notify,
}

impl<K: Eq + Hash> Dirty<K> {
    #[must_use]
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                keys: Mutex::new(HashSet::new()),
                marked: Notify::new(),
            }),
        }
    }

    pub fn mark(&self, key: K) {
        self.mark_all([key]);
    }

    /// Marks all of `keys` at once: whoever takes sees all of them or none.
    pub fn mark_all(&self, keys: impl IntoIterator<Item = K>) {
        let mut set = self.shared.keys.lock();
        set.extend(keys);
        let any = !set.is_empty();
        drop(set);
        if any {
            self.shared.marked.notify_one();
        }
    }

    /// Waits until a key is marked, then takes all of them. What is marked
    /// from then on is for the next call. Cancel-safe: a call that is dropped
    /// before it returns takes nothing.
    pub async fn take(&self) -> HashSet<K> {
        loop {
            let notified = self.shared.marked.notified();
            {
                let mut keys = self.shared.keys.lock();
                if !keys.is_empty() {
                    return std::mem::take(&mut *keys);
                }
            }
            notified.await;
        }
    }
}

impl<K> Clone for Dirty<K> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<K: Eq + Hash> Default for Dirty<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> fmt::Debug for Dirty<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dirty")
            .field("keys", &self.shared.keys.lock().len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures::poll;

    use super::*;

    #[tokio::test]
    async fn marking_twice_is_marking_once() {
        let dirty = Dirty::new();
        dirty.mark("a");
        dirty.mark("b");
        dirty.mark("a");
        assert_eq!(dirty.take().await, HashSet::from(["a", "b"]));
    }

    #[tokio::test]
    async fn taking_waits_for_a_mark_and_empties_the_set() {
        let dirty = Dirty::new();
        let other = dirty.clone();
        dirty.mark(1);
        dirty.take().await;
        let mut take = Box::pin(dirty.take());
        assert!(poll!(&mut take).is_pending());
        other.mark_all([2, 3]);
        assert_eq!(poll!(&mut take), Poll::Ready(HashSet::from([2, 3])));
    }

    #[tokio::test]
    async fn marking_nothing_wakes_nobody() {
        let dirty = Dirty::<u8>::new();
        let mut take = Box::pin(dirty.take());
        assert!(poll!(&mut take).is_pending());
        dirty.mark_all([]);
        assert!(poll!(&mut take).is_pending());
    }

    #[tokio::test]
    async fn a_dropped_taker_loses_no_mark() {
        let dirty = Dirty::new();
        let mut first = Box::pin(dirty.take());
        assert!(poll!(&mut first).is_pending());
        dirty.mark(1);
        drop(first);
        assert_eq!(dirty.take().await, HashSet::from([1]));
    }
}

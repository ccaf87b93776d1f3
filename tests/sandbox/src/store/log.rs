//! The newest changes of one resource, for watches to read at their own pace.

use std::collections::VecDeque;
use std::sync::Arc;

use super::object::Object;

/// Events kept a resource. A reader further behind lists again, as with a compacted etcd.
const MOST_EVENTS: usize = 4096;
/// Bytes kept a resource: a few large objects must not fill the memory.
const MOST_BYTES: usize = 16 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Modified,
    Deleted,
}

#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub revision: u64,
    pub change: Change,
    pub object: Arc<Object>,
    /// The object before: a watch with a selector must tell "left the selection" from "changed".
    pub before: Option<Arc<Object>>,
}

/// The asked revision is too old; carries the oldest that would do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gone(pub u64);

#[derive(Default)]
pub(super) struct Log {
    events: VecDeque<Event>,
    bytes: usize,
    /// Everything up to here was forgotten.
    forgotten: u64,
}

impl Log {
    pub(super) fn push(&mut self, event: Event) {
        self.bytes += event.object.bytes().len();
        self.events.push_back(event);
        while self.events.len() > MOST_EVENTS || (self.bytes > MOST_BYTES && self.events.len() > 1)
        {
            if let Some(old) = self.events.pop_front() {
                self.bytes -= old.object.bytes().len();
                self.forgotten = old.revision;
            }
        }
    }

    pub(super) fn since(&self, revision: u64) -> Result<Vec<Event>, Gone> {
        if revision < self.forgotten {
            return Err(Gone(self.forgotten));
        }
        let first = self
            .events
            .partition_point(|event| event.revision <= revision);
        Ok(self.events.range(first..).cloned().collect())
    }

    pub(super) fn compact(&mut self, revision: u64) {
        self.events.clear();
        self.bytes = 0;
        self.forgotten = revision;
    }
}

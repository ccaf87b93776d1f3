//! What happened to objects, on its way into the hub's history: drift, its
//! correction, adoptions and replacements. The engine records, and never
//! waits; the link sends; what the hub has not acknowledged stays on disk.
//!
//! It is a log, and so the one thing here that can overflow: it holds the
//! newest events, and says how many older ones were lost. No decision rests on
//! it, so that losing some costs history and nothing else.

mod file;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lockstep_proto::v1::{AgentMessage, ObjectEvent, agent_message};
use parking_lot::Mutex;
use pbjson_types::Timestamp;
use prost::Message as _;
use tokio::sync::Notify;

use crate::report::truncate;

/// Events that wait for the hub. At a few hundred bytes each, what a day
/// without a hub may cost in memory and on disk.
const ROOM: usize = 1_000;
/// Events under way at once: Reports do not wait behind more.
const WINDOW: usize = 32;
/// The contract's bound on a message of the session.
const MESSAGE_BYTES: usize = 4096;
/// Of an event's parts: with these, and without its fields, it fits.
const OBJECT_BYTES: usize = 1024;
const TEXT_BYTES: usize = 1024;
const NAME_BYTES: usize = 256;
const FIELD_BYTES: usize = 256;

/// Cheap to clone; all clones are one journal.
#[derive(Clone, Default)]
pub struct Journal {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// None where nothing is kept.
    path: Option<PathBuf>,
    state: Mutex<State>,
    /// Something may be sent.
    changed: Notify,
    /// Disk and memory differ.
    unkept: Notify,
}

/// What is kept, and how far the session is with it.
#[derive(Default)]
struct State {
    /// Not acknowledged, by growing id.
    events: VecDeque<ObjectEvent>,
    /// The id given last.
    last: u64,
    /// Events that went to make room, since the hub was last told.
    lost: u64,
    /// How many of them the hub was told of, by the event with this id.
    said: Option<(u64, u64)>,
    /// The id sent last in this session.
    sent: u64,
    /// Disk and memory differ.
    unkept: bool,
}

impl Journal {
    /// The journal in `data_dir`, for [`Journal::keep`] to write. One that is
    /// damaged counts as empty, and is said so. Blocks.
    ///
    /// # Errors
    /// What the file system says, with the path.
    pub fn open(data_dir: &Path) -> std::io::Result<Self> {
        let path = data_dir.join("journal.pb");
        let kept = file::read(&path)?;
        let state = State {
            events: kept.events.into(),
            last: kept.last,
            lost: kept.lost,
            ..State::default()
        };
        Ok(Self {
            shared: Arc::new(Shared {
                path: Some(path),
                state: Mutex::new(state),
                ..Shared::default()
            }),
        })
    }

    /// Takes the event down: its id and, where it has none, its time are
    /// filled in, and what does not fit a message is cut. Never waits.
    pub fn record(&self, event: ObjectEvent) {
        self.record_at(event, jiff::Timestamp::now());
    }

    /// All that waits for the hub.
    #[cfg(test)]
    pub fn events(&self) -> Vec<ObjectEvent> {
        self.shared.state.lock().events.iter().cloned().collect()
    }

    fn record_at(&self, mut event: ObjectEvent, now: jiff::Timestamp) {
        event.at.get_or_insert_with(|| Timestamp {
            seconds: now.as_second(),
            nanos: now.subsec_nanosecond(),
        });
        let mut event = fit(event);
        let mut state = self.shared.state.lock();
        // The clock, so that they grow where the disk was lost; the last one,
        // so that they grow where the clock went back.
        let clock = u64::try_from(now.as_microsecond()).unwrap_or_default();
        state.last = clock.max(state.last.saturating_add(1));
        event.id = state.last;
        if state.events.len() >= ROOM {
            state.events.pop_front();
            state.lost += 1;
            if state.lost.is_power_of_two() {
                tracing::warn!(
                    lost = state.lost,
                    "more happened to objects than can wait for the hub: the oldest events are lost to its history"
                );
            }
        }
        state.events.push_back(event);
        state.unkept = true;
        drop(state);
        self.shared.changed.notify_one();
        self.shared.unkept.notify_one();
    }

    /// A session began: what the hub has not acknowledged is sent again.
    pub fn opened(&self) {
        let mut state = self.shared.state.lock();
        state.sent = 0;
        state.said = None;
        drop(state);
        self.shared.changed.notify_one();
    }

    /// The hub has stored every event of this session up to `id`.
    pub fn acked(&self, id: u64) {
        let mut state = self.shared.state.lock();
        let id = id.min(state.sent);
        if let Some((_, lost)) = state.said.take_if(|(by, _)| *by <= id) {
            state.lost = state.lost.saturating_sub(lost);
        }
        let stored = state.events.partition_point(|event| event.id <= id);
        if stored == 0 {
            return;
        }
        state.events.drain(..stored);
        state.unkept = true;
        drop(state);
        self.shared.changed.notify_one();
        self.shared.unkept.notify_one();
    }

    /// How many events the hub has not acknowledged.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.state.lock().events.len()
    }

    /// Waits for an event that was not sent in this session, and counts it as
    /// sent. Safe to drop: an event is counted only when it is returned.
    pub async fn next(&self) -> ObjectEvent {
        loop {
            if let Some(event) = self.take() {
                return event;
            }
            self.shared.changed.notified().await;
        }
    }

    fn take(&self) -> Option<ObjectEvent> {
        let mut state = self.shared.state.lock();
        let sent = state.sent;
        let next = state.events.partition_point(|event| event.id <= sent);
        if next >= WINDOW {
            return None;
        }
        let mut event = state.events.get(next)?.clone();
        state.sent = event.id;
        if state.lost > 0 && state.said.is_none() {
            state.said = Some((event.id, state.lost));
            event.message = with_loss(&event.message, state.lost);
        }
        Some(event)
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state.lock();
        f.debug_struct("Journal")
            .field("waiting", &state.events.len())
            .field("last", &state.last)
            .finish_non_exhaustive()
    }
}

/// Says in the event how many before it never reached the hub.
fn with_loss(message: &str, lost: u64) -> String {
    let loss =
        format!("{lost} earlier events of this cluster were lost while they waited for the hub");
    if message.is_empty() {
        loss
    } else {
        format!("{message}; {loss}")
    }
}

/// Cuts an event so that it fits a message, whatever its id and however many
/// were lost before it.
fn fit(mut event: ObjectEvent) -> ObjectEvent {
    truncate(&mut event.assignment, NAME_BYTES);
    truncate(&mut event.object, OBJECT_BYTES);
    truncate(&mut event.manager, NAME_BYTES);
    truncate(&mut event.revision, NAME_BYTES);
    truncate(&mut event.message, TEXT_BYTES);
    for field in &mut event.fields {
        truncate(field, FIELD_BYTES);
    }
    let room = MESSAGE_BYTES - with_loss("; ", u64::MAX).len();
    event.id = u64::MAX;
    let mut message = AgentMessage {
        message: Some(agent_message::Message::Event(event)),
    };
    loop {
        let size = message.encoded_len();
        let Some(agent_message::Message::Event(event)) = &mut message.message else {
            unreachable!("it was made an event above");
        };
        if size <= room || event.fields.pop().is_none() {
            return std::mem::take(event);
        }
        event.more_fields = event.more_fields.saturating_add(1);
    }
}

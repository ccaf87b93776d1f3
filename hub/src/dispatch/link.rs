//! One live session as the rest of dispatch sees it: a handful of words in
//! which others leave what the session's stream should look at when it next
//! can send. Nothing is queued, so a slow agent costs no more than a quick one.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use lockstep_proto::ClusterName;
use tokio::sync::Notify;
use tonic::Status;

/// Why the hub ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// A newer session of the same cluster has opened.
    Replaced = 1,
    /// Nothing was heard of the agent for too long.
    Silent,
    /// The cluster was deleted, or has enrolled anew.
    Revoked,
    /// The hub is shutting down.
    Shutdown,
}

impl Cut {
    /// What the agent is told; none where the stream just ends, and the agent
    /// is to come back as if nothing had happened.
    #[must_use]
    pub fn status(self) -> Option<Status> {
        Some(match self {
            Self::Replaced => Status::aborted(
                "a newer session of this cluster has opened: two agents may be running with one \
                 identity, or this connection was thought lost",
            ),
            Self::Silent => Status::deadline_exceeded(
                "nothing was heard on this session for too long: open a new one",
            ),
            Self::Revoked => super::peer::refused(),
            Self::Shutdown => return None,
        })
    }
}

/// A live session.
#[derive(Debug)]
pub struct Link {
    pub cluster: ClusterName,
    /// Of all sessions since the hub started, in the order in which they opened.
    pub epoch: u64,
    /// The identity in the certificate that it was opened with.
    pub identity: Box<str>,
    /// When a message last came, in seconds since the registry was made.
    heard: AtomicU32,
    stored: AtomicU64,
    /// All ObjectEvents up to this id are stored.
    recorded: AtomicU64,
    /// Plans may stand that this session has not been sent.
    asked: AtomicBool,
    cut: AtomicU8,
    changed: Notify,
}

impl Link {
    #[must_use]
    pub fn new(cluster: ClusterName, identity: &str, epoch: u64, now: u32) -> Self {
        Self {
            cluster,
            epoch,
            identity: identity.into(),
            heard: AtomicU32::new(now),
            stored: AtomicU64::new(0),
            recorded: AtomicU64::new(0),
            asked: AtomicBool::new(true),
            cut: AtomicU8::new(0),
            changed: Notify::new(),
        }
    }

    pub fn hear(&self, now: u32) {
        self.heard.store(now, Ordering::Relaxed);
    }

    #[must_use]
    pub fn heard(&self) -> u32 {
        self.heard.load(Ordering::Relaxed)
    }

    /// All Reports up to `seq` are stored.
    pub fn store_up_to(&self, seq: u64) {
        self.stored.fetch_max(seq, Ordering::Release);
        self.changed.notify_one();
    }

    /// The highest Report of which all up to it are stored.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.stored.load(Ordering::Acquire)
    }

    /// All ObjectEvents up to `id` are stored.
    pub fn record_up_to(&self, id: u64) {
        self.recorded.fetch_max(id, Ordering::Release);
        self.changed.notify_one();
    }

    /// The highest ObjectEvent of which all up to it are stored.
    #[must_use]
    pub fn recorded(&self) -> u64 {
        self.recorded.load(Ordering::Acquire)
    }

    /// A plan stands for the cluster.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    /// Whether a plan may stand since the last call.
    #[must_use]
    pub fn take_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire) && self.asked.swap(false, Ordering::AcqRel)
    }

    /// Ends the session. The first reason counts.
    pub fn end(&self, why: Cut) {
        let _ = self
            .cut
            .compare_exchange(0, why as u8, Ordering::AcqRel, Ordering::Acquire);
        self.changed.notify_one();
    }

    /// Why the session is over, if it is.
    #[must_use]
    pub fn ended(&self) -> Option<Cut> {
        match self.cut.load(Ordering::Acquire) {
            1 => Some(Cut::Replaced),
            2 => Some(Cut::Silent),
            3 => Some(Cut::Revoked),
            4 => Some(Cut::Shutdown),
            _ => None,
        }
    }

    /// Has the session's stream look again at what it owes.
    pub fn wake(&self) {
        self.changed.notify_one();
    }

    /// Waits until something above has changed since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

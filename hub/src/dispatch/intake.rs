//! Reports on their way to the store: the latest of each cluster on each
//! assignment, from all sessions, committed together, acknowledged after. And
//! what happened to objects, all of it.
//!
//! While one batch is being committed the next gathers, so that the store
//! writes in proportion to what changed and not to how often it was said. A
//! batch that cannot be stored is kept and tried again: nothing is
//! acknowledged that a crash could lose, and nothing is lost by waiting.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lockstep_proto::{ClusterName, v1};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::link::Link;
use crate::store::StoreError;

/// What gathers while the store is busy, in bytes, before sessions are not
/// read any more: many small reports, and a small part of the hub's memory.
const ROOM: usize = 16 << 20;
/// What a report costs beside its own bytes.
const OVERHEAD: usize = 256;
/// Between attempts to store what could not be stored: at first, and at most.
/// A full disk is seldom emptied within a second.
const RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Where reports go.
pub trait Ledger: Send + Sync + 'static {
    /// Whether anything `link` says still counts.
    fn speaks(&self, link: &Link) -> bool;
    /// Stores what the reports say, ends the tombstones that they say are
    /// done, and keeps the events. Resolves when that would survive a crash.
    /// What is said of an assignment that the cluster is not told of is dropped.
    fn store(
        &self,
        reports: Vec<(ClusterName, v1::Report)>,
        events: Vec<(ClusterName, v1::ObjectEvent)>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Intake(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Batch>,
    came: Notify,
    emptied: Notify,
    started: AtomicU64,
    finished: watch::Sender<u64>,
}

#[derive(Default)]
struct Batch {
    reports: HashMap<(ClusterName, String), (Arc<Link>, v1::Report)>,
    events: Vec<(Arc<Link>, v1::ObjectEvent)>,
    /// By epoch: the highest Report and the highest ObjectEvent of which all
    /// up to them are in here.
    seen: HashMap<u64, (Arc<Link>, u64, u64)>,
    bytes: usize,
}

impl Intake {
    /// Takes a report in. It replaces an older one of the same assignment that
    /// is still waiting.
    pub fn take(&self, link: &Arc<Link>, report: v1::Report) {
        let mut waiting = self.0.waiting.lock();
        waiting.see(link, report.seq, 0);
        waiting.put(Arc::clone(link), report);
        drop(waiting);
        self.0.came.notify_one();
    }

    /// Counts a report that nobody wants as seen: it is acknowledged after
    /// those that came before it.
    pub fn pass(&self, link: &Arc<Link>, seq: u64) {
        self.0.waiting.lock().see(link, seq, 0);
        self.0.came.notify_one();
    }

    /// Takes an event in, behind those that came before it.
    pub fn take_event(&self, link: &Arc<Link>, event: v1::ObjectEvent) {
        let mut waiting = self.0.waiting.lock();
        waiting.see(link, 0, event.id);
        waiting.bytes += weight(&event);
        waiting.events.push((Arc::clone(link), event));
        drop(waiting);
        self.0.came.notify_one();
    }

    /// Counts an event that nobody wants as seen.
    pub fn pass_event(&self, link: &Arc<Link>, id: u64) {
        self.0.waiting.lock().see(link, 0, id);
        self.0.came.notify_one();
    }

    /// Whether so much waits that sessions must not be read.
    #[must_use]
    pub fn full(&self) -> bool {
        self.0.waiting.lock().bytes > ROOM
    }

    /// Waits until there is room.
    pub async fn room(&self) {
        loop {
            let emptied = self.0.emptied.notified();
            tokio::pin!(emptied);
            emptied.as_mut().enable();
            if !self.full() {
                return;
            }
            emptied.await;
        }
    }

    /// Waits until a batch that may hold reports of a session that ended
    /// before this call is stored.
    pub async fn settled(&self) {
        let started = self.0.started.load(Ordering::SeqCst);
        let mut finished = self.0.finished.subscribe();
        // The sender lives as long as `self`.
        let _ = finished.wait_for(|finished| *finished >= started).await;
    }

    /// Stores what comes in until `cancel`, and then what is waiting once more.
    pub async fn run(self, ledger: impl Ledger, cancel: CancellationToken) {
        loop {
            tokio::select! {
                () = self.0.came.notified() => {}
                () = cancel.cancelled() => {
                    self.store(&ledger).await;
                    return;
                }
            }
            let mut wait = RETRY;
            while !self.store(&ledger).await {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = cancel.cancelled() => return,
                }
                wait = (wait * 2).min(LAST_RETRY);
            }
        }
    }

    /// Stores what is waiting. False if that failed: then it waits again.
    async fn store(&self, ledger: &impl Ledger) -> bool {
        // Before it is decided who speaks: see `settled`.
        let batch_number = self.0.started.fetch_add(1, Ordering::SeqCst) + 1;
        let mut batch = std::mem::take(&mut *self.0.waiting.lock());
        batch.reports.retain(|_, (link, _)| ledger.speaks(link));
        batch.events.retain(|(link, _)| ledger.speaks(link));
        let reports: Vec<_> = batch
            .reports
            .iter()
            .map(|((cluster, _), (_, report))| (cluster.clone(), report.clone()))
            .collect();
        let events: Vec<_> = batch
            .events
            .iter()
            .map(|(link, event)| (link.cluster.clone(), event.clone()))
            .collect();
        let stored = if reports.is_empty() && events.is_empty() {
            Ok(())
        } else {
            ledger.store(reports, events).await
        };
        let done = match stored {
            Ok(()) => {
                for (link, seq, event_id) in batch.seen.into_values() {
                    link.store_up_to(seq);
                    link.record_up_to(event_id);
                }
                true
            }
            Err(error) => {
                tracing::error!(%error, reports = batch.reports.len(), "cannot store reports; they wait");
                self.0.waiting.lock().put_back(batch);
                false
            }
        };
        self.0.finished.send_replace(batch_number);
        self.0.emptied.notify_waiters();
        done
    }
}

impl Batch {
    fn see(&mut self, link: &Arc<Link>, seq: u64, event_id: u64) {
        let entry = self
            .seen
            .entry(link.epoch)
            .or_insert_with(|| (Arc::clone(link), 0, 0));
        entry.1 = entry.1.max(seq);
        entry.2 = entry.2.max(event_id);
    }

    /// A session that has been replaced may still be read for a moment: what
    /// it says does not take the place of what its successor said.
    fn put(&mut self, link: Arc<Link>, report: v1::Report) {
        let rank = |link: &Link, report: &v1::Report| (link.epoch, report.seq);
        let key = (link.cluster.clone(), report.assignment.clone());
        let added = weight(&report);
        match self.reports.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert((link, report));
                self.bytes += added;
            }
            Entry::Occupied(mut entry) => {
                let (held_link, held) = entry.get();
                if rank(&link, &report) >= rank(held_link, held) {
                    self.bytes = self.bytes + added - weight(held);
                    entry.insert((link, report));
                }
            }
        }
    }

    /// What could not be stored, under what has come since.
    fn put_back(&mut self, mut older: Self) {
        for (link, report) in older.reports.into_values() {
            self.put(link, report);
        }
        for (_, event) in &older.events {
            self.bytes += weight(event);
        }
        older.events.append(&mut self.events);
        self.events = older.events;
        for (link, seq, event_id) in older.seen.into_values() {
            self.see(&link, seq, event_id);
        }
    }
}

fn weight(said: &impl prost::Message) -> usize {
    OVERHEAD + said.encoded_len()
}

#[cfg(test)]
mod tests;

//! The latest Report of each Assignment, on its way to the hub. The engine puts
//! as often as it likes; the link takes what the hub does not hold yet. A newer
//! Report replaces an older one that has not left: never a log, never a queue.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use lockstep_proto::desired::report_digest;
use lockstep_proto::v1::{AgentMessage, HeldReport, Report, agent_message};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Two Reports of one Assignment leave at least this far apart; whatever the
/// engine puts in between is coalesced. The first leaves at once.
const COALESCE: Duration = Duration::from_millis(100);
/// The contract's bound on a message of the session.
const MESSAGE_BYTES: usize = 4096;
/// Of the Report's own message: what is wrong with the Assignment as a whole.
const TEXT_BYTES: usize = 1024;
/// Of one problem: enough for what an API server usually answers.
const PROBLEM_BYTES: usize = 512;

/// Cheap to clone; all clones are one outbox.
#[derive(Clone, Default)]
pub struct Outbox {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// By Assignment.
    latest: BTreeMap<String, Entry>,
    /// Of the last Report sent in this session.
    seq: u64,
}

struct Entry {
    report: Report,
    digest: u64,
    /// What the hub has said that it holds.
    held: Option<u64>,
    /// What is under way in this session: sequence number and digest.
    sent: Option<(u64, u64)>,
    not_before: Option<Instant>,
}

impl Entry {
    fn waits(&self) -> bool {
        self.sent.map_or(self.held, |(_, digest)| Some(digest)) != Some(self.digest)
    }
}

impl Outbox {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the Report of its Assignment. Putting the same content again is
    /// free and sends nothing. What does not fit a message is cut, worst kept
    /// first: order `problems` so.
    pub fn put(&self, report: Report) {
        let report = fit(report);
        let digest = report_digest(&report);
        let mut state = self.shared.state.lock();
        if let Some(entry) = state.latest.get_mut(&report.assignment) {
            if entry.digest == digest {
                return;
            }
            entry.report = report;
            entry.digest = digest;
        } else {
            let entry = Entry {
                digest,
                held: None,
                sent: None,
                not_before: None,
                report,
            };
            state.latest.insert(entry.report.assignment.clone(), entry);
        }
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Forgets the Assignment: nothing more is said of it.
    pub fn remove(&self, assignment: &str) {
        self.shared.state.lock().latest.remove(assignment);
    }

    /// A session began, and the hub said what it holds.
    pub fn opened(&self, held: &[HeldReport]) {
        let held: HashMap<&str, u64> = held
            .iter()
            .map(|h| (h.assignment.as_str(), h.digest))
            .collect();
        let mut state = self.shared.state.lock();
        state.seq = 0;
        for (assignment, entry) in &mut state.latest {
            entry.held = held.get(assignment.as_str()).copied();
            entry.sent = None;
            entry.not_before = None;
        }
        drop(state);
        self.shared.changed.notify_one();
    }

    /// The hub has stored what was sent up to `seq` in this session.
    pub fn acked(&self, seq: u64) {
        for entry in self.shared.state.lock().latest.values_mut() {
            if let Some((sent, digest)) = entry.sent
                && sent <= seq
            {
                entry.held = Some(digest);
                entry.sent = None;
            }
        }
    }

    /// Waits for a Report that the hub does not hold, and counts it as sent.
    /// Safe to drop: a Report is counted only when it is returned.
    pub async fn next(&self) -> Report {
        loop {
            let due = match self.take(Instant::now()) {
                Ok(report) => return report,
                Err(due) => due,
            };
            let changed = self.shared.changed.notified();
            match due {
                Some(due) => {
                    let _ = tokio::time::timeout_at(due, changed).await;
                }
                None => changed.await,
            }
        }
    }

    /// A Report that may leave now, or when the next one may.
    fn take(&self, now: Instant) -> Result<Report, Option<Instant>> {
        let mut state = self.shared.state.lock();
        let State { latest, seq } = &mut *state;
        let mut due = None;
        for entry in latest.values_mut().filter(|entry| entry.waits()) {
            match entry.not_before {
                Some(then) if then > now => {
                    due = Some(due.map_or(then, |due: Instant| due.min(then)));
                }
                _ => {
                    *seq += 1;
                    entry.sent = Some((*seq, entry.digest));
                    entry.not_before = Some(now + COALESCE);
                    return Ok(Report {
                        seq: *seq,
                        ..entry.report.clone()
                    });
                }
            }
        }
        Err(due)
    }
}

/// Cuts a Report so that it fits a message whatever its sequence number. The
/// same Report is always cut the same way, or its digest would not be stable.
fn fit(mut report: Report) -> Report {
    report.seq = u64::MAX;
    truncate(&mut report.message, TEXT_BYTES);
    for problem in &mut report.problems {
        truncate(&mut problem.object, PROBLEM_BYTES);
        truncate(&mut problem.message, PROBLEM_BYTES);
    }
    let mut message = AgentMessage {
        message: Some(agent_message::Message::Report(report)),
    };
    loop {
        let size = message.encoded_len();
        let Some(agent_message::Message::Report(report)) = &mut message.message else {
            unreachable!("it was made a Report above");
        };
        if size <= MESSAGE_BYTES || report.problems.pop().is_none() {
            report.seq = 0;
            return std::mem::take(report);
        }
        report.more_problems += 1;
    }
}

/// Cuts at a character, and says that something is missing.
pub(crate) fn truncate(text: &mut String, bytes: usize) {
    const MORE: &str = "…";
    if text.len() > bytes {
        let end = text.floor_char_boundary(bytes - MORE.len());
        text.truncate(end);
        text.push_str(MORE);
    }
}

#[cfg(test)]
mod tests;

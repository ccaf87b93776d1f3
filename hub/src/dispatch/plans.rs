//! Plans that people wait for: which cluster is asked what, and the answers on
//! their way in.
//!
//! A plan stands for as long as somebody waits for it, and while it stands its
//! cluster may fetch its Bundle. Sessions send what stands for their cluster;
//! agents answer by `SendPlan`. Whatever an agent sends is bounded for each
//! answer and for all of them together, and is let go with whoever asked.

use std::collections::HashMap;
use std::sync::Arc;

use lockstep_proto::{ClusterName, Digest, v1};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// One part of an answer: an object with a diff of 64 KiB, and its names.
pub const PART_LIMIT: usize = 128 << 10;
/// All parts of one cluster's answer.
const ANSWER_LIMIT: usize = 4 << 20;
/// Objects of one answer: more than a Bundle has.
const OBJECTS: usize = 10_000;
/// All answers that are coming in or are kept for somebody, in KiB.
const ROOM: usize = 96 << 10;
/// Longest reason of an agent for having no plan.
const ERROR_LIMIT: usize = 2048;

/// Said of a cluster whose agent is not connected.
pub const ABSENT: &str = "is offline";

/// What clusters are asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    pub assignment: String,
    pub digest: Digest,
    pub revision: String,
    pub options: v1::ApplyOptions,
}

/// What a cluster answered. Holds its share of the hub's memory.
#[derive(Debug)]
pub struct Answer {
    pub objects: Vec<v1::ObjectDiff>,
    _room: Vec<OwnedSemaphorePermit>,
}

impl Answer {
    /// As if it had come in.
    #[cfg(test)]
    pub fn of(objects: Vec<v1::ObjectDiff>) -> Self {
        Self {
            objects,
            _room: Vec::new(),
        }
    }
}

/// An answer, or in words for people why there is none.
pub type Answered = Result<Answer, String>;

/// See the module.
pub struct Plans {
    standing: Arc<Mutex<HashMap<u64, Standing>>>,
    room: Arc<Semaphore>,
}

struct Standing {
    cluster: ClusterName,
    question: Arc<Question>,
    /// The session that it was last sent in.
    sent: u64,
    /// Whether an agent has begun to answer.
    begun: bool,
    /// None while an answer comes in.
    waiting: Option<oneshot::Sender<Answered>>,
}

/// A plan that somebody waits for. It falls when this is dropped.
pub struct Asked {
    id: u64,
    standing: Arc<Mutex<HashMap<u64, Standing>>>,
    answer: oneshot::Receiver<Answered>,
}

/// Why an agent's answer is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unwanted {
    #[error("nobody waits for plan {0} of this cluster")]
    Nobody(u64),
    #[error("plan {0} is being answered already")]
    Twice(u64),
    #[error("{0}")]
    TooLarge(String),
    #[error("a plan is a header with its id, then objects, then an end: {0}")]
    Malformed(&'static str),
}

impl Default for Plans {
    fn default() -> Self {
        Self {
            standing: Arc::default(),
            room: Arc::new(Semaphore::new(ROOM)),
        }
    }
}

impl Plans {
    /// Has `cluster` asked. Its session must be woken to see it.
    pub fn ask(&self, cluster: &ClusterName, question: Arc<Question>) -> Asked {
        let (waiting, answer) = oneshot::channel();
        let mut standing = self.standing.lock();
        // Not guessable from a former one: an answer to a question of another
        // time, or of a hub before a restart, is to nobody.
        let id = loop {
            let id: u64 = rand::random();
            if id != 0 && !standing.contains_key(&id) {
                break id;
            }
        };
        standing.insert(
            id,
            Standing {
                cluster: cluster.clone(),
                question,
                sent: 0,
                begun: false,
                waiting: Some(waiting),
            },
        );
        drop(standing);
        Asked {
            id,
            standing: Arc::clone(&self.standing),
            answer,
        }
    }

    /// Whether the cluster is asked about the Bundle now.
    pub fn allows(&self, cluster: &ClusterName, digest: Digest) -> bool {
        let standing = self.standing.lock();
        standing
            .values()
            .any(|plan| plan.cluster == *cluster && plan.question.digest == digest)
    }

    /// What the session of `cluster` with this epoch has not been sent.
    pub fn unsent(&self, cluster: &ClusterName, epoch: u64) -> Vec<v1::Plan> {
        let mut standing = self.standing.lock();
        standing
            .iter_mut()
            .filter(|(_, plan)| plan.cluster == *cluster && plan.sent != epoch)
            .map(|(id, plan)| {
                plan.sent = epoch;
                let question = &plan.question;
                v1::Plan {
                    id: *id,
                    assignment: question.assignment.clone(),
                    bundle_digest: question.digest.to_string(),
                    revision: question.revision.clone(),
                    options: Some(question.options.clone()),
                }
            })
            .collect()
    }

    /// Begins to take in what `cluster` answers to the plan of `header`.
    ///
    /// # Errors
    /// [`Unwanted`].
    pub fn begin(
        &self,
        cluster: &ClusterName,
        header: &v1::PlanHeader,
    ) -> Result<Incoming, Unwanted> {
        let mut standing = self.standing.lock();
        let plan = standing
            .get_mut(&header.id)
            .filter(|plan| plan.cluster == *cluster)
            .ok_or(Unwanted::Nobody(header.id))?;
        let waiting = plan.waiting.take().ok_or(Unwanted::Twice(header.id))?;
        plan.begun = true;
        drop(standing);
        let mut incoming = Incoming {
            id: header.id,
            waiting: Some(waiting),
            standing: Arc::clone(&self.standing),
            room: Arc::clone(&self.room),
            bytes: 0,
            objects: Vec::new(),
            permits: Vec::new(),
        };
        incoming.fail_if_said(header);
        Ok(incoming)
    }
}

impl Asked {
    /// The answer; none where the hub is stopping.
    pub async fn answer(&mut self) -> Option<Answered> {
        (&mut self.answer).await.ok()
    }

    /// Whether the agent has begun to answer.
    pub fn begun(&self) -> bool {
        self.standing
            .lock()
            .get(&self.id)
            .is_some_and(|plan| plan.begun)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.standing.lock().remove(&self.id);
    }
}

/// An answer that is coming in. Dropped before its end, the plan waits for
/// another try: the agent's connection may have been lost.
pub struct Incoming {
    id: u64,
    waiting: Option<oneshot::Sender<Answered>>,
    standing: Arc<Mutex<HashMap<u64, Standing>>>,
    room: Arc<Semaphore>,
    bytes: usize,
    objects: Vec<v1::ObjectDiff>,
    permits: Vec<OwnedSemaphorePermit>,
}

impl Incoming {
    /// Takes the next part.
    ///
    /// # Errors
    /// [`Unwanted`]: whoever waits is told.
    pub fn take(&mut self, part: v1::PlanPart) -> Result<(), Unwanted> {
        let bytes = part.encoded_len();
        let taken = match part.part {
            Some(v1::plan_part::Part::Object(object)) => self.object(object, bytes),
            // It may turn out on the way that there is no plan.
            Some(v1::plan_part::Part::Header(header)) if header.id == self.id => {
                self.fail_if_said(&header);
                Ok(())
            }
            Some(v1::plan_part::Part::Header(_)) => Err(Unwanted::Malformed("another header came")),
            Some(v1::plan_part::Part::End(end)) => self.finish(&end),
            // Of a newer contract.
            None => Ok(()),
        };
        if let Err(error) = &taken {
            self.end(Err(format!("its answer cannot be used: {error}")));
        }
        taken
    }

    fn object(&mut self, object: v1::ObjectDiff, bytes: usize) -> Result<(), Unwanted> {
        self.bytes += bytes;
        if bytes > PART_LIMIT {
            return Err(Unwanted::TooLarge(format!(
                "a part has {bytes} bytes, and may have {PART_LIMIT}"
            )));
        }
        if self.bytes > ANSWER_LIMIT {
            return Err(Unwanted::TooLarge(format!(
                "the answer has more than {ANSWER_LIMIT} bytes"
            )));
        }
        if self.objects.len() >= OBJECTS {
            return Err(Unwanted::TooLarge(format!(
                "the answer has more than {OBJECTS} objects"
            )));
        }
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let Ok(permit) = Arc::clone(&self.room).try_acquire_many_owned(kib) else {
            return Err(Unwanted::TooLarge(
                "the hub holds as many answers as it can: ask about fewer clusters at a time \
                 (--cluster NAME)"
                    .into(),
            ));
        };
        match self.permits.last_mut() {
            Some(first) => first.merge(permit),
            None => self.permits.push(permit),
        }
        self.objects.push(object);
        Ok(())
    }

    fn fail_if_said(&mut self, header: &v1::PlanHeader) {
        if header.error.is_empty() {
            return;
        }
        let mut error: String = header
            .error
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        error.truncate(error.floor_char_boundary(ERROR_LIMIT));
        self.end(Err(error));
    }

    /// Whether whoever asked has been told.
    pub fn is_over(&self) -> bool {
        self.waiting.is_none()
    }

    /// All of it should be here.
    fn finish(&mut self, end: &v1::PlanEnd) -> Result<(), Unwanted> {
        if usize::try_from(end.objects) != Ok(self.objects.len()) {
            return Err(Unwanted::Malformed("its end does not fit what came"));
        }
        let answer = Answer {
            objects: std::mem::take(&mut self.objects),
            _room: std::mem::take(&mut self.permits),
        };
        self.end(Ok(answer));
        Ok(())
    }

    fn end(&mut self, answered: Answered) {
        if let Some(waiting) = self.waiting.take() {
            // Whoever asked may have left.
            let _ = waiting.send(answered);
        }
    }

    /// Resolves when nobody waits for it any more.
    pub async fn unwanted(&mut self) {
        if let Some(waiting) = &mut self.waiting {
            waiting.closed().await;
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(waiting) = self.waiting.take()
            && let Some(plan) = self.standing.lock().get_mut(&self.id)
        {
            plan.waiting = Some(waiting);
        }
    }
}

#[cfg(test)]
mod tests;

//! One agent's session: reads what it says, and says what the hub owes it.
//!
//! The stream that is sent back is the whole of it: there is no task and no
//! queue beside it. Each time the connection can take another message, it
//! looks at what is owed *now*: an end, the rest of a message begun, an
//! acknowledgement, a newer desired state. An agent that reads slowly is
//! therefore told less often, and always the latest.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use lockstep_proto::v1;
use prost::Message as _;
use tokio::time::Instant;
use tonic::Status;

use super::link::Link;
use super::pace::Pace;
use super::parts::{self, MESSAGE_LIMIT};
use super::position::{self, Held, MAX_VERSION, NO_DIGEST, Reply};
use super::{Shared, peer};
use crate::transport::PeerIdentity;

use v1::agent_message::Message as Said;

/// How often an agent says that it is there while it has nothing else to say.
const HEARTBEAT_SECONDS: u32 = 15;
/// How long a stream may be open before its Hello.
const HELLO: Duration = Duration::from_secs(10);
/// Longest version text that an agent may call itself or its cluster by.
const VERSION_LIMIT: usize = 128;
/// A backup is restored once in a while, not while a session opens.
const RAISES: usize = 3;

/// What comes in.
pub trait Inbound:
    Stream<Item = Result<v1::AgentMessage, Status>> + Send + Unpin + 'static
{
}
impl<S: Stream<Item = Result<v1::AgentMessage, Status>> + Send + Unpin + 'static> Inbound for S {}

struct Session<S> {
    hub: Arc<Shared>,
    link: Arc<Link>,
    inbound: S,
    /// Parts of messages that have been begun.
    outgoing: VecDeque<v1::HubMessage>,
    /// The desired version that the agent holds when it has read all of the above.
    told: u64,
    /// Reports and ObjectEvents that the agent knows to be stored.
    acked: (u64, u64),
    pace: Pace,
    /// The agent is not listened to before.
    listening: Instant,
}

enum State<S> {
    New(S, PeerIdentity),
    Open(Session<S>),
    Over,
}

/// The messages for `peer`, whose own come in by `inbound`.
pub fn session<S: Inbound>(
    hub: Arc<Shared>,
    peer: PeerIdentity,
    inbound: S,
) -> impl Stream<Item = Result<v1::HubMessage, Status>> + Send + 'static {
    stream::unfold(State::New(inbound, peer), move |state| {
        let hub = Arc::clone(&hub);
        async move {
            let mut session = match state {
                State::New(inbound, peer) => match open(hub, &peer, inbound).await {
                    Ok(session) => session,
                    Err(status) => return Some((Err(status), State::Over)),
                },
                State::Open(session) => session,
                State::Over => return None,
            };
            match session.next().await {
                Ok(Some(message)) => Some((Ok(message), State::Open(session))),
                Ok(None) => None,
                Err(status) => Some((Err(status), State::Over)),
            }
        }
    })
}

async fn open<S: Inbound>(
    hub: Arc<Shared>,
    peer: &PeerIdentity,
    mut inbound: S,
) -> Result<Session<S>, Status> {
    let first = tokio::time::timeout(HELLO, inbound.next())
        .await
        .map_err(|_| Status::deadline_exceeded("no Hello came within 10 s"))?
        .ok_or_else(|| Status::cancelled("the stream ended before Hello"))??;
    within_limit(&first)?;
    let Some(Said::Hello(hello)) = first.message else {
        return Err(Status::invalid_argument("the first message must be Hello"));
    };
    let held = checked(&hello)?;

    let link = hub
        .registry
        .open(&peer.cluster, &peer.identity, &hello)
        .ok_or_else(peer::refused)?;
    hub.metrics.session_opened();
    // From here on, dropping the session closes the link.
    let mut session = Session {
        link,
        inbound,
        outgoing: VecDeque::new(),
        told: held.version,
        acked: (0, 0),
        pace: Pace::new(Instant::now()),
        listening: Instant::now(),
        hub,
    };
    // What the session before said is stored or will never be.
    session.hub.intake.settled().await;
    let reports = session.hub.view.held_reports(&peer.cluster);
    session.outgoing = parts::welcome(HEARTBEAT_SECONDS, reports).into();
    session.tell(held).await?;
    tracing::info!(cluster = %peer.cluster, agent = %hello.agent_version, "session opened");
    Ok(session)
}

/// What the agent says that it holds.
fn checked(hello: &v1::Hello) -> Result<Held, Status> {
    for text in [&hello.agent_version, &hello.kubernetes_version] {
        if text.len() > VERSION_LIMIT || text.chars().any(char::is_control) {
            return Err(Status::invalid_argument(
                "a version in Hello is longer than 128 bytes or holds control characters",
            ));
        }
    }
    if hello.version >= MAX_VERSION {
        return Err(Status::invalid_argument(
            "the version in Hello is not plausible",
        ));
    }
    // A digest that cannot be read is not the right one: a snapshot follows.
    let digest = hello.digest.parse().unwrap_or(NO_DIGEST);
    Ok(Held {
        version: hello.version,
        digest: Some(digest),
    })
}

fn within_limit(message: &v1::AgentMessage) -> Result<(), Status> {
    let bytes = message.encoded_len();
    if bytes > MESSAGE_LIMIT {
        return Err(Status::invalid_argument(format!(
            "a message of {bytes} bytes: a session's messages have at most {MESSAGE_LIMIT}"
        )));
    }
    Ok(())
}

impl<S: Inbound> Session<S> {
    /// The next message for the agent; none when the agent has left.
    async fn next(&mut self) -> Result<Option<v1::HubMessage>, Status> {
        loop {
            if let Some(why) = self.link.ended() {
                tracing::info!(cluster = %self.link.cluster, ?why, "session ended by the hub");
                return why.status().map_or(Ok(None), Err);
            }
            if let Some(message) = self.outgoing.pop_front() {
                return Ok(Some(message));
            }
            let stored = (self.link.stored(), self.link.recorded());
            if stored != self.acked {
                self.acked = stored;
                return Ok(Some(parts::ack(stored.0, stored.1)));
            }
            if self.link.take_asked() {
                let plans = self.hub.plans.unsent(&self.link.cluster, self.link.epoch);
                self.outgoing.extend(plans.into_iter().map(parts::plan));
                continue;
            }
            if self.hub.view.version(&self.link.cluster) != Some(self.told) {
                let told = Held {
                    version: self.told,
                    digest: None,
                };
                self.tell(told).await?;
                if !self.outgoing.is_empty() {
                    continue;
                }
            }
            tokio::select! {
                biased;
                () = self.link.changed() => {}
                said = heard(&self.hub, self.listening, &mut self.inbound) => match said {
                    Some(Ok(message)) => self.take(message)?,
                    Some(Err(status)) => {
                        tracing::debug!(cluster = %self.link.cluster, %status, "session lost");
                        return Ok(None);
                    }
                    None => return Ok(None),
                },
            }
        }
    }

    /// Puts what an agent that holds `held` must hear into `outgoing`.
    async fn tell(&mut self, mut held: Held) -> Result<(), Status> {
        let cluster = &self.link.cluster;
        for _ in 0..RAISES {
            let Some(wanted) = self.hub.view.wanted(cluster) else {
                return Err(peer::refused());
            };
            match position::reply(&wanted, held) {
                Reply::Nothing => {
                    self.told = wanted.version;
                    return Ok(());
                }
                Reply::Raise(at_least) => {
                    tracing::warn!(
                        %cluster, held = held.version, version = wanted.version,
                        "the agent holds a newer desired state than the hub, which seems to have \
                         been restored from a backup: raising the version, removing nothing"
                    );
                    self.hub
                        .view
                        .restore(cluster, &wanted, at_least)
                        .await
                        .map_err(|error| unavailable(&error))?;
                    // What it holds is not of our history: no base for a delta.
                    held.version = 0;
                }
                Reply::State(state) => {
                    let parts = parts::desired_state(
                        state.version,
                        state.base,
                        state.digest,
                        state.items,
                        state.tombstones,
                    )
                    .map_err(|error| {
                        tracing::error!(%cluster, %error, "cannot send a desired state");
                        Status::internal(error.to_string())
                    })?;
                    self.outgoing.extend(parts);
                    self.hub.metrics.desired_pushed();
                    self.told = state.version;
                    return Ok(());
                }
            }
        }
        Err(Status::unavailable(
            "the cluster's version keeps changing: connect again",
        ))
    }

    fn take(&mut self, message: v1::AgentMessage) -> Result<(), Status> {
        within_limit(&message)?;
        self.link.hear(self.hub.registry.now());
        self.hub.view.heard(&self.link.cluster);
        match message.message {
            Some(Said::Report(report)) => {
                if self
                    .hub
                    .view
                    .expects(&self.link.cluster, &report.assignment)
                {
                    self.hub.intake.take(&self.link, report);
                } else {
                    tracing::debug!(
                        cluster = %self.link.cluster, assignment = %report.assignment,
                        "a report that nobody asked for"
                    );
                    self.hub.intake.pass(&self.link, report.seq);
                }
                Ok(())
            }
            Some(Said::Hello(_)) => Err(Status::invalid_argument(
                "Hello is the first message of a session, and only that",
            )),
            Some(Said::Event(event)) => {
                self.listening = self.pace.spend(Instant::now());
                if self.hub.view.expects(&self.link.cluster, &event.assignment) {
                    self.hub.intake.take_event(&self.link, event);
                } else {
                    self.hub.intake.pass_event(&self.link, event.id);
                }
                Ok(())
            }
            // Kinds of message that a newer agent knows are not ours to judge.
            Some(Said::Heartbeat(_)) | None => Ok(()),
        }
    }
}

/// The agent's next message, when there is room for what it may say and it has
/// not said too much.
async fn heard<S: Inbound>(
    hub: &Shared,
    listening: Instant,
    inbound: &mut S,
) -> Option<Result<v1::AgentMessage, Status>> {
    hub.intake.room().await;
    if listening > Instant::now() {
        tokio::time::sleep_until(listening).await;
    }
    inbound.next().await
}

fn unavailable(error: &crate::store::StoreError) -> Status {
    tracing::error!(%error, "cannot write for a session");
    Status::unavailable("the hub cannot write to its database: connect again")
}

impl<S> Drop for Session<S> {
    fn drop(&mut self) {
        self.hub.registry.close(&self.link);
        self.hub.metrics.session_closed();
    }
}

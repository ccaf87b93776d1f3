//! One session with the hub, from dialling to its end.

use std::time::{Duration, SystemTime};

use futures::future::{BoxFuture, FutureExt as _, pending};
use lockstep_proto::client::connect;
use lockstep_proto::v1::{AgentMessage, Heartbeat, Hello, agent_message};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::Streaming;
use tonic::transport::Channel;
use tracing::{info, warn};

use super::assembly::Assembly;
use super::refusal::Refusal;
use super::wire::{self, HubMessage, Said};
use super::{Backoff, Link};
use crate::identity::{self, Identity};
use crate::plan;

/// How long the hub may take to answer Hello: it answers from memory.
const OPENING: Duration = Duration::from_secs(30);
/// Messages between the session and the connection. When full, the outbox
/// waits, and coalesces meanwhile.
const SEND_QUEUE: usize = 8;
/// What the hub may ask of a heartbeat.
const HEARTBEAT: std::ops::RangeInclusive<u32> = 1..=300;
/// Said by a hub that says nothing of it.
const DEFAULT_HEARTBEAT: u32 = 15;
/// More than that many Assignments no cluster has. What is cut is sent again.
const HELD_REPORTS: usize = 10_000;
/// Questions of the hub that are answered, or wait for their turn, at once.
const PLANS: usize = 16;
/// Sleeping does not count while a machine is suspended, so that long sleeps
/// are cut: a certificate is never looked at less often than this.
const LONGEST_SLEEP: Duration = Duration::from_secs(60 * 60);
/// Between tries to renew, at first and at most: there are hours left.
const RENEW_FIRST: Duration = Duration::from_secs(10);
const RENEW_LONGEST: Duration = Duration::from_secs(10 * 60);

/// How a session ended.
pub(super) enum Ended {
    /// The hub ended it in order.
    Closed,
    /// There is a new certificate to connect with.
    Renewed(Identity),
    /// What Hello said of the cluster is not true any more.
    Outdated,
    /// The desired state does not add up: it is needed from zero.
    Diverged(String),
    Superseded(String),
    /// The hub does not take the identity.
    Refused(String),
    /// Whoever answers is not the hub that this agent joined.
    Stranger(String),
    Failed(String),
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Identity(cause) => Self::Refused(cause),
            Refusal::Stranger(cause) => Self::Stranger(cause),
            Refusal::Superseded(cause) => Self::Superseded(cause),
            Refusal::Passing(cause) => Self::Failed(cause),
        }
    }
}

impl Link {
    /// Dials, opens a session and holds it until it ends.
    pub(super) async fn session(&mut self, from_zero: bool) -> Ended {
        let tls = match self.identity.client_config() {
            Ok(tls) => tls,
            Err(error) => return Ended::Refused(error.to_string()),
        };
        let channel = match connect(&self.hub, tls).await {
            Ok(channel) => channel,
            Err(error) => return Refusal::of_dial(error.to_string()).into(),
        };
        let now = SystemTime::now();
        if now >= self.identity.not_after && now >= identity::due(&self.identity, now, 1.0) {
            // A session is refused to a certificate that has ended; renewing it
            // is not. If it is only our clock that is off, the session will tell.
            match identity::renew(channel.clone(), &self.identity, &self.folder).await {
                Ok(identity) => return Ended::Renewed(identity),
                Err(error) => warn!(%error, "the certificate has ended and cannot be renewed"),
            }
        }
        let ended = self.hold(&channel, from_zero).await;
        if matches!(ended, Ended::Refused(_)) {
            // Perhaps the hub's clock says that the certificate has ended.
            let renewed = identity::renew(channel, &self.identity, &self.folder).await;
            if let Ok(identity) = renewed {
                return Ended::Renewed(identity);
            }
        }
        ended
    }

    async fn hold(&mut self, channel: &Channel, from_zero: bool) -> Ended {
        let (sender, receiver) = mpsc::channel(SEND_QUEUE);
        let hello = self.hello(from_zero);
        sender
            .try_send(message(agent_message::Message::Hello(hello)))
            .expect("a new queue has room");
        let opening = Instant::now() + OPENING;
        let opened = wire::session(channel.clone(), ReceiverStream::new(receiver));
        let mut stream = match timeout_at(opening, opened).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(status)) => return Refusal::of_status(&status).into(),
            Err(_) => return silent(),
        };
        let heartbeat = match timeout_at(opening, self.welcomed(&mut stream)).await {
            Ok(Ok(heartbeat)) => heartbeat,
            Ok(Err(ended)) => return ended,
            Err(_) => return silent(),
        };
        info!(hub = self.hub, cluster = %self.identity.cluster, "session with the hub");
        self.metrics.connected.set(1);
        self.metrics.sessions.inc();
        self.channel.send_replace(Some(channel.clone()));
        self.converse(channel, stream, sender, heartbeat).await
    }

    fn hello(&mut self, from_zero: bool) -> Hello {
        let held = self.desired.held();
        let (version, digest) = if from_zero || held.version == 0 {
            (0, String::new())
        } else {
            (held.version, held.digest().to_string())
        };
        Hello {
            agent_version: self.agent_version.clone(),
            kubernetes_version: self.kubernetes_version.borrow_and_update().clone(),
            version,
            digest,
        }
    }

    /// The answer to Hello, in as many messages as it takes.
    async fn welcomed(&self, stream: &mut Streaming<HubMessage>) -> Result<Duration, Ended> {
        let mut held = Vec::new();
        loop {
            match stream.message().await {
                Ok(Some(HubMessage { message })) => match message {
                    Some(Said::Welcome(welcome)) => {
                        held.extend(welcome.held_reports);
                        held.truncate(HELD_REPORTS);
                        if !welcome.more {
                            self.outbox.opened(&held);
                            self.journal.opened();
                            return Ok(heartbeat(welcome.heartbeat_seconds));
                        }
                    }
                    Some(_) => {
                        return Err(Ended::Failed("the hub did not answer Hello".into()));
                    }
                    None => {}
                },
                Ok(None) => return Err(Ended::Closed),
                Err(status) => return Err(Refusal::of_status(&status).into()),
            }
        }
    }

    async fn converse(
        &mut self,
        channel: &Channel,
        mut stream: Streaming<HubMessage>,
        sender: mpsc::Sender<AgentMessage>,
        heartbeat: Duration,
    ) -> Ended {
        let mut assembly = Assembly::default();
        let mut said = Instant::now();
        let mut renewal = self.renewal(channel);
        // They end with the session: the hub asks again in the next.
        let mut plans = JoinSet::new();
        let outbox = self.outbox.clone();
        let journal = self.journal.clone();
        loop {
            tokio::select! {
                heard = stream.message() => {
                    let message = match heard {
                        Ok(Some(HubMessage { message })) => message,
                        Ok(None) => return Ended::Closed,
                        Err(status) => return Refusal::of_status(&status).into(),
                    };
                    match message {
                        Some(Said::DesiredState(part)) => {
                            match assembly.take(self.desired.held(), part) {
                                Ok(None) => {}
                                Ok(Some(held)) => {
                                    info!(version = held.version, assignments = held.len(), "desired state");
                                    self.metrics.desired_version.set(held.version.cast_signed());
                                    if let Err(error) = self.desired.accept(held).await {
                                        return Ended::Failed(format!("cannot keep the desired state: {error}"));
                                    }
                                }
                                Err(diverged) => return Ended::Diverged(diverged.to_string()),
                            }
                        }
                        Some(Said::Ack(ack)) => {
                            self.outbox.acked(ack.seq);
                            self.journal.acked(ack.event_id);
                        }
                        Some(Said::Plan(plan)) => {
                            if plans.len() >= PLANS {
                                warn!(assignment = plan.assignment, "the hub asks more than this agent answers at once");
                            } else {
                                plans.spawn(plan::answer(self.desk.clone(), channel.clone(), plan));
                            }
                        }
                        // A Welcome out of turn, or a message of a newer contract.
                        Some(Said::Welcome(_)) | None => {}
                    }
                }
                next = async { (sender.reserve().await, outbox.next().await) } => {
                    let (Ok(permit), report) = next else { return Ended::Closed };
                    permit.send(message(agent_message::Message::Report(report)));
                    self.metrics.reports.inc();
                    said = Instant::now();
                }
                next = async { (sender.reserve().await, journal.next().await) } => {
                    let (Ok(permit), event) = next else { return Ended::Closed };
                    permit.send(message(agent_message::Message::Event(event)));
                    self.metrics.events.inc();
                    said = Instant::now();
                }
                () = sleep_until(said + heartbeat) => {
                    // A full queue has something to say already.
                    let _ = sender.try_send(message(agent_message::Message::Heartbeat(Heartbeat {})));
                    said = Instant::now();
                }
                Some(_) = plans.join_next() => {}
                identity = &mut renewal => return Ended::Renewed(identity),
                () = changed(&mut self.kubernetes_version) => return Ended::Outdated,
            }
        }
    }

    /// Waits until the certificate is due, and then tries until it is renewed.
    fn renewal(&self, channel: &Channel) -> BoxFuture<'static, Identity> {
        let (identity, folder) = (self.identity.clone(), self.folder.clone());
        let channel = channel.clone();
        let metrics = self.metrics.clone();
        async move {
            let jitter: f64 = rand::random();
            loop {
                let now = SystemTime::now();
                match identity::due(&identity, now, jitter).duration_since(now) {
                    Ok(left) if !left.is_zero() => sleep(left.min(LONGEST_SLEEP)).await,
                    _ => break,
                }
            }
            let mut backoff = Backoff::new(RENEW_FIRST, RENEW_LONGEST);
            loop {
                match identity::renew(channel.clone(), &identity, &folder).await {
                    Ok(identity) => return identity,
                    Err(error) => {
                        metrics.renewal_failures.inc();
                        let wait = backoff.wait();
                        warn!(%error, ?wait, "the certificate cannot be renewed; trying again");
                        sleep(wait).await;
                    }
                }
            }
        }
        .boxed()
    }
}

fn message(message: agent_message::Message) -> AgentMessage {
    AgentMessage {
        message: Some(message),
    }
}

fn silent() -> Ended {
    Ended::Failed(format!(
        "the hub did not answer within {} seconds",
        OPENING.as_secs()
    ))
}

fn heartbeat(seconds: u32) -> Duration {
    let seconds = match seconds {
        0 => DEFAULT_HEARTBEAT,
        said => said.clamp(*HEARTBEAT.start(), *HEARTBEAT.end()),
    };
    Duration::from_secs(seconds.into())
}

/// Waits for a change; for ever when nobody is left to make one.
async fn changed(value: &mut watch::Receiver<String>) {
    if value.changed().await.is_err() {
        pending::<()>().await;
    }
}

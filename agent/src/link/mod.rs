//! The connection to the hub: dials out, holds one session, renews the
//! identity, and comes back after every failure.
//!
//! In: the identity and the outbox. Out: the desired state, complete and
//! durable, and a channel on which Bundles are fetched. It never decides what
//! happens in the cluster, and losing the hub changes nothing there.

mod assembly;
mod backoff;
mod refusal;
mod session;
mod wire;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tracing::{error, info, warn};

use crate::desired;
use crate::identity::{self, EnrolError, Folder, Identity, JoinToken, TokenSource};
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::plan::Desk;
use crate::report::Outbox;

pub use backoff::Backoff;
pub use refusal::words;
use session::Ended;

/// The first wait after a failure, and the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A session that lasted this long was a good one: the next failure begins at
/// [`FIRST_WAIT`] again.
const GOOD_SESSION: Duration = Duration::from_secs(10);

/// An API server that is there says its version in less.
const INTRODUCTION: Duration = Duration::from_secs(2);

/// The hub on the other side, while there is one.
pub type ChannelWatch = watch::Receiver<Option<Channel>>;

/// Everything that a link needs.
pub struct Link {
    /// `HOST:PORT`.
    pub hub: String,
    pub agent_version: String,
    pub identity: Arc<Identity>,
    pub folder: Folder,
    /// Used only if the hub does not take the identity any more.
    pub token: TokenSource,
    /// The id of one that has not helped.
    pub failed_token: Option<String>,
    /// The API server's version, empty while it is not known.
    pub kubernetes_version: watch::Receiver<String>,
    pub desired: desired::Store,
    pub outbox: Outbox,
    pub journal: Journal,
    pub desk: Desk,
    pub channel: watch::Sender<Option<Channel>>,
    pub metrics: Metrics,
}

impl Link {
    /// Keeps a session with the hub until cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        cancel
            .run_until_cancelled(async {
                self.introduce().await;
                self.keep().await;
            })
            .await;
        self.channel.send_replace(None);
        self.metrics.connected.set(0);
    }

    /// Waits a moment for what Hello has to say of the cluster: it would take
    /// a second session to say it later.
    async fn introduce(&mut self) {
        let known = self.kubernetes_version.wait_for(|v| !v.is_empty());
        let _ = tokio::time::timeout(INTRODUCTION, known).await;
    }

    async fn keep(&mut self) {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let mut from_zero = false;
        loop {
            let began = Instant::now();
            self.metrics
                .certificate_expires
                .set(seconds(self.identity.not_after));
            let ended = Box::pin(self.session(from_zero)).await;
            self.channel.send_replace(None);
            self.metrics.connected.set(0);
            let good = began.elapsed() >= GOOD_SESSION;
            if good {
                backoff.reset();
            }
            from_zero = false;
            let wait = match ended {
                Ended::Renewed(identity) => {
                    info!(not_after = %time(identity.not_after), "certificate renewed");
                    self.identity = Arc::new(identity);
                    // At once, unless there is no end to it.
                    if good { Duration::ZERO } else { backoff.wait() }
                }
                Ended::Outdated => continue,
                Ended::Closed => {
                    // A hub that restarts closes all sessions at once.
                    let wait = if good {
                        FIRST_WAIT.mul_f64(rand::random())
                    } else {
                        backoff.wait()
                    };
                    info!(?wait, "the hub closed the session; connecting again");
                    wait
                }
                Ended::Diverged(cause) => {
                    from_zero = true;
                    let wait = backoff.wait();
                    warn!(%cause, ?wait, "the desired state does not add up: asking the hub for all of it");
                    wait
                }
                Ended::Superseded(cause) => {
                    // Two agents with one identity must not push each other out in a loop.
                    let wait = LONGEST_WAIT.mul_f64(0.5 + 0.5 * rand::random::<f64>());
                    warn!(%cause, ?wait, "another agent holds the session of this cluster; is a second one running with a copy of this data directory?");
                    wait
                }
                Ended::Refused(cause) | Ended::Stranger(cause)
                    if let Some(token) = self.new_token() =>
                {
                    warn!(%cause, "the hub and this agent's identity do not go together: joining again with the token given");
                    if self.join_again(&token).await {
                        continue;
                    }
                    backoff.wait()
                }
                Ended::Refused(cause) => {
                    let cluster = &self.identity.cluster;
                    error!(
                        %cluster, %cause, not_after = %time(self.identity.not_after),
                        "the hub does not take this agent's certificate. What is applied stays and is kept up; \
                         to join again, make a token with `lockstep token create --cluster {cluster}` and \
                         start the agent with --join-token"
                    );
                    LONGEST_WAIT.mul_f64(0.5 + 0.5 * rand::random::<f64>())
                }
                Ended::Stranger(cause) => {
                    let wait = backoff.wait();
                    error!(
                        hub = self.hub, %cause, ?wait,
                        "this is not the hub that the agent joined. If it was set up anew, make a token \
                         there and start the agent with --join-token; trying again"
                    );
                    wait
                }
                Ended::Failed(cause) => {
                    let wait = backoff.wait();
                    warn!(hub = self.hub, %cause, ?wait, "no session with the hub; trying again");
                    wait
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// A token that this identity did not come from: it was given for the case
    /// that the identity is of no use any more.
    fn new_token(&self) -> Option<JoinToken> {
        let token = self.token.read().unwrap_or_else(|error| {
            warn!(%error, "going on without");
            None
        });
        let failed = self.failed_token.as_deref();
        token.filter(|token| token.id() != self.identity.token_id && Some(token.id()) != failed)
    }

    async fn join_again(&mut self, token: &JoinToken) -> bool {
        match identity::enrol(&self.hub, token, &self.folder, &self.agent_version).await {
            Ok(identity) => {
                info!(cluster = %identity.cluster, "joined again");
                self.identity = Arc::new(identity);
                true
            }
            Err(error @ EnrolError::Unavailable(_)) => {
                warn!(%error, "trying again");
                false
            }
            Err(error) => {
                error!(%error, "joining again failed");
                self.failed_token = Some(token.id().to_owned());
                false
            }
        }
    }
}

/// Since 1970.
fn seconds(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs().cast_signed())
}

/// RFC 3339, for the log.
fn time(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| "unknown".into(), |t| t.to_string())
}

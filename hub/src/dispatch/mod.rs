//! The agents' end of the hub: tells each cluster its desired state, hands out
//! the Bundles that it is assigned, and takes its reports.
//!
//! What comes in are calls over connections whose client certificate
//! `transport` has verified; every one is checked against the cluster's
//! identity of this moment. What a cluster may have is read from `status` when
//! it is sent, so there is nothing here that could be out of date, and what
//! reports say goes there. Nothing here decides who gets what.

mod answer;
mod ear;
mod fetch;
mod intake;
mod link;
mod pace;
mod pack;
mod packs;
mod parts;
mod peer;
mod plans;
mod position;
mod registry;
mod service;
mod session;
mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lockstep_proto::ClusterName;
use lockstep_proto::v1::agent_service_server::AgentServiceServer;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;
use crate::pki::Pki;
use crate::status::Fleet;

use ear::Ear;
use intake::Intake;
use link::Cut;
use packs::Packs;
use plans::Plans;
pub use plans::{ABSENT, Answer, Answered, Question};
use registry::{Registry, SWEEP};
use service::Agents;
use view::View;

/// Larger than any message of an agent: a part of a plan has the most, and its
/// framing. A session's messages are held to 4 KiB where they are read.
const REQUEST_LIMIT: usize = plans::PART_LIMIT + (4 << 10);

/// How long an agent that is asked may take to begin: it reads all
/// Inventories before it can.
const BEGINNING: Duration = Duration::from_secs(20);
/// While an answer is waited for, how often it is looked whether it can still come.
const LOOK: Duration = Duration::from_secs(1);

/// What dispatch is made of. Cheap to clone.
#[derive(Clone)]
pub struct Dispatch(Arc<Shared>);

struct Shared {
    view: View,
    registry: Registry<View>,
    intake: Intake,
    packs: Packs,
    plans: Plans,
    pki: Pki,
    metrics: Metrics,
}

impl Dispatch {
    /// Starts serving the agents of `fleet`, until `cancel`. `scratch` is a
    /// folder for bundles on their way out.
    #[must_use]
    pub fn start(
        fleet: Fleet,
        pki: Pki,
        metrics: Metrics,
        scratch: PathBuf,
        tracker: &TaskTracker,
        cancel: &CancellationToken,
    ) -> Self {
        let store = fleet.store().clone();
        let view = View::new(fleet);
        let shared = Arc::new(Shared {
            registry: Registry::new(view.clone()),
            intake: Intake::default(),
            packs: Packs::new(store, scratch),
            plans: Plans::default(),
            view,
            pki,
            metrics,
        });
        let ledger = view::Ledger(Arc::clone(&shared));
        tracker.spawn(shared.intake.clone().run(ledger, cancel.clone()));
        tracker.spawn(Arc::clone(&shared).wake(cancel.clone()));
        tracker.spawn(Arc::clone(&shared).sweep(cancel.clone()));
        Self(shared)
    }

    /// Asks the agent of `cluster` what applying a Bundle would change, and
    /// waits for `patience` at most. Dropping the call withdraws the question,
    /// and with it the permission to fetch the Bundle.
    pub async fn plan(
        &self,
        cluster: &ClusterName,
        question: Arc<Question>,
        patience: Duration,
    ) -> Answered {
        self.0.ask(cluster, question, patience).await
    }

    /// The gRPC service, for the listener.
    #[must_use]
    pub fn service(&self) -> AgentServiceServer<Agents> {
        AgentServiceServer::new(Agents(Arc::clone(&self.0)))
            .max_decoding_message_size(REQUEST_LIMIT)
    }
}

impl Shared {
    /// Asks the agent of `cluster`, and waits for its answer.
    async fn ask(
        &self,
        cluster: &ClusterName,
        question: Arc<Question>,
        patience: Duration,
    ) -> Answered {
        if !self.registry.is_here(cluster) {
            return Err(ABSENT.to_owned());
        }
        let began = Instant::now();
        let mut asked = self.plans.ask(cluster, question);
        if let Some(link) = self.registry.get(cluster) {
            link.ask();
        }
        loop {
            if let Ok(answered) = tokio::time::timeout(LOOK, asked.answer()).await {
                return answered.unwrap_or_else(|| Err("the hub is stopping".to_owned()));
            }
            if !self.registry.is_here(cluster) {
                return Err("went offline before it had answered".to_owned());
            }
            if began.elapsed() >= BEGINNING && !asked.begun() {
                return Err(format!(
                    "its agent has not begun to answer within {} s: it may be too old to know this question, \
                     or busy with others: see its log",
                    BEGINNING.as_secs()
                ));
            }
            if began.elapsed() >= patience {
                return Err(format!("has not answered within {} s", patience.as_secs()));
            }
        }
    }

    /// Wakes the sessions of clusters that something happened to, and ends
    /// those of clusters that are gone.
    async fn wake(self: Arc<Self>, cancel: CancellationToken) {
        let dirty = self.view.dirty();
        loop {
            let clusters = tokio::select! {
                clusters = dirty.take() => clusters,
                () = cancel.cancelled() => break,
            };
            for cluster in clusters {
                let Some(link) = self.registry.get(&cluster) else {
                    continue;
                };
                if self.view.has_identity(&cluster, &link.identity) {
                    link.wake();
                } else {
                    self.registry.cut(&link, Cut::Revoked);
                }
            }
        }
        self.registry.shut_down();
    }

    /// Looks for sessions that have gone silent.
    async fn sweep(self: Arc<Self>, cancel: CancellationToken) {
        let mut ear = Ear::new(self.registry.now());
        loop {
            tokio::select! {
                () = tokio::time::sleep(SWEEP) => {}
                () = cancel.cancelled() => return,
            }
            let deaf = self.intake.full();
            self.registry
                .sweep(ear.silent_before(self.registry.now(), deaf));
            self.packs.trim();
        }
    }
}

#[cfg(test)]
mod tests;

//! The agent's parts without its engine, as `run` puts them together.

use std::path::Path;
use std::sync::Arc;

use lockstep_agent::bundle;
use lockstep_agent::cluster::Cluster;
use lockstep_agent::desired::{self, Desired, DesiredWatch};
use lockstep_agent::identity::{Folder, JoinToken, TokenSource, join};
use lockstep_agent::journal::Journal;
use lockstep_agent::link::Link;
use lockstep_agent::metrics::Metrics;
use lockstep_agent::plan::{Desk, Ground};
use lockstep_agent::report::Outbox;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::fake::FakeHub;
use crate::within;

pub struct Agent {
    pub desired: DesiredWatch,
    pub bundles: Arc<bundle::Store>,
    pub outbox: Outbox,
    pub journal: Journal,
    pub metrics: Metrics,
    pub kubernetes: watch::Sender<String>,
    desk: Desk,
    running: tokio::task::JoinHandle<()>,
    keeping: tokio::task::JoinHandle<()>,
    stop: DropGuard,
}

impl Agent {
    /// An agent that joins, or has joined, with its data in `dir`.
    pub async fn start(hub: &FakeHub, dir: &Path) -> Self {
        Self::with_token(hub, dir, Some(&hub.token())).await
    }

    pub async fn with_token(hub: &FakeHub, dir: &Path, token: Option<&str>) -> Self {
        let token = token.map_or(TokenSource::None, |token| {
            TokenSource::Given(JoinToken::parse(token).unwrap())
        });
        let folder = Folder::open(dir).unwrap();
        let joined = join(&hub.endpoint, &token, &folder, "0.0.0");
        let identity = within("the agent joins", joined).await.unwrap();
        let metrics = Metrics::default();
        let (store, desired) = desired::Store::open(dir).unwrap();
        let (channel, channels) = watch::channel(None);
        let bundles = bundle::Store::open(dir, channels, metrics.clone()).unwrap();
        let outbox = Outbox::new();
        let desk = Desk::default();
        let journal = Journal::open(dir).unwrap();
        let (kubernetes, kubernetes_version) = watch::channel("v1.36.3".to_owned());
        let link = Link {
            hub: hub.endpoint.clone(),
            agent_version: "0.0.0".into(),
            identity: Arc::new(identity),
            folder,
            token,
            failed_token: None,
            kubernetes_version,
            desired: store,
            outbox: outbox.clone(),
            journal: journal.clone(),
            desk: desk.clone(),
            channel,
            metrics: metrics.clone(),
        };
        let cancel = CancellationToken::new();
        Self {
            desired,
            bundles: Arc::new(bundles),
            outbox,
            keeping: tokio::spawn(journal.clone().keep(cancel.clone())),
            journal,
            metrics,
            kubernetes,
            desk,
            running: tokio::spawn(link.run(cancel.clone())),
            stop: cancel.drop_guard(),
        }
    }

    /// Waits until this is what the engine sees.
    pub async fn wants(&mut self, version: u64) -> Arc<Desired> {
        let seen = self.desired.wait_for(|desired| desired.version == version);
        within("the desired state arrives", seen)
            .await
            .unwrap()
            .clone()
    }

    /// From now on there is an engine that answers questions, with a cluster
    /// that is not there.
    pub fn open_desk(&self) {
        let nowhere = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let client = kube::Client::try_from(nowhere).unwrap();
        let cluster = Cluster::new(client, lockstep_agent::cluster::Metrics::default());
        self.desk.open(Arc::new(Ground::new(
            cluster,
            Arc::default(),
            self.bundles.clone(),
            lockstep_agent::caps::Caps::default(),
            self.desired.clone(),
        )));
    }

    /// Stops in order: what is only in memory is written.
    pub async fn stop(self) {
        drop(self.stop);
        let _ = self.running.await;
        self.keeping.await.unwrap();
    }

    /// Gone from one instruction to the next.
    pub async fn kill(self) {
        self.running.abort();
        self.keeping.abort();
        let _ = self.running.await;
    }
}

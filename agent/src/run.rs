//! Starts every part of the agent, sees each fail, and stops them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use prometheus_client::registry::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Run;
use crate::engine::EngineOptions;
use crate::http::Readiness;
use crate::identity::{Folder, TokenSource, join};
use crate::journal::Journal;
use crate::link::Link;
use crate::metrics::Metrics;
use crate::report::Outbox;
use crate::{bundle, desired, disk, engine, http, kubeconfig};

/// What the agent calls itself to the hub.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How long the parts may take to stop. Whatever they leave undone, the next
/// start finds and does.
const STOPPING: Duration = Duration::from_secs(5);

/// Runs the agent until a signal, or until a part of it cannot go on.
///
/// # Errors
/// What a person has to put right: everything else is tried again.
pub async fn run(args: Run, token: TokenSource) -> anyhow::Result<()> {
    let stopping = signals().context("cannot listen to signals")?;
    disk::folder(&args.data_dir).context("--data-dir")?;
    let _held = disk::lock(&args.data_dir).context("--data-dir")?;
    info!(version = VERSION, hub = args.hub, data_dir = %args.data_dir.display(), "starting");
    let caps = args.caps()?;

    let config = kubeconfig::load(args.kubeconfig.as_deref(), args.context.as_deref()).await?;
    let client = engine::connect(&config).context("cannot make a client for the cluster")?;

    let metrics = Metrics::default();
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let journal = Journal::open(&args.data_dir)?;
    let engine_options = EngineOptions {
        journal: journal.clone(),
        caps,
        ..EngineOptions::default()
    };
    engine_options.metrics.register(&mut registry);
    let desk = engine_options.desk.clone();
    let readiness = Readiness::default();
    let joining = readiness.waits_for("the hub to let this agent join");
    let reaching = readiness.waits_for("the Kubernetes API server");
    let listener = http::bind(args.http, &args.data_dir).await?;

    let (desired, wanted) = desired::Store::open(&args.data_dir)?;
    let folder = Folder::open(&args.data_dir)?;
    let (channel, hub) = watch::channel(None);
    let bundles = Arc::new(bundle::Store::open(&args.data_dir, hub, metrics.clone())?);
    let outbox = Outbox::new();
    let (kubernetes, kubernetes_version) = watch::channel(String::new());

    let mut parts = JoinSet::new();
    let cancel = CancellationToken::new();
    parts.spawn(engine::run(
        client.clone(),
        wanted,
        bundles,
        outbox.clone(),
        engine_options,
        cancel.clone(),
    ));
    parts.spawn(http::serve(listener, readiness, registry, cancel.clone()));
    parts.spawn({
        let keeping = journal.clone().keep(cancel.clone());
        async move {
            keeping.await;
            Ok(())
        }
    });
    parts.spawn({
        let cancel = cancel.clone();
        async move {
            let joined = join(&args.hub, &token, &folder, VERSION);
            let Some(identity) = cancel.run_until_cancelled(joined).await.transpose()? else {
                return Ok(());
            };
            drop(joining);
            let link = Link {
                hub: args.hub,
                agent_version: VERSION.into(),
                identity: Arc::new(identity),
                folder,
                token,
                failed_token: None,
                kubernetes_version,
                desired,
                outbox,
                journal,
                desk,
                channel,
                metrics,
            };
            link.run(cancel).await;
            Ok(())
        }
    });
    parts.spawn({
        let cancel = cancel.clone();
        async move {
            let version = kubeconfig::version(&client);
            let Some(version) = cancel.run_until_cancelled(version).await else {
                return Ok(());
            };
            info!(version, "the Kubernetes API server answers");
            drop(reaching);
            kubernetes.send_replace(version);
            cancel.cancelled().await;
            Ok(())
        }
    });

    let ended = tokio::select! {
        () = stopping => {
            info!("stopping");
            Ok(())
        }
        Some(ended) = parts.join_next() => ended.context("a part of the agent broke").flatten(),
    };
    cancel.cancel();
    let rest = tokio::time::timeout(STOPPING, async {
        while parts.join_next().await.is_some() {}
    });
    if rest.await.is_err() {
        warn!("not everything stopped in time; the next start puts it right");
    }
    ended
}

/// Waits for SIGTERM or SIGINT.
fn signals() -> std::io::Result<impl Future<Output = ()>> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

//! Starts every room in order, and stops them in the other.

mod addresses;
mod mint;
mod probes;
mod work;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use tonic::service::Routes;

use crate::api::Api;
use crate::auth::Auth;
use crate::config::Settings;
use crate::credentials::Credentials;
use crate::data_dir::DataDir;
use crate::diff::Diffs;
use crate::dispatch::Dispatch;
use crate::enrol::{Enrol, JoinTokens};
use crate::git::{Git, GitOptions, Limits};
use crate::metrics::Metrics;
use crate::pki::Pki;
use crate::rollout::{self, Content, Release};
use crate::status::{Fleet, FleetOptions};
use crate::store::Store;
use crate::transport::{Certificates, CountCalls, Listener};
use crate::web::{Readiness, Web};
use work::Work;

/// A hub that runs. Stop it with [`Hub::stop`].
pub struct Hub {
    /// Where it listens for agents and people.
    pub grpc: SocketAddr,
    /// Where it listens for webhooks and probes.
    pub http: SocketAddr,
    readiness: Readiness,
    work: Work,
    housekeeping: Work,
    // Dropped last: another hub may then take the folder.
    _data: DataDir,
}

/// What the rooms stand on: everything that is read from the data folder.
struct Ground {
    fleet: Fleet,
    pki: Pki,
    credentials: Credentials,
    auth: Auth,
    metrics: Metrics,
}

impl Ground {
    async fn open(data: &DataDir, settings: &Settings) -> anyhow::Result<Self> {
        let metrics = Metrics::new();
        let store = Store::open_measured(data.join("lockstep.db"), metrics.clone())?;
        let pki = Pki::open(&data.folder("pki")?, SystemTime::now())?;
        let options = FleetOptions {
            allow_file: settings.allow_file_repositories,
            ..FleetOptions::default()
        };
        let fleet = Fleet::load(store.clone(), options).await?;
        Ok(Self {
            credentials: Credentials::open(fleet.clone(), &data.join("secret.key"))?,
            auth: Auth::load(store).await?,
            fleet,
            pki,
            metrics,
        })
    }
}

impl Hub {
    /// Starts a hub. When this returns it takes calls, and `admin.yaml` says how.
    ///
    /// # Errors
    /// In words, with the next step, for the person who started it.
    pub async fn start(settings: Settings) -> anyhow::Result<Self> {
        let data = DataDir::open(&settings.data_dir)?;
        let readiness = Readiness::default();
        let starting = readiness.wait_for("the start to finish");
        let ground = Ground::open(&data, &settings).await?;
        let certificates = Certificates::new(ground.pki.clone(), addresses::names(&settings))?;
        let grpc = addresses::bind(&settings.listen, data.address("grpc.addr"), "--listen").await?;
        let http = addresses::bind(&settings.http, data.address("http.addr"), "--http").await?;
        let (grpc_address, http_address) = (grpc.local_addr()?, http.local_addr()?);

        let housekeeping = Work::default();
        let keep = ground.fleet.clone().keep(housekeeping.cancel.clone());
        housekeeping.room("housekeeping", keep);
        let work = Work::default();
        let routes = start_rooms(&ground, &data, &settings, &work).await?;
        let listener = Listener::new(grpc, certificates.clone(), ground.metrics.clone());
        let calls = CountCalls::new(routes, ground.metrics.clone());
        let (tracker, cancel) = (work.tracker.clone(), work.cancel.clone());
        work.room("gRPC", listener.serve(calls, tracker, cancel));
        let fresh = certificates.keep_fresh(work.cancel.clone());
        work.room("certificates", fresh);
        let web = Web {
            fleet: ground.fleet.clone(),
            credentials: ground.credentials.clone(),
            metrics: ground.metrics.clone(),
            readiness: readiness.clone(),
        };
        let (tracker, cancel) = (work.tracker.clone(), work.cancel.clone());
        let web = crate::web::serve(http, web.router(), tracker, cancel);
        work.room("HTTP", web);

        announce(&settings, &ground, &data, grpc_address, http_address).await?;
        drop(starting);
        Ok(Self {
            grpc: grpc_address,
            http: http_address,
            readiness,
            work,
            housekeeping,
            _data: data,
        })
    }

    /// Resolves when a part of the hub has failed and it has to be started anew.
    pub async fn failed(&self) {
        tokio::select! {
            () = self.work.failed() => {}
            () = self.housekeeping.failed() => {}
        }
    }

    /// Stops: no new work, what is in progress comes to its end, what is only
    /// in memory is written.
    pub async fn stop(self) {
        tracing::info!("stopping");
        let _stopping = self.readiness.wait_for("the end: the hub is stopping");
        if !self.work.stop().await {
            tracing::warn!("some work did not end in time and is cut");
        }
        if !self.housekeeping.stop().await {
            tracing::warn!("the database did not take the last states of connections in time");
        }
        tracing::info!("stopped");
    }
}

/// Starts what turns commits into desired states and serves agents; returns
/// the gRPC services.
async fn start_rooms(
    ground: &Ground,
    data: &DataDir,
    settings: &Settings,
    work: &Work,
) -> anyhow::Result<Routes> {
    let (fleet, pki, metrics) = (&ground.fleet, &ground.pki, &ground.metrics);
    let mirrors = GitOptions {
        dir: data.folder("git")?,
        allow_file: settings.allow_file_repositories,
        limits: Limits::default(),
        credentials: Arc::new(ground.credentials.clone()),
        metrics: metrics.clone(),
    };
    let git = Git::start(mirrors, fleet.clone(), &work.tracker, work.cancel.clone()).await?;
    let content = Content::new(fleet.store().clone(), git, metrics.clone());
    let release = Release::new(fleet.clone(), content.clone());
    let rollout = rollout::run(release.clone(), work.cancel.clone());
    work.room("rollout", rollout);
    let dispatch = Dispatch::start(
        fleet.clone(),
        pki.clone(),
        metrics.clone(),
        data.folder("scratch")?,
        &work.tracker,
        &work.cancel,
    );
    let mint = mint::Mint {
        join_tokens: JoinTokens::new(fleet.clone(), pki.clone()),
        credentials: ground.credentials.clone(),
    };
    let diffs = Diffs::new(fleet.clone(), content, dispatch.clone());
    let api = Api::server(
        fleet.clone(),
        Arc::new(mint),
        Arc::new(release),
        Arc::new(diffs),
        work.cancel.clone(),
    );
    let routes = Routes::new(dispatch.service())
        .add_service(Enrol::server(fleet.clone(), pki.clone(), metrics.clone()))
        .add_service(ground.auth.guard(api));
    Ok(probes::add(routes).await?.prepare())
}

/// Says where the hub is, in files and in the log.
async fn announce(
    settings: &Settings,
    ground: &Ground,
    data: &DataDir,
    grpc: SocketAddr,
    http: SocketAddr,
) -> anyhow::Result<()> {
    if settings.advertise.is_none() && settings.listen.is_unspecified() {
        tracing::warn!(
            "no --advertise HOST:PORT: agents and people on other machines need a name or address \
             of this one, and the server certificate has to hold it"
        );
    }
    let endpoint = addresses::endpoint(settings, grpc.port()).to_string();
    let admin = data.join("admin.yaml");
    crate::admin::write_context(&admin, &endpoint, ground.pki.ca_pem(), &ground.auth).await?;
    data.put_address("grpc.addr", grpc)?;
    data.put_address("http.addr", http)?;
    tracing::info!(%grpc, %http, endpoint, admin = %admin.display(), "listening");
    Ok(())
}

#[cfg(test)]
mod tests;

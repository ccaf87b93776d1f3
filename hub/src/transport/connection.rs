//! One connection: its handshake, its HTTP/2, its end.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tower::ServiceExt as _;

use super::accept::GrpcService;
use super::peer::PeerInfo;
use crate::metrics::Metrics;
use crate::pki::Pki;

/// Long enough for a bad line, short enough that silence holds no place.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that went away without a word is noticed within the sum of both.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Connections are made anew about this often, so that a certificate that
/// ended is not served for long, and load spreads over hubs that came later.
const AGE: Duration = Duration::from_secs(3600);
/// What is in progress at that age may go on for this long.
const AGE_GRACE: Duration = Duration::from_secs(60);
/// What is in progress when the hub stops.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// Small, because there is one of each for every agent: nothing large comes
/// in, and what goes out is flushed as it comes.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
const SEND_BUFFER: usize = 64 * 1024;
const STREAMS: u32 = 100;
const HEADERS: u32 = 16 * 1024;

/// A connection that has said nothing yet.
pub(super) struct Handshake {
    pub tcp: TcpStream,
    pub address: SocketAddr,
    pub config: Arc<ServerConfig>,
    pub pki: Pki,
    pub metrics: Metrics,
    /// Held until the handshake is over.
    pub turn: OwnedSemaphorePermit,
    /// Places for those who show no certificate.
    pub strangers: Arc<Semaphore>,
}

impl Handshake {
    async fn perform(self) -> Option<(TlsStream<TcpStream>, PeerInfo, Open)> {
        let address = self.address;
        let _ = self.tcp.set_nodelay(true);
        let _ = sockopt::set_socket_keepalive(&self.tcp, true);
        let tls = TlsAcceptor::from(self.config).accept(self.tcp);
        let result = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls).await;
        drop(self.turn);
        let stream = match result {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                self.metrics.handshake("failed");
                tracing::debug!(%address, %error, "TLS handshake failed");
                return None;
            }
            Err(_) => {
                self.metrics.handshake("timeout");
                tracing::debug!(%address, "TLS handshake took too long");
                return None;
            }
        };
        let certificate = stream.get_ref().1.peer_certificates();
        let certificate = certificate.and_then(|chain| chain.first());
        let certificate = certificate.map(AsRef::as_ref);
        let Some(peer) = PeerInfo::read(address, certificate, &self.pki, SystemTime::now()) else {
            self.metrics.handshake("failed");
            tracing::warn!(%address, "refused a client certificate that names no cluster");
            return None;
        };
        let mut place = None;
        if peer.renewing().is_none() {
            let Ok(taken) = self.strangers.try_acquire_owned() else {
                self.metrics.handshake("crowded");
                tracing::warn!(%address, "refused a connection: too many without a certificate");
                return None;
            };
            place = Some(taken);
        }
        self.metrics.handshake("ok");
        Some((stream, peer, Open::new(self.metrics, place)))
    }
}

/// Counts a connection for as long as it lives.
struct Open {
    metrics: Metrics,
    _place: Option<OwnedSemaphorePermit>,
}

impl Open {
    fn new(metrics: Metrics, place: Option<OwnedSemaphorePermit>) -> Self {
        metrics.connection(true);
        Self {
            metrics,
            _place: place,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.connection(false);
    }
}

/// Starts the tasks of a connection's streams where somebody waits for them.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

pub(super) async fn serve<S: GrpcService>(
    handshake: Handshake,
    service: S,
    tracker: TaskTracker,
    cancel: CancellationToken,
) {
    let performed = tokio::select! {
        () = cancel.cancelled() => return,
        performed = Box::pin(handshake.perform()) => performed,
    };
    let Some((stream, peer, open)) = performed else {
        return;
    };
    let address = peer.address;
    let service = service.map_request(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        request.map(Body::new)
    });
    let connection = http2::Builder::new(Tracked(tracker))
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = pin!(connection);

    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = cancel.cancelled() => None,
        () = tokio::time::sleep(age(rand::random())) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            let aged = Instant::now();
            let grace = async {
                tokio::time::sleep_until(aged + AGE_GRACE).await;
            };
            let stop = async {
                cancel.cancelled().await;
                tokio::time::sleep(STOP_GRACE).await;
            };
            tokio::select! {
                ended = &mut connection => ended,
                () = grace => Ok(()),
                () = stop => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%address, %error, "connection broke");
    }
    drop(open);
}

/// A tenth more or less than [`AGE`]: agents that connected together after a
/// restart do not come back together.
fn age(chance: f64) -> Duration {
    AGE.mul_f64(0.9 + 0.2 * chance.clamp(0.0, 1.0))
}

//! The accept loop: one tracked task for each connection, from the handshake
//! to its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tower::Service;

use super::connection::{self, Handshake};
use super::tls::Certificates;
use crate::metrics::Metrics;

/// Handshakes at once: those who say nothing must not keep others waiting, and
/// each holds a few kilobytes.
const HANDSHAKES: usize = 4096;
/// Connections without a certificate: people, machines, and agents that are
/// about to join. Agents that have joined are as many as there are.
const STRANGERS: usize = 8192;
/// After an error of `accept` (out of file descriptors, mostly): connections
/// that end free what is missing.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// What serves gRPC requests.
pub trait GrpcService:
    Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + 'static
{
}

impl<S> GrpcService for S where
    S: Service<
            Request<Body>,
            Response = Response<Body>,
            Error = Infallible,
            Future: Send + 'static,
        > + Clone
        + Send
        + 'static
{
}

/// A bound listener, ready to serve.
pub struct Listener {
    tcp: TcpListener,
    certificates: Certificates,
    metrics: Metrics,
}

impl Listener {
    #[must_use]
    pub fn new(tcp: TcpListener, certificates: Certificates, metrics: Metrics) -> Self {
        Self {
            tcp,
            certificates,
            metrics,
        }
    }

    /// Serves `service` until `cancel`; connections end on their own tasks in
    /// `tracker`, soon after.
    pub async fn serve<S: GrpcService>(
        self,
        service: S,
        tracker: TaskTracker,
        cancel: CancellationToken,
    ) {
        let turns = Arc::new(Semaphore::new(HANDSHAKES));
        let strangers = Arc::new(Semaphore::new(STRANGERS));
        loop {
            let accepted = tokio::select! {
                () = cancel.cancelled() => return,
                accepted = self.accept(&turns) => accepted,
            };
            let (tcp, address, turn) = accepted;
            let handshake = Handshake {
                tcp,
                address,
                config: self.certificates.current(),
                pki: self.certificates.pki().clone(),
                metrics: self.metrics.clone(),
                turn,
                strangers: Arc::clone(&strangers),
            };
            let serve =
                connection::serve(handshake, service.clone(), tracker.clone(), cancel.clone());
            tracker.spawn(serve);
        }
    }

    async fn accept(
        &self,
        turns: &Arc<Semaphore>,
    ) -> (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit) {
        loop {
            let turn = Arc::clone(turns)
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            match self.tcp.accept().await {
                Ok((tcp, address)) => return (tcp, address, turn),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection; trying again");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }
}

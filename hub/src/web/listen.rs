//! The HTTP listener: HTTP/1.1, one tracked task for each connection.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Forges, a few Prometheus and probes.
const CONNECTIONS: usize = 512;
/// Also between two requests on one connection.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);
const HEADERS_LIMIT: usize = 16 * 1024;
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// What is in progress when the hub stops.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Serves `router` until `cancel`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tracker: TaskTracker,
    cancel: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accept = async {
            let place = Arc::clone(&places)
                .acquire_owned()
                .await
                .expect("the semaphore is never closed");
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            () = cancel.cancelled() => return,
            accepted = accept => accepted,
        };
        match accepted {
            Ok((tcp, _)) => {
                let (router, cancel) = (router.clone(), cancel.clone());
                tracker.spawn(async move {
                    connection(tcp, router, cancel).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection; trying again");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

async fn connection(tcp: TcpStream, router: Router, cancel: CancellationToken) {
    let _ = tcp.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIMEOUT)
        .max_buf_size(HEADERS_LIMIT)
        .serve_connection(TokioIo::new(tcp), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // A caller that went away is no news.
        _ = &mut connection => return,
        () = cancel.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = tokio::time::timeout(STOP_GRACE, connection).await;
}

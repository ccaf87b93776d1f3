//! `/livez`, `/readyz` and `/metrics`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::disk;

/// What the agent waits for before it does its work. Ready when nothing is left.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    waiting: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

impl Readiness {
    /// Not ready until the guard is dropped.
    #[must_use]
    pub fn waits_for(&self, what: &'static str) -> Guard {
        *self.waiting.lock().entry(what).or_default() += 1;
        Guard {
            what,
            readiness: self.clone(),
        }
    }

    fn waiting(&self) -> Vec<&'static str> {
        self.waiting.lock().keys().copied().collect()
    }
}

/// Holds readiness back.
#[derive(Debug)]
pub struct Guard {
    what: &'static str,
    readiness: Readiness,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut waiting = self.readiness.waiting.lock();
        if let Some(count) = waiting.get_mut(self.what) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(self.what);
            }
        }
    }
}

/// Binds, says where, and gives the listener.
///
/// # Errors
/// The address is taken, or DATA-DIR/http.addr cannot be written.
pub async fn bind(address: SocketAddr, data_dir: &Path) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} (--http)"))?;
    let address = listener.local_addr()?;
    disk::replace(&data_dir.join("http.addr"), address.to_string().as_bytes())?;
    info!(http = %address, "listening");
    Ok(listener)
}

/// Serves until cancelled.
///
/// # Errors
/// What the listener says.
pub async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    registry: Registry,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    let registry = Arc::new(registry);
    let router = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(async move || readyz(&readiness)))
        .route("/metrics", get(async move || metrics(&registry)));
    axum::serve(listener, router)
        .with_graceful_shutdown(cancel.cancelled_owned())
        .await
        .context("the HTTP listener failed")
}

fn readyz(readiness: &Readiness) -> (StatusCode, String) {
    let waiting = readiness.waiting();
    if waiting.is_empty() {
        (StatusCode::OK, "ok\n".into())
    } else {
        let text = format!("waiting for {}\n", waiting.join(", "));
        (StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

fn metrics(registry: &Registry) -> impl IntoResponse + use<> {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry)
        .expect("writing to a String does not fail");
    ([(header::CONTENT_TYPE, OPEN_METRICS)], text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_ready_when_nothing_is_waited_for() {
        let readiness = Readiness::default();
        let (one, two) = (readiness.waits_for("a"), readiness.waits_for("a"));
        let three = readiness.waits_for("b");
        assert_eq!(readyz(&readiness).1, "waiting for a, b\n");
        drop((one, three));
        assert_eq!(readyz(&readiness).1, "waiting for a\n");
        drop(two);
        assert_eq!(readyz(&readiness), (StatusCode::OK, "ok\n".into()));
    }
}

//! Plain HTTP: webhooks, metrics, health.
//!
//! In come calls from forges, Prometheus and probes; out go marks on
//! repositories to look at, numbers, and whether the hub is ready. Nothing here
//! waits for a fetch, and nothing but a webhook changes anything.

mod hooks;
mod listen;
mod ready;
mod signature;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};

use crate::credentials::Credentials;
use crate::metrics::Metrics;
use crate::status::Fleet;

pub use listen::serve;
pub use ready::{Readiness, Unready};

/// What the pages are made from.
#[derive(Clone)]
pub struct Web {
    pub fleet: Fleet,
    pub credentials: Credentials,
    pub metrics: Metrics,
    pub readiness: Readiness,
}

impl Web {
    /// Everything that is served.
    pub fn router(self) -> Router {
        Router::new()
            .route("/", get(front))
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/hooks/{forge}/{repository}", post(hooks::take))
            .with_state(self)
    }
}

async fn front() -> &'static str {
    concat!(
        "Lockstep hub ",
        env!("CARGO_PKG_VERSION"),
        "\n\n/livez   /readyz   /metrics\n",
        "POST /hooks/github|gitlab|gitea|bitbucket|azure|generic/REPOSITORY\n",
    )
}

async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(web): State<Web>) -> impl IntoResponse {
    let waiting = web.readiness.waiting();
    if waiting.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        let text = format!("waiting for {}\n", waiting.join(", "));
        (StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

async fn metrics(State(web): State<Web>) -> impl IntoResponse {
    web.metrics.clusters(&web.fleet.counts());
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, openmetrics)], web.metrics.encode())
}

#[cfg(test)]
mod tests;

//! The agent's link against a hub that a test plays, over real TLS: joining,
//! sessions, and Bundles.

#![allow(clippy::unwrap_used)] // all of it is a test

mod agent;
mod binary;
mod bundles;
mod fake;
mod joining;
mod journal;
mod plans;
mod renewing;
mod sessions;

use std::time::Duration;

/// Far more than anything here takes; a test that waits so long has failed.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .unwrap_or_else(|_| panic!("nothing came of: {what}"))
}

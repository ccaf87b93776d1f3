//! How the agent reaches the cluster that it runs for.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::time::timeout;
use tracing::warn;

use crate::link::Backoff;

/// A server that answers at all says its version within this.
const VERSION: Duration = Duration::from_secs(10);
/// Between tries while the API server is away, at first and at most.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What `kubeconfig` and `context` say, else the pod's service account.
///
/// # Errors
/// Names the file, the context or the variable that is not as it should be.
pub async fn load(kubeconfig: Option<&Path>, context: Option<&str>) -> anyhow::Result<Config> {
    let Some(path) = kubeconfig else {
        return Config::incluster()
            .context("not in a pod: give --kubeconfig, or run in a pod with a service account");
    };
    let named = || format!("kubeconfig {}", path.display());
    let kubeconfig = Kubeconfig::read_from(path).with_context(named)?;
    let options = KubeConfigOptions {
        context: context.map(ToOwned::to_owned),
        ..KubeConfigOptions::default()
    };
    Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .with_context(named)
}

/// Waits until the API server answers, and gives its version.
pub async fn version(client: &Client) -> String {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    loop {
        let cause = match timeout(VERSION, client.apiserver_version()).await {
            Ok(Ok(version)) => return version.git_version,
            Ok(Err(error)) => lockstep_proto::client::innermost(&error),
            Err(_) => format!("no answer within {} seconds", VERSION.as_secs()),
        };
        let wait = backoff.wait();
        warn!(%cause, ?wait, "the Kubernetes API server cannot be reached; trying again");
        tokio::time::sleep(wait).await;
    }
}

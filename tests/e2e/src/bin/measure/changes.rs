//! When the API showed a change: one watch on the ConfigMaps of a namespace,
//! as any client would hold it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{WatchEvent, WatchParams};
use kube::{Api, Client};
use lockstep_e2e::{Context as _, Result, bail};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// The value of `data.round` of each ConfigMap, and when it was seen.
pub type Seen = BTreeMap<String, (String, Instant)>;

pub struct Changes {
    seen: watch::Receiver<Seen>,
    task: AbortHandle,
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Changes {
    pub async fn of(client: Client, namespace: &str) -> Result<Self> {
        let api: Api<ConfigMap> = Api::namespaced(client, namespace);
        let parameters = WatchParams::default().timeout(290);
        let mut events = api.watch(&parameters, "0").await?.boxed();
        let (sender, seen) = watch::channel(Seen::new());
        let task = tokio::spawn(async move {
            while let Ok(Some(event)) = events.try_next().await {
                let now = Instant::now();
                let (WatchEvent::Added(object) | WatchEvent::Modified(object)) = event else {
                    continue;
                };
                let round = object.data.and_then(|mut data| data.remove("round"));
                if let (Some(name), Some(round)) = (object.metadata.name, round) {
                    sender.send_modify(|seen| {
                        // The first sight of a value counts.
                        if seen.get(&name).is_none_or(|(value, _)| *value != round) {
                            seen.insert(name, (round, now));
                        }
                    });
                }
            }
        });
        Ok(Self {
            seen,
            task: task.abort_handle(),
        })
    }

    /// Waits until `count` ConfigMaps have the value; when the last one got it.
    pub async fn all_have(&mut self, round: &str, count: usize) -> Result<Instant> {
        let times = |seen: &Seen| -> Vec<Instant> {
            let matching = seen.values().filter(|(value, _)| value == round);
            matching.map(|(_, time)| *time).collect()
        };
        let done = self.seen.wait_for(|seen| times(seen).len() >= count);
        match tokio::time::timeout(Duration::from_secs(60), done).await {
            Ok(Ok(seen)) => times(&seen)
                .into_iter()
                .max()
                .context("at least one object"),
            Ok(Err(_)) => bail!("the watch ended"),
            Err(_) => bail!("round {round} did not arrive within 60 s"),
        }
    }
}

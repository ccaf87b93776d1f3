//! `DATA-DIR/bundles`: what is there is handed out, what is not is fetched.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use lockstep_proto::Digest;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tonic::transport::Channel;
use tracing::{debug, warn};

use super::fetch::{FetchError, fetch};
use super::{BundleError, BundleFile, BundleSource};
use crate::disk;
use crate::link::{Backoff, ChannelWatch};
use crate::metrics::Metrics;

/// Each fetch holds a decompression window and one object.
const FETCHES: usize = 2;
/// Between tries while the hub is away, at first and at most.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Bundles on disk, and the hub behind them.
pub struct Store {
    folder: PathBuf,
    hub: ChannelWatch,
    /// Read through and found whole since the start: bits rot, but not that fast.
    whole: Mutex<HashSet<Digest>>,
    fetches: Semaphore,
    metrics: Metrics,
}

impl Store {
    /// Opens, and if need be makes, `DATA-DIR/bundles`.
    ///
    /// # Errors
    /// What the file system says, with the path.
    pub fn open(data_dir: &Path, hub: ChannelWatch, metrics: Metrics) -> io::Result<Self> {
        let folder = data_dir.join("bundles");
        disk::folder(&folder)?;
        Ok(Self {
            folder,
            hub,
            whole: Mutex::default(),
            fetches: Semaphore::new(FETCHES),
            metrics,
        })
    }

    /// The Bundle if it is on disk and whole. What is damaged is removed.
    async fn on_disk(&self, digest: Digest) -> Result<Option<BundleFile>, BundleError> {
        let file = BundleFile::at(&self.folder, digest);
        if !file.path().exists() {
            return Ok(None);
        }
        if self.whole.lock().contains(&digest) {
            return Ok(Some(file));
        }
        let checked = file.clone();
        let verdict = blocking(digest, move || checked.verify()).await;
        match verdict {
            Ok(()) => {
                self.whole.lock().insert(digest);
                Ok(Some(file))
            }
            Err(error @ BundleError::Damaged { .. }) => {
                warn!(%error, path = %file.path().display(), "removing it from disk");
                std::fs::remove_file(file.path())
                    .map_err(|source| BundleError::Disk { digest, source })?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn get(
        &self,
        digest: Digest,
        mut have: Option<Digest>,
    ) -> Result<BundleFile, BundleError> {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let mut hub = self.hub.clone();
        loop {
            if let Some(file) = self.on_disk(digest).await? {
                return Ok(file);
            }
            let channel = connected(&mut hub).await;
            let permit = self.fetches.acquire().await.expect("it is never closed");
            // Another Assignment may have brought it while we waited.
            if let Some(file) = self.on_disk(digest).await? {
                return Ok(file);
            }
            let base = match have.filter(|have| *have != digest) {
                Some(have) => self.on_disk(have).await?,
                None => None,
            };
            let with_base = base.is_some();
            let fetched = fetch(channel, &self.folder, digest, base).await;
            drop(permit);
            match fetched {
                Ok((file, bytes)) => {
                    debug!(%digest, bytes, delta = with_base, "bundle fetched");
                    self.metrics.bundles.inc();
                    self.metrics.bundle_bytes.inc_by(bytes);
                    self.whole.lock().insert(digest);
                    return Ok(file);
                }
                Err(FetchError::Final(BundleError::Damaged { cause, .. })) if with_base => {
                    warn!(%digest, %cause, "the parts of the bundle do not add up: fetching all of it");
                    self.metrics.bundle_failures.inc();
                    have = None;
                }
                Err(FetchError::Final(error)) => {
                    self.metrics.bundle_failures.inc();
                    return Err(error);
                }
                Err(FetchError::Passing(cause)) => {
                    self.metrics.bundle_failures.inc();
                    let wait = backoff.wait();
                    warn!(%digest, %cause, ?wait, "cannot fetch the bundle; trying again");
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }
}

impl BundleSource for Store {
    fn bundle(
        &self,
        digest: Digest,
        have: Option<Digest>,
    ) -> BoxFuture<'_, Result<BundleFile, BundleError>> {
        self.get(digest, have).boxed()
    }

    fn retain(&self, keep: &HashSet<Digest>) {
        self.whole.lock().retain(|digest| keep.contains(digest));
        let keep: HashSet<PathBuf> = keep
            .iter()
            .map(|digest| BundleFile::at(&self.folder, *digest).path().to_owned())
            .collect();
        let Ok(entries) = std::fs::read_dir(&self.folder) else {
            return;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            // Drafts are somebody's fetch that is under way.
            let complete = path.extension().is_some_and(|suffix| suffix == "zst");
            if complete && !keep.contains(&path) {
                debug!(path = %path.display(), "forgetting a bundle");
                if let Err(error) = std::fs::remove_file(&path) {
                    warn!(path = %path.display(), %error, "cannot remove a bundle that nothing needs");
                }
            }
        }
    }
}

/// Waits until there is a session with the hub.
async fn connected(hub: &mut ChannelWatch) -> Channel {
    let channel = match hub.wait_for(Option::is_some).await {
        Ok(channel) => channel.clone(),
        Err(_) => None,
    };
    match channel {
        Some(channel) => channel,
        // The link has ended: the agent is on its way out.
        None => std::future::pending().await,
    }
}

/// Runs what reads or writes a whole Bundle where it blocks nobody.
pub(super) async fn blocking<T: Send + 'static>(
    digest: Digest,
    work: impl FnOnce() -> Result<T, BundleError> + Send + 'static,
) -> Result<T, BundleError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(BundleError::Disk {
                digest,
                source: error.into(),
            })
        })
}

//! Tasks that are told to stop together, and whose failure somebody sees.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a stopping hub waits for what is in progress.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Cheap to clone; clones share the tasks.
#[derive(Clone, Default)]
pub(super) struct Work {
    pub tracker: TaskTracker,
    pub cancel: CancellationToken,
    /// A room ended that should run for as long as the hub does.
    failed: CancellationToken,
}

impl Work {
    /// Runs a room until it is told to stop. A room that ends before that has
    /// a bug, and a hub without it would only seem to work.
    pub fn room(&self, name: &'static str, room: impl Future<Output = ()> + Send + 'static) {
        let (cancel, failed) = (self.cancel.clone(), self.failed.clone());
        self.tracker.spawn(async move {
            let ended = AssertUnwindSafe(room).catch_unwind().await;
            if ended.is_err() || !cancel.is_cancelled() {
                tracing::error!(room = name, "a part of the hub ended: this is a bug");
                failed.cancel();
            }
        });
    }

    /// Resolves when a room has failed.
    pub async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Whether everything ended in time.
    pub async fn stop(self) -> bool {
        self.cancel.cancel();
        self.tracker.close();
        let ended = tokio::time::timeout(STOP_TIMEOUT, self.tracker.wait()).await;
        ended.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_room_that_panics_or_ends_by_itself_is_noticed() {
        let work = Work::default();
        work.room("panics", async { panic!("a bug") });
        work.failed().await;
        let work = Work::default();
        work.room("ends", async {});
        work.failed().await;
    }

    #[tokio::test]
    async fn a_room_that_ends_when_told_has_not_failed() {
        let work = Work::default();
        let cancel = work.cancel.clone();
        work.room("waits", async move { cancel.cancelled().await });
        let clone = work.clone();
        assert!(work.stop().await);
        assert!(clone.failed().now_or_never().is_none());
    }
}

//! `DATA-DIR/journal.pb`: replaced as a whole, some time after something was
//! recorded or acknowledged. What came in between is lost with the process.

use std::io;
use std::path::Path;
use std::time::Duration;

use lockstep_proto::v1::ObjectEvent;
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Journal, ROOM, Shared};
use crate::disk;

/// How long events gather before they are written: what `kill -9` may cost.
const GATHER: Duration = Duration::from_millis(200);
/// Between tries where the disk takes nothing.
const RETRY: Duration = Duration::from_secs(10);

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Kept {
    #[prost(uint64, tag = "1")]
    pub last: u64,
    #[prost(uint64, tag = "2")]
    pub lost: u64,
    #[prost(message, repeated, tag = "3")]
    pub events: Vec<ObjectEvent>,
}

/// What was kept; nothing where there is none or it is damaged.
pub(super) fn read(path: &Path) -> io::Result<Kept> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::default()),
        Err(error) => return Err(disk::at(path)(error)),
    };
    let kept = Kept::decode(&*bytes).map_err(|error| error.to_string());
    let kept = kept.and_then(|kept| {
        let ids = kept.events.iter().map(|event| event.id);
        if kept.events.len() <= ROOM && ids.clone().is_sorted() && ids.max() <= Some(kept.last) {
            Ok(kept)
        } else {
            Err("its events are out of order".into())
        }
    });
    Ok(kept.unwrap_or_else(|cause| {
        warn!(path = %path.display(), %cause, "the journal on disk is damaged: what waited in it for the hub's history is lost");
        Kept::default()
    }))
}

impl Journal {
    /// Writes what changed, until `cancel` and then once more. Never fails: a
    /// disk that takes nothing costs what a crash would cost.
    pub async fn keep(self, cancel: CancellationToken) {
        loop {
            let stopping = cancel
                .run_until_cancelled(async {
                    self.shared.unkept.notified().await;
                    tokio::time::sleep(GATHER).await;
                })
                .await
                .is_none();
            if let Err(error) = self.write().await {
                warn!(%error, "cannot keep the journal on disk; it stays in memory");
                self.shared.unkept.notify_one();
                cancel.run_until_cancelled(tokio::time::sleep(RETRY)).await;
            }
            if stopping {
                return;
            }
        }
    }

    pub(super) async fn write(&self) -> io::Result<()> {
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || shared.write()).await?
    }
}

impl Shared {
    fn write(&self) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let kept = {
            let mut state = self.state.lock();
            if !std::mem::take(&mut state.unkept) {
                return Ok(());
            }
            Kept {
                last: state.last,
                lost: state.lost,
                events: state.events.iter().cloned().collect(),
            }
        };
        let written = disk::replace(path, &kept.encode_to_vec());
        if written.is_err() {
            self.state.lock().unkept = true;
        }
        written
    }
}

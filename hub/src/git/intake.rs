//! A pack on its way into a mirror: bytes come from the network's tasks through
//! a bounded channel, libgit2 indexes them on a thread of its own. What is not
//! finished leaves nothing behind.

use std::cell::Cell;
use std::io::Write as _;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::cause::RemoteError;
use super::mirror::{Mirror, MirrorError};
use super::scan::Scan;

/// Pieces that wait for the indexer; each is at most a packet, 64 KiB.
const WAITING: usize = 8;

/// When work that blocks is to be given up.
#[derive(Debug, Clone)]
pub(super) struct Until {
    pub deadline: Instant,
    pub cancel: CancellationToken,
}

enum Piece {
    Bytes(Bytes),
    End,
}

/// The way into a mirror for one pack.
pub(super) struct Intake {
    pieces: mpsc::Sender<Piece>,
    indexer: JoinHandle<Result<(), MirrorError>>,
}

impl Intake {
    /// Starts the indexer; it gives up when `until` says so.
    pub(super) fn start(mirror: Mirror, until: Until) -> Self {
        let (pieces, mut taken) = mpsc::channel(WAITING);
        let indexer = tokio::task::spawn_blocking(move || {
            write_pack(&mirror, &until, |each| {
                while let Some(piece) = taken.blocking_recv() {
                    match piece {
                        Piece::Bytes(bytes) => each(&bytes)?,
                        Piece::End => return Ok(()),
                    }
                }
                Err(MirrorError::Unsound("the pack was cut off".into()))
            })
        });
        Self { pieces, indexer }
    }

    /// Adds bytes. False when the indexer gave up: [`Intake::finish`] says why.
    pub(super) async fn put(&self, bytes: Bytes) -> bool {
        self.pieces.send(Piece::Bytes(bytes)).await.is_ok()
    }

    /// Waits until all of the pack is in the mirror.
    pub(super) async fn finish(self) -> Result<(), RemoteError> {
        // Where the indexer is gone it has a reason, which comes out below.
        let _ = self.pieces.send(Piece::End).await;
        drop(self.pieces);
        joined(self.indexer.await)
    }

    /// Drops what came so far, and waits until nothing of it is left.
    pub(super) async fn abandon(self) {
        drop(self.pieces);
        let _ = self.indexer.await;
    }
}

fn joined(
    result: Result<Result<(), MirrorError>, tokio::task::JoinError>,
) -> Result<(), RemoteError> {
    match result {
        Ok(result) => Ok(result?),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(RemoteError::Stopped),
        },
    }
}

/// Writes one pack into `mirror`: `source` calls what it is given with piece
/// after piece, and returns without an error once the pack is whole.
pub(super) fn write_pack(
    mirror: &Mirror,
    until: &Until,
    source: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<(), MirrorError>) -> Result<(), MirrorError>,
) -> Result<(), MirrorError> {
    let refused: Rc<Cell<Option<&'static str>>> = Rc::default();
    let repo = mirror.repository()?;
    let odb = repo.odb()?;
    let mut writer = odb.packwriter()?;
    let because = refused.clone();
    let until = until.clone();
    writer.progress(move |_| {
        if until.cancel.is_cancelled() {
            because.set(Some("the hub is stopping"));
        } else if Instant::now() > until.deadline {
            because.set(Some("writing the pack took too long"));
        }
        because.get().is_none()
    });
    let failed = |error: MirrorError| match refused.get() {
        Some(cause) => MirrorError::Unsound(cause.into()),
        None => error,
    };
    let mut scan = Scan::new();
    source(&mut |bytes| {
        scan.look(bytes)?;
        writer
            .write_all(bytes)
            .map_err(|_| failed(git2::Error::last_error(-1).into()))
    })?;
    writer.commit().map_err(|error| failed(error.into()))?;
    Ok(())
}

//! Streams of changes. Each is pulled by its reader, and makes the next
//! message only when the reader takes it: nothing is queued for a slow one.

use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use lockstep_proto::v1;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::error::no_such;
use super::{Events, page};
use crate::status::{Fleet, StatusQuery, Watch};

/// Changes of one key within this time are one event.
const GATHER: Duration = Duration::from_millis(50);
/// Where nothing else changed, "last seen" is sent anew this often.
const REFRESH: Duration = Duration::from_secs(10);

/// Events of a watch.
pub(super) fn resources(
    watch: Watch,
    turn: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<v1::WatchEvent, Status>> + Send {
    stream::unfold(
        (watch, turn, false),
        |(mut watch, turn, following)| async move {
            if following {
                tokio::time::sleep(GATHER).await;
            }
            let events = watch.next().await;
            let following = !watch.is_listing();
            Some((stream::iter(events).map(Ok), (watch, turn, following)))
        },
    )
    .flatten()
}

struct Tables {
    fleet: Fleet,
    query: StatusQuery,
    interval: Duration,
    /// Held while the stream lives.
    _turn: OwnedSemaphorePermit,
    sent: Option<Sent>,
}

struct Sent {
    table: v1::StatusResponse,
    at: Instant,
    version: u64,
}

/// The table, and again each time something in it changes.
pub(super) fn status(
    fleet: Fleet,
    query: StatusQuery,
    interval: Duration,
    turn: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<v1::StatusResponse, Status>> + Send {
    let tables = Tables {
        fleet,
        query,
        interval,
        _turn: turn,
        sent: None,
    };
    stream::unfold(Some(tables), |tables| async move {
        let mut tables = tables?;
        match tables.next().await {
            Ok(table) => Some((Ok(table), Some(tables))),
            Err(status) => Some((Err(status), None)),
        }
    })
}

impl Tables {
    async fn next(&mut self) -> Result<v1::StatusResponse, Status> {
        loop {
            let mut refresh = self.sent.is_none();
            if let Some(sent) = &self.sent {
                tokio::time::sleep_until(sent.at + self.interval).await;
                let grown = self.fleet.grown(sent.version);
                refresh = timeout_at(sent.at + REFRESH, grown).await.is_err();
            }
            let page = self.fleet.status(&self.query);
            let page = page.map_err(|(kind, name)| no_such(kind, &name))?;
            let version = page.version;
            let table = page::status_response(page);
            let same = |sent: &Sent| match refresh {
                true => sent.table == table,
                false => without_last_seen(&sent.table) == without_last_seen(&table),
            };
            if let Some(sent) = self.sent.as_mut().filter(|sent| same(sent)) {
                // Looked at, and nothing to say: the next look is an interval away.
                sent.version = version;
                if refresh {
                    sent.at = Instant::now();
                } else {
                    tokio::time::sleep(self.interval).await;
                }
                continue;
            }
            self.sent = Some(Sent {
                table: table.clone(),
                at: Instant::now(),
                version,
            });
            return Ok(table);
        }
    }
}

fn without_last_seen(table: &v1::StatusResponse) -> v1::StatusResponse {
    let mut table = table.clone();
    for row in &mut table.rows {
        row.last_seen = None;
    }
    table
}

/// A stream that ends, with a reason to call again, when the hub shuts down.
pub(super) fn until<T: Send + 'static>(
    events: impl Stream<Item = Result<T, Status>> + Send + 'static,
    cancel: CancellationToken,
) -> Events<T> {
    let stopped = cancel.clone();
    let end = stream::once(async move {
        let reason = "the hub is shutting down: call again in a moment";
        stopped
            .is_cancelled()
            .then(|| Err(Status::unavailable(reason)))
    });
    Box::pin(
        events
            .take_until(cancel.cancelled_owned())
            .chain(end.filter_map(|end| async { end })),
    )
}

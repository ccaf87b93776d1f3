//! Watches: the initial objects, then the log of the store read at the client's pace. A
//! reader that falls behind what the log keeps is told so and lists again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::http::{Answer, View, partial, stream};
use crate::machinery::Target;
use crate::sandbox::Inner;
use crate::selector::Selector;
use crate::status::Status;
use crate::store::{Change, Event, Object};
use crate::table::Rows;

/// A watch without a timeout of its own ends after this; clients start another.
const LONGEST: Duration = Duration::from_secs(1800);
/// How often an idle watch says how far it is.
const BOOKMARK: Duration = Duration::from_secs(60);

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// The objects there are, then a bookmark that says that they are all.
    Initial,
    /// The objects there are.
    Now,
    After(u64),
}

/// What a watch is about.
pub(crate) struct Watching {
    pub target: Target,
    pub selector: Selector,
    pub view: View,
    pub include: String,
    pub bookmarks: bool,
    pub timeout: Option<Duration>,
}

struct Reader {
    inner: Arc<Inner>,
    about: Watching,
    rows: Option<Rows>,
    seen: u64,
    ready: VecDeque<Bytes>,
    newest: tokio::sync::watch::Receiver<u64>,
    /// Cancelled when every watch is told that it is too old.
    expired: CancellationToken,
    /// Cancelled when the sandbox stops.
    stopped: CancellationToken,
    until: Instant,
    next_bookmark: Instant,
    over: bool,
}

/// Starts a watch.
pub(crate) fn watch(inner: &Arc<Inner>, about: Watching, start: Start) -> Result<Answer, Status> {
    let state = inner.state.lock();
    let key = about.target.resource.key.clone();
    let namespace = Some(about.target.namespace.clone()).filter(|name| !name.is_empty());
    let seen = match start {
        Start::After(revision) => {
            if let Err(gone) = state.store.since(&key, revision) {
                let message = format!("too old resource version: {revision} ({})", gone.0);
                return Err(Status::expired(message));
            }
            revision
        }
        Start::Initial | Start::Now => state.store.revision(),
    };
    let rows = (about.view == View::Table).then(|| Rows::new(&about.target, &about.include, true));
    let now = Instant::now();
    let mut reader = Reader {
        inner: inner.clone(),
        until: now + about.timeout.unwrap_or(LONGEST).min(LONGEST),
        next_bookmark: now + BOOKMARK,
        rows,
        seen,
        ready: VecDeque::new(),
        newest: state.store.watch(),
        expired: inner.watches(),
        stopped: inner.running(),
        over: false,
        about,
    };
    if !matches!(start, Start::After(_)) {
        for object in state.store.list(&key, namespace.as_deref()) {
            if reader.about.selector.matches(&object) {
                reader.emit("ADDED", &object, object.revision);
            }
        }
    }
    drop(state);
    if start == Start::Initial {
        reader.bookmark(true);
    }
    Ok(stream(futures::stream::unfold(reader, Reader::next)))
}

impl Reader {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                // What is ready goes out together: a long initial list is few writes.
                let mut out = Vec::from(chunk);
                while out.len() < 64 << 10
                    && let Some(more) = self.ready.pop_front()
                {
                    out.extend_from_slice(&more);
                }
                return Some((out.into(), self));
            }
            if self.over {
                return None;
            }
            let wake = if self.about.bookmarks {
                self.until.min(self.next_bookmark)
            } else {
                self.until
            };
            tokio::select! {
                biased;
                () = self.stopped.cancelled() => return None,
                () = self.expired.cancelled() => self.fail(&Status::expired("The resourceVersion for the provided watch is too old.")),
                changed = self.newest.changed() => match changed {
                    Ok(()) => self.read(),
                    Err(_) => return None,
                },
                () = tokio::time::sleep_until(wake) => {
                    let now = Instant::now();
                    if now >= self.until {
                        return None;
                    }
                    self.next_bookmark = now + BOOKMARK;
                    self.bookmark(false);
                }
            }
        }
    }

    /// Takes what the log has for us.
    fn read(&mut self) {
        self.newest.mark_unchanged();
        let inner = self.inner.clone();
        let (events, newest) = {
            let state = inner.state.lock();
            (
                state
                    .store
                    .since(&self.about.target.resource.key, self.seen),
                state.store.revision(),
            )
        };
        match events {
            Ok(events) => {
                for event in events {
                    self.event(&event);
                }
                self.seen = newest;
            }
            Err(gone) => {
                let message = format!("too old resource version: {} ({})", self.seen, gone.0);
                self.fail(&Status::expired(message));
            }
        }
    }

    /// An event as this watch sees it: objects enter and leave its selection.
    fn event(&mut self, event: &Event) {
        let namespace = &self.about.target.namespace;
        if !namespace.is_empty() && *event.object.id.namespace != **namespace {
            return;
        }
        let was = event
            .before
            .as_ref()
            .is_some_and(|before| self.about.selector.matches(before));
        let is = event.change != Change::Deleted && self.about.selector.matches(&event.object);
        let word = match (was, is) {
            (false, false) => return,
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
        };
        self.emit(word, &event.object, event.revision);
    }

    fn emit(&mut self, word: &str, object: &Object, revision: u64) {
        let resource = &self.about.target.resource;
        let object = match (&mut self.rows, self.about.view) {
            (Some(rows), _) => rows.next(object, revision).to_string().into_bytes(),
            (None, View::Metadata | View::MetadataList) => partial(object).to_string().into_bytes(),
            (None, _) => object.typed(&self.about.target.api_version(), &resource.kind),
        };
        self.line(word, &object);
    }

    fn line(&mut self, word: &str, object: &[u8]) {
        let mut out = Vec::with_capacity(object.len() + 40);
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(word.as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        out.extend_from_slice(object);
        out.extend_from_slice(b"}\n");
        self.ready.push_back(out.into());
    }

    fn bookmark(&mut self, end_of_initial: bool) {
        let target = &self.about.target;
        let mut metadata = json!({"resourceVersion": self.seen.to_string()});
        if end_of_initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object: Value = match self.about.view {
            View::Metadata | View::MetadataList => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
            }
            View::Table => {
                let object = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata});
                json!({
                    "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": self.seen.to_string()},
                    "columnDefinitions": null, "rows": [{"cells": [], "object": object}],
                })
            }
            View::Whole => {
                json!({"kind": target.resource.kind, "apiVersion": target.api_version(), "metadata": metadata})
            }
        };
        self.line("BOOKMARK", object.to_string().as_bytes());
    }

    fn fail(&mut self, status: &Status) {
        self.line("ERROR", status.body().to_string().as_bytes());
        self.over = true;
    }
}

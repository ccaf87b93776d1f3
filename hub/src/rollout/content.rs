//! From a ref to a stored Bundle: what a rollout gives to clusters, and what a
//! diff asks them about, made in one place so that neither renders what the
//! other has.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use lockstep_proto::{Digest, v1};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};

use super::Source;
use crate::git::{GitError, Resolved};
use crate::metrics::{Metrics, RenderResult};
use crate::render::{self, RENDERER, RenderError};
use crate::store::{Store, StoreError};

/// Callers that ask Git at once: each takes a thread for a moment.
const RESOLVES: usize = 8;
/// Renders hold a tree and its objects in memory, and a core.
const RENDERS: usize = 2;

/// See the module. Cheap to clone; all clones take turns together.
#[derive(Clone)]
pub struct Content<S> {
    store: Store,
    source: S,
    metrics: Metrics,
    resolves: Arc<Semaphore>,
    renders: Arc<Renders>,
}

/// Why there is no Bundle.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error(transparent)]
    Git(#[from] GitError),
    #[error("revision {} does not render: {error}", revision.get(..7).unwrap_or(revision))]
    Render {
        revision: String,
        error: RenderError,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<S: Source> Content<S> {
    /// What `source` names, rendered into `store`.
    pub fn new(store: Store, source: S, metrics: Metrics) -> Self {
        Self {
            store,
            source,
            metrics,
            resolves: Arc::new(Semaphore::new(RESOLVES)),
            renders: Arc::new(Renders::new(RENDERS)),
        }
    }

    /// The commit and the tree that `r` and the path of `spec` name now.
    ///
    /// # Errors
    /// [`Trouble::Git`].
    pub async fn resolve(
        &self,
        spec: &v1::AssignmentSpec,
        r: &v1::GitRef,
    ) -> Result<Resolved, Trouble> {
        let _turn = turn(&self.resolves).await?;
        let resolved = self.source.resolve(&spec.repository, r, &spec.path);
        Ok(resolved.await?)
    }

    /// The commit and the tree that `text` and the path of `spec` name: any
    /// commit of the repository, a branch or a tag. May take a fetch.
    ///
    /// # Errors
    /// [`Trouble::Git`].
    pub async fn resolve_any(
        &self,
        spec: &v1::AssignmentSpec,
        text: &str,
    ) -> Result<Resolved, Trouble> {
        let resolved = self.source.resolve_any(&spec.repository, text, &spec.path);
        Ok(resolved.await?)
    }

    /// Waits for a look at the remote of `spec` that begins now.
    ///
    /// # Errors
    /// [`Trouble::Git`].
    pub async fn look_now(&self, spec: &v1::AssignmentSpec) -> Result<(), Trouble> {
        Ok(self.source.look_now(&spec.repository).await?)
    }

    /// The Bundle of a tree, and how many objects it has: rendered before, or
    /// rendered and stored now.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn bundle(
        &self,
        name: &str,
        spec: &v1::AssignmentSpec,
        resolved: &Resolved,
    ) -> Result<(Digest, u32), Trouble> {
        let store = &self.store;
        // Assignments that share a tree wait for whoever renders it.
        let key = render_key(&resolved.tree);
        let sole = self.renders.of(&key);
        let _sole = sole.lock().await;
        if let Some(digest) = store.render_get(key.clone()).await?
            && let Some(index) = store.bundle_index(digest).await?
        {
            self.metrics.rendered(RenderResult::Cached, Duration::ZERO);
            return Ok((digest, count(index.len())));
        }

        let _turn = turn(&self.renders.turns).await?;
        let tree = self
            .source
            .read_tree(&spec.repository, &resolved.tree)
            .await
            .map_err(|error| error.beneath(&spec.path))?;
        let begun = Instant::now();
        let rendered = tokio::task::spawn_blocking(move || render::render(&tree))
            .await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        let result = match &rendered {
            Ok(_) => RenderResult::Rendered,
            Err(_) => RenderResult::Failed,
        };
        self.metrics.rendered(result, begun.elapsed());
        let rendered = rendered.map_err(|error| Trouble::Render {
            revision: resolved.revision.to_string(),
            error: error.beneath(&spec.path),
        })?;
        let (digest, objects) = (rendered.digest, count(rendered.objects.len()));
        tracing::info!(assignment = name, revision = %resolved.revision, %digest, objects, "rendered");
        let bodies = rendered
            .objects
            .into_iter()
            .map(|object| (object.entry, object.json))
            .collect();
        store.save_bundle(digest, bodies).await?;
        store.render_put(key, digest).await?;
        Ok((digest, objects))
    }
}

/// Renders at work.
pub struct Renders {
    turns: Semaphore,
    /// By key, so that nothing is rendered twice at once.
    at_work: parking_lot::Mutex<HashMap<String, Weak<Mutex<()>>>>,
}

impl Renders {
    /// Room for `turns` at once.
    pub fn new(turns: usize) -> Self {
        Self {
            turns: Semaphore::new(turns),
            at_work: parking_lot::Mutex::default(),
        }
    }

    /// What whoever renders `key` must hold.
    fn of(&self, key: &str) -> Arc<Mutex<()>> {
        let mut at_work = self.at_work.lock();
        at_work.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = at_work.get(key).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        at_work.insert(key.to_owned(), Arc::downgrade(&lock));
        lock
    }
}

async fn turn(turns: &Semaphore) -> Result<SemaphorePermit<'_>, StoreError> {
    turns.acquire().await.map_err(|_| StoreError::Closed)
}

fn count(objects: usize) -> u32 {
    u32::try_from(objects).unwrap_or(u32::MAX)
}

/// What a tree renders to depends on its files and on the renderer.
fn render_key(tree: &str) -> String {
    Digest::of(format!("{RENDERER}\0{tree}").as_bytes()).to_string()
}

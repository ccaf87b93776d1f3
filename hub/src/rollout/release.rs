//! One look at one Assignment: what its ref names now, rendered if that is
//! new, given to the clusters that lack it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use lockstep_proto::{Digest, v1};
use prost::Message as _;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};

use super::Source;
use super::options::apply_options;
use super::plan::{Target, plan};
use crate::git::{GitError, Resolved};
use crate::metrics::{Metrics, RenderResult};
use crate::render::{self, RENDERER, RenderError};
use crate::status::Fleet;
use crate::store::{AssignmentState, StoreError};

/// Clusters changed in one transaction: a commit to a large fleet leaves room
/// for reports between its parts.
const CLUSTERS_AT_ONCE: usize = 2000;
/// Looks that a render may find itself overtaken before it is released all the
/// same: a ref that moves faster than it renders must not starve its clusters.
const OVERTAKEN: usize = 3;
/// Longest message kept of what is wrong.
const MESSAGE_LIMIT: usize = 8 << 10;

/// How a look ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every cluster is told, or there is no such Assignment.
    Settled,
    /// The content is wrong, and stays so until a commit or a person changes
    /// it: either brings another look.
    Broken,
    /// Something around it failed that may be well again any time.
    Failed,
}

/// What the look is made with.
#[derive(Clone)]
pub struct Release<S> {
    pub fleet: Fleet,
    pub source: S,
    pub metrics: Metrics,
    /// Turns at asking Git.
    pub resolves: Arc<Semaphore>,
    pub renders: Arc<Renders>,
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

#[derive(Debug, thiserror::Error)]
enum Trouble {
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

impl<S: Source> Release<S> {
    /// Looks at the Assignment `name`.
    pub async fn look(&self, name: &str) -> Outcome {
        match self.try_look(name).await {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::error!(assignment = name, %error, "cannot release; trying again");
                Outcome::Failed
            }
        }
    }

    async fn try_look(&self, name: &str) -> Result<Outcome, StoreError> {
        let Some(assignment) = self.fleet.assignment(name) else {
            // Deleting an Assignment writes its tombstones. If it is missing
            // for any other reason, that is none to take anything away.
            return Ok(Outcome::Settled);
        };
        let spec = assignment.spec.clone().unwrap_or_default();
        let options = apply_options(&spec);
        let key = options_key(&spec, &options);
        let before = self.fleet.assignment_state(name).unwrap_or_default();

        let (state, outcome) = match self.newest(name, &spec, &before).await {
            Ok((resolved, digest, objects)) => {
                let state = AssignmentState {
                    revision: resolved.revision.to_string(),
                    tree: resolved.tree,
                    options_key: key.clone(),
                    digest: Some(digest),
                    objects,
                    commit: Some(resolved.commit),
                    message: String::new(),
                };
                (state, Outcome::Settled)
            }
            Err(trouble) => {
                let outcome = match &trouble {
                    Trouble::Render { .. } | Trouble::Git(GitError::Tree { .. }) => Outcome::Broken,
                    Trouble::Git(_) | Trouble::Store(_) => Outcome::Failed,
                };
                let state = AssignmentState {
                    message: message(&trouble, &before),
                    ..before.clone()
                };
                (state, outcome)
            }
        };
        // What last went well is still what joining clusters get, but only if
        // it went well for what the Assignment says now.
        let target = state
            .digest
            .filter(|_| state.options_key == key)
            .map(|digest| Target {
                digest,
                revision: state.revision.as_str().into(),
                options: options.into(),
            });
        // Clusters first: until they are told, what they run must not pass for
        // what the new revision says.
        self.give(name, target.as_ref()).await?;
        if state != before {
            if !state.message.is_empty() {
                tracing::warn!(
                    assignment = name,
                    reason = state.message,
                    "nothing released"
                );
            }
            self.fleet.set_assignment_state(name, state.clone()).await?;
        }
        Ok(outcome)
    }

    /// What the ref names and the Bundle that it renders to.
    async fn newest(
        &self,
        name: &str,
        spec: &v1::AssignmentSpec,
        before: &AssignmentState,
    ) -> Result<(Resolved, Digest, u32), Trouble> {
        let mut resolved = self.resolve(spec).await?;
        for _ in 0..OVERTAKEN {
            let (digest, objects) = self.bundle(name, spec, &resolved, before).await?;
            let now = self.resolve(spec).await?;
            if now.tree == resolved.tree {
                return Ok((now, digest, objects));
            }
            tracing::info!(
                assignment = name, revision = %resolved.revision, newer = %now.revision,
                "overtaken by a newer commit"
            );
            resolved = now;
        }
        let (digest, objects) = self.bundle(name, spec, &resolved, before).await?;
        Ok((resolved, digest, objects))
    }

    async fn resolve(&self, spec: &v1::AssignmentSpec) -> Result<Resolved, Trouble> {
        let _turn = turn(&self.resolves).await?;
        let r = spec.r#ref.clone().unwrap_or_default();
        let resolved = self.source.resolve(&spec.repository, &r, &spec.path);
        Ok(resolved.await?)
    }

    /// The Bundle of a tree: known, or rendered and stored.
    async fn bundle(
        &self,
        name: &str,
        spec: &v1::AssignmentSpec,
        resolved: &Resolved,
        before: &AssignmentState,
    ) -> Result<(Digest, u32), Trouble> {
        let store = self.fleet.store();
        if let Some(digest) = before.digest
            && before.tree == resolved.tree
            && before.options_key.starts_with(RENDERER)
            && store.bundle_exists(digest).await?
        {
            return Ok((digest, before.objects));
        }
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

    /// Brings the clusters' desired state to `target`.
    async fn give(&self, name: &str, target: Option<&Target>) -> Result<(), StoreError> {
        let Some((matches, standing)) = self.fleet.placement(name) else {
            return Ok(());
        };
        let changes = plan(&name.into(), target, &matches, &standing);
        for part in changes.chunks(CLUSTERS_AT_ONCE) {
            self.fleet.change_desired(part.to_vec()).await?;
        }
        Ok(())
    }
}

async fn turn(turns: &Semaphore) -> Result<SemaphorePermit<'_>, StoreError> {
    turns.acquire().await.map_err(|_| StoreError::Closed)
}

fn count(objects: usize) -> u32 {
    u32::try_from(objects).unwrap_or(u32::MAX)
}

/// Everything of a spec that decides what a cluster runs beside the commit,
/// after the renderer that made it.
fn options_key(spec: &v1::AssignmentSpec, options: &v1::ApplyOptions) -> String {
    let source = v1::AssignmentSpec {
        repository: spec.repository.clone(),
        r#ref: spec.r#ref.clone(),
        path: spec.path.clone(),
        ..v1::AssignmentSpec::default()
    };
    let mut bytes = source.encode_length_delimited_to_vec();
    bytes.extend(options.encode_to_vec());
    format!("{RENDERER} {}", Digest::of(&bytes))
}

/// What a tree renders to depends on its files and on the renderer.
fn render_key(tree: &str) -> String {
    Digest::of(format!("{RENDERER}\0{tree}").as_bytes()).to_string()
}

/// What is wrong, and what runs meanwhile.
fn message(trouble: &Trouble, before: &AssignmentState) -> String {
    let mut text = trouble.to_string();
    if text.len() > MESSAGE_LIMIT {
        let end = text.floor_char_boundary(MESSAGE_LIMIT);
        text.truncate(end);
        text.push('…');
    }
    let waits = match trouble {
        Trouble::Render { .. } | Trouble::Git(GitError::Tree { .. }) => {
            "Waiting for a commit that sets it right"
        }
        Trouble::Git(GitError::NotFetched { .. }) => "See the repository's status",
        Trouble::Git(_) | Trouble::Store(_) => "Trying again, and at every fetch",
    };
    let keeps = match before.revision.get(..7) {
        Some(revision) => format!("clusters keep revision {revision}"),
        None => "no cluster is told anything".to_owned(),
    };
    format!("{text}. {waits}; {keeps}")
}

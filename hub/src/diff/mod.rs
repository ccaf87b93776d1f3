//! `lockstep diff`: what a ref would change on an Assignment's clusters.
//!
//! The ref is resolved and rendered as a rollout would, and every cluster is
//! asked for a dry run of it; a caller who goes away takes all of it along.
//! Nothing that any cluster wants or has is changed by it, and what one
//! cluster answers, or does not, changes nothing for another.

mod fold;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::FuturesUnordered;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};
use lockstep_proto::{ClusterName, v1};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::dispatch::{ABSENT, Answered, Dispatch, Question};
use crate::git::Resolved;
use crate::rollout::{Content, Source, Trouble, apply_options};
use crate::status::Fleet;
use fold::Fold;

use v1::diff_response::Response as Part;

/// Diffs at once: each may ask a whole fleet.
const DIFFS: usize = 8;
/// Clusters of one diff that are asked at once: their answers are in memory
/// until they are compared.
const ASKED: usize = 64;
/// How long a cluster may take to answer, and how much longer for each object:
/// an agent makes a few hundred dry runs a second on a slow box.
const PATIENCE: Duration = Duration::from_secs(60);
const PATIENCE_EACH: Duration = Duration::from_millis(20);
/// Between two messages that say how far it is.
const PROGRESS: Duration = Duration::from_millis(200);

/// Why there is no diff at all.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    #[error("{DIFFS} diffs are being made at this moment: try again when one of them is done")]
    Busy,
    #[error("there is no Assignment named {0:?}")]
    NoAssignment(String),
    #[error("there is no Cluster named {0:?}")]
    NoCluster(String),
    #[error(
        "assignment {assignment} does not reach cluster {cluster}: none of its clusterGroups \
         selects it"
    )]
    NotReached { assignment: String, cluster: String },
    #[error(transparent)]
    Trouble(#[from] Trouble),
}

/// Who asks a cluster.
pub trait Ask: Clone + Send + Sync + 'static {
    /// What the agent of `cluster` answers within `patience`.
    fn plan(
        &self,
        cluster: &ClusterName,
        question: Arc<Question>,
        patience: Duration,
    ) -> impl Future<Output = Answered> + Send;
}

impl Ask for Dispatch {
    async fn plan(
        &self,
        cluster: &ClusterName,
        question: Arc<Question>,
        patience: Duration,
    ) -> Answered {
        self.plan(cluster, question, patience).await
    }
}

/// What the API needs of this room.
pub trait Differ: Send + Sync + 'static {
    /// See [`Diffs::diff`].
    fn diff(
        &self,
        request: v1::DiffRequest,
    ) -> BoxFuture<'_, Result<BoxStream<'static, v1::DiffResponse>, DiffError>>;
}

impl<S: Source, A: Ask> Differ for Diffs<S, A> {
    fn diff(
        &self,
        request: v1::DiffRequest,
    ) -> BoxFuture<'_, Result<BoxStream<'static, v1::DiffResponse>, DiffError>> {
        async move { Ok(self.diff(request).await?.boxed()) }.boxed()
    }
}

/// See the module. Cheap to clone; clones take turns together.
#[derive(Clone)]
pub struct Diffs<S, A> {
    fleet: Fleet,
    content: Content<S>,
    ask: A,
    turns: Arc<Semaphore>,
}

impl<S: Source, A: Ask> Diffs<S, A> {
    pub fn new(fleet: Fleet, content: Content<S>, ask: A) -> Self {
        Self {
            fleet,
            content,
            ask,
            turns: Arc::new(Semaphore::new(DIFFS)),
        }
    }

    /// Answers `request`: how far it is, and at the end what would change.
    ///
    /// # Errors
    /// [`DiffError`].
    pub async fn diff(
        &self,
        request: v1::DiffRequest,
    ) -> Result<impl Stream<Item = v1::DiffResponse> + Send + use<S, A>, DiffError> {
        let turn = Arc::clone(&self.turns)
            .try_acquire_owned()
            .map_err(|_| DiffError::Busy)?;
        let name = &request.assignment;
        let missing = || DiffError::NoAssignment(name.clone());
        let assignment = self.fleet.assignment(name).ok_or_else(missing)?;
        let (reached, _) = self.fleet.placement(name).ok_or_else(missing)?;
        let clusters = self.chosen(name, reached, &request.cluster)?;
        let spec = assignment.spec.clone().unwrap_or_default();
        let resolved = self.resolve(&spec, &request.r#ref).await?;
        let (digest, objects) = self.content.bundle(name, &spec, &resolved).await?;
        let asking = Asking {
            fleet: self.fleet.clone(),
            ask: self.ask.clone(),
            question: Arc::new(Question {
                assignment: name.clone(),
                digest,
                revision: resolved.revision.to_string(),
                options: apply_options(&spec),
            }),
            patience: PATIENCE + PATIENCE_EACH * objects,
            _turn: turn,
        };
        Ok(asking.run(clusters))
    }

    async fn resolve(&self, spec: &v1::AssignmentSpec, text: &str) -> Result<Resolved, Trouble> {
        if !text.is_empty() {
            return self.content.resolve_any(spec, text).await;
        }
        // Whoever asks has perhaps just pushed. What was seen last will do
        // where the remote does not answer: the answer says which revision it is.
        if let Err(trouble) = self.content.look_now(spec).await {
            tracing::warn!(%trouble, "a diff of what was seen last");
        }
        let r = spec.r#ref.clone().unwrap_or_default();
        self.content.resolve(spec, &r).await
    }

    fn chosen(
        &self,
        assignment: &str,
        reached: BTreeSet<ClusterName>,
        only: &str,
    ) -> Result<Vec<ClusterName>, DiffError> {
        if only.is_empty() {
            return Ok(reached.into_iter().collect());
        }
        if let Some(cluster) = reached.into_iter().find(|name| name.as_str() == only) {
            return Ok(vec![cluster]);
        }
        let cluster = only.to_owned();
        Err(if self.fleet.exists(v1::kind::Name::Cluster, only) {
            let assignment = assignment.to_owned();
            DiffError::NotReached {
                assignment,
                cluster,
            }
        } else {
            DiffError::NoCluster(cluster)
        })
    }
}

/// Everything that is the same for all clusters of one diff.
struct Asking<A> {
    fleet: Fleet,
    ask: A,
    question: Arc<Question>,
    patience: Duration,
    _turn: OwnedSemaphorePermit,
}

impl<A: Ask> Asking<A> {
    async fn one(&self, cluster: ClusterName) -> (ClusterName, Answered) {
        let question = Arc::clone(&self.question);
        let answered = self.ask.plan(&cluster, question, self.patience).await;
        let answered = answered.map_err(|why| match why.as_str() {
            ABSENT => self.absent(&cluster),
            _ => why,
        });
        (cluster, answered)
    }

    fn absent(&self, cluster: &ClusterName) -> String {
        match self.fleet.last_seen(cluster) {
            Some(seen) => {
                let ago = jiff::Timestamp::now().as_second() - seen.div_euclid(1000);
                format!("{ABSENT}, last seen {} ago", brief(ago))
            }
            None => "has never been online".to_owned(),
        }
    }

    /// The answer as a stream. It does its work as it is read, so that a
    /// caller who reads no more has nothing done for them.
    fn run(
        self,
        clusters: Vec<ClusterName>,
    ) -> impl Stream<Item = v1::DiffResponse> + Send + use<A> {
        let asking = Arc::new(self);
        let total = clusters.len();
        let revision = asking.question.revision.clone();
        let progress = move |answered: usize| v1::DiffResponse {
            response: Some(Part::Progress(v1::DiffProgress {
                revision: revision.clone(),
                asked: u32::try_from(total).unwrap_or(u32::MAX),
                answered: u32::try_from(answered).unwrap_or(u32::MAX),
            })),
        };
        let first = stream::once(std::future::ready(progress(0)));
        let mut waiting = clusters.into_iter();
        let begin = move |cluster| {
            let asking = Arc::clone(&asking);
            async move { asking.one(cluster).await }
        };
        let asked: FuturesUnordered<_> = waiting.by_ref().take(ASKED).map(&begin).collect();
        let state = Some((asked, waiting, Fold::default(), 0));
        let rest = stream::unfold(state, move |state| {
            let (progress, begin) = (progress.clone(), begin.clone());
            async move {
                let (mut asked, mut waiting, mut fold, mut answered) = state?;
                let until = Instant::now() + PROGRESS;
                loop {
                    match timeout_at(until, asked.next()).await {
                        Ok(Some((cluster, answer))) => {
                            fold.add(cluster, answer);
                            answered += 1;
                            asked.extend(waiting.next().map(&begin));
                        }
                        Ok(None) => {
                            let groups = fold.finish().map(|group| v1::DiffResponse {
                                response: Some(Part::Group(group)),
                            });
                            let last = std::iter::once(progress(answered));
                            let messages = stream::iter(last.chain(groups)).boxed();
                            return Some((messages, None));
                        }
                        Err(_) => {
                            let one = std::iter::once(progress(answered));
                            let messages = stream::iter(one).boxed();
                            return Some((messages, Some((asked, waiting, fold, answered))));
                        }
                    }
                }
            }
        });
        first.chain(rest.flatten())
    }
}

/// "14m"
fn brief(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..120 => format!("{s}s"),
        s @ 120..7_200 => format!("{}m", s / 60),
        s @ 7_200..172_800 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

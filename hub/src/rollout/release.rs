//! One look at one Assignment: what its ref names now, rendered if that is
//! new, given to the clusters that lack it.

use lockstep_proto::{Digest, v1};
use prost::Message as _;

use super::Source;
use super::content::{Content, Trouble};
use super::options::apply_options;
use super::plan::{Target, plan};
use crate::git::{GitError, Resolved};
use crate::render::RENDERER;
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
    pub content: Content<S>,
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
                    pending: None,
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
        let r = spec.r#ref.clone().unwrap_or_default();
        self.content.resolve(spec, &r).await
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
        self.content.bundle(name, spec, resolved).await
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

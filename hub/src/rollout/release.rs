//! One look at one Assignment: what its ref names now, rendered if that is
//! new, given to the clusters that lack it.

use std::collections::HashMap;
use std::sync::Arc;

use lockstep_proto::{Digest, v1};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::Notify;

use super::Source;
use super::content::{Content, Trouble};
use super::options::{apply_options, is_manual};
use super::pending::compare;
use super::plan::{Reasons, Wanted, Wish, plan};
use crate::git::{GitError, Resolved};
use crate::render::RENDERER;
use crate::status::{ChangeError, Fleet, Standing};
use crate::store::{AssignmentState, Control, DesiredRow, Held, StoreError, StoredObject};

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
    pub(super) fleet: Fleet,
    pub(super) content: Content<S>,
    pub(super) looks: Arc<Looks>,
}

/// Up to which word of people each Assignment was looked at.
#[derive(Default)]
pub struct Looks {
    versions: Mutex<HashMap<String, u64>>,
    ended: Notify,
}

impl Looks {
    fn end(&self, name: &str, version: u64) {
        self.versions.lock().insert(name.to_owned(), version);
        self.ended.notify_waiters();
    }

    fn forget(&self, name: &str) {
        self.versions.lock().remove(name);
    }

    /// Waits until a look at `name` has ended that knew of `version` of its
    /// control.
    pub async fn wait(&self, name: &str, version: u64) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            let known = self.versions.lock().get(name).copied();
            if known.is_some_and(|known| known >= version) {
                return;
            }
            ended.await;
        }
    }
}

impl<S: Source> Release<S> {
    /// What `content` makes, released to the clusters of `fleet`.
    pub fn new(fleet: Fleet, content: Content<S>) -> Self {
        Self {
            fleet,
            content,
            looks: Arc::default(),
        }
    }

    /// Looks at the Assignment `name`.
    pub async fn look(&self, name: &str) -> Outcome {
        let Some(standing) = self.fleet.standing(name) else {
            // Deleting an Assignment writes its tombstones. If it is missing
            // for any other reason, that is none to take anything away.
            self.looks.forget(name);
            return Outcome::Settled;
        };
        let version = standing.control.version;
        let outcome = match self.try_look(name, standing).await {
            Ok(outcome) => outcome,
            Err(ChangeError::Overtaken) => {
                self.fleet.dirty_assignments().mark(name.to_owned());
                Outcome::Settled
            }
            Err(ChangeError::Store(error)) => {
                tracing::error!(assignment = name, %error, "cannot release; trying again");
                Outcome::Failed
            }
        };
        self.looks.end(name, version);
        outcome
    }

    async fn try_look(&self, name: &str, standing: Standing) -> Result<Outcome, ChangeError> {
        let standing = self.settle(name, standing).await?;
        let (spec, before) = (standing.spec(), &standing.state);
        let options = apply_options(&spec);
        let key = options_key(&spec, &options);
        let wish = Wish {
            spec: &spec,
            options: &options,
            control: &standing.control,
        };
        // What people hold clusters to does not wait for Git.
        self.hold(name, &standing).await?;
        if let Err(trouble) = self.keep_bundle(name, wish).await {
            tracing::warn!(assignment = name, %trouble, "a bundle that clusters are held to is lost");
        }
        let (mut state, outcome) = match self.newest(name, &spec, before).await {
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
                    message: message(&trouble, before),
                    ..before.clone()
                };
                (state, outcome)
            }
        };
        // What last went well is still what joining clusters get, but only if
        // it went well for what the Assignment says now.
        let newest = newest_of(&state, &spec, &options);
        // Clusters first: until they are told, what they run must not pass for
        // what the new revision says.
        if !wish.is_held() {
            let changed = before.digest.is_none() || before.options_key != key;
            let wanted = wish.wanted(newest.as_ref());
            self.give(name, &wanted, &standing, changed).await?;
        }
        state.pending = self.pending(wish, newest.as_ref()).await?;
        if state != *before {
            if !state.message.is_empty() {
                tracing::warn!(
                    assignment = name,
                    reason = state.message,
                    "nothing released"
                );
            }
            self.fleet.set_assignment_state(name, state).await?;
        }
        Ok(outcome)
    }

    /// Sees to it that all is said of an Assignment that a look goes by.
    async fn settle(&self, name: &str, standing: Standing) -> Result<Standing, ChangeError> {
        let manual = is_manual(&standing.spec());
        let rows = if manual && standing.control.released.is_none() {
            self.fleet.desired_rows(name)
        } else {
            Vec::new()
        };
        if settled(&standing, &rows).is_none() {
            return Ok(standing);
        }
        let again = self
            .fleet
            .control(name, move |now, _| {
                let control = settled(now, &rows).unwrap_or_else(|| (*now.control).clone());
                Ok::<_, StoreError>(control)
            })
            .await?;
        Ok(again.unwrap_or(standing))
    }

    /// Brings clusters to what people hold them to, if they do.
    pub async fn hold(&self, name: &str, standing: &Standing) -> Result<(), ChangeError> {
        let spec = standing.spec();
        let options = apply_options(&spec);
        let wish = Wish {
            spec: &spec,
            options: &options,
            control: &standing.control,
        };
        if !wish.is_held() {
            return Ok(());
        }
        let changed = standing.state.options_key != options_key(&spec, &options);
        self.give(name, &wish.wanted(None), standing, changed).await
    }

    /// Renders what clusters are held to again, should its Bundle be lost.
    async fn keep_bundle(&self, name: &str, wish: Wish<'_>) -> Result<(), Trouble> {
        let Some(held) = wish.control.held(is_manual(wish.spec)) else {
            return Ok(());
        };
        if !self.fleet.store().bundle_exists(held.digest).await? {
            let resolved = self.content.resolve_any(wish.spec, &held.revision).await?;
            self.content.bundle(name, wish.spec, &resolved).await?;
        }
        Ok(())
    }

    /// What `newest` would change, where it waits for a person.
    async fn pending(
        &self,
        wish: Wish<'_>,
        newest: Option<&Held>,
    ) -> Result<Option<v1::Pending>, StoreError> {
        let Some(newest) = newest.filter(|_| wish.is_held()) else {
            return Ok(None);
        };
        let held = wish.control.held(is_manual(wish.spec));
        let mut pending = v1::Pending {
            revision: newest.revision.clone(),
            commit: newest.commit.clone(),
            digest: newest.digest.to_string(),
            ..v1::Pending::default()
        };
        let mut old = Vec::new();
        if let Some(held) = held {
            if held.digest == newest.digest && held.namespace == newest.namespace {
                return Ok(None);
            }
            if held.namespace != newest.namespace {
                let moves = format!("moved to namespace {:?}", newest.namespace);
                pending.changes.push(moves);
            }
            old = self.index(held.digest).await?;
        }
        let new = self.index(newest.digest).await?;
        compare(&old, &new, &newest.namespace, &mut pending);
        Ok(Some(pending))
    }

    async fn index(&self, digest: Digest) -> Result<Vec<StoredObject>, StoreError> {
        let index = self.fleet.store().bundle_index(digest).await?;
        Ok(index.unwrap_or_default())
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

    /// Brings the clusters' desired state to what is `wanted`, as `standing`
    /// has it. `changed`: see [`Reasons`].
    async fn give(
        &self,
        name: &str,
        wanted: &Wanted,
        standing: &Standing,
        changed: bool,
    ) -> Result<(), ChangeError> {
        let Some((matches, rows)) = self.fleet.placement(name) else {
            return Ok(());
        };
        let control = &standing.control;
        let reasons = Reasons {
            control,
            changed,
            now: self.fleet.now(),
        };
        let changes = plan(&name.into(), wanted, &matches, &rows, reasons);
        for part in changes.chunks(CLUSTERS_AT_ONCE) {
            self.fleet
                .release(name, control.version, part.to_vec())
                .await?;
        }
        Ok(())
    }
}

/// See [`Wish::settled`].
fn settled(standing: &Standing, rows: &[DesiredRow]) -> Option<Control> {
    let spec = standing.spec();
    let options = apply_options(&spec);
    let wish = Wish {
        spec: &spec,
        options: &options,
        control: &standing.control,
    };
    wish.settled(newest_of(&standing.state, &spec, &options).as_ref(), rows)
}

/// What the ref named when that last went well, if it did for what the spec
/// says now.
pub fn newest_of(
    state: &AssignmentState,
    spec: &v1::AssignmentSpec,
    options: &v1::ApplyOptions,
) -> Option<Held> {
    let digest = state.digest?;
    (state.options_key == options_key(spec, options)).then(|| Held {
        revision: state.revision.clone(),
        tree: state.tree.clone(),
        digest,
        objects: state.objects,
        commit: state.commit.clone(),
        namespace: spec.namespace.clone(),
    })
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

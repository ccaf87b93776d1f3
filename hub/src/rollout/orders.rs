//! What people ask of Assignments beside their specs: to release, to go back,
//! to pause, to go on, to prune. An order is decided here, written, and carried
//! out by the same looks that everything else is; when it has been answered it
//! survives a crash.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use lockstep_proto::v1;
use lockstep_proto::v1::history_entry::Cause;

use super::Source;
use super::content::Trouble;
use super::options::{apply_options, is_manual};
use super::past::{Past, find, previous};
use super::release::{Release, newest_of};
use crate::git::Resolved;
use crate::status::{ChangeError, Standing, count_of, short};
use crate::store::{Control, Held, Order, Said, StoreError};

/// How long an answer waits until clusters are told. They are told all the same.
const CARRIED_OUT: Duration = Duration::from_secs(10);

/// Why an order is not given.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    #[error("there is no Assignment named {0:?}")]
    NoAssignment(String),
    /// What stands now does not allow it: says which command does.
    #[error("{0}")]
    Refused(String),
    /// What was named does not exist.
    #[error("{0}")]
    NoRevision(String),
    #[error("somebody changed Assignment {0} at the same time: try again")]
    Overtaken(String),
    #[error(transparent)]
    Trouble(#[from] Trouble),
    #[error(transparent)]
    Store(#[from] StoreError),
}

type Answer<'a> = BoxFuture<'a, Result<v1::ControlResponse, OrderError>>;

/// The orders that people can give; `by` is who does.
pub trait Orders: Send + Sync + 'static {
    /// Gives clusters what the ref names now, or the revision that is named.
    fn sync<'a>(&'a self, name: &'a str, revision: &'a str, by: &'a str) -> Answer<'a>;
    /// Pins to an earlier revision, or to the one before the present one.
    fn rollback<'a>(&'a self, name: &'a str, revision: &'a str, by: &'a str) -> Answer<'a>;
    /// Stops all changes.
    fn pause<'a>(&'a self, name: &'a str, by: &'a str) -> Answer<'a>;
    /// Ends a pause and a pin.
    fn resume<'a>(&'a self, name: &'a str, by: &'a str) -> Answer<'a>;
    /// Lets clusters prune more than maxPrune.
    fn approve<'a>(&'a self, name: &'a str, by: &'a str) -> Answer<'a>;
}

impl<S: Source> Orders for Release<S> {
    fn sync<'a>(&'a self, name: &'a str, revision: &'a str, by: &'a str) -> Answer<'a> {
        self.order_sync(name, revision, by).boxed()
    }

    fn rollback<'a>(&'a self, name: &'a str, revision: &'a str, by: &'a str) -> Answer<'a> {
        self.order_rollback(name, revision, by).boxed()
    }

    fn pause<'a>(&'a self, name: &'a str, by: &'a str) -> Answer<'a> {
        self.order_pause(name, by).boxed()
    }

    fn resume<'a>(&'a self, name: &'a str, by: &'a str) -> Answer<'a> {
        self.order_resume(name, by).boxed()
    }

    fn approve<'a>(&'a self, name: &'a str, by: &'a str) -> Answer<'a> {
        self.order_approve(name, by).boxed()
    }
}

impl<S: Source> Release<S> {
    async fn order_sync(
        &self,
        name: &str,
        revision: &str,
        by: &str,
    ) -> Result<v1::ControlResponse, OrderError> {
        let standing = self.find(name)?;
        refuse_paused(name, &standing)?;
        let spec = standing.spec();
        let named = if revision.is_empty() {
            self.content.look_now(&spec).await?;
            None
        } else {
            let past = self.fleet.past_revisions(name).await?;
            let text = match find(&past, revision).map_err(OrderError::NoRevision)? {
                Some(known) => known.revision.clone(),
                None => revision.to_owned(),
            };
            let resolved = self.content.resolve_any(&spec, &text).await?;
            Some(self.rendered(name, &spec, resolved).await?)
        };
        let r = spec.r#ref.clone().unwrap_or_default();
        let newest = self.content.resolve(&spec, &r).await;
        let (held, pin) = match named {
            Some(held) => {
                let same = newest.is_ok_and(|newest| newest.revision.as_str() == held.revision);
                (held, !same)
            }
            None => (self.rendered(name, &spec, newest?).await?, false),
        };
        let target = held.clone();
        let standing = self
            .write(name, standing, by, move |control, said, spec| {
                control.order = Some(order(Cause::Sync, &said, &held.revision));
                if pin {
                    control.pinned = Some((held, said));
                } else {
                    control.pinned = None;
                    if is_manual(spec) {
                        control.released = Some(held);
                    }
                }
            })
            .await?;
        self.carry_out(name, &standing).await;
        let pinned = if pin {
            format!(
                "pinned, because the ref names another revision: `lockstep resume {name}` goes back to it; "
            )
        } else {
            String::new()
        };
        Ok(self.answer(name, &target, &format!("{pinned}released")))
    }

    async fn order_rollback(
        &self,
        name: &str,
        revision: &str,
        by: &str,
    ) -> Result<v1::ControlResponse, OrderError> {
        let standing = self.find(name)?;
        refuse_paused(name, &standing)?;
        let spec = standing.spec();
        let past = self.fleet.past_revisions(name).await?;
        let known = if revision.is_empty() {
            let present = present(&standing).ok_or_else(|| {
                OrderError::Refused(format!(
                    "no cluster was ever told to run {name}: there is nothing to go back from"
                ))
            })?;
            let found = previous(&past, &present.revision, present.digest);
            Some(found.ok_or_else(|| {
                OrderError::Refused(format!(
                    "the history of {name} holds no revision before {} that was applied \
                     completely: name one with `lockstep rollback {name} --to REVISION`",
                    short(&present.revision)
                ))
            })?)
        } else {
            find(&past, revision).map_err(OrderError::NoRevision)?
        };
        let held = match known {
            Some(known) => self.held_again(name, &spec, known).await?,
            None => {
                let resolved = self.content.resolve_any(&spec, revision).await?;
                self.rendered(name, &spec, resolved).await?
            }
        };
        let target = held.clone();
        let standing = self
            .write(name, standing, by, move |control, said, _| {
                control.order = Some(order(Cause::Rollback, &said, &held.revision));
                control.pinned = Some((held, said));
            })
            .await?;
        self.carry_out(name, &standing).await;
        let words = format!("pinned until `lockstep resume {name}`; given");
        Ok(self.answer(name, &target, &words))
    }

    async fn order_pause(&self, name: &str, by: &str) -> Result<v1::ControlResponse, OrderError> {
        let standing = self.find(name)?;
        let revision = present(&standing).map(|held| held.revision);
        if standing.control.paused.is_none() {
            let at = present(&standing);
            let standing = self
                .write(name, standing, by, move |control, said, _| {
                    if control.paused.is_none() {
                        control.paused = Some((said, at));
                    }
                })
                .await?;
            // At once: a look that is at work may wait for a render.
            self.told(name, self.hold(name, &standing).await);
        }
        Ok(v1::ControlResponse {
            revision: revision.unwrap_or_default(),
            message: format!(
                "paused: nothing of {name} is changed until `lockstep resume {name}`; what \
                 happens to it is still observed"
            ),
        })
    }

    async fn order_resume(&self, name: &str, by: &str) -> Result<v1::ControlResponse, OrderError> {
        let standing = self.find(name)?;
        if standing.control.paused.is_none() && standing.control.pinned.is_none() {
            return Err(OrderError::Refused(format!(
                "{name} is neither paused nor pinned: there is nothing to resume"
            )));
        }
        let newest = newest(&standing);
        let standing = self
            .write(name, standing, by, move |control, said, spec| {
                let was_pinned = control.pinned.take().is_some();
                control.paused = None;
                let manual = is_manual(spec);
                if manual && was_pinned && control.released.is_none() {
                    control.released.clone_from(&newest);
                }
                let target = if manual {
                    control.released.as_ref()
                } else {
                    newest.as_ref()
                };
                if let Some(target) = target.filter(|_| was_pinned || !manual) {
                    control.order = Some(order(Cause::Resume, &said, &target.revision));
                }
            })
            .await?;
        self.carry_out(name, &standing).await;
        let standing = self.find(name)?;
        Ok(match present(&standing) {
            Some(target) => self.answer(name, &target, "resumed; given"),
            None => v1::ControlResponse {
                revision: String::new(),
                message: "resumed; nothing was released yet".to_owned(),
            },
        })
    }

    async fn order_approve(&self, name: &str, by: &str) -> Result<v1::ControlResponse, OrderError> {
        let standing = self.find(name)?;
        let Some(awaiting) = self.fleet.awaiting(name) else {
            return Err(OrderError::Refused(format!(
                "nothing of {name} waits for approval"
            )));
        };
        let digest = awaiting.digest;
        let standing = self
            .write(name, standing, by, move |control, said, _| {
                control.approved = Some((digest, said));
            })
            .await?;
        self.carry_out(name, &standing).await;
        Ok(v1::ControlResponse {
            revision: awaiting.revision.to_string(),
            message: format!(
                "approved: {} on {}",
                count_of(awaiting.objects, "removal", "removals"),
                count_of(awaiting.clusters, "cluster", "clusters")
            ),
        })
    }

    fn find(&self, name: &str) -> Result<Standing, OrderError> {
        self.fleet
            .standing(name)
            .ok_or_else(|| OrderError::NoAssignment(name.to_owned()))
    }

    /// What a commit renders to, with all that is kept of it.
    async fn rendered(
        &self,
        name: &str,
        spec: &v1::AssignmentSpec,
        resolved: Resolved,
    ) -> Result<Held, OrderError> {
        let (digest, objects) = self.content.bundle(name, spec, &resolved).await?;
        Ok(Held {
            revision: resolved.revision.to_string(),
            tree: resolved.tree,
            digest,
            objects,
            commit: Some(resolved.commit),
            namespace: spec.namespace.clone(),
        })
    }

    /// What clusters had before: as it was, or rendered again where that is
    /// not kept any more.
    async fn held_again(
        &self,
        name: &str,
        spec: &v1::AssignmentSpec,
        past: &Past,
    ) -> Result<Held, OrderError> {
        let index = self.fleet.store().bundle_index(past.digest).await?;
        let Some(index) = index else {
            let resolved = self.content.resolve_any(spec, &past.revision).await?;
            return self.rendered(name, spec, resolved).await;
        };
        Ok(Held {
            revision: past.revision.clone(),
            tree: String::new(),
            digest: past.digest,
            objects: u32::try_from(index.len()).unwrap_or(u32::MAX),
            commit: past.commit.clone(),
            namespace: spec.namespace.clone(),
        })
    }

    /// Writes an order that was decided by `seen`.
    async fn write(
        &self,
        name: &str,
        seen: Standing,
        by: &str,
        change: impl FnOnce(&mut Control, Said, &v1::AssignmentSpec) + Send + 'static,
    ) -> Result<Standing, OrderError> {
        let (by, overtaken) = (by.to_owned(), name.to_owned());
        let written = self.fleet.control(name, move |now, at| {
            let same = now.control.paused == seen.control.paused
                && now.control.pinned == seen.control.pinned
                && now.spec() == seen.spec();
            if !same {
                return Err(OrderError::Overtaken(overtaken));
            }
            let mut control = (*now.control).clone();
            change(&mut control, Said { by, at }, &now.spec());
            Ok(control)
        });
        written
            .await?
            .ok_or_else(|| OrderError::NoAssignment(name.to_owned()))
    }

    /// Has clusters told, and waits for that while it does not take long.
    async fn carry_out(&self, name: &str, standing: &Standing) {
        self.told(name, self.hold(name, standing).await);
        let looked = self.looks.wait(name, standing.control.version);
        if tokio::time::timeout(CARRIED_OUT, looked).await.is_err() {
            tracing::info!(assignment = name, "an order is still being carried out");
        }
    }

    /// What goes wrong now is done by the look that follows.
    fn told(&self, name: &str, told: Result<(), ChangeError>) {
        if let Err(error) = told {
            tracing::info!(assignment = name, %error, "an order is carried out by the next look");
        }
    }

    fn answer(&self, name: &str, target: &Held, words: &str) -> v1::ControlResponse {
        let clusters = self
            .fleet
            .placement(name)
            .map_or(0, |(matches, _)| matches.len());
        v1::ControlResponse {
            revision: target.revision.clone(),
            message: format!(
                "{words} revision {} to {}",
                short(&target.revision),
                count_of(clusters, "cluster", "clusters")
            ),
        }
    }
}

fn refuse_paused(name: &str, standing: &Standing) -> Result<(), OrderError> {
    match &standing.control.paused {
        None => Ok(()),
        Some((said, _)) => Err(OrderError::Refused(format!(
            "{name} was paused by {}: `lockstep resume {name}` first",
            said.by
        ))),
    }
}

fn order(cause: Cause, said: &Said, revision: &str) -> Order {
    Order {
        cause,
        said: said.clone(),
        revision: revision.to_owned(),
    }
}

/// What the ref named at the last look that went well.
fn newest(standing: &Standing) -> Option<Held> {
    let spec = standing.spec();
    newest_of(&standing.state, &spec, &apply_options(&spec))
}

/// What clusters are to run now.
fn present(standing: &Standing) -> Option<Held> {
    let held = standing.control.held(is_manual(&standing.spec()));
    if held.is_some() || is_manual(&standing.spec()) {
        return held.cloned();
    }
    newest(standing)
}

//! Hooks: objects that are run at a point of the way to a target, once for
//! each target, and waited for. What is decided here follows from what the
//! Inventory says of their runs, and from how their objects do.

use std::time::Duration;

use lockstep_proto::Digest;
use lockstep_proto::traits::Hook;
use lockstep_proto::v1::health::Status as Health;
use tokio::time::Instant;

use super::around::Surroundings;
use crate::apply::Target;
use crate::health::{Judgement, overdue};
use crate::inventory::{End, Item, ObjectId, Presence};

/// The hooks of an Inventory, and the target that they run for.
pub struct Hooks<'a> {
    target: Option<Digest>,
    timeout: Duration,
    now: Instant,
    all: Vec<(Hook, &'a ObjectId, &'a Item)>,
}

/// How the hooks of one kind stand.
#[derive(Default)]
pub struct Phase<'a> {
    /// Of the present wave, those that have not been begun.
    pub idle: Vec<(&'a ObjectId, &'a Item)>,
    /// Of the present wave, those that run.
    pub running: Vec<(&'a ObjectId, &'a Item)>,
    /// One that failed, and why: then no other is begun.
    pub failed: Option<(&'a ObjectId, &'a Item, &'a str)>,
}

impl Phase<'_> {
    /// All that there are have succeeded.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.idle.is_empty() && self.running.is_empty() && self.failed.is_none()
    }

    /// Something was begun.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        !self.running.is_empty() || self.failed.is_some()
    }
}

impl<'a> Hooks<'a> {
    pub(super) fn new(target: Option<&Target>, timeout: Duration, now: Instant) -> Self {
        Self {
            target: target.map(|target| target.digest),
            timeout,
            now,
            all: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, id: &'a ObjectId, item: &'a Item) {
        if let Some((hook, _)) = item.hook() {
            self.all.push((hook, id, item));
        }
    }

    pub(super) fn sort(&mut self) {
        self.all
            .sort_by_key(|(_, id, item)| (item.traits().wave, *id));
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn of(&self, hook: Hook) -> impl Iterator<Item = (&'a ObjectId, &'a Item)> {
        let of_kind = self.all.iter().filter(move |(kind, ..)| *kind == hook);
        of_kind.map(|(_, id, item)| (*id, *item))
    }

    /// How the hooks of one kind stand.
    #[must_use]
    pub fn phase(&self, hook: Hook) -> Phase<'a> {
        let mut phase = Phase::default();
        let mut present = None;
        for (id, item) in self.of(hook) {
            let run = item.run.as_deref();
            let run = run.filter(|run| Some(run.target) == self.target);
            if run.is_some_and(|run| run.end == Some(End::Succeeded)) {
                continue;
            }
            // Hooks come wave by wave.
            let wave = item.traits().wave;
            if *present.get_or_insert(wave) != wave {
                break;
            }
            match run {
                Some(run) => match run.failed() {
                    Some(why) => phase.failed = phase.failed.or(Some((id, item, why))),
                    // Somebody deleted it, or its time to live was over before
                    // anybody saw how it ended.
                    None if item.presence == Presence::Absent => phase.idle.push((id, item)),
                    None => phase.running.push((id, item)),
                },
                None => phase.idle.push((id, item)),
            }
        }
        phase
    }

    /// The hooks that have ended, and how.
    #[must_use]
    pub fn ended(&self) -> Vec<(ObjectId, End)> {
        let running = self.all.iter().filter_map(|(_, id, item)| {
            let run = item.run.as_deref()?;
            let runs = run.end.is_none() && Some(run.target) == self.target;
            let end = runs.then(|| self.verdict(id, item, run.at)).flatten()?;
            Some(((*id).clone(), end))
        });
        running.collect()
    }

    /// Whether a hook that runs since `began` has ended.
    fn verdict(&self, id: &ObjectId, item: &Item, began: Instant) -> Option<End> {
        if item.presence == Presence::Present {
            if is_run_to_its_end(id) {
                if item.ended && item.health == Health::Healthy {
                    return Some(End::Succeeded);
                }
                if item.ended {
                    let why = item.reason.as_deref().unwrap_or("it failed");
                    return Some(End::failed(why));
                }
            } else if item.health == Health::Healthy {
                return Some(End::Succeeded);
            }
        }
        let judgement = Judgement {
            health: Health::Progressing,
            message: item.reason.as_deref().unwrap_or("").to_owned(),
            ended: false,
        };
        let judgement = overdue(judgement, began, self.now, self.timeout);
        (judgement.health == Health::Degraded).then(|| End::failed(&judgement.message))
    }

    /// When a hook that runs will have run for too long.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let running = self.all.iter().filter_map(|(_, _, item)| {
            let run = item.run.as_deref()?;
            let runs = run.end.is_none() && Some(run.target) == self.target;
            let bounded = runs && !self.timeout.is_zero();
            bounded.then(|| run.at.checked_add(self.timeout)).flatten()
        });
        running.min()
    }

    /// Those whose object is to be deleted, now that they have ended. What an
    /// earlier target left is none of them: it may be the next run by now.
    pub fn to_clear(&self) -> impl Iterator<Item = (&'a ObjectId, &'a Item)> {
        let ended = self.all.iter().filter(|(_, _, item)| {
            let Some((_, delete)) = item.hook() else {
                return false;
            };
            item.presence == Presence::Present
                && item.run.as_deref().is_some_and(|run| match &run.end {
                    _ if Some(run.target) != self.target => false,
                    None => false,
                    Some(End::Succeeded) => delete.succeeded,
                    Some(End::Failed(_)) => delete.failed,
                })
        });
        ended.map(|(_, id, item)| (*id, *item))
    }

    /// What PreSync hooks that are still to run cannot be without: it comes
    /// before them, or nothing ever would.
    #[must_use]
    pub fn needs(&self, around: &Surroundings<'_>) -> Vec<ObjectId> {
        let phase = self.phase(Hook::PreSync);
        let idle = phase.idle.iter();
        idle.flat_map(|(id, _)| around.lives_by(id)).collect()
    }
}

/// Kinds whose being healthy is not the end of it, and that run only once.
#[must_use]
pub fn is_run_to_its_end(id: &ObjectId) -> bool {
    id.is("batch", "Job") || id.is("", "Pod")
}

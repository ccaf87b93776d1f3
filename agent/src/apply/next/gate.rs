//! The way to a target, and where it is held up. Objects are applied place by
//! place; the next begins when what was applied for this target before it is
//! ready.
//!
//! Two things keep this from ever being stuck for good. An object holds others
//! back only until it has been ready once since it was applied: what breaks
//! later, or was broken before, is not the new target's matter. And nothing
//! holds back its own wave, so that what mends it can come in the same one.

use std::collections::BTreeMap;
use std::time::Duration;

use lockstep_proto::traits::Hook;
use lockstep_proto::v1::health::Status as Health;
use tokio::time::Instant;

use super::around::Surroundings;
use super::hooks::Hooks;
use crate::apply::Goal;
use crate::apply::stage::{Stage, holds_its_stage, holds_its_wave};
use crate::health::{Judgement, overdue};
use crate::inventory::{Inventory, Item, ObjectId};

/// An attempt that failed this often is not a hiccup any more.
const TROUBLED: u32 = 3;

type Named<'a> = (&'a ObjectId, &'a Item);

/// What is waited for at one place.
#[derive(Default)]
struct Gate<'a> {
    /// Objects that are not applied yet.
    unsent: usize,
    /// Applied, not ready, and holding back later waves.
    waves: Waiting<'a>,
    /// Applied, not ready, and holding back later stages.
    stages: Waiting<'a>,
}

#[derive(Default)]
struct Waiting<'a> {
    count: usize,
    /// The one to be named: the same every time it is asked.
    first: Option<Named<'a>>,
}

impl<'a> Waiting<'a> {
    fn add(&mut self, id: &'a ObjectId, item: &'a Item) {
        self.count += 1;
        // Who has waited longest is who is late first.
        let rank = |(id, item): Named<'a>| (item.since, id);
        if self
            .first
            .is_none_or(|first| rank((id, item)) < rank(first))
        {
            self.first = Some((id, item));
        }
    }
}

/// See the module.
pub struct Way<'a> {
    /// All of the target is applied.
    pub reached: bool,
    pub hooks: Hooks<'a>,
    gates: BTreeMap<(Stage, i16), Gate<'a>>,
    /// An attempt at an object, or waiting for one, has failed for good.
    failing: bool,
    timeout: Duration,
    now: Instant,
}

/// What the next place waits for.
pub struct Held<'a> {
    /// The place.
    pub next: (Stage, i16),
    /// What it waits for.
    pub by: (&'a ObjectId, &'a Item),
    /// And how many more.
    pub more: usize,
    /// For longer than it may.
    pub late: bool,
    same_stage: bool,
    words: String,
}

impl<'a> Way<'a> {
    #[must_use]
    pub fn new(
        goal: &Goal,
        inventory: &'a Inventory,
        around: &Surroundings<'_>,
        now: Instant,
    ) -> Self {
        let timeout = goal.target().map_or(Duration::ZERO, |t| t.policy.timeout);
        let mut way = Self {
            reached: goal
                .target()
                .is_some_and(|target| inventory.has_reached(target)),
            hooks: Hooks::new(goal.target(), timeout, now),
            gates: BTreeMap::new(),
            failing: false,
            timeout,
            now,
        };
        for (id, item) in inventory.iter().filter(|(_, item)| item.wanted.is_some()) {
            if item.hook().is_some() {
                way.hooks.add(id, item);
                way.failing |= item.attempts() >= TROUBLED;
            } else if item.is_refused() {
                // Another file of the owner's may take weeks.
                way.failing = true;
            } else if item.is_outdated() {
                way.failing |= item.attempts() >= TROUBLED;
                if !way.reached {
                    let place = around.place(id, item.traits().wave);
                    way.gates.entry(place.gate()).or_default().unsent += 1;
                }
            } else if item.fresh && !item.is_ready() {
                way.failing |= way.is_late(item);
                if !way.reached {
                    way.wait_for(id, item, around);
                }
            }
        }
        if !way.reached {
            for unresolved in &inventory.unresolved {
                let key = &unresolved.listed.entry.key;
                let traits = unresolved.listed.traits.as_ref();
                let wave = traits.map_or(0, |t| t.as_ref().map_or(0, |t| t.wave));
                let stage = around.stage_of_unserved(key.group(), &key.kind);
                way.gates.entry((stage, wave)).or_default().unsent += 1;
            }
            for (id, contested) in &inventory.contested {
                let traits = contested.traits.as_ref();
                let wave = traits.map_or(0, |t| t.as_ref().map_or(0, |t| t.wave));
                let gate = around.place(id, wave).gate();
                way.gates.entry(gate).or_default().unsent += 1;
            }
        }
        way.hooks.sort();
        way
    }

    fn wait_for(&mut self, id: &'a ObjectId, item: &'a Item, around: &Surroundings<'_>) {
        let (stage, wave) = around.place(id, item.traits().wave).gate();
        let (group, kind) = (&*id.kind.group, &*id.kind.kind);
        let gate = self.gates.entry((stage, wave)).or_default();
        if holds_its_wave(group, kind) {
            gate.waves.add(id, item);
        }
        if holds_its_stage(stage, group, kind) {
            gate.stages.add(id, item);
        }
    }

    /// An object that was applied for this target has not become ready in time.
    fn is_late(&self, item: &Item) -> bool {
        item.late_at(self.timeout)
            .is_some_and(|then| then <= self.now)
    }

    /// The first place with something to apply.
    fn next(&self) -> Option<(Stage, i16)> {
        let mut open = self.gates.iter().filter(|(_, gate)| gate.unsent > 0);
        open.next().map(|(place, _)| *place)
    }

    /// Where objects may be applied now.
    #[must_use]
    pub fn open(&self) -> Option<(Stage, i16)> {
        let next = self.next()?;
        (self.waiting(next).next().is_none() && self.hooks.phase(Hook::PreSync).is_done())
            .then_some(next)
    }

    /// What holds back `next`, place by place.
    fn waiting(&self, next: (Stage, i16)) -> impl Iterator<Item = &Waiting<'a>> {
        let before = self.gates.range(..next);
        before
            .map(move |((stage, _), gate)| {
                if *stage == next.0 {
                    &gate.waves
                } else {
                    &gate.stages
                }
            })
            .filter(|waiting| waiting.count > 0)
    }

    /// What the next place waits for, if it does.
    #[must_use]
    pub fn held(&self) -> Option<Held<'a>> {
        let next = self.next()?;
        let first = self.waiting(next).find_map(|waiting| waiting.first)?;
        let count: usize = self.waiting(next).map(|waiting| waiting.count).sum();
        let (_, item) = first;
        let late = self.is_late(item);
        Some(Held {
            next,
            by: first,
            more: count - 1,
            late,
            same_stage: self
                .gates
                .keys()
                .any(|gate| gate.0 == next.0 && *gate < next),
            words: self.words(item, late),
        })
    }

    /// Why `item` is not ready.
    fn words(&self, item: &Item, late: bool) -> String {
        let message = item
            .reason
            .as_deref()
            .unwrap_or("it is not ready")
            .to_owned();
        let since = item.since.filter(|_| late);
        let Some(since) = since else {
            return message;
        };
        let judgement = Judgement {
            health: Health::Progressing,
            message,
            ended: false,
        };
        overdue(judgement, since, self.now, self.timeout).message
    }

    /// The way, or what comes after it, has failed; it may mend by itself.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failing
            || self.hooks.phase(Hook::PreSync).failed.is_some()
            || self.hooks.phase(Hook::PostSync).failed.is_some()
    }
}

impl Held<'_> {
    /// "wave 1 waits for apps/v1 Deployment shop/db: 1 of 3 replicas ready".
    #[must_use]
    pub fn say(&self) -> String {
        let (stage, wave) = self.next;
        let who = if self.same_stage || wave != 0 {
            format!("wave {wave}")
        } else {
            stage.word().to_owned()
        };
        let verb = match (self.late, self.same_stage || wave != 0) {
            (true, true) => "has not begun",
            (true, false) => "have not begun",
            (false, true) => "waits for",
            (false, false) => "wait for",
        };
        let (id, item) = self.by;
        let object = id.say(&item.api_version);
        let colon = if self.late { ": " } else { " " };
        let mut words = format!("{who} {verb}{colon}{object}: {}", self.words);
        if self.more > 0 {
            words.push_str(&format!("; and {} more", self.more));
        }
        words
    }
}

//! One object of an Inventory: what is wanted of it, what was applied, what a
//! watch saw, and what went wrong.

use std::sync::Arc;
use std::time::Duration;

use lockstep_proto::Digest;
use lockstep_proto::traits::{Hook, HookDelete, Traits};
use lockstep_proto::v1::drift::Policy;
use lockstep_proto::v1::health::Status as Health;
use tokio::time::Instant;

use super::drift::{Drift, NOT_PROVED};
use super::run::Run;
use crate::health::{Judgement, overdue, overdue_at};

/// An object that stayed as we left it for this long is not fought over.
const PEACE: Duration = Duration::from_secs(600);
/// Corrections that are made at once before we begin to wait between them.
const PATIENCE: u32 = 3;
/// The longest wait between two corrections of one object.
const LONGEST_TRUCE: Duration = Duration::from_secs(300);

/// Whether the object is there, as far as watches and answers tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// No news yet.
    Unseen,
    Absent,
    Present,
    /// There, with a deletion timestamp.
    Going,
}

/// See the module. Kept small: there may be thousands.
#[derive(Debug)]
pub struct Item {
    pub api_version: Arc<str>,
    /// The content that the target lists; none where it lists the object not.
    pub wanted: Option<Digest>,
    /// The content that the object was last confirmed to hold, if any.
    pub applied: Option<Digest>,
    /// Fingerprint of the fields that we owned right after that.
    pub owned: u64,
    /// What its annotations ask for; none for nearly every item.
    pub traits: Option<Box<Traits>>,
    /// Nobody else's: it was applied before, or taken over from another
    /// Assignment. Whose the others are is asked before they are applied.
    pub ours: bool,
    /// It stands in the stored Inventory, or will with the next save.
    pub stored: bool,
    pub presence: Presence,
    /// Resource version of the latest news.
    pub version: u64,
    /// Fingerprint of the fields that we own by the latest news.
    pub seen_owned: u64,
    pub health: Health,
    pub reason: Option<Box<str>>,
    /// Our fields, as a proof found them that it holds what is wanted.
    pub proved: u64,
    /// What was applied has fields as they were found, not as Git has them.
    pub found: bool,
    /// Fingerprint of the drift that the history was told of; zero for none.
    pub told: u64,
    /// Proved to differ from what was applied, and not put right yet.
    pub drift: Option<Box<Drift>>,
    /// What went wrong lately; none for nearly every item.
    pub care: Option<Box<Care>>,
    /// Since when it has not been ready; none where it is.
    pub since: Option<Instant>,
    /// Applied for a target, and not ready once since then.
    pub fresh: bool,
    /// It has run to its end, well or badly.
    pub ended: bool,
    /// Of a hook: its latest run.
    pub run: Option<Box<Run>>,
}

/// Good enough for what comes next to begin.
#[must_use]
pub fn is_ready(health: Health) -> bool {
    matches!(health, Health::Healthy | Health::Suspended)
}

/// Failures and corrections of one object.
#[derive(Debug, Default)]
pub struct Care {
    /// Why the last attempt failed.
    pub failure: Option<Box<str>>,
    pub attempts: u32,
    /// The cluster's owner does not allow it: nobody waits for it.
    pub refused: bool,
    /// Not to be touched before.
    pub not_before: Option<Instant>,
    pub corrections: u32,
    pub corrected: Option<Instant>,
}

/// What a watch says of an object.
#[derive(Debug)]
pub enum News {
    There {
        version: u64,
        owned: u64,
        going: bool,
        judgement: Judgement,
    },
    Gone {
        version: u64,
    },
}

impl Item {
    pub(super) fn wanted(
        api_version: Arc<str>,
        wanted: Digest,
        traits: Option<Box<Traits>>,
    ) -> Self {
        Self {
            wanted: Some(wanted),
            ..Self::stored(api_version, None, 0, traits)
        }
        .not_stored()
    }

    /// As read back from the stored Inventory.
    pub(super) fn stored(
        api_version: Arc<str>,
        applied: Option<Digest>,
        owned: u64,
        traits: Option<Box<Traits>>,
    ) -> Self {
        Self {
            api_version,
            wanted: None,
            applied,
            owned,
            traits,
            ours: applied.is_some(),
            stored: true,
            presence: Presence::Unseen,
            version: 0,
            seen_owned: 0,
            health: Health::Unknown,
            reason: None,
            proved: NOT_PROVED,
            found: false,
            told: 0,
            drift: None,
            care: None,
            since: None,
            fresh: false,
            ended: false,
            run: None,
        }
    }

    fn not_stored(self) -> Self {
        Self {
            stored: false,
            ..self
        }
    }

    #[must_use]
    pub fn traits(&self) -> Traits {
        self.traits.as_deref().copied().unwrap_or_default()
    }

    /// A hook is run, not kept: whether it is there, and as Git has it, is no
    /// question of drift.
    #[must_use]
    pub fn hook(&self) -> Option<(Hook, HookDelete)> {
        self.traits.as_deref().and_then(|traits| traits.hook)
    }

    /// There, and good enough for what comes next to begin.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.presence == Presence::Present && is_ready(self.health)
    }

    /// How well it is, where nothing may be on its way for longer than `timeout`.
    #[must_use]
    pub fn judgement(&self, timeout: Duration, now: Instant) -> Judgement {
        let judgement = Judgement {
            health: self.health,
            message: self.reason.as_deref().unwrap_or("").to_owned(),
            ended: self.ended,
        };
        match self.since {
            Some(since) => overdue(judgement, since, now, timeout),
            None => judgement,
        }
    }

    /// When it will have been on its way for longer than `timeout`.
    #[must_use]
    pub fn overdue_at(&self, timeout: Duration) -> Option<Instant> {
        overdue_at(self.health, self.since?, timeout)
    }

    /// When it will have been applied, but not ready, for longer than `timeout`.
    #[must_use]
    pub fn late_at(&self, timeout: Duration) -> Option<Instant> {
        let since = self.since.filter(|_| self.fresh && !timeout.is_zero())?;
        since.checked_add(timeout)
    }

    /// The content that is wanted has not been applied.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        self.wanted.is_some() && self.applied != self.wanted && self.hook().is_none()
    }

    /// Applied as wanted, but not there (any more).
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.wanted.is_some()
            && self.presence == Presence::Absent
            && !self.is_outdated()
            && self.hook().is_none()
    }

    /// Applied as wanted, but fields that were ours no longer are: somebody
    /// changed them, unless a dry run proves otherwise. And what holds fields
    /// as they were found may be wanted as Git has it by now.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        self.wanted.is_some()
            && !self.is_outdated()
            && self.drift.is_none()
            && self.presence == Presence::Present
            && self.hook().is_none()
            && self.seen_owned != self.proved
            && (self.found || self.seen_owned != self.owned)
    }

    /// Applied as wanted, and not so any more.
    #[must_use]
    pub fn is_drifted(&self) -> bool {
        self.wanted.is_some() && (self.drift.is_some() || self.is_missing())
    }

    /// To be applied, when nothing stands in the way.
    #[must_use]
    pub fn is_due(&self, policy: Policy) -> bool {
        self.presence != Presence::Going
            && (self.is_outdated() || (policy == Policy::Correct && self.is_drifted()))
            && self.hook().is_none()
    }

    /// News that something can or must be done about it.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        self.is_due(Policy::Correct)
            || self.is_suspect()
            || self.run.as_ref().is_some_and(|run| run.end.is_none())
            || (self.wanted.is_none() && self.presence == Presence::Absent)
    }

    /// A failure or a truce forbids touching it now.
    #[must_use]
    pub fn rests_until(&self, now: Instant) -> Option<Instant> {
        self.care
            .as_ref()
            .and_then(|care| care.not_before)
            .filter(|then| *then > now)
    }

    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.care.as_ref().and_then(|care| care.failure.as_deref())
    }

    /// Takes the news; false where they are old.
    pub fn hear(&mut self, news: News) -> bool {
        match news {
            News::There { version, .. } | News::Gone { version } if version < self.version => false,
            News::There {
                version,
                owned,
                going,
                judgement,
            } => {
                self.version = version;
                self.seen_owned = owned;
                self.presence = if going {
                    Presence::Going
                } else {
                    Presence::Present
                };
                self.health = judgement.health;
                self.reason = (!judgement.message.is_empty()).then(|| judgement.message.into());
                self.ended = judgement.ended;
                self.note_readiness();
                true
            }
            News::Gone { version } => {
                self.version = version;
                self.seen_owned = 0;
                self.presence = Presence::Absent;
                self.health = Health::Missing;
                self.reason = None;
                self.ended = false;
                self.note_readiness();
                self.drift.take_if(|drift| !drift.deleted);
                if self.wanted.is_none() {
                    // What we waited for has come to pass.
                    self.care = None;
                }
                true
            }
        }
    }

    /// The API server took our apply; `watched` says that a watch will tell
    /// how the object does.
    pub fn answered(&mut self, version: u64, owned: u64, going: bool, watched: bool) {
        let changed = version != self.version;
        if version >= self.version {
            self.version = version;
            self.seen_owned = owned;
            self.presence = if going {
                Presence::Going
            } else {
                Presence::Present
            };
            if changed || self.health == Health::Missing {
                (self.health, self.reason) = if watched {
                    let reason = "applied; how it does is not known yet";
                    (Health::Progressing, Some(reason.into()))
                } else {
                    (Health::Healthy, None)
                };
                self.ended = false;
                self.since = None;
            }
            self.note_readiness();
        }
        if let Some(care) = &mut self.care {
            care.failure = None;
            care.attempts = 0;
            if care.corrected.is_none() {
                self.care = None;
            }
        }
    }

    /// Once ready, an object holds nothing back any more: if it breaks later,
    /// that is for reasons of its own.
    fn note_readiness(&mut self) {
        if self.is_ready() {
            self.since = None;
            self.fresh = false;
        } else if self.since.is_none() {
            self.since = Some(Instant::now());
        }
    }

    /// Takes what a read of it said, unless newer news came meanwhile.
    pub fn seen(&mut self, version: u64, owned: u64, going: bool) {
        if version >= self.version {
            self.version = version;
            self.seen_owned = owned;
            self.presence = if going {
                Presence::Going
            } else {
                Presence::Present
            };
        }
    }

    /// Notes that a correction is being made, and how long to keep off after it.
    pub fn correcting(&mut self, now: Instant) {
        let care = self.care.get_or_insert_default();
        let fresh = care.corrected.is_some_and(|then| now - then < PEACE);
        care.corrections = if fresh { care.corrections + 1 } else { 1 };
        care.corrected = Some(now);
        care.not_before = (care.corrections >= PATIENCE).then(|| {
            let doublings = (care.corrections - PATIENCE).min(16);
            now + LONGEST_TRUCE.min(Duration::from_secs(1 << doublings))
        });
    }

    /// Notes a failed attempt, to be repeated not before `then`.
    pub fn failed(&mut self, words: &str, then: Instant) {
        let care = self.care.get_or_insert_default();
        care.failure = Some(words.into());
        care.attempts = care.attempts.saturating_add(1);
        care.not_before = Some(then);
    }

    /// Notes that the cluster's owner does not allow it, until `then`.
    pub fn refused(&mut self, words: &str, then: Instant) {
        if self.failure() != Some(words) {
            self.failed(words, then);
            self.care.get_or_insert_default().refused = true;
        }
    }

    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.care.as_ref().is_some_and(|care| care.refused)
    }

    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.care.as_ref().map_or(0, |care| care.attempts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item() -> Item {
        let mut item = Item::wanted("v1".into(), Digest::of(b"1"), None);
        item.applied = item.wanted;
        item.owned = 7;
        item
    }

    fn there(version: u64, owned: u64) -> News {
        News::There {
            version,
            owned,
            going: false,
            judgement: Judgement::healthy(),
        }
    }

    #[test]
    fn old_news_change_nothing() {
        let mut item = item();
        assert!(item.hear(there(5, 7)));
        assert!(!item.hear(News::Gone { version: 4 }));
        assert_eq!(item.presence, Presence::Present);
        item.answered(9, 7, false, false);
        assert!(!item.hear(there(6, 3)), "it speaks of before our apply");
        assert!(!item.is_suspect());
    }

    #[test]
    fn fields_taken_from_us_are_suspect_and_a_missing_object_is_due() {
        let mut item = item();
        item.hear(there(5, 7));
        assert!(!item.is_due(Policy::Correct) && !item.is_suspect());
        item.hear(there(6, 8));
        assert!(item.is_suspect() && !item.is_due(Policy::Correct));
        item.hear(News::Gone { version: 7 });
        assert!(item.is_missing() && !item.is_suspect());
        assert!(item.is_due(Policy::Correct) && !item.is_due(Policy::Report));
        item.presence = Presence::Going;
        assert!(!item.is_due(Policy::Correct), "it has to be gone first");
    }

    #[tokio::test(start_paused = true)]
    async fn a_fight_is_slowed_down_and_peace_is_forgiven() {
        let mut item = item();
        let now = Instant::now();
        item.correcting(now);
        item.correcting(now);
        assert_eq!(
            item.rests_until(now),
            None,
            "seconds, not minutes, at first"
        );
        for _ in 0..30 {
            item.correcting(now);
        }
        assert_eq!(item.rests_until(now), Some(now + LONGEST_TRUCE));
        let later = now + PEACE + LONGEST_TRUCE;
        item.correcting(later);
        assert_eq!(item.rests_until(later), None);
    }

    #[test]
    fn an_applied_object_is_not_healthy_before_somebody_looked() {
        let mut item = item();
        item.hear(there(5, 7));
        item.answered(6, 7, false, true);
        assert_eq!(item.health, Health::Progressing);
        item.hear(there(6, 7));
        assert_eq!(item.health, Health::Healthy);
        item.answered(6, 7, false, true);
        assert_eq!(item.health, Health::Healthy, "nothing changed");
    }
}

//! How an object differs from what was applied, as a proof found it.

use std::time::Duration;

use lockstep_proto::v1::drift::Policy;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{Item, Presence};

/// Fields that are named one by one.
const MOST_FIELDS: usize = 10;
/// Waits between two looks at an object that is left as it is, or fought over,
/// while others go on writing to it: doubling from the first to the longest.
const FIRST_LOOK: Duration = Duration::from_secs(1);
const LONGEST_LOOK: Duration = Duration::from_secs(60);
/// No fingerprint of fields: nothing was proved under this goal.
pub const NOT_PROVED: u64 = u64::MAX;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// The object is gone altogether.
    pub deleted: bool,
    /// ".spec.replicas"
    pub fields: Vec<String>,
    /// Fields beyond those.
    pub more: u32,
    /// The manager that changed them, where that is known.
    pub by: Option<Box<str>>,
    /// It is to be left as it is: worth remembering over a restart.
    pub left: bool,
    /// The version of the object that this is said of.
    version: u64,
    looks: u32,
    again: Option<Instant>,
}

/// Whether an object has to be compared with what was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    No,
    Now,
    At(Instant),
}

impl Drift {
    #[must_use]
    pub fn deleted() -> Self {
        Self {
            deleted: true,
            ..Self::in_fields(Vec::new(), None)
        }
    }

    #[must_use]
    pub fn in_fields(mut fields: Vec<String>, by: Option<&str>) -> Self {
        let more = fields.len().saturating_sub(MOST_FIELDS);
        fields.truncate(MOST_FIELDS);
        Self {
            deleted: false,
            fields,
            more: u32::try_from(more).unwrap_or(u32::MAX),
            by: by.map(Into::into),
            left: false,
            version: 0,
            looks: 0,
            again: None,
        }
    }

    #[must_use]
    pub fn left(self, left: bool) -> Self {
        Self { left, ..self }
    }

    /// Tells one drift from another; never zero.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Sha256::new();
        hash.update([u8::from(self.deleted)]);
        for field in &self.fields {
            hash.update(field.as_bytes());
            hash.update([0]);
        }
        hash.update(self.more.to_be_bytes());
        let hash: [u8; 32] = hash.finalize().into();
        let (first, _) = hash.split_first_chunk().expect("32 bytes hold 8");
        u64::from_be_bytes(*first).max(1)
    }

    /// "kubectl-edit changed .spec.replicas and 2 fields more"
    #[must_use]
    pub fn words(&self) -> String {
        if self.deleted {
            return "somebody deleted it".to_owned();
        }
        let by = self.by.as_deref().unwrap_or("somebody");
        let fields = match (self.fields.join(", "), self.more) {
            (none, _) if none.is_empty() => "it".to_owned(),
            (fields, 0) => fields,
            (fields, 1) => format!("{fields} and 1 field more"),
            (fields, more) => format!("{fields} and {more} fields more"),
        };
        format!("{by} changed {fields}")
    }
}

impl Item {
    /// What is to be done about drift of the object; `default` is what its
    /// Assignment says.
    #[must_use]
    pub fn policy(&self, default: Policy) -> Policy {
        let own = self.traits.as_ref().and_then(|traits| traits.drift);
        own.unwrap_or(default)
    }

    /// Whether it has to be compared with what was applied. What is put back at
    /// once needs no second look; what is left as it is, or is fought over, is
    /// looked at again when somebody wrote to it.
    #[must_use]
    pub fn look(&self, policy: Policy, now: Instant) -> Look {
        if self.wanted.is_none() || self.is_outdated() || policy == Policy::Ignore {
            return Look::No;
        }
        let left = policy == Policy::Report;
        let due = match (self.presence, &self.drift) {
            (Presence::Present, None) => self.is_suspect(),
            (Presence::Present, Some(drift)) => {
                drift.version != self.version && (left || self.rests_until(now).is_some())
            }
            (Presence::Absent, drift) => {
                left && self.is_missing() && drift.as_ref().is_none_or(|drift| !drift.deleted)
            }
            _ => false,
        };
        if !due {
            return Look::No;
        }
        // A truce keeps us from correcting it, not from knowing.
        let failed = self.rests_until(now).filter(|_| self.failure().is_some());
        let looked = self.drift.as_ref().and_then(|drift| drift.again);
        match failed.max(looked).filter(|then| *then > now) {
            Some(then) => Look::At(then),
            None => Look::Now,
        }
    }

    /// It was proved to differ. True where that is news for the history.
    pub fn differs(&mut self, mut drift: Drift, version: u64, now: Instant) -> bool {
        let same = self
            .drift
            .as_ref()
            .filter(|was| was.fingerprint() == drift.fingerprint());
        let looks = same.map_or(0, |was| was.looks.saturating_add(1));
        let wait = FIRST_LOOK * 2_u32.saturating_pow(looks.min(10));
        drift.looks = looks;
        drift.again = Some(now + wait.min(LONGEST_LOOK));
        drift.version = version;
        if drift.by.is_none() {
            drift.by = same.and_then(|was| was.by.clone());
        }
        let told = drift.fingerprint();
        self.drift = Some(Box::new(drift));
        std::mem::replace(&mut self.told, told) != told
    }

    /// It was proved, or made, to hold what is wanted, and our fields of it
    /// are `owned`. The drift that ended with that, if any was told of.
    pub fn holds(&mut self, owned: u64) -> Option<Drift> {
        self.proved = owned;
        let drift = self.drift.take();
        if std::mem::take(&mut self.told) == 0 {
            return None;
        }
        // Of a drift that was told of before a restart no more is known than
        // that it was left.
        let known = drift.map(|drift| *drift);
        Some(known.unwrap_or_else(|| Drift::in_fields(Vec::new(), None).left(true)))
    }

    /// A new goal may ask for something else: what was proved is to be proved
    /// again. What the history was told stays told.
    pub fn doubt(&mut self) {
        self.proved = NOT_PROVED;
        self.drift = None;
    }
}

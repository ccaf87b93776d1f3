//! The latest run of a hook, kept with its object so that it is run once for
//! a target, whatever becomes of the agent or of the object meanwhile.

use lockstep_proto::Digest;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// What is kept of the reason for a failure.
const LONGEST_REASON: usize = 512;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The Bundle that it ran for.
    pub target: Digest,
    /// How it ended; none while it runs.
    pub end: Option<End>,
    /// When it was begun, as far as this agent knows.
    pub at: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Succeeded,
    /// For this reason.
    Failed(Box<str>),
}

impl Run {
    #[must_use]
    pub fn begun(target: Digest) -> Self {
        Self {
            target,
            end: None,
            at: Instant::now(),
        }
    }

    #[must_use]
    pub fn failed(&self) -> Option<&str> {
        match &self.end {
            Some(End::Failed(why)) => Some(why),
            _ => None,
        }
    }
}

impl End {
    /// Failed, for a reason that is cut to what a line may hold.
    #[must_use]
    pub fn failed(why: &str) -> Self {
        let mut end = why.len().min(LONGEST_REASON);
        while !why.is_char_boundary(end) {
            end -= 1;
        }
        Self::Failed(why[..end].into())
    }
}

/// As it stands in a line of the stored Inventory.
#[derive(Serialize, Deserialize)]
pub(super) struct RunText {
    target: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    end: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    reason: String,
}

impl RunText {
    pub(super) fn write(run: &Run) -> Self {
        let (end, reason) = match &run.end {
            None => ("", ""),
            Some(End::Succeeded) => ("Succeeded", ""),
            Some(End::Failed(why)) => ("Failed", &**why),
        };
        Self {
            target: run.target.to_string(),
            end: end.to_owned(),
            reason: reason.to_owned(),
        }
    }

    /// Nothing, where it cannot be read: the hook's object still says for
    /// which target it ran.
    pub(super) fn read(self) -> Option<Run> {
        let end = match self.end.as_str() {
            "" => None,
            "Succeeded" => Some(End::Succeeded),
            "Failed" => Some(End::Failed(self.reason.into())),
            _ => return None,
        };
        let target = self.target.parse().ok()?;
        Some(Run {
            target,
            end,
            at: Instant::now(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_read_back_as_it_was_written() {
        for end in [
            None,
            Some(End::Succeeded),
            Some(End::failed("BackoffLimitExceeded: no \"luck\"")),
        ] {
            let run = Run {
                end,
                ..Run::begun(Digest::of(b"target"))
            };
            let text = serde_json::to_string(&RunText::write(&run)).unwrap();
            let read: RunText = serde_json::from_str(&text).unwrap();
            let read = read.read().unwrap();
            assert_eq!((read.target, read.end), (run.target, run.end));
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_two_letters() {
        let End::Failed(why) = End::failed(&"ä".repeat(1_000)) else {
            panic!("it failed");
        };
        assert!(why.len() <= LONGEST_REASON && why.chars().all(|c| c == 'ä'));
    }
}

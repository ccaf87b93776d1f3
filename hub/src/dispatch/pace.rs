//! How fast one agent may say what happened to objects: pure. A whole journal
//! at once, and then a few a second: more than people read, and so little that
//! an agent that makes things up cannot keep the store busy.

use std::time::Duration;

use tokio::time::Instant;

/// As many as an agent keeps while the hub is away.
const BURST: u32 = 1_000;
/// Then one in this time.
const EACH: Duration = Duration::from_millis(50);

/// See the module.
#[derive(Debug)]
pub struct Pace {
    /// When all that was said is paid for. Never more than a burst ahead.
    paid: Instant,
}

impl Pace {
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { paid: now }
    }

    /// Counts one event, and says until when not to listen: a time that has
    /// passed where there is no need to wait.
    pub fn spend(&mut self, now: Instant) -> Instant {
        self.paid = self.paid.max(now) + EACH;
        self.paid.checked_sub(EACH * BURST).unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_comes_at_once_and_what_follows_is_slowed_down() {
        let start = Instant::now() + EACH * BURST;
        let mut pace = Pace::new(start);
        for _ in 0..BURST {
            assert!(pace.spend(start) <= start);
        }
        assert_eq!(pace.spend(start), start + EACH);
        assert_eq!(pace.spend(start + EACH), start + EACH * 2);
        // A rest gives the burst back.
        let later = start + EACH * BURST * 3;
        for _ in 0..BURST {
            assert!(pace.spend(later) <= later);
        }
        assert!(pace.spend(later) > later);
    }
}

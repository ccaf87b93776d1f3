//! How long to wait before the next try.

use std::time::Duration;

/// Exponential with full jitter: a fleet that lost its hub at one instant must
/// not come back at one instant.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    ceiling: Duration,
    tries: u32,
}

impl Backoff {
    /// The first wait is at most `first`, each further one at most twice as
    /// long as the one before, and none longer than `ceiling`.
    #[must_use]
    pub fn new(first: Duration, ceiling: Duration) -> Self {
        Self {
            first,
            ceiling,
            tries: 0,
        }
    }

    /// The next wait: a `share` (0 to 1) of the longest that it may be.
    pub fn next(&mut self, share: f64) -> Duration {
        let longest = self
            .first
            .saturating_mul(1_u32.checked_shl(self.tries).unwrap_or(u32::MAX))
            .min(self.ceiling);
        self.tries = self.tries.saturating_add(1).min(31);
        longest.mul_f64(share.clamp(0.0, 1.0))
    }

    /// [`Backoff::next`] with the dice thrown.
    pub fn wait(&mut self) -> Duration {
        self.next(rand::random())
    }

    /// It went well: begin again.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_ceiling_and_begin_again_after_success() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, 30 * second);
        let longest: Vec<u64> = (0..7).map(|_| backoff.next(1.0).as_secs()).collect();
        assert_eq!(longest, [1, 2, 4, 8, 16, 30, 30]);
        for _ in 0..100 {
            assert!(backoff.wait() <= 30 * second);
        }
        backoff.reset();
        assert_eq!(backoff.next(0.5), second / 2);
    }
}

//! When a repository is looked at next. Pure: chance comes in as a number
//! between 0 and 1.

use std::time::Duration;

/// After the first failure; doubled with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// However long a remote has been away, it is back within this.
const LONGEST_RETRY: Duration = Duration::from_secs(180);
/// Between two looks that somebody asked for: webhooks come in bursts, and
/// the second of a burst finds what the last one pushed.
pub(super) const GAP: Duration = Duration::from_millis(200);

/// How long to wait after a look. `failures` are those in a row; `poll` is
/// none where polling is off, and then none means until somebody asks.
pub(super) fn wait(poll: Option<Duration>, failures: u32, chance: f64) -> Option<Duration> {
    // ±10 %, so that repositories made together do not poll together.
    let jitter = 0.9 + 0.2 * chance.clamp(0.0, 1.0);
    if failures == 0 {
        return poll.map(|poll| poll.mul_f64(jitter));
    }
    let doubled = FIRST_RETRY.saturating_mul(1 << (failures - 1).min(16));
    Some(doubled.min(LONGEST_RETRY).mul_f64(jitter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_have_jitter_and_failures_back_off() {
        let seconds = |poll: Option<u64>, failures, chance| {
            wait(poll.map(Duration::from_secs), failures, chance).map(|d| d.as_secs_f64().round())
        };
        assert_eq!(seconds(Some(100), 0, 0.0), Some(90.0));
        assert_eq!(seconds(Some(100), 0, 1.0), Some(110.0));
        assert_eq!(seconds(None, 0, 0.5), None);
        for (failures, want) in [
            (1, 2.0),
            (2, 4.0),
            (3, 8.0),
            (7, 128.0),
            (8, 180.0),
            (99, 180.0),
        ] {
            assert_eq!(seconds(Some(100), failures, 0.5), Some(want));
            assert_eq!(seconds(None, failures, 0.5), Some(want));
        }
        assert_eq!(seconds(Some(100), u32::MAX, 1.0), Some(198.0));
    }
}

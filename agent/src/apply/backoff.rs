//! How long to wait before trying again: doubling, with jitter, so that many
//! objects and many agents that failed together do not come back together.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(120);

/// The wait after the `attempts`th failure in a row; `asked` is what a server
/// wants us to wait at least.
#[must_use]
pub fn backoff(attempts: u32, asked: Option<Duration>) -> Duration {
    let doubled = FIRST * 2_u32.saturating_pow(attempts.min(10));
    let wait = doubled.min(LONGEST).mul_f64(rand::random_range(0.75..1.25));
    wait.max(asked.unwrap_or_default().min(LONGEST))
}

/// The wait before trying again within one attempt: the server was busy, or
/// somebody wrote at the same moment.
#[must_use]
pub fn moment(tries: u32, asked: Option<Duration>) -> Duration {
    let wait = Duration::from_millis(40 << tries.min(6));
    let wait = wait.mul_f64(rand::random_range(0.5..1.5));
    wait.max(asked.unwrap_or_default().min(Duration::from_secs(3)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_are_bounded_and_honour_the_server() {
        assert!(backoff(0, None) < Duration::from_millis(1_300));
        assert!(backoff(3, None) > Duration::from_secs(5));
        assert!(backoff(1_000, None) <= LONGEST.mul_f64(1.25));
        let asked = Some(Duration::from_secs(30));
        assert!(backoff(0, asked) >= Duration::from_secs(30));
        assert!(moment(0, asked) <= Duration::from_secs(3));
        assert!(moment(99, None) < Duration::from_secs(4));
    }
}

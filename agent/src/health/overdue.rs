//! Nothing is on its way forever: what has been Progressing for longer than
//! the Assignment's timeout is Degraded, and says what it was waiting for.

use std::time::Duration;

use lockstep_proto::v1::health::Status;
use tokio::time::Instant;

use super::Judgement;

/// `judgement` as it is `now`, for an object that has been Progressing `since`
/// then. A timeout of zero is none.
#[must_use]
pub fn overdue(judgement: Judgement, since: Instant, now: Instant, timeout: Duration) -> Judgement {
    let late = overdue_at(judgement.health, since, timeout).is_some_and(|then| then <= now);
    if !late {
        return judgement;
    }
    let words = format!("not ready within {}", span(timeout));
    Judgement::degraded(match judgement.message.as_str() {
        "" => words,
        reason => format!("{words}: {reason}"),
    })
}

/// When [`overdue`] will change its mind, if ever.
#[must_use]
pub fn overdue_at(health: Status, since: Instant, timeout: Duration) -> Option<Instant> {
    (health == Status::Progressing && !timeout.is_zero())
        .then(|| since.checked_add(timeout))
        .flatten()
}

/// As people write it: "90s", "10m", "1h30m".
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes, rest) {
        (0, 0, _) => format!("{seconds}s"),
        (0, 1, 1..) => format!("{seconds}s"),
        (0, _, 0) => format!("{minutes}m"),
        (0, ..) => format!("{minutes}m{rest}s"),
        (_, 0, 0) => format!("{hours}h"),
        (_, _, 0) => format!("{hours}h{minutes}m"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(600);

    #[tokio::test(start_paused = true)]
    async fn what_is_on_its_way_for_too_long_is_degraded_and_says_why() {
        let since = Instant::now();
        let waits = || Judgement::progressing("1 of 3 replicas ready");
        let at = |seconds| since + Duration::from_secs(seconds);
        assert_eq!(overdue(waits(), since, at(599), TEN), waits());
        let late = overdue(waits(), since, at(600), TEN);
        assert_eq!(late.health, Status::Degraded);
        assert_eq!(late.message, "not ready within 10m: 1 of 3 replicas ready");
        assert_eq!(overdue_at(Status::Progressing, since, TEN), Some(at(600)));
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_is_on_its_way_can_be_late() {
        let since = Instant::now();
        let now = since + TEN * 9;
        for judgement in [
            Judgement::healthy(),
            Judgement::suspended("paused"),
            Judgement::degraded("crashes"),
        ] {
            assert_eq!(overdue(judgement.clone(), since, now, TEN), judgement);
            assert_eq!(overdue_at(judgement.health, since, TEN), None);
        }
        let waits = Judgement::progressing("starts");
        assert_eq!(overdue(waits.clone(), since, now, Duration::ZERO), waits);
        assert_eq!(
            overdue(waits.clone(), now, since, TEN),
            waits,
            "a clock that went back"
        );
        assert_eq!(overdue_at(Status::Progressing, since, Duration::MAX), None);
    }

    #[test]
    fn a_time_is_said_as_people_write_it() {
        for (seconds, words) in [
            (1, "1s"),
            (60, "1m"),
            (90, "90s"),
            (150, "2m30s"),
            (600, "10m"),
            (3600, "1h"),
            (5400, "1h30m"),
            (3661, "1h1m1s"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), words);
        }
    }
}

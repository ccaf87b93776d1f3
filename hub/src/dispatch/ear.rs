//! Who is silent, and who only was not heard: pure. Time in which the hub did
//! not listen, because it was stopped or its disk could not keep up, does not
//! count against its agents.

use std::time::Duration;

use super::registry::{SILENCE, SWEEP};

/// A sweep that comes this late shows that the whole hub stood still.
const LATE: Duration = SWEEP.saturating_mul(4);

/// See the module. Times are whole seconds on one clock.
#[derive(Debug)]
pub struct Ear {
    deaf_until: u32,
    last: u32,
}

impl Ear {
    #[must_use]
    pub fn new(now: u32) -> Self {
        Self {
            deaf_until: now,
            last: now,
        }
    }

    /// Sessions last heard of before this second are silent. `deaf` is whether
    /// sessions are not being read at the moment.
    pub fn silent_before(&mut self, now: u32, deaf: bool) -> u32 {
        if deaf || now.saturating_sub(self.last) >= seconds(LATE) {
            self.deaf_until = now;
        }
        self.last = now;
        let patience = now.saturating_sub(seconds(SILENCE));
        if self.deaf_until > patience {
            0
        } else {
            patience
        }
    }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn swept(ear: &mut Ear, from: u32, to: u32, deaf: bool) -> u32 {
        (from..=to)
            .step_by(2)
            .map(|now| ear.silent_before(now, deaf))
            .last()
            .unwrap()
    }

    #[test]
    fn nobody_is_silent_before_the_hub_listened_for_as_long() {
        let mut ear = Ear::new(10);
        assert_eq!(swept(&mut ear, 12, 58, false), 0);
        assert_eq!(swept(&mut ear, 60, 60, false), 10);
        assert_eq!(swept(&mut ear, 62, 100, false), 50);
    }

    #[test]
    fn a_hub_that_could_not_read_gives_everybody_time_anew() {
        let mut ear = Ear::new(0);
        assert_eq!(swept(&mut ear, 2, 100, false), 50);
        assert_eq!(swept(&mut ear, 102, 110, true), 0);
        assert_eq!(swept(&mut ear, 112, 158, false), 0);
        assert_eq!(swept(&mut ear, 160, 160, false), 110);
    }

    #[test]
    fn a_hub_that_stood_still_gives_everybody_time_anew() {
        let mut ear = Ear::new(0);
        assert_eq!(swept(&mut ear, 2, 100, false), 50);
        assert_eq!(swept(&mut ear, 300, 340, false), 0);
        assert_eq!(swept(&mut ear, 342, 350, false), 300);
    }
}

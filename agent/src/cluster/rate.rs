//! How many writes a second all Assignments together may make.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// Hands out turns at even distances. Turns that nobody took are lost: a busy
/// server is not made up for.
#[derive(Debug)]
pub struct Rate {
    every: Duration,
    /// When the next turn is. Tokio's lock is given in the order in which it
    /// was asked for, so no Assignment can push ahead of another, and a turn
    /// is taken only after the wait, so who goes away has taken none.
    next: Mutex<Option<Instant>>,
}

impl Rate {
    /// `a_second` is more than nothing.
    #[must_use]
    pub fn new(a_second: f64) -> Self {
        Self {
            every: Duration::from_secs_f64(1.0 / a_second.max(0.001)),
            next: Mutex::new(None),
        }
    }

    /// Waits for the next turn, and takes it.
    pub async fn turn(&self) {
        let mut next = self.next.lock().await;
        if let Some(then) = *next {
            sleep_until(then).await;
        }
        *next = Some(Instant::now() + self.every);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn turns_come_at_even_distances_and_are_not_saved_up() {
        let rate = Rate::new(5.0);
        let begin = Instant::now();
        for _ in 0..11 {
            rate.turn().await;
        }
        assert_eq!(begin.elapsed(), Duration::from_secs(2));
        tokio::time::sleep(Duration::from_secs(10)).await;
        let begin = Instant::now();
        rate.turn().await;
        rate.turn().await;
        assert!(begin.elapsed() >= Duration::from_millis(200));
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_waiting_has_taken_nothing_and_nobody_is_overtaken() {
        let rate = Arc::new(Rate::new(1.0));
        rate.turn().await;
        let begin = Instant::now();
        let gone = tokio::time::timeout(Duration::from_millis(500), rate.turn()).await;
        assert!(gone.is_err());
        let mut waiting = Vec::new();
        for name in ["first", "second", "third"] {
            let rate = Arc::clone(&rate);
            waiting.push(tokio::spawn(async move {
                rate.turn().await;
                (name, begin.elapsed())
            }));
            tokio::task::yield_now().await;
        }
        let mut order = Vec::new();
        for task in waiting {
            order.push(task.await.unwrap());
        }
        let second = Duration::from_secs(1);
        let expected = [
            ("first", second),
            ("second", 2 * second),
            ("third", 3 * second),
        ];
        for ((name, at), (expected, then)) in order.into_iter().zip(expected) {
            assert_eq!(name, expected);
            assert!(
                at >= then && at < then + Duration::from_millis(10),
                "{name} {at:?}"
            );
        }
    }
}

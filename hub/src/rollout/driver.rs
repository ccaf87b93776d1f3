//! When each Assignment is looked at: as soon as it is marked, different ones
//! side by side, the same one never twice at once, and again after a failure
//! when its backoff is over. So one that fails or takes long holds up no other.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Source;
use super::release::{Outcome, Release};

/// The first wait after a failure, doubled by each further one up to the last.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LAST_WAIT: Duration = Duration::from_secs(300);

/// Releases what Assignments name to their clusters, until `cancel`. A fleet
/// that was just loaded has them all marked.
pub async fn run<S: Source>(release: Release<S>, cancel: CancellationToken) {
    let dirty = release.fleet.dirty_assignments().clone();
    let mut driver = Driver {
        release,
        looks: JoinSet::new(),
        at_work: HashMap::new(),
        names: HashMap::new(),
        failures: HashMap::new(),
        retries: BTreeSet::new(),
    };
    loop {
        let next = driver.retries.first().map(|(at, _)| *at);
        tokio::select! {
            () = cancel.cancelled() => break,
            marked = dirty.take() => for name in marked {
                driver.start(name);
            },
            Some(done) = driver.looks.join_next_with_id() => driver.done(done),
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                driver.retry();
            }
        }
    }
    driver.looks.shutdown().await;
}

struct Driver<S> {
    release: Release<S>,
    looks: JoinSet<Outcome>,
    /// Who is being looked at, and whether it was marked again meanwhile.
    at_work: HashMap<String, bool>,
    names: HashMap<Id, String>,
    /// How often in a row a look failed.
    failures: HashMap<String, u32>,
    retries: BTreeSet<(Instant, String)>,
}

impl<S: Source> Driver<S> {
    fn start(&mut self, name: String) {
        if let Some(again) = self.at_work.get_mut(&name) {
            *again = true;
            return;
        }
        self.retries.retain(|(_, waiting)| *waiting != name);
        let release = self.release.clone();
        let task = self.looks.spawn({
            let name = name.clone();
            async move { release.look(&name).await }
        });
        self.names.insert(task.id(), name.clone());
        self.at_work.insert(name, false);
    }

    fn done(&mut self, done: Result<(Id, Outcome), JoinError>) {
        let (id, outcome) = done.unwrap_or_else(|error| {
            tracing::error!(%error, "a look at an assignment panicked");
            (error.id(), Outcome::Failed)
        });
        let Some(name) = self.names.remove(&id) else {
            return;
        };
        let again = self.at_work.remove(&name).unwrap_or(false);
        if outcome == Outcome::Failed {
            let failures = self.failures.entry(name.clone()).or_insert(0);
            *failures += 1;
            let at = Instant::now() + backoff(*failures, rand::random());
            self.retries.insert((at, name.clone()));
        } else {
            self.failures.remove(&name);
        }
        if again {
            self.start(name);
        }
    }

    fn retry(&mut self) {
        let now = Instant::now();
        while let Some((at, name)) = self.retries.pop_first() {
            if at > now {
                self.retries.insert((at, name));
                return;
            }
            self.start(name);
        }
    }
}

/// How long to wait after the `failures`th failure in a row: half of it fixed,
/// half by `chance`, so that what failed together does not come back together.
fn backoff(failures: u32, chance: f64) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled
        .min(LAST_WAIT)
        .mul_f64(f64::midpoint(1.0, chance.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_differ() {
        let long = |failures| backoff(failures, 1.0);
        assert_eq!(long(1), FIRST_WAIT);
        assert_eq!(long(2), FIRST_WAIT * 2);
        assert_eq!(long(5), FIRST_WAIT * 16);
        assert_eq!(long(u32::MAX), LAST_WAIT);
        assert_eq!(backoff(1, 0.0), FIRST_WAIT / 2);
        assert_eq!(backoff(40, 0.0), LAST_WAIT / 2);
    }
}

//! When each Assignment is looked at: as soon as it is marked, different ones
//! side by side, the same one never twice at once, and again after a failure
//! when its backoff is over. So one that fails or takes long holds up no other
//! but those that depend on it: they are looked at after it, so that one commit
//! to both reaches clusters in order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Source;
use super::release::{Outcome, Release};

/// The first wait after a failure, doubled by each further one up to the last.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LAST_WAIT: Duration = Duration::from_secs(300);
/// Looks at what it depends on that an Assignment waits for: one whose ref
/// never rests must not hold it up for ever.
const LOOKS_WAITED: u8 = 3;

/// Releases what Assignments name to their clusters, until `cancel`. A fleet
/// that was just loaded has them all marked.
pub async fn run<S: Source>(release: Release<S>, cancel: CancellationToken) {
    let dirty = release.fleet.dirty_assignments().clone();
    let mut driver = Driver {
        release,
        looks: JoinSet::new(),
        at_work: HashMap::new(),
        waiting: BTreeMap::new(),
        names: HashMap::new(),
        failures: HashMap::new(),
        retries: BTreeSet::new(),
    };
    loop {
        let next = driver.retries.first().map(|(at, _)| *at);
        tokio::select! {
            () = cancel.cancelled() => break,
            marked = dirty.take() => driver.mark(marked),
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
    /// Who is to be looked at after what it depends on, and how many looks at
    /// that it has waited for.
    waiting: BTreeMap<String, u8>,
    names: HashMap<Id, String>,
    /// How often in a row a look failed.
    failures: HashMap<String, u32>,
    retries: BTreeSet<(Instant, String)>,
}

impl<S: Source> Driver<S> {
    fn mark(&mut self, names: impl IntoIterator<Item = String>) {
        for name in names {
            self.waiting.entry(name).or_insert(0);
        }
        self.start_ready();
    }

    fn start_ready(&mut self) {
        loop {
            let ready = |(name, waited): (&String, &u8)| {
                *waited >= LOOKS_WAITED || self.depends_on(name).all(|other| self.is_idle(&other))
            };
            let mut names: Vec<String> = self
                .waiting
                .iter()
                .filter(|one| ready(*one))
                .map(|(name, _)| name.clone())
                .collect();
            if names.is_empty() && self.at_work.is_empty() {
                // Only a circle waits for nobody: specs that made one together.
                names.extend(self.waiting.keys().next().cloned());
            }
            if names.is_empty() {
                return;
            }
            for name in names {
                self.waiting.remove(&name);
                self.start(name);
            }
        }
    }

    fn depends_on(&self, name: &str) -> impl Iterator<Item = String> + use<S> {
        let assignment = self.release.fleet.assignment(name);
        let spec = assignment.and_then(|assignment| assignment.spec.clone());
        let dependencies = spec.map(|spec| spec.depends_on).unwrap_or_default();
        dependencies.into_iter().map(|other| other.assignment)
    }

    fn is_idle(&self, name: &str) -> bool {
        !self.at_work.contains_key(name) && !self.waiting.contains_key(name)
    }

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
        let dependents: Vec<String> = self
            .waiting
            .keys()
            .filter(|waiting| self.depends_on(waiting).any(|other| other == name))
            .cloned()
            .collect();
        for dependent in dependents {
            if let Some(waited) = self.waiting.get_mut(&dependent) {
                *waited += 1;
            }
        }
        self.mark(again.then_some(name));
    }

    fn retry(&mut self) {
        let now = Instant::now();
        while let Some((at, name)) = self.retries.pop_first() {
            if at > now {
                self.retries.insert((at, name));
                return;
            }
            self.mark([name]);
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

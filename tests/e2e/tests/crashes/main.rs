//! `kill -9` between any two steps, over and over: random revisions, prunes,
//! moves between assignments, edits by hand and faults of the API server, with
//! the agent dying at random requests, before or after the server did what it
//! was asked. After each: converged, nothing deleted that should stand, nothing
//! left that should go, and the status true.
//!
//! The agent's engine and the cluster (the sandbox) share one thread and one
//! clock that stands still while anything works, so that minutes of backoff
//! cost nothing. `LOCKSTEP_CRASHES_SECONDS` says how long to go on (real time,
//! default 50), `LOCKSTEP_CRASHES_SEED` with which schedule to begin (default 1).

mod check;
mod model;
mod wire;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// One schedule from its seed.
fn run(seed: u64) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()?;
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(world::schedule(seed))));
    runtime.shutdown_background();
    match ended {
        Ok(ended) => ended,
        Err(_) => bail!("a panic, see above"),
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn whatever_dies_whenever_the_cluster_converges_and_nothing_is_lost() -> Result<()> {
    let only = setting("LOCKSTEP_CRASHES_SEED");
    let seconds = setting("LOCKSTEP_CRASHES_SECONDS").unwrap_or(50);
    let first = only.unwrap_or(1);
    println!("first seed: LOCKSTEP_CRASHES_SEED={first}");
    let end = Instant::now() + Duration::from_secs(seconds);
    let next = AtomicU64::new(first);
    let failed = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed > first && Instant::now() >= end {
                            return None;
                        }
                        if let Err(error) = run(seed) {
                            return Some((seed, error));
                        }
                        if only.is_some() && seconds == 0 {
                            return None;
                        }
                    }
                })
            })
            .collect();
        let ended = workers.into_iter().map(|worker| worker.join());
        ended.flatten().flatten().collect::<Vec<_>>()
    });
    println!("{} schedules", next.load(Ordering::Relaxed) - first);
    if let Some((seed, error)) = failed.into_iter().next() {
        bail!("LOCKSTEP_CRASHES_SEED={seed}: {error:#}");
    }
    Ok(())
}

//! The fleet at the size to hold in mind. Not part of the usual run: it prints
//! what it measures, and is worth running with `--release`.

use std::time::Instant;

use lockstep_proto::v1;

use crate::status::StatusQuery;
use crate::status::fixture::*;
use crate::store::{Change, DesiredChange};

const CLUSTERS: usize = 100_000;

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

#[tokio::test]
#[ignore = "a measurement: run it alone, with --release --nocapture"]
async fn a_hundred_thousand_clusters() {
    let world = World::new().await;
    let mut begun = Instant::now();
    let mut said = |what: &str| {
        println!(
            "{what:<40} {:>8.1?} {:>8} KiB",
            begun.elapsed(),
            resident_kib()
        );
        begun = Instant::now();
    };
    said("empty");
    let names: Vec<String> = (0..CLUSTERS).map(|n| format!("c{n:06}")).collect();
    for batch in names.chunks(5000) {
        let labels = |n: usize| if n.is_multiple_of(2) { "eu" } else { "us" };
        let clusters = batch.iter().enumerate();
        world
            .apply(
                clusters.map(|(n, name)| cluster(name, &[("env", "prod"), ("region", labels(n))])),
            )
            .await;
    }
    said("apply 100,000 clusters");
    world
        .apply([group("all", &[("env", "prod")]), repository("r")])
        .await;
    said("a group of all of them");
    world.apply([assignment("shop", "r", &["all"])]).await;
    said("an assignment to all of them");
    for name in &names {
        world
            .fleet
            .session_opened(&super::super::fixture::name(name), "v0.1.0", "v1.36.3");
    }
    said("open all sessions");
    let options = std::sync::Arc::default();
    let set = names.iter().map(|cluster| DesiredChange {
        cluster: name(cluster),
        assignment: "shop".into(),
        change: Change::Set {
            digest: digest("x"),
            revision: revision("x").into(),
            options: std::sync::Arc::clone(&options),
        },
        because: None,
    });
    let touched = world.fleet.change_desired(set.collect()).await.unwrap();
    assert_eq!(touched.len(), CLUSTERS);
    said("desired state of all");
    for batch in names.chunks(256) {
        let reports = batch
            .iter()
            .map(|cluster| (name(cluster), well("shop", "x")));
        world.fleet.reports(reports.collect()).await.unwrap();
    }
    said("reports of all, 256 at a time");
    for name in &names {
        world.fleet.heartbeat(&super::super::fixture::name(name));
    }
    said("a heartbeat of all");
    assert_eq!(world.fleet.counts().synced as usize, CLUSTERS);
    said("count all");
    let query = StatusQuery {
        limit: 500,
        ..StatusQuery::default()
    };
    let page = world.fleet.status(&query).unwrap();
    assert!(page.summary.converged);
    said("the table of all");
    drop(world.reload().await);
    said("load from disk");
    assert_eq!(
        world.counts("shop"),
        v1::ClusterCounts {
            total: 100_000,
            synced: 100_000,
            healthy: 100_000,
            ..v1::ClusterCounts::default()
        }
    );
}

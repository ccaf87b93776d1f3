//! Watches.

use std::collections::BTreeSet;

use futures::FutureExt as _;
use lockstep_proto::v1::watch_event::Type;
use lockstep_proto::v1::{self, kind::Name as Kind, resource::Resource as Any};

use crate::status::fixture::*;
use crate::status::{Filter, Watch};

fn filter(kind: Kind, selector: &str) -> Filter {
    Filter {
        kind,
        selector: selector.parse().unwrap(),
        names: BTreeSet::new(),
    }
}

fn words(events: Vec<v1::WatchEvent>) -> Vec<(Type, String)> {
    let name = |resource: Option<v1::Resource>| match resource.and_then(|r| r.resource) {
        Some(Any::Cluster(c)) => c.metadata.unwrap().name,
        Some(Any::ClusterGroup(g)) => g.metadata.unwrap().name,
        Some(Any::Assignment(a)) => a.metadata.unwrap().name,
        _ => String::new(),
    };
    events
        .into_iter()
        .map(|e| (e.r#type(), name(e.resource)))
        .collect()
}

async fn next(watch: &mut Watch) -> Vec<(Type, String)> {
    words(watch.next().await)
}

/// Nothing is there to be sent.
fn is_quiet(watch: &mut Watch) -> bool {
    watch.next().now_or_never().is_none()
}

fn event(kind: Type, name: &str) -> (Type, String) {
    (kind, name.to_owned())
}

#[tokio::test]
async fn a_watch_sends_what_is_then_a_mark_then_what_changes() {
    let world = shop().await;
    let mut watch = world.fleet.watch(filter(Kind::Cluster, ""));
    assert_eq!(
        next(&mut watch).await,
        [
            event(Type::Added, "eu-1"),
            event(Type::Added, "lab"),
            event(Type::Added, "us-9"),
            event(Type::Synced, ""),
        ]
    );
    assert!(is_quiet(&mut watch));
    world.apply([cluster("ap-3", &[])]).await;
    assert_eq!(next(&mut watch).await, [event(Type::Added, "ap-3")]);
    world.fleet.session_opened(&name("eu-1"), "v", "v");
    assert_eq!(next(&mut watch).await, [event(Type::Modified, "eu-1")]);
    world.fleet.heartbeat(&name("eu-1"));
    assert!(is_quiet(&mut watch), "a heartbeat is no change");
    world
        .fleet
        .delete(Kind::Cluster, "ap-3", "admin")
        .await
        .unwrap();
    assert_eq!(next(&mut watch).await, [event(Type::Deleted, "ap-3")]);
    assert!(is_quiet(&mut watch));
}

#[tokio::test]
async fn a_slow_reader_gets_the_latest_state_once_for_each_key() {
    let world = shop().await;
    let mut watch = world.fleet.watch(filter(Kind::Cluster, ""));
    next(&mut watch).await;
    for value in 0..50 {
        let value = value.to_string();
        world
            .apply([
                cluster("eu-1", &[("n", &value)]),
                cluster("new", &[("n", &value)]),
            ])
            .await;
    }
    world
        .fleet
        .delete(Kind::Cluster, "new", "admin")
        .await
        .unwrap();
    world
        .fleet
        .delete(Kind::Cluster, "lab", "admin")
        .await
        .unwrap();
    let events = watch.next().await;
    let Some(Any::Cluster(seen)) = events[1].resource.clone().unwrap().resource else {
        panic!()
    };
    assert_eq!(seen.metadata.unwrap().labels["n"], "49");
    assert_eq!(
        words(events),
        [event(Type::Deleted, "lab"), event(Type::Modified, "eu-1")]
    );
    assert!(is_quiet(&mut watch));
}

#[tokio::test]
async fn what_stops_matching_is_deleted_for_its_reader() {
    let world = shop().await;
    let mut watch = world.fleet.watch(filter(Kind::Cluster, "env=prod"));
    next(&mut watch).await;
    world
        .apply([
            cluster("eu-1", &[("env", "dev")]),
            cluster("lab", &[("env", "prod")]),
        ])
        .await;
    let mut events = next(&mut watch).await;
    events.sort_by_key(|(_, name)| name.clone());
    assert_eq!(
        events,
        [event(Type::Deleted, "eu-1"), event(Type::Added, "lab")]
    );
}

#[tokio::test]
async fn a_reader_that_missed_more_deletions_than_are_remembered_still_hears_of_its_own() {
    let world = World::new().await;
    world.apply([group("old", &[])]).await;
    let mut watch = world.fleet.watch(filter(Kind::ClusterGroup, ""));
    next(&mut watch).await;
    world
        .fleet
        .delete(Kind::ClusterGroup, "old", "admin")
        .await
        .unwrap();
    for batch in 0..3 {
        let names: Vec<String> = (0..500).map(|n| format!("g{batch}-{n}")).collect();
        world.apply(names.iter().map(|name| group(name, &[]))).await;
        let gone = names
            .iter()
            .map(|name| world.fleet.delete(Kind::ClusterGroup, name, "admin"));
        futures::future::join_all(gone).await;
    }
    assert_eq!(next(&mut watch).await, [event(Type::Deleted, "old")]);
}

#[tokio::test]
async fn a_report_changes_the_cluster_its_assignment_and_its_groups() {
    let world = shop().await;
    world.fleet.session_opened(&name("eu-1"), "v", "v");
    world.set("eu-1", "shop", "x").await;
    let mut watches: Vec<Watch> = [Kind::Cluster, Kind::Assignment, Kind::ClusterGroup]
        .map(|kind| world.fleet.watch(filter(kind, "")))
        .into();
    for watch in &mut watches {
        next(watch).await;
    }
    world.report("eu-1", well("shop", "x")).await;
    assert_eq!(next(&mut watches[0]).await, [event(Type::Modified, "eu-1")]);
    assert_eq!(next(&mut watches[1]).await, [event(Type::Modified, "shop")]);
    assert_eq!(next(&mut watches[2]).await, [event(Type::Modified, "prod")]);
}

#[tokio::test]
async fn a_large_first_listing_comes_in_pieces_and_ends_with_one_mark() {
    let world = World::new().await;
    let names: Vec<String> = (0..600).map(|n| format!("c{n:04}")).collect();
    world
        .apply(names.iter().map(|name| cluster(name, &[])))
        .await;
    let mut watch = world.fleet.watch(filter(Kind::Cluster, ""));
    let mut seen = Vec::new();
    while watch.is_listing() {
        seen.extend(next(&mut watch).await);
    }
    assert_eq!(seen.len(), 601);
    assert_eq!(seen[600], event(Type::Synced, ""));
    assert!(seen[..600].iter().map(|(_, name)| name).eq(&names));
}

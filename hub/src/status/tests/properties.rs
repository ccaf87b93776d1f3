//! Under any sequence of changes, roll-ups equal a recomputation from the rows
//! that a reader sees, and memory equals what a restart reads from disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lockstep_proto::v1::{self, kind::Name as Kind, resource::Resource as Any};
use proptest::prelude::*;

use crate::status::fixture::*;
use crate::status::{Filter, Fleet, Selector, StatusQuery};
use crate::store::{AssignmentState, Change, Control, Held, Said, StoreError};

const CLUSTERS: &[&str] = &["c0", "c1", "c2", "c3"];
const GROUPS: &[&str] = &["g0", "g1", "g2"];
const ASSIGNMENTS: &[&str] = &["a0", "a1", "a2"];
const BUNDLES: &[&str] = &["x", "y"];

#[derive(Debug, Clone)]
enum Step {
    Cluster(usize, Option<usize>, Option<usize>),
    Group(usize, Option<usize>, Option<usize>),
    Assignment(usize, Vec<usize>),
    DropCluster(usize),
    DropGroup(usize),
    DropAssignment(usize),
    Label(usize, usize),
    Set(usize, usize, usize),
    Tombstone(usize, usize),
    Forget(usize, usize),
    Report(usize, usize, usize, i32, i32),
    Open(usize),
    Close(usize),
    Resolved(usize, usize),
    Waits(usize, usize),
    Pin(usize, usize),
    Pause(usize),
    Resume(usize),
    Awaits(usize, usize, usize, u32),
}

fn step() -> impl Strategy<Value = Step> {
    let (c, g, a, b) = (0..4_usize, 0..3_usize, 0..3_usize, 0..2_usize);
    let label = || prop::option::of(0..2_usize);
    prop_oneof![
        3 => (c.clone(), label(), label()).prop_map(|(c, x, y)| Step::Cluster(c, x, y)),
        2 => (g.clone(), label(), label()).prop_map(|(g, x, y)| Step::Group(g, x, y)),
        3 => (a.clone(), prop::collection::vec(0..3_usize, 1..3))
            .prop_map(|(a, groups)| Step::Assignment(a, groups)),
        1 => c.clone().prop_map(Step::DropCluster),
        1 => g.prop_map(Step::DropGroup),
        1 => a.clone().prop_map(Step::DropAssignment),
        2 => (c.clone(), 0..2_usize).prop_map(|(c, v)| Step::Label(c, v)),
        4 => (c.clone(), a.clone(), b.clone()).prop_map(|(c, a, b)| Step::Set(c, a, b)),
        1 => (c.clone(), a.clone()).prop_map(|(c, a)| Step::Tombstone(c, a)),
        1 => (c.clone(), a.clone()).prop_map(|(c, a)| Step::Forget(c, a)),
        5 => (c.clone(), a.clone(), b.clone(), 0..7_i32, 0..8_i32)
            .prop_map(|(c, a, b, s, h)| Step::Report(c, a, b, s, h)),
        3 => c.clone().prop_map(Step::Open),
        1 => c.prop_map(Step::Close),
        1 => (a.clone(), b.clone()).prop_map(|(a, b)| Step::Resolved(a, b)),
        2 => (a.clone(), b.clone()).prop_map(|(a, b)| Step::Waits(a, b)),
        1 => (a.clone(), b.clone()).prop_map(|(a, b)| Step::Pin(a, b)),
        1 => a.clone().prop_map(Step::Pause),
        1 => a.clone().prop_map(Step::Resume),
        2 => (0..4_usize, a, b, 0..3_u32).prop_map(|(c, a, b, n)| Step::Awaits(c, a, b, n)),
    ]
}

fn labels(x: Option<usize>, y: Option<usize>) -> Vec<(&'static str, &'static str)> {
    let value = |v| ["0", "1"][v];
    x.map(|v| ("x", value(v)))
        .into_iter()
        .chain(y.map(|v| ("y", value(v))))
        .collect()
}

async fn take(world: &World, step: Step) {
    let fleet = &world.fleet;
    // What is refused (a group in use, an unknown name) changes nothing.
    match step {
        Step::Cluster(c, x, y) => {
            let cluster = cluster(CLUSTERS[c], &labels(x, y));
            fleet.apply(vec![cluster], false, "admin").await.unwrap();
        }
        Step::Group(g, x, y) => {
            fleet
                .apply(vec![group(GROUPS[g], &labels(x, y))], false, "admin")
                .await
                .unwrap();
        }
        Step::Assignment(a, groups) => {
            let groups: BTreeSet<&str> = groups.into_iter().map(|g| GROUPS[g]).collect();
            let groups: Vec<&str> = groups.into_iter().collect();
            let _ = fleet
                .apply(
                    vec![assignment(ASSIGNMENTS[a], "repo", &groups)],
                    false,
                    "admin",
                )
                .await;
        }
        Step::DropCluster(c) => drop(fleet.delete(Kind::Cluster, CLUSTERS[c], "admin").await),
        Step::DropGroup(g) => drop(fleet.delete(Kind::ClusterGroup, GROUPS[g], "admin").await),
        Step::DropAssignment(a) => drop(
            fleet
                .delete(Kind::Assignment, ASSIGNMENTS[a], "admin")
                .await,
        ),
        Step::Label(c, value) => {
            let set = BTreeMap::from([("x".to_owned(), value.to_string())]);
            drop(
                fleet
                    .label_cluster(CLUSTERS[c], set, vec!["y".to_owned()])
                    .await,
            );
        }
        Step::Set(c, a, b) => world.set(CLUSTERS[c], ASSIGNMENTS[a], BUNDLES[b]).await,
        Step::Tombstone(c, a) => {
            world
                .change(CLUSTERS[c], ASSIGNMENTS[a], Change::Tombstone)
                .await;
        }
        Step::Forget(c, a) => {
            let version = u64::MAX;
            world
                .change(CLUSTERS[c], ASSIGNMENTS[a], Change::Forget { version })
                .await;
        }
        Step::Report(c, a, b, sync, health) => {
            let report = v1::Report {
                sync,
                health,
                ..well(ASSIGNMENTS[a], BUNDLES[b])
            };
            world.report(CLUSTERS[c], report).await;
        }
        Step::Open(c) => fleet.session_opened(&name(CLUSTERS[c]), "v0.1.0", "v1.36.3"),
        Step::Close(c) => fleet.session_closed(&name(CLUSTERS[c])),
        Step::Resolved(a, b) => {
            let state = resolved(BUNDLES[b]);
            let set = fleet.set_assignment_state(ASSIGNMENTS[a], state);
            set.await.unwrap();
        }
        Step::Waits(a, b) => {
            let state = AssignmentState {
                pending: Some(v1::Pending {
                    revision: revision(BUNDLES[b]),
                    ..v1::Pending::default()
                }),
                ..resolved(BUNDLES[b])
            };
            let set = fleet.set_assignment_state(ASSIGNMENTS[a], state);
            set.await.unwrap();
        }
        Step::Pin(a, b) => {
            let pin = Held {
                revision: revision(BUNDLES[b]),
                tree: String::new(),
                digest: digest(BUNDLES[b]),
                objects: 1,
                commit: None,
                namespace: String::new(),
            };
            say(fleet, a, |control| {
                control.pinned = Some((pin, Said::default()));
            })
            .await;
        }
        Step::Pause(a) => {
            say(fleet, a, |control| {
                control.paused = Some((Said::default(), None));
            })
            .await;
        }
        Step::Resume(a) => {
            say(fleet, a, |control| {
                (control.pinned, control.paused) = (None, None);
            })
            .await;
        }
        Step::Awaits(c, a, b, awaiting_approval) => {
            let report = v1::Report {
                awaiting_approval,
                ..well(ASSIGNMENTS[a], BUNDLES[b])
            };
            world.report(CLUSTERS[c], report).await;
        }
    }
}

fn resolved(bundle: &str) -> AssignmentState {
    AssignmentState {
        revision: revision(bundle),
        digest: Some(digest(bundle)),
        ..AssignmentState::default()
    }
}

async fn say(fleet: &Fleet, a: usize, change: impl FnOnce(&mut Control) + Send + 'static) {
    let said = fleet.control(ASSIGNMENTS[a], |standing, _| {
        let mut control = (*standing.control).clone();
        change(&mut control);
        Ok::<_, StoreError>(control)
    });
    said.await.unwrap();
}

fn all(fleet: &Fleet, kind: Kind) -> Vec<v1::Resource> {
    let filter = Filter {
        kind,
        selector: Selector::default(),
        names: BTreeSet::new(),
    };
    fleet.list(&filter, None, 1000).unwrap().items
}

fn clusters(fleet: &Fleet) -> BTreeMap<String, v1::Cluster> {
    all(fleet, Kind::Cluster)
        .into_iter()
        .filter_map(|resource| match resource.resource {
            Some(Any::Cluster(c)) => Some((c.metadata.as_ref()?.name.clone(), c)),
            _ => None,
        })
        .collect()
}

fn count(counts: &mut v1::ClusterCounts, cluster: &v1::Cluster, sync: i32, health: i32) {
    use v1::sync::Status::{Applying, Failed, OutOfSync, Synced};
    let status = cluster.status.as_ref().unwrap();
    let online = status.connection() == v1::connection::Status::Online;
    counts.total += 1;
    counts.offline += u32::from(status.connection() == v1::connection::Status::Offline);
    counts.healthy += u32::from(online && health == v1::health::Status::Healthy as i32);
    match v1::sync::Status::try_from(sync).unwrap() {
        Synced if online => counts.synced += 1,
        Applying if online => counts.applying += 1,
        OutOfSync if online => counts.out_of_sync += 1,
        Failed if online => counts.failed += 1,
        _ => counts.unknown += 1,
    }
}

/// Compares every roll-up with the rows it is made of.
fn check_sums(fleet: &Fleet) {
    let clusters = clusters(fleet);
    let mut members: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for resource in all(fleet, Kind::ClusterGroup) {
        let Some(Any::ClusterGroup(group)) = resource.resource else {
            unreachable!()
        };
        let wanted = group.spec.unwrap().selector.unwrap().match_labels;
        let mut counts = v1::ClusterCounts::default();
        let name = group.metadata.unwrap().name;
        for (member, cluster) in &clusters {
            let labels = &cluster.metadata.as_ref().unwrap().labels;
            let status = cluster.status.as_ref().unwrap();
            let matches = wanted
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value));
            assert_eq!(matches, status.groups.contains(&name), "{member} in {name}");
            if matches {
                count(&mut counts, cluster, status.sync, status.health);
                members
                    .entry(name.clone())
                    .or_default()
                    .insert(member.clone());
            }
        }
        assert_eq!(group.status.unwrap().clusters, Some(counts), "group {name}");
    }
    for resource in all(fleet, Kind::Assignment) {
        let Some(Any::Assignment(assignment)) = resource.resource else {
            unreachable!()
        };
        let name = assignment.metadata.unwrap().name;
        let reached: BTreeSet<&String> = assignment
            .spec
            .unwrap()
            .cluster_groups
            .iter()
            .filter_map(|group| members.get(group))
            .flatten()
            .collect();
        let (mut counts, mut awaiting) = (v1::ClusterCounts::default(), 0);
        for cluster in reached.iter().map(|name| &clusters[*name]) {
            let states = &cluster.status.as_ref().unwrap().assignments;
            let state = states.iter().find(|state| state.name == name).unwrap();
            count(&mut counts, cluster, state.sync, state.health);
            awaiting += u32::from(state.awaiting_approval > 0);
        }
        let status = assignment.status.unwrap();
        assert_eq!(status.awaiting_approval, awaiting, "assignment {name}");
        let c = status.clusters.unwrap();
        assert_eq!(c, counts, "assignment {name}");
        assert_eq!(
            c.total,
            c.synced + c.applying + c.out_of_sync + c.failed + c.unknown
        );
        let targets: Vec<String> = fleet
            .clusters_of(&name)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(targets, reached.into_iter().cloned().collect::<Vec<_>>());
    }
    check_table(fleet, &clusters);
}

/// The table shows what the clusters show, and the counts under it add up.
fn check_table(fleet: &Fleet, clusters: &BTreeMap<String, v1::Cluster>) {
    let query = StatusQuery {
        limit: 1000,
        ..StatusQuery::default()
    };
    let page = fleet.status(&query).unwrap();
    let mut rows = page.rows.iter();
    for (name, cluster) in clusters {
        let status = cluster.status.as_ref().unwrap();
        for state in &status.assignments {
            let row = rows.next().unwrap();
            assert_eq!((&row.cluster, row.assignment.as_ref()), (name, Some(state)));
        }
        if status.assignments.is_empty() {
            let row = rows.next().unwrap();
            assert_eq!((&row.cluster, row.assignment.as_ref()), (name, None));
        }
    }
    assert!(rows.next().is_none());
    let s = page.summary;
    let sum = s.synced + s.applying + s.out_of_sync + s.failed + s.unknown + s.offline;
    assert_eq!((s.clusters as usize, sum), (clusters.len(), s.clusters));
    let fine = |row: &v1::StatusRow| {
        let (sync, health) = row
            .assignment
            .as_ref()
            .map_or((2, 2), |a| (a.sync, a.health));
        (row.connection, sync, health) == (2, 2, 2)
    };
    assert_eq!(s.converged, page.rows.iter().all(fine));
}

/// All that a reader can see, but for connections: nobody is connected to a
/// hub that just started.
fn all_of(fleet: &Fleet) -> Vec<v1::Resource> {
    let kinds = [
        Kind::Cluster,
        Kind::ClusterGroup,
        Kind::Repository,
        Kind::Assignment,
    ];
    kinds
        .into_iter()
        .flat_map(|kind| all(fleet, kind))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn sums_equal_their_parts_and_memory_equals_disk(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            world.apply([repository("repo")]).await;
            for step in steps {
                take(&world, step).await;
                check_sums(&world.fleet);
            }
            for cluster in CLUSTERS {
                world.fleet.session_closed(&name(cluster));
            }
            let cancel = tokio_util::sync::CancellationToken::new();
            cancel.cancel();
            world.fleet.clone().keep(cancel).await;
            let again = world.reload().await;
            check_sums(&again);
            assert_eq!(all_of(&world.fleet), all_of(&again));
            for cluster in CLUSTERS {
                let cluster = name(cluster);
                assert_eq!(world.fleet.desired(&cluster), again.desired(&cluster));
                assert_eq!(world.fleet.held_reports(&cluster), again.held_reports(&cluster));
                let (version, rows) = world.fleet.store().desired_for(&cluster).await.unwrap();
                let seen = again.desired(&cluster).map_or((0, Vec::new()), |d| (d.version, d.rows));
                assert_eq!((version, rows), seen);
            }
        });
    }
}

#[test]
fn change_arcs_are_shared() {
    // One string for all rows of an assignment: a hundred thousand rows must stay small.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = shop().await;
        world.set("eu-1", "shop", "x").await;
        world.set("us-9", "shop", "x").await;
        let rows = world.fleet.desired_rows("shop");
        assert!(Arc::ptr_eq(&rows[0].revision, &rows[1].revision));
        assert!(Arc::ptr_eq(&rows[0].assignment, &rows[1].assignment));
    });
}

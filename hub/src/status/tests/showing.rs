//! What readers are shown of clusters.

use std::sync::Arc;

use lockstep_proto::desired::options_digest;
use lockstep_proto::v1::{self, connection, health, sync};

use crate::status::StatusQuery;
use crate::status::fixture::*;
use crate::store::{AssignmentState, Change};

fn open(world: &World, cluster: &str) {
    world
        .fleet
        .session_opened(&name(cluster), "v0.1.0", "v1.36.3");
}

fn resolved(bundle: &str, revision_of: &str) -> AssignmentState {
    AssignmentState {
        revision: revision(revision_of),
        digest: Some(digest(bundle)),
        objects: 3,
        ..AssignmentState::default()
    }
}

#[tokio::test]
async fn a_cluster_is_followed_from_joining_to_synced() {
    let world = shop().await;
    let sync = |world: &World| world.cluster("eu-1").assignments[0].sync();
    assert_eq!(
        world.cluster("eu-1").connection(),
        connection::Status::Unknown
    );
    assert_eq!(sync(&world), sync::Status::Unknown);
    assert_eq!(world.counts("shop").unknown, 2);

    open(&world, "eu-1");
    world.set("eu-1", "shop", "x").await;
    assert_eq!(sync(&world), sync::Status::Unknown, "never reported");

    let applying = v1::Report {
        sync: sync::Status::Applying.into(),
        health: health::Status::Progressing.into(),
        applied_digest: String::new(),
        applied_revision: String::new(),
        ..well("shop", "x")
    };
    world.report("eu-1", applying).await;
    assert_eq!(sync(&world), sync::Status::Applying);
    assert_eq!(world.cluster("eu-1").health(), health::Status::Progressing);

    world.report("eu-1", well("shop", "x")).await;
    let counts = world.counts("shop");
    assert_eq!(
        (counts.synced, counts.healthy, counts.unknown, counts.total),
        (1, 1, 1, 2)
    );

    // A new commit: what it said is of the old one.
    world.set("eu-1", "shop", "y").await;
    assert_eq!(sync(&world), sync::Status::OutOfSync);
    let row = &world.cluster("eu-1").assignments[0];
    assert_eq!(row.applied_revision, revision("x"));
    assert_eq!(row.desired_revision, revision("y"));
}

#[tokio::test]
async fn a_cluster_that_went_away_shows_its_last_state_as_last_known() {
    let world = shop().await;
    open(&world, "eu-1");
    world.set("eu-1", "shop", "x").await;
    world.report("eu-1", well("shop", "x")).await;
    world.pass(30);
    world.fleet.heartbeat(&name("eu-1"));
    world.pass(40);
    world.fleet.session_closed(&name("eu-1"));
    // Too late to count as heard of.
    world.fleet.heartbeat(&name("eu-1"));

    let status = world.cluster("eu-1");
    assert_eq!(status.connection(), connection::Status::Offline);
    assert_eq!(status.last_seen.unwrap().seconds, 1_700_000_030);
    let row = &status.assignments[0];
    assert!(row.stale);
    assert_eq!(
        (row.sync(), row.health()),
        (sync::Status::Synced, health::Status::Healthy)
    );
    let counts = world.counts("shop");
    assert_eq!(
        (
            counts.synced,
            counts.healthy,
            counts.offline,
            counts.unknown
        ),
        (0, 0, 1, 2)
    );

    open(&world, "eu-1");
    assert!(!world.cluster("eu-1").assignments[0].stale);
    assert_eq!(world.counts("shop").synced, 1);
}

#[tokio::test]
async fn after_a_crash_of_the_hub_a_cluster_is_offline_and_was_seen_when_it_certainly_was() {
    let world = shop().await;
    open(&world, "eu-1");
    world.set("eu-1", "shop", "x").await;
    world.report("eu-1", well("shop", "x")).await;
    // Written while the session is open, as the batches do.
    let cancel = tokio_util::sync::CancellationToken::new();
    cancel.cancel();
    world.pass(100);
    world.fleet.clone().keep(cancel).await;

    world.pass(1000);
    let again = world.reload().await;
    let Some(v1::resource::Resource::Cluster(cluster)) =
        again.get(v1::kind::Name::Cluster, "eu-1").unwrap().resource
    else {
        unreachable!()
    };
    let status = cluster.status.unwrap();
    assert_eq!(status.connection(), connection::Status::Offline);
    assert_eq!(
        status.last_seen.unwrap().seconds,
        1_700_000_050,
        "alive less the silence allowed"
    );
    assert_eq!(status.agent_version, "v0.1.0");
    assert!(status.assignments[0].stale);
}

#[tokio::test]
async fn a_commit_beside_the_path_moves_the_revision_and_touches_no_cluster() {
    let world = shop().await;
    open(&world, "eu-1");
    world.set("eu-1", "shop", "x").await;
    world
        .fleet
        .set_assignment_state("shop", resolved("x", "x"))
        .await
        .unwrap();
    world.report("eu-1", well("shop", "x")).await;
    world.fleet.dirty_clusters().take().await;
    let version = world.fleet.desired_version(&name("eu-1"));

    world
        .fleet
        .set_assignment_state("shop", resolved("x", "later"))
        .await
        .unwrap();
    world.set("eu-1", "shop", "x").await;
    let row = &world.cluster("eu-1").assignments[0];
    assert_eq!(row.desired_revision, revision("later"));
    assert_eq!(row.applied_revision, revision("later"));
    assert_eq!(row.sync(), sync::Status::Synced);
    assert_eq!(world.fleet.desired_version(&name("eu-1")), version);
}

#[tokio::test]
async fn a_report_is_not_believed_beyond_what_can_be() {
    let world = shop().await;
    open(&world, "eu-1");
    // Nobody asked it to run this.
    world.report("eu-1", well("shop", "x")).await;
    assert_eq!(world.fleet.held_reports(&name("eu-1")), []);

    world.set("eu-1", "shop", "x").await;
    let lie = v1::Report {
        applied_digest: digest("y").to_string(),
        ..well("shop", "x")
    };
    world.report("eu-1", lie).await;
    assert_eq!(world.cluster("eu-1").sync(), sync::Status::OutOfSync);

    let odd = v1::Report {
        sync: 99,
        health: -4,
        message: "é".repeat(10_000),
        problems: vec![v1::Problem::default(); 1000],
        observed_at: Some(pbjson_types::Timestamp {
            seconds: i64::MAX,
            nanos: -1,
        }),
        ..well("shop", "x")
    };
    world.report("eu-1", odd).await;
    let row = &world.cluster("eu-1").assignments[0];
    assert_eq!(
        (row.sync(), row.health()),
        (sync::Status::Unknown, health::Status::Unknown)
    );
    assert_eq!((row.problems.len(), row.more_problems), (64, 936));
    assert!(row.message.len() < 3000);
    assert_eq!(
        row.observed_at.unwrap().seconds,
        1_700_000_000,
        "not later than now"
    );
    serde_json::to_string(&world.cluster("eu-1")).unwrap();
}

#[tokio::test]
async fn a_row_whose_assignment_is_gone_without_a_delete_is_left_alone_and_says_so() {
    let world = shop().await;
    world.set("eu-1", "shop", "x").await;
    // A backup restored from before the assignment was made would look like this.
    world
        .fleet
        .store()
        .transact(
            |tx| tx.delete_resource(v1::kind::Name::Assignment, "shop"),
            |_| (),
        )
        .await
        .unwrap();
    let again = world.reload().await;
    let desired = again.desired(&name("eu-1")).unwrap();
    assert!(!desired.rows[0].tombstone);
    let page = again
        .status(&StatusQuery {
            limit: 10,
            ..StatusQuery::default()
        })
        .unwrap();
    let row = page.rows[0].assignment.as_ref().unwrap();
    assert!(
        row.message.contains("no Assignment named \"shop\""),
        "{}",
        row.message
    );
}

#[tokio::test]
async fn the_table_pages_and_its_summary_is_of_everything_selected() {
    let world = shop().await;
    world
        .apply([group("all", &[]), assignment("base", "shop", &["all"])])
        .await;
    open(&world, "us-9");
    for assignment in ["shop", "base"] {
        world.set("us-9", assignment, "x").await;
        world.report("us-9", well(assignment, "x")).await;
    }
    world.fleet.session_closed(&name("lab"));
    let mut seen = Vec::new();
    let mut query = StatusQuery {
        limit: 2,
        ..StatusQuery::default()
    };
    loop {
        let page = world.fleet.status(&query).unwrap();
        let s = &page.summary;
        assert_eq!(
            (s.clusters, s.synced, s.unknown, s.converged),
            (3, 1, 2, false)
        );
        for row in &page.rows {
            let state = row.assignment.as_ref().unwrap();
            seen.push((row.cluster.clone(), state.name.clone(), row.groups.clone()));
        }
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    let row = |cluster: &str, assignment: &str, group: &str| {
        (
            cluster.to_owned(),
            assignment.to_owned(),
            vec![group.to_owned()],
        )
    };
    assert_eq!(
        seen,
        [
            row("eu-1", "base", "all"),
            row("eu-1", "shop", "prod"),
            row("lab", "base", "all"),
            row("us-9", "base", "all"),
            row("us-9", "shop", "prod"),
        ]
    );

    let selected = |query: StatusQuery| {
        let page = world
            .fleet
            .status(&StatusQuery { limit: 10, ..query })
            .unwrap();
        (
            page.rows.len(),
            page.summary.clusters,
            page.summary.converged,
        )
    };
    let by = StatusQuery::default;
    assert_eq!(
        selected(StatusQuery {
            assignment: Some("shop".into()),
            ..by()
        }),
        (2, 2, false)
    );
    assert_eq!(
        selected(StatusQuery {
            group: Some("prod".into()),
            ..by()
        }),
        (4, 2, false)
    );
    assert_eq!(
        selected(StatusQuery {
            selector: "region=us".parse().unwrap(),
            ..by()
        }),
        (2, 1, true)
    );
    assert_eq!(
        selected(StatusQuery {
            only_problems: true,
            ..by()
        }),
        (3, 2, false)
    );
    let unknown = world.fleet.status(&StatusQuery {
        group: Some("nope".into()),
        ..by()
    });
    assert_eq!(unknown.unwrap_err(), ("ClusterGroup", "nope".to_owned()));
}

#[tokio::test]
async fn an_assignment_in_trouble_stands_under_the_table() {
    let world = shop().await;
    let state = AssignmentState {
        message: "deploy/web.yaml:3: no".into(),
        ..resolved("x", "x")
    };
    world
        .fleet
        .set_assignment_state("shop", state)
        .await
        .unwrap();
    let errors = |query: &StatusQuery| world.fleet.status(query).unwrap().summary.assignment_errors;
    assert_eq!(errors(&StatusQuery::default())[0].assignment, "shop");
    let lab = StatusQuery {
        selector: "env=dev".parse().unwrap(),
        ..StatusQuery::default()
    };
    assert_eq!(errors(&lab), []);
}

#[tokio::test]
async fn a_removal_that_fails_says_so() {
    let world = shop().await;
    open(&world, "eu-1");
    world.set("eu-1", "shop", "x").await;
    world
        .report(
            "eu-1",
            v1::Report {
                sync: sync::Status::Failed.into(),
                ..well("shop", "x")
            },
        )
        .await;
    world.change("eu-1", "shop", Change::Tombstone).await;
    assert_eq!(
        world.cluster("eu-1").sync(),
        sync::Status::Applying,
        "the failure was of the apply"
    );
    let failed = v1::Report {
        target_digest: String::new(),
        sync: sync::Status::Failed.into(),
        message: "a finalizer holds it".into(),
        ..well("shop", "x")
    };
    world.report("eu-1", failed).await;
    let row = &world.cluster("eu-1").assignments[0];
    assert_eq!(
        (row.sync(), row.message.as_str()),
        (sync::Status::Failed, "a finalizer holds it")
    );
}

#[tokio::test]
async fn the_same_bundle_with_other_options_is_out_of_sync_until_the_agent_says_so() {
    let world = shop().await;
    open(&world, "eu-1");
    let options = |namespace: &str| v1::ApplyOptions {
        namespace: namespace.into(),
        ..v1::ApplyOptions::default()
    };
    let said = |namespace: &str| v1::Report {
        target_options: options_digest(&options(namespace)),
        ..well("shop", "x")
    };
    let set = async |namespace: &str| {
        let change = Change::Set {
            digest: digest("x"),
            revision: revision("x").into(),
            options: Arc::new(options(namespace)),
        };
        world.change("eu-1", "shop", change).await;
    };
    set("shop").await;
    world.report("eu-1", said("shop")).await;
    assert_eq!(world.cluster("eu-1").sync(), sync::Status::Synced);
    set("store").await;
    assert_eq!(world.cluster("eu-1").sync(), sync::Status::OutOfSync);
    world.report("eu-1", said("store")).await;
    assert_eq!(world.cluster("eu-1").sync(), sync::Status::Synced);
}

#[tokio::test]
async fn a_table_and_the_counts_under_it_are_of_one_instant() {
    let world = shop().await;
    for cluster in ["eu-1", "us-9"] {
        open(&world, cluster);
        world.set(cluster, "shop", "x").await;
        world.report(cluster, well("shop", "x")).await;
    }
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let changing = {
        let (fleet, stop) = (world.fleet.clone(), Arc::clone(&stop));
        std::thread::spawn(move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for cluster in ["eu-1", "us-9"] {
                    fleet.session_closed(&name(cluster));
                    fleet.session_opened(&name(cluster), "v", "v");
                }
            }
        })
    };
    for _ in 0..2000 {
        let page = world
            .fleet
            .status(&StatusQuery {
                limit: 9,
                ..StatusQuery::default()
            })
            .unwrap();
        let count = |status: connection::Status| {
            page.rows
                .iter()
                .filter(|row| row.connection() == status)
                .count() as u32
        };
        let summary = page.summary.clone();
        assert_eq!(summary.offline, count(connection::Status::Offline));
        assert_eq!(summary.synced, count(connection::Status::Online));
        let counts = world.counts("shop");
        assert_eq!((counts.total, counts.synced + counts.offline), (2, 2));
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    changing.join().unwrap();
}

//! What people ask for beside the spec, on a real fleet and store.

use lockstep_proto::v1::{self, sync};

use super::world::{World, labelled, manifest, manual, world};
use crate::rollout::{OrderError, Orders};

fn revision(number: u64) -> String {
    format!("{number:040x}")
}

/// What each cluster runs, as commit numbers.
fn runs(world: &World) -> Vec<u64> {
    let rows = world.rows("shop");
    let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
    rows.iter().map(|row| number(&row.revision)).collect()
}

/// A world whose `shop` has run commit 1, and is now released by people, who
/// have not released commit 2.
async fn waiting() -> World {
    let world = world().await;
    world.settled().await;
    world.applied().await;
    world.apply(vec![manual("shop", "deploy")]).await;
    world.git.commit("deploy", &manifest("two"));
    world.pushed("shop");
    world
        .until("pending", |world| world.status("shop").pending.is_some())
        .await;
    world
}

async fn refused(answer: impl Future<Output = Result<v1::ControlResponse, OrderError>>) -> String {
    match answer.await {
        Err(OrderError::Refused(words)) => words,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn in_manual_mode_a_commit_waits_and_is_shown_until_somebody_releases_it() {
    let world = waiting().await;
    assert_eq!(runs(&world), [1, 1]);
    let status = world.status("shop");
    let pending = status.pending.unwrap();
    assert_eq!(
        (status.revision, pending.revision),
        (revision(1), revision(2))
    );
    assert_eq!((pending.added, pending.changed, pending.removed), (0, 1, 0));
    assert_eq!(pending.changes, ["changed v1 ConfigMap a"]);
    for row in world.shown() {
        assert_eq!(row.sync(), sync::Status::OutOfSync);
        assert_eq!(
            (row.desired_revision, row.applied_revision),
            (revision(2), revision(1))
        );
        assert_eq!(
            row.message,
            "waits for `lockstep sync shop`: 0 added, 1 changed, 0 removed: changed v1 ConfigMap a"
        );
    }

    let answer = world.orders.sync("shop", "", "admin").await.unwrap();
    assert_eq!(answer.revision, revision(2));
    assert_eq!(world.git.looks(), 1, "it looks at the remote first");
    assert_eq!(runs(&world), [2, 2]);
    assert_eq!(world.status("shop").pending, None);
    world.applied().await;
    for row in world.shown() {
        assert_eq!(row.sync(), sync::Status::Synced);
        assert_eq!(row.desired_revision, revision(2));
        assert_eq!(row.message, "");
    }
    assert_eq!(
        world.history("eu-1").await,
        [
            "Sync by \"admin\" 2 Synced",
            "Change by \"admin\" 1 Synced ended"
        ]
    );
}

#[tokio::test]
async fn the_first_revision_waits_as_well_and_a_joining_cluster_gets_what_is_released() {
    let world = world().await;
    world.apply(vec![manual("first", "deploy")]).await;
    world
        .until("pending", |world| world.status("first").pending.is_some())
        .await;
    assert_eq!(world.rows("first"), []);
    assert_eq!(world.status("first").revision, "");
    assert_eq!(world.status("first").clusters.unwrap().total, 2);
    world.orders.sync("first", "", "admin").await.unwrap();
    assert_eq!(world.rows("first").len(), 2);
    world.git.commit("deploy", &manifest("two"));
    world.pushed("first");
    world
        .until("pending", |world| world.status("first").pending.is_some())
        .await;
    world.apply(vec![labelled("eu-3", "prod")]).await;
    world
        .until("joined", |world| world.rows("first").len() == 3)
        .await;
    let rows = world.rows("first");
    assert!(rows.iter().all(|row| row.digest == rows[0].digest));
    assert_eq!(*rows[2].revision, *revision(1));
}

#[tokio::test]
async fn a_rollback_pins_whatever_is_pushed_and_resume_goes_back_to_the_ref() {
    let world = world().await;
    world.settled().await;
    world.applied().await;
    let error = refused(world.orders.rollback("shop", "", "admin")).await;
    assert!(error.contains("no revision before 0000000"), "{error}");
    world.git.commit("deploy", &manifest("two"));
    world.pushed("shop");
    world.until("at two", |world| runs(world) == [2, 2]).await;
    world.applied().await;

    world.git.down(true);
    let answer = world.orders.rollback("shop", "", "eve").await.unwrap();
    assert_eq!(answer.revision, revision(1));
    assert_eq!(runs(&world), [1, 1]);
    world.git.down(false);
    world.applied().await;
    world.git.commit("deploy", &manifest("three"));
    world.pushed("shop");
    world
        .until("pending", |world| {
            let pending = world.status("shop").pending;
            pending.is_some_and(|pending| pending.revision == revision(3))
        })
        .await;
    let status = world.status("shop");
    let pin = status.pinned.unwrap();
    assert_eq!((pin.revision, pin.by.as_str()), (revision(1), "eve"));
    assert_eq!(status.revision, revision(1));
    for row in world.shown() {
        assert!(row.pinned && row.sync() == sync::Status::Synced, "{row:?}");
        assert_eq!(row.desired_revision, revision(1));
        let words = "pinned to 0000000 by eve since ";
        let back = "; `lockstep resume shop` goes back to branch main";
        assert!(
            row.message.starts_with(words) && row.message.ends_with(back),
            "{}",
            row.message
        );
    }

    // It is pinned after a restart, too.
    let world = world.restart().await;
    world.pushed("shop");
    world
        .until("looked at", |world| world.status("shop").pending.is_some())
        .await;
    assert_eq!(runs(&world), [1, 1]);
    let answer = world.orders.resume("shop", "eve").await.unwrap();
    assert_eq!(answer.revision, revision(3));
    world.until("at three", |world| runs(world) == [3, 3]).await;
    world.applied().await;
    assert_eq!(world.status("shop").pinned, None);
    assert_eq!(
        world.history("eu-1").await,
        [
            "Resume by \"eve\" 3 Synced",
            "Rollback by \"eve\" 1 Synced ended",
            "Commit by \"Ada\" 2 Synced ended",
            "Change by \"admin\" 1 Synced ended",
        ]
    );
}

#[tokio::test]
async fn a_revision_that_the_ref_does_not_name_is_pinned_by_sync() {
    let world = waiting().await;
    world.git.commit("deploy", &manifest("three"));
    let answer = world
        .orders
        .sync("shop", &revision(2), "admin")
        .await
        .unwrap();
    assert_eq!(answer.revision, revision(2));
    assert!(answer.message.contains("pinned"), "{}", answer.message);
    assert_eq!(runs(&world), [2, 2]);
    world.applied().await;
    assert!(
        world
            .shown()
            .iter()
            .all(|row| row.sync() == sync::Status::Synced)
    );
    // What was released before the pin is what resume goes back to.
    let answer = world.orders.resume("shop", "admin").await.unwrap();
    assert_eq!(answer.revision, revision(1));
    assert_eq!(runs(&world), [1, 1]);
    // The one that the ref names is no pin.
    world
        .orders
        .sync("shop", &revision(3), "admin")
        .await
        .unwrap();
    assert_eq!(world.status("shop").pinned, None);
    assert_eq!(runs(&world), [3, 3]);
    let error = world.orders.sync("shop", &revision(9), "admin").await;
    assert!(error.unwrap_err().to_string().contains("does not exist"));
}

#[tokio::test]
async fn a_pause_holds_everything_and_tells_the_agents() {
    let world = world().await;
    world.settled().await;
    world.applied().await;
    world.orders.pause("shop", "admin").await.unwrap();
    assert!(world.rows("shop").iter().all(|row| row.options.paused));
    world.git.commit("deploy", &manifest("two"));
    world
        .apply(vec![labelled("eu-2", "test"), labelled("eu-3", "prod")])
        .await;
    world.pushed("shop");
    world
        .until("pending", |world| world.status("shop").pending.is_some())
        .await;
    assert_eq!(world.told("shop"), "eu-1 set, eu-2 set");
    assert_eq!(runs(&world), [1, 1]);
    assert_eq!(world.status("shop").revision, revision(1));
    let shown = world.shown();
    let eu1 = &shown[0];
    assert!(
        eu1.paused && eu1.sync() == sync::Status::OutOfSync,
        "{eu1:?}"
    );
    assert!(
        eu1.message.starts_with("paused by admin since "),
        "{}",
        eu1.message
    );
    let error = refused(world.orders.sync("shop", "", "admin")).await;
    assert!(error.contains("`lockstep resume shop`"), "{error}");
    let error = refused(world.orders.rollback("shop", "", "admin")).await;
    assert!(error.contains("`lockstep resume shop`"), "{error}");

    let world = world.restart().await;
    world.orders.resume("shop", "eve").await.unwrap();
    world
        .until("at two", |world| {
            world.told("shop") == "eu-1 set, eu-2 tombstone, eu-3 set"
        })
        .await;
    let rows = world.rows("shop");
    assert!(!rows[0].options.paused && *rows[0].revision == *revision(2));
    assert_eq!(
        world.history("eu-1").await[0],
        "Resume by \"eve\" 2 Unknown"
    );
    let error = refused(world.orders.resume("shop", "eve")).await;
    assert!(error.contains("neither paused nor pinned"), "{error}");
}

#[tokio::test]
async fn a_pause_holds_although_a_render_is_at_work() {
    let world = world().await;
    world.settled().await;
    let gate = world.git.hold();
    world.git.commit("deploy", &manifest("slow"));
    world.pushed("shop");
    while world.git.reads() < 2 {
        world.git.0.reading.notified().await;
    }
    world.orders.pause("shop", "admin").await.unwrap();
    assert!(world.rows("shop").iter().all(|row| row.options.paused));
    world.git.release(&gate);
    world
        .until("pending", |world| world.status("shop").pending.is_some())
        .await;
    assert_eq!(runs(&world), [1, 1]);
}

#[tokio::test]
async fn an_approval_is_for_what_asked_for_it_and_no_more() {
    let world = world().await;
    world.settled().await;
    let error = refused(world.orders.approve("shop", "admin")).await;
    assert!(error.contains("nothing of shop waits"), "{error}");
    for row in world.rows("shop") {
        let report = v1::Report {
            assignment: "shop".into(),
            target_digest: row.digest.to_string(),
            sync: sync::Status::OutOfSync.into(),
            awaiting_approval: 3,
            ..v1::Report::default()
        };
        let reports = vec![(row.cluster.clone(), report)];
        world.fleet.reports(reports).await.unwrap();
    }
    assert_eq!(world.status("shop").awaiting_approval, 2);
    assert!(world.shown().iter().all(|row| row.awaiting_approval == 3));
    let answer = world.orders.approve("shop", "admin").await.unwrap();
    assert_eq!(answer.message, "approved: 6 removals on 2 clusters");
    world
        .until("approved", |world| {
            world
                .rows("shop")
                .iter()
                .all(|row| row.options.prune_approved)
        })
        .await;
    assert!(world.history("eu-1").await[0].starts_with("Approve by \"admin\" 1"));
    world.git.commit("deploy", &manifest("two"));
    world.pushed("shop");
    world.until("at two", |world| runs(world) == [2, 2]).await;
    assert!(
        world
            .rows("shop")
            .iter()
            .all(|row| !row.options.prune_approved)
    );
}

#[tokio::test]
async fn going_back_to_automatic_releases_what_waits_and_forgets_what_was_released() {
    let world = waiting().await;
    world
        .apply(vec![super::world::assignment("shop", "deploy")])
        .await;
    world.until("at two", |world| runs(world) == [2, 2]).await;
    world.apply(vec![manual("shop", "deploy")]).await;
    world.pushed("shop");
    world
        .until("settled", |world| {
            world.status("shop").revision == revision(2) && world.status("shop").pending.is_none()
        })
        .await;
    assert_eq!(runs(&world), [2, 2]);
}

use lockstep_proto::desired::report_digest;
use lockstep_proto::v1;
use tokio::sync::mpsc;
use tonic::Code;

use super::world::{Agent, cluster, identity, world};
use crate::store::Change;

use v1::agent_message::Message as Said;
use v1::connection::Status as Connection;

fn report(assignment: &str, seq: u64, message: &str) -> v1::Report {
    v1::Report {
        seq,
        assignment: assignment.into(),
        sync: v1::sync::Status::Synced.into(),
        health: v1::health::Status::Healthy.into(),
        message: message.into(),
        ..v1::Report::default()
    }
}

async fn reconnect(world: &super::world::World, agent: &Agent, name: &str) -> Agent {
    world
        .connect(&identity(name), agent.version, &agent.digest())
        .await
}

#[tokio::test]
async fn a_new_agent_gets_a_snapshot_and_then_changes() {
    let world = world().await;
    world.join("eu-1", &["base", "shop"]).await;
    let (one, two) = (
        world.bundle(&[("a", "1")]).await,
        world.bundle(&[("a", "2")]).await,
    );
    world.assign("eu-1", "base", one).await;
    let mut agent = world.connect(&identity("eu-1"), 0, "").await;
    assert_eq!(agent.told().await, 0, "a snapshot");
    assert_eq!(agent.wants(), "base set");

    let base = agent.version;
    world.assign("eu-1", "shop", two).await;
    assert_eq!(agent.told().await, base, "a change of what it holds");
    assert_eq!(agent.wants(), "base set, shop set");
    world.change("eu-1", "base", Change::Tombstone).await;
    agent.told().await;
    assert_eq!(agent.wants(), "base tombstone, shop set");
}

#[tokio::test]
async fn who_holds_the_same_hears_only_a_welcome() {
    let world = world().await;
    world.join("eu-1", &["base", "shop"]).await;
    let digest = world.bundle(&[("a", "1")]).await;
    world.assign("eu-1", "base", digest).await;
    let mut agent = world.connect(&identity("eu-1"), 0, "").await;
    agent.told().await;
    let mut again = reconnect(&world, &agent, "eu-1").await;
    (again.version, again.wanted) = (agent.version, agent.wanted);
    // The next thing it hears is the next change, as a delta.
    world.assign("eu-1", "shop", digest).await;
    assert_eq!(again.told().await, again.version - 1);
}

#[tokio::test]
async fn another_content_under_the_same_version_is_replaced() {
    let world = world().await;
    world.join("eu-1", &["base"]).await;
    let digest = world.bundle(&[("a", "1")]).await;
    world.assign("eu-1", "base", digest).await;
    let version = world.fleet.desired_version(&cluster("eu-1")).unwrap();
    let mut agent = world
        .connect(&identity("eu-1"), version, "sha256:nonsense")
        .await;
    assert_eq!(agent.told().await, 0);
    assert_eq!(agent.wants(), "base set");
}

#[tokio::test]
async fn a_hub_restored_from_a_backup_overtakes_its_agents_and_deletes_nothing() {
    let world = world().await;
    world.join("eu-1", &["base", "shop"]).await;
    let digest = world.bundle(&[("a", "1")]).await;
    world.assign("eu-1", "base", digest).await;
    world.assign("eu-1", "shop", digest).await;
    world.change("eu-1", "shop", Change::Tombstone).await;
    let held = lockstep_proto::Digest::of(b"later").to_string();
    let mut agent = world.connect(&identity("eu-1"), 4000, &held).await;
    assert_eq!(agent.told().await, 0);
    assert!(agent.version > 4000);
    // The tombstone is from before the backup: what has become of the
    // assignment on the cluster since, nobody here knows.
    assert_eq!(agent.wants(), "base set");
    let rows = world.fleet.desired(&cluster("eu-1")).unwrap().rows;
    assert_eq!(rows.len(), 1);
}

#[tokio::test]
async fn a_desired_state_of_any_size_comes_in_small_messages() {
    let world = world().await;
    let names: Vec<String> = (0..200).map(|i| format!("{i:0>63}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.join("eu-1", &names).await;
    let digest = world.bundle(&[("a", "1")]).await;
    for name in &names {
        world.assign("eu-1", name, digest).await;
    }
    let mut agent = world.connect(&identity("eu-1"), 0, "").await;
    agent.told().await;
    assert_eq!(agent.wanted.len(), 200);
    for (seq, name) in (1..).zip(&names) {
        agent.say(Said::Report(report(name, seq, "fine"))).await;
    }
    agent.acked(200).await;
    let again = reconnect(&world, &agent, "eu-1").await;
    assert_eq!(
        again.held.len(),
        200,
        "what is held comes in several welcomes"
    );
}

#[tokio::test]
async fn a_report_is_stored_then_acknowledged_and_remembered() {
    let world = world().await;
    world.join("eu-1", &["base"]).await;
    let digest = world.bundle(&[("a", "1")]).await;
    world.assign("eu-1", "base", digest).await;
    let mut agent = world.connect(&identity("eu-1"), 0, "").await;
    agent.told().await;
    let said = report("base", 1, "fine");
    agent.say(Said::Report(said.clone())).await;
    agent.acked(1).await;
    let stored = world
        .fleet
        .store()
        .reports_for(&cluster("eu-1"))
        .await
        .unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].message, "fine");
    let again = reconnect(&world, &agent, "eu-1").await;
    assert_eq!(again.held["base"], report_digest(&said));
}

#[tokio::test]
async fn a_report_that_nobody_asked_for_is_acknowledged_and_dropped() {
    let world = world().await;
    world.join("eu-1", &["base"]).await;
    let mut agent = world.connect(&identity("eu-1"), 0, "").await;
    agent.say(Said::Report(report("unheard-of", 1, ""))).await;
    agent.acked(1).await;
    assert!(
        world
            .fleet
            .store()
            .reports_for(&cluster("eu-1"))
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_tombstone_that_is_done_is_forgotten_on_both_sides() {
    let world = world().await;
    world.join("eu-1", &["base", "shop"]).await;
    let digest = world.bundle(&[("a", "1")]).await;
    world.assign("eu-1", "base", digest).await;
    world.assign("eu-1", "shop", digest).await;
    world.change("eu-1", "base", Change::Tombstone).await;
    let mut agent = world.connect(&identity("eu-1"), 0, "").await;
    agent.told().await;
    assert_eq!(agent.wants(), "base tombstone, shop set");
    let removed = v1::Report {
        removed: true,
        tombstone_version: agent.version,
        ..report("base", 1, "")
    };
    agent.say(Said::Report(removed)).await;
    // The acknowledgement and the snapshot may come in either order.
    agent.told_and_acked(agent.version + 1, 1).await;
    assert_eq!(agent.wants(), "shop set");
    assert!(world.fleet.desired_row(&cluster("eu-1"), "base").is_none());
}

#[tokio::test]
async fn a_late_removal_does_not_end_a_newer_tombstone() {
    let world = world().await;
    world.join("eu-1", &["base"]).await;
    let digest = world.bundle(&[("a", "1")]).await;
    world.assign("eu-1", "base", digest).await;
    world.change("eu-1", "base", Change::Tombstone).await;
    let mut agent = world.connect(&identity("eu-1"), 0, "").await;
    agent.told().await;
    let removed = v1::Report {
        removed: true,
        tombstone_version: agent.version,
        ..report("base", 1, "")
    };
    // The cluster comes back and leaves again before the agent is heard.
    world.assign("eu-1", "base", digest).await;
    world.change("eu-1", "base", Change::Tombstone).await;
    agent.say(Said::Report(removed.clone())).await;
    agent.told_and_acked(agent.version + 2, 1).await;
    assert_eq!(agent.wants(), "base tombstone");
    assert!(
        world
            .fleet
            .desired_row(&cluster("eu-1"), "base")
            .unwrap()
            .tombstone
    );
    // A removal of an assignment that the cluster has again ends nothing either.
    world.assign("eu-1", "base", digest).await;
    agent.told().await;
    agent
        .say(Said::Report(v1::Report { seq: 2, ..removed }))
        .await;
    agent.acked(2).await;
    assert!(
        !world
            .fleet
            .desired_row(&cluster("eu-1"), "base")
            .unwrap()
            .tombstone
    );
}

#[tokio::test]
async fn the_newest_session_wins() {
    let world = world().await;
    world.join("eu-1", &["base"]).await;
    let mut old = world.connect(&identity("eu-1"), 0, "").await;
    let mut new = world.connect(&identity("eu-1"), 0, "").await;
    let status = old.ended().await;
    assert_eq!(status.code(), Code::Aborted, "{status}");
    assert!(status.message().contains("newer session"), "{status}");
    assert_eq!(world.sessions(), 1);
    let digest = world.bundle(&[("a", "1")]).await;
    world.assign("eu-1", "base", digest).await;
    new.told().await;
    assert_eq!(world.connection("eu-1"), Connection::Online);
}

#[tokio::test]
async fn sessions_of_a_deleted_cluster_end_at_once() {
    let world = world().await;
    world.join("eu-1", &[]).await;
    let mut agent = world.connect(&identity("eu-1"), 0, "").await;
    world
        .fleet
        .delete(v1::kind::Name::Cluster, "eu-1", "admin")
        .await
        .unwrap();
    assert_eq!(agent.ended().await.code(), Code::Unauthenticated);
    let refused = world.open(&identity("eu-1"), mpsc::channel(1).1).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn sessions_of_a_former_identity_end_when_the_cluster_joins_anew() {
    let world = world().await;
    world.join("eu-1", &[]).await;
    let mut agent = world.connect(&identity("eu-1"), 0, "").await;
    let new = world.enrol("eu-1", "another").await;
    assert_eq!(agent.ended().await.code(), Code::Unauthenticated);
    let refused = world.open(&identity("eu-1"), mpsc::channel(1).1).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    world.connect(&new, 0, "").await;
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_session_with_words() {
    let world = world().await;
    world.join("eu-1", &["base"]).await;
    let hello = |version: &str| {
        Said::Hello(v1::Hello {
            agent_version: version.into(),
            ..v1::Hello::default()
        })
    };
    for (first, words) in [
        (Said::Heartbeat(v1::Heartbeat {}), "first message"),
        (Said::Report(report("base", 1, "")), "first message"),
        (hello(&"x".repeat(5000)), "at most 4096"),
        (hello("\u{1b}[31m"), "control characters"),
        (
            Said::Hello(v1::Hello {
                version: u64::MAX,
                ..v1::Hello::default()
            }),
            "plausible",
        ),
    ] {
        let (say, said) = mpsc::channel(1);
        let mut hear = world.open(&identity("eu-1"), said).await.unwrap();
        say.send(v1::AgentMessage {
            message: Some(first),
        })
        .await
        .unwrap();
        let status = hear.message().await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(words), "{status}");
    }
    for (second, words) in [
        (hello("0.1.0"), "first message"),
        (
            Said::Report(report("base", 1, &"x".repeat(4096))),
            "at most 4096",
        ),
    ] {
        let mut agent = world.connect(&identity("eu-1"), 0, "").await;
        agent.say(second).await;
        let status = agent.ended().await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(words), "{status}");
    }
}

#[tokio::test]
async fn messages_of_a_newer_contract_are_tolerated() {
    let world = world().await;
    world.join("eu-1", &["base"]).await;
    let mut agent = world.connect(&identity("eu-1"), 0, "").await;
    agent.say_nothing_known().await;
    agent.say(Said::Report(report("base", 1, ""))).await;
    agent.acked(1).await;
}

#[tokio::test]
async fn a_hub_that_stops_ends_its_sessions_in_order_and_stores_what_it_heard() {
    let world = world().await;
    world.join("eu-1", &["base"]).await;
    let digest = world.bundle(&[("a", "1")]).await;
    world.assign("eu-1", "base", digest).await;
    let mut agent = world.connect(&identity("eu-1"), 0, "").await;
    agent.told().await;
    world.stop.cancel();
    assert_eq!(agent.ended().await.code(), Code::Ok);
}

/// Opens sessions of one cluster side by side, each saying something, some
/// ending at once: whatever overtakes what, the last one counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_sessions_race_the_last_one_counts() {
    let world = world().await;
    world.join("eu-1", &["base"]).await;
    let digest = world.bundle(&[("a", "1")]).await;
    world.assign("eu-1", "base", digest).await;
    let me = identity("eu-1");
    for round in 0..40 {
        let racers = (0..4).map(|racer| {
            let (world, me) = (&world, &me);
            async move {
                let (say, said) = mpsc::channel(8);
                let hello = Said::Hello(v1::Hello::default());
                let news = Said::Report(report("base", 1, &format!("{round}/{racer}")));
                for message in [hello, news] {
                    let message = Some(message);
                    say.send(v1::AgentMessage { message }).await.unwrap();
                }
                let mut hear = world.open(me, said).await.unwrap();
                if racer % 2 == 0 {
                    drop(say);
                }
                // Until it is replaced or has read what it is told.
                for _ in 0..racer {
                    if !matches!(hear.message().await, Ok(Some(_))) {
                        break;
                    }
                }
            }
        });
        futures::future::join_all(racers).await;
        let mut last = world.connect(&me, 0, "").await;
        last.told().await;
        let words = format!("last of {round}");
        last.say(Said::Report(report("base", 1, &words))).await;
        last.acked(1).await;
        let stored = world.fleet.store().reports_for(&me.cluster).await.unwrap();
        assert_eq!(stored[0].message, words);
        assert_eq!(world.sessions(), 1);
        assert_eq!(world.connection("eu-1"), Connection::Online);
    }
}

#[tokio::test]
async fn a_change_is_told_to_the_clusters_that_it_concerns_and_to_no_other() {
    let world = world().await;
    world.join("eu-1", &["base"]).await;
    world.join("us-1", &["base"]).await;
    let digest = world.bundle(&[("a", "1")]).await;
    let mut eu = world.connect(&identity("eu-1"), 0, "").await;
    let mut us = world.connect(&identity("us-1"), 0, "").await;
    world.assign("eu-1", "base", digest).await;
    eu.told().await;
    // What us-1 hears next is the answer to what it says next.
    us.say(Said::Report(report("base", 1, ""))).await;
    us.acked(1).await;
}

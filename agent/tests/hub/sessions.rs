//! Desired states in, Reports out.

use std::collections::BTreeSet;
use std::time::Duration;

use lockstep_proto::Digest;
use lockstep_proto::desired::report_digest;
use lockstep_proto::v1::*;
use tonic::Status;

use crate::agent::Agent;
use crate::fake::{FakeHub, item, state};

fn report(assignment: &str, message: &str) -> Report {
    Report {
        assignment: assignment.into(),
        message: message.into(),
        ..Report::default()
    }
}

fn held(report: &Report) -> HeldReport {
    HeldReport {
        assignment: report.assignment.clone(),
        digest: report_digest(report),
    }
}

#[tokio::test]
async fn a_desired_state_in_parts_is_acted_on_when_complete() {
    let mut hub = FakeHub::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(&hub, dir.path()).await;
    let mut session = hub.session().await;
    let hello = session.open().await;
    assert_eq!((hello.version, hello.digest.as_str()), (0, ""));
    assert_eq!(hello.kubernetes_version, "v1.36.3");

    let items = [item("a", Digest::of(b"a")), item("b", Digest::of(b"b"))];
    let mut last = state(7, 0, &items, &["c"]);
    let first = DesiredState {
        version: 7,
        items: vec![last.items.remove(0)],
        ..DesiredState::default()
    };
    session.say(hub_message::Message::DesiredState(first)).await;
    assert_eq!(agent.desired.borrow().version, 0);
    session.say(hub_message::Message::DesiredState(last)).await;
    let wanted = agent.wants(7).await;
    assert_eq!(wanted.items.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(wanted.tombstones, BTreeSet::from(["c".to_owned()]));
}

#[tokio::test]
async fn a_delta_changes_what_it_names_and_survives_a_restart_without_the_hub() {
    let mut hub = FakeHub::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(&hub, dir.path()).await;
    let mut session = hub.session().await;
    session.open().await;
    let (a, b) = (item("a", Digest::of(b"a")), item("b", Digest::of(b"b")));
    session.snapshot(1, &[a, b.clone()], &[]).await;
    agent.wants(1).await;
    let whole = state(2, 0, std::slice::from_ref(&b), &["a"]);
    let delta = DesiredState {
        base: 1,
        items: Vec::new(),
        ..whole.clone()
    };
    session.say(hub_message::Message::DesiredState(delta)).await;
    agent.wants(2).await;
    agent.kill().await;
    hub.kill();

    let mut agent = Agent::with_token(&hub, dir.path(), None).await;
    let wanted = agent.wants(2).await;
    assert_eq!(wanted.items["b"], b);
    assert!(wanted.tombstones.contains("a"));
    let mut hub = hub.restart().await;
    let hello = hub.session().await.open().await;
    assert_eq!((hello.version, hello.digest), (2, whole.digest));
}

#[tokio::test]
async fn what_does_not_add_up_is_not_acted_on_and_asked_for_from_zero() {
    let mut hub = FakeHub::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(&hub, dir.path()).await;
    let mut session = hub.session().await;
    session.open().await;
    let items = [item("a", Digest::of(b"a"))];
    session.snapshot(1, &items, &[]).await;
    agent.wants(1).await;
    let wrong_digest = DesiredState {
        digest: Digest::of(b"").to_string(),
        ..state(2, 1, &[], &["a"])
    };
    let wrong_base = state(9, 8, &items, &[]);
    for wrong in [wrong_digest, wrong_base] {
        session.say(hub_message::Message::DesiredState(wrong)).await;
        session.gone().await;
        session = hub.session().await;
        assert_eq!(session.open().await.version, 0);
        assert_eq!(agent.desired.borrow().version, 1);
        assert!(agent.desired.borrow().tombstones.is_empty());
    }
    session.snapshot(2, &items, &[]).await;
    agent.wants(2).await;
}

#[tokio::test]
async fn a_state_that_was_not_complete_is_forgotten_with_its_session() {
    let mut hub = FakeHub::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(&hub, dir.path()).await;
    let mut session = hub.session().await;
    session.open().await;
    let part = DesiredState {
        last: false,
        ..state(5, 0, &[item("a", Digest::of(b"a"))], &[])
    };
    session.say(hub_message::Message::DesiredState(part)).await;
    session.end(None).await;
    let mut session = hub.session().await;
    assert_eq!(session.open().await.version, 0);
    session
        .snapshot(5, &[item("b", Digest::of(b"b"))], &[])
        .await;
    assert!(!agent.wants(5).await.items.contains_key("a"));
}

#[tokio::test]
async fn fields_of_a_newer_hub_do_not_break_the_digest() {
    /// `DesiredItem` of a contract to come.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Newer {
        #[prost(string, tag = "1")]
        assignment: String,
        #[prost(string, tag = "2")]
        bundle_digest: String,
        #[prost(string, tag = "99")]
        novelty: String,
    }
    use lockstep_agent::desired::{Held, Part};
    use prost::Message as _;
    let newer = Newer {
        assignment: "a".into(),
        bundle_digest: Digest::of(b"a").to_string(),
        novelty: "!".into(),
    };
    let item = newer.encode_to_vec();
    let digest = lockstep_proto::desired::digest_of_parts([("a", item.as_slice())]);
    let part = Part {
        version: 1,
        items: vec![item.into()],
        last: true,
        digest: digest.to_string(),
        ..Part::default()
    };
    let held = Held::decode(&part.encode_to_vec()).unwrap();
    assert_eq!(held.digest(), digest);
    assert_eq!(Held::decode(&held.encode()).unwrap(), held);
    assert_eq!(held.desired().items["a"].bundle_digest, newer.bundle_digest);
}

#[tokio::test]
async fn a_damaged_file_counts_as_none() {
    let mut hub = FakeHub::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(&hub, dir.path()).await;
    let mut session = hub.session().await;
    session.open().await;
    session
        .snapshot(3, &[item("a", Digest::of(b"a"))], &[])
        .await;
    agent.wants(3).await;
    agent.kill().await;
    let path = dir.path().join("desired.pb");
    let whole = std::fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[20] ^= 1;
    for damaged in [&whole[..whole.len() - 1], &whole[..0], &flipped, b"{}"] {
        std::fs::write(&path, damaged).unwrap();
        let agent = Agent::start(&hub, dir.path()).await;
        assert_eq!(agent.desired.borrow().version, 0);
        assert_eq!(hub.session().await.open().await.version, 0);
        agent.kill().await;
    }
}

#[tokio::test]
async fn only_reports_that_the_hub_does_not_hold_are_sent() {
    let mut hub = FakeHub::start().await;
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(&hub, dir.path()).await;
    let (known, unknown) = (report("a", "known"), report("b", "new"));
    agent.outbox.put(known.clone());
    agent.outbox.put(unknown.clone());
    let mut session = hub.session().await;
    session.hello().await;
    session.welcome(vec![held(&known)]).await;
    let sent = session.report().await;
    assert_eq!((sent.assignment.as_str(), sent.seq), ("b", 1));
    session.ack(1).await;
    agent.outbox.put(unknown.clone());
    agent.outbox.put(known.clone());
    agent.outbox.put(report("a", "newer"));
    assert_eq!(session.report().await.message, "newer");

    // Not acked: sent again, and only that.
    session.end(None).await;
    let mut session = hub.session().await;
    session.hello().await;
    session.welcome(vec![held(&known), held(&unknown)]).await;
    let sent = session.report().await;
    assert_eq!((sent.message.as_str(), sent.seq), ("newer", 1));
}

#[tokio::test]
async fn an_idle_agent_says_heartbeat() {
    let mut hub = FakeHub::start().await;
    let dir = tempfile::tempdir().unwrap();
    let _agent = Agent::start(&hub, dir.path()).await;
    let mut session = hub.session().await;
    session.open().await;
    let heard = session.hear().await;
    assert!(matches!(heard, agent_message::Message::Heartbeat(_)));
}

#[tokio::test]
async fn the_agent_comes_back_after_a_hub_that_died_and_after_every_refusal() {
    let mut hub = FakeHub::start().await;
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(&hub, dir.path()).await;
    hub.session().await.open().await;
    let mut hub = hub.restart().await;
    let mut session = hub.session().await;
    session.open().await;
    session.end(Some(Status::internal("a bug"))).await;
    let mut session = hub.session().await;
    session.open().await;
    session.hear().await;
    assert_eq!(agent.metrics.connected.get(), 1);
}

#[tokio::test]
async fn a_cluster_that_was_upgraded_says_so() {
    let mut hub = FakeHub::start().await;
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(&hub, dir.path()).await;
    hub.session().await.open().await;
    agent.kubernetes.send_replace("v1.37.0".into());
    let hello = hub.session().await.open().await;
    assert_eq!(hello.kubernetes_version, "v1.37.0");
}

#[tokio::test]
async fn a_message_of_a_newer_contract_is_passed_over() {
    let mut hub = FakeHub::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(&hub, dir.path()).await;
    let mut session = hub.session().await;
    session.open().await;
    session.say_something_new().await;
    session.snapshot(1, &[], &[]).await;
    agent.wants(1).await;
    tokio::time::timeout(Duration::from_millis(10), hub.session())
        .await
        .err()
        .unwrap();
}

//! What happened to objects: kept until the hub has stored it, and sent again
//! until then.

use std::time::Duration;

use lockstep_proto::v1::object_event::Type;
use lockstep_proto::v1::*;

use crate::agent::Agent;
use crate::fake::{FakeHub, Session};
use crate::within;

fn drifted(object: &str) -> ObjectEvent {
    ObjectEvent {
        assignment: "shop".into(),
        object: object.into(),
        r#type: Type::Drifted.into(),
        ..ObjectEvent::default()
    }
}

async fn event(session: &mut Session) -> ObjectEvent {
    loop {
        match session.hear().await {
            agent_message::Message::Event(event) => return event,
            agent_message::Message::Heartbeat(_) => {}
            other => panic!("not an event: {other:?}"),
        }
    }
}

async fn events(session: &mut Session, count: usize) -> Vec<ObjectEvent> {
    let mut events = Vec::new();
    while events.len() < count {
        events.push(event(session).await);
    }
    events
}

fn objects(events: &[ObjectEvent]) -> Vec<&str> {
    events.iter().map(|event| &*event.object).collect()
}

/// Returns when the agent has heard it.
async fn ack(session: &Session, agent: &Agent, event_id: u64) {
    let before = agent.journal.waiting();
    session
        .say(hub_message::Message::Ack(Ack { seq: 0, event_id }))
        .await;
    within("the acknowledgement arrives", async {
        while agent.journal.waiting() == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn events_wait_for_the_hub_and_come_again_until_they_are_stored() {
    let mut hub = FakeHub::start().await;
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(&hub, dir.path()).await;
    for object in ["a", "b"] {
        agent.journal.record(drifted(object));
    }
    let mut session = hub.session().await;
    session.open().await;
    agent.journal.record(drifted("c"));
    let sent = events(&mut session, 3).await;
    assert_eq!(objects(&sent), ["a", "b", "c"]);
    assert!(sent.is_sorted_by_key(|event| event.id));
    assert!(sent.iter().all(|event| event.at.is_some()));
    ack(&session, &agent, sent[0].id).await;
    agent.journal.record(drifted("d"));
    event(&mut session).await;
    session.end(None).await;

    let mut session = hub.session().await;
    session.open().await;
    let again = events(&mut session, 3).await;
    assert_eq!(objects(&again), ["b", "c", "d"]);
    assert_eq!(again[..2], sent[1..]);
}

#[tokio::test]
async fn what_was_not_stored_survives_the_agent_and_nothing_stored_comes_twice() {
    let mut hub = FakeHub::start().await;
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(&hub, dir.path()).await;
    let mut session = hub.session().await;
    session.open().await;
    for object in ["a", "b"] {
        agent.journal.record(drifted(object));
    }
    let sent = events(&mut session, 2).await;
    ack(&session, &agent, sent[0].id).await;
    agent.stop().await;

    let agent = Agent::with_token(&hub, dir.path(), None).await;
    let mut session = hub.session().await;
    session.open().await;
    agent.journal.record(drifted("c"));
    let again = events(&mut session, 2).await;
    assert_eq!(objects(&again), ["b", "c"]);
    assert!(again[1].id > sent[1].id);
}

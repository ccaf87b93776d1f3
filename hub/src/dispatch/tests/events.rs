use lockstep_proto::v1;

use super::world::{Agent, World, identity, world};

use v1::agent_message::Message as Said;
use v1::hub_message::Message as Heard;

fn event(assignment: &str, id: u64) -> Said {
    Said::Event(v1::ObjectEvent {
        id,
        assignment: assignment.into(),
        object: format!("v1 ConfigMap shop/{id}"),
        r#type: v1::object_event::Type::Drifted.into(),
        fields: vec![".data.a".into()],
        manager: "kubectl-edit".into(),
        at: Some(pbjson_types::Timestamp {
            seconds: 1_800_000_000 + i64::try_from(id).unwrap(),
            nanos: 0,
        }),
        ..v1::ObjectEvent::default()
    })
}

async fn acked(agent: &mut Agent, id: u64) {
    loop {
        match agent.heard().await.unwrap() {
            Heard::Ack(ack) if ack.event_id >= id => return assert_eq!(ack.event_id, id),
            Heard::Ack(_) => {}
            other => panic!("not an acknowledgement: {other:?}"),
        }
    }
}

impl World {
    /// Objects that something happened to, newest first.
    async fn happened(&self, assignment: &str) -> Vec<String> {
        let page = self
            .fleet
            .history(assignment, None, None, 100)
            .await
            .unwrap();
        let events = page.items.into_iter().filter_map(|entry| entry.event);
        events.map(|event| event.object).collect()
    }
}

#[tokio::test]
async fn what_happened_to_objects_is_in_the_history_once_acknowledged() {
    let world = world().await;
    world.join("eu-1", &["shop"]).await;
    let digest = world.bundle(&[("a", "1")]).await;
    world.assign("eu-1", "shop", digest).await;
    let me = identity("eu-1");
    let mut agent = world.connect(&me, 0, "").await;
    agent.told().await;
    for id in [3, 5, 6] {
        agent.say(event("shop", id)).await;
    }
    acked(&mut agent, 6).await;
    let all = [
        "v1 ConfigMap shop/6",
        "v1 ConfigMap shop/5",
        "v1 ConfigMap shop/3",
    ];
    assert_eq!(world.happened("shop").await, all);

    // As after an acknowledgement that was lost.
    let mut again = world.connect(&me, agent.version, &agent.digest()).await;
    again.say(event("shop", 6)).await;
    acked(&mut again, 6).await;
    assert_eq!(world.happened("shop").await, all);
}

#[tokio::test]
async fn events_of_what_the_cluster_was_never_told_of_are_acknowledged_and_dropped() {
    let world = world().await;
    world.join("eu-1", &["shop", "other"]).await;
    let digest = world.bundle(&[("a", "1")]).await;
    world.assign("eu-1", "shop", digest).await;
    let mut agent = world.connect(&identity("eu-1"), 0, "").await;
    agent.told().await;
    agent.say(event("other", 1)).await;
    agent.say(event("nowhere", 2)).await;
    acked(&mut agent, 2).await;
    agent.say(event("shop", 3)).await;
    acked(&mut agent, 3).await;
    assert!(world.happened("other").await.is_empty());
    assert!(world.happened("nowhere").await.is_empty());
    assert_eq!(world.happened("shop").await, ["v1 ConfigMap shop/3"]);
}

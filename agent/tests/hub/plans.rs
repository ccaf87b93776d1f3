//! Questions of the hub, and their answers, on an engine whose cluster is away.

use lockstep_proto::v1::*;

use crate::agent::Agent;
use crate::fake::{Answer, FakeHub};
use crate::within;

fn plan(id: u64) -> hub_message::Message {
    hub_message::Message::Plan(Plan {
        id,
        assignment: "shop".into(),
        bundle_digest: "no digest".into(),
        ..Plan::default()
    })
}

#[tokio::test]
async fn a_question_is_answered_at_once_with_its_id_and_on_the_way_with_why_not() {
    let mut hub = FakeHub::start().await;
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(&hub, dir.path()).await;
    let mut session = hub.session().await;
    session.open().await;
    session.say(plan(7)).await;
    // Before the engine is there: the hub is to know that it was heard.
    let mut answer = hub.answer().await;
    let first = answer.part().await.unwrap();
    assert_eq!(first, header(7, ""));
    agent.open_desk();
    let why = answer.part().await.unwrap();
    let Some(plan_part::Part::Header(why)) = why.part else {
        panic!("not a header: {why:?}");
    };
    assert_eq!(why.id, 7);
    assert!(why.error.contains("digest"), "{}", why.error);
    assert_eq!(answer.part().await, None);
}

fn header(id: u64, error: &str) -> PlanPart {
    let error = error.into();
    let header = PlanHeader { id, error };
    PlanPart {
        part: Some(plan_part::Part::Header(header)),
    }
}

#[tokio::test]
async fn an_answer_ends_with_its_session_and_is_made_anew_in_the_next() {
    let mut hub = FakeHub::start().await;
    let dir = tempfile::tempdir().unwrap();
    let _agent = Agent::start(&hub, dir.path()).await;
    let mut session = hub.session().await;
    session.open().await;
    session.say(plan(1)).await;
    let mut first = hub.answer().await;
    assert_eq!(first.part().await, Some(header(1, "")));
    session.end(None).await;
    // Cut or in order, it has no end, which alone makes an answer whole.
    within("the answer ends", async {
        while let Ok(Some(part)) = first.parts.message().await {
            assert!(!matches!(part.part, Some(plan_part::Part::End(_))));
        }
    })
    .await;

    let mut session = hub.session().await;
    session.open().await;
    session.say(plan(1)).await;
    let mut second: Answer = hub.answer().await;
    assert_eq!(second.part().await, Some(header(1, "")));
}

#[tokio::test]
async fn a_question_that_nobody_asks_any_more_is_dropped() {
    let mut hub = FakeHub::start().await;
    let dir = tempfile::tempdir().unwrap();
    let _agent = Agent::start(&hub, dir.path()).await;
    let mut session = hub.session().await;
    session.open().await;
    // More than are worked on at once: each is heard, none holds up another.
    for id in 1..=5 {
        session.say(plan(id)).await;
        let mut answer = hub.answer().await;
        assert_eq!(answer.part().await, Some(header(id, "")));
        answer.refuse();
    }
    session.snapshot(1, &[], &[]).await;
    session.say(plan(9)).await;
    assert_eq!(hub.answer().await.part().await, Some(header(9, "")));
}

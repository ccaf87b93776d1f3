use std::sync::Arc;
use std::time::Duration;

use lockstep_proto::v1::agent_service_client::AgentServiceClient;
use lockstep_proto::{Digest, v1};
use tonic::Code;

use super::world::{Agent, World, cluster, identity, request, world};
use crate::dispatch::{ABSENT, Answered, Question};
use crate::transport::PeerIdentity;

use v1::hub_message::Message as Heard;
use v1::plan_part::Part;

const PATIENCE: Duration = Duration::from_secs(20);

fn question(digest: Digest) -> Arc<Question> {
    Arc::new(Question {
        assignment: "shop".into(),
        digest,
        revision: "f".repeat(40),
        options: v1::ApplyOptions {
            namespace: "shop".into(),
            ..v1::ApplyOptions::default()
        },
    })
}

impl World {
    /// Asks in the background.
    fn asks(&self, name: &str, digest: Digest) -> tokio::task::JoinHandle<Answered> {
        let (dispatch, cluster) = (self.dispatch.clone(), cluster(name));
        tokio::spawn(async move { dispatch.plan(&cluster, question(digest), PATIENCE).await })
    }

    async fn answer(
        &self,
        peer: &PeerIdentity,
        parts: Vec<v1::PlanPart>,
    ) -> Result<(), tonic::Status> {
        let parts = tokio_stream::iter(parts);
        let mut client = AgentServiceClient::new(self.channel.clone());
        client.send_plan(request(peer, parts)).await.map(drop)
    }
}

async fn asked(agent: &mut Agent) -> v1::Plan {
    loop {
        match agent.heard().await.unwrap() {
            Heard::Plan(plan) => return plan,
            Heard::DesiredState(_) => {}
            other => panic!("not a question: {other:?}"),
        }
    }
}

fn header(id: u64) -> v1::PlanPart {
    let error = String::new();
    v1::PlanPart {
        part: Some(Part::Header(v1::PlanHeader { id, error })),
    }
}

fn object(diff: &str) -> v1::PlanPart {
    v1::PlanPart {
        part: Some(Part::Object(v1::ObjectDiff {
            diff: diff.into(),
            ..v1::ObjectDiff::default()
        })),
    }
}

fn end(objects: u32) -> v1::PlanPart {
    v1::PlanPart {
        part: Some(Part::End(v1::PlanEnd { objects })),
    }
}

#[tokio::test]
async fn a_question_reaches_the_agent_who_fetches_that_bundle_and_answers() {
    let world = world().await;
    world.join("eu-1", &["shop"]).await;
    world.join("us-1", &["shop"]).await;
    let wanted = world.bundle(&[("a", "2")]).await;
    let other = world.bundle(&[("a", "3")]).await;
    let (eu, us) = (identity("eu-1"), identity("us-1"));
    let mut agent = world.connect(&eu, 0, "").await;
    let waiting = world.asks("eu-1", wanted);
    let plan = asked(&mut agent).await;
    assert_eq!(plan.bundle_digest, wanted.to_string());
    assert_eq!(
        (&*plan.assignment, &*plan.revision),
        ("shop", &*"f".repeat(40))
    );
    assert_eq!(plan.options.unwrap().namespace, "shop");

    let fetched = world.fetch(&eu, &wanted.to_string(), "").await.unwrap();
    assert_eq!(fetched.len(), 1);
    for (peer, digest) in [(&us, wanted), (&eu, other)] {
        let refused = world
            .fetch(peer, &digest.to_string(), "")
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
    let stranger = world.answer(&us, vec![header(plan.id), object("+x")]).await;
    assert_eq!(stranger.unwrap_err().code(), Code::NotFound);
    let broken_off = world.answer(&eu, vec![header(plan.id), object("+a")]).await;
    assert_eq!(broken_off.unwrap_err().code(), Code::InvalidArgument);
    let parts = vec![header(plan.id), object("+a"), object("+b"), end(2)];
    world.answer(&eu, parts.clone()).await.unwrap();
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(answer.objects.len(), 2);

    let refused = world.fetch(&eu, &wanted.to_string(), "").await.unwrap_err();
    assert_eq!(
        refused.code(),
        Code::PermissionDenied,
        "it is not asked any more"
    );
    let late = world.answer(&eu, parts).await.unwrap_err();
    assert_eq!(late.code(), Code::NotFound);
}

#[tokio::test]
async fn a_question_waits_for_the_next_session_and_falls_with_who_asked() {
    let world = world().await;
    world.join("eu-1", &["shop"]).await;
    let wanted = world.bundle(&[("a", "2")]).await;
    let eu = identity("eu-1");
    let mut first = world.connect(&eu, 0, "").await;
    let waiting = world.asks("eu-1", wanted);
    let plan = asked(&mut first).await;
    let mut second = world.connect(&eu, 0, "").await;
    assert_eq!(asked(&mut second).await, plan);

    waiting.abort();
    let _ = waiting.await;
    let refused = world.fetch(&eu, &wanted.to_string(), "").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let mut third = world.connect(&eu, 0, "").await;
    world.assign("eu-1", "shop", wanted).await;
    third.told().await;
}

#[tokio::test]
async fn a_cluster_that_is_not_here_is_not_waited_for() {
    let world = world().await;
    world.join("eu-1", &["shop"]).await;
    let wanted = world.bundle(&[("a", "2")]).await;
    let error = world.asks("eu-1", wanted).await.unwrap().unwrap_err();
    assert_eq!(error, ABSENT);
}

#[tokio::test]
async fn what_is_no_answer_is_said_to_be_none() {
    let world = world().await;
    world.join("eu-1", &["shop"]).await;
    let wanted = world.bundle(&[("a", "2")]).await;
    let eu = identity("eu-1");
    let mut agent = world.connect(&eu, 0, "").await;
    for parts in [Vec::new(), vec![object("+a")]] {
        let refused = world.answer(&eu, parts).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    let waiting = world.asks("eu-1", wanted);
    let plan = asked(&mut agent).await;
    let large = object(&"x".repeat(129 << 10));
    let refused = world.answer(&eu, vec![header(plan.id), large]).await;
    assert!(matches!(
        refused.unwrap_err().code(),
        Code::ResourceExhausted | Code::OutOfRange
    ),);
    let error = waiting.await.unwrap().unwrap_err();
    assert!(error.contains("cannot be used"), "{error}");
}

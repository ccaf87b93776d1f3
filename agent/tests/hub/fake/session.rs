//! One session with an agent, and what is said in it.

use lockstep_proto::Digest;
use lockstep_proto::desired::desired_digest;
use lockstep_proto::v1::*;
use tokio::sync::{mpsc, oneshot};
use tonic::{Status, Streaming};

use crate::within;

/// An agent's answer to a Plan, taken in by the test.
pub struct Answer {
    pub parts: Streaming<PlanPart>,
    pub ends: oneshot::Sender<Status>,
}

impl Answer {
    /// The next part; nothing at the end.
    pub async fn part(&mut self) -> Option<PlanPart> {
        within("a part of the answer", self.parts.message())
            .await
            .unwrap()
    }

    /// Nobody waits for it any more.
    pub fn refuse(self) {
        let _ = self.ends.send(Status::not_found("nobody asks"));
    }
}

/// One session, played by the test.
pub struct Session {
    /// What the agent showed, DER.
    pub certificate: Option<Vec<u8>>,
    pub hears: Streaming<AgentMessage>,
    pub says: mpsc::Sender<Result<HubMessage, Status>>,
}

impl Session {
    /// Hello, answered by a Welcome that says nothing is held.
    pub async fn open(&mut self) -> Hello {
        let hello = self.hello().await;
        self.welcome(Vec::new()).await;
        hello
    }

    /// Whether there is somebody on the other side.
    pub async fn try_hello(&mut self) -> bool {
        matches!(self.hears.message().await, Ok(Some(_)))
    }

    pub async fn hello(&mut self) -> Hello {
        match self.hear().await {
            agent_message::Message::Hello(hello) => hello,
            other => panic!("not Hello: {other:?}"),
        }
    }

    pub async fn welcome(&self, held_reports: Vec<HeldReport>) {
        self.say(hub_message::Message::Welcome(Welcome {
            heartbeat_seconds: 1,
            held_reports,
            more: false,
        }))
        .await;
    }

    pub async fn say(&self, message: hub_message::Message) {
        let message = HubMessage {
            message: Some(message),
        };
        self.says.send(Ok(message)).await.unwrap();
    }

    /// A message of a kind that this contract does not have.
    pub async fn say_something_new(&self) {
        self.says
            .send(Ok(HubMessage { message: None }))
            .await
            .unwrap();
    }

    pub async fn hear(&mut self) -> agent_message::Message {
        within("the agent says something", self.hears.message())
            .await
            .unwrap()
            .unwrap()
            .message
            .unwrap()
    }

    /// The next Report; heartbeats are passed over.
    pub async fn report(&mut self) -> Report {
        loop {
            match self.hear().await {
                agent_message::Message::Report(report) => return report,
                agent_message::Message::Heartbeat(_) => {}
                other => panic!("not a Report: {other:?}"),
            }
        }
    }

    pub async fn ack(&self, seq: u64) {
        self.say(hub_message::Message::Ack(Ack {
            seq,
            ..Ack::default()
        }))
        .await;
    }

    /// The whole of a desired state in one message.
    pub async fn snapshot(&self, version: u64, items: &[DesiredItem], tombstones: &[&str]) {
        self.say(hub_message::Message::DesiredState(state(
            version, 0, items, tombstones,
        )))
        .await;
    }

    /// Ends with `status`, or in order.
    pub async fn end(self, status: Option<Status>) {
        if let Some(status) = status {
            self.says.send(Err(status)).await.unwrap();
        }
    }

    /// Waits until the agent is gone.
    pub async fn gone(mut self) {
        within("the agent ends its session", async {
            while let Ok(Some(_)) = self.hears.message().await {}
        })
        .await;
    }
}

pub fn item(assignment: &str, digest: Digest) -> DesiredItem {
    DesiredItem {
        assignment: assignment.into(),
        bundle_digest: digest.to_string(),
        revision: "1".repeat(40),
        options: None,
    }
}

pub fn state(version: u64, base: u64, items: &[DesiredItem], tombstones: &[&str]) -> DesiredState {
    let tombstones: Vec<_> = tombstones
        .iter()
        .map(|name| Tombstone {
            assignment: (*name).into(),
        })
        .collect();
    DesiredState {
        version,
        base,
        digest: desired_digest(items, &tombstones).to_string(),
        items: items.to_vec(),
        tombstones,
        last: true,
    }
}

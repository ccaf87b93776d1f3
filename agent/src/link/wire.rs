//! The session's messages as this agent reads them: those of the contract, but
//! that the items of a desired state stay encoded (see [`crate::desired::Held`]).

use lockstep_proto::v1::{Ack, AgentMessage, Plan, Welcome};
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codec::Streaming;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::desired::Part;

/// The contract says 4 KiB; a newer hub may be a little more talkative.
const LARGEST_MESSAGE: usize = 64 << 10;

/// `v1::HubMessage`, the same bytes on the wire.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HubMessage {
    /// Nothing, if it is of a kind that this agent does not know.
    #[prost(oneof = "Said", tags = "1, 2, 3, 4")]
    pub message: Option<Said>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Said {
    #[prost(message, tag = "1")]
    Welcome(Welcome),
    #[prost(message, tag = "2")]
    DesiredState(Part),
    #[prost(message, tag = "3")]
    Ack(Ack),
    #[prost(message, tag = "4")]
    Plan(Plan),
}

/// `AgentService.Session`.
pub async fn session(
    channel: Channel,
    messages: ReceiverStream<AgentMessage>,
) -> Result<Streaming<HubMessage>, Status> {
    let mut grpc = Grpc::new(channel).max_decoding_message_size(LARGEST_MESSAGE);
    grpc.ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let path = http::uri::PathAndQuery::from_static("/lockstep.v1.AgentService/Session");
    let codec = lockstep_proto::codec::Codec::default();
    let stream = grpc.streaming(Request::new(messages), path, codec).await?;
    Ok(stream.into_inner())
}

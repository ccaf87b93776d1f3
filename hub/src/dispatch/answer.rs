//! `SendPlan`: an agent's answer to a plan, taken in part by part, for as long
//! as somebody waits for it.

use std::time::Duration;

use futures::{Stream, StreamExt as _};
use lockstep_proto::v1;
use tonic::Status;

use super::plans::{Plans, Unwanted};
use crate::transport::PeerIdentity;

/// How long a call may be open before it says what it answers.
const HEADER: Duration = Duration::from_secs(10);

/// Takes in the answer of `peer`.
///
/// # Errors
/// `NotFound` where nobody waits for it, now or any more; `InvalidArgument`
/// and `ResourceExhausted` for what is no answer, or too large.
pub async fn receive(
    plans: &Plans,
    peer: &PeerIdentity,
    mut parts: impl Stream<Item = Result<v1::PlanPart, Status>> + Unpin,
) -> Result<(), Status> {
    let first = tokio::time::timeout(HEADER, parts.next())
        .await
        .map_err(|_| Status::deadline_exceeded("no header came within 10 s"))?
        .transpose()?;
    let Some(v1::plan_part::Part::Header(header)) = first.and_then(|part| part.part) else {
        return Err(refused(&Unwanted::Malformed("no header came first")));
    };
    let begun = plans.begin(&peer.cluster, &header);
    let mut incoming = begun.map_err(|error| refused(&error))?;
    loop {
        if incoming.is_over() {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = incoming.unwanted() => return Err(refused(&Unwanted::Nobody(header.id))),
            part = parts.next() => match part {
                Some(Ok(part)) => incoming.take(part).map_err(|error| refused(&error))?,
                Some(Err(status)) => return Err(status),
                None => return Err(refused(&Unwanted::Malformed("it has broken off"))),
            },
        }
    }
}

fn refused(error: &Unwanted) -> Status {
    let words = error.to_string();
    match error {
        Unwanted::Nobody(_) => Status::not_found(words),
        Unwanted::Twice(_) => Status::already_exists(words),
        Unwanted::TooLarge(_) => Status::resource_exhausted(words),
        Unwanted::Malformed(_) => Status::invalid_argument(words),
    }
}

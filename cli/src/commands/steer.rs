//! `lockstep sync`, `rollback`, `pause`, `resume` and `approve`: one call each
//! to the hub, and for the first two the wait until it has arrived.

use lockstep_proto::v1::{ControlRequest, ControlResponse, RollbackRequest, SyncRequest};

use super::wait;
use crate::args::{RollbackArgs, StayArgs, SteerArgs, SyncArgs, WaitFor};
use crate::hub::Hub;
use crate::{Exit, term};

pub(crate) async fn sync(hub: &mut Hub, args: SyncArgs) -> anyhow::Result<Exit> {
    let request = SyncRequest {
        assignment: args.assignment.clone(),
        revision: args.revision,
    };
    let answer = hub.sync(request).await?.into_inner();
    tell(&args.assignment, "released", &answer)?;
    stay(hub, &args.assignment, &answer, &args.stay).await
}

pub(crate) async fn rollback(hub: &mut Hub, args: RollbackArgs) -> anyhow::Result<Exit> {
    let request = RollbackRequest {
        assignment: args.assignment.clone(),
        revision: args.revision,
    };
    let answer = hub.rollback(request).await?.into_inner();
    tell(&args.assignment, "pinned", &answer)?;
    stay(hub, &args.assignment, &answer, &args.stay).await
}

pub(crate) async fn pause(hub: &mut Hub, args: SteerArgs) -> anyhow::Result<Exit> {
    let answer = hub.pause(request(&args)).await?.into_inner();
    tell(&args.assignment, "paused", &answer)?;
    Ok(Exit::Done)
}

pub(crate) async fn resume(hub: &mut Hub, args: SteerArgs) -> anyhow::Result<Exit> {
    let answer = hub.resume(request(&args)).await?.into_inner();
    tell(&args.assignment, "resumed", &answer)?;
    Ok(Exit::Done)
}

pub(crate) async fn approve(hub: &mut Hub, args: SteerArgs) -> anyhow::Result<Exit> {
    let answer = hub.approve(request(&args)).await?.into_inner();
    tell(&args.assignment, "approved", &answer)?;
    Ok(Exit::Done)
}

fn request(args: &SteerArgs) -> ControlRequest {
    ControlRequest {
        assignment: args.assignment.clone(),
    }
}

/// `assignment/shop released 9f3c2a1…` is data; what follows from it is said.
fn tell(name: &str, done: &str, answer: &ControlResponse) -> anyhow::Result<()> {
    let line = format!("assignment/{name} {done} {}", answer.revision);
    term::print(&format!("{}\n", line.trim_end()))?;
    if !answer.message.is_empty() {
        term::say(&answer.message);
    }
    Ok(())
}

async fn stay(
    hub: &mut Hub,
    name: &str,
    answer: &ControlResponse,
    args: &StayArgs,
) -> anyhow::Result<Exit> {
    if !args.wait {
        return Ok(Exit::Done);
    }
    let arrival = wait::Arrival {
        name,
        state: WaitFor::Healthy,
        revision: Some(&answer.revision),
    };
    wait::until(hub, &arrival, args.timeout).await
}

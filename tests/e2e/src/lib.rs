//! What the end-to-end suites and the drivers share: a [`World`] of a hub, a
//! Git server and clusters with agents, and ways to look at it as its users
//! would: through `lockstep` and through the Kubernetes API.

mod cluster;
mod declare;
mod grpc;
mod http;

mod world;

pub use cluster::{ClusterUnderTest, Flavour};
pub use declare::{Assignment, config_map, group, repository};
pub use grpc::{Caller, EnrolledAgent, fleet_client};
pub use http::{get, post, sign};
pub use world::{World, rows_of};

pub use anyhow::{Context, Result, bail, ensure};
pub use lockstep_fixtures as fixtures;
pub use lockstep_fixtures::{Patience, until};
pub use serde_json::{Value, json};

/// Long enough for anything that a story waits for, also with a build beside
/// it; nothing that works takes a tenth of it.
pub const SOON: Patience = Patience::seconds(90);

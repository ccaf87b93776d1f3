//! The first thing that an agent does: be somebody.

use std::time::Duration;

use tracing::{info, warn};

use super::{EnrolError, Folder, Identity, SourceError, TokenSource, enrol};
use crate::link::Backoff;

/// Between tries while the hub is away, at first and at most.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Why there is no identity, and will be none without a person.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error(
        "this agent has not joined yet, and {0}: make one with \
         `lockstep token create --cluster NAME` and give it with --join-token"
    )]
    NoToken(String),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Enrol(#[from] EnrolError),
}

/// The identity in `folder`, else one for the token. Waits while the hub is away.
///
/// # Errors
/// [`JoinError`].
pub async fn join(
    hub: &str,
    source: &TokenSource,
    folder: &Folder,
    agent_version: &str,
) -> Result<Identity, JoinError> {
    if let Some(identity) = folder.load().map_err(EnrolError::from)? {
        if let Ok(Some(token)) = source.read() {
            info!(
                cluster = %identity.cluster,
                token = token.id(),
                "this agent has joined before: the join token is not used unless the hub refuses the identity"
            );
        }
        return Ok(identity);
    }
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    loop {
        let none = || JoinError::NoToken(source.emptiness());
        let token = source.read()?.ok_or_else(none)?;
        match enrol(hub, &token, folder, agent_version).await {
            Ok(identity) => {
                info!(cluster = %identity.cluster, hub, "joined");
                return Ok(identity);
            }
            Err(EnrolError::Unavailable(cause)) => {
                let wait = backoff.wait();
                warn!(hub, %cause, ?wait, "cannot join yet; trying again");
                tokio::time::sleep(wait).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

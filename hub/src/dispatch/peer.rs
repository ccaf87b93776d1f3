//! Who calls: the cluster that the connection's client certificate names, and
//! nothing that a message says.

use tonic::{Request, Status};

use crate::transport::{PeerIdentity, PeerInfo};

/// The caller, if its certificate speaks for a cluster that exists and has not
/// enrolled anew since. `current` says which identity a cluster has now.
///
/// # Errors
/// A status for the caller: `Unauthenticated`.
pub fn caller<T>(
    request: &Request<T>,
    current: impl FnOnce(&PeerIdentity) -> bool,
) -> Result<PeerIdentity, Status> {
    checked(request, |info| info.identity.as_ref(), current)
}

/// As [`caller`], also by a certificate that ended not long ago: good for
/// nothing but a new one.
///
/// # Errors
/// As [`caller`].
pub fn renewer<T>(
    request: &Request<T>,
    current: impl FnOnce(&PeerIdentity) -> bool,
) -> Result<PeerIdentity, Status> {
    checked(request, PeerInfo::renewing, current)
}

fn checked<T>(
    request: &Request<T>,
    names: impl FnOnce(&PeerInfo) -> Option<&PeerIdentity>,
    current: impl FnOnce(&PeerIdentity) -> bool,
) -> Result<PeerIdentity, Status> {
    let peer = request
        .extensions()
        .get::<PeerInfo>()
        .and_then(names)
        .ok_or_else(|| {
            Status::unauthenticated(
                "this call needs the client certificate that an agent gets when it joins",
            )
        })?;
    if current(peer) {
        Ok(peer.clone())
    } else {
        Err(refused())
    }
}

/// For a certificate that speaks for nobody now. Does not say which of the
/// reasons it is: the caller may be anyone who once had a certificate.
#[must_use]
pub fn refused() -> Status {
    Status::unauthenticated(
        "the hub does not know this agent's identity: its cluster was deleted, or has joined anew \
         with another agent. To join again, make a token with `lockstep token create` and start \
         the agent with --join-token",
    )
}

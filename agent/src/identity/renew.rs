//! A certificate is renewed long before it ends, so that a hub which is away
//! for hours costs nobody an identity.

use std::time::{Duration, SystemTime};

use lockstep_proto::client::innermost;
use lockstep_proto::v1::RenewCertificateRequest;
use lockstep_proto::v1::agent_service_client::AgentServiceClient;
use tonic::transport::Channel;

use super::{EnrolError, Folder, Identity};

/// When to renew, by this machine's clock. `jitter` in 0..1 spreads a fleet
/// that joined at once over a tenth of the certificate's life.
///
/// Counted from when the certificate came, so that a clock which is off does
/// not count: only where it says that the certificate was no good when it came
/// is its whole life taken for what remained.
#[must_use]
pub fn due(identity: &Identity, now: SystemTime, jitter: f64) -> SystemTime {
    let Identity {
        received_at,
        not_before,
        not_after,
        ..
    } = *identity;
    let life = not_after.duration_since(not_before).unwrap_or_default();
    let left = not_after
        .duration_since(received_at)
        .ok()
        .filter(|left| !left.is_zero() && *left <= life)
        .unwrap_or(life);
    let from = received_at.min(now);
    from + left.mul_f64(2.0 / 3.0 - 0.1 * jitter.clamp(0.0, 1.0))
}

/// Gets a new certificate for `identity` over a connection made with it.
///
/// # Errors
/// [`EnrolError::Unavailable`] with the hub's answer, or what the disk says.
pub async fn renew(
    channel: Channel,
    identity: &Identity,
    folder: &Folder,
) -> Result<Identity, EnrolError> {
    /// An answer is a signature away.
    const TIMEOUT: Duration = Duration::from_secs(30);
    let mut request = tonic::Request::new(RenewCertificateRequest {
        csr: identity.key.request()?,
    });
    request.set_timeout(TIMEOUT);
    let answer = AgentServiceClient::new(channel)
        .renew_certificate(request)
        .await
        .map_err(|status| EnrolError::Unavailable(innermost(&status)))?
        .into_inner();
    let identity = folder.renewed(
        identity,
        answer.certificate_chain,
        answer.ca_bundle,
        SystemTime::now(),
    )?;
    Ok(identity)
}

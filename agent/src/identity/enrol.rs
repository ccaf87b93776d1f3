//! Trades a join token for an identity.

use std::time::{Duration, SystemTime};

use lockstep_proto::client::{connect, innermost};
use lockstep_proto::v1::EnrolRequest;
use lockstep_proto::v1::enrolment_service_client::EnrolmentServiceClient;
use tonic::Code;

use super::{Folder, Identity, IdentityError, JoinToken, tls};

/// Why the cluster did not join.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// It is not the hub that made the token, or somebody stands between.
    #[error(
        "{hub} is not the hub that made join token {token}: {cause}. The token was not sent. \
         Check --hub; if the hub was set up anew, make a new token there"
    )]
    NotTheHub {
        hub: String,
        token: String,
        cause: String,
    },
    /// The hub has answered, and trying again will not help.
    #[error("the hub refused join token {token}: {cause}{hint}")]
    Refused {
        token: String,
        cause: String,
        hint: &'static str,
    },
    /// Worth trying again.
    #[error("cannot join yet: {0}")]
    Unavailable(String),
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Said when an earlier attempt got as far as making a key: the token may have
/// been spent by this very agent, and its answer lost.
const ANSWER_LOST: &str = ". This agent has tried to join before: if that was with this token, \
     the hub has spent it then and the answer was lost; a new token for the same name puts it right";

/// The hub stores what it answers, and may have a fleet to answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Joins the hub at `hub`, and keeps the identity in `folder`.
///
/// # Errors
/// [`EnrolError`]; only [`EnrolError::Unavailable`] is worth another try.
pub async fn enrol(
    hub: &str,
    token: &JoinToken,
    folder: &Folder,
    agent_version: &str,
) -> Result<Identity, EnrolError> {
    let tried_before = folder.has_key() && matches!(folder.load(), Ok(None));
    let hint = if tried_before { ANSWER_LOST } else { "" };
    // The key is durable before the token is spent.
    let key = folder.key()?;
    let verifier = tls::Pinned::new(token.pin());
    let channel = connect(hub, verifier.client_config().with_no_client_auth())
        .await
        .map_err(|error| match verifier.refusal() {
            Some(cause) => EnrolError::NotTheHub {
                hub: hub.to_owned(),
                token: token.id().to_owned(),
                cause,
            },
            None => EnrolError::Unavailable(error.to_string()),
        })?;
    let mut request = tonic::Request::new(EnrolRequest {
        token: token.expose().to_owned(),
        csr: key.request()?,
        agent_version: agent_version.to_owned(),
    });
    request.set_timeout(TIMEOUT);
    let answer = EnrolmentServiceClient::new(channel)
        .enrol(request)
        .await
        .map_err(|status| match status.code() {
            Code::Unauthenticated
            | Code::PermissionDenied
            | Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::NotFound
            | Code::AlreadyExists
            | Code::Unimplemented => EnrolError::Refused {
                token: token.id().to_owned(),
                cause: status.message().to_owned(),
                hint,
            },
            _ => EnrolError::Unavailable(innermost(&status)),
        })?
        .into_inner();
    let identity = folder.save(
        answer.cluster,
        answer.certificate_chain,
        answer.ca_bundle,
        token.id().to_owned(),
        SystemTime::now(),
    )?;
    Ok(identity)
}

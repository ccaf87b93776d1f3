//! What the API may have made of secrets: join tokens and credentials, each
//! by the room that knows how.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use lockstep_proto::v1;
use tonic::Status;

use crate::api::Secrets;
use crate::credentials::Credentials;
use crate::enrol::JoinTokens;

pub(super) struct Mint {
    pub join_tokens: JoinTokens,
    pub credentials: Credentials,
}

impl Secrets for Mint {
    fn create_join_token(
        &self,
        request: v1::CreateJoinTokenRequest,
    ) -> BoxFuture<'_, Result<v1::CreateJoinTokenResponse, Status>> {
        async { Ok(self.join_tokens.create(request).await?) }.boxed()
    }

    fn create_credential(
        &self,
        request: v1::CreateCredentialRequest,
    ) -> BoxFuture<'_, Result<v1::CreateCredentialResponse, Status>> {
        async {
            self.credentials.create(request).await?;
            Ok(v1::CreateCredentialResponse {})
        }
        .boxed()
    }
}

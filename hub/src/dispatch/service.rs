//! The RPCs: who calls, then whose work it is.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use lockstep_proto::v1;
use lockstep_proto::v1::agent_service_server::AgentService;
use tonic::{Request, Response, Status, Streaming};

use super::{Shared, answer, fetch, peer, session};
use crate::pki::CsrError;

/// The service; see [`super::Dispatch::service`].
pub struct Agents(pub(super) Arc<Shared>);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AgentService for Agents {
    type SessionStream = Answers<v1::HubMessage>;
    type FetchBundleStream = Answers<v1::FetchBundleResponse>;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let peer = peer::caller(&request, |peer| self.0.view.is_current(peer))?;
        let messages = session::session(Arc::clone(&self.0), peer, request.into_inner());
        Ok(Response::new(Box::pin(messages)))
    }

    async fn fetch_bundle(
        &self,
        request: Request<v1::FetchBundleRequest>,
    ) -> Result<Response<Self::FetchBundleStream>, Status> {
        let peer = peer::caller(&request, |peer| self.0.view.is_current(peer))?;
        let chunks = fetch::fetch(Arc::clone(&self.0), peer, &request.into_inner()).await?;
        Ok(Response::new(Box::pin(chunks)))
    }

    async fn send_plan(
        &self,
        request: Request<Streaming<v1::PlanPart>>,
    ) -> Result<Response<v1::SendPlanResponse>, Status> {
        let peer = peer::caller(&request, |peer| self.0.view.is_current(peer))?;
        answer::receive(&self.0.plans, &peer, request.into_inner()).await?;
        Ok(Response::new(v1::SendPlanResponse {}))
    }

    async fn renew_certificate(
        &self,
        request: Request<v1::RenewCertificateRequest>,
    ) -> Result<Response<v1::RenewCertificateResponse>, Status> {
        let peer = peer::renewer(&request, |peer| self.0.view.is_current(peer))?;
        let issued = self.0.pki.renew(&peer, &request.into_inner().csr).map_err(
            |error| match error {
                CsrError::Make(_) => {
                    tracing::error!(cluster = %peer.cluster, %error, "cannot renew a certificate");
                    Status::internal(error.to_string())
                }
                _ => Status::invalid_argument(error.to_string()),
            },
        )?;
        tracing::info!(cluster = %peer.cluster, "certificate renewed");
        Ok(Response::new(v1::RenewCertificateResponse {
            certificate_chain: issued.chain_pem,
            ca_bundle: issued.ca_pem,
        }))
    }
}

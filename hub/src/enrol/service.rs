//! `EnrolmentService`: the only thing that somebody without a certificate and
//! without an access token may call.

use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use lockstep_proto::Digest;
use lockstep_proto::v1;
use lockstep_proto::v1::enrolment_service_server::{EnrolmentService, EnrolmentServiceServer};
use parking_lot::Mutex;
use tonic::{Request, Response, Status};

use super::limit::FailureLimit;
use super::token;
use crate::metrics::Metrics;
use crate::pki::Pki;
use crate::status::{EnrolError, Enrolment, Fleet};
use crate::transport::{PeerIdentity, PeerInfo};

/// A token and a signing request need a tenth of it.
const MESSAGE_LIMIT: usize = 32 * 1024;

/// The service.
pub struct Enrol {
    fleet: Fleet,
    pki: Pki,
    metrics: Metrics,
    failures: Mutex<FailureLimit>,
}

impl Enrol {
    pub(super) fn new(fleet: Fleet, pki: Pki, metrics: Metrics) -> Self {
        Self {
            fleet,
            pki,
            metrics,
            failures: Mutex::default(),
        }
    }

    /// The gRPC server of it.
    #[must_use]
    pub fn server(fleet: Fleet, pki: Pki, metrics: Metrics) -> EnrolmentServiceServer<Self> {
        EnrolmentServiceServer::new(Self::new(fleet, pki, metrics))
            .max_decoding_message_size(MESSAGE_LIMIT)
    }

    fn refuse(&self, address: IpAddr, status: Status) -> Status {
        self.failures.lock().failed(address, Instant::now());
        self.metrics.enrolment("refused");
        tracing::warn!(%address, reason = status.message(), "refused an enrolment");
        status
    }
}

#[tonic::async_trait]
impl EnrolmentService for Enrol {
    async fn enrol(
        &self,
        request: Request<v1::EnrolRequest>,
    ) -> Result<Response<v1::EnrolResponse>, Status> {
        let address = request
            .extensions()
            .get::<PeerInfo>()
            .map(|peer| peer.address.ip())
            .ok_or_else(|| Status::internal("the connection's peer is unknown"))?;
        if !self.failures.lock().allows(address, Instant::now()) {
            self.metrics.enrolment("limited");
            return Err(Status::resource_exhausted(
                "too many enrolments failed from this address: wait a minute, then try again \
                 with a new join token",
            ));
        }
        let request = request.into_inner();
        let Some(presented) = token::parse(&request.token) else {
            let status = Status::permission_denied(
                "this is not the text of a join token: use what `lockstep token create` printed, \
                 whole and unchanged",
            );
            return Err(self.refuse(address, status));
        };
        let key = match self.pki.requested_key(&request.csr) {
            Ok(key) => Digest::of(&key),
            Err(error) => {
                let status = Status::invalid_argument(error.to_string());
                return Err(self.refuse(address, status));
            }
        };
        let enrolment = Enrolment {
            token_id: presented.id,
            token_hash: presented.hash,
            key,
            identity: hex::encode(rand::random::<[u8; 16]>()),
        };
        let enrolled = match self.fleet.enrol(enrolment).await {
            Ok(enrolled) => enrolled,
            Err(EnrolError::Store(error)) => {
                tracing::error!(%error, "cannot store an enrolment");
                return Err(Status::unavailable(error.to_string()));
            }
            Err(refusal) => {
                let status = Status::permission_denied(refusal.to_string());
                return Err(self.refuse(address, status));
            }
        };
        let peer = PeerIdentity {
            cluster: enrolled.cluster,
            identity: enrolled.identity,
        };
        let issued = self
            .pki
            .issue(&peer, &request.csr, SystemTime::now())
            .map_err(|error| Status::internal(error.to_string()))?;
        self.metrics.enrolment("accepted");
        tracing::info!(
            cluster = %peer.cluster, %address, agent = ?request.agent_version.chars().take(64).collect::<String>(),
            "a cluster joined"
        );
        Ok(Response::new(v1::EnrolResponse {
            certificate_chain: issued.chain_pem,
            ca_bundle: issued.ca_pem,
            cluster: peer.cluster.to_string(),
        }))
    }
}

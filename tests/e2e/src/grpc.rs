//! Callers that speak gRPC themselves: people's programs, and strangers whom
//! the hub must turn away.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use lockstep_fixtures::{Cli, Hub, Identity};
use lockstep_proto::client;
use lockstep_proto::v1::EnrolRequest;
use lockstep_proto::v1::enrolment_service_client::EnrolmentServiceClient;
use lockstep_proto::v1::fleet_service_client::FleetServiceClient;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

/// What a context of the command line holds.
#[derive(Debug, Clone)]
pub struct Caller {
    pub endpoint: String,
    pub ca: String,
    pub token: String,
}

impl Caller {
    /// The administrator of a hub.
    ///
    /// # Errors
    /// When admin.yaml cannot be read or has another shape.
    pub fn admin(hub: &Hub) -> Result<Self> {
        let path = hub.admin_config();
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let config: serde_json::Value =
            serde_saphyr::from_str(&text).context("admin.yaml is YAML")?;
        let context = &config["contexts"][0];
        let field = |name: &str| {
            let value = context[name].as_str().map(str::to_owned);
            value.with_context(|| format!("contexts[0].{name} in admin.yaml"))
        };
        Ok(Self {
            endpoint: field("endpoint")?,
            ca: field("ca")?,
            token: field("token")?,
        })
    }

    /// A connection without a client certificate.
    ///
    /// # Errors
    /// When the hub cannot be reached.
    pub async fn connect(&self) -> Result<Channel> {
        self.dial(None).await
    }

    /// A connection with a client certificate.
    ///
    /// # Errors
    /// When the hub cannot be reached, or refuses the certificate.
    pub async fn connect_as(&self, identity: &Identity) -> Result<Channel> {
        self.dial(Some(identity)).await
    }

    async fn dial(&self, identity: Option<&Identity>) -> Result<Channel> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.ca.as_bytes()) {
            roots.add(certificate.context("read the CA")?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let tls = match identity {
            None => tls.with_no_client_auth(),
            Some(identity) => {
                let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes())
                    .collect::<Result<Vec<_>, _>>()
                    .context("read the certificate")?;
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())
                    .context("read the key")?;
                tls.with_client_auth_cert(chain, key)?
            }
        };
        Ok(client::connect(&self.endpoint, tls).await?)
    }
}

/// Shows a token with every call.
#[derive(Debug, Clone)]
pub struct Bearer(Option<String>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, tonic::Status> {
        if let Some(token) = &self.0 {
            let value = MetadataValue::try_from(format!("Bearer {token}"))
                .map_err(|_| tonic::Status::internal("a token is ASCII"))?;
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

/// The API for people, with `token` or without any.
///
/// # Errors
/// When the hub cannot be reached.
pub async fn fleet_client(
    caller: &Caller,
    token: Option<&str>,
) -> Result<FleetServiceClient<InterceptedService<Channel, Bearer>>> {
    let bearer = Bearer(token.map(str::to_owned));
    let channel = caller.connect().await?;
    Ok(FleetServiceClient::with_interceptor(channel, bearer))
}

/// An identity as agents have, made without an agent.
#[derive(Debug)]
pub struct EnrolledAgent {
    pub cluster: String,
    pub identity: Identity,
}

impl EnrolledAgent {
    /// Trades a fresh join token for a certificate.
    ///
    /// # Errors
    /// When the hub refuses.
    pub async fn enrol(caller: &Caller, cli: &Cli, cluster: &str) -> Result<Self> {
        let token = cli.join_token(cluster, &[]).await?;
        Self::enrol_with(caller, &token).await
    }

    /// Trades a token for a certificate.
    ///
    /// # Errors
    /// The hub's refusal, as a [`tonic::Status`].
    pub async fn enrol_with(caller: &Caller, token: &str) -> Result<Self> {
        let key = rcgen::KeyPair::generate().context("make a key")?;
        let csr = rcgen::CertificateParams::default()
            .serialize_request(&key)
            .context("make a certificate signing request")?;
        let request = EnrolRequest {
            token: token.to_owned(),
            csr: csr.der().to_vec(),
            agent_version: "0.0.0-test".to_owned(),
        };
        let mut client = EnrolmentServiceClient::new(caller.connect().await?);
        let answer = client.enrol(request).await?.into_inner();
        if answer.certificate_chain.is_empty() {
            bail!("the hub sent no certificate");
        }
        Ok(Self {
            cluster: answer.cluster,
            identity: Identity {
                certificate: answer.certificate_chain,
                key: key.serialize_pem(),
            },
        })
    }
}

//! The connection to the hub, and its errors in words.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use lockstep_proto::client;
use lockstep_proto::v1::fleet_service_client::FleetServiceClient;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::context::{self, Config, HubContext};

/// A list page of large resources must fit.
const MAX_MESSAGE: usize = 64 << 20;

pub(crate) type Hub = FleetServiceClient<InterceptedService<Channel, Bearer>>;

#[derive(Clone)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}

pub(crate) async fn connect(config: Option<PathBuf>) -> anyhow::Result<Hub> {
    let path = context::path(config)?;
    let config = Config::read(&path).context(
        "no hub to ask: give --config DIR/admin.yaml, set LOCKSTEP_CONFIG, or run `lockstep login`",
    )?;
    dial(config.current(&path)?).await
}

pub(crate) async fn dial(context: &HubContext) -> anyhow::Result<Hub> {
    let tls = tls(context).with_context(|| format!("context {}", context.name))?;
    let mut bearer: MetadataValue<Ascii> = format!("Bearer {}", context.token.0)
        .parse()
        .with_context(|| {
            format!(
                "context {}: the token has characters that no token has",
                context.name
            )
        })?;
    bearer.set_sensitive(true);
    let channel = client::connect(&context.endpoint, tls)
        .await
        .with_context(|| {
            format!(
                "context {}: is the hub up, and the endpoint right?",
                context.name
            )
        })?;
    Ok(
        FleetServiceClient::with_interceptor(channel, Bearer(bearer))
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE),
    )
}

fn tls(context: &HubContext) -> anyhow::Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    match &context.ca {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                roots.add(certificate.context("its CA is not PEM")?)?;
            }
            anyhow::ensure!(!roots.is_empty(), "its CA holds no certificate");
        }
        None => {
            for certificate in rustls_native_certs::load_native_certs().certs {
                // One odd certificate in the system's store is not our business.
                let _ = roots.add(certificate);
            }
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// What a person reads: the hub's own sentence where it has one, and the cause
/// where the connection failed.
pub(crate) fn in_words(error: &anyhow::Error) -> String {
    let mut words = Vec::<String>::new();
    for cause in error.chain() {
        let (text, last) = match cause.downcast_ref::<Status>() {
            Some(status) if status.message().is_empty() => (status.code().to_string(), true),
            Some(status) => (status.message().to_owned(), true),
            None => (cause.to_string(), false),
        };
        if !words.iter().any(|w| w.contains(&text)) {
            words.push(text);
        }
        if last {
            break;
        }
    }
    words.join(": ")
}

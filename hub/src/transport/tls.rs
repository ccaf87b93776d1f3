//! What TLS is like on the hub's listener, and the task that keeps the
//! server certificate fresh.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig};
use tokio_util::sync::CancellationToken;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::pki::{Pki, PkiError};

/// How long after its end a certificate is still good for asking for a new
/// one. Longer than a hub is ever away.
const RENEWAL_GRACE: Duration = Duration::from_secs(30 * 24 * 3600);
/// The clock of a machine can jump: look at it again this often at least.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error("cannot set up TLS: {0}")]
    Rustls(#[from] rustls::Error),
    #[error("cannot set up the check of client certificates: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// The TLS configuration of the moment. Connections that are being made while
/// it changes keep the one they began with.
#[derive(Clone)]
pub struct Certificates {
    pki: Pki,
    names: Arc<BTreeSet<String>>,
    current: Arc<ArcSwap<ServerConfig>>,
    renew_at: Arc<parking_lot::Mutex<SystemTime>>,
}

impl Certificates {
    /// # Errors
    /// [`TlsError`].
    pub fn new(pki: Pki, names: BTreeSet<String>) -> Result<Self, TlsError> {
        let (config, renew_at) = configure(&pki, &names)?;
        Ok(Self {
            pki,
            names: Arc::new(names),
            current: Arc::new(ArcSwap::from_pointee(config)),
            renew_at: Arc::new(parking_lot::Mutex::new(renew_at)),
        })
    }

    pub(super) fn pki(&self) -> &Pki {
        &self.pki
    }

    pub(super) fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Replaces the server certificate before it ends, until `cancel`.
    pub async fn keep_fresh(self, cancel: CancellationToken) {
        loop {
            let left = self.renew_at.lock().duration_since(SystemTime::now());
            let wait = left.unwrap_or_default().min(LOOK_AGAIN);
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(wait.max(Duration::from_secs(60))) => {}
            }
            if SystemTime::now() < *self.renew_at.lock() {
                continue;
            }
            match configure(&self.pki, &self.names) {
                Ok((config, renew_at)) => {
                    self.current.store(Arc::new(config));
                    *self.renew_at.lock() = renew_at;
                }
                Err(error) => tracing::error!(
                    %error,
                    "cannot renew the server certificate; trying again in a minute"
                ),
            }
        }
    }
}

fn configure(pki: &Pki, names: &BTreeSet<String>) -> Result<(ServerConfig, SystemTime), TlsError> {
    let certificate = pki.server(names, SystemTime::now())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = AgentVerifier::new(pki, Arc::clone(&provider))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(certificate.chain, certificate.key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would skip the check of the client's certificate.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok((config, certificate.renew_at))
}

/// Takes certificates of our CA, also those that ended within the last
/// [`RENEWAL_GRACE`]: `peer` tells them apart.
#[derive(Debug)]
struct AgentVerifier(Arc<dyn ClientCertVerifier>);

impl AgentVerifier {
    fn new(pki: &Pki, provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        roots.add(pki.ca().clone())?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .allow_unauthenticated()
            .build()?;
        Ok(Self(verifier))
    }
}

impl ClientCertVerifier for AgentVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let at = match X509Certificate::from_der(end_entity) {
            Ok((_, certificate)) => verification_time(&certificate, now),
            // The inner verifier says what is wrong with it.
            Err(_) => now,
        };
        self.0.verify_client_cert(end_entity, intermediates, at)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// The time at which to check a certificate: now, or its end where that is
/// past by less than the grace.
fn verification_time(certificate: &X509Certificate<'_>, now: UnixTime) -> UnixTime {
    let end = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    let past = now.as_secs().saturating_sub(end);
    if past > 0 && past <= RENEWAL_GRACE.as_secs() {
        UnixTime::since_unix_epoch(Duration::from_secs(end))
    } else {
        now
    }
}

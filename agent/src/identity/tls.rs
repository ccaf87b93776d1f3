//! Whom the agent believes to be the hub.

use std::sync::Arc;
use std::time::Duration;

use lockstep_proto::Digest;
use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WantsClientCert, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore,
    SignatureScheme, WantsVerifier,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// A cluster's clock may be off by this much: the hub judges its own agents'
/// certificates by its own clock, and a wrong time zone or a machine without
/// NTP must not cut a cluster off from the hub that could show it.
const CLOCK_SKEW: Duration = Duration::from_secs(2 * 60 * 60);

/// The one provider, and the versions it is used with.
pub(super) fn versions() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default versions")
}

/// Accepts a hub whose certificate one of `authorities` signed.
pub(super) fn against(
    authorities: &[CertificateDer<'static>],
) -> Result<Arc<dyn ServerCertVerifier>, rustls::Error> {
    Ok(Arc::new(Lenient(webpki(authorities)?)))
}

fn webpki(authorities: &[CertificateDer<'_>]) -> Result<Arc<WebPkiServerVerifier>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone().into_owned())?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))
}

/// What the Web PKI says, but that the clock may be off by [`CLOCK_SKEW`].
#[derive(Debug)]
struct Lenient(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let at = |now| self.0.verify_server_cert(leaf, chain, name, ocsp, now);
        let verdict = at(now);
        match &verdict {
            Err(rustls::Error::InvalidCertificate(error)) => match within_skew(error, now) {
                Some(then) => at(then),
                None => verdict,
            },
            _ => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// The nearest moment at which the certificate is valid, if that is near.
fn within_skew(error: &CertificateError, now: UnixTime) -> Option<UnixTime> {
    let (gap, then) = match *error {
        CertificateError::NotValidYetContext { not_before, .. } => {
            (not_before.as_secs().checked_sub(now.as_secs())?, not_before)
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            (now.as_secs().checked_sub(not_after.as_secs())?, not_after)
        }
        _ => return None,
    };
    (gap <= CLOCK_SKEW.as_secs()).then_some(then)
}

/// Accepts a hub that shows the CA with the pinned key, and a leaf for the
/// name we dialled that exactly this CA signed. Keeps the reason of a refusal,
/// which is lost on the way through the transport.
#[derive(Debug)]
pub(super) struct Pinned {
    pin: [u8; 32],
    /// Checks signatures; knows no roots of its own.
    schemes: rustls::crypto::WebPkiSupportedAlgorithms,
    refusal: Mutex<Option<String>>,
}

impl Pinned {
    pub(super) fn new(pin: [u8; 32]) -> Arc<Self> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        Arc::new(Self {
            pin,
            schemes: provider.signature_verification_algorithms,
            refusal: Mutex::new(None),
        })
    }

    /// Why the hub was not accepted, if it was not.
    pub(super) fn refusal(&self) -> Option<String> {
        self.refusal.lock().clone()
    }

    pub(super) fn client_config(self: &Arc<Self>) -> ConfigBuilder<ClientConfig, WantsClientCert> {
        versions()
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(self) as Arc<dyn ServerCertVerifier>)
    }

    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let authority = chain
            .iter()
            .find(|cert| self.is_pinned(cert))
            .ok_or_else(|| {
                rustls::Error::General("it does not show the CA that the join token pins".into())
            })?;
        Lenient(webpki(std::slice::from_ref(authority))?)
            .verify_server_cert(leaf, chain, name, ocsp, now)
    }

    fn is_pinned(&self, cert: &CertificateDer<'_>) -> bool {
        X509Certificate::from_der(cert)
            .is_ok_and(|(_, cert)| cert.is_ca() && Digest::of(cert.public_key().raw).0 == self.pin)
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.judge(leaf, chain, name, ocsp, now);
        *self.refusal.lock() = verdict.as_ref().err().map(ToString::to_string);
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.schemes)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.schemes)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.supported_schemes()
    }
}

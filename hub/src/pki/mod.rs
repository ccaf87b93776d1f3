//! The hub's certificate authority: who the hub is to agents and people, and
//! who an agent is to the hub.
//!
//! In come names and signing requests, out go certificates. The authority is
//! made on the first start and kept in one file, so that there is never a key
//! without its certificate. Nothing here decides who may have a certificate.

mod authority;
mod client;
mod server;

use std::sync::Arc;

use rcgen::{Issuer, KeyPair};
use rustls_pki_types::CertificateDer;

pub use authority::PkiError;
pub use client::{CsrError, IssuedCertificate};
pub use server::ServerCertificate;

/// The authority. Cheap to clone.
#[derive(Clone)]
pub struct Pki(Arc<Authority>);

struct Authority {
    dir: std::path::PathBuf,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    pin: [u8; 32],
    trust_domain: String,
}

impl Pki {
    /// The CA certificate, PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.0.pem
    }

    /// The CA certificate, DER.
    #[must_use]
    pub fn ca(&self) -> &CertificateDer<'static> {
        &self.0.certificate
    }

    /// SHA-256 of the CA's SubjectPublicKeyInfo: what a join token carries.
    #[must_use]
    pub fn pin(&self) -> [u8; 32] {
        self.0.pin
    }

    /// The trust domain of this hub's identities, made with the CA.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        &self.0.trust_domain
    }
}

#[cfg(test)]
mod tests;

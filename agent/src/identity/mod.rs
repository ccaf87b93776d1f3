//! Who this agent is: a key that is made here and never leaves, and a
//! certificate for it from the hub that names the cluster.
//!
//! In comes a join token, once; out comes an [`Identity`] that dials the hub.
//! The key is written before the token is spent and the certificate together
//! with all that belongs to it in one file, so that a crash between any two
//! steps leaves either no identity or a whole one.

mod enrol;
mod folder;
mod join;
mod renew;
mod source;
mod tls;
mod token;

use std::sync::Arc;
use std::time::SystemTime;

use lockstep_proto::ClusterName;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

pub use enrol::{EnrolError, enrol};
pub use folder::{Folder, Key};
pub use join::{JoinError, join};
pub use renew::{due, renew};
pub use source::{SourceError, TokenSource};
pub use token::{JoinToken, TokenError};

/// A certificate with everything that belongs to it.
pub struct Identity {
    /// The name that the hub knows this cluster by.
    pub cluster: ClusterName,
    /// When this certificate came, by this machine's clock.
    pub received_at: SystemTime,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    /// Of the join token that it began with.
    pub token_id: String,
    chain: Vec<CertificateDer<'static>>,
    authorities: Vec<CertificateDer<'static>>,
    key: Arc<Key>,
}

impl Identity {
    /// How to dial the hub as this cluster.
    ///
    /// # Errors
    /// When the certificate and the key are not of one pair.
    pub fn client_config(&self) -> Result<rustls::ClientConfig, IdentityError> {
        let verifier = tls::against(&self.authorities)
            .map_err(|error| IdentityError::Unusable(error.to_string()))?;
        let key = PrivatePkcs8KeyDer::from(self.key.der()).into();
        tls::versions()
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(self.chain.clone(), key)
            .map_err(|error| IdentityError::Unusable(error.to_string()))
    }
}

/// Why what stands in the data directory is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error(transparent)]
    Disk(#[from] std::io::Error),
    #[error("{path} is not an identity: {cause}; remove it and join again with a new token")]
    Damaged { path: String, cause: String },
    #[error("the certificate cannot be used: {0}")]
    Unusable(String),
}

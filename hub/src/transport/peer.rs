//! Who is at the other end of a connection.

use std::net::SocketAddr;
use std::time::SystemTime;

use lockstep_proto::ClusterName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::pki::Pki;

/// What a verified client certificate says. `identity` is the random id that
/// was minted at enrolment: a certificate whose identity is not the cluster's
/// current one belongs to an agent that has been replaced.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PeerIdentity {
    pub cluster: ClusterName,
    pub identity: String,
}

/// Stands in the extensions of every gRPC request:
/// `request.extensions().get::<PeerInfo>()`.
#[derive(Debug, Clone)]
pub struct PeerInfo {
    pub address: SocketAddr,
    /// Whom the client certificate names; `None` where the peer showed none,
    /// or one that is past its end.
    pub identity: Option<PeerIdentity>,
    /// Whom a certificate names that our CA signed and that ended not too long
    /// ago. Good for renewing it and nothing else: a hub that was away for
    /// longer than certificates last must not lose its fleet.
    pub expired_identity: Option<PeerIdentity>,
}

impl PeerInfo {
    /// Who may renew a certificate over this connection.
    #[must_use]
    pub fn renewing(&self) -> Option<&PeerIdentity> {
        self.identity.as_ref().or(self.expired_identity.as_ref())
    }
}

impl PeerInfo {
    /// Reads who the peer is from the certificate that it showed and that
    /// passed the handshake. `None` where that certificate is no agent's.
    pub(super) fn read(
        address: SocketAddr,
        certificate: Option<&[u8]>,
        pki: &Pki,
        now: SystemTime,
    ) -> Option<Self> {
        let mut peer = Self {
            address,
            identity: None,
            expired_identity: None,
        };
        if let Some(der) = certificate {
            let (_, certificate) = X509Certificate::from_der(der).ok()?;
            let identity = pki.identity(&certificate)?;
            let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
            let end = certificate.validity().not_after.timestamp();
            if u64::try_from(end).ok()? >= now {
                peer.identity = Some(identity);
            } else {
                peer.expired_identity = Some(identity);
            }
        }
        Some(peer)
    }
}

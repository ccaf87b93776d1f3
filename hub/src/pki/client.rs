//! Certificates of agents: written from an identity, and read back to one.

use std::time::{Duration, SystemTime};

use lockstep_proto::ClusterName;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyUsagePurpose, PublicKeyData as _,
    SanType, SubjectPublicKeyInfo,
};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry::OID_X509_SERIALNUMBER;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::Pki;
use super::authority::pem_of;
use crate::transport::PeerIdentity;

/// A day: agents renew by themselves long before, and a stolen key is of use
/// for no longer than the identity behind it.
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// An agent whose clock runs behind must not find its own certificate in the future.
const BACKDATE: Duration = Duration::from_secs(2 * 3600);
/// A signing request is a key, a name and a signature.
const CSR_LIMIT: usize = 8 * 1024;

/// Why a signing request gets no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CsrError {
    #[error("the signing request has {0} bytes, more than {CSR_LIMIT}")]
    TooLarge(usize),
    #[error("the signing request is not a PKCS#10 request in DER")]
    Malformed,
    #[error("the signing request is not signed by the key that it holds")]
    Signature,
    #[error(
        "the signing request's key is of a type that is not taken: use ECDSA P-256, ECDSA P-384 or Ed25519"
    )]
    KeyType,
    #[error("the hub could not make the certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// What an agent is given.
#[derive(Debug, Clone)]
pub struct IssuedCertificate {
    /// The agent's certificate, PEM.
    pub chain_pem: String,
    /// What the agent trusts the hub by, PEM.
    pub ca_pem: String,
    pub expires: SystemTime,
}

impl Pki {
    /// A certificate for `identity` and the key in `csr`, a PKCS#10 request in
    /// DER of which only the key is taken.
    ///
    /// # Errors
    /// [`CsrError`].
    pub fn issue(
        &self,
        identity: &PeerIdentity,
        csr: &[u8],
        now: SystemTime,
    ) -> Result<IssuedCertificate, CsrError> {
        let key = requested_key(csr)?;
        let expires = now + LIFE;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, identity.cluster.as_str());
        params.distinguished_name.push(
            DnType::CustomDnType(vec![2, 5, 4, 5]),
            rcgen::DnValue::PrintableString(identity.identity.as_str().try_into()?),
        );
        let uri = format!(
            "spiffe://{}/cluster/{}",
            self.trust_domain(),
            identity.cluster
        );
        params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = (now - BACKDATE).into();
        params.not_after = expires.into();
        let certificate = params.signed_by(&key, &self.0.issuer)?;
        Ok(IssuedCertificate {
            chain_pem: pem_of(certificate.der()),
            ca_pem: self.ca_pem().to_owned(),
            expires,
        })
    }

    /// The SubjectPublicKeyInfo that a certificate for `csr` would hold, DER.
    ///
    /// # Errors
    /// [`CsrError`], the same as [`Pki::issue`] would give.
    pub fn requested_key(&self, csr: &[u8]) -> Result<Vec<u8>, CsrError> {
        Ok(requested_key(csr)?.subject_public_key_info())
    }

    /// A new certificate for the identity that a call was made with.
    ///
    /// # Errors
    /// [`CsrError`].
    pub fn renew(
        &self,
        identity: &PeerIdentity,
        csr: &[u8],
    ) -> Result<IssuedCertificate, CsrError> {
        self.issue(identity, csr, SystemTime::now())
    }

    /// Whom a verified client certificate names; `None` where it is not one of an agent.
    #[must_use]
    pub fn identity(&self, certificate: &X509Certificate<'_>) -> Option<PeerIdentity> {
        let prefix = format!("spiffe://{}/cluster/", self.trust_domain());
        let names = certificate.subject_alternative_name().ok()??;
        let [GeneralName::URI(uri)] = names.value.general_names.as_slice() else {
            return None;
        };
        let cluster = ClusterName::new(uri.strip_prefix(&prefix)?).ok()?;
        let mut serials = certificate.subject().iter_by_oid(&OID_X509_SERIALNUMBER);
        let identity = serials.next()?.as_str().ok()?.to_owned();
        Some(PeerIdentity { cluster, identity })
    }
}

fn requested_key(csr: &[u8]) -> Result<SubjectPublicKeyInfo, CsrError> {
    if csr.len() > CSR_LIMIT {
        return Err(CsrError::TooLarge(csr.len()));
    }
    let (rest, request) =
        X509CertificationRequest::from_der(csr).map_err(|_| CsrError::Malformed)?;
    if !rest.is_empty() {
        return Err(CsrError::Malformed);
    }
    let raw = request.certification_request_info.subject_pki.raw;
    let key = SubjectPublicKeyInfo::from_der(raw).map_err(|_| CsrError::KeyType)?;
    let accepted = [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
    ];
    if !accepted.contains(&key.algorithm()) {
        return Err(CsrError::KeyType);
    }
    request
        .verify_signature()
        .map_err(|_| CsrError::Signature)?;
    Ok(key)
}

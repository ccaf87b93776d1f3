//! The hub's own certificate: for the names that it is dialled by, made anew
//! when they change or its end comes near.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::Pki;
use super::authority::{BACKDATE, PkiError};
use crate::private_file;

const LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// Made anew this long before its end: an agent whose clock runs ahead by
/// days still trusts it.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);

/// What the hub shows in a TLS handshake.
pub struct ServerCertificate {
    /// The hub's certificate, then the CA's: an agent that joins has nothing
    /// but the pin of the CA's key to check it by.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    /// When it should be asked for again.
    pub renew_at: SystemTime,
}

impl Pki {
    /// The certificate for `names` (DNS names and IP addresses): the one at
    /// hand where it fits, else a new one.
    ///
    /// # Errors
    /// [`PkiError`].
    pub fn server(
        &self,
        names: &BTreeSet<String>,
        now: SystemTime,
    ) -> Result<ServerCertificate, PkiError> {
        let path = self.0.dir.join("server.pem");
        let io = |cause| PkiError::Io {
            path: path.clone(),
            cause,
        };
        if let Some(pem) = private_file::read(&path).map_err(io)?
            && let Some(at_hand) = self.fitting(&pem, names, now)
        {
            return Ok(at_hand);
        }
        let pem = self.make(names, now)?;
        private_file::write(&path, pem.as_bytes()).map_err(io)?;
        tracing::info!(names = ?names, "made a server certificate");
        self.fitting(&pem, names, now)
            .ok_or(PkiError::Make(rcgen::Error::CouldNotParseCertificate))
    }

    fn fitting(
        &self,
        pem: &str,
        names: &BTreeSet<String>,
        now: SystemTime,
    ) -> Option<ServerCertificate> {
        let leaf = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok()?;
        let (_, parsed) = X509Certificate::from_der(&leaf).ok()?;
        let (_, ca) = X509Certificate::from_der(self.ca()).ok()?;
        parsed.verify_signature(Some(ca.public_key())).ok()?;
        let until = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
        let renew_at = SystemTime::UNIX_EPOCH + Duration::from_secs(until) - RENEW_BEFORE;
        (renew_at > now && names_of(&parsed)? == *names).then(|| ServerCertificate {
            chain: vec![leaf.clone(), self.ca().clone()],
            key,
            renew_at,
        })
    }

    fn make(&self, names: &BTreeSet<String>, now: SystemTime) -> Result<String, PkiError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "lockstep-hub");
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into()?),
            });
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = (now - BACKDATE).into();
        params.not_after = (now + LIFE).into();
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.0.issuer)?;
        Ok(certificate.pem() + &key.serialize_pem())
    }
}

fn names_of(certificate: &X509Certificate<'_>) -> Option<BTreeSet<String>> {
    let names = certificate.subject_alternative_name().ok()??;
    names
        .value
        .general_names
        .iter()
        .map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => match bytes.len() {
                4 => Some(IpAddr::from(<[u8; 4]>::try_from(*bytes).ok()?).to_string()),
                16 => Some(IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?).to_string()),
                _ => None,
            },
            _ => None,
        })
        .collect()
}

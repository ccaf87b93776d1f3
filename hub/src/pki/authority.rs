//! Makes the certificate authority on the first start and reads it on others.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::{Authority, Pki};
use crate::private_file;

/// Ten years: a new authority means that every agent joins again.
const LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Certificates of the hub are valid from a while ago, because an agent checks
/// them by its own clock.
pub(super) const BACKDATE: Duration = Duration::from_secs(24 * 3600);

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("cannot read or write {path}: {cause}")]
    Io {
        path: PathBuf,
        cause: std::io::Error,
    },
    #[error(
        "{path} does not hold the hub's certificate authority ({cause}): restore it from a backup, \
         or move it away to start with a new authority, which every agent then has to join again"
    )]
    Unreadable { path: PathBuf, cause: String },
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

impl Pki {
    /// Reads the authority in `dir`, or makes it.
    ///
    /// # Errors
    /// [`PkiError`]; a damaged authority is never replaced.
    pub fn open(dir: &Path, now: SystemTime) -> Result<Self, PkiError> {
        let path = dir.join("ca.pem");
        let io = |cause| PkiError::Io {
            path: path.clone(),
            cause,
        };
        private_file::make_dir(dir).map_err(io)?;
        if let Some(pem) = private_file::read(&path).map_err(io)? {
            return Self::parse(dir, &pem).map_err(|cause| PkiError::Unreadable { path, cause });
        }
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let certificate = params(&trust_domain(), now)?.self_signed(&key)?;
        let pem = certificate.pem() + &key.serialize_pem();
        private_file::write(&path, pem.as_bytes()).map_err(io)?;
        tracing::info!(path = %path.display(), "made a certificate authority");
        Self::parse(dir, &pem).map_err(|cause| PkiError::Unreadable { path, cause })
    }

    fn parse(dir: &Path, pem: &str) -> Result<Self, String> {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| format!("no certificate: {error}"))?;
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| format!("no key: {error}"))?;
        let key = KeyPair::try_from(&key).map_err(|error| format!("no key: {error}"))?;
        let (_, parsed) = X509Certificate::from_der(&certificate)
            .map_err(|error| format!("no certificate: {error}"))?;
        if parsed.public_key().raw != rcgen::PublicKeyData::subject_public_key_info(&key) {
            return Err("the key is not the certificate's".to_owned());
        }
        let trust_domain = spiffe_domain(&parsed).ok_or("the certificate names no trust domain")?;
        let pin = Sha256::digest(parsed.public_key().raw).into();
        let issuer =
            Issuer::from_ca_cert_der(&certificate, key).map_err(|error| error.to_string())?;
        let pem = pem_of(&certificate);
        Ok(Self(Arc::new(Authority {
            dir: dir.to_owned(),
            issuer,
            pem,
            pin,
            trust_domain,
            certificate,
        })))
    }
}

/// A name that no other hub has, so that an identity of one means nothing to another.
fn trust_domain() -> String {
    format!("{}.lockstep", hex::encode(rand::random::<[u8; 8]>()))
}

fn params(trust_domain: &str, now: SystemTime) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    let name = format!("Lockstep hub {trust_domain}");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![SanType::URI(format!("spiffe://{trust_domain}").try_into()?)];
    // It signs leaves and no further authorities.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + LIFE).into();
    Ok(params)
}

fn spiffe_domain(certificate: &X509Certificate<'_>) -> Option<String> {
    let names = certificate.subject_alternative_name().ok()??;
    names
        .value
        .general_names
        .iter()
        .find_map(|name| match name {
            GeneralName::URI(uri) => Some(uri.strip_prefix("spiffe://")?.to_owned()),
            _ => None,
        })
}

/// PEM of a certificate, 64 characters a line.
pub(super) fn pem_of(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for start in (0..text.len()).step_by(64) {
        pem.push_str(&text[start..text.len().min(start + 64)]);
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

//! `DATA-DIR/identity`: the key, and one file with the certificate and all
//! that belongs to it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lockstep_proto::ClusterName;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{Identity, IdentityError};
use crate::disk;

/// The agent's private key. Neither prints nor serialises but to its file.
pub struct Key(KeyPair);

impl Key {
    /// A certificate signing request, DER. The hub takes only the key of it.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn request(&self) -> Result<Vec<u8>, IdentityError> {
        CertificateParams::default()
            .serialize_request(&self.0)
            .map(|request| request.der().to_vec())
            .map_err(|error| IdentityError::Unusable(error.to_string()))
    }

    pub(super) fn der(&self) -> Vec<u8> {
        self.0.serialize_der()
    }
}

/// What the hub answered, as it is kept.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    cluster: String,
    /// PEM, leaf first.
    certificate_chain: String,
    /// PEM.
    ca_bundle: String,
    token_id: String,
    /// Seconds since 1970, by this machine's clock.
    received_at: u64,
}

/// Where the identity is kept.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Opens, and if need be makes, `DATA-DIR/identity`.
    ///
    /// # Errors
    /// What the file system says, with the path.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join("identity");
        disk::folder(&path)?;
        Ok(Self { path })
    }

    fn key_path(&self) -> PathBuf {
        self.path.join("key.pem")
    }

    fn record_path(&self) -> PathBuf {
        self.path.join("identity.json")
    }

    /// Whether a key was made before, and so perhaps a token was sent before.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.key_path().exists()
    }

    /// The key, made and made durable on first use.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn key(&self) -> Result<Key, IdentityError> {
        let path = self.key_path();
        match fs::read_to_string(&path) {
            Ok(pem) => KeyPair::from_pem(&pem)
                .map(Key)
                .map_err(|error| damaged(&path, &error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
                    .map_err(|error| IdentityError::Unusable(error.to_string()))?;
                disk::replace(&path, key.serialize_pem().as_bytes())?;
                Ok(Key(key))
            }
            Err(error) => Err(disk::at(&path)(error).into()),
        }
    }

    /// The identity that is kept, if there is one.
    ///
    /// # Errors
    /// [`IdentityError::Damaged`] names the file that a person has to remove.
    pub fn load(&self) -> Result<Option<Identity>, IdentityError> {
        let path = self.record_path();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(disk::at(&path)(error).into()),
        };
        if !self.has_key() {
            return Err(damaged(&path, &"the key beside it is gone"));
        }
        let record: Record =
            serde_json::from_slice(&bytes).map_err(|error| damaged(&path, &error))?;
        let identity = self.identity(record);
        identity.map(Some).map_err(|error| damaged(&path, &error))
    }

    /// Keeps what the hub answered, and only if it can be used.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn save(
        &self,
        cluster: String,
        certificate_chain: String,
        ca_bundle: String,
        token_id: String,
        now: SystemTime,
    ) -> Result<Identity, IdentityError> {
        let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH);
        let record = Record {
            cluster,
            certificate_chain,
            ca_bundle,
            token_id,
            received_at: since_1970.unwrap_or_default().as_secs(),
        };
        let bytes = serde_json::to_vec_pretty(&record).expect("a record is plain text");
        let identity = self.identity(record)?;
        identity.client_config()?;
        disk::replace(&self.record_path(), &bytes)?;
        Ok(identity)
    }

    /// Keeps a renewed certificate of the same identity.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn renewed(
        &self,
        old: &Identity,
        certificate_chain: String,
        ca_bundle: String,
        now: SystemTime,
    ) -> Result<Identity, IdentityError> {
        let (cluster, token_id) = (old.cluster.to_string(), old.token_id.clone());
        self.save(cluster, certificate_chain, ca_bundle, token_id, now)
    }

    fn identity(&self, record: Record) -> Result<Identity, IdentityError> {
        let unusable = |what: &str, error: &dyn std::fmt::Display| {
            IdentityError::Unusable(format!("{what}: {error}"))
        };
        let certificates = |what: &str, pem: &str| {
            CertificateDer::pem_slice_iter(pem.as_bytes())
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| unusable(what, &error))
        };
        let chain = certificates("certificate chain", &record.certificate_chain)?;
        let authorities = certificates("CA bundle", &record.ca_bundle)?;
        if authorities.is_empty() {
            return Err(unusable("CA bundle", &"it is empty"));
        }
        let leaf = chain
            .first()
            .ok_or_else(|| unusable("certificate chain", &"it is empty"))?;
        let (_, leaf) =
            X509Certificate::from_der(leaf).map_err(|error| unusable("certificate", &error))?;
        let time = |seconds: i64| {
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap_or_default())
        };
        Ok(Identity {
            cluster: ClusterName::new(&record.cluster)
                .map_err(|error| unusable("cluster", &error))?,
            received_at: SystemTime::UNIX_EPOCH + Duration::from_secs(record.received_at),
            not_before: time(leaf.validity().not_before.timestamp()),
            not_after: time(leaf.validity().not_after.timestamp()),
            token_id: record.token_id,
            chain,
            authorities,
            key: Arc::new(self.key()?),
        })
    }
}

fn damaged(path: &Path, cause: &dyn std::fmt::Display) -> IdentityError {
    IdentityError::Damaged {
        path: path.display().to_string(),
        cause: cause.to_string(),
    }
}

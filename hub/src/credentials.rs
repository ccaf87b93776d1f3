//! Secrets that the hub needs itself: passwords for Git, secrets of webhooks.
//!
//! They come in once, lie in the database sealed under a key that stands in a
//! file beside it (a copy of the database alone opens nothing), and go to the
//! room that sends or checks them, as a [`Secret`]. No way leads out of here to
//! people.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use futures::future::BoxFuture;
use lockstep_proto::names::check_label;
use lockstep_proto::v1::create_credential_request::Secret as Given;
use lockstep_proto::v1::credential_spec::Type;
use lockstep_proto::{NameError, v1};
use tonic::Status;
use zeroize::Zeroizing;

use crate::git::{BasicAuth, CredentialSource};
use crate::private_file;
use crate::secret::Secret;
use crate::status::Fleet;
use crate::store::{CredentialRow, StoreError};

/// A personal access token has a hundred bytes, a JWT a few thousand.
const SECRET_LIMIT: usize = 16 * 1024;
const USERNAME_LIMIT: usize = 256;
/// Of the sealed form: this byte, a nonce, the ciphertext and its tag.
const SEALED_VERSION: u8 = 1;

/// Why there is no credential.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error("the credential's name: {0}")]
    Name(#[from] NameError),
    #[error("credential {name:?}: {cause}")]
    Invalid { name: String, cause: &'static str },
    #[error("credential {0:?} does not exist: make it with `lockstep credential create {0}`")]
    Missing(String),
    #[error(
        "credential {0:?} was sealed under another key than the one in DIR/secret.key: restore \
         that file from the backup that the database comes from, or make the credential again \
         with `lockstep credential create {0}`"
    )]
    Sealed(String),
    #[error("cannot read or write the key of the credentials, {path}: {cause}")]
    Key { path: PathBuf, cause: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<CredentialError> for Status {
    fn from(error: CredentialError) -> Self {
        let text = error.to_string();
        match error {
            CredentialError::Name(_) | CredentialError::Invalid { .. } => {
                Self::invalid_argument(text)
            }
            CredentialError::Missing(_) => Self::not_found(text),
            CredentialError::Sealed(_) => Self::failed_precondition(text),
            CredentialError::Key { .. } | CredentialError::Store(_) => Self::unavailable(text),
        }
    }
}

/// A credential, opened.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Empty for a token.
    pub username: String,
    /// The password, or the token.
    pub secret: Secret,
}

/// Seals and opens credentials. Cheap to clone.
#[derive(Clone)]
pub struct Credentials {
    fleet: Fleet,
    key: Arc<SealingKey>,
}

impl Credentials {
    /// Reads the key in `path`, or makes it.
    ///
    /// # Errors
    /// [`CredentialError::Key`].
    pub fn open(fleet: Fleet, path: &Path) -> Result<Self, CredentialError> {
        Ok(Self {
            fleet,
            key: Arc::new(SealingKey::open(path)?),
        })
    }

    /// Makes a credential, or replaces the one of that name.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub async fn create(
        &self,
        request: v1::CreateCredentialRequest,
    ) -> Result<(), CredentialError> {
        let name = request.name;
        check_label(&name)?;
        let (kind, username, secret) = match request.secret {
            Some(Given::Basic(basic)) => (Type::Basic, basic.username, basic.password),
            Some(Given::Token(token)) => (Type::Token, String::new(), token.token),
            None => (Type::Unspecified, String::new(), String::new()),
        };
        let secret = Secret::new(secret);
        if let Err(cause) = check(kind, &username, secret.expose()) {
            return Err(CredentialError::Invalid { name, cause });
        }
        let sealed = self.key.seal(&context(&name, kind, &username), &secret);
        let row = CredentialRow {
            sealed: sealed.ok_or_else(|| CredentialError::Sealed(name.clone()))?,
            uid: hex::encode(rand::random::<[u8; 16]>()),
            name,
            kind,
            username,
            created_at: crate::store::millis(SystemTime::now()),
        };
        Ok(self.fleet.put_credential(row).await?)
    }

    /// Opens the credential `name`.
    ///
    /// # Errors
    /// [`CredentialError`], by name.
    pub async fn get(&self, name: &str) -> Result<Credential, CredentialError> {
        let row = self.fleet.store().credential(name.to_owned()).await?;
        let row = row.ok_or_else(|| CredentialError::Missing(name.to_owned()))?;
        let context = context(&row.name, row.kind, &row.username);
        let secret = self.key.unseal(&context, &row.sealed);
        Ok(Credential {
            secret: secret.ok_or_else(|| CredentialError::Sealed(row.name))?,
            username: row.username,
        })
    }
}

impl CredentialSource for Credentials {
    fn basic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<BasicAuth, String>> {
        Box::pin(async move {
            let credential = self.get(name).await.map_err(|error| error.to_string())?;
            Ok(BasicAuth {
                username: credential.username,
                password: credential.secret,
            })
        })
    }
}

/// What a sealed secret is bound to, so that rows cannot be exchanged.
fn context(name: &str, kind: Type, username: &str) -> Vec<u8> {
    format!("lockstep credential\0{name}\0{}\0{username}", kind as i32).into_bytes()
}

fn check(kind: Type, username: &str, secret: &str) -> Result<(), &'static str> {
    let printable = |text: &str| !text.chars().any(char::is_control);
    if kind == Type::Unspecified {
        Err("neither a password nor a token is given")
    } else if secret.is_empty() {
        Err("the secret is empty")
    } else if secret.len() > SECRET_LIMIT {
        Err("the secret has more than 16 KiB")
    } else if !printable(secret) {
        Err("the secret holds a line break or another control character")
    } else if kind == Type::Basic && username.is_empty() {
        Err("the user name is empty")
    } else if username.len() > USERNAME_LIMIT {
        Err("the user name has more than 256 bytes")
    } else if username.contains(':') || !printable(username) {
        Err("a user name cannot hold a colon or a control character (RFC 7617)")
    } else {
        Ok(())
    }
}

/// AES-256-GCM under a key in a file.
struct SealingKey(RandomizedNonceKey);

impl SealingKey {
    fn open(path: &Path) -> Result<Self, CredentialError> {
        let failed = |cause| CredentialError::Key {
            path: path.to_owned(),
            cause,
        };
        let text = match private_file::read(path).map_err(failed)? {
            Some(text) => Zeroizing::new(text),
            None => {
                let key = Zeroizing::new(rand::random::<[u8; 32]>());
                let text = Zeroizing::new(hex::encode(*key));
                private_file::write(path, text.as_bytes()).map_err(failed)?;
                text
            }
        };
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim(), &mut *key)
            .map_err(|_| failed(io::Error::other("it does not hold 64 hexadecimal digits")))?;
        RandomizedNonceKey::new(&AES_256_GCM, &*key)
            .map(Self)
            .map_err(|_| failed(io::Error::other("it holds no key for AES-256")))
    }

    fn seal(&self, context: &[u8], secret: &Secret) -> Option<Vec<u8>> {
        let mut text = secret.expose().as_bytes().to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(context), &mut text)
            .ok()?;
        Some([&[SEALED_VERSION], nonce.as_ref().as_slice(), &text].concat())
    }

    fn unseal(&self, context: &[u8], sealed: &[u8]) -> Option<Secret> {
        let (&[SEALED_VERSION], rest) = sealed.split_first_chunk()? else {
            return None;
        };
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut text = Zeroizing::new(text.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let open = self
            .0
            .open_in_place(nonce, Aad::from(context), &mut text)
            .ok()?;
        std::str::from_utf8(open).ok().map(Secret::new)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::status::FleetOptions;
    use crate::store::Store;

    fn key(dir: &tempfile::TempDir) -> SealingKey {
        SealingKey::open(&dir.path().join("secret.key")).unwrap()
    }

    #[test]
    fn a_sealed_secret_opens_under_the_same_key_for_the_same_credential_only() {
        let dir = tempfile::tempdir().unwrap();
        let secret = Secret::new("hunter2");
        let bound = context("shop", Type::Basic, "bot");
        let sealed = key(&dir).seal(&bound, &secret).unwrap();
        assert!(!sealed.windows(7).any(|at| at == b"hunter2"));
        let again = key(&dir).seal(&bound, &secret).unwrap();
        assert_ne!(sealed, again, "a fresh nonce each time");

        let opened = key(&dir).unseal(&bound, &sealed).unwrap();
        assert_eq!(opened.expose(), "hunter2");
        for other in [
            context("other", Type::Basic, "bot"),
            context("shop", Type::Token, "bot"),
            context("shop", Type::Basic, "root"),
        ] {
            assert!(key(&dir).unseal(&other, &sealed).is_none());
        }
        let elsewhere = tempfile::tempdir().unwrap();
        assert!(key(&elsewhere).unseal(&bound, &sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key(&dir).unseal(&bound, &changed).is_none());
            assert!(key(&dir).unseal(&bound, &sealed[..at]).is_none());
        }
    }

    #[test]
    fn the_key_is_private_and_a_damaged_one_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret.key");
        key(&dir);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&path, "short").unwrap();
        let error = SealingKey::open(&path).err().unwrap().to_string();
        assert!(error.contains("secret.key"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "short");
    }

    #[test]
    fn what_cannot_be_sent_to_a_forge_is_refused() {
        assert_eq!(check(Type::Basic, "bot", "x"), Ok(()));
        assert_eq!(check(Type::Token, "", "x"), Ok(()));
        let long = "x".repeat(SECRET_LIMIT + 1);
        for (kind, username, secret) in [
            (Type::Unspecified, "", "x"),
            (Type::Basic, "", "x"),
            (Type::Basic, "a:b", "x"),
            (Type::Basic, "a\nb", "x"),
            (Type::Basic, "bot", ""),
            (Type::Token, "", "x\n"),
            (Type::Token, "", &long),
        ] {
            check(kind, username, secret).unwrap_err();
        }
    }

    #[tokio::test]
    async fn a_credential_survives_a_restart_and_can_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let open = async || {
            let store = Store::open(dir.path().join("lockstep.db")).unwrap();
            let fleet = Fleet::load(store, FleetOptions::default()).await.unwrap();
            Credentials::open(fleet, &dir.path().join("secret.key")).unwrap()
        };
        let basic = |password: &str| v1::CreateCredentialRequest {
            name: "shop-git".to_owned(),
            secret: Some(Given::Basic(v1::BasicCredential {
                username: "bot".to_owned(),
                password: password.to_owned(),
            })),
        };
        let credentials = open().await;
        credentials.create(basic("one")).await.unwrap();
        credentials.create(basic("two")).await.unwrap();
        drop(credentials);
        let credential = open().await.get("shop-git").await.unwrap();
        assert_eq!(credential.username, "bot");
        assert_eq!(credential.secret.expose(), "two");
        let missing = open().await.get("nope").await.unwrap_err().to_string();
        assert!(missing.contains("lockstep credential create nope"));
    }
}

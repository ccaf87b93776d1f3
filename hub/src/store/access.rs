//! Who may join, call or be called: join tokens, access tokens, credentials.
//! Secrets arrive here hashed or sealed.

use std::collections::BTreeMap;

use lockstep_proto::{Digest, v1};
use prost::Message as _;
use rusqlite::{Row, params};

use super::{AccessTokenRow, CredentialRow, JoinTokenRow, Store, StoreError, Tx};

/// What a join token is good for at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinTokenState {
    Live,
    Used,
    Expired,
    Revoked,
}

impl JoinTokenRow {
    /// `now` in milliseconds since the epoch.
    #[must_use]
    pub fn state(&self, now: i64) -> JoinTokenState {
        if self.used_at.is_some() {
            JoinTokenState::Used
        } else if self.revoked_at.is_some() {
            JoinTokenState::Revoked
        } else if now >= self.expires_at {
            JoinTokenState::Expired
        } else {
            JoinTokenState::Live
        }
    }
}

const TOKEN: &str = "SELECT id, hash, cluster, labels, created_at, expires_at, used_at, revoked_at,
    used_by, used_identity FROM join_tokens";

impl Tx<'_> {
    pub fn put_join_token(&self, token: &JoinTokenRow) -> Result<(), StoreError> {
        let labels = v1::JoinTokenSpec {
            cluster: String::new(),
            labels: token.labels.clone(),
        };
        self.0
            .prepare_cached(
                "INSERT OR REPLACE INTO join_tokens
                   (id, hash, cluster, labels, created_at, expires_at, used_at, revoked_at,
                    used_by, used_identity)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                token.id,
                token.hash.0,
                token.cluster.as_str(),
                labels.encode_to_vec(),
                token.created_at,
                token.expires_at,
                token.used_at,
                token.revoked_at,
                token.used_by.map(|key| key.0),
                token.used_identity
            ])?;
        Ok(())
    }

    pub fn delete_join_token(&self, id: &str) -> Result<bool, StoreError> {
        Ok(self
            .0
            .prepare_cached("DELETE FROM join_tokens WHERE id = ?1")?
            .execute([id])?
            > 0)
    }

    pub fn each_join_token(&self, mut each: impl FnMut(JoinTokenRow)) -> Result<(), StoreError> {
        let mut statement = self.0.prepare(&format!("{TOKEN} ORDER BY id"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            each(join_token(row)?);
        }
        Ok(())
    }

    pub fn put_credential(&self, row: &CredentialRow) -> Result<(), StoreError> {
        self.0
            .prepare_cached(
                "INSERT OR REPLACE INTO credentials (name, uid, type, username, sealed, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                row.name,
                row.uid,
                row.kind as i32,
                row.username,
                row.sealed,
                row.created_at
            ])?;
        Ok(())
    }

    pub fn delete_credential(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self
            .0
            .prepare_cached("DELETE FROM credentials WHERE name = ?1")?
            .execute([name])?
            > 0)
    }

    pub fn each_credential(&self, mut each: impl FnMut(CredentialRow)) -> Result<(), StoreError> {
        let mut statement = self.0.prepare(&format!("{CREDENTIAL} ORDER BY name"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            each(credential(row)?);
        }
        Ok(())
    }
}

impl Store {
    /// A credential with its sealed secret.
    pub async fn credential(&self, name: String) -> Result<Option<CredentialRow>, StoreError> {
        self.read(move |tx| {
            let mut statement =
                tx.0.prepare_cached(&format!("{CREDENTIAL} WHERE name = ?1"))?;
            let mut rows = statement.query([name])?;
            rows.next()?.map(credential).transpose()
        })
        .await
    }

    pub async fn put_access_token(&self, token: AccessTokenRow) -> Result<(), StoreError> {
        self.write(move |tx| {
            tx.0.prepare_cached(
                "INSERT OR REPLACE INTO access_tokens (id, hash, subject, created_at)
                 VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![
                token.id,
                token.hash.0,
                token.subject,
                token.created_at
            ])?;
            Ok(())
        })
        .await
    }

    /// All access tokens: there are few.
    pub async fn access_tokens(&self) -> Result<Vec<AccessTokenRow>, StoreError> {
        self.read(|tx| {
            let mut statement = tx
                .0
                .prepare("SELECT id, hash, subject, created_at FROM access_tokens ORDER BY id")?;
            let rows = statement.query_map([], |row| {
                Ok(AccessTokenRow {
                    id: row.get(0)?,
                    hash: Digest(row.get(1)?),
                    subject: row.get(2)?,
                    created_at: row.get(3)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

const CREDENTIAL: &str = "SELECT name, uid, type, username, sealed, created_at FROM credentials";

fn credential(row: &Row<'_>) -> Result<CredentialRow, StoreError> {
    Ok(CredentialRow {
        name: row.get(0)?,
        uid: row.get(1)?,
        kind: v1::credential_spec::Type::try_from(row.get::<_, i32>(2)?)
            .map_err(|error| StoreError::corrupt("credential", error))?,
        username: row.get(3)?,
        sealed: row.get(4)?,
        created_at: row.get(5)?,
    })
}

fn join_token(row: &Row<'_>) -> Result<JoinTokenRow, StoreError> {
    let labels: Vec<u8> = row.get(3)?;
    let labels: BTreeMap<String, String> = v1::JoinTokenSpec::decode(&labels[..])
        .map_err(|error| StoreError::corrupt("join token", error))?
        .labels;
    Ok(JoinTokenRow {
        id: row.get(0)?,
        hash: Digest(row.get(1)?),
        cluster: super::rows::cluster(row.get_ref(2)?)?,
        labels,
        created_at: row.get(4)?,
        expires_at: row.get(5)?,
        used_at: row.get(6)?,
        revoked_at: row.get(7)?,
        used_by: row.get::<_, Option<[u8; 32]>>(8)?.map(Digest),
        used_identity: row.get(9)?,
    })
}

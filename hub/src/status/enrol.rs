//! Joining, and the secrets' public side: join tokens and credentials are on
//! disk hashed or sealed, and here without even that.

use std::sync::Arc;

use lockstep_proto::{ClusterName, Digest};
use subtle::ConstantTimeEq as _;

use super::apply::{ApplyError, Step, plan};
use super::model::{Credential, Meta, Model};
use super::written::cluster_resource;
use super::{Effects, Fleet};
use crate::store::{CredentialRow, JoinTokenRow, JoinTokenState, StoreError, Tx};

/// A join token that somebody wants to trade for a certificate.
#[derive(Debug, Clone)]
pub struct Enrolment {
    pub token_id: String,
    pub token_hash: Digest,
    /// Digest of the public key that the certificate is for.
    pub key: Digest,
    /// Fresh and random: what the certificate is to carry.
    pub identity: String,
}

/// What a join token was traded for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    pub cluster: ClusterName,
    /// The identity that the certificate must carry.
    pub identity: String,
}

/// Why a join token was refused.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    #[error("the hub knows no such join token: make a new one with `lockstep token create`")]
    Unknown,
    #[error(
        "the join token was used already, and works once: make a new one with \
         `lockstep token create`"
    )]
    Used,
    #[error("the join token has expired: make a new one with `lockstep token create`")]
    Expired,
    #[error("the join token was revoked: make a new one with `lockstep token create`")]
    Revoked,
    #[error(transparent)]
    Store(#[from] StoreError),
}

struct Join {
    enrolled: Enrolled,
    /// None where the same key asked again.
    new: Option<(JoinTokenRow, Vec<Step>)>,
}

impl Fleet {
    /// Trades a join token: marks it as used, makes the Cluster if there is
    /// none, gives it the token's labels and the new identity. The same key
    /// may ask again while the token has not expired, in case the answer was
    /// lost, and gets the same identity.
    ///
    /// # Errors
    /// [`EnrolError`]; then nothing changed.
    pub async fn enrol(&self, enrolment: Enrolment) -> Result<Enrolled, EnrolError> {
        let (planner, applier) = (self.clone(), self.clone());
        let join = self
            .0
            .store
            .transact(
                move |tx| {
                    let now = planner.now();
                    planner.read(|model| join(model, tx, enrolment, now))
                },
                move |join: &Join| {
                    if let Some((token, steps)) = &join.new {
                        applier.installed(join, token, steps);
                    }
                },
            )
            .await?;
        Ok(join.enrolled)
    }

    fn installed(&self, join: &Join, token: &JoinTokenRow, steps: &[Step]) {
        self.install(steps);
        self.change(|model| {
            model.put_join_token(token.clone());
            let identity = join.enrolled.identity.as_str().into();
            model.change_cluster(&join.enrolled.cluster, |cluster, _| {
                cluster.identity = identity;
            });
        });
        self.mark(&Effects {
            clusters: [join.enrolled.cluster.clone()].into(),
            ..Effects::default()
        });
    }

    /// The identity that a cluster's certificate must carry. None where the
    /// cluster does not exist or never joined.
    #[must_use]
    pub fn identity(&self, cluster: &ClusterName) -> Option<String> {
        self.read(|model| {
            let identity = &model.clusters.get(cluster.as_str())?.identity;
            (!identity.is_empty()).then(|| identity.to_string())
        })
    }

    /// # Errors
    /// [`StoreError`].
    pub async fn put_join_token(&self, token: JoinTokenRow) -> Result<(), StoreError> {
        let (fleet, row) = (self.clone(), token.clone());
        self.0
            .store
            .write_then(
                move |tx| tx.put_join_token(&row),
                move |()| fleet.change(|model| model.put_join_token(token)),
            )
            .await
    }

    /// False where there is no such token.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revoke_join_token(&self, id: &str) -> Result<bool, StoreError> {
        let (planner, applier, id) = (self.clone(), self.clone(), id.to_owned());
        let revoked = self
            .0
            .store
            .transact(
                move |tx| {
                    let found = planner.read(|model| model.join_tokens.get(id.as_str()).cloned());
                    let Some(mut token) = found else {
                        return Ok(None);
                    };
                    token.revoked_at.get_or_insert(planner.now());
                    tx.put_join_token(&token)?;
                    Ok::<_, StoreError>(Some(token))
                },
                move |token| {
                    if let Some(token) = token.clone() {
                        applier.change(|model| model.put_join_token(token));
                    }
                },
            )
            .await?;
        Ok(revoked.is_some())
    }

    /// Makes or replaces a credential. Repositories that name it are looked
    /// at again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_credential(&self, row: CredentialRow) -> Result<(), StoreError> {
        let (fleet, stored) = (self.clone(), row.clone());
        self.0
            .store
            .write_then(
                move |tx| tx.put_credential(&stored),
                move |()| {
                    let users = fleet.change(|model| {
                        model.put_credential(&row);
                        model.users_of_credential(&row.name)
                    });
                    fleet.0.dirty_repositories.mark_all(users);
                },
            )
            .await
    }
}

fn join(model: &Model, tx: &Tx<'_>, enrolment: Enrolment, now: i64) -> Result<Join, EnrolError> {
    let token = model
        .join_tokens
        .get(enrolment.token_id.as_str())
        .filter(|token| bool::from(token.hash.0.ct_eq(&enrolment.token_hash.0)))
        .ok_or(EnrolError::Unknown)?;
    let name = token.cluster.clone();
    let known = model.clusters.get(name.as_str());
    match token.state(now) {
        JoinTokenState::Live => {}
        JoinTokenState::Revoked => return Err(EnrolError::Revoked),
        JoinTokenState::Expired => return Err(EnrolError::Expired),
        JoinTokenState::Used => {
            let same_key = token.used_by == Some(enrolment.key);
            let current = known.is_some_and(|c| *c.identity == *token.used_identity);
            if same_key && current && token.revoked_at.is_none() && now < token.expires_at {
                return Ok(Join {
                    enrolled: Enrolled {
                        cluster: name,
                        identity: token.used_identity.clone(),
                    },
                    new: None,
                });
            }
            return Err(EnrolError::Used);
        }
    }
    let nothing = Meta::default();
    let meta = known.map_or(&nothing, |cluster| &cluster.meta);
    let mut labels = meta.labels.to_map();
    labels.extend(token.labels.clone());
    let resource = cluster_resource(name.as_str(), meta, labels);
    let steps = plan(model, vec![resource], now).map_err(|error| match error {
        ApplyError::Store(error) => error,
        other => StoreError::corrupt("join token", other),
    })?;
    for step in &steps {
        tx.put_resource(&step.row)?;
    }
    tx.put_identity(name.as_str(), &enrolment.identity)?;
    let token = JoinTokenRow {
        used_at: Some(now),
        used_by: Some(enrolment.key),
        used_identity: enrolment.identity.clone(),
        ..token.clone()
    };
    tx.put_join_token(&token)?;
    Ok(Join {
        enrolled: Enrolled {
            cluster: name,
            identity: enrolment.identity,
        },
        new: Some((token, steps)),
    })
}

impl Model {
    pub fn put_join_token(&mut self, token: JoinTokenRow) {
        let id: Arc<str> = token.id.as_str().into();
        let version = self.next_version();
        self.changed.join_tokens.changed(id.clone(), version);
        self.join_tokens.insert(id, token);
    }

    pub fn put_credential(&mut self, row: &CredentialRow) {
        let name: Arc<str> = row.name.as_str().into();
        let version = self.next_version();
        self.changed.credentials.changed(name.clone(), version);
        self.credentials.insert(
            name,
            Credential {
                uid: row.uid.clone(),
                kind: row.kind,
                username: row.username.clone(),
                created_at: row.created_at,
            },
        );
    }

    /// Drops join tokens that nobody needs to be told about any more.
    pub fn drop_join_tokens(&mut self, ids: &[String]) {
        for id in ids {
            if self.join_tokens.remove(id.as_str()).is_some() {
                let version = self.next_version();
                self.changed
                    .join_tokens
                    .deleted(id.as_str().into(), version);
            }
        }
    }
}

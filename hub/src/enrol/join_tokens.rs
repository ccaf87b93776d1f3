//! Makes join tokens.

use std::time::{Duration, SystemTime};

use lockstep_proto::{ClusterName, NameError, v1};
use tonic::Status;

use super::token;
use crate::pki::Pki;
use crate::status::Fleet;
use crate::store::{JoinTokenRow, StoreError};

/// An hour: long enough to paste it somewhere else.
const DEFAULT_TTL: Duration = Duration::from_secs(3600);
/// Longer than any roll-out of clusters takes; a secret should not lie around.
const LONGEST_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// Why there is no join token.
#[derive(Debug, thiserror::Error)]
pub enum JoinTokenError {
    #[error("the cluster's name: {0}")]
    Cluster(#[from] NameError),
    #[error("{0}")]
    Labels(String),
    #[error("a join token lives for at most 30 days, not for {0} seconds: ask for less")]
    Ttl(u32),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<JoinTokenError> for Status {
    fn from(error: JoinTokenError) -> Self {
        match error {
            JoinTokenError::Store(error) => error.into(),
            other => Status::invalid_argument(other.to_string()),
        }
    }
}

/// Makes join tokens. Cheap to clone.
#[derive(Clone)]
pub struct JoinTokens {
    fleet: Fleet,
    pki: Pki,
}

impl JoinTokens {
    #[must_use]
    pub fn new(fleet: Fleet, pki: Pki) -> Self {
        Self { fleet, pki }
    }

    /// Makes a token; its text is in the answer and nowhere else.
    ///
    /// # Errors
    /// [`JoinTokenError`].
    pub async fn create(
        &self,
        request: v1::CreateJoinTokenRequest,
    ) -> Result<v1::CreateJoinTokenResponse, JoinTokenError> {
        let cluster = ClusterName::new(&request.cluster)?;
        crate::status::check_labels(&request.labels).map_err(JoinTokenError::Labels)?;
        let ttl = match request.ttl_seconds {
            0 => DEFAULT_TTL,
            seconds => Duration::from_secs(seconds.into()),
        };
        if ttl > LONGEST_TTL {
            return Err(JoinTokenError::Ttl(request.ttl_seconds));
        }
        let new = token::new(rand::random(), rand::random(), self.pki.pin());
        let now = SystemTime::now();
        let row = JoinTokenRow {
            id: new.id.clone(),
            hash: new.hash,
            cluster,
            labels: request.labels,
            created_at: crate::store::millis(now),
            expires_at: crate::store::millis(now + ttl),
            used_at: None,
            used_by: None,
            used_identity: String::new(),
            revoked_at: None,
        };
        self.fleet.put_join_token(row).await?;
        Ok(v1::CreateJoinTokenResponse {
            id: new.id,
            token: new.text.expose().to_owned(),
        })
    }
}

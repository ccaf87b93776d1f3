//! The one place for authorisation: a bearer token -> a subject -> may it?
//!
//! It stands in front of the FleetService alone. Agents are known by their
//! certificates and joining clusters by their tokens, in their own rooms;
//! health and reflection are open. Every subject may do everything for now:
//! roles go into [`Auth::authorise`].

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::Either;
use http::{HeaderMap, Request, Response, header};
use lockstep_proto::Digest;
use parking_lot::RwLock;
use subtle::ConstantTimeEq as _;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use crate::secret::Secret;
use crate::store::{AccessTokenRow, Store, StoreError};

/// Who the first start makes a token for.
pub const ADMINISTRATOR: &str = "administrator";
const PREFIX: &str = "lsa1";
/// No token of ours is near as long.
const LIMIT: usize = 256;

/// Who calls. In the extensions of every request that got through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject(pub Arc<str>);

/// Knows the access tokens, by their hashes. Cheap to clone.
#[derive(Clone)]
pub struct Auth {
    store: Store,
    tokens: Arc<RwLock<Vec<(Digest, Subject)>>>,
}

impl Auth {
    /// Reads the tokens that the store holds.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn load(store: Store) -> Result<Self, StoreError> {
        let rows = store.access_tokens().await?;
        let tokens = rows
            .into_iter()
            .map(|row| (row.hash, Subject(row.subject.into())))
            .collect();
        Ok(Self {
            store,
            tokens: Arc::new(RwLock::new(tokens)),
        })
    }

    /// Makes an access token for `subject`; only its hash is kept.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn create(&self, subject: &str) -> Result<Secret, StoreError> {
        let id = hex::encode(rand::random::<[u8; 8]>());
        let secret = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let token = Secret::new(format!("{PREFIX}.{id}.{secret}"));
        let hash = Digest::of(token.expose().as_bytes());
        let row = AccessTokenRow {
            id,
            hash,
            subject: subject.to_owned(),
            created_at: crate::store::millis(SystemTime::now()),
        };
        self.store.put_access_token(row).await?;
        self.tokens.write().push((hash, Subject(subject.into())));
        Ok(token)
    }

    /// Whose token this is.
    #[must_use]
    pub fn subject(&self, token: &[u8]) -> Option<Subject> {
        if token.len() > LIMIT {
            return None;
        }
        let hash = Digest::of(token);
        let mut found = None;
        // All of them, so that the time tells nothing of which one it was.
        for (known, subject) in self.tokens.read().iter() {
            if known.0.ct_eq(&hash.0).into() {
                found = Some(subject.clone());
            }
        }
        found
    }

    /// Decides whether the caller with these headers may call `method`
    /// (`/lockstep.v1.FleetService/Get`).
    ///
    /// # Errors
    /// `Unauthenticated`, in words.
    pub fn authorise(&self, headers: &HeaderMap, _method: &str) -> Result<Subject, Status> {
        let header = headers.get(header::AUTHORIZATION).ok_or_else(|| {
            Status::unauthenticated(
                "no access token: log in with `lockstep login`, use the admin.yaml that the hub \
                 wrote into its data folder, or send the header `authorization: Bearer TOKEN`",
            )
        })?;
        bearer(header.as_bytes())
            .and_then(|token| self.subject(token))
            .ok_or_else(|| {
                Status::unauthenticated(
                    "the hub does not know this access token: log in again with `lockstep login`, \
                     or use the admin.yaml that the hub wrote into its data folder",
                )
            })
    }

    /// Puts authorisation in front of `inner`.
    pub fn guard<S>(&self, inner: S) -> Guarded<S> {
        Guarded {
            inner,
            auth: self.clone(),
        }
    }
}

/// The token in an `authorization` header; the scheme's case does not matter (RFC 9110).
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

/// A gRPC service behind [`Auth`].
#[derive(Clone)]
pub struct Guarded<S> {
    inner: S,
    auth: Auth,
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Response<Body>, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        match self.auth.authorise(request.headers(), path) {
            Ok(subject) => {
                request.extensions_mut().insert(subject);
                Either::Left(self.inner.call(request))
            }
            Err(status) => Either::Right(ready(Ok(status.into_http()))),
        }
    }
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    async fn auth(dir: &tempfile::TempDir) -> Auth {
        let store = Store::open(dir.path().join("lockstep.db")).unwrap();
        Auth::load(store).await.unwrap()
    }

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[tokio::test]
    async fn a_token_is_known_after_a_restart_and_nowhere_in_clear() {
        let dir = tempfile::tempdir().unwrap();
        let token = auth(&dir).await.create(ADMINISTRATOR).await.unwrap();
        let auth = auth(&dir).await;
        let subject = auth.subject(token.expose().as_bytes());
        assert_eq!(subject, Some(Subject(ADMINISTRATOR.into())));
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            let secret = token.expose().rsplit('.').next().unwrap().as_bytes();
            assert!(!bytes.windows(secret.len()).any(|at| at == secret));
        }
    }

    #[tokio::test]
    async fn only_a_known_token_gets_through_and_the_rest_is_told_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let auth = auth(&dir).await;
        let token = auth.create(ADMINISTRATOR).await.unwrap();
        let token = token.expose();
        for good in [format!("Bearer {token}"), format!("bearer  {token} ")] {
            auth.authorise(&headers(&good), "/x").unwrap();
        }
        let missing = auth.authorise(&HeaderMap::new(), "/x").unwrap_err();
        assert_eq!(missing.code(), tonic::Code::Unauthenticated);
        assert!(missing.message().contains("no access token"));
        let long = "x".repeat(100_000);
        for bad in [
            "Bearer",
            "Bearer ",
            "Bearer x",
            "Basic x",
            token,
            &format!("Bearer {}", &token[..token.len() - 1]),
            &format!("Bearer {token}x"),
            &format!("Bearer {long}"),
        ] {
            let status = auth.authorise(&headers(bad), "/x").unwrap_err();
            assert_eq!(status.code(), tonic::Code::Unauthenticated, "{bad}");
            assert!(status.message().contains("does not know"), "{bad}");
            assert!(!status.message().contains(token));
        }
    }
}

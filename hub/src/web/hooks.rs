//! Webhooks: a forge says that a repository changed, and the hub looks.
//!
//! What the call says changed is not read: the hub asks the remote itself.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;

use super::Web;
use super::signature::{Check, Forge};

/// GitHub sends at most 25 MB. The body is hashed as it comes and never kept.
const BODY_LIMIT: usize = 26 * 1024 * 1024;
/// For the whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a call was not taken.
enum Refusal {
    NoForge(String),
    NoRepository(String),
    Unsigned(Forge),
    TooLarge,
    Broken,
}

impl Refusal {
    fn counted(&self) -> &'static str {
        match self {
            Self::NoForge(_) | Self::NoRepository(_) => "unknown",
            Self::Unsigned(_) => "unsigned",
            Self::TooLarge | Self::Broken => "malformed",
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (code, text) = match self {
            Self::NoForge(name) => (
                StatusCode::NOT_FOUND,
                format!(
                    "there are no webhooks of {name:?}: use github, gitlab, gitea, bitbucket, \
                     azure or generic\n"
                ),
            ),
            Self::NoRepository(name) => (
                StatusCode::NOT_FOUND,
                format!("there is no repository {name:?}: see `lockstep get repositories`\n"),
            ),
            Self::Unsigned(forge) => (
                StatusCode::UNAUTHORIZED,
                format!(
                    "this repository takes only signed calls: send {}\n",
                    forge.expectation()
                ),
            ),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body has more than {BODY_LIMIT} bytes\n"),
            ),
            Self::Broken => (
                StatusCode::BAD_REQUEST,
                "the body did not arrive whole within 30 seconds\n".to_owned(),
            ),
        };
        (code, text).into_response()
    }
}

/// `POST /hooks/{forge}/{repository}`.
pub(super) async fn take(
    State(web): State<Web>,
    Path((forge, repository)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match checked(&web, &forge, &repository, &headers, body).await {
        Ok(()) => {
            web.fleet.dirty_repositories().mark(repository.clone());
            web.metrics.webhook("accepted");
            tracing::debug!(repository, forge, "webhook");
            let text = format!("looking at repository {repository}\n");
            (StatusCode::ACCEPTED, text).into_response()
        }
        Err(refusal) => {
            web.metrics.webhook(refusal.counted());
            refusal.into_response()
        }
    }
}

async fn checked(
    web: &Web,
    forge: &str,
    repository: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<(), Refusal> {
    let short = |text: &str| text.chars().take(64).collect::<String>();
    let forge = Forge::named(forge).ok_or_else(|| Refusal::NoForge(short(forge)))?;
    let spec = web
        .fleet
        .repository(repository)
        .ok_or_else(|| Refusal::NoRepository(short(repository)))?;
    let secret = spec.spec.as_ref().map(|spec| spec.webhook_secret.as_str());
    let check = match secret {
        None | Some("") => Check::Passed,
        Some(name) => {
            let secret = web.credentials.get(name).await.map_err(|error| {
                tracing::warn!(repository, %error, "refused a webhook: its secret is not there");
                Refusal::Unsigned(forge)
            })?;
            Check::begin(forge, headers, &secret.secret).ok_or(Refusal::Unsigned(forge))?
        }
    };
    let read = tokio::time::timeout(BODY_TIMEOUT, read(body, check)).await;
    let check = read.map_err(|_| Refusal::Broken)??;
    if check.passes() {
        Ok(())
    } else {
        Err(Refusal::Unsigned(forge))
    }
}

async fn read(mut body: Body, mut check: Check) -> Result<Check, Refusal> {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::Broken)?;
        if let Some(piece) = frame.data_ref() {
            length += piece.len();
            if length > BODY_LIMIT {
                return Err(Refusal::TooLarge);
            }
            check.update(piece);
        }
    }
    Ok(check)
}

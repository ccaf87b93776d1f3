//! Plain HTTP: webhook calls as forges make them, and health and metrics.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

/// `POST url` with a JSON body; the answer's status and body.
///
/// # Errors
/// When nobody answers.
pub async fn post(url: &str, headers: &[(&str, &str)], body: &str) -> Result<(u16, String)> {
    let mut request = ::http::Request::post(url).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .context("a POST")?;
    call(request).await.with_context(|| format!("POST {url}"))
}

/// `GET url`; the answer's status and body.
///
/// # Errors
/// When nobody answers.
pub async fn get(url: &str) -> Result<(u16, String)> {
    let request = ::http::Request::get(url).body(Full::default());
    let request = request.context("a GET")?;
    call(request).await.with_context(|| format!("GET {url}"))
}

async fn call(request: ::http::Request<Full<Bytes>>) -> Result<(u16, String)> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.context("the answer")?;
    let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    Ok((status, body))
}

/// `sha256=HEX` of the body's HMAC, as GitHub signs.
///
/// # Panics
/// Never: HMAC takes keys of any length.
#[must_use]
pub fn sign(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(body.as_bytes());
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

//! Request bodies: bounded, JSON or YAML.

use std::error::Error;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, Limited};
use hyper::body::Body;
use serde_json::Value;

use crate::status::Status;

/// What the real server takes.
const MOST_BODY_BYTES: usize = 3 << 20;

/// What typed clients send where they may.
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

pub(crate) async fn collect<B>(body: B) -> Result<Bytes, Status>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    match Limited::new(body, MOST_BODY_BYTES).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Status::too_large(MOST_BODY_BYTES))
        }
        Err(error) => Err(Status::bad_request(format!(
            "the body could not be read: {error}"
        ))),
    }
}

/// The media type of a body, without parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let text = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    text.split(';').next().unwrap_or("").trim().to_lowercase()
}

/// Reads an object.
pub(crate) fn parse(bytes: &[u8], media_type: &str) -> Result<Value, Status> {
    match media_type {
        "" | "application/json" => json(bytes),
        "application/yaml" | "text/yaml" => yaml(bytes),
        PROTOBUF => {
            let message = "the sandbox takes JSON and YAML, and this client sent Protocol Buffers: apply a manifest instead (kubectl apply -f; kubectl create … --dry-run=client -o yaml writes one)";
            Err(Status::new(415, "UnsupportedMediaType", message))
        }
        other => Err(Status::unsupported_media(
            other,
            &["application/json", "application/yaml"],
        )),
    }
}

pub(crate) fn json(bytes: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(bytes)
        .map_err(|error| Status::bad_request(format!("couldn't get object from the body: {error}")))
}

/// YAML, of which JSON is a part.
pub(crate) fn yaml(bytes: &[u8]) -> Result<Value, Status> {
    if let Ok(value) = serde_json::from_slice(bytes) {
        return Ok(value);
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Status::bad_request("error decoding YAML: the body is not UTF-8"))?;
    serde_saphyr::from_str(text)
        .map_err(|error| Status::bad_request(format!("error decoding YAML: {error}")))
}

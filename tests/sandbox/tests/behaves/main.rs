//! What clients rely on beyond single answers: watches, pages, controllers, faults, restarts.

// Objects are written where they are used.
#![allow(clippy::needless_pass_by_value)]

mod controllers;
mod faults;
mod watches;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use lockstep_fixtures::{Patience, until};
use lockstep_sandbox::faults::{Effect, Fault};
use lockstep_sandbox::{Sandbox, SandboxOptions};
use serde_json::{Value, json};
use tokio::time::timeout;

const JSON: &str = "application/json";
/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(20);

async fn quick() -> Result<(Sandbox, Client)> {
    let options = SandboxOptions {
        ready_after: Duration::from_millis(30),
        established_after: Duration::from_millis(10),
        ..SandboxOptions::default()
    };
    start(options).await
}

async fn start(options: SandboxOptions) -> Result<(Sandbox, Client)> {
    let sandbox = Sandbox::start(options).await?;
    // Without kube's own retries: what the sandbox answers is what the test sees.
    let http = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build_http::<Body>();
    let service = tower::ServiceBuilder::new()
        .layer(kube::client::middleware::BaseUriLayer::new(
            sandbox.url().parse()?,
        ))
        .service(http);
    Ok((sandbox, Client::new(service, "default")))
}

async fn call(
    client: &Client,
    method: &str,
    path: &str,
    kind: &str,
    body: Value,
) -> Result<(StatusCode, Value)> {
    let body = if body.is_null() {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", kind)
        .body(Body::from(body))?;
    let answer = client.send(request).await?;
    let status = answer.status();
    let bytes = answer.into_body().collect().await?.to_bytes();
    Ok((
        status,
        serde_json::from_slice(&bytes).unwrap_or(Value::Null),
    ))
}

async fn get(client: &Client, path: &str) -> Result<(StatusCode, Value)> {
    call(client, "GET", path, "application/json", Value::Null).await
}

async fn apply(client: &Client, path: &str, object: Value) -> Result<(StatusCode, Value)> {
    let path = format!("{path}?fieldManager=test&force=true");
    call(
        client,
        "PATCH",
        &path,
        "application/apply-patch+yaml",
        object,
    )
    .await
}

fn config_map(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": {"a": "b"}})
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

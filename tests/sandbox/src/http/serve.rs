//! The server: connections, and each request from its head to its answer.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Body;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept::{aggregated, takes_json};
use super::admin::admin;
use super::answer::{Answer, bytes, json, refused, text};
use super::body::collect;
use super::objects::Call;
use super::query::Query;
use super::route::{Route, route, verb};
use crate::discovery;
use crate::faults::{Asked, Effect, refusal};
use crate::sandbox::Inner;
use crate::status::Status;

const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The connection is to break without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox was told to break this connection")]
pub struct Broken;

/// Takes connections until told to stop; each is cut then.
pub(crate) async fn serve(inner: Arc<Inner>, listener: TcpListener, stop: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, most likely: they come back as connections end.
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        connections.spawn(connection(inner.clone(), stream, stop.clone()));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn connection(inner: Arc<Inner>, stream: TcpStream, stop: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let service = service_fn(move |request| {
        let inner = inner.clone();
        async move { handle(&inner, request).await }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None);
    let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::select! {
        () = stop.cancelled() => {}
        ended = served => if let Err(error) = ended {
            tracing::debug!(error, "a connection ended early");
        },
    }
}

/// Answers one request, however it came.
pub(crate) async fn handle<B>(inner: &Arc<Inner>, request: Request<B>) -> Result<Answer, Broken>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (parts, body) = request.into_parts();
    let query = Query::parse(parts.uri.query().unwrap_or(""));
    let whither = route(&inner.state.lock().catalogue, parts.uri.path());
    let (verb, target) = match &whither {
        Route::Object(target) => (verb(&parts.method, target, &query), Some(target)),
        Route::Admin(_) => (Some("admin"), None),
        _ => (Some("get"), None),
    };
    let resource = target.map_or_else(String::new, |target| match target.subresource.as_str() {
        "" => target.resource.key.to_string(),
        subresource => format!("{}/{subresource}", target.resource.key),
    });
    let Some(verb) = verb else {
        return Ok(refused(&Status::method_not_allowed(), None));
    };
    if !matches!(whither, Route::Admin(_)) {
        let label = if resource.is_empty() {
            parts.uri.path()
        } else {
            &resource
        };
        inner.requests.count(verb, label);
        let asked = Asked {
            verb,
            resource: label,
            namespace: target.map_or("", |target| &target.namespace),
            name: target.map_or("", |target| &target.name),
        };
        for effect in inner.faults.meet(asked) {
            match &effect {
                Effect::Latency { millis } => {
                    tokio::time::sleep(Duration::from_millis(*millis)).await;
                }
                Effect::Reset => return Err(Broken),
                effect => {
                    if let Some((status, retry_after)) = refusal(effect, target) {
                        return Ok(refused(&status, retry_after));
                    }
                }
            }
        }
    }
    let body = match collect(body).await {
        Ok(body) => body,
        Err(status) => return Ok(refused(&status, None)),
    };
    let answered = match whither {
        Route::Object(target) => {
            Call {
                inner,
                parts: &parts,
                query: &query,
                target,
                body,
            }
            .answer(verb)
            .await
        }
        Route::Admin(path) => Ok(admin(inner, &parts.method, &path, &body)),
        other => Ok(document(inner, &parts, &other)),
    };
    Ok(answered.unwrap_or_else(|status| refused(&status, None)))
}

/// The documents that describe the server.
fn document(inner: &Inner, parts: &http::request::Parts, whither: &Route) -> Answer {
    let state = inner.state.lock();
    let catalogue = &state.catalogue;
    let found = |document: Option<serde_json::Value>| {
        document.map_or_else(
            || text(404, "404 page not found\n"),
            |body| json(200, &body),
        )
    };
    match whither {
        Route::Health => text(200, "ok"),
        Route::Version => json(200, &crate::version()),
        Route::Core | Route::Groups if aggregated(&parts.headers) => {
            let body = discovery::aggregated(catalogue, matches!(whither, Route::Core));
            bytes(
                200,
                DISCOVERY,
                serde_json::to_vec(&body).unwrap_or_default().into(),
            )
        }
        Route::Core => json(200, &discovery::api_versions(&inner.host())),
        Route::Groups => json(200, &discovery::api_group_list(catalogue)),
        Route::Group(group) => found(discovery::api_group(catalogue, group)),
        Route::Resources(group, version) => {
            match discovery::api_resource_list(catalogue, group, version) {
                None if catalogue.has_group(group) => refused(&Status::no_such_path(), None),
                document => found(document),
            }
        }
        Route::OpenApiV2 if takes_json(&parts.headers) => json(200, &discovery::openapi_v2()),
        Route::OpenApiV2 => refused(&Status::not_acceptable(), None),
        Route::OpenApiV3Index => json(200, &discovery::openapi_v3_index(catalogue)),
        Route::OpenApiV3(group, version) => found(discovery::openapi_v3(catalogue, group, version)),
        Route::Unknown => refused(&Status::no_such_path(), None),
        _ => text(404, "404 page not found\n"),
    }
}

/// Binds the address of a sandbox: the one it had before, or a free one.
pub(crate) async fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port)).await
}

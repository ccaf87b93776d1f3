//! The one place that speaks HTTP with the Kubernetes API.
//!
//! In come paths and bytes; out come small typed answers or an [`ApiError`].
//! Every request has a time limit and takes one of a bounded number of slots;
//! nothing is retried here, and nothing is decided.

mod account;
mod connect;
mod error;
mod kinds;
mod marks;
mod meta;
mod metrics;
mod rate;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{AsyncBufRead, TryStreamExt as _};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use kube::Client;
use kube::client::Body;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

pub use account::{Actor, ServiceAccount};
pub use connect::connect;
pub use error::{ApiError, Refusal};
pub use kinds::{GroupKind, KindMap, Resource};
pub use marks::{Marks, MarksPage, OwnerReference, Wrote};
pub use meta::{Envelope, Meta};
pub use metrics::Metrics;
pub use rate::Rate;

/// Who owns the fields that the agent applies.
pub const FIELD_MANAGER: &str = "lockstep";
/// On every applied object: the Assignment that it belongs to.
pub const ASSIGNMENT_LABEL: &str = "lockstep.dev/assignment";
/// Where the agent keeps what it must not lose.
pub const SYSTEM_NAMESPACE: &str = "lockstep-system";

/// Admission webhooks may take 30 s; the server says so itself shortly after.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);
/// Requests in flight over all assignments. One assignment uses at most 8 of
/// them, so that several stuck ones leave room for the others.
const SLOTS: usize = 48;
/// An object is at most 1.5 MiB in etcd; discovery of a cluster with thousands
/// of CRDs stays below this too.
const LARGEST_ANSWER: usize = 64 << 20;

const IMPERSONATE: HeaderName = HeaderName::from_static("impersonate-user");
const JSON: &str = "application/json";
/// The reply to a change need only say what the metadata became.
const METADATA: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
const METADATA_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
     application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
/// Server-side apply takes YAML; JSON is YAML.
const APPLY: &str = "application/apply-patch+yaml";
const MERGE: &str = "application/merge-patch+json";

/// A Kubernetes API. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    slots: Arc<Semaphore>,
    kinds: Arc<kinds::Kinds>,
    discovered: Arc<Mutex<Option<Instant>>>,
    metrics: Metrics,
    /// Makes the writes.
    actor: Arc<Actor>,
}

/// What a DELETE came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Deleted {
    Gone,
    /// Finalizers or a grace period hold it.
    Going,
    /// It is not the object that was meant any more: it changed in between.
    Changed,
}

/// What becomes of the objects that depend on a deleted one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They are collected afterwards.
    Background,
    /// They go first.
    Foreground,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cluster")
    }
}

impl Cluster {
    #[must_use]
    pub fn new(client: Client, metrics: Metrics) -> Self {
        Self {
            client,
            slots: Arc::new(Semaphore::new(SLOTS)),
            kinds: Arc::default(),
            discovered: Arc::default(),
            metrics,
            actor: Arc::default(),
        }
    }

    /// The same API, whose objects `actor` changes; reading stays as it is.
    #[must_use]
    pub fn acting(&self, actor: Actor) -> Self {
        Self {
            actor: Arc::new(actor),
            ..self.clone()
        }
    }

    /// Whom writes are made as, if not as the agent itself.
    #[must_use]
    pub fn account(&self) -> Option<&ServiceAccount> {
        self.actor.account.as_ref()
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    // ------------------------------------------------------------ discovery

    /// What the API served when it was last asked.
    #[must_use]
    pub fn kinds(&self) -> Arc<KindMap> {
        self.kinds.now()
    }

    /// Asks again what the API serves, unless somebody did since `before`.
    ///
    /// # Errors
    /// Of the two requests; what was known before stays known.
    pub async fn discover(&self, before: Instant) -> Result<Arc<KindMap>, ApiError> {
        let mut last = self.discovered.lock().await;
        if last.is_some_and(|at| at >= before) {
            return Ok(self.kinds.now());
        }
        let now = Instant::now();
        let mut map = KindMap::default();
        for path in ["/api", "/apis"] {
            let document: kinds::Document = self.read(path, DISCOVERY).await?;
            if document.kind != "APIGroupDiscoveryList" {
                return Err(ApiError::Malformed(format!(
                    "{path} offers no aggregated discovery: Kubernetes 1.30 or newer is needed"
                )));
            }
            map.add(document);
        }
        self.kinds.replace(map);
        *last = Some(now);
        Ok(self.kinds.now())
    }

    // ----------------------------------------------------- objects, changing

    /// Applies `body` at `path` as field manager `lockstep`, taking over
    /// fields that others set.
    ///
    /// # Errors
    /// [`ApiError`], in the server's words where it answered.
    pub async fn apply(&self, path: &str, body: Bytes) -> Result<Meta, ApiError> {
        let uri = format!("{path}?fieldManager={FIELD_MANAGER}&force=true");
        let (code, answer) = self
            .exchange("apply", Method::PATCH, &uri, METADATA, APPLY, body)
            .await?;
        let mut meta = parse::<Envelope>(&answer)?.metadata;
        meta.created = code == StatusCode::CREATED;
        Ok(meta)
    }

    /// What [`Cluster::apply`] would make of the object.
    ///
    /// # Errors
    /// As [`Cluster::apply`].
    pub async fn dry_run(&self, path: &str, body: Bytes) -> Result<Value, ApiError> {
        let uri = format!("{path}?fieldManager={FIELD_MANAGER}&force=true&dryRun=All");
        parse(
            &self
                .send("dry-run", Method::PATCH, &uri, JSON, APPLY, body)
                .await?,
        )
    }

    /// Merges `patch` into the object at `path`.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn merge(&self, path: &str, patch: &Value) -> Result<Meta, ApiError> {
        let uri = format!("{path}?fieldManager={FIELD_MANAGER}");
        let body = patch.to_string().into();
        let answer = self
            .send("merge", Method::PATCH, &uri, METADATA, MERGE, body)
            .await?;
        Ok(parse::<Envelope>(&answer)?.metadata)
    }

    /// Creates an object in the collection at `path`.
    ///
    /// # Errors
    /// [`ApiError`]; a conflict where it exists.
    pub async fn create(&self, path: &str, object: &Value) -> Result<Meta, ApiError> {
        let uri = format!("{path}?fieldManager={FIELD_MANAGER}");
        let body = object.to_string().into();
        let answer = self
            .send("create", Method::POST, &uri, METADATA, JSON, body)
            .await?;
        Ok(parse::<Envelope>(&answer)?.metadata)
    }

    /// Replaces the object at `path`; `object` names the version it replaces.
    ///
    /// # Errors
    /// [`ApiError`]; a conflict where that version is not the current one.
    pub async fn replace(&self, path: &str, object: &Value) -> Result<Meta, ApiError> {
        let uri = format!("{path}?fieldManager={FIELD_MANAGER}");
        let body = object.to_string().into();
        let answer = self
            .send("replace", Method::PUT, &uri, METADATA, JSON, body)
            .await?;
        Ok(parse::<Envelope>(&answer)?.metadata)
    }

    /// Deletes the object at `path` if it still is what `meta` describes.
    /// What depends on it is collected by the cluster afterwards.
    ///
    /// # Errors
    /// [`ApiError`], but for what [`Deleted`] tells.
    pub async fn delete(&self, path: &str, meta: &Meta) -> Result<Deleted, ApiError> {
        self.delete_by(path, meta, Propagation::Background).await
    }

    /// As [`Cluster::delete`], where it matters what becomes of what depends
    /// on the object.
    ///
    /// # Errors
    /// As [`Cluster::delete`].
    pub async fn delete_by(
        &self,
        path: &str,
        meta: &Meta,
        propagation: Propagation,
    ) -> Result<Deleted, ApiError> {
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": format!("{propagation:?}"),
            "preconditions": {"uid": meta.uid, "resourceVersion": meta.resource_version},
        });
        let body = options.to_string().into();
        let answer = match self
            .send("delete", Method::DELETE, path, JSON, JSON, body)
            .await
        {
            Ok(answer) => answer,
            Err(error) if error.is_not_found() => return Ok(Deleted::Gone),
            Err(error) if error.is_conflict() => return Ok(Deleted::Changed),
            Err(error) => return Err(error),
        };
        // The object itself comes back where something holds it, else a Status
        // or, from some servers, the object as it was when it went.
        let going = parse::<Envelope>(&answer)?.metadata;
        if going.is_deleting() && !going.finalizers.is_empty() {
            return Ok(Deleted::Going);
        }
        if going.is_deleting() {
            return Ok(if self.meta(path).await?.is_some() {
                Deleted::Going
            } else {
                Deleted::Gone
            });
        }
        Ok(Deleted::Gone)
    }

    // ------------------------------------------------------ objects, reading

    /// The metadata of the object at `path`, if there is one.
    ///
    /// # Errors
    /// [`ApiError`], but for "not found".
    pub async fn meta(&self, path: &str) -> Result<Option<Meta>, ApiError> {
        match self.read::<Envelope>(path, METADATA).await {
            Ok(envelope) => Ok(Some(envelope.metadata)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The object at `path`, if there is one.
    ///
    /// # Errors
    /// [`ApiError`], but for "not found".
    pub async fn get(&self, path: &str) -> Result<Option<Value>, ApiError> {
        match self.read(path, JSON).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A page of a list, or any other document, at `uri`.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn read<T: DeserializeOwned>(&self, uri: &str, accept: &str) -> Result<T, ApiError> {
        let empty = Bytes::new();
        parse(
            &self
                .send("get", Method::GET, uri, accept, JSON, empty)
                .await?,
        )
    }

    /// A page of a list of whole objects.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn page<T: DeserializeOwned>(&self, uri: &str) -> Result<T, ApiError> {
        self.read(uri, JSON).await
    }

    /// A page of a list, as it came; by metadata alone where that is enough.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn raw_page(&self, uri: &str, metadata_only: bool) -> Result<Bytes, ApiError> {
        let accept = if metadata_only { METADATA_LIST } else { JSON };
        self.send("list", Method::GET, uri, accept, JSON, Bytes::new())
            .await
    }

    /// Opens a watch at `uri`: a stream of lines. Takes no slot, and the
    /// caller bounds how long it waits for the next line.
    ///
    /// # Errors
    /// [`ApiError`], where it cannot be opened.
    pub async fn watch(
        &self,
        uri: &str,
        metadata_only: bool,
    ) -> Result<impl AsyncBufRead + Send + use<>, ApiError> {
        let accept = if metadata_only { METADATA } else { JSON };
        let request = build(Method::GET, uri, accept, JSON, Bytes::new())?;
        self.metrics.request("watch");
        let response = within(self.raw(request)).await?;
        let lines = response
            .into_body()
            .into_data_stream()
            .map_err(std::io::Error::other);
        Ok(lines.into_async_read())
    }

    async fn send(
        &self,
        verb: &'static str,
        method: Method,
        uri: &str,
        accept: &str,
        content: &str,
        body: Bytes,
    ) -> Result<Bytes, ApiError> {
        let sent = self.exchange(verb, method, uri, accept, content, body);
        Ok(sent.await?.1)
    }

    async fn exchange(
        &self,
        verb: &'static str,
        method: Method,
        uri: &str,
        accept: &str,
        content: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), ApiError> {
        let writes = method != Method::GET;
        let mut request = build(method, uri, accept, content, body)?;
        if writes {
            if let Some(account) = self.account() {
                let user = HeaderValue::try_from(account.user())
                    .map_err(|_| ApiError::Malformed(format!("{account} is no account")))?;
                request.headers_mut().insert(IMPERSONATE, user);
            }
            if let Some(rate) = &self.actor.rate {
                rate.turn().await;
            }
        }
        self.metrics.request(verb);
        let _slot = self.slots.acquire().await;
        within(async {
            let response = self.raw(request).await?;
            let code = response.status();
            Ok((code, collect(response).await?))
        })
        .await
    }

    async fn raw(&self, request: Request<Body>) -> Result<Response<Body>, ApiError> {
        let response = self.client.send(request).await.map_err(|error| {
            let mut deepest: &dyn std::error::Error = &error;
            while let Some(source) = deepest.source() {
                deepest = source;
            }
            ApiError::Unreachable(deepest.to_string())
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let body = collect(response).await?;
        let refusal = Refusal::read(code, &body, retry_after);
        Err(ApiError::Refused(Box::new(refusal)))
    }
}

/// The version that a cluster's API server gives itself: "v1.36.3".
///
/// # Errors
/// [`ApiError`].
pub async fn kubernetes_version(client: &Client) -> Result<String, ApiError> {
    #[derive(serde::Deserialize)]
    struct Version {
        #[serde(rename = "gitVersion")]
        git_version: String,
    }
    let version: Version = Cluster::new(client.clone(), Metrics::default())
        .read("/version", JSON)
        .await?;
    Ok(version.git_version)
}

async fn within<T>(request: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    tokio::time::timeout(REQUEST_TIMEOUT, request)
        .await
        .unwrap_or(Err(ApiError::Timeout(REQUEST_TIMEOUT)))
}

async fn collect(response: Response<Body>) -> Result<Bytes, ApiError> {
    Limited::new(response.into_body(), LARGEST_ANSWER)
        .collect()
        .await
        .map(|collected| collected.to_bytes())
        .map_err(|error| ApiError::Unreachable(error.to_string()))
}

fn build(
    method: Method,
    uri: &str,
    accept: &str,
    content: &str,
    body: Bytes,
) -> Result<Request<Body>, ApiError> {
    let unusable = |_| ApiError::Malformed(format!("{uri:?} is no usable path"));
    let header = |text: &str| HeaderValue::from_str(text).map_err(|e| unusable(e.into()));
    Request::builder()
        .method(method)
        .uri(uri)
        .header(ACCEPT, header(accept)?)
        .header(CONTENT_TYPE, header(content)?)
        .body(Body::from(body))
        .map_err(unusable)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::Malformed(error.to_string()))
}

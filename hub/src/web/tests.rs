use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::BodyExt as _;
use lockstep_proto::v1;
use lockstep_proto::v1::create_credential_request::Secret;
use sha2::Sha256;
use tower::ServiceExt as _;

use super::*;
use crate::status::FleetOptions;
use crate::store::Store;

struct World {
    web: Web,
    _dir: tempfile::TempDir,
}

impl World {
    /// A hub with the repositories `open` and `shop`; the latter has a secret.
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("lockstep.db")).unwrap();
        let fleet = Fleet::load(store, FleetOptions::default()).await.unwrap();
        let key = dir.path().join("secret.key");
        let credentials = Credentials::open(fleet.clone(), &key).unwrap();
        let secret = v1::CreateCredentialRequest {
            name: "hook".to_owned(),
            secret: Some(Secret::Token(v1::TokenCredential {
                token: "hunter2".to_owned(),
            })),
        };
        credentials.create(secret).await.unwrap();
        let resources = vec![repository("open", ""), repository("shop", "hook")];
        fleet.apply(resources, false, "admin").await.unwrap();
        let web = Web {
            fleet,
            credentials,
            metrics: Metrics::new(),
            readiness: Readiness::default(),
        };
        // What applying marked is not the news here.
        web.fleet.dirty_repositories().take().await;
        Self { web, _dir: dir }
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, String) {
        let response = self.web.clone().router().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        self.send(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    async fn post(&self, path: &str, signature: Option<&str>, body: &str) -> StatusCode {
        let mut request = Request::post(path);
        if let Some(signature) = signature {
            request = request.header("x-hub-signature-256", signature);
        }
        let body = Body::from(body.to_owned());
        self.send(request.body(body).unwrap()).await.0
    }
}

fn repository(name: &str, webhook_secret: &str) -> v1::Resource {
    let repository = v1::Repository {
        api_version: lockstep_proto::API_VERSION.to_owned(),
        kind: "Repository".to_owned(),
        metadata: Some(v1::ObjectMeta {
            name: name.to_owned(),
            ..v1::ObjectMeta::default()
        }),
        spec: Some(v1::RepositorySpec {
            url: "https://git.example.com/shop.git".to_owned(),
            webhook_secret: webhook_secret.to_owned(),
            ..v1::RepositorySpec::default()
        }),
        status: None,
    };
    v1::Resource {
        resource: Some(v1::resource::Resource::Repository(repository)),
    }
}

fn signature(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn a_signed_call_makes_the_hub_look_at_the_repository() {
    let world = World::start().await;
    let signed = signature("hunter2", "{}");
    let status = world.post("/hooks/github/shop", Some(&signed), "{}").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let dirty = world.web.fleet.dirty_repositories().take().await;
    assert_eq!(dirty.into_iter().collect::<Vec<_>>(), ["shop"]);
}

#[tokio::test]
async fn a_repository_with_a_secret_takes_only_signed_calls() {
    let world = World::start().await;
    let other = signature("hunter3", "{}");
    let elsewhere = signature("hunter2", "{ }");
    for wrong in [None, Some(&*other), Some(&*elsewhere), Some("sha256=zz")] {
        let status = world.post("/hooks/github/shop", wrong, "{}").await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{wrong:?}");
    }
    let signed = signature("hunter2", "{}");
    let status = world.post("/hooks/gitea/shop", Some(&signed), "{}").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "another forge's header");

    let status = world.post("/hooks/generic/open", None, "{}").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let dirty = world.web.fleet.dirty_repositories().take().await;
    assert!(!dirty.contains("shop"), "refused calls mark nothing");
}

#[tokio::test]
async fn a_secret_that_is_gone_lets_nobody_in() {
    let world = World::start().await;
    let resources = vec![repository("lost", "hook")];
    world
        .web
        .fleet
        .apply(resources, false, "admin")
        .await
        .unwrap();
    // Sealed under a key that the hub does not have any more.
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("secret.key");
    let mut web = world.web.clone();
    web.credentials = Credentials::open(web.fleet.clone(), &key).unwrap();
    let request = Request::post("/hooks/github/lost")
        .header("x-hub-signature-256", signature("hunter2", "{}"))
        .body(Body::from("{}"))
        .unwrap();
    let response = web.router().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn unknown_forges_and_repositories_are_not_found() {
    let world = World::start().await;
    for path in ["/hooks/sourceforge/open", "/hooks/github/nope", "/hooks"] {
        let status = world.post(path, None, "{}").await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
    let (status, _) = world.get("/hooks/github/open").await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_body_without_end_is_cut() {
    let world = World::start().await;
    let piece = "x".repeat(1 << 20);
    let endless =
        futures::stream::iter((0..30).map(move |_| Ok::<_, std::io::Error>(piece.clone())));
    let request = Request::post("/hooks/generic/open")
        .body(Body::from_stream(endless))
        .unwrap();
    let (status, _) = world.send(request).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn ready_means_that_nobody_waits_for_anything() {
    let world = World::start().await;
    assert_eq!(world.get("/livez").await.0, StatusCode::OK);
    let git = world.web.readiness.wait_for("git");
    let (status, text) = world.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(text, "waiting for git\n");
    assert_eq!(world.get("/livez").await.0, StatusCode::OK);
    drop(git);
    assert_eq!(world.get("/readyz").await.0, StatusCode::OK);
}

#[tokio::test]
async fn metrics_say_how_the_fleet_is() {
    let world = World::start().await;
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let response = world.web.clone().router().oneshot(request).await.unwrap();
    let kind = &response.headers()[header::CONTENT_TYPE];
    assert!(
        kind.to_str()
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    let (_, text) = world.get("/metrics").await;
    assert!(
        text.contains("lockstep_hub_clusters{sync=\"Synced\"} 0"),
        "{text}"
    );
    assert!(text.ends_with("# EOF\n"));
}

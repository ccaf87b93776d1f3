use std::path::Path;
use std::sync::Arc;

use lockstep_proto::client;
use lockstep_proto::v1;
use lockstep_proto::v1::fleet_service_client::FleetServiceClient;
use lockstep_proto::v1::kind::Name as Kind;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::*;
use crate::config::LogFormat;

fn settings(dir: &Path) -> Settings {
    Settings {
        data_dir: dir.to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        http: "127.0.0.1:0".parse().unwrap(),
        advertise: None,
        allow_file_repositories: false,
        log: "info".to_owned(),
        log_format: LogFormat::Text,
        notes: Vec::new(),
    }
}

/// What `admin.yaml` says.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Admin {
    current_context: String,
    contexts: Vec<Context>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Context {
    name: String,
    endpoint: String,
    ca: String,
    token: String,
}

impl Admin {
    fn read(dir: &Path) -> Self {
        let text = std::fs::read_to_string(dir.join("admin.yaml")).unwrap();
        serde_saphyr::from_str(&text).unwrap()
    }

    async fn dial(&self) -> Channel {
        let context = &self.contexts[0];
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(context.ca.as_bytes()).unwrap();
        roots.add(ca).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client::connect(&context.endpoint, tls).await.unwrap()
    }

    async fn list(&self, token: Option<&str>) -> Result<v1::ListResponse, Status> {
        let mut request = Request::new(v1::ListRequest {
            kind: Kind::Cluster.into(),
            ..v1::ListRequest::default()
        });
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        let mut fleet = FleetServiceClient::new(self.dial().await);
        Ok(fleet.list(request).await?.into_inner())
    }
}

#[tokio::test]
async fn the_first_start_makes_everything_and_a_restart_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(settings(dir.path())).await.unwrap();
    let first = Admin::read(dir.path());
    assert_eq!(first.contexts[0].name, first.current_context);
    assert_eq!(first.contexts[0].endpoint, hub.grpc.to_string());
    first.list(Some(&first.contexts[0].token)).await.unwrap();
    let http = std::fs::read_to_string(dir.path().join("http.addr")).unwrap();
    assert_eq!(http, hub.http.to_string());
    let (grpc, web) = (hub.grpc, hub.http);
    hub.stop().await;

    let hub = Hub::start(settings(dir.path())).await.unwrap();
    let second = Admin::read(dir.path());
    assert_eq!(
        (grpc, web),
        (hub.grpc, hub.http),
        "port 0 finds its port again"
    );
    assert_eq!(first.contexts[0].ca, second.contexts[0].ca);
    assert_eq!(first.contexts[0].token, second.contexts[0].token);
    second.list(Some(&first.contexts[0].token)).await.unwrap();
    hub.stop().await;
}

#[tokio::test]
async fn only_the_api_for_people_asks_for_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(settings(dir.path())).await.unwrap();
    let admin = Admin::read(dir.path());
    for token in [None, Some("wrong")] {
        let status = admin.list(token).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
        assert!(status.message().contains("lockstep login"), "{status}");
    }
    let mut health = HealthClient::new(admin.dial().await);
    for service in ["", "lockstep.v1.FleetService", "lockstep.v1.AgentService"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status, 1, "serving");
    }
    hub.stop().await;
}

#[tokio::test]
async fn reflection_names_every_service_and_describes_it() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(settings(dir.path())).await.unwrap();
    let mut client = ServerReflectionClient::new(Admin::read(dir.path()).dial().await);
    let asked = [
        MessageRequest::ListServices(String::new()),
        MessageRequest::FileContainingSymbol("lockstep.v1.FleetService".to_owned()),
        // Clients ask for what that one imports.
        MessageRequest::FileByFilename("google/protobuf/timestamp.proto".to_owned()),
    ];
    let asked = asked.map(|message_request| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message_request),
    });
    let answers = client.server_reflection_info(futures::stream::iter(asked));
    let mut answers = answers.await.unwrap().into_inner();
    let listed = answers.message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(listed)) = listed else {
        panic!("{listed:?}");
    };
    let names: Vec<_> = listed.service.into_iter().map(|s| s.name).collect();
    for service in ["EnrolmentService", "AgentService", "FleetService"] {
        assert!(
            names.contains(&format!("lockstep.v1.{service}")),
            "{names:?}"
        );
    }
    for _ in 0..2 {
        let described = answers.message().await.unwrap().unwrap().message_response;
        let described = matches!(described, Some(MessageResponse::FileDescriptorResponse(_)));
        assert!(described);
    }
    hub.stop().await;
}

#[tokio::test]
async fn a_second_hub_on_the_same_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(settings(dir.path())).await.unwrap();
    let error = Hub::start(settings(dir.path())).await.err().unwrap();
    assert!(error.to_string().contains("another hub"), "{error}");
    hub.stop().await;
}

#[tokio::test]
async fn a_new_name_gets_into_the_certificate_and_the_context() {
    let dir = tempfile::tempdir().unwrap();
    Hub::start(settings(dir.path())).await.unwrap().stop().await;
    let mut named = settings(dir.path());
    named.advertise = Some("hub.example.com:0".parse().unwrap());
    let hub = Hub::start(named).await.unwrap();
    let admin = Admin::read(dir.path());
    let port = hub.grpc.port();
    assert_eq!(
        admin.contexts[0].endpoint,
        format!("hub.example.com:{port}")
    );
    let pem = std::fs::read_to_string(dir.path().join("pki/server.pem")).unwrap();
    let leaf = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let name = b"hub.example.com";
    assert!(leaf.windows(name.len()).any(|at| at == name));
    hub.stop().await;
}

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Request, Response};
use lockstep_proto::{ClusterName, client};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::service_fn;

use super::*;
use crate::metrics::Metrics;
use crate::pki::Pki;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A listener whose service tells the test who called.
struct World {
    endpoint: String,
    pki: Pki,
    metrics: Metrics,
    peers: mpsc::UnboundedReceiver<PeerInfo>,
    tracker: TaskTracker,
    cancel: CancellationToken,
    _dir: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path(), SystemTime::now()).unwrap();
        let names = BTreeSet::from(["127.0.0.1".to_owned()]);
        let certificates = Certificates::new(pki.clone(), names).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = tcp.local_addr().unwrap().to_string();
        let (seen, peers) = mpsc::unbounded_channel();
        let service = service_fn(move |request: Request<Body>| {
            let peer = request.extensions().get::<PeerInfo>().unwrap().clone();
            seen.send(peer).unwrap();
            let response = Response::builder()
                .header("content-type", "application/grpc")
                .header("grpc-status", "12")
                .body(Body::empty())
                .unwrap();
            std::future::ready(Ok(response))
        });
        let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
        let metrics = Metrics::new();
        let listener = Listener::new(tcp, certificates, metrics.clone());
        let counted = CountCalls::new(service, metrics.clone());
        tracker.spawn(listener.serve(counted, tracker.clone(), cancel.clone()));
        Self {
            endpoint,
            pki,
            metrics,
            peers,
            tracker,
            cancel,
            _dir: dir,
        }
    }

    /// Calls the hub, with a certificate or without; says who the hub saw.
    async fn call(
        &mut self,
        identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> Result<PeerInfo, String> {
        let mut roots = RootCertStore::empty();
        roots.add(self.pki.ca().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            Some((chain, key)) => config.with_client_auth_cert(chain, key).unwrap(),
            None => config.with_no_client_auth(),
        };
        let channel = client::connect(&self.endpoint, config)
            .await
            .map_err(|error| error.to_string())?;
        let status = HealthClient::new(channel)
            .check(HealthCheckRequest::default())
            .await
            .unwrap_err();
        if status.code() != tonic::Code::Unimplemented {
            return Err(client::innermost(&status));
        }
        Ok(self.peers.recv().await.unwrap())
    }
}

fn eu_1() -> PeerIdentity {
    PeerIdentity {
        cluster: ClusterName::new("eu-1").unwrap(),
        identity: "0123456789abcdef".to_owned(),
    }
}

fn certificate(
    pki: &Pki,
    at: SystemTime,
) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default()
        .serialize_request(&key)
        .unwrap();
    let issued = pki.issue(&eu_1(), csr.der(), at).unwrap();
    let leaf = CertificateDer::from_pem_slice(issued.chain_pem.as_bytes()).unwrap();
    (vec![leaf], key.into())
}

#[tokio::test]
async fn a_person_without_a_certificate_gets_through_and_has_no_identity() {
    let mut world = World::start().await;
    let peer = world.call(None).await.unwrap();
    assert_eq!(peer.identity, None);
    assert_eq!(peer.renewing(), None);
    assert!(peer.address.ip().is_loopback());
}

#[tokio::test]
async fn an_agent_is_known_by_its_certificate() {
    let mut world = World::start().await;
    let identity = certificate(&world.pki, SystemTime::now());
    let peer = world.call(Some(identity)).await.unwrap();
    assert_eq!(peer.identity, Some(eu_1()));
    assert_eq!(peer.renewing(), Some(&eu_1()));
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let mut world = World::start().await;
    let dir = tempfile::tempdir().unwrap();
    let other = Pki::open(dir.path(), SystemTime::now()).unwrap();
    let identity = certificate(&other, SystemTime::now());
    let refusal = world.call(Some(identity)).await.unwrap_err();
    assert!(!refusal.is_empty());
    assert!(world.peers.try_recv().is_err(), "nobody got through");
    let identity = certificate(&world.pki, SystemTime::now());
    world.call(Some(identity)).await.unwrap();
    assert!(
        world
            .metrics
            .encode()
            .contains("lockstep_hub_handshakes_total{result=\"failed\"} 1")
    );
}

#[tokio::test]
async fn a_certificate_that_ended_is_good_for_renewing_it_and_nothing_else() {
    let mut world = World::start().await;
    let identity = certificate(&world.pki, SystemTime::now() - 3 * DAY);
    let peer = world.call(Some(identity)).await.unwrap();
    assert_eq!(peer.identity, None);
    assert_eq!(peer.renewing(), Some(&eu_1()));

    let long_ago = certificate(&world.pki, SystemTime::now() - 40 * DAY);
    world.call(Some(long_ago)).await.unwrap_err();
}

#[tokio::test]
async fn the_chain_holds_the_authority_that_a_join_token_pins() {
    let world = World::start().await;
    let config = world_config(&world);
    let tcp = TcpStream::connect(&world.endpoint).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let tls = tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .unwrap();
    let (_, session) = tls.get_ref();
    assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(session.peer_certificates().unwrap()[1], *world.pki.ca());
}

fn world_config(world: &World) -> rustls::ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(world.pki.ca().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_is_cut() {
    let world = World::start().await;
    let mut tcp = TcpStream::connect(&world.endpoint).await.unwrap();
    let mut rest = Vec::new();
    tcp.read_to_end(&mut rest).await.unwrap();
    assert!(
        world
            .metrics
            .encode()
            .contains("lockstep_hub_handshakes_total{result=\"timeout\"} 1")
    );
}

#[tokio::test]
async fn stopping_ends_the_listener_and_every_connection() {
    let mut world = World::start().await;
    world.call(None).await.unwrap();
    let _silent = TcpStream::connect(&world.endpoint).await.unwrap();
    world.cancel.cancel();
    world.tracker.close();
    world.tracker.wait().await;
    assert!(
        world
            .metrics
            .encode()
            .contains("lockstep_hub_connections 0")
    );
    TcpStream::connect(&world.endpoint).await.unwrap_err();
}

#[tokio::test]
async fn calls_are_counted_and_paths_that_nobody_serves_share_a_label() {
    let mut world = World::start().await;
    world.call(None).await.unwrap();
    let text = world.metrics.encode();
    assert!(
        text.contains("grpc_requests_total{method=\"unknown\",code=\"Unimplemented\"} 1"),
        "{text}"
    );
}

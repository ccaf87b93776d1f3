use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lockstep_proto::v1::enrolment_service_server::EnrolmentService as _;
use lockstep_proto::{ClusterName, v1};
use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tonic::{Code, Request, Status};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::service::Enrol;
use super::*;
use crate::metrics::Metrics;
use crate::pki::Pki;
use crate::status::{Fleet, FleetOptions};
use crate::store::Store;
use crate::transport::PeerInfo;

const HOUR: Duration = Duration::from_secs(3600);

/// A hub's enrolment, with a clock in hand.
struct World {
    fleet: Fleet,
    pki: Pki,
    enrol: Enrol,
    tokens: JoinTokens,
    later: Arc<Mutex<Duration>>,
    _dir: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let later = Arc::new(Mutex::new(Duration::ZERO));
        let clock = Arc::clone(&later);
        let options = FleetOptions {
            clock: Arc::new(move || SystemTime::now() + *clock.lock()),
            ..FleetOptions::default()
        };
        let store = Store::open(dir.path().join("lockstep.db")).unwrap();
        let fleet = Fleet::load(store, options).await.unwrap();
        let pki = Pki::open(dir.path(), SystemTime::now()).unwrap();
        Self {
            enrol: Enrol::new(fleet.clone(), pki.clone(), Metrics::new()),
            tokens: JoinTokens::new(fleet.clone(), pki.clone()),
            fleet,
            pki,
            later,
            _dir: dir,
        }
    }

    async fn token(&self, cluster: &str) -> v1::CreateJoinTokenResponse {
        let request = v1::CreateJoinTokenRequest {
            cluster: cluster.to_owned(),
            labels: BTreeMap::from([("env".to_owned(), "prod".to_owned())]),
            ttl_seconds: 0,
        };
        self.tokens.create(request).await.unwrap()
    }

    async fn join_from(
        &self,
        address: &str,
        token: &str,
        csr: &[u8],
    ) -> Result<v1::EnrolResponse, Status> {
        let mut request = Request::new(v1::EnrolRequest {
            token: token.to_owned(),
            csr: csr.to_vec(),
            agent_version: "0.1.0".to_owned(),
        });
        request.extensions_mut().insert(PeerInfo {
            address: address.parse().unwrap(),
            identity: None,
            expired_identity: None,
        });
        Ok(self.enrol.enrol(request).await?.into_inner())
    }

    async fn join(&self, token: &str, csr: &[u8]) -> Result<v1::EnrolResponse, Status> {
        self.join_from("192.0.2.1:5", token, csr).await
    }

    fn identity(&self, answer: &v1::EnrolResponse) -> crate::transport::PeerIdentity {
        let der = CertificateDer::from_pem_slice(answer.certificate_chain.as_bytes()).unwrap();
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        self.pki.identity(&certificate).unwrap()
    }
}

fn csr() -> Vec<u8> {
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key);
    request.unwrap().der().to_vec()
}

fn eu_1() -> ClusterName {
    ClusterName::new("eu-1").unwrap()
}

#[tokio::test]
async fn a_token_is_traded_for_a_certificate_of_its_cluster() {
    let world = World::start().await;
    let token = world.token("eu-1").await;
    let answer = world.join(&token.token, &csr()).await.unwrap();
    assert_eq!(answer.cluster, "eu-1");
    assert_eq!(answer.ca_bundle, world.pki.ca_pem());
    let identity = world.identity(&answer);
    assert_eq!(identity.cluster, eu_1());
    assert_eq!(world.fleet.identity(&eu_1()), Some(identity.identity));
    let cluster = world.fleet.get(v1::kind::Name::Cluster, "eu-1").unwrap();
    let Some(v1::resource::Resource::Cluster(cluster)) = cluster.resource else {
        panic!("not a cluster");
    };
    assert_eq!(cluster.metadata.unwrap().labels["env"], "prod");
}

#[tokio::test]
async fn a_token_works_once_but_the_same_key_may_ask_again() {
    let world = World::start().await;
    let token = world.token("eu-1").await.token;
    let mine = csr();
    let first = world.join(&token, &mine).await.unwrap();
    let again = world.join(&token, &mine).await.unwrap();
    assert_eq!(world.identity(&first), world.identity(&again));

    let refusal = world.join(&token, &csr()).await.unwrap_err();
    assert_eq!(refusal.code(), Code::PermissionDenied);
    assert!(refusal.message().contains("used already"), "{refusal}");
    assert_eq!(
        world.fleet.identity(&eu_1()),
        Some(world.identity(&first).identity),
        "the refused one changed nothing"
    );
}

#[tokio::test]
async fn of_two_who_race_for_a_token_one_gets_it() {
    let world = World::start().await;
    let token = world.token("eu-1").await.token;
    let (a, b) = (csr(), csr());
    let (a, b) = tokio::join!(world.join(&token, &a), world.join(&token, &b));
    assert_ne!(a.is_ok(), b.is_ok());
}

#[tokio::test]
async fn joining_again_replaces_the_agent_that_was_there() {
    let world = World::start().await;
    let first = world.token("eu-1").await.token;
    let first = world.join(&first, &csr()).await.unwrap();
    let second = world.token("eu-1").await.token;
    let second = world.join(&second, &csr()).await.unwrap();
    let (old, new) = (world.identity(&first), world.identity(&second));
    assert_ne!(old.identity, new.identity);
    assert_eq!(world.fleet.identity(&eu_1()), Some(new.identity));
}

#[tokio::test]
async fn expired_and_revoked_tokens_say_so() {
    let world = World::start().await;
    let revoked = world.token("eu-1").await;
    assert!(world.fleet.revoke_join_token(&revoked.id).await.unwrap());
    let refusal = world.join(&revoked.token, &csr()).await.unwrap_err();
    assert_eq!(refusal.code(), Code::PermissionDenied);
    assert!(refusal.message().contains("revoked"), "{refusal}");

    let expired = world.token("eu-1").await;
    *world.later.lock() = HOUR + Duration::from_secs(1);
    let refusal = world.join(&expired.token, &csr()).await.unwrap_err();
    assert_eq!(refusal.code(), Code::PermissionDenied);
    assert!(refusal.message().contains("expired"), "{refusal}");
    assert_eq!(world.fleet.identity(&eu_1()), None);
}

#[tokio::test]
async fn a_wrong_secret_reads_like_an_unknown_token() {
    let world = World::start().await;
    let (mine, other) = (world.token("eu-1").await, world.token("eu-2").await);
    let part = |token: &str, at: usize| token.split('.').nth(at).unwrap().to_owned();
    let crossed = [
        part(&mine.token, 0),
        part(&mine.token, 1),
        part(&other.token, 2),
        part(&mine.token, 3),
    ];
    let wrong = world.join(&crossed.join("."), &csr()).await.unwrap_err();
    let unknown = mine.token.replace(&mine.id, "0123456789abcdef");
    let unknown = world.join(&unknown, &csr()).await.unwrap_err();
    assert_eq!(wrong.code(), Code::PermissionDenied);
    assert_eq!(wrong.code(), unknown.code());
    assert_eq!(wrong.message(), unknown.message());
}

#[tokio::test]
async fn a_bad_signing_request_costs_no_token() {
    let world = World::start().await;
    let token = world.token("eu-1").await.token;
    let refusal = world.join(&token, b"junk").await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument);
    let refusal = world.join("eu-1", &csr()).await.unwrap_err();
    assert_eq!(refusal.code(), Code::PermissionDenied);
    assert!(refusal.message().contains("lockstep token create"));
    world.join(&token, &csr()).await.unwrap();
}

#[tokio::test]
async fn who_fails_too_often_waits_and_nobody_else_does() {
    let world = World::start().await;
    let token = world.token("eu-1").await.token;
    for _ in 0..30 {
        let refusal = world.join("nonsense", &csr()).await.unwrap_err();
        assert_eq!(refusal.code(), Code::PermissionDenied);
    }
    let refusal = world.join(&token, &csr()).await.unwrap_err();
    assert_eq!(refusal.code(), Code::ResourceExhausted);
    world
        .join_from("192.0.2.2:5", &token, &csr())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_token_for_nobody_or_for_ever_is_refused() {
    let world = World::start().await;
    let request = |cluster: &str, ttl_seconds: u32| v1::CreateJoinTokenRequest {
        cluster: cluster.to_owned(),
        labels: BTreeMap::new(),
        ttl_seconds,
    };
    for (cluster, ttl) in [("", 0), ("EU 1", 0), ("eu-1", 31 * 24 * 3600)] {
        let error = world.tokens.create(request(cluster, ttl)).await;
        let status = Status::from(error.unwrap_err());
        assert_eq!(status.code(), Code::InvalidArgument, "{cluster} {ttl}");
    }
    let mut labelled = request("eu-1", 0);
    labelled.labels.insert("a b".to_owned(), String::new());
    let error = world.tokens.create(labelled).await.unwrap_err();
    assert!(error.to_string().contains("a b"), "{error}");
}

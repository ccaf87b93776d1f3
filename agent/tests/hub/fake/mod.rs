//! A hub that a test plays: real TLS and gRPC, and whatever the test says.

mod session;
mod tls;

use std::collections::{BTreeMap, HashSet};
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::StreamExt as _;
use lockstep_proto::Digest;
use lockstep_proto::bundle::{IndexEntry, ObjectKey, bundle_digest};
use lockstep_proto::v1::agent_service_server::{AgentService, AgentServiceServer};
use lockstep_proto::v1::enrolment_service_server::{EnrolmentService, EnrolmentServiceServer};
use lockstep_proto::v1::*;
use parking_lot::Mutex;
use prost::Message as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, IsCa,
    KeyPair, PublicKeyData as _,
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use crate::within;

pub use session::{Answer, Session, item, state};
use tls::{Io, Peer, server_config};

/// A certificate authority, and what it made.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn token(&self, id: &str) -> String {
        let pin = Digest::of(&self.0.key().subject_public_key_info());
        format!("lsj1.{id}.s3cret.{}", URL_SAFE_NO_PAD.encode(pin.0))
    }
}

/// Whatever a test wants to say of the hub beforehand.
pub struct Plan {
    /// Names in the server's certificate.
    pub names: Vec<String>,
    /// Whether the chain that the server shows ends in the CA.
    pub shows_authority: bool,
    /// When the server's certificate begins and ends, from now.
    pub valid: (i64, i64),
    /// The same for the certificates that it gives to agents.
    pub gives: (i64, i64),
    pub port: u16,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            names: vec!["127.0.0.1".into(), "localhost".into()],
            shows_authority: true,
            valid: (-60, 3600),
            gives: (-60, 3600),
            port: 0,
        }
    }
}

/// What the hub knows and counts; outlives a restart.
#[derive(Default)]
pub struct State {
    pub used: HashSet<String>,
    /// The next Enrol is carried out, and its answer lost.
    pub loses_answer: bool,
    pub refuses_sessions: Option<Status>,
    pub enrolled: u32,
    pub renewed: u32,
    pub fetched: Vec<FetchBundleRequest>,
    pub bundles: BTreeMap<String, Vec<(IndexEntry, Bytes)>>,
    /// What the next fetch does wrong.
    pub fault: Option<Fault>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Ends in the middle, in order.
    Truncated,
    /// Ends in the middle with an error.
    Broken,
    /// One object's content is another's.
    Corrupt,
    /// Lists an object less.
    Short,
    /// Not zstd.
    Noise,
    /// More bytes than the header says.
    Bomb,
    /// Leaves out what the agent does not have.
    Hollow,
    NotAssigned,
}

pub struct FakeHub {
    pub state: Arc<Mutex<State>>,
    pub authority: Arc<Authority>,
    pub endpoint: String,
    port: u16,
    sessions: mpsc::Receiver<Session>,
    answers: mpsc::Receiver<Answer>,
    runtime: Option<Runtime>,
}

impl FakeHub {
    pub async fn start() -> Self {
        Self::with(Arc::new(Authority::new()), Plan::default(), Arc::default()).await
    }

    pub async fn with(authority: Arc<Authority>, plan: Plan, state: Arc<Mutex<State>>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (opened, sessions) = mpsc::channel(16);
        let (answered, answers) = mpsc::channel(16);
        let service = Service {
            state: Arc::clone(&state),
            authority: Arc::clone(&authority),
            gives: plan.gives,
            opened,
            answers: answered,
        };
        let (server, port) = (server_config(&authority, &plan), plan.port);
        let listen = runtime.spawn(async move { TcpListener::bind(("127.0.0.1", port)).await });
        let listener = listen.await.unwrap().unwrap();
        let port = listener.local_addr().unwrap().port();
        runtime.spawn(async move {
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
            let incoming = TcpListenerStream::new(listener)
                .then(move |tcp| {
                    let acceptor = acceptor.clone();
                    async move {
                        match tokio::time::timeout(
                            Duration::from_secs(5),
                            acceptor.accept(tcp.unwrap()),
                        )
                        .await
                        {
                            Ok(Ok(stream)) => Some(Ok::<_, std::io::Error>(Io(stream))),
                            _ => None,
                        }
                    }
                })
                .filter_map(std::future::ready);
            tonic::transport::Server::builder()
                .add_service(EnrolmentServiceServer::new(service.clone()))
                .add_service(AgentServiceServer::new(service))
                .serve_with_incoming(incoming)
                .await
                .unwrap();
        });
        Self {
            state,
            authority,
            endpoint: format!("127.0.0.1:{port}"),
            port,
            sessions,
            answers,
            runtime: Some(runtime),
        }
    }

    pub fn token(&self) -> String {
        self.authority.token("one")
    }

    /// Dies as by `kill -9`.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        self.sessions.close();
        while self.sessions.try_recv().is_ok() {}
    }

    /// The same hub at the same address.
    pub async fn restart(mut self) -> Self {
        self.kill();
        let (authority, state) = (Arc::clone(&self.authority), Arc::clone(&self.state));
        for _ in 0..100 {
            if std::net::TcpListener::bind(("127.0.0.1", self.port)).is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let plan = Plan {
            port: self.port,
            ..Plan::default()
        };
        Self::with(authority, plan, state).await
    }

    /// The next session that an agent opens.
    pub async fn session(&mut self) -> Session {
        within("an agent opens a session", self.sessions.recv())
            .await
            .unwrap()
    }

    /// The next answer to a Plan that an agent begins.
    pub async fn answer(&mut self) -> Answer {
        within("an agent answers a question", self.answers.recv())
            .await
            .unwrap()
    }

    pub fn add_bundle(&self, objects: &[(&str, &str)]) -> Digest {
        let objects: Vec<_> = objects
            .iter()
            .map(|(name, text)| object(name, text))
            .collect();
        let digest = bundle_digest(objects.iter().map(|(entry, _)| entry));
        self.state
            .lock()
            .bundles
            .insert(digest.to_string(), objects);
        digest
    }
}

impl Drop for FakeHub {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn object(name: &str, text: &str) -> (IndexEntry, Bytes) {
    let json = Bytes::from(format!(
        r#"{{"apiVersion":"v1","data":{{"text":"{text}"}},"kind":"ConfigMap","metadata":{{"name":"{name}"}}}}"#
    ));
    let entry = IndexEntry {
        key: ObjectKey {
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
            namespace: String::new(),
            name: name.into(),
        },
        sha256: Digest::of(&json),
    };
    (entry, json)
}

/// Seconds from now.
fn at(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        SystemTime::now() - distance
    } else {
        SystemTime::now() + distance
    }
}

#[derive(Clone)]
struct Service {
    state: Arc<Mutex<State>>,
    authority: Arc<Authority>,
    gives: (i64, i64),
    opened: mpsc::Sender<Session>,
    answers: mpsc::Sender<Answer>,
}

impl Service {
    fn sign(&self, csr: &[u8]) -> (String, String) {
        let mut csr = CertificateSigningRequestParams::from_der(&csr.into()).unwrap();
        csr.params.not_before = at(self.gives.0).into();
        csr.params.not_after = at(self.gives.1).into();
        let leaf = csr.signed_by(&self.authority.0).unwrap();
        (leaf.pem(), self.authority.0.pem())
    }
}

#[tonic::async_trait]
impl EnrolmentService for Service {
    async fn enrol(
        &self,
        request: Request<EnrolRequest>,
    ) -> Result<Response<EnrolResponse>, Status> {
        let request = request.into_inner();
        let loses_answer = {
            let mut state = self.state.lock();
            if !state.used.insert(request.token) {
                return Err(Status::failed_precondition("it has been used"));
            }
            state.enrolled += 1;
            std::mem::take(&mut state.loses_answer)
        };
        if loses_answer {
            return Err(Status::unavailable("the line went dead"));
        }
        let (certificate_chain, ca_bundle) = self.sign(&request.csr);
        Ok(Response::new(EnrolResponse {
            certificate_chain,
            ca_bundle,
            cluster: "eu-1".into(),
        }))
    }
}

#[tonic::async_trait]
impl AgentService for Service {
    type SessionStream = ReceiverStream<Result<HubMessage, Status>>;
    type FetchBundleStream = ReceiverStream<Result<FetchBundleResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        if let Some(status) = self.state.lock().refuses_sessions.clone() {
            return Err(status);
        }
        let peer = request.extensions().get::<Peer>().cloned().unwrap();
        let (says, stream) = mpsc::channel(64);
        let session = Session {
            certificate: peer.0,
            hears: request.into_inner(),
            says,
        };
        self.opened.send(session).await.unwrap();
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn send_plan(
        &self,
        request: Request<Streaming<PlanPart>>,
    ) -> Result<Response<SendPlanResponse>, Status> {
        let (ends, ended) = oneshot::channel();
        let parts = request.into_inner();
        self.answers.send(Answer { parts, ends }).await.unwrap();
        // The test ends it by its words, or by letting go of the answer.
        match ended.await {
            Ok(status) => Err(status),
            Err(_) => Ok(Response::new(SendPlanResponse {})),
        }
    }

    async fn fetch_bundle(
        &self,
        request: Request<FetchBundleRequest>,
    ) -> Result<Response<Self::FetchBundleStream>, Status> {
        let request = request.into_inner();
        let (mut objects, have, fault) = {
            let mut state = self.state.lock();
            state.fetched.push(request.clone());
            let fault = state.fault.take();
            let objects = state.bundles.get(&request.digest).cloned();
            let have = state.bundles.get(&request.have_digest).cloned();
            let Some(objects) = objects.filter(|_| fault != Some(Fault::NotAssigned)) else {
                return Err(Status::permission_denied("not assigned to this cluster"));
            };
            (objects, have.unwrap_or_default(), fault)
        };
        match fault {
            Some(Fault::Corrupt) => objects[0].1 = objects[1].1.clone(),
            Some(Fault::Short) => {
                objects.pop();
            }
            _ => {}
        }
        let have: HashSet<_> = have.into_iter().map(|(entry, _)| entry.sha256).collect();
        let mut plain = Vec::new();
        for (entry, json) in &objects {
            let lacks = !have.contains(&entry.sha256) && fault != Some(Fault::Hollow);
            let entry = BundleEntry {
                object: Some(entry.key.clone().into()),
                sha256: entry.sha256.0.to_vec().into(),
                json: if lacks { json.clone() } else { Bytes::new() },
            };
            plain.extend(entry.encode_length_delimited_to_vec());
        }
        let mut stream = zstd::Encoder::new(Vec::new(), 3).unwrap();
        stream.write_all(&plain).unwrap();
        let mut stream = stream.finish().unwrap();
        let header = BundleHeader {
            digest: request.digest,
            objects: objects.len().try_into().unwrap(),
            bytes: match fault {
                Some(Fault::Bomb) => 10,
                _ => plain.len() as u64,
            },
        };
        match fault {
            Some(Fault::Noise) => stream.fill(b'x'),
            Some(Fault::Truncated | Fault::Broken) => stream.truncate(stream.len() / 2),
            _ => {}
        }
        let part = |part| Ok(FetchBundleResponse { part: Some(part) });
        let mut parts = vec![part(fetch_bundle_response::Part::Header(header))];
        parts.extend(stream.chunks(100).map(|piece| {
            part(fetch_bundle_response::Part::Chunk(Bytes::copy_from_slice(
                piece,
            )))
        }));
        if fault == Some(Fault::Broken) {
            parts.push(Err(Status::unavailable("the disk fell off")));
        }
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            for part in parts {
                if sender.send(part).await.is_err() {
                    break;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn renew_certificate(
        &self,
        request: Request<RenewCertificateRequest>,
    ) -> Result<Response<RenewCertificateResponse>, Status> {
        if request.extensions().get::<Peer>().unwrap().0.is_none() {
            return Err(Status::unauthenticated("who are you?"));
        }
        self.state.lock().renewed += 1;
        let (certificate_chain, ca_bundle) = self.sign(&request.into_inner().csr);
        Ok(Response::new(RenewCertificateResponse {
            certificate_chain,
            ca_bundle,
        }))
    }
}

//! A hub that a test plays: real TLS and gRPC, and whatever the test says.

use std::collections::{BTreeMap, HashSet};
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::StreamExt as _;
use lockstep_proto::Digest;
use lockstep_proto::bundle::{IndexEntry, ObjectKey, bundle_digest};
use lockstep_proto::desired::desired_digest;
use lockstep_proto::v1::agent_service_server::{AgentService, AgentServiceServer};
use lockstep_proto::v1::enrolment_service_server::{EnrolmentService, EnrolmentServiceServer};
use lockstep_proto::v1::*;
use parking_lot::Mutex;
use prost::Message as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, IsCa,
    KeyPair, PublicKeyData as _,
};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};

use crate::within;

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
        let service = Service {
            state: Arc::clone(&state),
            authority: Arc::clone(&authority),
            gives: plan.gives,
            opened,
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

fn server_config(authority: &Authority, plan: &Plan) -> rustls::ServerConfig {
    let mut params = CertificateParams::new(plan.names.clone()).unwrap();
    params.not_before = at(plan.valid.0).into();
    params.not_after = at(plan.valid.1).into();
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &authority.0).unwrap();
    let mut chain = vec![leaf.der().clone()];
    if plan.shows_authority {
        chain.push(authority.0.der().clone());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.0.der().clone()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            chain,
            rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
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

/// One session, played by the test.
pub struct Session {
    /// What the agent showed, DER.
    pub certificate: Option<Vec<u8>>,
    hears: Streaming<AgentMessage>,
    says: mpsc::Sender<Result<HubMessage, Status>>,
}

impl Session {
    /// Hello, answered by a Welcome that says nothing is held.
    pub async fn open(&mut self) -> Hello {
        let hello = self.hello().await;
        self.welcome(Vec::new()).await;
        hello
    }

    /// Whether there is somebody on the other side.
    pub async fn try_hello(&mut self) -> bool {
        matches!(self.hears.message().await, Ok(Some(_)))
    }

    pub async fn hello(&mut self) -> Hello {
        match self.hear().await {
            agent_message::Message::Hello(hello) => hello,
            other => panic!("not Hello: {other:?}"),
        }
    }

    pub async fn welcome(&self, held_reports: Vec<HeldReport>) {
        self.say(hub_message::Message::Welcome(Welcome {
            heartbeat_seconds: 1,
            held_reports,
            more: false,
        }))
        .await;
    }

    pub async fn say(&self, message: hub_message::Message) {
        let message = HubMessage {
            message: Some(message),
        };
        self.says.send(Ok(message)).await.unwrap();
    }

    /// A message of a kind that this contract does not have.
    pub async fn say_something_new(&self) {
        self.says
            .send(Ok(HubMessage { message: None }))
            .await
            .unwrap();
    }

    pub async fn hear(&mut self) -> agent_message::Message {
        within("the agent says something", self.hears.message())
            .await
            .unwrap()
            .unwrap()
            .message
            .unwrap()
    }

    /// The next Report; heartbeats are passed over.
    pub async fn report(&mut self) -> Report {
        loop {
            match self.hear().await {
                agent_message::Message::Report(report) => return report,
                agent_message::Message::Heartbeat(_) => {}
                other => panic!("not a Report: {other:?}"),
            }
        }
    }

    pub async fn ack(&self, seq: u64) {
        self.say(hub_message::Message::Ack(Ack { seq })).await;
    }

    /// The whole of a desired state in one message.
    pub async fn snapshot(&self, version: u64, items: &[DesiredItem], tombstones: &[&str]) {
        self.say(hub_message::Message::DesiredState(state(
            version, 0, items, tombstones,
        )))
        .await;
    }

    /// Ends with `status`, or in order.
    pub async fn end(self, status: Option<Status>) {
        if let Some(status) = status {
            self.says.send(Err(status)).await.unwrap();
        }
    }

    /// Waits until the agent is gone.
    pub async fn gone(mut self) {
        within("the agent ends its session", async {
            while let Ok(Some(_)) = self.hears.message().await {}
        })
        .await;
    }
}

pub fn item(assignment: &str, digest: Digest) -> DesiredItem {
    DesiredItem {
        assignment: assignment.into(),
        bundle_digest: digest.to_string(),
        revision: "1".repeat(40),
        options: None,
    }
}

pub fn state(version: u64, base: u64, items: &[DesiredItem], tombstones: &[&str]) -> DesiredState {
    let tombstones: Vec<_> = tombstones
        .iter()
        .map(|name| Tombstone {
            assignment: (*name).into(),
        })
        .collect();
    DesiredState {
        version,
        base,
        digest: desired_digest(items, &tombstones).to_string(),
        items: items.to_vec(),
        tombstones,
        last: true,
    }
}

/// Whom the connection is with.
#[derive(Clone)]
struct Peer(Option<Vec<u8>>);

struct Io(tokio_rustls::server::TlsStream<TcpStream>);

impl Connected for Io {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        let certificates = self.0.get_ref().1.peer_certificates();
        Peer(certificates.map(|chain| chain[0].to_vec()))
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

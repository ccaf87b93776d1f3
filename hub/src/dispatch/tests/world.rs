//! A hub with its agents' end open on a loopback socket, and agents that
//! speak the protocol as a real one does, without a cluster behind them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use lockstep_proto::bundle::{IndexEntry, ObjectKey, bundle_digest};
use lockstep_proto::desired::desired_digest;
use lockstep_proto::v1::agent_service_client::AgentServiceClient;
use lockstep_proto::{ClusterName, Digest, v1};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::DropGuard;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Status, Streaming};

use super::super::parts::MESSAGE_LIMIT;
use super::super::*;
use crate::status::{Enrolment, FleetOptions};
use crate::store::{Change, DesiredChange, JoinTokenRow, Store};
use crate::transport::{PeerIdentity, PeerInfo};

use v1::agent_message::Message as Said;
use v1::hub_message::Message as Heard;
use v1::resource::Resource as Any;

/// Long enough for a loaded machine; a test that works never waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct World {
    pub fleet: Fleet,
    pub dispatch: Dispatch,
    pub channel: Channel,
    pub stop: CancellationToken,
    _stop: DropGuard,
    _dir: tempfile::TempDir,
}

pub async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("lockstep.db")).unwrap();
    let fleet = Fleet::load(store, FleetOptions::default()).await.unwrap();
    let cancel = CancellationToken::new();
    let dispatch = Dispatch::start(
        fleet.clone(),
        Pki::open(dir.path(), SystemTime::now()).unwrap(),
        Metrics::new(),
        dir.path().to_owned(),
        &TaskTracker::new(),
        &cancel,
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = tonic::service::interceptor::InterceptedService::new(dispatch.service(), named);
    tokio::spawn(
        Server::builder()
            .add_service(service)
            .serve_with_incoming_shutdown(
                TcpListenerStream::new(listener),
                cancel.clone().cancelled_owned(),
            ),
    );
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    World {
        fleet,
        dispatch,
        channel: endpoint.connect().await.unwrap(),
        stop: cancel.clone(),
        _stop: cancel.drop_guard(),
        _dir: dir,
    }
}

/// Stands for the TLS listener: the test says in the metadata who calls.
fn named(mut request: Request<()>) -> Result<Request<()>, Status> {
    let text = |key| {
        let value = request.metadata().get(key)?;
        Some(value.to_str().unwrap().to_owned())
    };
    let identity = text("cluster").map(|cluster| PeerIdentity {
        cluster: ClusterName::new(&cluster).unwrap(),
        identity: text("identity").unwrap(),
    });
    request.extensions_mut().insert(PeerInfo {
        address: ([127, 0, 0, 1], 1).into(),
        identity,
        expired_identity: None,
    });
    Ok(request)
}

pub fn cluster(name: &str) -> ClusterName {
    ClusterName::new(name).unwrap()
}

/// The identity that [`World::join`] gives.
pub fn identity(name: &str) -> PeerIdentity {
    PeerIdentity {
        cluster: cluster(name),
        identity: format!("{name}-identity"),
    }
}

pub fn request<T>(peer: &PeerIdentity, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("cluster", peer.cluster.as_str().parse().unwrap());
    metadata.insert("identity", peer.identity.parse().unwrap());
    request
}

fn meta(name: &str) -> Option<v1::ObjectMeta> {
    Some(v1::ObjectMeta {
        name: name.into(),
        ..v1::ObjectMeta::default()
    })
}

fn object(name: &str, content: &str) -> (IndexEntry, bytes::Bytes) {
    let json = format!(r#"{{"name":"{name}","content":"{content}"}}"#);
    let entry = IndexEntry {
        key: ObjectKey {
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
            namespace: String::new(),
            name: name.into(),
        },
        sha256: Digest::of(json.as_bytes()),
    };
    (entry, json.into())
}

impl World {
    /// Stores a Bundle of ConfigMaps, by name and content.
    pub async fn bundle(&self, objects: &[(&str, &str)]) -> Digest {
        let objects: Vec<_> = objects
            .iter()
            .map(|(name, content)| object(name, content))
            .collect();
        let digest = bundle_digest(objects.iter().map(|(entry, _)| entry));
        self.fleet
            .store()
            .save_bundle(digest, objects)
            .await
            .unwrap();
        digest
    }

    pub async fn change(&self, name: &str, assignment: &str, change: Change) {
        let change = DesiredChange {
            cluster: cluster(name),
            assignment: assignment.into(),
            change,
            because: None,
        };
        self.fleet.change_desired(vec![change]).await.unwrap();
    }

    pub async fn assign(&self, name: &str, assignment: &str, digest: Digest) {
        let change = Change::Set {
            digest,
            revision: "f".repeat(40).into(),
            options: std::sync::Arc::default(),
        };
        self.change(name, assignment, change).await;
    }

    pub async fn connect(&self, peer: &PeerIdentity, version: u64, digest: &str) -> Agent {
        let (say, said) = mpsc::channel(64);
        let hello = v1::Hello {
            agent_version: "0.1.0".into(),
            kubernetes_version: "v1.36.3".into(),
            version,
            digest: digest.into(),
        };
        let mut agent = Agent {
            say,
            hear: self.open(peer, said).await.unwrap(),
            version,
            wanted: BTreeMap::new(),
            held: BTreeMap::new(),
        };
        agent.say(Said::Hello(hello)).await;
        loop {
            let Heard::Welcome(welcome) = agent.heard().await.unwrap() else {
                panic!("the first message is not a Welcome");
            };
            assert!(welcome.heartbeat_seconds > 0);
            agent.held.extend(
                welcome
                    .held_reports
                    .into_iter()
                    .map(|h| (h.assignment, h.digest)),
            );
            if !welcome.more {
                return agent;
            }
        }
    }

    pub async fn open(
        &self,
        peer: &PeerIdentity,
        said: mpsc::Receiver<v1::AgentMessage>,
    ) -> Result<Streaming<v1::HubMessage>, Status> {
        AgentServiceClient::new(self.channel.clone())
            .session(request(peer, ReceiverStream::new(said)))
            .await
            .map(tonic::Response::into_inner)
    }

    pub async fn fetch(
        &self,
        peer: &PeerIdentity,
        digest: &str,
        have: &str,
    ) -> Result<Vec<v1::BundleEntry>, Status> {
        let fetch = v1::FetchBundleRequest {
            digest: digest.into(),
            have_digest: have.into(),
        };
        let mut stream = AgentServiceClient::new(self.channel.clone())
            .fetch_bundle(request(peer, fetch))
            .await?
            .into_inner();
        let mut header = None;
        let mut packed = Vec::new();
        while let Some(message) = stream.message().await? {
            match message.part.unwrap() {
                v1::fetch_bundle_response::Part::Header(h) => assert!(header.replace(h).is_none()),
                v1::fetch_bundle_response::Part::Chunk(chunk) => packed.extend_from_slice(&chunk),
            }
        }
        let header = header.expect("a header comes first");
        assert_eq!(header.digest, digest);
        let mut plain = bytes::Bytes::from(zstd::stream::decode_all(&packed[..]).unwrap());
        assert_eq!(header.bytes, plain.len() as u64);
        let mut entries = Vec::new();
        while !plain.is_empty() {
            entries.push(v1::BundleEntry::decode_length_delimited(&mut plain).unwrap());
        }
        assert_eq!(header.objects as usize, entries.len());
        Ok(entries)
    }

    /// A cluster whose agent has [`identity`], and assignments that it can be
    /// told of.
    pub async fn join(&self, name: &str, assignments: &[&str]) {
        let repository = Any::Repository(v1::Repository {
            metadata: meta("shop"),
            spec: Some(v1::RepositorySpec {
                url: "https://git.example.com/shop.git".into(),
                ..v1::RepositorySpec::default()
            }),
            ..v1::Repository::default()
        });
        let group = Any::ClusterGroup(v1::ClusterGroup {
            metadata: meta("all"),
            spec: Some(v1::ClusterGroupSpec {
                selector: Some(v1::LabelSelector::default()),
            }),
            ..v1::ClusterGroup::default()
        });
        let assignments = assignments.iter().map(|name| {
            Any::Assignment(v1::Assignment {
                metadata: meta(name),
                spec: Some(v1::AssignmentSpec {
                    repository: "shop".into(),
                    r#ref: Some(v1::GitRef {
                        branch: "main".into(),
                        ..v1::GitRef::default()
                    }),
                    cluster_groups: vec!["all".into()],
                    ..v1::AssignmentSpec::default()
                }),
                ..v1::Assignment::default()
            })
        });
        let resources = [repository, group].into_iter().chain(assignments);
        let resources = resources.map(|resource| v1::Resource {
            resource: Some(resource),
        });
        self.fleet
            .apply(resources.collect(), false, "admin")
            .await
            .unwrap();
        self.enrol(name, &identity(name).identity).await;
    }

    /// Joins a cluster, anew if it has joined before.
    pub async fn enrol(&self, name: &str, identity: &str) -> PeerIdentity {
        let token = JoinTokenRow {
            id: format!("token-of-{identity}"),
            hash: Digest::of(identity.as_bytes()),
            cluster: cluster(name),
            labels: BTreeMap::new(),
            created_at: 0,
            expires_at: i64::MAX,
            used_at: None,
            revoked_at: None,
            used_by: None,
            used_identity: String::new(),
        };
        self.fleet.put_join_token(token.clone()).await.unwrap();
        let enrolment = Enrolment {
            token_id: token.id,
            token_hash: token.hash,
            key: Digest::of(b"key"),
            identity: identity.into(),
        };
        let enrolled = self.fleet.enrol(enrolment).await.unwrap();
        PeerIdentity {
            cluster: enrolled.cluster,
            identity: enrolled.identity,
        }
    }

    /// How many sessions are live.
    pub fn sessions(&self) -> usize {
        self.dispatch.0.registry.live()
    }

    pub fn connection(&self, name: &str) -> v1::connection::Status {
        let found = self.fleet.get(v1::kind::Name::Cluster, name);
        let Some(Any::Cluster(cluster)) = found.and_then(|found| found.resource) else {
            panic!("there is no cluster {name}");
        };
        cluster.status.unwrap().connection()
    }
}

/// The agent's end of a session. `wanted` holds the item of each assignment,
/// or none for a tombstone.
pub struct Agent {
    say: mpsc::Sender<v1::AgentMessage>,
    hear: Streaming<v1::HubMessage>,
    pub version: u64,
    pub wanted: BTreeMap<String, Option<v1::DesiredItem>>,
    pub held: BTreeMap<String, u64>,
}

impl Agent {
    pub async fn say(&self, message: Said) {
        let message = v1::AgentMessage {
            message: Some(message),
        };
        self.say.send(message).await.unwrap();
    }

    /// A message of a kind that only a newer agent knows.
    pub async fn say_nothing_known(&self) {
        self.say
            .send(v1::AgentMessage { message: None })
            .await
            .unwrap();
    }

    /// The next message, or how the session ended.
    pub async fn heard(&mut self) -> Result<Heard, Status> {
        let message = tokio::time::timeout(PATIENCE, self.hear.message())
            .await
            .expect("the hub says nothing")?
            .ok_or_else(|| Status::ok("ended"))?;
        assert!(message.encoded_len() <= MESSAGE_LIMIT);
        Ok(message.message.unwrap())
    }

    /// How the session ends, whatever is said before.
    pub async fn ended(&mut self) -> Status {
        loop {
            if let Err(status) = self.heard().await {
                return status;
            }
        }
    }

    /// Takes in one desired state, as an agent does; returns its base.
    pub async fn told(&mut self) -> u64 {
        let (base, acked) = self.take_in().await;
        assert_eq!(acked, 0, "nothing was reported");
        base
    }

    /// Takes in desired states up to `version` and the acknowledgement of
    /// everything up to `seq`, in whatever order they come.
    pub async fn told_and_acked(&mut self, version: u64, seq: u64) {
        let mut acked = 0;
        while self.version < version {
            acked = self.take_in().await.1.max(acked);
        }
        if acked < seq {
            self.acked(seq).await;
        }
    }

    async fn take_in(&mut self) -> (u64, u64) {
        let mut begun = false;
        let mut acked = 0;
        loop {
            let part = match self.heard().await.unwrap() {
                Heard::DesiredState(part) => part,
                Heard::Ack(ack) => {
                    acked = ack.seq;
                    continue;
                }
                other => panic!("not a desired state: {other:?}"),
            };
            if !begun {
                begun = true;
                match part.base {
                    0 => self.wanted.clear(),
                    base => assert_eq!(base, self.version, "a delta to what is not held"),
                }
            }
            for item in part.items {
                self.wanted.insert(item.assignment.clone(), Some(item));
            }
            for tombstone in part.tombstones {
                self.wanted.insert(tombstone.assignment, None);
            }
            if part.last {
                self.version = part.version;
                assert_eq!(
                    part.digest,
                    self.digest(),
                    "what is held now has another digest"
                );
                return (part.base, acked);
            }
        }
    }

    /// Waits for the acknowledgement of everything up to `seq`.
    pub async fn acked(&mut self, seq: u64) {
        loop {
            match self.heard().await.unwrap() {
                Heard::Ack(ack) if ack.seq >= seq => return assert_eq!(ack.seq, seq),
                Heard::Ack(_) => {}
                other => panic!("not an acknowledgement: {other:?}"),
            }
        }
    }

    pub fn digest(&self) -> String {
        let items: Vec<_> = self.wanted.values().flatten().cloned().collect();
        let gone = self.wanted.iter().filter(|(_, item)| item.is_none());
        let tombstones: Vec<_> = gone
            .map(|(name, _)| v1::Tombstone {
                assignment: name.clone(),
            })
            .collect();
        desired_digest(&items, &tombstones).to_string()
    }

    /// What is wanted, as "base set, shop tombstone".
    pub fn wants(&self) -> String {
        let words: Vec<_> = self
            .wanted
            .iter()
            .map(|(name, item)| {
                let verb = if item.is_some() { "set" } else { "tombstone" };
                format!("{name} {verb}")
            })
            .collect();
        words.join(", ")
    }
}

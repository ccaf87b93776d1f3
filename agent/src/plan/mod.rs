//! What applying a Bundle would change here, by a server-side dry run of each
//! of its objects against what the cluster holds now.
//!
//! In comes a question of the hub, out goes a stream of differences. Nothing
//! in the cluster or in an Inventory is changed by it, and nobody waits for
//! it: the worker of the Assignment goes on as if nobody had asked.

mod coming;
mod gone;
mod make;
mod show;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use lockstep_proto::Digest;
use lockstep_proto::v1::agent_service_client::AgentServiceClient;
use lockstep_proto::v1::plan_part::Part;
use lockstep_proto::v1::{ObjectDiff, Plan, PlanEnd, PlanHeader, PlanPart};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::bundle::BundleSource;
use crate::caps::Caps;
use crate::cluster::Cluster;
use crate::desired::DesiredWatch;
use crate::inventory::registry::Registry;

pub use show::redact;

/// Plans that are made at once; more wait their turn.
const AT_ONCE: usize = 2;
/// Parts between the dry runs and the connection.
const PARTS: usize = 4;
/// All diffs of one answer: the hub takes 4 MiB, names and framing included.
const DIFFS: usize = 3 << 20;
/// All of one answer; what does not fit is left out, and that is said.
const ANSWER: usize = (4 << 20) - (64 << 10);
/// Longest message beside a diff.
const MESSAGE: usize = 2048;

/// Where the session finds whoever makes plans: the engine, once it has begun.
/// Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Desk(Arc<watch::Sender<Option<Arc<Ground>>>>);

impl Default for Desk {
    fn default() -> Self {
        Self(Arc::new(watch::channel(None).0))
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Desk")
    }
}

impl Desk {
    /// From now on, plans are made on `ground`.
    pub fn open(&self, ground: Arc<Ground>) {
        self.0.send_replace(Some(ground));
    }

    async fn ground(&self) -> Arc<Ground> {
        let mut open = self.0.subscribe();
        let ground = match open.wait_for(Option::is_some).await {
            Ok(ground) => ground.clone(),
            Err(_) => None,
        };
        match ground {
            Some(ground) => ground,
            // The sender is `self`.
            None => std::future::pending().await,
        }
    }
}

/// What a plan is made of, and which Bundles the agent needs.
pub struct Ground {
    pub cluster: Cluster,
    pub registry: Arc<Registry>,
    pub bundles: Arc<dyn BundleSource>,
    pub caps: Caps,
    desired: DesiredWatch,
    /// Bundles that plans are being made of.
    asked: Mutex<Vec<Digest>>,
    turns: Semaphore,
}

impl Ground {
    #[must_use]
    pub fn new(
        cluster: Cluster,
        registry: Arc<Registry>,
        bundles: Arc<dyn BundleSource>,
        caps: Caps,
        desired: DesiredWatch,
    ) -> Self {
        Self {
            cluster,
            registry,
            bundles,
            caps,
            desired,
            asked: Mutex::default(),
            turns: Semaphore::new(AT_ONCE),
        }
    }

    /// Lets go of Bundles that nobody needs.
    pub fn tidy(&self) {
        let desired = self.desired.borrow().clone();
        let mut keep: HashSet<Digest> = desired
            .items
            .values()
            .filter_map(|item| item.bundle_digest.parse().ok())
            .collect();
        for shared in self.registry.all() {
            keep.extend(shared.inventory.lock().settled.as_ref().map(|s| s.digest));
        }
        keep.extend(self.asked.lock().iter().copied());
        self.bundles.retain(&keep);
    }

    /// Keeps the Bundle for as long as what is returned is.
    fn hold(self: &Arc<Self>, digest: Digest) -> Held {
        self.asked.lock().push(digest);
        Held {
            ground: Arc::clone(self),
            digest,
        }
    }
}

struct Held {
    ground: Arc<Ground>,
    digest: Digest,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut asked = self.ground.asked.lock();
        if let Some(place) = asked.iter().position(|digest| *digest == self.digest) {
            asked.swap_remove(place);
        }
        drop(asked);
        self.ground.tidy();
    }
}

/// Answers the hub's question `plan` over `channel`. Ends early where nobody
/// waits for the answer any more; dropped, it leaves nothing behind.
pub async fn answer(desk: Desk, channel: Channel, plan: Plan) {
    let (parts, sent) = mpsc::channel(PARTS);
    let id = plan.id;
    let mut out = Out {
        parts,
        bytes: 0,
        objects: 0,
    };
    let work = async move {
        // At once, so that the hub knows that it is being worked on.
        out.header(id, String::new()).await;
        let ground = desk.ground().await;
        let _turn = ground.turns.acquire().await;
        match Box::pin(make::make(&ground, &plan, &mut out)).await {
            Ok(()) => out.end().await,
            Err(why) => {
                tracing::warn!(assignment = plan.assignment, %why, "no plan");
                out.header(id, why).await;
            }
        }
    };
    let mut client = AgentServiceClient::new(channel);
    let call = client.send_plan(ReceiverStream::new(sent));
    tokio::pin!(work, call);
    let mut made = false;
    let answered = loop {
        tokio::select! {
            answered = &mut call => break answered,
            () = &mut work, if !made => made = true,
        }
    };
    if let Err(status) = answered {
        tracing::debug!(%status, "nobody takes the plan");
    }
}

/// The way to the hub, and how much has gone there.
pub struct Out {
    parts: mpsc::Sender<PlanPart>,
    bytes: usize,
    objects: u32,
}

impl Out {
    async fn header(&self, id: u64, mut error: String) {
        crate::report::truncate(&mut error, MESSAGE);
        let header = PlanHeader { id, error };
        self.send(Part::Header(header)).await;
    }

    /// Sends what would become of one object, cut where it is more than the
    /// hub takes. False where nothing more fits.
    async fn object(&mut self, mut object: ObjectDiff) -> bool {
        crate::report::truncate(&mut object.object, MESSAGE);
        crate::report::truncate(&mut object.message, MESSAGE);
        if self.bytes + object.diff.len() > DIFFS {
            object.diff = String::new();
            let left = "its diff is left out, for there are too many";
            object.message = match object.message.as_str() {
                "" => left.to_owned(),
                message => format!("{message}; {left}"),
            };
        }
        let bytes = object.encoded_len() + 16;
        if self.bytes + bytes > ANSWER {
            return false;
        }
        self.bytes += bytes;
        self.objects += 1;
        self.send(Part::Object(object)).await;
        true
    }

    /// Without it the hub does not take the answer for whole: a connection may
    /// break off in order.
    async fn end(&self) {
        let objects = self.objects;
        self.send(Part::End(PlanEnd { objects })).await;
    }

    async fn send(&self, part: Part) {
        // Nobody listens where the call has ended: then this is dropped soon.
        let _ = self.parts.send(PlanPart { part: Some(part) }).await;
    }
}

//! The live sessions, at most one for each cluster: the newest wins, and an
//! older one can neither close the newer nor speak for the cluster any more.
//!
//! Whether a cluster is Online follows from this map and is told to `Presence`
//! under the lock of the cluster's entry, so that the two never disagree about
//! which came last. A session that ends leaves its place open for a moment: an
//! agent that only reconnects was never Offline.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use lockstep_proto::{ClusterName, v1};
use tokio::time::Instant;

use super::link::{Cut, Link};

/// An agent that says nothing for this long is gone: three heartbeats and a
/// slow line. With [`SWEEP`] and the time to show it, less than a minute.
pub const SILENCE: Duration = Duration::from_secs(50);
/// How long a cluster counts as Online after its session ended, so that a
/// reconnect does not flicker.
pub const GRACE: Duration = Duration::from_secs(5);
/// How often silent and ended sessions are looked for.
pub const SWEEP: Duration = Duration::from_secs(2);

/// Who says whom to let in, and is told of clusters that come and go. Called
/// under a lock: neither blocks nor calls back.
pub trait Presence: Send + Sync + 'static {
    /// Whether a certificate with `identity` speaks for the cluster now.
    fn admits(&self, cluster: &ClusterName, identity: &str) -> bool;
    fn opened(&self, cluster: &ClusterName, hello: &v1::Hello);
    fn closed(&self, cluster: &ClusterName);
}

/// See the module.
pub struct Registry<P> {
    places: DashMap<ClusterName, Place>,
    epochs: AtomicU64,
    started: Instant,
    presence: P,
}

enum Place {
    Live(Arc<Link>),
    /// The session of this epoch ended at this second, and no newer came yet.
    Left {
        epoch: u64,
        at: u32,
    },
}

impl<P: Presence> Registry<P> {
    pub fn new(presence: P) -> Self {
        Self {
            places: DashMap::new(),
            epochs: AtomicU64::new(0),
            started: Instant::now(),
            presence,
        }
    }

    /// Seconds on the clock of this registry.
    pub fn now(&self) -> u32 {
        u32::try_from(self.started.elapsed().as_secs()).unwrap_or(u32::MAX)
    }

    /// A new session of `cluster`, which from now on is the only one: the one
    /// before it is ended. None where `identity` does not speak for it, which
    /// is asked at the last moment, so that a former agent of the cluster
    /// cannot displace the present one. An identity that is revoked after that
    /// finds the session in [`Self::get`].
    pub fn open(
        &self,
        cluster: &ClusterName,
        identity: &str,
        hello: &v1::Hello,
    ) -> Option<Arc<Link>> {
        let entry = self.places.entry(cluster.clone());
        if !self.presence.admits(cluster, identity) {
            return None;
        }
        let epoch = self.epochs.fetch_add(1, Ordering::Relaxed) + 1;
        let link = Arc::new(Link::new(cluster.clone(), identity, epoch, self.now()));
        self.presence.opened(cluster, hello);
        let place = Place::Live(Arc::clone(&link));
        match entry {
            Entry::Occupied(mut entry) => {
                if let Place::Live(before) = entry.insert(place) {
                    before.end(Cut::Replaced);
                }
            }
            Entry::Vacant(entry) => {
                entry.insert(place);
            }
        }
        Some(link)
    }

    /// The session is over, unless it has been replaced: then nothing happens.
    pub fn close(&self, link: &Link) {
        if let Some(mut place) = self.places.get_mut(&link.cluster)
            && place.epoch() == link.epoch
        {
            *place = Place::Left {
                epoch: link.epoch,
                at: self.now(),
            };
        }
    }

    /// Ends the session of `cluster` for a reason that does not wait for the
    /// agent to come back.
    pub fn cut(&self, link: &Link, why: Cut) {
        link.end(why);
        self.places.remove_if(&link.cluster, |cluster, place| {
            let same = place.epoch() == link.epoch;
            if same {
                self.presence.closed(cluster);
            }
            same
        });
    }

    /// The live session of a cluster.
    pub fn get(&self, cluster: &ClusterName) -> Option<Arc<Link>> {
        match &*self.places.get(cluster)? {
            Place::Live(link) => Some(Arc::clone(link)),
            Place::Left { .. } => None,
        }
    }

    /// Whether the cluster has a session, or had one a moment ago.
    pub fn is_here(&self, cluster: &ClusterName) -> bool {
        self.places.contains_key(cluster)
    }

    /// Whether what the session says still counts: no newer one has opened,
    /// and it was not cut.
    pub fn speaks(&self, link: &Link) -> bool {
        self.places
            .get(&link.cluster)
            .is_some_and(|place| place.epoch() == link.epoch)
    }

    /// How many sessions are live.
    #[cfg(test)]
    pub fn live(&self) -> usize {
        self.places
            .iter()
            .filter(|place| matches!(**place, Place::Live(_)))
            .count()
    }

    /// Cuts the sessions that were last heard of before `silent_before`, and
    /// gives up the places whose grace is over.
    pub fn sweep(&self, silent_before: u32) {
        let now = self.now();
        let grace = u32::try_from(GRACE.as_secs()).unwrap_or(u32::MAX);
        self.places.retain(|cluster, place| {
            let gone = match place {
                Place::Live(link) if link.heard() < silent_before => {
                    link.end(Cut::Silent);
                    true
                }
                Place::Live(_) => false,
                Place::Left { at, .. } => now.saturating_sub(*at) >= grace,
            };
            if gone {
                self.presence.closed(cluster);
            }
            !gone
        });
    }

    /// Ends all sessions because the hub stops. Says nothing of the clusters:
    /// they are as they were.
    pub fn shut_down(&self) {
        for place in &self.places {
            if let Place::Live(link) = &*place {
                link.end(Cut::Shutdown);
            }
        }
    }
}

impl Place {
    fn epoch(&self) -> u64 {
        match self {
            Self::Live(link) => link.epoch,
            Self::Left { epoch, .. } => *epoch,
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use tokio::time::advance;

    use super::*;

    /// Remembers what it was told, as "+eu-1" and "-eu-1".
    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Vec<String>>>);

    impl Presence for Told {
        fn admits(&self, _: &ClusterName, identity: &str) -> bool {
            identity == "id"
        }

        fn opened(&self, cluster: &ClusterName, _: &v1::Hello) {
            self.0.lock().push(format!("+{cluster}"));
        }

        fn closed(&self, cluster: &ClusterName) {
            self.0.lock().push(format!("-{cluster}"));
        }
    }

    impl Told {
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut *self.0.lock())
        }
    }

    fn world() -> (Registry<Told>, Told, ClusterName) {
        let told = Told::default();
        let cluster = ClusterName::new("eu-1").unwrap();
        (Registry::new(told.clone()), told, cluster)
    }

    fn open(registry: &Registry<Told>, cluster: &ClusterName) -> Arc<Link> {
        let link = registry.open(cluster, "id", &v1::Hello::default());
        link.expect("this identity is admitted")
    }

    #[tokio::test(start_paused = true)]
    async fn a_former_identity_does_not_displace_the_present_one() {
        let (registry, told, cluster) = world();
        let present = open(&registry, &cluster);
        assert!(
            registry
                .open(&cluster, "former", &v1::Hello::default())
                .is_none()
        );
        assert_eq!(present.ended(), None);
        assert!(registry.speaks(&present));
        assert_eq!(told.take(), ["+eu-1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_session_wins_and_the_older_can_do_nothing_more() {
        let (registry, told, cluster) = world();
        let old = open(&registry, &cluster);
        let new = open(&registry, &cluster);
        assert_eq!(old.ended(), Some(Cut::Replaced));
        assert_eq!(new.ended(), None);
        assert!(!registry.speaks(&old) && registry.speaks(&new));

        registry.close(&old);
        registry.cut(&old, Cut::Silent);
        advance(SILENCE * 2).await;
        new.hear(registry.now());
        registry.sweep(registry.now());
        assert_eq!(
            registry.get(&cluster).map(|link| link.epoch),
            Some(new.epoch)
        );
        assert_eq!(told.take(), ["+eu-1", "+eu-1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reconnect_within_the_grace_was_never_offline() {
        let (registry, told, cluster) = world();
        let first = open(&registry, &cluster);
        registry.close(&first);
        assert!(registry.get(&cluster).is_none());
        assert!(registry.speaks(&first), "what it last said still counts");
        advance(GRACE - Duration::from_secs(1)).await;
        registry.sweep(0);
        let _second = open(&registry, &cluster);
        advance(GRACE * 2).await;
        registry.sweep(0);
        assert_eq!(told.take(), ["+eu-1", "+eu-1"]);
        assert!(!registry.speaks(&first));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_ended_is_offline_after_the_grace() {
        let (registry, told, cluster) = world();
        registry.close(&open(&registry, &cluster));
        advance(GRACE).await;
        registry.sweep(0);
        registry.sweep(0);
        assert_eq!(told.take(), ["+eu-1", "-eu-1"]);
        assert_eq!(registry.live(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_cuts_a_session_and_is_offline_at_once() {
        let (registry, told, cluster) = world();
        let quiet = open(&registry, &cluster);
        let loud = open(&registry, &ClusterName::new("eu-2").unwrap());
        advance(SILENCE).await;
        loud.hear(registry.now());
        registry.sweep(registry.now());
        assert_eq!(quiet.ended(), Some(Cut::Silent));
        assert_eq!(loud.ended(), None);
        registry.close(&quiet);
        assert_eq!(told.take(), ["+eu-1", "+eu-2", "-eu-1"]);
        assert!(!registry.speaks(&quiet));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_opened_while_another_is_cut_stays() {
        let (registry, told, cluster) = world();
        let old = open(&registry, &cluster);
        old.end(Cut::Silent);
        let new = open(&registry, &cluster);
        registry.cut(&old, Cut::Silent);
        registry.close(&old);
        assert_eq!(new.ended(), None);
        assert_eq!(registry.live(), 1);
        assert_eq!(told.take(), ["+eu-1", "+eu-1"]);
    }
}

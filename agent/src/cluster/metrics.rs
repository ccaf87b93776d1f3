//! What the engine counts of its talk with the Kubernetes API.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    verb: &'static str,
}

/// Cheap to clone; all clones count together.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    requests: Family<Labels, Counter<u64, AtomicU64>>,
    /// Objects put back that somebody else had changed or deleted.
    pub corrections: Counter<u64, AtomicU64>,
    /// Objects deleted because nothing wants them any more.
    pub pruned: Counter<u64, AtomicU64>,
}

impl Metrics {
    /// Names them all in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("lockstep_agent");
        registry.register(
            "kubernetes_requests",
            "Requests to the Kubernetes API",
            self.requests.clone(),
        );
        registry.register(
            "corrections",
            "Objects put back that somebody else had changed or deleted",
            self.corrections.clone(),
        );
        registry.register(
            "pruned",
            "Objects deleted because nothing wants them any more",
            self.pruned.clone(),
        );
    }

    pub(super) fn request(&self, verb: &'static str) {
        self.requests.get_or_create(&Labels { verb }).inc();
    }

    /// How many requests were made with `verb`: "apply", "dry-run", "get",
    /// "list", "watch", "create", "replace", "merge", "delete".
    #[must_use]
    pub fn requests(&self, verb: &'static str) -> u64 {
        self.requests.get_or_create(&Labels { verb }).get()
    }
}

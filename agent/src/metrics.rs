//! What the agent counts.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Cheap to clone; all clones count together.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// 1 while there is a session with the hub.
    pub connected: Gauge<i64, AtomicI64>,
    pub sessions: Counter<u64, AtomicU64>,
    /// Version of the desired state that is held.
    pub desired_version: Gauge<i64, AtomicI64>,
    pub reports: Counter<u64, AtomicU64>,
    pub events: Counter<u64, AtomicU64>,
    /// Seconds since 1970.
    pub certificate_expires: Gauge<i64, AtomicI64>,
    pub renewal_failures: Counter<u64, AtomicU64>,
    /// Bundles fetched, and what they cost on the wire.
    pub bundles: Counter<u64, AtomicU64>,
    pub bundle_bytes: Counter<u64, AtomicU64>,
    pub bundle_failures: Counter<u64, AtomicU64>,
}

impl Metrics {
    /// Names them all in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("lockstep_agent");
        registry.register(
            "connected",
            "Whether there is a session with the hub",
            self.connected.clone(),
        );
        registry.register(
            "sessions",
            "Sessions that the hub has opened",
            self.sessions.clone(),
        );
        registry.register(
            "desired_version",
            "Version of the desired state that is held",
            self.desired_version.clone(),
        );
        registry.register("reports", "Reports sent to the hub", self.reports.clone());
        registry.register(
            "object_events",
            "What happened to objects, sent to the hub",
            self.events.clone(),
        );
        registry.register_with_unit(
            "certificate_expires_timestamp",
            "When the certificate ends, since 1970",
            Unit::Seconds,
            self.certificate_expires.clone(),
        );
        registry.register(
            "certificate_renewal_failures",
            "Tries to renew the certificate that failed",
            self.renewal_failures.clone(),
        );
        registry.register("bundles", "Bundles fetched", self.bundles.clone());
        registry.register_with_unit(
            "bundle_received",
            "What fetching Bundles took on the wire",
            Unit::Bytes,
            self.bundle_bytes.clone(),
        );
        registry.register(
            "bundle_failures",
            "Tries to fetch a Bundle that failed",
            self.bundle_failures.clone(),
        );
    }
}

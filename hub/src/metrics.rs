//! What the hub counts. Each room records into it; `web` serves it.
//!
//! Labels are few and fixed: none is the name of a cluster, a repository or an
//! assignment, so that a fleet of any size costs the same.

use std::sync::Arc;
use std::time::Duration;

use lockstep_proto::v1;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum FetchResult {
    /// Something new came.
    Changed,
    /// The remote had nothing new.
    Unchanged,
    Failed,
}

/// Where a Bundle came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum RenderResult {
    Rendered,
    /// The same tree and options had been rendered before.
    Cached,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByFetch {
    result: FetchResult,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRender {
    result: RenderResult,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCall {
    /// "service/Method", one of those that the hub serves.
    method: String,
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySync {
    sync: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
}

/// Cheap to clone; every clone counts into the same numbers.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    sessions: Gauge,
    connections: Gauge,
    handshakes: Family<ByResult, Counter>,
    clusters: Family<BySync, Gauge>,
    clusters_healthy: Gauge,
    clusters_offline: Gauge,
    reports: Counter,
    report_batch: Histogram,
    desired_pushes: Counter,
    bundle_fetches: Counter,
    bundle_bytes: Counter,
    git_fetches: Family<ByFetch, Counter>,
    git_seconds: Histogram,
    renders: Family<ByRender, Counter>,
    render_seconds: Histogram,
    commit_seconds: Histogram,
    commit_writes: Histogram,
    calls: Family<ByCall, Counter>,
    enrolments: Family<ByResult, Counter>,
    webhooks: Family<ByResult, Counter>,
    resident: Gauge,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_5, 2.0, 18))
}

fn sizes() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 13))
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    #[must_use]
    pub fn new() -> Self {
        let mut inner = Inner {
            registry: Registry::with_prefix("lockstep_hub"),
            sessions: Gauge::default(),
            connections: Gauge::default(),
            handshakes: Family::default(),
            clusters: Family::default(),
            clusters_healthy: Gauge::default(),
            clusters_offline: Gauge::default(),
            reports: Counter::default(),
            report_batch: sizes(),
            desired_pushes: Counter::default(),
            bundle_fetches: Counter::default(),
            bundle_bytes: Counter::default(),
            git_fetches: Family::default(),
            git_seconds: seconds(),
            renders: Family::default(),
            render_seconds: seconds(),
            commit_seconds: seconds(),
            commit_writes: sizes(),
            calls: Family::default(),
            enrolments: Family::default(),
            webhooks: Family::default(),
            resident: Gauge::default(),
        };
        inner.register();
        Self(Arc::new(inner))
    }

    /// An agent's session began.
    pub fn session_opened(&self) {
        self.0.sessions.inc();
    }

    /// An agent's session ended.
    pub fn session_closed(&self) {
        self.0.sessions.dec();
    }

    /// A TLS connection began: `true`, or ended: `false`.
    pub fn connection(&self, open: bool) {
        if open {
            self.0.connections.inc();
        } else {
            self.0.connections.dec();
        }
    }

    /// A TLS handshake ended: "ok", "failed", "timeout", or "crowded".
    pub fn handshake(&self, result: &'static str) {
        self.0.handshakes.get_or_create(&ByResult { result }).inc();
    }

    /// How many clusters there are in each state.
    pub fn clusters(&self, counts: &v1::ClusterCounts) {
        for (sync, count) in [
            ("Synced", counts.synced),
            ("Applying", counts.applying),
            ("OutOfSync", counts.out_of_sync),
            ("Failed", counts.failed),
            ("Unknown", counts.unknown),
        ] {
            let gauge = self.0.clusters.get_or_create(&BySync { sync });
            gauge.set(count.into());
        }
        self.0.clusters_healthy.set(counts.healthy.into());
        self.0.clusters_offline.set(counts.offline.into());
    }

    /// `count` Reports were stored together.
    pub fn reports_stored(&self, count: usize) {
        self.0.reports.inc_by(count as u64);
        self.0.report_batch.observe(count as f64);
    }

    /// A desired state was sent to an agent, whole or as a delta.
    pub fn desired_pushed(&self) {
        self.0.desired_pushes.inc();
    }

    /// A Bundle was sent to an agent in so many bytes on the wire.
    pub fn bundle_sent(&self, bytes: u64) {
        self.0.bundle_fetches.inc();
        self.0.bundle_bytes.inc_by(bytes);
    }

    /// A remote was asked for its refs, and fetched from if they had moved.
    pub fn git_fetched(&self, result: FetchResult, took: Duration) {
        self.0.git_fetches.get_or_create(&ByFetch { result }).inc();
        self.0.git_seconds.observe(took.as_secs_f64());
    }

    /// A tree became a Bundle, or did not.
    pub fn rendered(&self, result: RenderResult, took: Duration) {
        self.0.renders.get_or_create(&ByRender { result }).inc();
        self.0.render_seconds.observe(took.as_secs_f64());
    }

    /// The store committed `writes` writes in one transaction.
    pub fn committed(&self, writes: usize, took: Duration) {
        self.0.commit_seconds.observe(took.as_secs_f64());
        self.0.commit_writes.observe(writes as f64);
    }

    /// A gRPC call was answered.
    pub fn call(&self, method: &str, code: &str) {
        let by = ByCall {
            method: method.to_owned(),
            code: code.to_owned(),
        };
        self.0.calls.get_or_create(&by).inc();
    }

    /// An enrolment was "accepted", "refused" or "limited".
    pub fn enrolment(&self, result: &'static str) {
        self.0.enrolments.get_or_create(&ByResult { result }).inc();
    }

    /// A webhook call was "accepted", "unsigned", "unknown" or "malformed".
    pub fn webhook(&self, result: &'static str) {
        self.0.webhooks.get_or_create(&ByResult { result }).inc();
    }

    /// Everything in Prometheus' text format.
    #[must_use]
    pub fn encode(&self) -> String {
        if let Some(bytes) = resident_bytes() {
            self.0.resident.set(bytes);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.0.registry)
            .expect("writing to a String cannot fail");
        text
    }
}

impl Inner {
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("sessions", "Agent sessions open now", self.sessions.clone());
        r.register(
            "connections",
            "TLS connections open now",
            self.connections.clone(),
        );
        r.register(
            "handshakes",
            "TLS handshakes by result",
            self.handshakes.clone(),
        );
        r.register(
            "clusters",
            "Clusters by sync status; their sum is all clusters",
            self.clusters.clone(),
        );
        r.register(
            "clusters_healthy",
            "Clusters that are Healthy",
            self.clusters_healthy.clone(),
        );
        r.register(
            "clusters_offline",
            "Clusters that are Offline",
            self.clusters_offline.clone(),
        );
        r.register("reports", "Reports stored", self.reports.clone());
        r.register(
            "report_batch",
            "Reports stored together in one transaction",
            self.report_batch.clone(),
        );
        r.register(
            "desired_pushes",
            "Desired states sent to agents",
            self.desired_pushes.clone(),
        );
        r.register(
            "bundle_fetches",
            "Bundles sent to agents",
            self.bundle_fetches.clone(),
        );
        r.register_with_unit(
            "bundle",
            "Bytes of Bundles sent to agents",
            Unit::Bytes,
            self.bundle_bytes.clone(),
        );
        r.register(
            "git_fetches",
            "Times that a remote was asked, by result",
            self.git_fetches.clone(),
        );
        r.register_with_unit(
            "git_fetch",
            "How long asking a remote took",
            Unit::Seconds,
            self.git_seconds.clone(),
        );
        r.register("renders", "Renders by result", self.renders.clone());
        r.register_with_unit(
            "render",
            "How long a render took",
            Unit::Seconds,
            self.render_seconds.clone(),
        );
        r.register_with_unit(
            "store_commit",
            "How long a transaction took to become durable",
            Unit::Seconds,
            self.commit_seconds.clone(),
        );
        r.register(
            "store_commit_writes",
            "Writes that shared a transaction",
            self.commit_writes.clone(),
        );
        r.register(
            "grpc_requests",
            "gRPC calls answered, by method and code",
            self.calls.clone(),
        );
        r.register(
            "enrolments",
            "Enrolments by result",
            self.enrolments.clone(),
        );
        r.register("webhooks", "Webhook calls by result", self.webhooks.clone());
        r.register_with_unit(
            "process_resident_memory",
            "Resident memory of this process",
            Unit::Bytes,
            self.resident.clone(),
        );
    }
}

/// Resident memory of this process; `None` where /proc does not say.
fn resident_bytes() -> Option<i64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * i64::try_from(rustix::param::page_size()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_served() {
        let metrics = Metrics::new();
        metrics.session_opened();
        metrics.reports_stored(3);
        metrics.git_fetched(FetchResult::Failed, Duration::from_millis(20));
        metrics.clusters(&v1::ClusterCounts {
            total: 3,
            synced: 2,
            unknown: 1,
            offline: 1,
            ..v1::ClusterCounts::default()
        });
        metrics.call("lockstep.v1.FleetService/Get", "NotFound");
        let text = metrics.encode();
        for line in [
            "lockstep_hub_sessions 1",
            "lockstep_hub_reports_total 3",
            "lockstep_hub_git_fetches_total{result=\"Failed\"} 1",
            "lockstep_hub_clusters{sync=\"Synced\"} 2",
            "lockstep_hub_clusters_offline 1",
            "lockstep_hub_grpc_requests_total{method=\"lockstep.v1.FleetService/Get\",code=\"NotFound\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert!(text.contains("lockstep_hub_process_resident_memory_bytes "));
    }
}

//! Fleets for tests: a store in a folder of its own, a clock that stands
//! still until it is moved, and short words for resources.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use lockstep_proto::v1::{self, resource::Resource as Any};
use lockstep_proto::{ClusterName, Digest};

use super::{Fleet, FleetOptions};
use crate::store::{Change, DesiredChange, Store};

pub(crate) struct World {
    pub fleet: Fleet,
    pub now: Arc<AtomicI64>,
    pub folder: tempfile::TempDir,
}

impl World {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicI64::new(1_700_000_000_000));
        let fleet = load(&folder, &now).await;
        Self { fleet, now, folder }
    }

    pub fn pass(&self, seconds: i64) {
        self.now.fetch_add(seconds * 1000, Ordering::Relaxed);
    }

    /// Another hub on the same file, as after a restart.
    pub async fn reload(&self) -> Fleet {
        load(&self.folder, &self.now).await
    }

    pub async fn apply(&self, resources: impl IntoIterator<Item = v1::Resource>) {
        let resources = resources.into_iter().collect();
        self.fleet.apply(resources, false, "admin").await.unwrap();
    }

    /// The problems that applying brings.
    pub async fn refused(&self, resources: impl IntoIterator<Item = v1::Resource>) -> String {
        let resources = resources.into_iter().collect();
        self.fleet
            .apply(resources, false, "admin")
            .await
            .unwrap_err()
            .to_string()
    }

    /// Tells a cluster to run the Bundle of this letter.
    pub async fn set(&self, cluster: &str, assignment: &str, bundle: &str) {
        let change = Change::Set {
            digest: digest(bundle),
            revision: revision(bundle).into(),
            options: Arc::default(),
        };
        self.change(cluster, assignment, change).await;
    }

    pub async fn change(&self, cluster: &str, assignment: &str, change: Change) {
        let change = DesiredChange {
            cluster: name(cluster),
            assignment: assignment.into(),
            change,
            because: None,
        };
        self.fleet.change_desired(vec![change]).await.unwrap();
    }

    pub async fn report(&self, cluster: &str, report: v1::Report) {
        self.fleet
            .reports(vec![(name(cluster), report)])
            .await
            .unwrap();
    }

    pub fn cluster(&self, cluster: &str) -> v1::ClusterStatus {
        match self.fleet.get(v1::kind::Name::Cluster, cluster) {
            Some(v1::Resource {
                resource: Some(Any::Cluster(cluster)),
            }) => cluster.status.unwrap(),
            other => panic!("no cluster {cluster}: {other:?}"),
        }
    }

    pub fn counts(&self, assignment: &str) -> v1::ClusterCounts {
        match self.fleet.get(v1::kind::Name::Assignment, assignment) {
            Some(v1::Resource {
                resource: Some(Any::Assignment(assignment)),
            }) => assignment.status.unwrap().clusters.unwrap(),
            other => panic!("no assignment {assignment}: {other:?}"),
        }
    }
}

async fn load(folder: &tempfile::TempDir, now: &Arc<AtomicI64>) -> Fleet {
    let store = Store::open(folder.path().join("lockstep.db")).unwrap();
    let now = Arc::clone(now);
    let clock =
        move || UNIX_EPOCH + Duration::from_millis(now.load(Ordering::Relaxed).unsigned_abs());
    let options = FleetOptions {
        allow_file: false,
        clock: Arc::new(clock),
    };
    Fleet::load(store, options).await.unwrap()
}

pub(crate) fn name(cluster: &str) -> ClusterName {
    ClusterName::new(cluster).unwrap()
}

pub(crate) fn digest(bundle: &str) -> Digest {
    Digest::of(bundle.as_bytes())
}

/// Forty digits that begin with those of the bundle's letter.
pub(crate) fn revision(bundle: &str) -> String {
    hex::encode(digest(bundle).0)[..40].to_owned()
}

fn meta(name: &str, labels: &[(&str, &str)]) -> Option<v1::ObjectMeta> {
    let label = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    Some(v1::ObjectMeta {
        name: name.to_owned(),
        labels: labels.iter().map(label).collect(),
        ..v1::ObjectMeta::default()
    })
}

pub(crate) fn cluster(name: &str, labels: &[(&str, &str)]) -> v1::Resource {
    v1::Resource {
        resource: Some(Any::Cluster(v1::Cluster {
            metadata: meta(name, labels),
            ..v1::Cluster::default()
        })),
    }
}

/// A group of the clusters that have all these labels.
pub(crate) fn group(name: &str, labels: &[(&str, &str)]) -> v1::Resource {
    let selector = v1::LabelSelector {
        match_labels: meta("", labels).unwrap().labels,
        match_expressions: Vec::new(),
    };
    v1::Resource {
        resource: Some(Any::ClusterGroup(v1::ClusterGroup {
            metadata: meta(name, &[]),
            spec: Some(v1::ClusterGroupSpec {
                selector: Some(selector),
            }),
            ..v1::ClusterGroup::default()
        })),
    }
}

pub(crate) fn repository(name: &str) -> v1::Resource {
    v1::Resource {
        resource: Some(Any::Repository(v1::Repository {
            metadata: meta(name, &[]),
            spec: Some(v1::RepositorySpec {
                url: format!("https://git.example.com/{name}.git"),
                ..v1::RepositorySpec::default()
            }),
            ..v1::Repository::default()
        })),
    }
}

pub(crate) fn assignment(name: &str, repository: &str, groups: &[&str]) -> v1::Resource {
    v1::Resource {
        resource: Some(Any::Assignment(v1::Assignment {
            metadata: meta(name, &[]),
            spec: Some(v1::AssignmentSpec {
                repository: repository.to_owned(),
                r#ref: Some(v1::GitRef {
                    branch: "main".to_owned(),
                    ..v1::GitRef::default()
                }),
                path: "deploy".to_owned(),
                cluster_groups: groups.iter().map(ToString::to_string).collect(),
                ..v1::AssignmentSpec::default()
            }),
            ..v1::Assignment::default()
        })),
    }
}

/// "The Bundle of this letter is applied and well."
pub(crate) fn well(assignment: &str, bundle: &str) -> v1::Report {
    v1::Report {
        assignment: assignment.to_owned(),
        target_digest: digest(bundle).to_string(),
        target_revision: revision(bundle),
        applied_digest: digest(bundle).to_string(),
        applied_revision: revision(bundle),
        sync: v1::sync::Status::Synced.into(),
        health: v1::health::Status::Healthy.into(),
        objects: 3,
        observed_at: Some(super::view::timestamp(1_600_000_000_000)),
        ..v1::Report::default()
    }
}

/// A hub with three clusters, two of them in group `prod`, and `shop` on it.
pub(crate) async fn shop() -> World {
    let world = World::new().await;
    world
        .apply([
            cluster("eu-1", &[("env", "prod"), ("region", "eu")]),
            cluster("us-9", &[("env", "prod"), ("region", "us")]),
            cluster("lab", &[("env", "dev")]),
            group("prod", &[("env", "prod")]),
            repository("shop"),
            assignment("shop", "shop", &["prod"]),
        ])
        .await;
    world
}

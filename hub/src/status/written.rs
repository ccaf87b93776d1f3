//! Resources as people wrote them: what of a message is theirs, what the hub
//! adds, and the form that goes to disk.

use std::collections::BTreeMap;

use lockstep_proto::v1::resource::Resource as Any;
use lockstep_proto::v1::{self, kind::Name as Kind};
use prost::Message as _;

use super::model::{Meta, Model};
use super::view::timestamp;
use crate::store::{ResourceRow, StoreError};

/// What the model keeps of a stored resource's dates.
pub(super) struct Dates {
    pub uid: String,
    pub created_at: i64,
    pub generation: u32,
}

impl Model {
    /// A resource as it was written, and its dates.
    pub fn stored(&self, kind: Kind, name: &str) -> Option<(Dates, v1::Resource)> {
        let resource = match kind {
            Kind::Cluster => {
                let meta = &self.clusters.get(name)?.meta;
                let dates = Dates {
                    uid: meta.uid.to_string(),
                    created_at: meta.created_at,
                    generation: meta.generation,
                };
                return Some((dates, cluster_resource(name, meta, meta.labels.to_map())));
            }
            Kind::ClusterGroup => Any::ClusterGroup((*self.groups.get(name)?.resource).clone()),
            Kind::Repository => Any::Repository((*self.repositories.get(name)?.resource).clone()),
            Kind::Assignment => Any::Assignment((*self.assignments.get(name)?.resource).clone()),
            Kind::JoinToken | Kind::Credential | Kind::Unspecified => return None,
        };
        let mut resource = v1::Resource {
            resource: Some(resource),
        };
        let meta = meta_of(&mut resource)?;
        let dates = Dates {
            uid: meta.uid.clone(),
            created_at: meta.created_at.map(to_millis).unwrap_or_default(),
            generation: meta.generation,
        };
        Some((dates, resource))
    }
}

/// A Cluster resource with the labels given and all else as it is.
pub(super) fn cluster_resource(
    name: &str,
    meta: &Meta,
    labels: BTreeMap<String, String>,
) -> v1::Resource {
    v1::Resource {
        resource: Some(Any::Cluster(v1::Cluster {
            metadata: Some(v1::ObjectMeta {
                name: name.to_owned(),
                labels,
                annotations: meta.annotations.clone(),
                ..v1::ObjectMeta::default()
            }),
            ..v1::Cluster::default()
        })),
    }
}

pub(super) fn to_millis(time: pbjson_types::Timestamp) -> i64 {
    time.seconds
        .saturating_mul(1000)
        .saturating_add(i64::from(time.nanos) / 1_000_000)
}

pub(super) fn random_uid() -> String {
    let mut bytes: [u8; 16] = rand::random();
    // RFC 9562, version 4.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex::encode(bytes);
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

pub(super) fn meta_of(resource: &mut v1::Resource) -> Option<&mut v1::ObjectMeta> {
    match resource.resource.as_mut()? {
        Any::Cluster(r) => r.metadata.as_mut(),
        Any::ClusterGroup(r) => r.metadata.as_mut(),
        Any::Repository(r) => r.metadata.as_mut(),
        Any::Assignment(r) => r.metadata.as_mut(),
        Any::JoinToken(r) => r.metadata.as_mut(),
        Any::Credential(r) => r.metadata.as_mut(),
    }
}

/// Leaves what a person says: no status, dates, apiVersion or kind.
pub(super) fn strip(resource: &mut v1::Resource) {
    match resource.resource.as_mut() {
        Some(Any::Cluster(r)) => {
            (r.status, r.spec) = (None, None);
            r.api_version.clear();
            r.kind.clear();
        }
        Some(Any::ClusterGroup(r)) => {
            r.status = None;
            r.api_version.clear();
            r.kind.clear();
        }
        Some(Any::Repository(r)) => {
            r.status = None;
            r.api_version.clear();
            r.kind.clear();
        }
        Some(Any::Assignment(r)) => {
            r.status = None;
            r.api_version.clear();
            r.kind.clear();
        }
        Some(Any::JoinToken(_) | Any::Credential(_)) | None => {}
    }
    if let Some(meta) = meta_of(resource) {
        meta.uid.clear();
        meta.created_at = None;
        meta.generation = 0;
    }
}

pub(super) fn drop_annotations(resource: &mut v1::Resource) {
    if let Some(meta) = meta_of(resource) {
        meta.annotations.clear();
    }
}

pub(super) fn encode(resource: &v1::Resource) -> Vec<u8> {
    match &resource.resource {
        Some(Any::Cluster(r)) => r.encode_to_vec(),
        Some(Any::ClusterGroup(r)) => r.encode_to_vec(),
        Some(Any::Repository(r)) => r.encode_to_vec(),
        Some(Any::Assignment(r)) => r.encode_to_vec(),
        Some(Any::JoinToken(r)) => r.encode_to_vec(),
        Some(Any::Credential(r)) => r.encode_to_vec(),
        None => Vec::new(),
    }
}

/// A stored resource, as [`Model::install`] takes it.
pub(super) fn decode(row: &ResourceRow) -> Result<v1::Resource, StoreError> {
    let body = &row.body[..];
    let decoded = match row.kind {
        Kind::Cluster => v1::Cluster::decode(body).map(Any::Cluster),
        Kind::ClusterGroup => v1::ClusterGroup::decode(body).map(Any::ClusterGroup),
        Kind::Repository => v1::Repository::decode(body).map(Any::Repository),
        Kind::Assignment => v1::Assignment::decode(body).map(Any::Assignment),
        Kind::JoinToken | Kind::Credential | Kind::Unspecified => {
            return Err(StoreError::corrupt(
                "resource",
                "it is of no kind that is stored so",
            ));
        }
    };
    let mut resource = v1::Resource {
        resource: Some(decoded.map_err(|error| StoreError::corrupt("resource", error))?),
    };
    date(&mut resource, &row.uid, row.created_at, row.generation);
    Ok(resource)
}

pub(super) fn date(resource: &mut v1::Resource, uid: &str, created_at: i64, generation: u32) {
    if let Some(meta) = meta_of(resource) {
        uid.clone_into(&mut meta.uid);
        meta.created_at = Some(timestamp(created_at));
        meta.generation = generation;
    }
}

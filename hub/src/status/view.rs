//! Resources as readers see them: with apiVersion, kind and a status that is
//! put together from the model at this instant.

use std::collections::BTreeMap;

use lockstep_proto::v1::resource::Resource as Any;
use lockstep_proto::v1::{self, kind::Name as Kind};
use lockstep_proto::{API_VERSION, ClusterName};

use super::labels::Labels;
use super::model::{Cluster, Meta, Model};
use super::{held, shown};
use crate::store::{JoinTokenRow, JoinTokenState};

pub(super) use crate::store::timestamp;

/// `Cluster`, `ClusterGroup`, … as people write it.
pub(crate) fn kind_word(kind: Kind) -> &'static str {
    kind.as_str_name()
}

impl Meta {
    fn view(&self, name: &str) -> v1::ObjectMeta {
        v1::ObjectMeta {
            name: name.to_owned(),
            labels: self.labels.to_map(),
            annotations: self.annotations.clone(),
            uid: self.uid.to_string(),
            created_at: Some(timestamp(self.created_at)),
            generation: self.generation,
        }
    }
}

impl Model {
    /// One resource, or none where there is none of that name.
    pub fn view(&self, kind: Kind, name: &str, now: i64) -> Option<v1::Resource> {
        let api_version = API_VERSION.to_owned();
        let word = kind_word(kind).to_owned();
        let resource = match kind {
            Kind::Unspecified => return None,
            Kind::Cluster => {
                let (name, cluster) = self.clusters.get_key_value(name)?;
                Any::Cluster(self.cluster_view(name, cluster))
            }
            Kind::ClusterGroup => {
                let group = self.groups.get(name)?;
                Any::ClusterGroup(v1::ClusterGroup {
                    api_version,
                    kind: word,
                    status: Some(v1::ClusterGroupStatus {
                        clusters: Some(group.counts.clusters),
                    }),
                    ..(*group.resource).clone()
                })
            }
            Kind::Repository => {
                let repository = self.repositories.get(name)?;
                Any::Repository(v1::Repository {
                    api_version,
                    kind: word,
                    status: Some(repository.status.clone()),
                    ..(*repository.resource).clone()
                })
            }
            Kind::Assignment => {
                let assignment = self.assignments.get(name)?;
                Any::Assignment(v1::Assignment {
                    api_version,
                    kind: word,
                    status: Some(held::status(assignment)),
                    ..(*assignment.resource).clone()
                })
            }
            Kind::JoinToken => Any::JoinToken(join_token(self.join_tokens.get(name)?, now)),
            Kind::Credential => {
                let credential = self.credentials.get(name)?;
                Any::Credential(v1::Credential {
                    api_version,
                    kind: word,
                    metadata: Some(v1::ObjectMeta {
                        name: name.to_owned(),
                        uid: credential.uid.clone(),
                        created_at: Some(timestamp(credential.created_at)),
                        generation: 1,
                        ..v1::ObjectMeta::default()
                    }),
                    spec: Some(v1::CredentialSpec {
                        r#type: credential.kind.into(),
                        username: credential.username.clone(),
                    }),
                    status: Some(v1::CredentialStatus {
                        repositories: self.users_of_credential(name),
                    }),
                })
            }
        };
        Some(v1::Resource {
            resource: Some(resource),
        })
    }

    /// Repositories that name a credential, sorted.
    pub fn users_of_credential(&self, credential: &str) -> Vec<String> {
        self.repositories
            .iter()
            .filter(|(_, repository)| {
                repository.resource.spec.as_ref().is_some_and(|spec| {
                    spec.credential == credential || spec.webhook_secret == credential
                })
            })
            .map(|(name, _)| name.to_string())
            .collect()
    }

    pub fn cluster_view(&self, name: &ClusterName, cluster: &Cluster) -> v1::Cluster {
        let reached = self.reach(&cluster.groups);
        let whole = shown::cluster_tally(cluster, &reached, &self.assignments);
        let assignments = shown::all_names(cluster, &reached)
            .map(|name| shown::state(cluster, name, self.assignments.get(name)))
            .collect();
        v1::Cluster {
            api_version: API_VERSION.to_owned(),
            kind: kind_word(Kind::Cluster).to_owned(),
            metadata: Some(cluster.meta.view(name.as_str())),
            spec: None,
            status: Some(v1::ClusterStatus {
                connection: cluster.connection.into(),
                last_seen: cluster.last_seen.map(timestamp),
                agent_version: cluster.agent_version.to_string(),
                kubernetes_version: cluster.kubernetes_version.to_string(),
                sync: whole.sync.into(),
                health: whole.health.into(),
                assignments,
                groups: cluster.groups.iter().map(ToString::to_string).collect(),
                message: cluster_message(cluster),
            }),
        }
    }

    /// Whether a selector matches a resource's labels. False where it is gone.
    pub fn matches(&self, kind: Kind, name: &str, selector: &super::Selector) -> bool {
        let by_map = |meta: Option<&v1::ObjectMeta>| {
            meta.is_some_and(|meta| {
                selector.matches_by(|key| meta.labels.get(key).map(String::as_str))
            })
        };
        let none = || selector.matches(&Labels::default());
        match kind {
            Kind::Unspecified => false,
            Kind::Cluster => self
                .clusters
                .get(name)
                .is_some_and(|cluster| selector.matches(&cluster.meta.labels)),
            Kind::ClusterGroup => self
                .groups
                .get(name)
                .is_some_and(|group| by_map(group.resource.metadata.as_ref())),
            Kind::Repository => self
                .repositories
                .get(name)
                .is_some_and(|repository| by_map(repository.resource.metadata.as_ref())),
            Kind::Assignment => self
                .assignments
                .get(name)
                .is_some_and(|assignment| by_map(assignment.resource.metadata.as_ref())),
            Kind::JoinToken => self.join_tokens.contains_key(name) && none(),
            Kind::Credential => self.credentials.contains_key(name) && none(),
        }
    }
}

fn cluster_message(cluster: &Cluster) -> String {
    match cluster.connection {
        v1::connection::Status::Unknown if cluster.identity.is_empty() => {
            "has not joined: start its agent with a token from `lockstep token create`".to_owned()
        }
        v1::connection::Status::Unknown => "has joined, but never connected".to_owned(),
        v1::connection::Status::Offline => {
            "its agent is not connected: what is shown is its last known state".to_owned()
        }
        v1::connection::Status::Online | v1::connection::Status::Unspecified => String::new(),
    }
}

fn join_token(row: &JoinTokenRow, now: i64) -> v1::JoinToken {
    let message = match row.state(now) {
        JoinTokenState::Live => "can be used once",
        JoinTokenState::Used => "used",
        JoinTokenState::Expired => "expired",
        JoinTokenState::Revoked => "revoked",
    };
    v1::JoinToken {
        api_version: API_VERSION.to_owned(),
        kind: kind_word(Kind::JoinToken).to_owned(),
        metadata: Some(v1::ObjectMeta {
            name: row.id.clone(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            uid: row.id.clone(),
            created_at: Some(timestamp(row.created_at)),
            generation: 1,
        }),
        spec: Some(v1::JoinTokenSpec {
            cluster: row.cluster.to_string(),
            labels: row.labels.clone(),
        }),
        status: Some(v1::JoinTokenStatus {
            expires_at: Some(timestamp(row.expires_at)),
            used_at: row.used_at.map(timestamp),
            revoked_at: row.revoked_at.map(timestamp),
            message: message.to_owned(),
        }),
    }
}

//! Deleting resources: refused while others name them, and with all that
//! follows from it in the same transaction.

use std::sync::Arc;

use lockstep_proto::v1::kind::Name as Kind;

use super::model::Model;
use super::{Effects, Fleet, count_of};
use crate::store::{StoreError, Touched};

/// Names that an error lists before it says how many more there are.
const LISTED: usize = 5;

/// Why a resource was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    #[error("there is no {kind} named {name:?}")]
    NotFound { kind: &'static str, name: String },
    #[error("{kind} {name} is in use by {users}: change or delete that first")]
    InUse {
        kind: &'static str,
        name: String,
        users: String,
    },
    #[error("say which kind of resource to delete")]
    Kind,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Fleet {
    /// Deletes a resource, and says what follows from it. Deleting an
    /// Assignment makes every cluster that has it remove it; deleting a
    /// Cluster forgets it and leaves what runs there alone. `by`: who does it.
    ///
    /// # Errors
    /// [`DeleteError::InUse`] says by whom.
    pub async fn delete(&self, kind: Kind, name: &str, by: &str) -> Result<String, DeleteError> {
        if kind == Kind::Unspecified {
            return Err(DeleteError::Kind);
        }
        let (fleet, applier) = (self.clone(), self.clone());
        let (name, gone, leave) = (name.to_owned(), name.to_owned(), self.leave(by));
        let touched = self
            .0
            .store
            .transact(
                move |tx| {
                    fleet.read(|model| may_go(model, kind, &name))?;
                    match kind {
                        Kind::JoinToken => tx.delete_join_token(&name)?,
                        Kind::Credential => tx.delete_credential(&name)?,
                        _ => tx.delete_resource(kind, &name)?,
                    };
                    match kind {
                        Kind::Assignment => Ok(tx.bury_assignment(&name, leave)?),
                        _ => Ok::<_, DeleteError>(Vec::new()),
                    }
                },
                {
                    let gone = gone.clone();
                    move |touched: &Vec<Touched>| applier.forget(kind, &gone, touched)
                },
            )
            .await?;
        Ok(match kind {
            Kind::Assignment if touched.is_empty() => "no cluster had it".to_owned(),
            Kind::Assignment => format!(
                "tombstones for {}: they remove what it applied",
                count_of(touched.len(), "cluster", "clusters")
            ),
            Kind::Cluster => format!(
                "the hub has forgotten {gone}; what runs there stays, and its agent is refused \
                 until it joins again"
            ),
            _ => String::new(),
        })
    }

    fn forget(&self, kind: Kind, name: &str, touched: &[Touched]) {
        let effects = self.change(|model| {
            let mut effects = Effects::default();
            let name: Arc<str> = model.names.get(name);
            match kind {
                Kind::Cluster => {
                    if let Some((cluster, _)) = model.clusters.get_key_value(&*name) {
                        let cluster = cluster.clone();
                        model.remove_cluster(&cluster);
                        effects.clusters.insert(cluster);
                    }
                }
                Kind::ClusterGroup => model.set_group(&name, None),
                Kind::Repository => {
                    model.repositories.remove(&name);
                    let version = model.next_version();
                    model.changed.repositories.deleted(name.clone(), version);
                    effects.repositories.insert(name);
                }
                Kind::Assignment => {
                    if let Some(before) = model.assignments.get(&name) {
                        let repository = super::spec_of(&before.resource).repository;
                        effects.repositories.insert(model.names.get(&repository));
                    }
                    model.set_assignment(&name, None);
                    model.install_touched(touched, &mut effects);
                    effects.assignments.insert(name);
                }
                Kind::JoinToken => {
                    model.join_tokens.remove(&name);
                    let version = model.next_version();
                    model.changed.join_tokens.deleted(name, version);
                }
                Kind::Credential => {
                    model.credentials.remove(&name);
                    let version = model.next_version();
                    model.changed.credentials.deleted(name, version);
                }
                Kind::Unspecified => {}
            }
            effects
        });
        self.mark(&effects);
    }
}

fn may_go(model: &Model, kind: Kind, name: &str) -> Result<(), DeleteError> {
    let word = kind.as_str_name();
    if !model.exists(kind, name) {
        return Err(DeleteError::NotFound {
            kind: word,
            name: name.to_owned(),
        });
    }
    let users: Vec<String> = match kind {
        Kind::Credential => model
            .users_of_credential(name)
            .into_iter()
            .map(|user| format!("Repository {user}"))
            .collect(),
        Kind::Repository | Kind::ClusterGroup | Kind::Assignment => model
            .assignments
            .iter()
            .filter(|(_, assignment)| {
                assignment
                    .resource
                    .spec
                    .as_ref()
                    .is_some_and(|spec| match kind {
                        Kind::Repository => spec.repository == name,
                        Kind::Assignment => {
                            spec.depends_on.iter().any(|other| other.assignment == name)
                        }
                        _ => spec.cluster_groups.iter().any(|group| group == name),
                    })
            })
            .map(|(user, _)| format!("Assignment {user}"))
            .collect(),
        _ => Vec::new(),
    };
    if users.is_empty() {
        return Ok(());
    }
    let mut text = users[..users.len().min(LISTED)].join(", ");
    if users.len() > LISTED {
        text.push_str(&format!(" and {} more", users.len() - LISTED));
    }
    Err(DeleteError::InUse {
        kind: word,
        name: name.to_owned(),
        users: text,
    })
}

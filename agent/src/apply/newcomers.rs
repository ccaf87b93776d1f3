//! Before an object is applied for the first time: is it there already, and
//! whose is it? Few objects of a kind are asked for one by one, many by
//! reading the metadata of their collection: an apply of a thousand must not
//! cost a thousand requests more.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lockstep_proto::v1::ObjectEvent;
use lockstep_proto::v1::object_event::Type;

use super::ownership::{Owner, Verdict, verdict};
use super::send::Sender;
use crate::cluster::{ApiError, GroupKind, Marks};
use crate::inventory::ObjectId;

/// Up to so many of one kind in one namespace are asked for one by one.
const FEW: usize = 8;
/// A page of metadata: half a megabyte at most.
const PAGE: usize = 500;

/// A kind, and a namespace or none.
type Collection = (GroupKind, Arc<str>);

/// What there is of what is new to us, as far as it was listed.
#[derive(Debug, Default)]
pub struct Newcomers {
    listed: HashSet<Collection>,
    found: HashMap<ObjectId, Marks>,
}

/// Whether an object may be applied.
#[derive(Debug)]
pub enum Claim {
    /// It is ours, or not there.
    Ours,
    /// It is taken over, from this owner or from nobody.
    Adopts(Option<Owner>),
    /// Not now, for this reason; in a moment perhaps.
    Waits(String),
    /// Not before somebody changes something.
    Refused(String),
}

impl Newcomers {
    fn knows(&self, id: &ObjectId) -> bool {
        let key = (id.kind.clone(), Arc::clone(&id.namespace));
        self.listed.contains(&key)
    }
}

impl Sender<'_> {
    /// Lists the collections of which many objects in `ids` are new.
    ///
    /// # Errors
    /// Only where no other request would get through either: what could not
    /// be listed is asked for one by one.
    pub async fn list_newcomers(self, ids: &[ObjectId]) -> Result<Newcomers, ApiError> {
        let mut newcomers = Newcomers::default();
        if ids.len() <= FEW {
            return Ok(newcomers);
        }
        let mut groups: HashMap<Collection, (Arc<str>, HashSet<ObjectId>)> = HashMap::new();
        {
            let inventory = self.shared.inventory.lock();
            for id in ids {
                if let Some(item) = inventory.get(id).filter(|item| !item.ours) {
                    let key = (id.kind.clone(), Arc::clone(&id.namespace));
                    let group = groups.entry(key);
                    let (_, ids) =
                        group.or_insert_with(|| (Arc::clone(&item.api_version), HashSet::new()));
                    ids.insert(id.clone());
                }
            }
        }
        groups.retain(|_, (_, ids)| ids.len() > FEW);
        for ((kind, namespace), (api_version, ids)) in groups {
            let Some(resource) = self.cluster.kinds().exact(&api_version, &kind.kind) else {
                continue;
            };
            let path = resource.collection(&namespace);
            match self.list(&path, &kind, &namespace, &ids).await {
                Ok(Some(found)) => {
                    newcomers.found.extend(found);
                    newcomers.listed.insert((kind, namespace));
                }
                Ok(None) => {}
                Err(error) if error.is_about_the_server() => return Err(error),
                Err(error) => tracing::debug!(path, %error, "cannot list; asking one by one"),
            }
        }
        Ok(newcomers)
    }

    /// Of `ids`, those that are there; none where asking one by one is less work.
    async fn list(
        self,
        path: &str,
        kind: &GroupKind,
        namespace: &Arc<str>,
        ids: &HashSet<ObjectId>,
    ) -> Result<Option<Vec<(ObjectId, Marks)>>, ApiError> {
        let mut found = Vec::new();
        let mut token = String::new();
        loop {
            let page = self.cluster.marks_page(path, PAGE, &token).await?;
            for marks in page.items {
                let id = ObjectId {
                    kind: kind.clone(),
                    namespace: Arc::clone(namespace),
                    name: marks.name.as_str().into(),
                };
                if ids.contains(&id) {
                    found.push((id, marks));
                }
            }
            if page.token.is_empty() {
                return Ok(Some(found));
            }
            let pages = page.remaining.unwrap_or(0) / PAGE as u64;
            if pages > (ids.len() / FEW) as u64 {
                return Ok(None);
            }
            token = page.token;
        }
    }

    /// Whether the object at `path` may be applied.
    ///
    /// # Errors
    /// [`ApiError`] of asking for it.
    pub async fn claim(
        self,
        newcomers: &Newcomers,
        id: &ObjectId,
        path: &str,
    ) -> Result<Claim, ApiError> {
        let ours = |item: &crate::inventory::Item| item.ours;
        if self.shared.inventory.lock().get(id).is_none_or(ours) {
            return Ok(Claim::Ours);
        }
        let asked;
        let marks = if newcomers.knows(id) {
            newcomers.found.get(id)
        } else {
            asked = self.cluster.marks(path).await?;
            asked.as_ref()
        };
        let Some(marks) = marks else {
            return Ok(Claim::Ours);
        };
        let known = |name: &str| self.registry.get(name).is_some();
        let policy = self.target.policy.adopt;
        Ok(match verdict(policy, self.assignment, id, marks, known) {
            Verdict::Ours => Claim::Ours,
            _ if marks.deletion_timestamp.is_some() => Claim::Waits(match &*marks.finalizers {
                [] => "waits for the object of this name that is being deleted".to_owned(),
                held => format!(
                    "waits for the object of this name that is being deleted; finalizer {} holds it",
                    held.join(", ")
                ),
            }),
            Verdict::Adopt(owner) => Claim::Adopts(owner),
            Verdict::Refuse(words) => Claim::Refused(words),
        })
    }

    /// Says in the history what became of the object.
    pub fn record(self, kind: Type, id: &ObjectId, fields: Vec<String>, message: String) {
        let object = {
            let inventory = self.shared.inventory.lock();
            inventory.get(id).map(|item| id.say(&item.api_version))
        };
        self.journal.record(ObjectEvent {
            assignment: self.assignment.to_owned(),
            object: object.unwrap_or_else(|| id.to_string()),
            r#type: kind.into(),
            fields,
            message,
            revision: self.target.revision.clone(),
            ..ObjectEvent::default()
        });
    }

    pub(super) fn adopted(self, id: &ObjectId, from: Option<&Owner>) {
        let message = match from {
            Some(owner) => format!("taken over from {owner}"),
            None => "it was there before".to_owned(),
        };
        self.record(Type::Adopted, id, Vec::new(), message);
    }
}

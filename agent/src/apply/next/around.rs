//! What the rest of an Inventory means for one of its objects: where it comes
//! in the order, and what it cannot be without.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use lockstep_proto::v1::health::Status as Health;

use crate::apply::stage::{Place, Stage, rank, stage};
use crate::cluster::{GroupKind, KindMap};
use crate::inventory::{Inventory, Item, ObjectId, Presence};

/// What the rest of the Inventory means for one item.
pub struct Surroundings<'a> {
    namespaces: HashMap<&'a str, &'a Item>,
    definitions: HashMap<&'a str, &'a Item>,
    /// Namespaces and definitions that something wanted lives by.
    lived_by: HashSet<String>,
    kinds: &'a KindMap,
    /// Of a kind, the definition in the Inventory: asked of every object.
    defined: RefCell<HashMap<GroupKind, Option<Arc<str>>>>,
}

impl<'a> Surroundings<'a> {
    #[must_use]
    pub fn new(inventory: &'a Inventory, kinds: &'a KindMap) -> Self {
        let mut around = Self {
            namespaces: HashMap::new(),
            definitions: HashMap::new(),
            lived_by: HashSet::new(),
            kinds,
            defined: RefCell::default(),
        };
        let mut unwanted = false;
        for (id, item) in inventory.iter() {
            if id.is("", "Namespace") {
                around.namespaces.insert(&id.name, item);
                unwanted |= item.wanted.is_none();
            } else if id.is("apiextensions.k8s.io", "CustomResourceDefinition") {
                around.definitions.insert(&id.name, item);
                unwanted |= item.wanted.is_none();
            }
        }
        if unwanted {
            for (id, _) in inventory.iter().filter(|(_, item)| item.wanted.is_some()) {
                around
                    .lived_by
                    .insert(format!("Namespace {}", id.namespace));
                if let Some(name) = around.definition_of(id) {
                    around.lived_by.insert(format!("Definition {name}"));
                }
            }
        }
        around
    }

    /// "widgets.example.com", where the kind is served and defined by a CRD
    /// of this Inventory.
    fn definition_of(&self, id: &ObjectId) -> Option<Arc<str>> {
        if self.definitions.is_empty() {
            return None;
        }
        if let Some(known) = self.defined.borrow().get(&id.kind) {
            return known.clone();
        }
        let name = self.look_up_definition(&id.kind);
        let mut defined = self.defined.borrow_mut();
        defined.insert(id.kind.clone(), name.clone());
        name
    }

    fn look_up_definition(&self, kind: &GroupKind) -> Option<Arc<str>> {
        let resource = self.kinds.preferred(&kind.group, &kind.kind)?;
        let name = format!("{}.{}", resource.plural, resource.group);
        let known = self.definitions.contains_key(name.as_str());
        known.then(|| name.into())
    }

    /// Where `id` comes in the order.
    #[must_use]
    pub fn place(&self, id: &ObjectId, wave: i16) -> Place {
        let GroupKind { group, kind } = &id.kind;
        Place {
            stage: stage(group, kind, self.definition_of(id).is_some()),
            wave,
            rank: rank(group, kind),
        }
    }

    /// Where an object of a kind that is not served comes in the order: its
    /// definition may be on its way.
    #[must_use]
    pub fn stage_of_unserved(&self, group: &str, kind: &str) -> Stage {
        let of_group = |name: &&str| {
            name.split_once('.')
                .is_some_and(|(_, defined)| defined == group)
        };
        stage(group, kind, self.definitions.keys().any(of_group))
    }

    /// What has to be ready before `id` can be applied.
    #[must_use]
    pub fn waits_for(&self, id: &ObjectId) -> Option<String> {
        if let Some(namespace) = self.namespaces.get(&*id.namespace)
            && !id.namespace.is_empty()
            && namespace.wanted.is_some()
        {
            let ready = match namespace.presence {
                Presence::Present => true,
                Presence::Unseen => namespace.applied.is_some(),
                Presence::Absent | Presence::Going => false,
            };
            if !ready {
                return Some(format!("v1 Namespace {}", id.namespace));
            }
        }
        let name = self.definition_of(id)?;
        let definition = self.definitions.get(&*name)?;
        let ready = definition.wanted.is_none()
            || (definition.presence == Presence::Present && definition.health == Health::Healthy);
        (!ready).then(|| format!("{} CustomResourceDefinition {name}", definition.api_version))
    }

    /// The namespace and the definition in the Inventory that `id` cannot be
    /// without.
    #[must_use]
    pub fn lives_by(&self, id: &ObjectId) -> Vec<ObjectId> {
        let named = |group: &str, kind: &str, name: &str| ObjectId {
            kind: GroupKind {
                group: group.into(),
                kind: kind.into(),
            },
            namespace: "".into(),
            name: name.into(),
        };
        let namespace = self.namespaces.contains_key(&*id.namespace);
        let namespace = namespace.then(|| named("", "Namespace", &id.namespace));
        let definition = self
            .definition_of(id)
            .map(|name| named("apiextensions.k8s.io", "CustomResourceDefinition", &name));
        namespace.into_iter().chain(definition).collect()
    }

    /// Deleting it would take down what is wanted.
    pub(in crate::apply) fn is_lived_by(&self, id: &ObjectId) -> bool {
        (id.is("", "Namespace") && self.lived_by.contains(&format!("Namespace {}", id.name)))
            || (id.is("apiextensions.k8s.io", "CustomResourceDefinition")
                && self.lived_by.contains(&format!("Definition {}", id.name)))
    }
}

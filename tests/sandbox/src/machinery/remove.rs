//! Deletions: preconditions, finalizers, what happens to dependents.

use serde_json::{Value, json};

use super::state::{State, Target};
use super::write::no_finalizers;
use crate::status::{Invalid, Status};
use crate::store::Object;

/// What becomes of the objects that a deleted one owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    Background,
    Foreground,
    Orphan,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Deletion {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub propagation: Option<Propagation>,
    pub dry_run: bool,
}

/// How a deletion went.
#[derive(Debug)]
pub(crate) enum Removal {
    /// Gone; a success with the details of what it was.
    Gone(Value),
    /// Waiting for its finalizers.
    Waiting(Value),
}

impl Removal {
    pub(crate) fn body(self) -> Value {
        match self {
            Self::Gone(body) | Self::Waiting(body) => body,
        }
    }
}

const KEPT_NAMESPACES: &[&str] = &["default", "kube-system", "kube-public"];

impl State {
    /// DELETE on an object.
    pub(crate) fn delete(&mut self, target: &Target, how: &Deletion) -> Result<Removal, Status> {
        let live = self.find(target)?;
        let resource = target.resource.clone();
        if let Some(uid) = &how.uid
            && **uid != *live.uid
        {
            let why = format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
                live.uid
            );
            return Err(Status::conflict_of(
                &resource.kind,
                &resource,
                &target.name,
                &why,
            ));
        }
        if let Some(version) = &how.resource_version
            && *version != live.revision.to_string()
        {
            let why = format!(
                "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). The object might have been modified",
                live.revision
            );
            return Err(Status::conflict_of(
                &resource.kind,
                &resource,
                &target.name,
                &why,
            ));
        }
        if &*resource.key == "namespaces" && KEPT_NAMESPACES.contains(&target.name.as_str()) {
            return Err(Status::forbidden(
                &resource,
                &target.name,
                "this namespace may not be deleted",
            ));
        }
        let mut object = self.read(target, &live);
        self.faults.admit("delete", target, &object)?;
        let finalizer = match how.propagation {
            Some(Propagation::Foreground) => Some("foregroundDeletion"),
            Some(Propagation::Orphan) => Some("orphan"),
            _ => None,
        };
        if let Some(finalizer) = finalizer {
            add_finalizer(&mut object, finalizer);
        }
        if &*resource.key == crate::controllers::DEFINITIONS {
            add_finalizer(&mut object, "customresourcecleanup.apiextensions.k8s.io");
        }
        if no_finalizers(target, &object) {
            if !how.dry_run {
                self.forget(target, object);
            }
            let mut details = json!({"name": target.name, "group": resource.group, "kind": resource.plural, "uid": *live.uid});
            if let Some(fields) = details.as_object_mut() {
                fields.retain(|_, value| value != "");
            }
            return Ok(Removal::Gone(
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}),
            ));
        }
        if !live.deleting {
            let metadata = &mut object["metadata"];
            metadata["deletionTimestamp"] = self.now().into();
            // Definitions go a way of their own that counts nothing.
            let definition = &*resource.key == crate::controllers::DEFINITIONS;
            if !definition {
                metadata["deletionGracePeriodSeconds"] = 0.into();
            }
            if let (false, Some(generation)) = (definition, metadata["generation"].as_i64()) {
                metadata["generation"] = (generation + 1).into();
            }
            if &*resource.key == "namespaces" {
                object["status"]["phase"] = "Terminating".into();
            }
        } else if finalizer.is_none() {
            return Ok(Removal::Waiting(object));
        }
        if !how.dry_run {
            object["metadata"]["resourceVersion"] = self.store.next_revision().to_string().into();
            self.store.put(&resource.key, Object::new(&object));
        }
        Ok(Removal::Waiting(object))
    }

    /// Takes an object out of the store. Its last state carries the revision of the removal.
    pub(crate) fn forget(&mut self, target: &Target, mut object: Value) {
        object["metadata"]["resourceVersion"] = self.store.next_revision().to_string().into();
        self.store
            .remove(&target.resource.key, Object::new(&object));
        if &*target.resource.key == crate::controllers::DEFINITIONS {
            self.catalogue.withdraw(&target.name);
        }
    }

    /// DELETE on a collection: every object of it that the filter takes.
    pub(crate) fn delete_all(
        &mut self,
        target: &Target,
        how: &Deletion,
        names: &[(String, String)],
    ) -> Result<(), Status> {
        for (namespace, name) in names {
            let one = Target {
                namespace: namespace.clone(),
                name: name.clone(),
                ..target.clone()
            };
            match self.delete(&one, how) {
                Ok(_) => {}
                Err(missing) if missing.code == 404 => {}
                Err(refused) => return Err(refused),
            }
        }
        Ok(())
    }
}

fn add_finalizer(object: &mut Value, name: &str) {
    let metadata = &mut object["metadata"];
    if !metadata["finalizers"].is_array() {
        metadata["finalizers"] = json!([]);
    }
    if let Some(list) = metadata["finalizers"].as_array_mut()
        && !list.iter().any(|other| other == name)
    {
        list.push(name.into());
    }
}

/// Reads `DeleteOptions`.
impl Deletion {
    pub(crate) fn read(body: &Value) -> Result<Self, Status> {
        let word = |value: &Value| value.as_str().map(str::to_owned);
        let propagation = match body["propagationPolicy"].as_str() {
            None | Some("") if body["orphanDependents"] == true => Some(Propagation::Orphan),
            None | Some("") => None,
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            Some("Orphan") => Some(Propagation::Orphan),
            Some(other) => {
                let allowed = ["Foreground", "Background", "Orphan", "nil"];
                let why = Invalid::unsupported("propagationPolicy", &other.into(), &allowed);
                let why = format!("{}: {}", why.field, why.message);
                return Err(Status::options(
                    "DeleteOptions",
                    "propagationPolicy",
                    "FieldValueNotSupported",
                    &why,
                ));
            }
        };
        Ok(Self {
            uid: word(&body["preconditions"]["uid"]),
            resource_version: word(&body["preconditions"]["resourceVersion"]),
            propagation,
            dry_run: body["dryRun"]
                .as_array()
                .is_some_and(|list| list.iter().any(|word| word == "All")),
        })
    }
}

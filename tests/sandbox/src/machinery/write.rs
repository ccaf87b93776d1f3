//! Creations and updates.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::MOST_OBJECT_BYTES;
use super::decode::{complete, fields, identity, invalid};
use super::kept::{inherit_service, keep_server_fields};
use super::state::{State, Target, random, uid};
use crate::apply::{Identity, Managed, Set, one, same, update};
use crate::rules;
use crate::schema::{Shape, zero};
use crate::status::{Invalid, Status};
use crate::store::Object;

/// What happens to fields that the kind does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validation {
    Ignore,
    Warn,
    Strict,
}

/// How a write is to be done.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub manager: String,
    pub dry_run: bool,
    pub force: bool,
    pub validation: Validation,
}

/// A write that succeeded.
#[derive(Debug)]
pub(crate) struct Written {
    pub object: Value,
    pub created: bool,
    pub warnings: Vec<String>,
}

/// Who owns the fields of a new version of an object.
pub(super) enum Ownership {
    /// Whoever writes it owns what it changes.
    Writer,
    /// The merge has decided already.
    Decided(Managed),
}

impl State {
    /// POST to a collection.
    pub(crate) fn create(
        &mut self,
        target: &Target,
        mut body: Value,
        options: &Options,
    ) -> Result<Written, Status> {
        identity(target, &mut body)?;
        let mut warnings = Vec::new();
        fields(target, &mut body, options.validation, &mut warnings)?;
        if body["metadata"]["resourceVersion"]
            .as_str()
            .is_some_and(|version| !version.is_empty())
        {
            let message = "resourceVersion should not be set on objects to be created";
            return Err(Status::new(500, "", message));
        }
        let named = body["metadata"]["name"]
            .as_str()
            .is_some_and(|name| !name.is_empty());
        if !named && let Some(prefix) = body["metadata"]["generateName"].as_str() {
            let name = rules::generated_name(prefix, u64::from_le_bytes(random()));
            body["metadata"]["name"] = name.into();
        }
        let mut target = target.clone();
        target.name = body["metadata"]["name"].as_str().unwrap_or("").to_owned();
        self.birth(&target, body, Ownership::Writer, options, warnings)
    }

    /// Stores a new object.
    pub(super) fn birth(
        &mut self,
        target: &Target,
        mut object: Value,
        ownership: Ownership,
        options: &Options,
        warnings: Vec<String>,
    ) -> Result<Written, Status> {
        let resource = target.resource.clone();
        self.check_namespace(target)?;
        if self.store.get(&resource.key, &target.id()).is_some() {
            let mut status = Status::already_exists(&resource, &target.name);
            if self.find(target).is_ok_and(|found| found.deleting) {
                status.message = format!("object is being deleted: {}", status.message);
            }
            return Err(status);
        }
        if has_status(target)
            && let Some(fields) = object.as_object_mut()
        {
            fields.remove("status");
        }
        let mut managed = match ownership {
            Ownership::Decided(managed) => Some(managed),
            Ownership::Writer => None,
        };
        if let Some(metadata) = object["metadata"].as_object_mut() {
            for name in [
                "uid",
                "selfLink",
                "generation",
                "creationTimestamp",
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
                "managedFields",
                "resourceVersion",
            ] {
                metadata.remove(name);
            }
        }
        complete(target, &mut object);
        let now = self.now();
        if let (None, Some(shape)) = (&managed, resource.shape(&target.version)) {
            let mut fresh = Managed::default();
            update(
                &blank(target, shape),
                &object,
                shape,
                &mut fresh,
                &self.identity(target, options),
                &ignored(target),
                &now,
            );
            managed = Some(fresh);
        }
        let uid = uid();
        let metadata = &mut object["metadata"];
        metadata["uid"] = uid.clone().into();
        metadata["creationTimestamp"] = now.clone().into();
        if rules::has_generation(&resource.group, &resource.kind) {
            metadata["generation"] = 1.into();
        }
        rules::on_create(&resource.group, &resource.kind, &uid, &now, &mut object);
        if resource.group.is_empty() && resource.kind == "Service" {
            self.allocate(&mut object);
        }
        let problems = invalid(target, &object);
        if !problems.is_empty() {
            return Err(Status::invalid(&resource, &target.name, &problems));
        }
        self.faults.admit("create", target, &object)?;
        managed.unwrap_or_default().encode(&mut object);
        self.keep(target, &mut object, options)?;
        Ok(Written {
            object,
            created: true,
            warnings,
        })
    }

    /// PUT on an object.
    pub(crate) fn replace(
        &mut self,
        target: &Target,
        mut body: Value,
        options: &Options,
    ) -> Result<Written, Status> {
        identity(target, &mut body)?;
        let mut warnings = Vec::new();
        fields(target, &mut body, options.validation, &mut warnings)?;
        let live = self.find(target)?;
        let conditional =
            target.resource.is_custom() || &*target.resource.key == crate::controllers::DEFINITIONS;
        if conditional
            && body["metadata"]["resourceVersion"]
                .as_str()
                .unwrap_or("")
                .is_empty()
        {
            let why = Invalid::value(
                "metadata.resourceVersion",
                &0.into(),
                "must be specified for an update",
            );
            let mut status =
                Status::invalid(&target.resource, &target.name, std::slice::from_ref(&why));
            status.message = format!(
                "{} {:?} is invalid: {}: {}",
                target.resource.qualified(),
                target.name,
                why.field,
                why.message
            );
            status.details["kind"] = target.resource.plural.clone().into();
            return Err(status);
        }
        self.change(target, &live, body, Ownership::Writer, options, warnings)
    }

    /// Stores a new version of an object, or removes it if that was all that it waited for.
    pub(super) fn change(
        &mut self,
        target: &Target,
        live: &Arc<Object>,
        mut object: Value,
        ownership: Ownership,
        options: &Options,
        warnings: Vec<String>,
    ) -> Result<Written, Status> {
        let resource = target.resource.clone();
        let before = self.read(target, live);
        preconditions(target, &before, &object)?;
        let given = Managed::decode(&object);
        let reset = object["metadata"]["managedFields"]
            .as_array()
            .is_some_and(|list| matches!(list.as_slice(), [only] if only == &json!({})));
        keep_server_fields(target, &before, &mut object);
        complete(target, &mut object);
        if resource.group.is_empty() && resource.kind == "Service" {
            inherit_service(&before, &mut object);
            self.allocate(&mut object);
        }
        if target.subresource != "status" {
            let mut problems = invalid(target, &object);
            problems.extend(rules::immutable(
                &resource.group,
                &resource.kind,
                &before,
                &object,
            ));
            if !problems.is_empty() {
                return Err(Status::invalid(&resource, &target.name, &problems));
            }
        }
        let now = self.now();
        let (mut old, mut new) = (before.clone(), object.clone());
        without_managed(&mut old);
        without_managed(&mut new);
        let managed = match ownership {
            Ownership::Decided(managed) => managed,
            Ownership::Writer => {
                // A client that does not know about managed fields must not lose them.
                let mut managed = match given {
                    _ if reset => Managed::default(),
                    Ok(given) if !given.is_empty() && target.subresource.is_empty() => given,
                    _ => Managed::decode(&before).unwrap_or_default(),
                };
                if let Some(shape) = resource.shape(&target.version)
                    && !reset
                {
                    update(
                        &old,
                        &new,
                        shape,
                        &mut managed,
                        &self.identity(target, options),
                        &ignored(target),
                        &now,
                    );
                }
                managed
            }
        };
        if rules::has_generation(&resource.group, &resource.kind)
            && rules::bumps_generation(&old, &new)
        {
            let generation = before["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
            object["metadata"]["generation"] = generation.into();
        }
        managed.encode(&mut object);
        if same(&without_times(&before), &without_times(&object)) {
            return Ok(Written {
                object: before,
                created: false,
                warnings,
            });
        }
        self.faults.admit("update", target, &object)?;
        if live.deleting && no_finalizers(target, &object) {
            if !options.dry_run {
                self.forget(target, object.clone());
            }
            return Ok(Written {
                object,
                created: false,
                warnings,
            });
        }
        self.keep(target, &mut object, options)?;
        if &*resource.key == crate::controllers::DEFINITIONS && !options.dry_run {
            self.refresh_definition(&object);
        }
        Ok(Written {
            object,
            created: false,
            warnings,
        })
    }

    /// Writes an object with the next revision, unless it is too large or only a rehearsal.
    pub(super) fn keep(
        &mut self,
        target: &Target,
        object: &mut Value,
        options: &Options,
    ) -> Result<(), Status> {
        let revision = self.store.next_revision();
        let shown = if options.dry_run {
            object["metadata"]["resourceVersion"].clone()
        } else {
            revision.to_string().into()
        };
        if let Some(metadata) = object["metadata"].as_object_mut() {
            if shown.is_null() {
                metadata.remove("resourceVersion");
            } else {
                metadata.insert("resourceVersion".to_owned(), shown);
            }
        }
        let stored = Object::new(object);
        if stored.bytes().len() > MOST_OBJECT_BYTES {
            return Err(Status::internal("etcdserver: request is too large"));
        }
        if !options.dry_run {
            self.store.put(&target.resource.key, stored);
        }
        Ok(())
    }

    /// Content needs a namespace that is there to stay.
    fn check_namespace(&self, target: &Target) -> Result<(), Status> {
        if !target.resource.namespaced {
            return Ok(());
        }
        let namespaces = self.catalogue.by_key("namespaces");
        let id = crate::store::ObjectId::new("", &target.namespace);
        match (self.store.get("namespaces", &id), namespaces) {
            (Some(found), _) if found.deleting => Err(Status::terminating(
                &target.resource,
                &target.name,
                &target.namespace,
            )),
            (None, Some(namespaces)) => Err(Status::not_found(&namespaces, &target.namespace)),
            _ => Ok(()),
        }
    }

    pub(super) fn identity(&self, target: &Target, options: &Options) -> Identity {
        Identity {
            manager: options.manager.clone(),
            api_version: target.api_version(),
            subresource: target.subresource.clone(),
        }
    }
}

/// What a new object is compared with: a typed zero, or nothing where there are no types.
pub(super) fn blank(target: &Target, shape: Shape<'_>) -> Value {
    if target.resource.is_custom() {
        json!({})
    } else {
        zero(shape)
    }
}

/// Does the kind keep its status apart?
pub(super) fn has_status(target: &Target) -> bool {
    target
        .resource
        .version(&target.version)
        .is_some_and(|version| version.status)
}

/// Fields that this endpoint does not write.
pub(super) fn ignored(target: &Target) -> Set {
    match target.subresource.as_str() {
        "status" => one(&["spec"]).union(&one(&["metadata"])),
        _ if has_status(target) => one(&["status"]),
        _ => Set::default(),
    }
}

fn preconditions(target: &Target, live: &Value, given: &Value) -> Result<(), Status> {
    let (live, given) = (&live["metadata"], &given["metadata"]);
    let differs = |name: &str| {
        given[name]
            .as_str()
            .is_some_and(|value| !value.is_empty() && Some(value) != live[name].as_str())
    };
    if differs("uid") {
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{}/{}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {}, UID in object meta: {}",
            target.resource.plural,
            target.id().path(),
            given["uid"].as_str().unwrap_or(""),
            live["uid"].as_str().unwrap_or("")
        );
        return Err(Status::conflict(&target.resource, &target.name, &why));
    }
    if differs("resourceVersion") {
        return Err(Status::modified(&target.resource, &target.name));
    }
    Ok(())
}

pub(super) fn no_finalizers(target: &Target, object: &Value) -> bool {
    let empty = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
    let namespace = target.resource.group.is_empty() && target.resource.kind == "Namespace";
    empty(&object["metadata"]["finalizers"]) && (!namespace || empty(&object["spec"]["finalizers"]))
}

pub(super) fn without_managed(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
}

/// The object as a no-op is judged by: managers count, their clocks do not.
fn without_times(object: &Value) -> Value {
    let mut object = object.clone();
    for entry in object["metadata"]
        .get_mut("managedFields")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        entry
            .as_object_mut()
            .map(|fields: &mut Map<String, Value>| fields.remove("time"));
    }
    object
}

//! PATCH in its four formats.

use serde_json::{Value, json};

use super::decode::{fields, identity};
use super::scale::patch_scale;
use super::state::{State, Target};
use super::write::{Options, Ownership, Written, blank, ignored, without_managed};
use crate::apply::{ApplyError, Applying, Managed, apply};
use crate::patch;
use crate::status::{Invalid, Status};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchFormat {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl State {
    /// PATCH on an object; an apply also creates it.
    pub(crate) fn patch(
        &mut self,
        target: &Target,
        format: PatchFormat,
        body: &Value,
        options: &Options,
    ) -> Result<Written, Status> {
        if target.subresource == "scale" {
            return patch_scale(self, target, format, body, options);
        }
        if format == PatchFormat::Apply {
            return self.apply(target, body.clone(), options);
        }
        let live = self.find(target)?;
        let before = self.read(target, &live);
        let mut object = patched(target, format, &before, body)?;
        if object["metadata"]["name"] != before["metadata"]["name"]
            || object["metadata"]["namespace"] != before["metadata"]["namespace"]
        {
            let why = [Invalid::value(
                "metadata.name",
                &object["metadata"]["name"],
                "field is immutable",
            )];
            return Err(Status::invalid(&target.resource, &target.name, &why));
        }
        let mut warnings = Vec::new();
        fields(target, &mut object, options.validation, &mut warnings)?;
        self.change(target, &live, object, Ownership::Writer, options, warnings)
    }

    fn apply(
        &mut self,
        target: &Target,
        mut config: Value,
        options: &Options,
    ) -> Result<Written, Status> {
        let word = |value: &Value| value.as_str().unwrap_or("").to_owned();
        let (given, kind) = (word(&config["apiVersion"]), word(&config["kind"]));
        if given != target.api_version() || kind.is_empty() {
            let given = if given.contains('/') {
                given
            } else {
                format!("/{given}")
            };
            return Err(Status::bad_request(format!(
                "invalid object type: {given}, Kind={kind}"
            )));
        }
        // Messages name the place as the configuration does.
        let place = format!("{}/{}", word(&config["metadata"]["namespace"]), target.name);
        if config["metadata"]["managedFields"]
            .as_array()
            .is_some_and(|list| !list.is_empty())
        {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        identity(target, &mut config)?;
        let resource = target.resource.clone();
        let Some(shape) = resource.shape(&target.version) else {
            return Err(Status::no_such_path());
        };
        let live = match self.find(target) {
            Ok(live) => Some(live),
            Err(_) if target.subresource.is_empty() => None,
            Err(missing) => return Err(missing),
        };
        if live.is_none()
            && config["metadata"]["uid"]
                .as_str()
                .is_some_and(|uid| !uid.is_empty())
        {
            let uid = config["metadata"]["uid"].as_str().unwrap_or("");
            let why = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            return Err(Status::conflict(&resource, &target.name, &why));
        }
        let mut before = match &live {
            Some(live) => self.read(target, live),
            None => blank(target, shape),
        };
        let mut managed = Managed::decode(&before).unwrap_or_default();
        without_managed(&mut before);
        if options.force
            && let Some(metadata) = config["metadata"].as_object_mut()
        {
            metadata.remove("managedFields");
        }
        let who = self.identity(target, options);
        let now = self.now();
        let how = Applying {
            force: options.force,
            ignored: &ignored(target),
            now: &now,
        };
        let object = apply(&before, &config, shape, &mut managed, &who, &how).map_err(|error| {
            match error {
                ApplyError::Conflicts(conflicts) => Status::apply_conflict(&conflicts),
                ApplyError::Schema(error) => {
                    let lines = if error.0.len() > 1 {
                        format!("errors:\n  {error}")
                    } else {
                        error.to_string()
                    };
                    let kind = &target.resource.kind;
                    let message = format!(
                        "failed to create typed patch object ({place}; {}, Kind={kind}): {lines}",
                        group_version(target)
                    );
                    Status::new(500, "", message)
                }
            }
        })?;
        if let Some(why) = crate::rules::undecodable(&resource.group, &resource.kind, &object) {
            let (kind, version) = (&resource.kind, group_version(target));
            let message = format!(
                "failed to convert new object ({place}; {version}, Kind={kind}) to proper version: unable to convert unstructured object to {version}, Kind={kind}: error decoding from json: {why}"
            );
            return Err(Status::new(500, "", message));
        }
        match live {
            None => self.birth(
                target,
                object,
                Ownership::Decided(managed),
                options,
                Vec::new(),
            ),
            Some(live) => self.change(
                target,
                &live,
                object,
                Ownership::Decided(managed),
                options,
                Vec::new(),
            ),
        }
    }
}

/// `apps/v1`, `/v1`.
fn group_version(target: &Target) -> String {
    format!("{}/{}", target.resource.group, target.version)
}

/// The object with a patch in it; `before` stays.
pub(super) fn patched(
    target: &Target,
    format: PatchFormat,
    before: &Value,
    body: &Value,
) -> Result<Value, Status> {
    let mut object = before.clone();
    match format {
        PatchFormat::Merge => patch::merge(&mut object, body),
        PatchFormat::Json => patch::json(&mut object, body).map_err(|why| {
            tracing::debug!(why, "a JSON patch does not apply");
            let message = "the server rejected our request due to an error in our request";
            let mut status = Status::new(422, "Invalid", message);
            status.details = json!({});
            status
        })?,
        PatchFormat::Strategic => {
            if target.resource.is_custom() {
                let message = "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
                return Err(Status::new(415, "UnsupportedMediaType", message));
            }
            let shape = target
                .resource
                .shape(&target.version)
                .ok_or_else(Status::no_such_path)?;
            object = patch::strategic(before, body, shape).map_err(Status::bad_request)?;
        }
        PatchFormat::Apply => return Err(Status::internal("an apply is merged elsewhere")),
    }
    Ok(object)
}

//! One resource: its names, its scope, its versions and their shapes.

use std::sync::Arc;

use crate::schema::{Shape, TypeId, Types, builtin};

/// Where the `scale` subresource finds its numbers; dotted paths as in a definition.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    pub spec_replicas: String,
    pub status_replicas: String,
    pub label_selector: Option<String>,
}

/// A column of a table, as a definition describes it.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub name: String,
    pub kind: String,
    pub format: String,
    pub path: String,
    pub priority: i64,
}

#[derive(Clone)]
pub(crate) enum Source {
    Builtin,
    Custom {
        types: Arc<Types>,
        root: TypeId,
        schema: Arc<serde_json::Value>,
    },
}

#[derive(Clone)]
pub(crate) struct Version {
    pub name: String,
    pub status: bool,
    pub scale: Option<Scale>,
    pub columns: Vec<Column>,
    pub source: Source,
}

impl Version {
    /// The schema of a custom resource.
    pub(crate) fn schema(&self) -> Option<&serde_json::Value> {
        match &self.source {
            Source::Builtin => None,
            Source::Custom { schema, .. } => Some(schema),
        }
    }
}

pub(crate) struct Resource {
    pub group: String,
    pub plural: String,
    pub singular: String,
    pub kind: String,
    pub list_kind: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub namespaced: bool,
    pub verbs: Vec<String>,
    /// Served versions, the preferred one first.
    pub versions: Vec<Version>,
    /// The name of the table that keeps it: `deployments.apps`.
    pub key: Arc<str>,
}

impl Resource {
    pub(crate) fn is_custom(&self) -> bool {
        self.versions
            .iter()
            .any(|version| matches!(version.source, Source::Custom { .. }))
    }

    pub(crate) fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.name == name)
    }

    pub(crate) fn allows(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }

    /// `apps/v1`, or `v1` for the core group.
    pub(crate) fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() {
            version.to_owned()
        } else {
            format!("{}/{version}", self.group)
        }
    }

    /// The shape of the kind in a version.
    pub(crate) fn shape(&self, version: &str) -> Option<Shape<'_>> {
        match &self.version(version)?.source {
            Source::Builtin => builtin().shape(&self.group, version, &self.kind),
            Source::Custom { types, root, .. } => Some(types.shape(*root)),
        }
    }

    /// `deployments.apps`, as messages name it.
    pub(crate) fn qualified(&self) -> &str {
        &self.key
    }
}

/// The table of a resource.
pub(crate) fn key(group: &str, plural: &str) -> Arc<str> {
    if group.is_empty() {
        plural.into()
    } else {
        format!("{plural}.{group}").into()
    }
}

//! One object as it is kept: its bytes, and the few fields that every request looks at.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

/// Where an object is within its resource. Cluster-scoped ones have an empty namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectId {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl ObjectId {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// `namespace/name`, or the name alone.
    pub(crate) fn path(&self) -> String {
        if self.namespace.is_empty() {
            self.name.to_string()
        } else {
            format!("{}/{}", self.namespace, self.name)
        }
    }
}

#[derive(Debug)]
pub(crate) struct Object {
    pub id: ObjectId,
    pub uid: Box<str>,
    pub revision: u64,
    pub labels: BTreeMap<Box<str>, Box<str>>,
    /// The uids of its owners.
    pub owners: Box<[Box<str>]>,
    pub deleting: bool,
    bytes: Bytes,
}

impl Object {
    /// Takes an object whose metadata is complete.
    pub(crate) fn new(value: &Value) -> Self {
        let metadata = &value["metadata"];
        let word = |name: &str| metadata[name].as_str().unwrap_or("");
        let labels = metadata["labels"].as_object().into_iter().flatten();
        let owners = metadata["ownerReferences"].as_array().into_iter().flatten();
        Self {
            id: ObjectId::new(word("namespace"), word("name")),
            uid: word("uid").into(),
            revision: word("resourceVersion").parse().unwrap_or(0),
            labels: labels
                .map(|(key, value)| (key.as_str().into(), value.as_str().unwrap_or("").into()))
                .collect(),
            owners: owners
                .filter_map(|owner| owner["uid"].as_str().map(Into::into))
                .collect(),
            deleting: metadata["deletionTimestamp"].is_string(),
            bytes: serde_json::to_vec(&Untyped(value))
                .unwrap_or_default()
                .into(),
        }
    }

    /// The object's JSON without `apiVersion` and `kind`: lists of built-in kinds leave them
    /// out, and the version depends on who asks.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The whole object as JSON.
    pub(crate) fn typed(&self, api_version: &str, kind: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len() + api_version.len() + kind.len() + 32);
        out.extend_from_slice(b"{\"apiVersion\":\"");
        out.extend_from_slice(api_version.as_bytes());
        out.extend_from_slice(b"\",\"kind\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",");
        out.extend_from_slice(self.bytes.get(1..).unwrap_or_default());
        out
    }

    /// The whole object.
    pub(crate) fn value(&self, api_version: &str, kind: &str) -> Value {
        let mut value: Value = serde_json::from_slice(&self.bytes).unwrap_or_default();
        value["apiVersion"] = api_version.into();
        value["kind"] = kind.into();
        value
    }

    /// Its metadata alone.
    pub(crate) fn metadata(&self) -> Value {
        #[derive(serde::Deserialize)]
        struct Meta {
            metadata: Value,
        }
        serde_json::from_slice::<Meta>(&self.bytes)
            .map(|object| object.metadata)
            .unwrap_or_default()
    }
}

/// An object without the two fields that name its type.
struct Untyped<'a>(&'a Value);

impl serde::Serialize for Untyped<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = self.0.as_object().into_iter().flatten();
        serializer.collect_map(fields.filter(|(name, _)| *name != "apiVersion" && *name != "kind"))
    }
}

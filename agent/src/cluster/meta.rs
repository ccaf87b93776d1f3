//! What the engine reads of an object's metadata.

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::FIELD_MANAGER;

/// Any object, reduced to its metadata.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Envelope {
    pub metadata: Meta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Meta {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub resource_version: String,
    pub deletion_timestamp: Option<String>,
    pub finalizers: Vec<String>,
    pub labels: Labels,
    pub managed_fields: Vec<ManagedFields>,
    /// The request made the object.
    #[serde(skip)]
    pub created: bool,
}

/// The one label that we read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Labels {
    #[serde(rename = "lockstep.dev/assignment")]
    pub assignment: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ManagedFields {
    pub manager: String,
    pub operation: String,
    pub subresource: String,
    pub time: String,
    pub fields_v1: Option<Box<RawValue>>,
}

impl Meta {
    /// A fingerprint of the fields that we own by server-side apply, zero for
    /// none. It changes when, and only when, somebody else changed or took one
    /// of them: the API server moves a changed field from our entry of
    /// `managedFields` to theirs (KEP-555).
    #[must_use]
    pub fn owned(&self) -> u64 {
        let ours = self.managed_fields.iter().find(|entry| {
            entry.manager == FIELD_MANAGER
                && entry.operation == "Apply"
                && entry.subresource.is_empty()
        });
        let Some(fields) = ours.and_then(|entry| entry.fields_v1.as_ref()) else {
            return 0;
        };
        let hash = Sha256::digest(fields.get().as_bytes());
        let hash: [u8; 8] = hash[..8].try_into().expect("32 bytes hold 8");
        u64::from_be_bytes(hash).max(1)
    }

    /// Versions are compared only to tell older news from newer; a version
    /// that is no number is always new (KEP-5504 makes them comparable).
    #[must_use]
    pub fn version(&self) -> u64 {
        self.resource_version.parse().unwrap_or(u64::MAX)
    }

    #[must_use]
    pub fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    #[must_use]
    pub fn is_of(&self, assignment: &str) -> bool {
        self.labels.assignment.as_deref() == Some(assignment)
    }

    /// Who changed the object last, other than us: "kubectl-edit".
    #[must_use]
    pub fn last_other_manager(&self) -> Option<&str> {
        self.managed_fields
            .iter()
            .filter(|entry| entry.manager != FIELD_MANAGER && entry.subresource != "status")
            .max_by(|a, b| a.time.cmp(&b.time))
            .map(|entry| entry.manager.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ASSIGNMENT_LABEL;
    use serde_json::json;

    fn meta(managed: &serde_json::Value) -> Meta {
        serde_json::from_str::<Envelope>(
            &json!({"metadata": {"resourceVersion": "7", "managedFields": managed}}).to_string(),
        )
        .unwrap()
        .metadata
    }

    #[test]
    fn the_label_is_read_by_its_name() {
        let object = json!({"metadata": {"labels": {ASSIGNMENT_LABEL: "shop", "app": "web"}}});
        let envelope: Envelope = serde_json::from_str(&object.to_string()).unwrap();
        assert!(envelope.metadata.is_of("shop"));
        assert!(!envelope.metadata.is_of("web"));
    }

    #[test]
    fn only_our_own_applied_fields_count() {
        let ours = json!({"manager": "lockstep", "operation": "Apply", "fieldsV1": {"f:data": {}}});
        let alone = meta(&json!([ours]));
        let beside = meta(&json!([
            {"manager": "kubectl-edit", "operation": "Update", "time": "2026-01-02T00:00:00Z", "fieldsV1": {"f:x": {}}},
            {"manager": "kcm", "operation": "Update", "subresource": "status", "time": "2026-01-03T00:00:00Z", "fieldsV1": {"f:y": {}}},
            ours,
        ]));
        assert_ne!(alone.owned(), 0);
        assert_eq!(alone.owned(), beside.owned());
        assert_eq!(beside.last_other_manager(), Some("kubectl-edit"));
        let smaller = meta(&json!([
            {"manager": "lockstep", "operation": "Apply", "fieldsV1": {}}
        ]));
        assert_ne!(alone.owned(), smaller.owned());
        assert_eq!(meta(&json!([])).owned(), 0);
        assert_eq!(alone.version(), 7);
    }
}

//! What is sent for an object: its canonical JSON with the namespace filled
//! in, our label put on, and what only a server may say taken off.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::cluster::ASSIGNMENT_LABEL;
use crate::fields::Ignored;

/// Set by the server: in an apply they are errors, or would be taken for a
/// precondition (people commit what `kubectl get -o yaml` prints).
const SERVERS: &[&str] = &[
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// The request body for `object`, which is canonical JSON. `namespace` is
/// where it goes; none for cluster-scoped kinds.
///
/// # Errors
/// In words, where it is not an object with metadata.
pub fn body(object: &[u8], namespace: Option<&str>, assignment: &str) -> Result<Bytes, String> {
    let not_one = |error: serde_json::Error| format!("it is not a Kubernetes object: {error}");
    // Only the metadata is taken apart: the rest may be a megabyte.
    let mut parts: BTreeMap<String, &RawValue> = serde_json::from_slice(object).map_err(not_one)?;
    let metadata = parts.get("metadata").map_or("{}", |raw| raw.get());
    let mut metadata: Map<String, Value> = serde_json::from_str(metadata).map_err(not_one)?;
    for field in SERVERS {
        metadata.remove(*field);
    }
    match namespace {
        Some(namespace) => metadata.insert("namespace".into(), namespace.into()),
        None => metadata.remove("namespace"),
    };
    let labels = metadata
        .entry("labels")
        .or_insert_with(|| Value::Object(Map::new()));
    if labels.is_null() {
        *labels = Value::Object(Map::new());
    }
    labels
        .as_object_mut()
        .ok_or("metadata.labels is not a map")?
        .insert(ASSIGNMENT_LABEL.into(), assignment.into());
    let metadata = serde_json::value::to_raw_value(&metadata).map_err(not_one)?;
    parts.insert("metadata".into(), &metadata);
    serde_json::to_vec(&parts).map(Bytes::from).map_err(not_one)
}

/// `body`, which [`body()`] made, as it is sent: with the fields that `ignored`
/// names as `live` holds them, and for no other than `version` of the object.
/// True where that is not what Git has.
///
/// # Errors
/// In words, where it is not an object.
pub fn as_found(
    body: &Bytes,
    ignored: Option<&Ignored<'_>>,
    live: Option<&Value>,
    version: Option<&str>,
) -> Result<(Bytes, bool), String> {
    let found = ignored.zip(live);
    if found.is_none() && version.is_none() {
        return Ok((body.clone(), false));
    }
    let not_one = |error: serde_json::Error| format!("it is not a Kubernetes object: {error}");
    let body: Value = serde_json::from_slice(body).map_err(not_one)?;
    let mut sent = match found {
        Some((ignored, live)) => ignored.as_found(&body, live),
        None => body.clone(),
    };
    let differs = sent != body;
    if let Some(version) = version {
        sent["metadata"]["resourceVersion"] = version.into();
    }
    let sent = serde_json::to_vec(&sent).map_err(not_one)?;
    Ok((sent.into(), differs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn made(object: &Value, namespace: Option<&str>) -> Value {
        let body = body(object.to_string().as_bytes(), namespace, "shop").unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    #[test]
    fn the_label_goes_on_the_object_and_nowhere_else() {
        let object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {"selector": {"matchLabels": {"app": "web"}},
                     "template": {"metadata": {"labels": {"app": "web"}}}}});
        let made = made(&object, Some("shop"));
        assert_eq!(made["metadata"]["namespace"], "shop");
        assert_eq!(
            made["metadata"]["labels"],
            json!({"app": "web", "lockstep.dev/assignment": "shop"})
        );
        assert_eq!(made["spec"], object["spec"], "selectors are immutable");
    }

    #[test]
    fn what_the_server_says_is_not_said_back() {
        let object = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "x", "namespace": "y", "uid": "1", "resourceVersion": "2",
                "creationTimestamp": null, "managedFields": [], "generation": 1, "labels": null}});
        assert_eq!(
            made(&object, None)["metadata"],
            json!({"name": "x", "labels": {"lockstep.dev/assignment": "shop"}})
        );
    }

    #[test]
    fn what_is_no_object_is_an_error_in_words() {
        for bad in [
            "[]",
            "{\"metadata\": 1}",
            "{\"metadata\":{\"labels\":\"x\"}}",
        ] {
            assert!(body(bad.as_bytes(), None, "shop").is_err(), "{bad}");
        }
    }
}

//! What a Bundle would change where another one runs: pure, by their indexes.

use std::cmp::Ordering;

use lockstep_proto::bundle::ObjectKey;
use lockstep_proto::v1;

use crate::store::StoredObject;

/// Objects that are named; the rest is counted.
const NAMED: usize = 20;
/// Bytes of one name: an object's own may be long.
const LONGEST: usize = 300;

/// Kinds of Kubernetes itself that are in no namespace.
const CLUSTER_SCOPED: [&str; 30] = [
    "APIService",
    "CSIDriver",
    "CSINode",
    "CertificateSigningRequest",
    "ClusterRole",
    "ClusterRoleBinding",
    "ClusterTrustBundle",
    "ComponentStatus",
    "CustomResourceDefinition",
    "DeviceClass",
    "FlowSchema",
    "IPAddress",
    "IngressClass",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PriorityClass",
    "PriorityLevelConfiguration",
    "ResourceSlice",
    "RuntimeClass",
    "ServiceCIDR",
    "StorageClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
    "VolumeAttachment",
    "VolumeAttributesClass",
];

/// An object as people know it: in the assignment's `namespace` where it names
/// none and its kind is known to live in one. Of other kinds only the cluster knows.
fn name(key: &ObjectKey, namespace: &str) -> String {
    let group = key
        .api_version
        .split_once('/')
        .map_or("", |(group, _)| group);
    let built_in = !group.contains('.') || group.ends_with(".k8s.io");
    let kind = key.kind.as_str();
    let cluster_scoped = CLUSTER_SCOPED.contains(&kind);
    if namespace.is_empty() || !key.namespace.is_empty() || !built_in || cluster_scoped {
        return key.to_string();
    }
    let namespace = namespace.to_owned();
    ObjectKey {
        namespace,
        ..key.clone()
    }
    .to_string()
}

/// Compares two indexes, both in the order of their digests' definition.
/// Fills `pending` with what `new` would change where `old` runs. `namespace`:
/// the assignment's.
pub fn compare(
    old: &[StoredObject],
    new: &[StoredObject],
    namespace: &str,
    pending: &mut v1::Pending,
) {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.entry.key.cmp(&new.entry.key),
        };
        let (before, after) = match order {
            Ordering::Less => (old.next(), None),
            Ordering::Greater => (None, new.next()),
            Ordering::Equal => (old.next(), new.next()),
        };
        let (count, verb, object) = match (before, after) {
            (Some(before), Some(after)) if before.entry.sha256 == after.entry.sha256 => continue,
            (Some(_), Some(after)) => (&mut pending.changed, "changed", after),
            (Some(before), None) => (&mut pending.removed, "removed", before),
            (None, Some(after)) => (&mut pending.added, "added", after),
            (None, None) => return,
        };
        *count += 1;
        if pending.changes.len() < NAMED {
            let mut text = format!("{verb} {}", name(&object.entry.key, namespace));
            if text.len() > LONGEST {
                text.truncate(text.floor_char_boundary(LONGEST));
                text.push('…');
            }
            pending.changes.push(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use lockstep_proto::Digest;
    use lockstep_proto::bundle::IndexEntry;

    use super::*;

    /// "a=1" is the ConfigMap a with content 1.
    fn index(objects: &[&str]) -> Vec<StoredObject> {
        let mut index: Vec<_> = objects
            .iter()
            .map(|object| {
                let (name, content) = object.split_once('=').unwrap();
                StoredObject {
                    entry: IndexEntry {
                        key: ObjectKey {
                            api_version: "v1".into(),
                            kind: "ConfigMap".into(),
                            namespace: "shop".into(),
                            name: name.into(),
                        },
                        sha256: Digest::of(content.as_bytes()),
                    },
                    bytes: 1,
                }
            })
            .collect();
        index.sort_by(|a, b| a.entry.key.cmp(&b.entry.key));
        index
    }

    fn said(old: &[&str], new: &[&str]) -> String {
        let mut pending = v1::Pending::default();
        compare(&index(old), &index(new), "shop", &mut pending);
        let (added, changed, removed) = (pending.added, pending.changed, pending.removed);
        let changes = pending.changes.join(", ");
        format!("{added} {changed} {removed}: {changes}").replace("v1 ConfigMap shop/", "")
    }

    #[test]
    fn each_object_counts_once() {
        for (old, new, expected) in [
            (&[][..], &[][..], "0 0 0: "),
            (&["a=1"], &["a=1"], "0 0 0: "),
            (&["a=1"], &["a=2"], "0 1 0: changed a"),
            (&[], &["a=1", "b=1"], "2 0 0: added a, added b"),
            (&["a=1", "b=1"], &["b=1"], "0 0 1: removed a"),
            (
                &["a=1", "b=1", "d=1"],
                &["b=2", "c=1", "d=1"],
                "1 1 1: removed a, changed b, added c",
            ),
        ] {
            assert_eq!(said(old, new), expected);
        }
    }

    #[test]
    fn an_object_is_named_with_the_namespace_that_it_takes() {
        for (api_version, kind, namespace, expected) in [
            ("v1", "ConfigMap", "", "v1 ConfigMap shop/a"),
            ("apps/v1", "Deployment", "", "apps/v1 Deployment shop/a"),
            ("v1", "ConfigMap", "other", "v1 ConfigMap other/a"),
            ("v1", "Namespace", "", "v1 Namespace a"),
            (
                "rbac.authorization.k8s.io/v1",
                "ClusterRole",
                "",
                "rbac.authorization.k8s.io/v1 ClusterRole a",
            ),
            (
                "networking.k8s.io/v1",
                "Ingress",
                "",
                "networking.k8s.io/v1 Ingress shop/a",
            ),
            ("example.com/v1", "Widget", "", "example.com/v1 Widget a"),
        ] {
            let key = ObjectKey {
                api_version: api_version.into(),
                kind: kind.into(),
                namespace: namespace.into(),
                name: "a".into(),
            };
            assert_eq!(name(&key, "shop"), expected);
        }
    }

    #[test]
    fn many_are_counted_and_the_first_are_named() {
        let many: Vec<String> = (0..500).map(|i| format!("o{i:03}=1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let mut pending = v1::Pending::default();
        compare(&[], &index(&many), "shop", &mut pending);
        assert_eq!((pending.added, pending.changes.len()), (500, NAMED));
    }
}

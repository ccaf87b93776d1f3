//! The canonical form of a Bundle, and the digest that addresses it.
//!
//! Objects are canonical JSON: no white space, keys of every map sorted by
//! their bytes, numbers and strings as serde_json writes them. A Bundle is its
//! objects sorted by [`ObjectKey`]; its digest is the SHA-256 over, for each
//! object in that order, the length-prefixed key fields and the object's own
//! SHA-256. So two ends agree on a Bundle by 32 bytes, and on what one lacks
//! of it by the list of its objects.

use std::fmt;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::names::Digest;
use crate::v1::ObjectRef;

/// What makes an object unique within a Bundle. The order is the Bundle's.
///
/// The version is not part of what makes an object the same in Kubernetes, but
/// a Bundle must not hold one object in two versions either: see
/// [`ObjectKey::same_object`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// `apps/v1`, `v1`.
    pub api_version: String,
    pub kind: String,
    /// Empty for cluster-scoped objects and those that take the Assignment's namespace.
    pub namespace: String,
    pub name: String,
}

impl ObjectKey {
    /// The API group, empty for the core group.
    #[must_use]
    pub fn group(&self) -> &str {
        self.api_version
            .split_once('/')
            .map_or("", |(group, _)| group)
    }

    /// Whether both name the same object of the API, in whatever version.
    #[must_use]
    pub fn same_object(&self, other: &Self) -> bool {
        (self.group(), &self.kind, &self.namespace, &self.name)
            == (other.group(), &other.kind, &other.namespace, &other.name)
    }
}

impl fmt::Display for ObjectKey {
    /// `apps/v1 Deployment shop/web`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.api_version, self.kind)?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

impl From<ObjectRef> for ObjectKey {
    fn from(r: ObjectRef) -> Self {
        Self {
            api_version: r.api_version,
            kind: r.kind,
            namespace: r.namespace,
            name: r.name,
        }
    }
}

impl From<ObjectKey> for ObjectRef {
    fn from(k: ObjectKey) -> Self {
        Self {
            api_version: k.api_version,
            kind: k.kind,
            namespace: k.namespace,
            name: k.name,
        }
    }
}

/// An object's key and the SHA-256 of its canonical JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    pub key: ObjectKey,
    pub sha256: Digest,
}

/// The digest of the Bundle whose objects `entries` lists, sorted by key.
#[must_use]
pub fn bundle_digest<'a>(entries: impl IntoIterator<Item = &'a IndexEntry>) -> Digest {
    let mut hash = BundleHash::default();
    for entry in entries {
        hash.push(entry);
    }
    hash.finish()
}

/// [`bundle_digest`] for one who sees the objects one by one.
#[derive(Debug, Clone, Default)]
pub struct BundleHash(Sha256);

impl BundleHash {
    /// The next object in the order of [`ObjectKey`].
    pub fn push(&mut self, entry: &IndexEntry) {
        let key = &entry.key;
        for field in [&key.api_version, &key.kind, &key.namespace, &key.name] {
            self.0.update((field.len() as u64).to_be_bytes());
            self.0.update(field.as_bytes());
        }
        self.0.update(entry.sha256.0);
    }

    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// Canonical JSON: see the module. Independent of how `Value` orders its maps.
#[must_use]
pub fn canonical_json(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write_canonical(value, &mut out);
    out
}

fn write_canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<_> = map.iter().collect();
            fields.sort_unstable_by_key(|(key, _)| key.as_bytes());
            out.push(b'{');
            for (i, (key, value)) in fields.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_scalar(&Value::String(key.clone()), out);
                out.push(b':');
                write_canonical(value, out);
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_canonical(item, out);
            }
            out.push(b']');
        }
        scalar => write_scalar(scalar, out),
    }
}

fn write_scalar(value: &Value, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("a scalar of serde_json writes to memory");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(name: &str, json: &str) -> IndexEntry {
        IndexEntry {
            key: ObjectKey {
                api_version: "apps/v1".into(),
                kind: "Deployment".into(),
                namespace: "shop".into(),
                name: name.into(),
            },
            sha256: Digest::of(json.as_bytes()),
        }
    }

    #[test]
    fn canonical_json_sorts_every_map() {
        let value = json!({"b": [{"d": 1, "c": "ä\n"}], "a": null, "B": 1.5});
        let text = String::from_utf8(canonical_json(&value)).unwrap();
        assert_eq!(text, r#"{"B":1.5,"a":null,"b":[{"c":"ä\n","d":1}]}"#);
    }

    #[test]
    fn the_digest_covers_keys_and_contents() {
        let one = bundle_digest(&[entry("a", "{}"), entry("b", "{}")]);
        assert_eq!(one, bundle_digest(&[entry("a", "{}"), entry("b", "{}")]));
        assert_ne!(one, bundle_digest(&[entry("a", "{}")]));
        assert_ne!(one, bundle_digest(&[entry("a", "{}"), entry("c", "{}")]));
        assert_ne!(one, bundle_digest(&[entry("a", "{}"), entry("b", "[]")]));
    }

    #[test]
    fn a_key_reads_as_people_say_it() {
        let mut key = entry("web", "").key;
        assert_eq!(key.to_string(), "apps/v1 Deployment shop/web");
        key.namespace.clear();
        assert_eq!(key.to_string(), "apps/v1 Deployment web");
        let older = ObjectKey {
            api_version: "apps/v1beta1".into(),
            ..key.clone()
        };
        assert!(key.same_object(&older));
    }
}

//! What the API serves: kinds, their paths and scopes, from aggregated
//! discovery (Kubernetes 1.30 and newer), kept in a compact map and asked for
//! again only when somebody needs a kind that the map does not have.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use serde::Deserialize;

/// Group and kind: what makes two versions the same kind of object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupKind {
    pub group: Arc<str>,
    pub kind: Arc<str>,
}

/// One kind in one version, as served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    pub group: Box<str>,
    pub version: Box<str>,
    pub kind: Box<str>,
    pub plural: Box<str>,
    pub namespaced: bool,
    /// The kind has a status subresource.
    pub status: bool,
    pub watchable: bool,
}

impl Resource {
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Path of the collection: in `namespace`, or across all where it is empty.
    #[must_use]
    pub fn collection(&self, namespace: &str) -> String {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if self.namespaced && !namespace.is_empty() {
            path.push_str("/namespaces/");
            push_segment(&mut path, namespace);
        }
        path.push('/');
        path.push_str(&self.plural);
        path
    }

    /// Path of one object.
    #[must_use]
    pub fn object(&self, namespace: &str, name: &str) -> String {
        let mut path = self.collection(namespace);
        path.push('/');
        push_segment(&mut path, name);
        path
    }
}

/// Appends `text` as one path segment: whatever it holds, it stays one.
fn push_segment(path: &mut String, text: &str) {
    use std::fmt::Write as _;
    // A segment of dots would be resolved away by whoever normalises paths.
    let dots = text.bytes().all(|b| b == b'.');
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b':' | b'~');
        if plain || (byte == b'.' && !dots) {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "%{byte:02X}");
        }
    }
}

/// Group and kind.
type Key = (Box<str>, Box<str>);

/// Every kind that the API serves, by group and kind; versions in the
/// server's order of preference.
#[derive(Debug, Default)]
pub struct KindMap {
    kinds: HashMap<Key, Vec<Arc<Resource>>>,
}

impl KindMap {
    /// The kind in exactly the version that `api_version` names.
    #[must_use]
    pub fn exact(&self, api_version: &str, kind: &str) -> Option<Arc<Resource>> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.versions(group, kind)
            .iter()
            .find(|resource| &*resource.version == version)
            .cloned()
    }

    /// The kind in the version that the server prefers.
    #[must_use]
    pub fn preferred(&self, group: &str, kind: &str) -> Option<Arc<Resource>> {
        self.versions(group, kind).first().cloned()
    }

    /// The kind in all served versions.
    #[must_use]
    pub fn versions(&self, group: &str, kind: &str) -> &[Arc<Resource>] {
        self.kinds
            .get(&(group, kind) as &dyn Pair)
            .map_or(&[], Vec::as_slice)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Adds what one of the two discovery documents lists.
    pub fn add(&mut self, document: Document) {
        for group in document.items {
            let name: Box<str> = group.metadata.name.into();
            for version in group.versions {
                for resource in version.resources {
                    let Some(kind) = resource.response_kind.filter(|k| !k.kind.is_empty()) else {
                        continue;
                    };
                    let entry = Resource {
                        group: name.clone(),
                        version: version.version.as_str().into(),
                        kind: kind.kind.as_str().into(),
                        plural: resource.resource.into(),
                        namespaced: resource.scope == "Namespaced",
                        status: resource
                            .subresources
                            .iter()
                            .any(|sub| sub.subresource == "status"),
                        watchable: resource.verbs.iter().any(|verb| verb == "watch"),
                    };
                    let key = (name.clone(), kind.kind.into());
                    self.kinds.entry(key).or_default().push(Arc::new(entry));
                }
            }
        }
    }
}

/// Lets the map be asked with borrowed words.
trait Pair {
    fn pair(&self) -> (&str, &str);
}

impl Pair for Key {
    fn pair(&self) -> (&str, &str) {
        (&self.0, &self.1)
    }
}

impl Pair for (&str, &str) {
    fn pair(&self) -> (&str, &str) {
        *self
    }
}

impl<'a> std::borrow::Borrow<dyn Pair + 'a> for Key {
    fn borrow(&self) -> &(dyn Pair + 'a) {
        self
    }
}

impl std::hash::Hash for dyn Pair + '_ {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.pair().hash(state);
    }
}

impl PartialEq for dyn Pair + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.pair() == other.pair()
    }
}

impl Eq for dyn Pair + '_ {}

/// The latest map, shared by everybody who resolves a kind.
#[derive(Debug, Default)]
pub struct Kinds {
    map: RwLock<Arc<KindMap>>,
}

impl Kinds {
    #[must_use]
    pub fn now(&self) -> Arc<KindMap> {
        Arc::clone(&self.map.read())
    }

    pub fn replace(&self, map: KindMap) {
        *self.map.write() = Arc::new(map);
    }
}

/// What is read of an `APIGroupDiscoveryList` (apidiscovery.k8s.io/v2).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Document {
    pub kind: String,
    items: Vec<Group>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Group {
    metadata: Name,
    versions: Vec<Version>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Name {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Version {
    version: String,
    resources: Vec<Listed>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Listed {
    resource: String,
    response_kind: Option<ResponseKind>,
    scope: String,
    verbs: Vec<String>,
    subresources: Vec<Subresource>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ResponseKind {
    kind: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Subresource {
    subresource: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served() -> KindMap {
        let mut map = KindMap::default();
        map.add(
            serde_json::from_value(serde_json::json!({
                "kind": "APIGroupDiscoveryList",
                "items": [{"metadata": {"name": "apps"}, "versions": [
                    {"version": "v1", "resources": [{
                        "resource": "deployments", "scope": "Namespaced",
                        "responseKind": {"group": "apps", "version": "v1", "kind": "Deployment"},
                        "verbs": ["get", "watch"],
                        "subresources": [{"subresource": "status"}]}]},
                    {"version": "v1beta1", "resources": [{
                        "resource": "deployments", "scope": "Namespaced",
                        "responseKind": {"kind": "Deployment"}, "verbs": []}]}]}]
            }))
            .unwrap(),
        );
        map
    }

    #[test]
    fn a_kind_is_found_in_its_version_and_in_the_preferred_one() {
        let map = served();
        assert!(map.exact("apps/v1beta1", "Deployment").is_some());
        assert!(map.exact("apps/v2", "Deployment").is_none());
        assert!(map.exact("v1", "Deployment").is_none());
        let best = map.preferred("apps", "Deployment").unwrap();
        assert_eq!(best.api_version(), "apps/v1");
        assert!(best.status && best.watchable && best.namespaced);
    }

    #[test]
    fn a_name_stays_one_segment_of_the_path() {
        let deployment = served().preferred("apps", "Deployment").unwrap();
        let path = |ns, name| deployment.object(ns, name);
        let root = "/apis/apps/v1/namespaces";
        assert_eq!(path("shop", "web"), format!("{root}/shop/deployments/web"));
        assert_eq!(
            path("shop", "a:b.c"),
            format!("{root}/shop/deployments/a:b.c")
        );
        assert_eq!(
            path("shop", "../../x?y#z"),
            format!("{root}/shop/deployments/..%2F..%2Fx%3Fy%23z")
        );
        assert_eq!(
            path("..", ".."),
            format!("{root}/%2E%2E/deployments/%2E%2E")
        );
        assert_eq!(deployment.collection(""), "/apis/apps/v1/deployments");
    }
}

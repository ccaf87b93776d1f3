//! How StorageClasses bind: asked for when a claim is found that waits, and
//! kept, for how a class binds cannot be changed.

use std::collections::HashMap;

use parking_lot::Mutex;
use serde::Deserialize;

use crate::cluster::Cluster;
use crate::health::Class;

const ALL: &str = "/apis/storage.k8s.io/v1/storageclasses";
/// The later of two defaults would win; the older spelling still counts.
const DEFAULT: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];

#[derive(Debug, Default)]
struct Known {
    by_name: HashMap<String, Class>,
    default: Option<Class>,
}

/// See the module. Shared by all watches; only that of claims asks.
pub(super) struct Classes {
    cluster: Cluster,
    known: Mutex<Known>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct List {
    items: Vec<StorageClass>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct StorageClass {
    metadata: Metadata,
    volume_binding_mode: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    annotations: HashMap<String, String>,
}

impl Classes {
    pub(super) fn new(cluster: Cluster) -> Self {
        Self {
            cluster,
            known: Mutex::default(),
        }
    }

    /// The class of that name, or the cluster's default. One that is missing
    /// is asked for again by the next claim that wants it.
    pub(super) async fn get(&self, name: Option<&str>) -> Class {
        if let Some(class) = self.known.lock().find(name) {
            return class;
        }
        match self.cluster.page::<List>(ALL).await {
            Ok(list) => {
                let mut known = self.known.lock();
                *known = Known::read(list);
                known.find(name).unwrap_or(Class::Missing)
            }
            // A claim that waits for it is Progressing, which is no lie.
            Err(error) => {
                tracing::debug!(%error, "cannot read the storage classes");
                Class::Unknown
            }
        }
    }
}

impl Known {
    fn read(list: List) -> Self {
        let mut known = Self::default();
        for class in list.items {
            let binds = match class.volume_binding_mode.as_str() {
                "WaitForFirstConsumer" => Class::WaitForFirstConsumer,
                _ => Class::Immediate,
            };
            let annotations = &class.metadata.annotations;
            let is = |name: &&str| annotations.get(*name).is_some_and(|is| is == "true");
            if DEFAULT.iter().any(is) {
                known.default = Some(binds);
            }
            known.by_name.insert(class.metadata.name, binds);
        }
        known
    }

    fn find(&self, name: Option<&str>) -> Option<Class> {
        match name {
            Some(name) => self.by_name.get(name).copied(),
            None => self.default,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_class_is_found_by_its_name_and_the_default_by_its_annotation() {
        let known = Known::read(
            serde_json::from_value(json!({"items": [
            {"metadata": {"name": "fast"}, "volumeBindingMode": "Immediate"},
            {"metadata": {"name": "local",
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
             "volumeBindingMode": "WaitForFirstConsumer"}]}))
            .unwrap(),
        );
        assert_eq!(known.find(Some("fast")), Some(Class::Immediate));
        assert_eq!(known.find(Some("local")), Some(Class::WaitForFirstConsumer));
        assert_eq!(known.find(None), Some(Class::WaitForFirstConsumer));
        assert_eq!(known.find(Some("gone")), None);
    }
}

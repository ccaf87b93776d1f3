//! What a Bundle brings that its other objects need: there is no dry run of
//! what lives in, or by, something that is not there yet.

use std::collections::HashSet;

use lockstep_proto::bundle::IndexEntry;
use serde_json::Value;

use super::make::blocking;
use crate::bundle::BundleFile;

/// What the Bundle brings that other objects of it need.
pub struct Coming {
    pub namespaces: HashSet<String>,
    /// Group and kind of its definitions.
    pub kinds: HashSet<(String, String)>,
}

impl Coming {
    /// Reads what `file` brings.
    ///
    /// # Errors
    /// In words, where it cannot be read.
    pub async fn read(file: &BundleFile) -> Result<Self, String> {
        let mut coming = Self {
            namespaces: HashSet::new(),
            kinds: HashSet::new(),
        };
        let file = file.clone();
        blocking(move || {
            let defines = |entry: &IndexEntry| {
                matches!(
                    (entry.key.group(), &*entry.key.kind),
                    ("", "Namespace") | ("apiextensions.k8s.io", "CustomResourceDefinition")
                )
            };
            let read = file.read(&defines, &mut |entry, json| {
                if entry.key.kind == "Namespace" {
                    coming.namespaces.insert(entry.key.name);
                    return Ok(());
                }
                let definition: Value = serde_json::from_slice(&json)?;
                let word = |path| definition.pointer(path).and_then(Value::as_str);
                if let (Some(group), Some(kind)) = (word("/spec/group"), word("/spec/names/kind")) {
                    coming.kinds.insert((group.to_owned(), kind.to_owned()));
                }
                Ok(())
            });
            read.map_err(|error| format!("cannot read the bundle: {error:#}"))?;
            Ok(coming)
        })
        .await
    }
}

//! The built-in kinds, read once per process however many sandboxes there are.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde_json::Value;

use super::shape::{Shape, TypeId, Types};

const TABLE: &str = include_str!("builtin.jsonl");

pub(crate) const OBJECT_META: &str = "apimachinery.pkg.apis.meta.v1.ObjectMeta";

pub(crate) struct Builtin {
    /// Aggregated discovery of each group: `{"group": …, "versions": […]}`, in the server's order.
    pub groups: Vec<Value>,
    types: Types,
    kinds: HashMap<(String, String, String), (String, TypeId)>,
    schemas: HashMap<String, Value>,
}

impl Builtin {
    /// The shape of a kind.
    pub(crate) fn shape(&self, group: &str, version: &str, kind: &str) -> Option<Shape<'_>> {
        let key = (group.to_owned(), version.to_owned(), kind.to_owned());
        self.kinds.get(&key).map(|(_, id)| self.types.shape(*id))
    }

    /// The name of a kind's schema.
    pub(crate) fn schema_name(&self, group: &str, version: &str, kind: &str) -> Option<&str> {
        let key = (group.to_owned(), version.to_owned(), kind.to_owned());
        self.kinds.get(&key).map(|(name, _)| name.as_str())
    }

    pub(crate) fn schema(&self, name: &str) -> Option<&Value> {
        self.schemas.get(name)
    }
}

/// The table of built-in kinds.
pub(crate) fn builtin() -> &'static Builtin {
    static BUILTIN: OnceLock<Builtin> = OnceLock::new();
    BUILTIN.get_or_init(read)
}

fn read() -> Builtin {
    let mut groups = Vec::new();
    let mut schemas = HashMap::new();
    for line in TABLE.lines() {
        let mut row: Value =
            serde_json::from_str(line).expect("the table is JSON, one document a line");
        match row["type"].as_str().map(str::to_owned) {
            Some(name) => {
                schemas.insert(name, row["schema"].take());
            }
            None => groups.push(row),
        }
    }
    let mut types = Types::default();
    let mut kinds = HashMap::new();
    for (name, schema) in &schemas {
        for gvk in schema["x-kubernetes-group-version-kind"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let id = types.named(name, &|name| schemas.get(name));
            let word = |at: usize| gvk[at].as_str().unwrap_or("").to_owned();
            kinds.insert((word(0), word(1), word(2)), (name.clone(), id));
        }
    }
    Builtin {
        groups,
        types,
        kinds,
        schemas,
    }
}

//! Tables: what `kubectl get` shows. Columns and cells a kind, and name and age for the rest.

mod cells;
mod columns;

use serde_json::{Value, json};

use crate::discovery::Column;
use crate::machinery::Target;
use crate::store::Object;

/// Which part of an object goes with its row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Include {
    Nothing,
    Metadata,
    Whole,
}

/// Makes rows of one kind.
pub(crate) struct Rows {
    api_version: String,
    kind: String,
    group: String,
    columns: Vec<Column>,
    custom: bool,
    include: Include,
    header: bool,
}

impl Rows {
    /// `include`: the query parameter `includeObject`. `header`: the first table tells the columns.
    pub(crate) fn new(target: &Target, include: &str, header: bool) -> Self {
        let resource = &target.resource;
        let custom = resource.is_custom();
        let columns = if custom {
            columns::custom(
                resource
                    .version(&target.version)
                    .map_or(&[], |version| &version.columns),
            )
        } else {
            columns::builtin(&resource.group, &resource.kind)
        };
        let include = match include {
            "None" => Include::Nothing,
            "Object" => Include::Whole,
            _ => Include::Metadata,
        };
        Self {
            api_version: target.api_version(),
            kind: resource.kind.clone(),
            group: resource.group.clone(),
            columns,
            custom,
            include,
            header,
        }
    }

    /// A table of many objects.
    pub(crate) fn of(
        &self,
        objects: &[&Object],
        revision: &str,
        more: Option<(String, usize)>,
    ) -> Value {
        let rows: Vec<Value> = objects.iter().map(|object| self.row(object)).collect();
        let mut metadata = json!({"resourceVersion": revision});
        if let Some((token, left)) = more {
            metadata["continue"] = token.into();
            metadata["remainingItemCount"] = left.into();
        }
        json!({
            "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
            "columnDefinitions": self.definitions(), "rows": rows,
        })
    }

    /// A table of one object, of a watch: only the first names the columns.
    pub(crate) fn next(&mut self, object: &Object, revision: u64) -> Value {
        let definitions = if std::mem::take(&mut self.header) {
            self.definitions()
        } else {
            Value::Null
        };
        json!({
            "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": revision.to_string()},
            "columnDefinitions": definitions, "rows": [self.row(object)],
        })
    }

    fn definitions(&self) -> Value {
        let rows = self.columns.iter().map(|column| {
            json!({"name": column.name, "type": column.kind, "format": column.format, "description": "", "priority": column.priority})
        });
        Value::Array(rows.collect())
    }

    fn row(&self, object: &Object) -> Value {
        let value = object.value(&self.api_version, &self.kind);
        let cells: Vec<Value> = self
            .columns
            .iter()
            .map(|column| {
                if self.custom && !column.path.is_empty() {
                    cells::custom(&value, column)
                } else {
                    cells::builtin(&self.group, &self.kind, &column.name, &value)
                }
            })
            .collect();
        let mut row = json!({"cells": cells});
        match self.include {
            Include::Nothing => {}
            Include::Metadata => row["object"] = crate::http::partial(object),
            Include::Whole => row["object"] = value,
        }
        row
    }
}

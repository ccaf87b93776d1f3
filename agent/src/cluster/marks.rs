//! What metadata says of whose an object is, read one by one or by whole
//! collections; nothing else of the objects crosses the wire.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{ApiError, Cluster, METADATA, METADATA_LIST};

/// Metadata, as far as it tells whose an object is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Marks {
    pub name: String,
    pub namespace: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub owner_references: Vec<OwnerReference>,
    pub managed_fields: Vec<Wrote>,
    pub finalizers: Vec<String>,
    pub deletion_timestamp: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct OwnerReference {
    pub kind: String,
    pub name: String,
    pub controller: bool,
}

/// Who wrote fields of the object.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Wrote {
    pub manager: String,
}

#[derive(Deserialize)]
struct Marked {
    #[serde(default)]
    metadata: Marks,
}

/// A page of a collection.
#[derive(Debug)]
pub struct MarksPage {
    pub items: Vec<Marks>,
    /// Where the next page begins; empty at the end.
    pub token: String,
    /// How many objects follow, where the server says so.
    pub remaining: Option<u64>,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMeta,
    items: Vec<Marked>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PageMeta {
    #[serde(rename = "continue")]
    token: String,
    remaining_item_count: Option<u64>,
}

impl Cluster {
    /// Of the object at `path`, if there is one.
    ///
    /// # Errors
    /// [`ApiError`], but for "not found".
    pub async fn marks(&self, path: &str) -> Result<Option<Marks>, ApiError> {
        match self.read::<Marked>(path, METADATA).await {
            Ok(object) => Ok(Some(object.metadata)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Of at most `limit` objects of the collection at `path`, from `token` on.
    ///
    /// # Errors
    /// [`ApiError`]; a token can expire.
    pub async fn marks_page(
        &self,
        path: &str,
        limit: usize,
        token: &str,
    ) -> Result<MarksPage, ApiError> {
        let uri = match token {
            "" => format!("{path}?limit={limit}"),
            token => format!("{path}?limit={limit}&continue={token}"),
        };
        let page: Page = self.read(&uri, METADATA_LIST).await?;
        Ok(MarksPage {
            items: page.items.into_iter().map(|item| item.metadata).collect(),
            token: page.metadata.token,
            remaining: page.metadata.remaining_item_count,
        })
    }
}

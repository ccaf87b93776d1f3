//! Where Inventories are kept: ConfigMaps in the namespace `lockstep-system`,
//! one or more for each Assignment, written with optimistic concurrency and
//! only when they change.
//!
//! Shard 0 also says what was settled. It is written last, so that it never
//! claims more than the other shards hold.

use std::collections::{BTreeMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lockstep_proto::Digest;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Inventory, ObjectId, Settled, shard};
use crate::cluster::{ASSIGNMENT_LABEL, ApiError, Cluster, SYSTEM_NAMESPACE};

const COMPONENT_LABEL: &str = "lockstep.dev/component";
const SHARD_ANNOTATION: &str = "lockstep.dev/shard";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const ITEMS: &str = "items.jsonl.zst";
const SETTLED: &str = "settled.json";
const PRUNE_KINDS: &str = "prune-kinds.json";
const BEGUN: &str = "begun";
/// Pages stay small: an Inventory of 5,000 objects is a megabyte.
const PAGE: usize = 16;
/// Attempts of one save; between them lies what another writer left.
const ATTEMPTS: u32 = 3;

/// Why an Inventory is not stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot store the inventory in namespace {SYSTEM_NAMESPACE}: {0}")]
    Api(#[from] ApiError),
    #[error(
        "ConfigMap {SYSTEM_NAMESPACE}/{name} does not hold an inventory: {cause}; \
         put it back from a backup, or delete it: then its objects are found again only \
         where the bundle still lists them"
    )]
    Damaged { name: String, cause: String },
    #[error(
        "somebody else keeps changing the inventory in namespace {SYSTEM_NAMESPACE}: \
         is a second agent running?"
    )]
    Contended,
}

impl StoreError {
    #[must_use]
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Api(error) => Some(error),
            _ => None,
        }
    }
}

/// The stored form of one Assignment's Inventory: which shards exist, in which
/// version.
#[derive(Debug)]
pub struct Store {
    cluster: Cluster,
    assignment: String,
    /// Objects of one shard, on average.
    shard_size: usize,
    versions: BTreeMap<u16, String>,
    /// What is stored could not be read, for this reason.
    unread: Option<StoreError>,
}

/// A save under way. Dropped before it is done, whatever the reason, what it
/// should have stored counts as not stored.
struct Saving<'a> {
    inventory: &'a Mutex<Inventory>,
    dirty: Vec<bool>,
    gone: HashSet<ObjectId>,
}

impl Saving<'_> {
    fn done(mut self) {
        self.dirty.clear();
        self.gone.clear();
        self.inventory.lock().intending = false;
    }
}

impl Drop for Saving<'_> {
    fn drop(&mut self) {
        let mut inventory = self.inventory.lock();
        for (now, was) in inventory.dirty.iter_mut().zip(&self.dirty) {
            *now |= *was;
        }
        for id in self.gone.drain() {
            if !inventory.contains(&id) {
                inventory.gone.insert(id);
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
struct SettledText {
    digest: String,
    revision: String,
    #[serde(default)]
    namespace: String,
    objects: u32,
    #[serde(default)]
    left: bool,
    /// Lines say what objects ask for; agents before that did not know.
    #[serde(default)]
    traits: bool,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMeta,
    #[serde(default)]
    items: Vec<ConfigMap>,
}

#[derive(Default, Deserialize)]
struct PageMeta {
    #[serde(default, rename = "continue")]
    token: String,
}

#[derive(Deserialize)]
struct ConfigMap {
    metadata: ConfigMapMeta,
    #[serde(default)]
    data: BTreeMap<String, String>,
    #[serde(default, rename = "binaryData")]
    binary: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ConfigMapMeta {
    name: String,
    resource_version: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

fn collection() -> String {
    format!("/api/v1/namespaces/{SYSTEM_NAMESPACE}/configmaps")
}

fn name(assignment: &str, shard: u16) -> String {
    format!("inventory-{assignment}-{shard}")
}

/// Every Inventory that the cluster keeps. One that cannot be read is no
/// reason to leave the others: see [`Store::recover`].
///
/// # Errors
/// [`StoreError`]; nothing is acted on before all of them were asked for.
pub async fn load(
    cluster: &Cluster,
    shard_size: usize,
) -> Result<Vec<(Inventory, Store)>, StoreError> {
    let mut found: BTreeMap<String, (Inventory, Store)> = BTreeMap::new();
    let selector = format!("{MANAGED_BY}=lockstep,{COMPONENT_LABEL}=inventory");
    read(cluster, &selector, |map| {
        let Some(assignment) = map.metadata.labels.get(ASSIGNMENT_LABEL).cloned() else {
            return Ok(());
        };
        let (inventory, store) = found.entry(assignment).or_insert_with_key(|name| {
            (
                Inventory::new(name),
                Store::new(cluster.clone(), name, shard_size),
            )
        });
        if let Err(error) = store.take(inventory, &map) {
            store.unread = Some(error);
        }
        Ok(())
    })
    .await?;
    for (inventory, store) in found.values_mut() {
        store.adopt_layout(inventory);
    }
    Ok(found.into_values().collect())
}

async fn read(
    cluster: &Cluster,
    selector: &str,
    mut each: impl FnMut(ConfigMap) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let selector = selector
        .replace('=', "%3D")
        .replace(',', "%2C")
        .replace('/', "%2F");
    let base = format!("{}?labelSelector={selector}&limit={PAGE}", collection());
    let mut token = String::new();
    loop {
        let uri = match token.as_str() {
            "" => base.clone(),
            token => format!("{base}&continue={token}"),
        };
        let page: Page = cluster.page(&uri).await?;
        page.items.into_iter().try_for_each(&mut each)?;
        if page.metadata.token.is_empty() {
            return Ok(());
        }
        token = page.metadata.token;
    }
}

impl Store {
    #[must_use]
    pub fn new(cluster: Cluster, assignment: &str, shard_size: usize) -> Self {
        Self {
            cluster,
            assignment: assignment.to_owned(),
            shard_size,
            versions: BTreeMap::new(),
            unread: None,
        }
    }

    /// Reads again what could not be read: to be called before anything is
    /// done about the Assignment.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], as long as it is.
    pub async fn recover(&mut self, inventory: &Mutex<Inventory>) -> Result<(), StoreError> {
        if self.unread.is_some() {
            self.merge(inventory).await?;
            self.unread = None;
        }
        Ok(())
    }

    /// Stores what changed since the last save.
    ///
    /// # Errors
    /// [`StoreError`]; what was not stored stays marked as changed.
    pub async fn save(&mut self, inventory: &Mutex<Inventory>) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            match self.try_save(inventory).await {
                Err(StoreError::Api(error)) if error.is_conflict() => self.merge(inventory).await?,
                other => return other,
            }
        }
        Err(StoreError::Contended)
    }

    async fn try_save(&mut self, inventory: &Mutex<Inventory>) -> Result<(), StoreError> {
        let (saving, shards, data) = {
            let mut guard = inventory.lock();
            let count = shard::count(guard.len(), self.shard_size, guard.shards);
            if count != guard.shards {
                guard.reshard(count);
            }
            let clean = vec![false; guard.dirty.len()];
            let dirty = std::mem::replace(&mut guard.dirty, clean);
            let shards = shard::encode(&guard, &dirty);
            let gone = std::mem::take(&mut guard.gone);
            let saving = Saving {
                inventory,
                dirty,
                gone,
            };
            (saving, shards, data(&guard))
        };
        self.write(shards, data).await?;
        saving.done();
        Ok(())
    }

    async fn write(
        &mut self,
        shards: Vec<Option<Vec<u8>>>,
        data: Map<String, Value>,
    ) -> Result<(), StoreError> {
        let count = u16::try_from(shards.len()).expect("shards are bounded");
        for (index, packed) in (0..count).zip(shards).rev() {
            if let Some(packed) = packed {
                let data = if index == 0 { data.clone() } else { Map::new() };
                self.put(index, count, &packed, data).await?;
            }
        }
        let surplus: Vec<u16> = self.versions.range(count..).map(|(i, _)| *i).collect();
        for index in surplus {
            self.drop_shard(index).await?;
        }
        Ok(())
    }

    async fn put(
        &mut self,
        index: u16,
        count: u16,
        packed: &[u8],
        data: Map<String, Value>,
    ) -> Result<(), StoreError> {
        let name = name(&self.assignment, index);
        let mut object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": name,
                "namespace": SYSTEM_NAMESPACE,
                "labels": {
                    MANAGED_BY: "lockstep",
                    COMPONENT_LABEL: "inventory",
                    ASSIGNMENT_LABEL: self.assignment,
                },
                "annotations": {SHARD_ANNOTATION: format!("{index}/{count}")},
            },
            "binaryData": {ITEMS: STANDARD.encode(packed)},
        });
        if !data.is_empty() {
            object["data"] = data.into();
        }
        let version = match self.versions.get(&index) {
            Some(version) => {
                object["metadata"]["resourceVersion"] = version.as_str().into();
                let path = format!("{}/{name}", collection());
                match self.cluster.replace(&path, &object).await {
                    Err(error) if error.is_not_found() => {
                        object["metadata"]
                            .as_object_mut()
                            .expect("it is one, see above")
                            .remove("resourceVersion");
                        self.create(&object).await?
                    }
                    other => other?.resource_version,
                }
            }
            None => self.create(&object).await?,
        };
        self.versions.insert(index, version);
        Ok(())
    }

    async fn create(&self, object: &Value) -> Result<String, ApiError> {
        let path = collection();
        let created = match self.cluster.create(&path, object).await {
            Err(error) if error.is_namespace_missing(SYSTEM_NAMESPACE) => {
                create_namespace(&self.cluster, SYSTEM_NAMESPACE).await?;
                self.cluster.create(&path, object).await
            }
            other => other,
        };
        Ok(created?.resource_version)
    }

    /// Removes all of it: there is nothing left to keep account of.
    ///
    /// # Errors
    /// [`StoreError`]; doing it again goes on where it ended.
    pub async fn remove(&mut self) -> Result<(), StoreError> {
        while let Some(index) = self.versions.keys().next_back().copied() {
            self.drop_shard(index).await?;
        }
        Ok(())
    }

    async fn drop_shard(&mut self, index: u16) -> Result<(), StoreError> {
        let path = format!("{}/{}", collection(), name(&self.assignment, index));
        if let Some(meta) = self.cluster.meta(&path).await? {
            self.cluster.delete(&path, &meta).await?;
        }
        self.versions.remove(&index);
        Ok(())
    }

    /// Somebody wrote in between: perhaps we ourselves, in an attempt whose
    /// answer was lost. Nothing that is stored gets lost, and what is stored
    /// otherwise than we hold is not confirmed.
    async fn merge(&mut self, inventory: &Mutex<Inventory>) -> Result<(), StoreError> {
        let mut stored = Inventory::new(&self.assignment);
        self.versions.clear();
        let selector = format!(
            "{COMPONENT_LABEL}=inventory,{ASSIGNMENT_LABEL}={}",
            self.assignment
        );
        let mut maps = Vec::new();
        read(&self.cluster, &selector, |map| {
            maps.push(map);
            Ok(())
        })
        .await?;
        for map in &maps {
            self.take(&mut stored, map)?;
        }
        inventory.lock().merge(stored);
        Ok(())
    }

    fn take(&mut self, inventory: &mut Inventory, map: &ConfigMap) -> Result<(), StoreError> {
        let damaged = |cause: String| StoreError::Damaged {
            name: map.metadata.name.clone(),
            cause,
        };
        let shard = map.metadata.annotations.get(SHARD_ANNOTATION);
        let (index, count) = shard
            .and_then(|text| text.split_once('/'))
            .and_then(|(index, count)| Some((index.parse().ok()?, count.parse::<u16>().ok()?)))
            .filter(|(index, count): &(u16, u16)| index < count && *count <= shard::MOST_SHARDS)
            .ok_or_else(|| damaged(format!("annotation {SHARD_ANNOTATION} is {shard:?}")))?;
        let version = map.metadata.resource_version.clone();
        self.versions.insert(index, version);
        inventory.shards = inventory.shards.max(count);
        let packed = map.binary.get(ITEMS).map_or("", String::as_str);
        let packed = STANDARD
            .decode(packed)
            .map_err(|error| damaged(error.to_string()))?;
        if !packed.is_empty() {
            shard::decode(inventory, &packed).map_err(damaged)?;
        }
        if let Some(text) = map.data.get(SETTLED) {
            inventory.settled = read_settled(text);
        }
        if let Some(text) = map.data.get(PRUNE_KINDS) {
            inventory.prune_kinds = serde_json::from_str(text).ok();
        }
        if let Some(text) = map.data.get(BEGUN) {
            inventory.begun = text.parse().ok();
        }
        Ok(())
    }

    /// Where shards are missing or left over (a crash while their number
    /// changed), all are written anew with the next save.
    fn adopt_layout(&self, inventory: &mut Inventory) {
        let shards = inventory.shards;
        inventory.dirty = vec![false; usize::from(shards)];
        if self.versions.len() != usize::from(shards) {
            inventory.reshard(shards);
        }
    }
}

impl Inventory {
    fn merge(&mut self, stored: Inventory) {
        // What was removed since the last save is no news that somebody has.
        let gone = &self.gone;
        let known = stored.items.into_iter();
        for (id, item) in known.filter(|(id, _)| !gone.contains(id)) {
            match self.items.get_mut(&id) {
                Some(known) if known.applied != item.applied => known.applied = None,
                Some(_) => {}
                None => {
                    self.items.insert(id, item);
                }
            }
        }
        if let Some(settled) = &mut self.settled {
            settled.left = true;
        }
        if self.prune_kinds.is_none() {
            self.prune_kinds = stored.prune_kinds;
        }
        let shards = self.shards.max(stored.shards);
        self.reshard(shards);
    }
}

/// Creates `namespace`, or finds it there.
///
/// # Errors
/// [`ApiError`], but for a namespace that exists.
pub async fn create_namespace(cluster: &Cluster, namespace: &str) -> Result<(), ApiError> {
    let object = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": namespace, "labels": {MANAGED_BY: "lockstep"}},
    });
    match cluster.create("/api/v1/namespaces", &object).await {
        Err(error) if !error.is_conflict() => Err(error),
        _ => Ok(()),
    }
}

/// What shard 0 says beside its items.
fn data(inventory: &Inventory) -> Map<String, Value> {
    let settled = inventory.settled.as_ref().map(settled_text);
    let kinds = inventory
        .prune_kinds
        .as_ref()
        .map(|kinds| json!(kinds).to_string());
    let begun = inventory.begun.map(|digest| digest.to_string());
    let parts = [(SETTLED, settled), (PRUNE_KINDS, kinds), (BEGUN, begun)];
    let said = parts
        .into_iter()
        .filter_map(|(name, text)| Some((name.to_owned(), text?.into())));
    said.collect()
}

fn settled_text(settled: &Settled) -> String {
    serde_json::to_string(&SettledText {
        digest: settled.digest.to_string(),
        revision: settled.revision.clone(),
        namespace: settled.namespace.clone(),
        objects: settled.objects,
        left: settled.left,
        traits: true,
    })
    .expect("text writes to memory")
}

/// Nothing, where it cannot be read: then everything is compared again.
fn read_settled(text: &str) -> Option<Settled> {
    let text: SettledText = serde_json::from_str(text).ok()?;
    Some(Settled {
        digest: text.digest.parse::<Digest>().ok()?,
        revision: text.revision,
        namespace: text.namespace,
        objects: text.objects,
        // Then the Bundle has to be read once to know.
        left: text.left || !text.traits,
    })
}

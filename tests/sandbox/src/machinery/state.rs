//! Everything that one sandbox holds, under one lock.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::discovery::{Catalogue, Resource};
use crate::faults::Faults;
use crate::status::Status;
use crate::store::{Object, ObjectId, Store};

/// What a request is about.
#[derive(Clone)]
pub(crate) struct Target {
    pub resource: Arc<Resource>,
    pub version: String,
    /// Empty for cluster-scoped kinds, and for lists over all namespaces.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
    /// Empty for the object itself.
    pub subresource: String,
}

impl Target {
    pub(crate) fn id(&self) -> ObjectId {
        ObjectId::new(&self.namespace, &self.name)
    }

    pub(crate) fn api_version(&self) -> String {
        self.resource.api_version(&self.version)
    }
}

pub(crate) struct State {
    pub store: Store,
    pub catalogue: Catalogue,
    pub faults: Faults,
    /// Service addresses given out.
    pub addresses: u16,
}

impl State {
    pub(crate) fn new(faults: Faults) -> Self {
        Self {
            store: Store::new(),
            catalogue: Catalogue::new(),
            faults,
            addresses: 1,
        }
    }

    /// The stored object that a target names.
    pub(crate) fn find(&self, target: &Target) -> Result<Arc<Object>, Status> {
        self.store
            .get(&target.resource.key, &target.id())
            .ok_or_else(|| Status::not_found(&target.resource, &target.name))
    }

    /// The object in the version that the request asks for.
    pub(crate) fn read(&self, target: &Target, object: &Object) -> Value {
        object.value(&target.api_version(), &target.resource.kind)
    }

    pub(crate) fn now(&self) -> String {
        now()
    }
}

/// The time as objects carry it: whole seconds, UTC.
pub(crate) fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A random uid.
pub(crate) fn uid() -> String {
    let mut bytes = random::<16>();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    bytes
}

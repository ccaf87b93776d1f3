//! Bundles on disk. In comes a digest that the hub assigned, out comes a file
//! whose every object has been checked against it. Nothing here ever holds a
//! Bundle in memory, and nothing is handed out that does not have the digest
//! that was asked for.

mod fetch;
mod file;
mod store;

use std::collections::HashSet;

use futures::future::BoxFuture;
use lockstep_proto::Digest;

pub use file::{Asked, BundleFile, Listed, Writer};
pub use store::Store;

/// Where the engine gets Bundles from.
pub trait BundleSource: Send + Sync {
    /// The Bundle `digest`, from disk, else fetched from the hub. Waits while
    /// the hub is away. `have`, if it is on disk, spares the objects that both
    /// share. Dropping the future abandons the fetch and leaves nothing behind.
    fn bundle(
        &self,
        digest: Digest,
        have: Option<Digest>,
    ) -> BoxFuture<'_, Result<BundleFile, BundleError>>;

    /// Forgets every Bundle that is not in `keep`.
    fn retain(&self, keep: &HashSet<Digest>);
}

/// Why there is no Bundle. None of them is final: the next desired state, or
/// another try later, may bring it.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The hub does not answer for it now: the desired state has moved on.
    #[error("the hub does not hand out bundle {digest} to this cluster: {cause}")]
    NotAssigned { digest: Digest, cause: String },
    /// What came, or what is on disk, is not what was asked for.
    #[error("bundle {digest} is damaged: {cause}")]
    Damaged { digest: Digest, cause: String },
    /// It is larger than an agent accepts.
    #[error("bundle {digest} is too large: {cause}")]
    TooLarge { digest: Digest, cause: String },
    #[error("cannot store bundle {digest}: {source}")]
    Disk {
        digest: Digest,
        source: std::io::Error,
    },
}

/// What an agent accepts of one Bundle. The hub's own limits are lower: these
/// guard the cluster against a hub that has lost its mind.
pub mod limits {
    /// Objects of one Bundle.
    pub const OBJECTS: u32 = 50_000;
    /// Canonical JSON of one object; etcd takes 1.5 MiB.
    pub const OBJECT_BYTES: usize = 4 << 20;
    /// All of a Bundle, decompressed.
    pub const BUNDLE_BYTES: u64 = 512 << 20;
}

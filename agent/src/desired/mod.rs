//! What the hub wants of this cluster: kept on disk, so that the agent goes on
//! working while the hub is away, and handed to the engine as the latest value.

mod held;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lockstep_proto::v1;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::disk;

pub use held::{Held, Part};

/// The desired state of this cluster at one version. Complete: the engine
/// never sees a part of one.
///
/// An Assignment that stands in neither map is none of the engine's business:
/// what it applied for it before stays as it is. Absence never deletes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// Zero until the hub has said anything.
    pub version: u64,
    /// By Assignment.
    pub items: BTreeMap<String, v1::DesiredItem>,
    /// Assignments to remove.
    pub tombstones: BTreeSet<String>,
}

/// The latest desired state.
pub type DesiredWatch = watch::Receiver<Arc<Desired>>;

/// `DATA-DIR/desired.pb`, and whoever watches it.
pub struct Store {
    path: PathBuf,
    held: Held,
    watchers: watch::Sender<Arc<Desired>>,
}

impl Store {
    /// Reads what is kept. A file that is damaged counts as none, and is said
    /// so: the hub then sends all of it.
    ///
    /// # Errors
    /// What the file system says, with the path.
    pub fn open(data_dir: &Path) -> io::Result<(Self, DesiredWatch)> {
        let path = data_dir.join("desired.pb");
        let held = match std::fs::read(&path) {
            Ok(bytes) => Held::decode(&bytes).unwrap_or_else(|cause| {
                warn!(path = %path.display(), %cause, "the desired state on disk is damaged: asking the hub for all of it");
                Held::default()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Held::default(),
            Err(error) => return Err(disk::at(&path)(error)),
        };
        let (watchers, watch) = watch::channel(Arc::new(held.desired()));
        let store = Self {
            path,
            held,
            watchers,
        };
        Ok((store, watch))
    }

    #[must_use]
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Keeps `held`, and only when it is durable tells the engine.
    ///
    /// # Errors
    /// What the file system says, with the path; nothing has changed then.
    pub async fn accept(&mut self, held: Held) -> io::Result<()> {
        let (path, bytes) = (self.path.clone(), held.encode());
        tokio::task::spawn_blocking(move || disk::replace(&path, &bytes)).await??;
        let (old, new) = (self.watchers.borrow().clone(), held.desired());
        for assignment in old.items.keys() {
            if !new.items.contains_key(assignment) && !new.tombstones.contains(assignment) {
                info!(
                    assignment,
                    "the hub no longer speaks of this assignment: what is applied stays as it is"
                );
            }
        }
        self.held = held;
        self.watchers.send_replace(Arc::new(new));
        Ok(())
    }
}

//! What the operating system allows this process, and what this process
//! allows others.

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};

/// Makes every file that the hub creates its owner's alone: databases and
/// mirrors hold what others should not read.
pub fn keep_files_private() {
    umask(Mode::RWXG | Mode::RWXO);
}

/// Raises the limit of open files as far as it goes: every agent is one.
pub fn raise() {
    let before = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::warn!(%error, limit = ?before.current, "cannot raise the limit of open files");
    }
}

//! What the operating system allows this process, and what this process
//! allows others.

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};
use tikv_jemalloc_ctl::{Access as _, AsName as _};

/// How long freed memory is kept for the next who wants some, in milliseconds.
/// A render takes tens of megabytes for a moment; between commits the hub is
/// to be small.
const KEEP_FREED: isize = 1000;

/// Gives freed memory back to the system soon.
pub fn give_memory_back() {
    // Of arenas to come, and of all that exist (4096 stands for them).
    let names: [&[u8]; 4] = [
        b"arenas.dirty_decay_ms\0",
        b"arenas.muzzy_decay_ms\0",
        b"arena.4096.dirty_decay_ms\0",
        b"arena.4096.muzzy_decay_ms\0",
    ];
    for name in names {
        if let Err(error) = name.name().write(KEEP_FREED) {
            tracing::debug!(%error, "the allocator keeps freed memory for longer");
        }
    }
}

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

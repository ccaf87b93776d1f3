//! Keeps an agent small: it idles nearly all of its life, next to workloads
//! that somebody pays for.

use tikv_jemalloc_ctl::{Access as _, AsName as _};

/// Freed memory goes back to the system after this, not after ten seconds: the
/// next burst comes with the next commit.
const KEEP_FREED_MS: isize = 500;

/// Tells the allocator; the process works as well without.
pub fn give_back() {
    // Of arenas to come, and of all that exist (4096 stands for them).
    let names: [&[u8]; 4] = [
        b"arenas.dirty_decay_ms\0",
        b"arenas.muzzy_decay_ms\0",
        b"arena.4096.dirty_decay_ms\0",
        b"arena.4096.muzzy_decay_ms\0",
    ];
    for name in names {
        if let Err(error) = name.name().write(KEEP_FREED_MS) {
            tracing::debug!(%error, "the allocator keeps freed memory for longer");
        }
    }
}

//! Keeps an agent small: it idles nearly all of its life, next to workloads
//! that somebody pays for.

use tikv_jemalloc_ctl::{Access as _, AsName as _};

/// Freed memory goes back to the system after this, not after ten seconds: the
/// next burst comes with the next commit.
const KEEP_FREED_MS: isize = 500;

/// Has the calling thread share what is free with all others: an agent's
/// threads seldom allocate at once, and each arena and each thread's cache
/// keeps some of its own.
pub fn share() {
    let arena = b"thread.arena\0".name().write(0_u32);
    let cache = b"thread.tcache.enabled\0".name().write(false);
    if let Err(error) = arena.and(cache) {
        tracing::debug!(%error, "a thread keeps free memory of its own");
    }
}

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

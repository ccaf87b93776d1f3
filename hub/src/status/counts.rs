//! Counting clusters: how one counts, and sums that are kept by adding and
//! taking away.

use lockstep_proto::v1::{self, ClusterCounts, health, sync};

/// How one cluster counts, in one roll-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    pub sync: sync::Status,
    pub health: health::Status,
    pub connection: v1::connection::Status,
    /// Removals wait for a person.
    pub awaiting: bool,
}

/// What clusters come to, together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub clusters: ClusterCounts,
    /// Clusters where removals wait for a person.
    pub awaiting: u32,
}

impl Tally {
    fn online(self) -> bool {
        self.connection == v1::connection::Status::Online
    }

    /// The sync status that it is counted under: what is not known now is Unknown.
    pub fn counted(self) -> sync::Status {
        if self.online() {
            self.sync
        } else {
            sync::Status::Unknown
        }
    }

    pub fn healthy(self) -> bool {
        self.online() && self.health == health::Status::Healthy
    }

    pub fn offline(self) -> bool {
        self.connection == v1::connection::Status::Offline
    }
}

pub(super) fn add(counts: &mut Counts, tally: Tally) {
    each_field(counts, tally, |field| *field += 1);
}

/// Takes away what [`add`] added.
pub(super) fn take(counts: &mut Counts, tally: Tally) {
    each_field(counts, tally, |field| {
        *field = field
            .checked_sub(1)
            .expect("only what was added is taken away");
    });
}

fn each_field(all: &mut Counts, tally: Tally, change: impl Fn(&mut u32)) {
    let counts = &mut all.clusters;
    change(&mut counts.total);
    change(match tally.counted() {
        sync::Status::Synced => &mut counts.synced,
        sync::Status::Applying => &mut counts.applying,
        sync::Status::OutOfSync => &mut counts.out_of_sync,
        sync::Status::Failed => &mut counts.failed,
        sync::Status::Unknown | sync::Status::Unspecified => &mut counts.unknown,
    });
    if tally.healthy() {
        change(&mut counts.healthy);
    }
    if tally.offline() {
        change(&mut counts.offline);
    }
    if tally.awaiting {
        change(&mut all.awaiting);
    }
}

/// The worse of two: what needs a person first comes first.
pub(super) fn worse_sync(a: sync::Status, b: sync::Status) -> sync::Status {
    let rank = |status| match status {
        sync::Status::Synced => 0,
        sync::Status::Applying => 1,
        sync::Status::Unknown | sync::Status::Unspecified => 2,
        sync::Status::OutOfSync => 3,
        sync::Status::Failed => 4,
    };
    if rank(a) >= rank(b) { a } else { b }
}

/// As [`worse_sync`]. Unknown is worse than what needs nobody, and no news of
/// what is wrong.
pub(super) fn worse_health(a: health::Status, b: health::Status) -> health::Status {
    let rank = |status| match status {
        health::Status::Healthy => 0,
        health::Status::Suspended => 1,
        health::Status::Unknown | health::Status::Unspecified => 2,
        health::Status::Progressing => 3,
        health::Status::Missing => 4,
        health::Status::Degraded => 5,
    };
    if rank(a) >= rank(b) { a } else { b }
}

//! A limit on failed enrolments from one address, so that guessing costs the
//! guesser and not the hub. Enrolments that succeed are never counted.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// A handful of agents behind one address, restarted with a stale token, stay below.
const BURST: u32 = 30;
/// One more failure is forgiven after this long.
const FORGIVEN_AFTER: Duration = Duration::from_secs(2);
/// Addresses remembered. Forgetting one early costs nothing but a little work.
const ADDRESSES: usize = 4096;

/// Counts failures by address.
#[derive(Debug, Default)]
pub(super) struct FailureLimit {
    /// When all failures of an address are forgiven, if none is added.
    clean_at: HashMap<IpAddr, Instant>,
}

impl FailureLimit {
    /// Whether `address` may try.
    pub fn allows(&self, address: IpAddr, now: Instant) -> bool {
        let most = FORGIVEN_AFTER * (BURST - 1);
        self.clean_at
            .get(&network(address))
            .is_none_or(|clean_at| clean_at.saturating_duration_since(now) <= most)
    }

    /// Records that a try of `address` failed.
    pub fn failed(&mut self, address: IpAddr, now: Instant) {
        if self.clean_at.len() >= ADDRESSES {
            self.clean_at.retain(|_, clean_at| *clean_at > now);
            if self.clean_at.len() >= ADDRESSES {
                self.clean_at.clear();
            }
        }
        let clean_at = self.clean_at.entry(network(address)).or_insert(now);
        *clean_at = (*clean_at).max(now) + FORGIVEN_AFTER;
    }
}

/// One who has an IPv6 address has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_one_address_are_limited_and_forgiven_with_time() {
        let mut limit = FailureLimit::default();
        let now = Instant::now();
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..BURST {
            assert!(limit.allows(address, now));
            limit.failed(address, now);
        }
        assert!(!limit.allows(address, now));
        assert!(limit.allows("192.0.2.2".parse().unwrap(), now));
        assert!(limit.allows(address, now + FORGIVEN_AFTER));
        limit.failed(address, now + FORGIVEN_AFTER);
        assert!(!limit.allows(address, now + FORGIVEN_AFTER));
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        assert!(!limit.allows(mapped, now + FORGIVEN_AFTER));
    }

    #[test]
    fn neighbours_in_one_ipv6_network_share_a_limit() {
        let mut limit = FailureLimit::default();
        let now = Instant::now();
        for last in 0..u16::try_from(BURST).unwrap() {
            limit.failed(IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]), now);
        }
        assert!(!limit.allows("2001:db8:0:1::ffff".parse().unwrap(), now));
        assert!(limit.allows("2001:db8:0:2::1".parse().unwrap(), now));
    }

    #[test]
    fn the_memory_of_failures_is_bounded() {
        let mut limit = FailureLimit::default();
        let now = Instant::now();
        for i in 0..3 * u32::try_from(ADDRESSES).unwrap() {
            limit.failed(IpAddr::from(i.to_be_bytes()), now);
        }
        assert!(limit.clean_at.len() <= ADDRESSES);
    }
}

//! Who is told what was stripped. An OTLP client writes each such answer into its log, so a sender hears of it once a minute. Drops are always
//! told, and are none of this module's business.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a sender is not told again.
const QUIET: Duration = Duration::from_secs(60);
/// Senders that are remembered. With more of them within a minute, the further ones are told nothing.
const MAX_SENDERS: usize = 4096;

/// Address of a sender, as the connection has it.
#[derive(Clone, Copy, Debug)]
pub struct Sender(pub IpAddr);

/// When which sender was told. Addresses are hashed with a key that is this process's own, and no address is kept.
#[derive(Debug, Default)]
pub struct Notices {
    key: RandomState,
    told: Mutex<HashMap<u64, Instant>>,
}

impl Notices {
    /// Whether this sender may be told now; if so, it counts as told. All that have no address are one.
    pub fn may_tell(&self, sender: Option<Sender>, now: Instant) -> bool {
        let sender = self.key.hash_one(sender.map(|sender| sender.0));
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_quiet = |at: Instant| now.saturating_duration_since(at) < QUIET;
        if told.get(&sender).is_some_and(|at| is_quiet(*at)) {
            return false;
        }
        if told.len() >= MAX_SENDERS && !told.contains_key(&sender) {
            told.retain(|_, at| is_quiet(*at));
            if told.len() >= MAX_SENDERS {
                return false;
            }
        }
        told.insert(sender, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(n: u32) -> Sender {
        Sender(IpAddr::from(n.to_be_bytes()))
    }

    /// Guarantees: a sender is told once a minute, each for itself.
    #[test]
    fn once_a_minute() {
        let (notices, start) = (Notices::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(notices.may_tell(Some(sender(1)), start));
        assert!(!notices.may_tell(Some(sender(1)), after(59)));
        assert!(notices.may_tell(Some(sender(2)), after(59)));
        assert!(notices.may_tell(None, after(59)));
        assert!(notices.may_tell(Some(sender(1)), after(60)));
        assert!(!notices.may_tell(Some(sender(1)), after(119)));
    }

    /// Guarantees: however many senders there are, so many are remembered at most; those that a minute has passed for make room.
    #[test]
    fn the_table_is_bounded() {
        let (notices, start) = (Notices::default(), Instant::now());
        let told = (0..10_000).filter(|n| notices.may_tell(Some(sender(*n)), start)).count();
        assert_eq!(told, 4096);
        assert!(notices.may_tell(Some(sender(9_999)), start + QUIET));
        assert_eq!(notices.told.lock().unwrap().len(), 1);
    }
}

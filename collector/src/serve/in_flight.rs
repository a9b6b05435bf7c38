//! Which requests are open now, by their last marker.

use std::collections::HashMap;
use std::time::SystemTime;

use contract::limits::HEARTBEAT_LOST_AFTER;

/// Open requests that are kept at the same time; a marker of a further one is not counted.
const MAX_OPEN: usize = 100_000;

/// Open requests by row id.
#[derive(Debug, Default)]
pub struct InFlight {
    open: HashMap<String, Open>,
}

#[derive(Debug)]
struct Open {
    pool: String,
    transport: String,
    last_marker: SystemTime,
}

impl InFlight {
    /// A marker of a request. One that is older than what is known changes nothing.
    pub fn marker(&mut self, request_id: &str, pool: &str, transport: &str, at: SystemTime, now: SystemTime) {
        if !is_young(at, now) || self.open.get(request_id).is_some_and(|open| open.last_marker >= at) {
            return;
        }
        if self.open.len() >= MAX_OPEN && !self.open.contains_key(request_id) {
            return;
        }
        let open = Open { pool: pool.to_owned(), transport: transport.to_owned(), last_marker: at };
        self.open.insert(request_id.to_owned(), open);
    }

    /// The request ended.
    pub fn ended(&mut self, request_id: &str) {
        self.open.remove(request_id);
    }

    /// How many requests are open, by Pool and transport. Those without a heartbeat are forgotten.
    pub fn count(&mut self, now: SystemTime) -> HashMap<(String, String), i64> {
        self.open.retain(|_, open| is_young(open.last_marker, now));
        let mut counts = HashMap::new();
        for open in self.open.values() {
            *counts.entry((open.pool.clone(), open.transport.clone())).or_default() += 1;
        }
        counts
    }
}

/// A marker from the future, by a sender whose clock is ahead, is young.
fn is_young(at: SystemTime, now: SystemTime) -> bool {
    now.duration_since(at).unwrap_or_default() < HEARTBEAT_LOST_AFTER
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Guarantees: a request counts from its first marker until it ends, or until its last marker is 60 s old, however often markers repeat.
    #[test]
    fn open_while_young() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let at = |s: u64| start + Duration::from_secs(s);
        let key = ("core".to_owned(), "http_sse".to_owned());
        let mut in_flight = InFlight::default();
        for _ in 0..2 {
            in_flight.marker("a", "core", "http_sse", at(0), at(0));
            in_flight.marker("b", "core", "http_sse", at(0), at(0));
        }
        in_flight.marker("b", "core", "http_sse", at(15), at(15));
        assert_eq!(in_flight.count(at(59))[&key], 2);
        assert_eq!(in_flight.count(at(60))[&key], 1);
        in_flight.ended("b");
        assert!(in_flight.count(at(61)).is_empty());
        // A marker that comes long after the fact does not open it again.
        in_flight.marker("a", "core", "http_sse", at(0), at(100));
        assert!(in_flight.count(at(100)).is_empty());
    }
}

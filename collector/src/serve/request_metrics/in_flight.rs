//! Which requests are open now, by their last marker.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use contract::limits::{HEARTBEAT_LOST_AFTER, OPEN_GONE_AFTER};

use super::generations::Generations;

/// Open requests that are kept at the same time; a marker of a further one is not counted.
const MAX_OPEN: usize = 100_000;

/// Open requests by row id.
#[derive(Debug, Default)]
pub struct InFlight {
    open: HashMap<String, Open>,
    /// Requests that ended not long ago: messages that arrive together can be counted in any order, a marker after the row that ended it.
    ended: Generations<String, ()>,
    /// Pools and transports that had an open request once. They are reported with 0 while they have none.
    known: BTreeSet<(String, String)>,
}

/// What a marker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Pool.
    pub pool: String,
    /// Transport.
    pub transport: String,
    /// When the request was admitted, as far as the marker knows.
    pub admitted: SystemTime,
    /// When the marker was made.
    pub at: SystemTime,
}

/// Open requests of a Pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolInFlight {
    /// Those with a heartbeat, by transport.
    pub by_transport: BTreeMap<String, i64>,
    /// Age of the oldest one with a heartbeat; zero when there is none.
    pub oldest_age: Duration,
    /// Those without a heartbeat.
    pub without_heartbeat: i64,
}

impl InFlight {
    /// A marker of a request. One that is older than what is known changes nothing.
    pub fn marker(&mut self, request_id: &str, marker: Open, now: SystemTime) {
        let known = self.open.get(request_id);
        if known.is_some_and(|known| known.at >= marker.at) || self.ended.contains(request_id) || is_gone(marker.at, now) {
            return;
        }
        if self.open.len() >= MAX_OPEN && known.is_none() {
            return;
        }
        self.known.insert((marker.pool.clone(), marker.transport.clone()));
        self.open.insert(request_id.to_owned(), marker);
    }

    /// The request ended.
    pub fn ended(&mut self, request_id: &str, now: SystemTime) {
        self.open.remove(request_id);
        self.ended.insert(request_id.to_owned(), (), now);
    }

    /// The open requests of every Pool that ever had one. Those that are gone are forgotten.
    pub fn count(&mut self, now: SystemTime) -> BTreeMap<String, PoolInFlight> {
        self.open.retain(|_, open| !is_gone(open.at, now));
        let mut pools: BTreeMap<String, PoolInFlight> = BTreeMap::new();
        for (pool, transport) in &self.known {
            pools.entry(pool.clone()).or_default().by_transport.insert(transport.clone(), 0);
        }
        for open in self.open.values() {
            let pool = pools.entry(open.pool.clone()).or_default();
            if age(open.at, now) < HEARTBEAT_LOST_AFTER {
                *pool.by_transport.entry(open.transport.clone()).or_default() += 1;
                pool.oldest_age = pool.oldest_age.max(age(open.admitted, now));
            } else {
                pool.without_heartbeat += 1;
            }
        }
        pools
    }
}

/// A time in the future, by a sender whose clock is ahead, is now.
fn age(at: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(at).unwrap_or_default()
}

fn is_gone(at: SystemTime, now: SystemTime) -> bool {
    age(at, now) >= OPEN_GONE_AFTER
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + s)
    }

    fn marker(admitted_s: u64, s: u64) -> Open {
        Open { pool: "core".to_owned(), transport: "http_sse".to_owned(), admitted: at(admitted_s), at: at(s) }
    }

    /// Open requests with a heartbeat, age of the oldest in seconds, requests without a heartbeat.
    fn count(in_flight: &mut InFlight, s: u64) -> (i64, u64, i64) {
        let pool = in_flight.count(at(s)).remove("core").unwrap();
        (pool.by_transport["http_sse"], pool.oldest_age.as_secs(), pool.without_heartbeat)
    }

    /// Guarantees: a request counts from its first marker until it ends, or until its last marker is 60 s old, however often markers repeat;
    /// then it has no heartbeat, until it ends or is gone after 6 h 15 min; and what a Pool had once is reported as 0.
    #[test]
    fn open_until_the_heartbeat_is_lost() {
        let mut in_flight = InFlight::default();
        for _ in 0..2 {
            in_flight.marker("a", marker(0, 10), at(10));
            in_flight.marker("b", marker(5, 10), at(10));
        }
        in_flight.marker("b", marker(5, 25), at(25));
        in_flight.marker("b", marker(5, 10), at(25));
        assert_eq!(count(&mut in_flight, 69), (2, 69, 0));
        assert_eq!(count(&mut in_flight, 70), (1, 65, 1), "the oldest one has no heartbeat any more");
        in_flight.ended("b", at(70));
        assert_eq!(count(&mut in_flight, 71), (0, 0, 1));
        assert_eq!(count(&mut in_flight, 10 + 22_499), (0, 0, 1));
        assert_eq!(count(&mut in_flight, 10 + 22_500), (0, 0, 0));
    }

    /// Guarantees: a marker that is counted after the row of its request does not open the request again; one that arrives after more than a
    /// minute opens it without a heartbeat.
    #[test]
    fn markers_that_come_late() {
        let mut in_flight = InFlight::default();
        in_flight.marker("a", marker(0, 0), at(100));
        assert_eq!(count(&mut in_flight, 100), (0, 0, 1));
        in_flight.ended("a", at(100));
        in_flight.marker("a", marker(0, 99), at(101));
        assert_eq!(count(&mut in_flight, 101), (0, 0, 0));
    }
}

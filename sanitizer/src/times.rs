//! Which times can be: from a fixed year on, and not much later than now.

use std::time::{SystemTime, UNIX_EPOCH};

use contract::limits::{EARLIEST_UNIX_S, LATEST_UNIX_S, MAX_AHEAD, MAX_SPAN_DURATION};

const NS_PER_S: u64 = 1_000_000_000;

/// The times that a record may have, as nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    latest_unix_ns: u64,
}

impl Times {
    /// For a message that arrives at this time.
    #[must_use]
    pub fn until(now: SystemTime) -> Self {
        let latest = now.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_add(MAX_AHEAD);
        let latest_unix_ns = u64::try_from(latest.as_nanos()).unwrap_or(u64::MAX).min(LATEST_UNIX_S * NS_PER_S - 1);
        Self { latest_unix_ns }
    }

    /// Whether a record can have been then.
    #[must_use]
    #[inline]
    pub fn contain(self, unix_ns: u64) -> bool {
        (EARLIEST_UNIX_S * NS_PER_S..=self.latest_unix_ns).contains(&unix_ns)
    }

    /// Whether a time is unknown, which is 0, or can be.
    #[must_use]
    pub fn contain_or_unknown(self, unix_ns: u64) -> bool {
        unix_ns == 0 || self.contain(unix_ns)
    }

    /// Whether a span can have taken this long.
    #[must_use]
    #[inline]
    pub fn contain_span(self, start_unix_ns: u64, end_unix_ns: u64) -> bool {
        const MAX_NS: u64 = MAX_SPAN_DURATION.as_secs() * NS_PER_S;
        self.contain(start_unix_ns)
            && self.contain(end_unix_ns)
            && start_unix_ns <= end_unix_ns
            && end_unix_ns - start_unix_ns <= MAX_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// 2026-08-24 06:00:00 UTC, by `date -u -d @1787551200`.
    const NOW_S: u64 = 1_787_551_200;

    /// Guarantees: a time is allowed from 2020 to an hour from now, and a span for a week; both ends included.
    #[test]
    fn the_ends_are_where_they_are_said_to_be() {
        let times = Times::until(UNIX_EPOCH + Duration::from_secs(NOW_S));
        let year_2020 = 1_577_836_800 * NS_PER_S;
        let ahead = (NOW_S + 3600) * NS_PER_S;
        for (unix_ns, allowed) in
            [(year_2020 - 1, false), (year_2020, true), (ahead, true), (ahead + 1, false), (u64::MAX, false)]
        {
            assert_eq!(times.contain(unix_ns), allowed, "{unix_ns}");
        }
        let week = 604_800 * NS_PER_S;
        let start = (NOW_S - 700_000) * NS_PER_S;
        for (took_ns, allowed) in [(0, true), (week, true), (week + 1, false)] {
            assert_eq!(times.contain_span(start, start + took_ns), allowed, "{took_ns}");
        }
        assert!(!times.contain_span(start, start - 1));
        assert!(times.contain_or_unknown(0) && !times.contain(0));
    }

    /// Guarantees: whatever the clock says, no time from 2100 on is allowed, and nothing overflows.
    #[test]
    fn an_odd_clock_does_no_harm() {
        let far = Times::until(UNIX_EPOCH + Duration::from_secs(1 << 40));
        assert!(!far.contain(4_102_444_800 * NS_PER_S) && far.contain(4_102_444_800 * NS_PER_S - 1));
        let past = Times::until(UNIX_EPOCH - Duration::from_secs(5));
        assert!(!past.contain(NOW_S * NS_PER_S));
    }
}

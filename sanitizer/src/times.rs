//! Which times can be: from a fixed year on, and not much later than now.

use std::time::{SystemTime, UNIX_EPOCH};

use contract::limits::{EARLIEST_UNIX_S, LATEST_UNIX_S, MAX_AHEAD, MAX_SPAN_DURATION};

const NS_PER_S: u64 = 1_000_000_000;
/// Of the calendar, on average.
const S_PER_YEAR: u64 = 31_556_952;

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

/// Whether a text such as `2026-08-24 06:00:00 UTC` is a day of the calendar and a time of it, in the years that a record can be from.
pub(crate) fn is_possible_instant(text: &str) -> bool {
    const FORM: &[u8] = b"0000-00-00 00:00:00 UTC";
    let bytes = text.as_bytes();
    let same = |(one, form): (&u8, &u8)| if *form == b'0' { one.is_ascii_digit() } else { one == form };
    if bytes.len() != FORM.len() || !bytes.iter().zip(FORM).all(same) {
        return false;
    }
    let number = |from: usize, to: usize| bytes[from..to].iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let last_day = match month {
        2 => 28 + u64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    // About the middle of the year; the limits are at ends of years.
    let middle_unix_s = (year * S_PER_YEAR + S_PER_YEAR / 2).saturating_sub(1_970 * S_PER_YEAR);
    (EARLIEST_UNIX_S..LATEST_UNIX_S).contains(&middle_unix_s)
        && (1..=12).contains(&month)
        && (1..=last_day).contains(&day)
        && number(11, 13) < 24
        && number(14, 16) < 60
        && number(17, 19) < 60
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

    /// Guarantees: a time in a text is a day of the calendar from 2020 to 2099 and a time of day, in one form.
    #[test]
    fn instants_are_of_the_calendar() {
        for possible in ["2020-01-01 00:00:00 UTC", "2028-02-29 23:59:59 UTC", "2099-12-31 06:00:00 UTC"] {
            assert!(is_possible_instant(possible), "{possible}");
        }
        for impossible in [
            "2019-12-31 23:59:59 UTC",
            "2100-01-01 00:00:00 UTC",
            "2026-02-29 06:00:00 UTC",
            "2026-04-31 06:00:00 UTC",
            "2026-00-10 06:00:00 UTC",
            "2026-13-10 06:00:00 UTC",
            "2026-08-24 24:00:00 UTC",
            "2026-08-24 06:60:00 UTC",
            "2026-08-24 06:00:60 UTC",
            "4111-11-11 11:11:11 UTC",
            "2026-08-24T06:00:00 UTC",
            "2026-08-24 06:00:00",
        ] {
            assert!(!is_possible_instant(impossible), "{impossible}");
        }
    }
}

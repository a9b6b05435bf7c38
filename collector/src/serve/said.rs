//! What is said again only after a while: a fault that lasts is worth a line a minute in the log, not one for every message.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long nothing is said that was said before.
const QUIET: Duration = Duration::from_secs(60);

/// When what was said last. What there is to say is a closed set of constant texts, which bounds it.
#[derive(Debug, Default)]
pub struct Said(Mutex<HashMap<&'static str, Instant>>);

impl Said {
    /// Whether this may be said now; if so, it counts as said.
    pub fn may_say(&self, what: &'static str, now: Instant) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = said.get(what).is_none_or(|at| now.saturating_duration_since(*at) >= QUIET);
        if is_news {
            said.insert(what, now);
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: the same is said once a minute, and other things meanwhile.
    #[test]
    fn once_a_minute() {
        let (said, start) = (Said::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(said.may_say("one", start) && !said.may_say("one", after(59)) && said.may_say("other", after(59)));
        assert!(said.may_say("one", after(60)) && !said.may_say("one", after(119)));
    }
}

//! A map that forgets: bounded in size and age, without a clock on every entry.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::SystemTime;

use contract::limits::LATE_AFTER;

/// Entries in each of the two generations.
const MAX_ENTRIES: usize = 200_000;

/// Two generations, so that forgetting is cheap: the older one goes when the younger one is full, or older than [`LATE_AFTER`]. An entry is
/// therefore kept for at least that long, unless there are very many: what ended before that is late, and need not be remembered.
#[derive(Debug)]
pub struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    since: Option<SystemTime>,
}

impl<K, V> Default for Generations<K, V> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), since: None }
    }
}

impl<K: Eq + Hash, V> Generations<K, V> {
    /// Whether the key is remembered.
    pub fn contains<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.young.contains_key(key) || self.old.contains_key(key)
    }

    /// Takes what is remembered under a key.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let old = self.old.remove(key);
        self.young.remove(key).or(old)
    }

    /// Remembers a value, as of now.
    pub fn insert(&mut self, key: K, value: V, now: SystemTime) {
        let since = *self.since.get_or_insert(now);
        if self.young.len() >= MAX_ENTRIES || now.duration_since(since).is_ok_and(|age| age > LATE_AFTER) {
            self.old = std::mem::take(&mut self.young);
            self.since = Some(now);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: an entry is remembered for ten minutes at least, forgotten after twenty at most, and there are never more than two generations.
    #[test]
    fn entries_age_out() {
        let start = SystemTime::UNIX_EPOCH;
        let mut seen = Generations::default();
        seen.insert(1, (), start);
        seen.insert(2, (), start + LATE_AFTER);
        assert!(seen.contains(&1) && seen.contains(&2));
        seen.insert(3, (), start + LATE_AFTER * 2);
        assert!(seen.contains(&1), "the generation before this one");
        seen.insert(4, (), start + LATE_AFTER * 4);
        assert!(!seen.contains(&1) && !seen.contains(&2) && seen.contains(&3));

        let mut many = Generations::default();
        for n in 0..MAX_ENTRIES * 3 {
            many.insert(n, (), start);
        }
        assert!(many.young.len() + many.old.len() <= 2 * MAX_ENTRIES);
    }
}

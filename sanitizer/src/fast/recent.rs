//! Attributes and names of this message that were allowed. Labels, models and names come again in span after span; the same bytes are allowed
//! again, and comparing is cheaper than judging.

use std::ops::Range;

/// How many are remembered at most. A new one takes the place of another, so nothing grows.
const MAX_SLOTS: usize = 1 << 10;
/// As many bytes of a message ask for one more of them: the share of a text that comes again, in a message of many spans.
const BYTES_A_SLOT: usize = 128;

/// What was allowed in a message, each with a number. Places are small, so that all of them stay in the nearest cache.
pub(super) struct Recent<'a> {
    message: &'a [u8],
    slots: Vec<Slot>,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    /// Where it stands in the message, and how long it is. Nothing that is empty is remembered.
    start: u32,
    length: u16,
    number: u8,
    /// Where the value starts in it.
    value_at: u8,
}

impl<'a> Recent<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { message, slots: vec![Slot::default(); (message.len() / BYTES_A_SLOT).clamp(1, MAX_SLOTS)] }
    }

    /// The number of what was allowed, and where its value starts, if this was and is remembered.
    #[inline]
    pub(super) fn get(&self, bytes: &[u8]) -> Option<(u8, usize)> {
        let slot = self.slots.get(self.slot(bytes))?;
        if usize::from(slot.length) != bytes.len() || bytes.is_empty() {
            return None;
        }
        let start = usize::try_from(slot.start).ok()?;
        let remembered = self.message.get(start..start + bytes.len())?;
        same(remembered, bytes).then_some((slot.number, slot.value_at.into()))
    }

    /// What stands in this range is allowed. Not remembered if it is long, or far into a message that is longer than any that is received.
    #[inline]
    pub(super) fn remember(&mut self, range: Range<usize>, number: u8, value_at: usize) {
        let Some(bytes) = self.message.get(range.clone()) else { return };
        let slot = self.slot(bytes);
        if let (Ok(start), Ok(length), Ok(value_at)) = (range.start.try_into(), range.len().try_into(), value_at.try_into())
            && let Some(slot) = self.slots.get_mut(slot)
        {
            *slot = Slot { start, length, number, value_at };
        }
    }

    /// Attributes differ most at their ends.
    #[inline]
    fn slot(&self, bytes: &[u8]) -> usize {
        let tail = bytes.last_chunk::<8>().map_or(0, |tail| u64::from_le_bytes(*tail));
        let mixed = (tail ^ (bytes.len() as u64) << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // The upper bits depend on every byte; of them, the share that there are places for.
        (((mixed >> 32) * self.slots.len() as u64) >> 32) as usize
    }
}

/// Whether two texts are the same. They are short, and a call of the general comparison takes longer than the comparison.
#[inline]
pub(super) fn same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    // Sixteen bytes at a time, and the last sixteen, which may have been compared in part.
    if let (Some(one_end), Some(other_end)) = (one.last_chunk::<16>(), other.last_chunk::<16>()) {
        let mut pairs = one.as_chunks::<16>().0.iter().zip(other.as_chunks::<16>().0);
        return pairs.all(|(one, other)| one == other) && one_end == other_end;
    }
    match (one.first_chunk::<8>(), other.first_chunk::<8>(), one.last_chunk::<8>(), other.last_chunk::<8>()) {
        (Some(one_start), Some(other_start), Some(one_end), Some(other_end)) => one_start == other_start && one_end == other_end,
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: the quick comparison compares all bytes. Each byte of texts of every length is changed once.
    #[test]
    fn every_byte_is_compared() {
        for length in 0..70_usize {
            let text: Vec<u8> = (0..70).take(length).collect();
            assert!(same(&text, &text.clone()));
            assert!(!same(&text, &[&text[..], b"x"].concat()));
            for at in 0..length {
                let mut other = text.clone();
                other[at] ^= 1;
                assert!(!same(&text, &other));
            }
        }
    }

    /// Guarantees: only what was allowed is found again, and as what it was; whatever shares a place, in memories of every size.
    #[test]
    fn only_what_was_allowed_is_remembered() {
        let seats = (0..5_000).map(|n| format!("{n:05} seat"));
        let texts: Vec<String> = ["gpt-5.4".to_owned()].into_iter().chain(seats).collect();
        let message = texts.concat();
        let numbers = || (0..=u8::MAX).cycle();
        for length in [7, 1_000, message.len()] {
            let mut recent = Recent::new(&message.as_bytes()[..length]);
            assert!(recent.slots.len() <= MAX_SLOTS && recent.get(b"").is_none() && recent.get(b"gpt-5.4").is_none());
            recent.remember(0..7, 1, 3);
            assert_eq!(recent.get(b"gpt-5.4"), Some((1, 3)));
            for text in [&b""[..], b"gpt-5.5", b"gpt-5.44", b"pt-5.4", b"a gpt-5.4", b"x"] {
                assert_eq!(recent.get(text), None);
            }
            let mut end = 0;
            for (text, number) in texts.iter().zip(numbers()) {
                let start = end;
                end += text.len();
                recent.remember(start..end, number, number.into());
                assert_eq!(recent.get(text.as_bytes()), (end <= length).then_some((number, number.into())));
            }
            for (text, number) in texts.iter().zip(numbers()) {
                assert!(recent.get(text.as_bytes()).is_none_or(|found| found == (number, number.into())));
            }
        }
    }
}

//! Attributes and names of this message that were allowed. Labels, models and names come again in span after span; the same bytes are allowed
//! again, and comparing is cheaper than judging.

/// How many are remembered at most; a power of two. A new one takes the place of another, so nothing grows.
const MAX_SLOTS: usize = 1 << 10;
/// As many bytes of a message ask for one more of them: the share of a text that comes again, in a message of many spans.
const BYTES_A_SLOT: usize = 128;

/// What was allowed, each with a number.
pub(super) struct Recent<'a>(Vec<Slot<'a>>);

#[derive(Clone, Copy)]
struct Slot<'a> {
    /// Nothing that is empty is remembered.
    bytes: &'a [u8],
    number: u8,
    /// Where the value starts in it.
    value_at: u8,
}

impl<'a> Recent<'a> {
    /// For a message of so many bytes.
    pub(super) fn new(message_bytes: usize) -> Self {
        let slots = (message_bytes / BYTES_A_SLOT).next_power_of_two().min(MAX_SLOTS);
        Self(vec![Slot { bytes: b"", number: 0, value_at: 0 }; slots])
    }

    /// The number of what was allowed, and where its value starts, if this was and is remembered.
    #[inline]
    pub(super) fn get(&self, bytes: &[u8]) -> Option<(u8, usize)> {
        let slot = self.0.get(self.slot(bytes))?;
        (same(slot.bytes, bytes) && !bytes.is_empty()).then_some((slot.number, usize::from(slot.value_at)))
    }

    /// This is allowed.
    #[inline]
    pub(super) fn remember(&mut self, bytes: &'a [u8], number: u8, value_at: u8) {
        let slot = self.slot(bytes);
        if let Some(slot) = self.0.get_mut(slot) {
            *slot = Slot { bytes, number, value_at };
        }
    }

    /// Attributes differ most at their ends.
    #[inline]
    fn slot(&self, bytes: &[u8]) -> usize {
        let tail = bytes.last_chunk::<8>().map_or(0, |tail| u64::from_le_bytes(*tail));
        let mixed = (tail ^ (bytes.len() as u64) << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 48) as usize & (self.0.len() - 1)
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
        let pairs = one.as_chunks::<16>().0.iter().zip(other.as_chunks::<16>().0);
        let different = pairs.fold(0, |bits, (one, other)| bits | (u128::from_le_bytes(*one) ^ u128::from_le_bytes(*other)));
        return different == 0 && one_end == other_end;
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
        for message_bytes in [0, 1, 1_000, 100_000, 10_000_000] {
            let mut recent = Recent::new(message_bytes);
            assert!(recent.0.len() <= MAX_SLOTS && recent.get(b"").is_none() && recent.get(b"gpt-5.4").is_none());
            recent.remember(b"gpt-5.4", 1, 3);
            assert_eq!(recent.get(b"gpt-5.4"), Some((1, 3)));
            for text in [&b""[..], b"gpt-5.5", b"gpt-5.44", b"pt-5.4", b"a gpt-5.4", b"x"] {
                assert_eq!(recent.get(text), None);
            }
            let texts: Vec<String> = (0..5_000).map(|n| format!("{n:05} seat")).collect();
            for (text, number) in texts.iter().zip((0..=u8::MAX).cycle()) {
                recent.remember(text.as_bytes(), number, number);
                assert_eq!(recent.get(text.as_bytes()), Some((number, number.into())));
            }
            for (text, number) in texts.iter().zip((0..=u8::MAX).cycle()) {
                assert!(recent.get(text.as_bytes()).is_none_or(|found| found == (number, number.into())));
            }
        }
    }
}

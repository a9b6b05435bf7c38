//! Texts of this message that were allowed, by key. Labels, models and names come again in span after span; the same text under the same
//! key is allowed again, and comparing is cheaper than judging.

/// How many texts are remembered; a power of two. A new one takes the place of another, so nothing grows.
const SLOTS: usize = 256;

/// The number under which the names of spans of the first kind are remembered; those of the next kinds have the next lower ones. No key
/// has such a number.
pub(super) const NAMES: u8 = u8::MAX;

/// Allowed texts, each with the number of its key.
pub(super) struct Recent<'a>([(u8, &'a [u8]); SLOTS]);

impl Default for Recent<'_> {
    fn default() -> Self {
        // No text is empty and allowed.
        Self([(0, b""); SLOTS])
    }
}

impl<'a> Recent<'a> {
    /// Whether this text under this key was allowed, as far as is remembered.
    #[inline]
    pub(super) fn has(&self, number: u8, text: &[u8]) -> bool {
        let slot = &self.0[slot(number, text)];
        slot.0 == number && same(slot.1, text) && !text.is_empty()
    }

    /// Whether this text under this key was allowed; if it was not and `judge` allows it, it will have been.
    #[inline]
    pub(super) fn allows<E>(&mut self, number: u8, text: &'a [u8], judge: impl FnOnce() -> Result<bool, E>) -> Result<bool, E> {
        if self.has(number, text) {
            return Ok(true);
        }
        let allowed = judge()?;
        if allowed {
            self.remember(number, text);
        }
        Ok(allowed)
    }

    /// This text under this key is allowed.
    #[inline]
    pub(super) fn remember(&mut self, number: u8, text: &'a [u8]) {
        self.0[slot(number, text)] = (number, text);
    }
}

/// Whether two texts are the same. They are short, and a call of the general comparison takes longer than the comparison.
#[inline]
pub(super) fn same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let (Some(one_end), Some(other_end)) = (one.last_chunk::<8>(), other.last_chunk()) else { return one == other };
    // Eight bytes at a time, and the last eight, which may have been compared in part.
    let pairs = one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0);
    let different = pairs.fold(0, |bits, (one, other)| bits | (u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other)));
    different == 0 && one_end == other_end
}

/// Texts under one key differ most at their ends.
#[inline]
fn slot(number: u8, text: &[u8]) -> usize {
    let tail = text.last_chunk::<4>().map_or(0, |tail| u32::from_le_bytes(*tail));
    let mixed = u64::from(tail) ^ u64::from(number) << 32 ^ (text.len() as u64) << 40;
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: the quick comparison compares all bytes. Each byte of texts of every length is changed once.
    #[test]
    fn every_byte_is_compared() {
        for length in 0..40_usize {
            let text: Vec<u8> = (0..40).take(length).collect();
            assert!(same(&text, &text.clone()));
            assert!(!same(&text, &[&text[..], b"x"].concat()));
            for at in 0..length {
                let mut other = text.clone();
                other[at] ^= 1;
                assert!(!same(&text, &other));
            }
        }
    }

    /// Guarantees: a text is allowed without being judged only where it was allowed before, under the same key.
    #[test]
    fn only_what_was_allowed_is_remembered() {
        let mut recent = Recent::default();
        let mut judged = 0;
        let mut ask = |recent: &mut Recent<'static>, number, text: &'static [u8], verdict| {
            let before = judged;
            let allowed = recent.allows(number, text, || {
                judged += 1;
                Ok::<_, ()>(verdict)
            });
            (allowed.unwrap(), judged > before)
        };
        assert_eq!(ask(&mut recent, 0, b"", false), (false, true));
        assert_eq!(ask(&mut recent, 1, b"gpt-5.4", false), (false, true));
        assert_eq!(ask(&mut recent, 1, b"gpt-5.4", true), (true, true));
        assert_eq!(ask(&mut recent, 1, b"gpt-5.4", false), (true, false));
        assert_eq!(ask(&mut recent, 2, b"gpt-5.4", false), (false, true));
        assert_eq!(ask(&mut recent, 1, b"gpt-5.5", false), (false, true));
        // Whatever shares a place, what is not the same is judged.
        for number in 0..=255 {
            for text in [&b"aaaa"[..], b"baaaa", b"gpt-5.4", b"x"] {
                assert_eq!(ask(&mut recent, number, text, false).0, number == 1 && text == b"gpt-5.4");
            }
        }
    }
}

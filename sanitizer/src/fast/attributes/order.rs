//! The key of an attribute: mostly the one that came next the last time.

use wire::otlp::key_value;

use super::super::Tables;
use super::super::recent::same;

/// A key's number, or the key itself if the policy does not have it.
pub(super) type KeyOf<'a> = Result<u8, &'a [u8]>;

/// In which order keys come. Senders do not change theirs, so that the next key is mostly known from the last time, and need not be looked
/// up but only compared.
pub(in crate::fast) struct Order {
    /// By the number of a key, the key that came after it. `START` stands before the first one.
    next: [u8; 256],
    last: u8,
}

impl Default for Order {
    fn default() -> Self {
        Self { next: [0; 256], last: Self::START }
    }
}

impl Order {
    const START: u8 = u8::MAX;

    /// Another record begins.
    pub(in crate::fast) fn restart(&mut self) {
        self.last = Self::START;
    }

    /// The key that came next the last time.
    #[inline]
    pub(super) fn expected(&self) -> u8 {
        self.next[usize::from(self.last)]
    }

    #[inline]
    pub(super) fn came(&mut self, number: u8) {
        self.next[usize::from(self.last)] = number;
        self.last = number;
    }

    /// The key at the start of an attribute, by its number if the policy has it; and what comes after the tag of the value.
    #[inline]
    pub(super) fn key<'a>(&mut self, content: &'a [u8], tables: &Tables) -> Option<(KeyOf<'a>, &'a [u8])> {
        let next = self.expected();
        if let Some(key) = tables.key(next)
            && let Some((start, value)) = content.split_at_checked(key.start.len())
            && same(start, &key.start)
        {
            self.last = next;
            return Some((Ok(next), value));
        }
        let [KEY_TAG, key_len @ 0..0x80, rest @ ..] = content else { return None };
        let (key, rest) = rest.split_at_checked(usize::from(*key_len))?;
        let [VALUE_TAG, value @ ..] = rest else { return None };
        let Some(number) = tables.number(key) else { return Some((Err(key), value)) };
        self.came(number);
        Some((Ok(number), value))
    }
}

const KEY_TAG: u8 = tag(key_value::KEY, 2);
pub(in crate::fast) const VALUE_TAG: u8 = tag(key_value::VALUE, 2);

/// The tag of a field, as far as it is one byte.
pub(in crate::fast) const fn tag(number: u32, wire_type: u8) -> u8 {
    assert!(number < 16);
    number.to_le_bytes()[0] << 3 | wire_type
}

//! Damages the bytes of messages.

use proptest::prelude::*;

/// One change of a byte, or of the length.
pub type Damage = (prop::sample::Index, u8, u8);

pub fn bytes() -> impl Strategy<Value = Vec<Damage>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..5_u8), 1..5)
}

pub fn apply(damage: &[Damage], message: &mut Vec<u8>) {
    for (at, byte, how) in damage {
        if message.is_empty() {
            return;
        }
        let at = at.index(message.len());
        match how {
            0 => message[at] = *byte,
            1 => message[at] ^= 1 << (byte % 8),
            2 => message.insert(at, *byte),
            3 => drop(message.remove(at)),
            _ => message.truncate(at),
        }
    }
}

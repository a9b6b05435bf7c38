//! A quick look that tells most texts from secrets: it knows for each detector what a text cannot do without. Only a text that has it is
//! shown to the detectors.

use memchr::{memchr_iter, memchr2_iter};

use super::decode::{MIN_BASE64_DIGITS, MIN_HEX_DIGITS};
use super::{MAX_TEXT_BYTES, cards, keys, tokens};

/// Length of a UUID, in bytes.
pub(super) const UUID_BYTES: usize = 36;
/// The shortest text that a detector hits which has no colon and no `@`: an IPv4 address.
const SHORTEST_BYTES: usize = 7;
/// The shortest word that is a key or decodes to something.
const SHORTEST_WORD: usize = MIN_BASE64_DIGITS;
/// Colons in an IPv6 address that is written in full.
const V6_COLONS: usize = 7;
/// What stands between the numbers of an IPv4 address.
const V4_JOINTS: usize = 3;
/// Dashes on each side of the words of a PEM.
const PEM_DASHES: usize = 5;

/// Bits for what occurs in a text. The first two are counted, too.
const DIGIT: u16 = 1;
/// Between the numbers of an address.
const JOINT: u16 = 1 << 1;
const UPPER: u16 = 1 << 2;
const COLON: u16 = 1 << 3;
const AMPERSAND: u16 = 1 << 4;
const SEMICOLON: u16 = 1 << 5;
/// Starts a character of which a few are harmless.
const SYMBOL: u16 = 1 << 6;
/// What harmless texts do not have: an `@`, what starts an escape, and scripts in which characters are invisible or stand for others.
const SUSPECT: u16 = 1 << 7;
/// The letters without which no text has `bearer`, or `basic`, in it.
const B: u16 = 1 << 8;
const A: u16 = 1 << 9;
const R: u16 = 1 << 10;
const S: u16 = 1 << 11;
const I: u16 = 1 << 12;
const C: u16 = 1 << 13;
const E: u16 = 1 << 14;
/// Of a word, in the sense of [`tokens::of_word`].
const WORD: u16 = 1 << 15;

/// The bits of each byte.
static BITS: [u16; 256] = {
    let mut bits = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "below 256")]
        let b = byte as u8;
        bits[byte] = match b {
            b'0'..=b'9' => DIGIT,
            b'.' | b'-' | b'_' => JOINT,
            b':' => COLON,
            b'&' => AMPERSAND,
            b';' => SEMICOLON,
            // Continues a character, or starts one of Latin, Greek or Cyrillic; combining marks are in the gap between those.
            0x80..=0xBF | 0xC3 | 0xC4 | 0xC6..=0xCB | 0xCE..=0xD1 => 0,
            0xC2 | 0xC5 | 0xE2 => SYMBOL,
            b'@' | b'%' | b'\\' | 0x80.. => SUSPECT,
            _ => match b.to_ascii_lowercase() {
                b'b' => B,
                b'a' => A,
                b'r' => R,
                b's' => S,
                b'i' => I,
                b'c' => C,
                b'e' => E,
                _ => 0,
            },
        };
        if b.is_ascii_uppercase() {
            bits[byte] |= UPPER;
        }
        if tokens::of_word(b) {
            bits[byte] |= WORD;
        }
        byte += 1;
    }
    bits
};

/// Whether the detectors surely find nothing in this text, which is UTF-8. To a text without secrets it may say no; the detectors then decide.
pub(crate) fn surely_harmless(text: &[u8]) -> bool {
    let text = without_leading_uuids(text);
    if text.len() > MAX_TEXT_BYTES {
        return false;
    }
    let seen = Seen::in_text(text);
    let has = |all: u16| seen.bits & all == all;
    if has(SUSPECT) || has(AMPERSAND | SEMICOLON) || (has(SYMBOL) && !symbols_are_harmless(text)) {
        return false;
    }
    if has(COLON) && may_have_colons(text) {
        return false;
    }
    text.len() < SHORTEST_BYTES
        || !((seen.joints >= PEM_DASHES && may_have_pem(text))
            || (has(B | E | A | R) && has_word(text, b"bearer"))
            || (has(B | A | S | I | C) && has_word(text, b"basic"))
            || ((seen.digits >= cards::MIN_DIGITS || seen.joints >= V4_JOINTS) && may_have_numbers(text))
            || (seen.longest_word >= SHORTEST_WORD && may_have_token(text, has(UPPER), has(COLON))))
}

/// What follows the UUIDs at the start, each of which is a word: no detector sees anything in those, and nothing begins in one and ends behind it.
fn without_leading_uuids(mut text: &[u8]) -> &[u8] {
    while let Some((word, rest)) = text.split_first_chunk::<UUID_BYTES>()
        && is_uuid(word)
    {
        match rest {
            [] => return rest,
            [b' ', rest @ ..] => text = rest,
            _ => break,
        }
    }
    text
}

/// What occurs in a text.
#[derive(Default)]
struct Seen {
    bits: u16,
    digits: usize,
    joints: usize,
    /// Bytes in the longest word.
    longest_word: usize,
}

impl Seen {
    /// One look at each byte, without a branch.
    #[inline]
    fn in_text(text: &[u8]) -> Self {
        let (mut seen, mut word) = (Self::default(), 0);
        for byte in text {
            let bits = BITS[usize::from(*byte)];
            seen.bits |= bits;
            seen.digits += usize::from(bits & DIGIT);
            seen.joints += usize::from(bits >> 1 & 1);
            word = if bits & WORD == 0 { 0 } else { word + 1 };
            seen.longest_word = seen.longest_word.max(word);
        }
        seen
    }
}

/// Whether there is no other symbol than those of composed texts, each a word of its own. Where one is glued to something it could stand for
/// another character.
fn symbols_are_harmless(text: &[u8]) -> bool {
    const KNOWN: [&[u8]; 4] = ["·".as_bytes(), "–".as_bytes(), "←".as_bytes(), "⚡".as_bytes()];
    const LONG_S: &[u8] = "ſ".as_bytes();
    memchr2_iter(0xC2, 0xE2, text).all(|at| {
        let alone = |neighbour: Option<&u8>| neighbour.is_none_or(|byte| *byte == b' ');
        KNOWN.iter().any(|symbol| {
            text[at..].starts_with(symbol)
                && alone(at.checked_sub(1).and_then(|before| text.get(before)))
                && alone(text.get(at + symbol.len()))
        })
    }) && memchr_iter(LONG_S[0], text).all(|at| !text[at..].starts_with(LONG_S))
}

/// A URL, or an IPv6 address.
fn may_have_colons(text: &[u8]) -> bool {
    memchr_iter(b':', text).enumerate().any(|(count, at)| count + 1 >= V6_COLONS || matches!(text.get(at + 1), Some(b':' | b'/')))
}

fn has_word(text: &[u8], word: &[u8]) -> bool {
    memchr2_iter(word[0], word[0].to_ascii_uppercase(), text)
        .any(|at| text[at..].get(..word.len()).is_some_and(|part| part.eq_ignore_ascii_case(word)))
}

/// An IPv4 address, or a card number. UUIDs are full of digits; they are left out where they are a word.
fn may_have_numbers(text: &[u8]) -> bool {
    const V4_DIGITS: usize = 3;
    let joint = |byte: u8| BITS[usize::from(byte)] & JOINT != 0;
    let (mut digits, mut groups, mut in_group) = (0, 0, 0);
    for word in text.split(|byte| *byte == b' ') {
        if is_uuid(word) {
            (digits, groups, in_group) = (0, 0, 0);
            continue;
        }
        for byte in word {
            if byte.is_ascii_digit() {
                digits += 1;
                in_group += 1;
                groups += usize::from(in_group == 1);
                if in_group > V4_DIGITS {
                    groups = 0;
                }
                if groups > V4_JOINTS || digits >= cards::MIN_DIGITS {
                    return true;
                }
            } else {
                in_group = 0;
                if !joint(*byte) {
                    groups = 0;
                }
                if !cards::is_separator(*byte) {
                    digits = 0;
                }
            }
        }
        (groups, in_group) = (0, 0);
    }
    false
}

/// Five dashes.
fn may_have_pem(text: &[u8]) -> bool {
    // Each fifth place is enough to look at; there and beside it are dashes.
    (PEM_DASHES - 1..text.len())
        .step_by(PEM_DASHES)
        .any(|at| text[at] == b'-' && (text[at - 1] == b'-' || text.get(at + 1) == Some(&b'-')))
}

/// A key, a JWT, a long random string, something in base64 or hexadecimal digits.
fn may_have_token(text: &[u8], has_upper: bool, has_colon: bool) -> bool {
    let mut start = 0;
    text.split(|byte| !tokens::of_word(*byte)).any(|word| {
        let rest = &text[start..];
        start += word.len() + 1;
        word.len() >= SHORTEST_WORD
            && !is_uuid(word)
            && (word.len() >= tokens::LONG_BYTES
                // The token of a bot is shorter.
                || has_colon && word.len() >= tokens::LONG_BYTES / 2
                || has_upper && word.iter().any(u8::is_ascii_uppercase)
                || may_be_hex(word)
                || keys::word_starts(word).any(|at| keys::starts_at(&rest[at..])))
    })
}

fn may_be_hex(word: &[u8]) -> bool {
    (MIN_HEX_DIGITS - 1..word.len()).step_by(MIN_HEX_DIGITS).any(|at| {
        let before = word[..at].iter().rev().take(MIN_HEX_DIGITS).take_while(|byte| byte.is_ascii_hexdigit()).count();
        let after = word[at..].iter().take(MIN_HEX_DIGITS).take_while(|byte| byte.is_ascii_hexdigit()).count();
        after > 0 && before + after >= MIN_HEX_DIGITS
    })
}

/// Dashes where a UUID has them, and hexadecimal digits of either case elsewhere.
#[inline]
pub(super) fn is_uuid(word: &[u8]) -> bool {
    <&[u8; UUID_BYTES]>::try_from(word).is_ok_and(|word| is_lower_uuid(&word.map(|byte| byte.to_ascii_lowercase())))
}

/// Dashes where a UUID has them, and hexadecimal digits in lower case elsewhere.
#[inline]
pub(crate) fn is_lower_uuid(word: &[u8; UUID_BYTES]) -> bool {
    /// All bits where the dashes are.
    const DASHES: [u8; UUID_BYTES] = {
        let mut dashes = [0; UUID_BYTES];
        (dashes[8], dashes[13], dashes[18], dashes[23]) = (0xff, 0xff, 0xff, 0xff);
        dashes
    };
    // Without a way out in the middle, and without tables, so that many bytes are looked at in one instruction.
    let mut all = 0xff;
    for (byte, dash) in word.iter().zip(DASHES) {
        let digit = byte.wrapping_sub(b'0') < 10;
        let letter = byte.wrapping_sub(b'a') < 6;
        let is_hex = u8::from(digit | letter).wrapping_neg();
        let is_dash = u8::from(*byte == b'-').wrapping_neg();
        all &= (is_hex & !dash) | (is_dash & dash);
    }
    all == 0xff
}

//! A quick look that tells most texts from secrets: it knows for each thing that the detectors look for what a text cannot do without.
//! Only a text that has all of that is shown to the detectors.

use memchr::{memchr_iter, memchr2_iter};

/// The shortest text that has a shape of [`SHAPES`], in bytes.
const SHORTEST_SHAPE: usize = 7;
/// The shortest text that the detectors for long tokens, and for card numbers, can hit.
const LONG_RUN: usize = 40;
const CARD_DIGITS: usize = 13;

/// Bits for what occurs in a text: one for each letter, 26 for lower case and then 26 for upper case, and these.
const DIGIT: u64 = 1 << 52;
const DASH: u64 = 1 << 53;
const UNDERSCORE: u64 = 1 << 54;
const DOT: u64 = 1 << 55;
const COLON: u64 = 1 << 56;
const SLASH: u64 = 1 << 57;
const AT: u64 = 1 << 58;
const EQUALS: u64 = 1 << 59;
const LOWER: u64 = (1 << 26) - 1;

/// The bits of each byte.
static BITS: [u64; 256] = {
    let mut bits = [0; 256];
    let mut byte = 0_u8;
    // Those above are outside ASCII, and in no shape.
    while byte < 128 {
        bits[byte as usize] = bit(byte);
        byte += 1;
    }
    bits
};

const fn bit(byte: u8) -> u64 {
    match byte {
        b'a'..=b'z' => 1 << (byte - b'a'),
        b'A'..=b'Z' => 1 << (byte - b'A' + 26),
        b'0'..=b'9' => DIGIT,
        b'-' => DASH,
        b'_' => UNDERSCORE,
        b'.' => DOT,
        b':' => COLON,
        b'/' => SLASH,
        b'@' => AT,
        b'=' => EQUALS,
        _ => 0,
    }
}

const fn all(text: &str) -> u64 {
    let (bytes, mut bits, mut at) = (text.as_bytes(), 0, 0);
    while at < bytes.len() {
        bits |= bit(bytes[at]);
        at += 1;
    }
    bits
}

/// A shape that a key can have: letters that it starts with, and how long it is at least.
struct Shape {
    start: &'static str,
    min_bytes: usize,
    /// What must occur, in the start and after it.
    bits: u64,
}

const fn shape(start: &'static str, with: &'static str, min_bytes: usize) -> Shape {
    Shape { start, min_bytes, bits: all(start) | all(with) }
}

/// One for each shape of the detectors that starts with fixed letters, in their case.
const SHAPES: &[Shape] = &[
    shape("sk-", "", 16),
    shape("eyJ", ".", 16),
    shape("-----BEGIN", "", 10),
    shape("AKIA", "", 20),
    shape("ASIA", "", 20),
    shape("gh", "_", 24),
    shape("github_pat_", "", 31),
    shape("glpat-", "", 22),
    shape("xox", "-", 15),
    shape("AIza", "", 34),
    shape("://", "", 7),
];

/// Each shape has one of these.
const SOME_IN_ALL_SHAPES: u64 = DASH | UNDERSCORE | DOT | COLON | bit(b'A');

/// Whether the detectors surely find nothing in this text. To a text without secrets it may say no; the detectors then decide.
pub(super) fn surely_harmless(text: &[u8]) -> bool {
    if is_uuid(text) {
        return true;
    }
    let bits = bits_of(text);
    // An e-mail address; basic credentials.
    bits & (AT | EQUALS) == 0
        && !(bits & (DOT | COLON) != 0 && may_have_address(text, bits))
        && (text.len() < SHORTEST_SHAPE
            || !(may_have_shape(text, bits) || may_have_long_token(text) || may_have_card_number(text, bits)))
}

/// What occurs in a text.
#[inline]
fn bits_of(text: &[u8]) -> u64 {
    let of = |bytes: &[u8]| bytes.iter().fold(0, |bits, byte| bits | BITS[usize::from(*byte)]);
    // Eight at a time, so that the loop costs less than what is in it.
    let chunks = text.chunks_exact(8);
    of(chunks.remainder()) | chunks.fold(0, |bits, chunk| bits | of(chunk))
}

fn may_have_shape(text: &[u8], bits: u64) -> bool {
    let lower = (bits | bits >> 26) & LOWER;
    let bearer = const { all("bear") };
    if lower & bearer == bearer
        && memchr2_iter(b'b', b'B', text).any(|at| {
            let word = text[at..].get(..b"bearer".len());
            word.is_some_and(|word| word.eq_ignore_ascii_case(b"bearer"))
        })
    {
        return true;
    }
    bits & SOME_IN_ALL_SHAPES != 0
        && SHAPES
            .iter()
            .filter(|shape| bits & shape.bits == shape.bits && text.len() >= shape.min_bytes)
            .any(|shape| contains(text, shape.start.as_bytes()))
        && !is_public_prefix(text)
}

/// Whether the text has this part.
#[inline]
fn contains(text: &[u8], part: &[u8]) -> bool {
    part.first().is_some_and(|first| memchr_iter(*first, text).any(|at| text[at..].starts_with(part)))
}

/// How many bytes are so; quick because it counts sixteen at a time, in numbers of eight bits.
#[inline]
fn count(text: &[u8], is_so: impl Fn(u8) -> bool) -> usize {
    text.chunks(255).map(|chunk| usize::from(chunk.iter().fold(0, |sum: u8, byte| sum + u8::from(is_so(*byte))))).sum()
}

/// The public prefix of an API key, alone.
fn is_public_prefix(text: &[u8]) -> bool {
    text.strip_prefix(b"sk-cxp-").is_some_and(|rest| rest.len() == 12 && rest.iter().all(u8::is_ascii_hexdigit))
}

fn may_have_address(text: &[u8], bits: u64) -> bool {
    let dots = |text| count(text, |byte| byte == b'.');
    let colons = |text| count(text, |byte| byte == b':');
    // Four numbers with three dots between them, or two colons in one word.
    (bits & (DOT | DIGIT) == DOT | DIGIT
        && dots(text) >= 3
        && text.split(|byte| !matches!(byte, b'0'..=b'9' | b'.')).any(|part| dots(part) >= 3))
        || (bits & COLON != 0 && colons(text) >= 2 && text.split(|byte| *byte == b' ').any(|word| colons(word) >= 2))
}

fn may_have_long_token(text: &[u8]) -> bool {
    let of_token = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+' | b'=');
    // A run of that length takes up one of these places.
    (LONG_RUN - 1..text.len()).step_by(LONG_RUN).any(|at| {
        let before = text[..at].iter().rev().take_while(|byte| of_token(byte)).count();
        let after = text[at..].iter().take_while(|byte| of_token(byte)).count();
        after > 0 && before + after >= LONG_RUN
    })
}

fn may_have_card_number(text: &[u8], bits: u64) -> bool {
    if bits & DIGIT == 0 || text.len() < CARD_DIGITS || count(text, |byte| byte.is_ascii_digit()) < CARD_DIGITS {
        return false;
    }
    // The detector takes UUIDs out first, and what stood around one comes together.
    let mut digits = 0;
    for word in text.split(|byte| *byte == b' ').filter(|word| !is_uuid(word)) {
        for byte in word {
            match byte {
                b'0'..=b'9' => digits += 1,
                b'-' => {}
                _ => digits = 0,
            }
            if digits >= CARD_DIGITS {
                return true;
            }
        }
    }
    false
}

/// Dashes where a UUID has them, and hexadecimal digits of either case elsewhere.
#[inline]
fn is_uuid(word: &[u8]) -> bool {
    <&[u8; 36]>::try_from(word).is_ok_and(|word| is_lower_uuid(&word.map(|byte| byte.to_ascii_lowercase())))
}

/// Dashes where a UUID has them, and hexadecimal digits in lower case elsewhere.
#[inline]
pub(super) fn is_lower_uuid(word: &[u8; 36]) -> bool {
    /// All bits where the dashes are.
    const DASHES: [u8; 36] = {
        let mut dashes = [0; 36];
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

const _: () = {
    let mut at = 0;
    while at < SHAPES.len() {
        assert!(SHAPES[at].bits & SOME_IN_ALL_SHAPES != 0 && SHAPES[at].min_bytes >= SHORTEST_SHAPE);
        at += 1;
    }
};

//! Credentials that say what they are: keys with a published prefix, tokens with a known head, `Authorization` values, PEM and
//! URLs.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::{memchr_iter, memchr2_iter, memmem};

use super::decode::base64_value;
use super::prefixes::{Hold, KEYS, Key, hex, word};

/// The shortest unbroken run of characters in which one of these is found: the rest of a key behind its prefix.
pub(super) const SHORTEST_BYTES: usize = 14;
/// Characters of the rest of a key that is in pieces; fewer could be anything.
const MIN_SPLIT_BYTES: usize = 20;
/// The longest rest of a key in pieces that is looked at.
const MAX_SPLIT_BYTES: usize = 40;
/// Changes between letters and digits in it. Twenty random letters and digits change six times; words and numbers in a row rarely do.
pub(super) const MIN_SPLIT_CHANGES: usize = 5;
/// Pieces of a key have this many characters on average, at least.
const MIN_PIECE_BYTES: usize = 4;
/// What is between the pieces, at most.
const MAX_GAP_BYTES: usize = 2;
/// Fewest digits of a key in pieces, and fewest of an id of AWS in pieces, which has this many letters and digits in all.
pub(super) const MIN_SPLIT_DIGITS: usize = MIN_SPLIT_CHANGES.div_ceil(2);
pub(super) const AWS_ID_BYTES: usize = 20;

/// Other things that [`is_start`] knows, by their first characters.
const OTHER_STARTS: &[&[u8]] = &[b"sk-", b"ey", b"ew"];

/// Triples of classes.
const BITS: usize = 1 << 15;

/// What a character is taken for where keys start: a letter in either case, a digit, a separator, or another. Five bits.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "below 256")]
        let b = byte as u8;
        classes[byte] = match b {
            b'A'..=b'Z' | b'a'..=b'z' => b & 0x1f,
            b'0'..=b'9' => 27,
            _ if is_gap(b) => 28,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

/// A bit for the classes of the first three characters of everything that a key can start with.
static STARTS: [u64; BITS / 64] = {
    const fn set(mut starts: [u64; BITS / 64], prefix: &[u8]) -> [u64; BITS / 64] {
        let mut third = 0;
        while third < 1 << 5 {
            let bit = start_bit([CLASSES[prefix[0] as usize], CLASSES[prefix[1] as usize], third]);
            if is_prefix_bit(prefix, bit) {
                starts[bit >> 6] |= 1 << (bit & 63);
            }
            third += 1;
        }
        starts
    }
    let mut starts = [0; 1 << 9];
    let mut at = 0;
    while at < KEYS.len() {
        starts = set(starts, KEYS[at].prefix);
        at += 1;
    }
    at = 0;
    while at < OTHER_STARTS.len() {
        starts = set(starts, OTHER_STARTS[at]);
        at += 1;
    }
    starts
};

/// Whether a text that starts like this prefix can have this bit. Behind a prefix of two characters there may be any.
const fn is_prefix_bit(prefix: &[u8], bit: usize) -> bool {
    let third = if prefix.len() > 2 { CLASSES[prefix[2] as usize] as usize } else { bit >> 10 };
    bit == start_bit([CLASSES[prefix[0] as usize], CLASSES[prefix[1] as usize], 0]) | third << 10
}

const fn start_bit(classes: [u8; 3]) -> usize {
    classes[0] as usize | (classes[1] as usize) << 5 | (classes[2] as usize) << 10
}

/// The keys, in the order of the bits of their prefixes.
static BY_START: LazyLock<Vec<(usize, &Key)>> = LazyLock::new(|| {
    let thirds = || (0..BITS).step_by(1 << 10);
    let bits = |key: &'static Key| {
        let first_two = start_bit([CLASSES[usize::from(key.prefix[0])], CLASSES[usize::from(key.prefix[1])], 0]);
        thirds().map(move |third| first_two | third).filter(|bit| is_prefix_bit(key.prefix, *bit)).map(move |bit| (bit, key))
    };
    let mut keys: Vec<_> = KEYS.iter().flat_map(bits).collect();
    keys.sort_by_key(|(bit, _)| *bit);
    keys
});

/// The keys that can start so, by the classes of the first three characters.
fn keys_from(text: &[u8]) -> impl Iterator<Item = &'static Key> {
    let bit = text.first_chunk().map_or(0, |start: &[u8; 3]| start_bit(start.map(|byte| CLASSES[usize::from(byte)])));
    let first = BY_START.partition_point(|(other, _)| *other < bit);
    BY_START[first..].iter().take_while(move |(other, _)| *other == bit).map(|(_, key)| *key)
}

/// Whether something here hits the text.
pub(super) fn found(text: &[u8]) -> bool {
    memmem::find(text, b"-----BEGIN").is_some()
        || memmem::find(text, b"PRIVATE KEY-----").is_some()
        || memchr_iter(b':', text).any(|at| is_url(text, at) || is_bot_token(text, at))
        || has_authorization(text)
        || has_key(text)
}

/// A value of the header of that name.
pub(super) fn has_authorization(text: &[u8]) -> bool {
    memchr2_iter(b'b', b'B', text).any(|at| starts_word(text, at) && (is_basic(&text[at..]) || is_bearer(&text[at..])))
}

/// A key that starts anywhere, and is in one piece.
fn has_key(text: &[u8]) -> bool {
    starts(text).any(|at| is_start(&text[at..], starts_word(text, at)))
}

/// A key that starts in this part of the text.
pub(super) fn has_key_in(text: &[u8], part: Range<usize>) -> bool {
    let start = part.start;
    starts(&text[part]).any(|at| is_start(&text[start + at..], starts_word(text, start + at)))
}

/// A key that starts where a word does, with separators in it. UUIDs are taken out of the text before: the digits of a row are no key's.
pub(super) fn has_split_key(text: &[u8]) -> bool {
    starts(text).any(|at| starts_word(text, at) && is_split_start(&text[at..]))
}

/// Where something known can start, by the classes of three characters.
#[inline]
pub(super) fn starts(text: &[u8]) -> impl Iterator<Item = usize> {
    let mut bit = 0;
    text.iter().enumerate().filter_map(move |(end, byte)| {
        bit = bit >> 5 | usize::from(CLASSES[usize::from(*byte)]) << 10;
        (STARTS[bit >> 6] >> (bit & 63) & 1 == 1).then_some(end).and_then(|end| end.checked_sub(2))
    })
}

/// In front of a word is no letter and no digit. `_` is not part of a word here, so that `user_ghp_…` has a key.
fn starts_word(text: &[u8], at: usize) -> bool {
    at.checked_sub(1).is_none_or(|before| !text[before].is_ascii_alphanumeric())
}

fn is_start(text: &[u8], is_word: bool) -> bool {
    if text[0].eq_ignore_ascii_case(&b's')
        && let Some(is_key) = is_pooler_key(text)
    {
        return is_key;
    }
    is_sk(text, is_word)
        || (text[0] == b'e' && is_jwt(text))
        || keys_from(text).any(|key| {
            let as_written = text.starts_with(key.prefix);
            let is_here = match key.hold {
                Hold::Anywhere => strip_any_case(text, key.prefix).is_some(),
                Hold::AsWritten => as_written,
                Hold::Word => as_written && is_word,
            };
            is_here
                && run(&text[key.prefix.len()..], key.tail, key.min_tail_bytes) == key.min_tail_bytes
                && ((as_written && is_word) || {
                    let is_short = key.prefix.len() <= 3;
                    is_dense(&text[key.prefix.len()..], if is_short { 2 } else { 1 }, (key.tail)(b'f') && !(key.tail)(b'g'))
                })
        })
}

/// Whether what follows a prefix looks random and not like a word: among its first characters are so many letters and digits without a separator,
/// changing so often, and not all hexadecimal unless the whole key is. A short prefix may be part of a longer word by chance, as in
/// `risk-assessment-2026`, or stand in front of an id, as in `task-0b5a2f0e6c0f4f3a9a530c7f4f2f8f11`.
fn is_dense(tail: &[u8], min_changes: usize, hex_too: bool) -> bool {
    const MIN_BYTES: usize = 10;
    const LOOKED_AT: usize = 32;
    tail[..run(tail, word, LOOKED_AT)].split(|byte| !byte.is_ascii_alphanumeric()).any(|piece| {
        piece.len() >= MIN_BYTES && (hex_too || !piece.iter().all(u8::is_ascii_hexdigit)) && changes(piece) >= min_changes
    })
}

/// How often a letter and a digit stand side by side.
fn changes(piece: &[u8]) -> usize {
    piece.windows(2).filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit()).count()
}

fn is_split_start(text: &[u8]) -> bool {
    let is_own = |key: &Key| key.hold != Hold::Word && key.prefix.len() >= 3;
    // The pooler's public prefix may have words behind it.
    if is_pooler_key(text).is_some() {
        return false;
    }
    strip_split(text, b"sk-").is_some_and(is_split_tail)
        || keys_from(text).filter(|key| is_own(key)).any(|key| strip_split(text, key.prefix).is_some_and(is_split_tail))
        || AWS_IDS.iter().any(|prefix| text.strip_prefix(*prefix).is_some_and(is_split_aws_id))
}

/// The text behind a prefix in which one separator may stand for another, and which one may follow.
fn strip_split<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (head, tail) = text.split_at_checked(prefix.len())?;
    let same = |(one, other): (&u8, &u8)| one.eq_ignore_ascii_case(other) || (is_gap(*one) && is_gap(*other));
    head.iter().zip(prefix).all(same).then_some(tail)
}

/// What may be put between the pieces of a key.
const fn is_gap(byte: u8) -> bool {
    matches!(byte, b' ' | b'.' | b'-' | b'_' | b'/' | b':' | b'+' | b'|' | b',')
}

/// Whether letters and digits in pieces look random together. Hexadecimal digits do not count: ids have them.
fn is_split_tail(tail: &[u8]) -> bool {
    let (mut bytes, mut pieces, mut changes, mut gap) = (0, 0, 0, 1);
    let mut before: Option<u8> = None;
    let mut beyond_hex = false;
    for byte in tail {
        if byte.is_ascii_alphanumeric() {
            pieces += usize::from(before.is_none());
            changes += usize::from(before.is_some_and(|before| before.is_ascii_digit() != byte.is_ascii_digit()));
            beyond_hex |= !byte.is_ascii_hexdigit();
            bytes += 1;
            (before, gap) = (Some(*byte), 0);
        } else {
            gap += 1;
            before = None;
            if gap > MAX_GAP_BYTES || !is_gap(*byte) {
                break;
            }
        }
        if bytes == MAX_SPLIT_BYTES {
            break;
        }
    }
    beyond_hex && bytes >= MIN_SPLIT_BYTES && changes >= MIN_SPLIT_CHANGES && bytes >= pieces * MIN_PIECE_BYTES
}

/// The ids of keys that AWS gives out. `ASIA` is a word, and so it is not among those that are looked for in pieces.
const AWS_IDS: &[&[u8]] = &[b"AKIA", b"ABIA"];

/// Sixteen capitals and digits of base32 in up to six pieces, digits among them.
fn is_split_aws_id(tail: &[u8]) -> bool {
    const DIGITS: usize = AWS_ID_BYTES - "AKIA".len();
    let id: Vec<u8> = tail.iter().copied().take(DIGITS + 5).filter(|byte| !is_gap(*byte)).take(DIGITS).collect();
    id.len() == DIGITS && id.iter().all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7')) && id.iter().any(u8::is_ascii_digit)
}

/// How many bytes at the start are so; stops at `most`.
fn run(text: &[u8], is_so: impl Fn(u8) -> bool, most: usize) -> usize {
    text.iter().take(most).take_while(|byte| is_so(**byte)).count()
}

fn strip_any_case<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (head, tail) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(tail)
}

/// Hexadecimal digits of the public prefix of the pooler's keys.
const PUBLIC_DIGITS: usize = 12;

/// Whether an API key of the pooler has more than its public prefix; `None` if it is no such key.
fn is_pooler_key(text: &[u8]) -> Option<bool> {
    let tail = strip_any_case(text, b"sk-cxp-")?;
    // The public prefix may stand in a sentence. Anything that is glued to it is the secret part.
    let is_alone = || {
        matches!(tail.get(PUBLIC_DIGITS), None | Some(b' ' | b'\t' | b'\n' | b'\r' | b')' | b']' | b',' | b';' | b'"' | b'\''))
    };
    (run(tail, hex, PUBLIC_DIGITS) == PUBLIC_DIGITS).then(|| !is_alone())
}

/// Any other key that starts with `sk-`.
fn is_sk(text: &[u8], is_word: bool) -> bool {
    const MIN_TAIL_BYTES: usize = 12;
    strip_any_case(text, b"sk-").is_some_and(|tail| {
        run(tail, word, MIN_TAIL_BYTES) == MIN_TAIL_BYTES && ((is_word && text.starts_with(b"sk-")) || is_dense(tail, 2, false))
    })
}

/// Behind another gap than a header's the word can be part of a name, so that what follows has to look random.
fn is_bearer(text: &[u8]) -> bool {
    const MIN_TOKEN_BYTES: usize = 8;
    strip_any_case(text, b"bearer").is_some_and(|tail| match gap(tail) {
        0 => tail.first().is_some_and(|byte| is_gap(*byte)) && is_dense(&tail[1..], 2, false),
        gap => run(&tail[gap..], |byte| !byte.is_ascii_whitespace(), MIN_TOKEN_BYTES) == MIN_TOKEN_BYTES,
    })
}

/// How long what stands between the scheme and the rest of a header's value is.
fn gap(tail: &[u8]) -> usize {
    run(tail, |byte| byte.is_ascii_whitespace() || matches!(byte, b':' | b'='), usize::MAX)
}

/// A name and a password in base64, padded or not. Behind another gap than a header's they have to be readable.
fn is_basic(text: &[u8]) -> bool {
    const MIN_DIGITS: usize = 8;
    const MAX_DIGITS: usize = 512;
    let Some(tail) = strip_any_case(text, b"basic") else { return false };
    let gap = gap(tail);
    let is_other_gap = gap == 0 && tail.first().is_some_and(|byte| is_gap(*byte));
    let credentials = &tail[gap + usize::from(is_other_gap)..];
    let digits = run(credentials, |byte| base64_value(byte).is_some(), MAX_DIGITS);
    if (gap == 0 && !is_other_gap) || digits < MIN_DIGITS {
        return false;
    }
    let decoded = decoded(&credentials[..digits]);
    if is_other_gap {
        return decoded.contains(&b':') && decoded.iter().all(u8::is_ascii_graphic);
    }
    credentials.get(digits) == Some(&b'=') || (decoded.contains(&b':') && decoded.iter().all(|byte| !byte.is_ascii_control()))
}

/// Two parts of base64url or more with dots between them, of which the first is the start of a JSON object.
fn is_jwt(text: &[u8]) -> bool {
    const MIN_HEAD_DIGITS: usize = 8;
    const MAX_HEAD_DIGITS: usize = 512;
    const MIN_PAYLOAD_DIGITS: usize = 6;
    let starts_object = |text: &[u8]| {
        text.strip_prefix(b"{").is_some_and(|rest| rest.trim_ascii_start().first().is_none_or(|byte| *byte == b'"'))
    };
    if !text.get(..MIN_HEAD_DIGITS).is_some_and(|head| head.iter().all(|byte| word(*byte)) && starts_object(&decoded(head))) {
        return false;
    }
    let head = run(text, word, MAX_HEAD_DIGITS);
    text[head..].strip_prefix(b".").is_some_and(|rest| run(rest, word, MIN_PAYLOAD_DIGITS) == MIN_PAYLOAD_DIGITS)
}

/// What base64 digits stand for; digits that make no whole byte are left out.
fn decoded(digits: &[u8]) -> Vec<u8> {
    let values = digits.iter().filter_map(|byte| base64_value(*byte));
    let mut bits = 0_u32;
    let mut bytes = Vec::new();
    for (at, value) in values.enumerate() {
        bits = bits << 6 | u32::from(value);
        if at % 4 != 0 {
            // After the second digit of four there are four bits too many, then two, then none.
            bytes.push((bits >> (6 - 2 * (at % 4)) & 0xff) as u8);
        }
    }
    bytes
}

/// A scheme and two slashes.
fn is_url(text: &[u8], colon: usize) -> bool {
    text[colon + 1..].starts_with(b"//") && colon.checked_sub(1).is_some_and(|at| text[at].is_ascii_alphanumeric())
}

/// A bot's number, a colon and its token, as Telegram gives them out.
fn is_bot_token(text: &[u8], colon: usize) -> bool {
    const MIN_NUMBER_DIGITS: usize = 8;
    const MIN_TOKEN_BYTES: usize = 30;
    colon >= MIN_NUMBER_DIGITS
        && text[colon - MIN_NUMBER_DIGITS..colon].iter().all(u8::is_ascii_digit)
        && run(&text[colon + 1..], word, MIN_TOKEN_BYTES) == MIN_TOKEN_BYTES
}

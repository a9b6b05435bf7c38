//! A quick look that tells most texts from secrets: it knows for each detector what a text cannot do without. Only a text that has it is
//! shown to the detectors.

use memchr::memchr_iter;

use super::decode::{MIN_BASE64_DIGITS, MIN_HEX_DIGITS, read_into};
use super::{MAX_TEXT_BYTES, cards, keys, mails, tokens, without_uuids};

/// Length of a UUID, in bytes.
pub(crate) const UUID_BYTES: usize = 36;
/// The shortest word that is a key or decodes to something.
const SHORTEST_WORD: usize = keys::SHORTEST_BYTES;
const _: () =
    assert!(SHORTEST_WORD <= MIN_BASE64_DIGITS && SHORTEST_WORD <= MIN_HEX_DIGITS && SHORTEST_WORD <= tokens::SHORTER_BYTES);
/// Colons in an IPv6 address that is written in full.
const V6_COLONS: u64 = 7;
/// Numbers in an IPv4 address, and what stands between them.
const V4_GROUPS: u64 = 4;
const V4_JOINTS: u64 = 3;
/// Digits of an IPv4 address that is one number, at least.
const WHOLE_V4_DIGITS: u64 = 8;
/// Dashes on each side of the words of a PEM.
const PEM_DASHES: usize = 5;

/// How often bytes of a kind occur, for ten kinds in one number: the counts of a text are the sum of its bytes'.
type Counts = u64;

/// Bits of each count.
const COUNT_BITS: u32 = 6;
/// Bytes whose counts have room.
const COUNTED_BYTES: usize = (1 << COUNT_BITS) - 1;

/// The kinds. One of a byte is the number with this bit.
const DIGIT: u32 = 0;
const UPPER: u32 = 1;
/// `.`, `-`, `_` and other signs that join words and numbers.
const JOINT: u32 = 2;
/// Blanks and brackets.
const BLANK: u32 = 3;
const COLON: u32 = 4;
/// Starts a character that is harmless if it is one of a few symbols, or a letter that is read as no other.
const SYMBOL: u32 = 5;
/// What harmless texts do not have: an `@`, what starts or ends an escape, and scripts in which characters are invisible.
const SUSPECT: u32 = 6;
/// `b`, without which there is no `basic` and no `bearer`.
const B: u32 = 7;
/// A dot, or the letter with which one begins that is spelled out.
const DOT_OR_D: u32 = 8;
/// `x` as in `0x`, `p` as in `ip`.
const X_OR_P: u32 = 9;

const fn one(kind: u32) -> Counts {
    1 << (kind * COUNT_BITS)
}

/// What each byte counts.
static COUNTS: [Counts; 256] = {
    let mut counts = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "below 256")]
        let b = byte as u8;
        counts[byte] = match b {
            b'0'..=b'9' => one(DIGIT),
            b'.' => one(JOINT) | one(DOT_OR_D),
            b'-' | b'_' | b'/' | b'+' | b'#' | b'&' | b'\'' => one(JOINT),
            b' ' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'<' | b'>' => one(BLANK),
            b':' => one(COLON) | one(JOINT),
            // Continues a character.
            0x80..=0xBF => 0,
            0xC2 | 0xE2 => one(SYMBOL),
            _ if starts_letter(b) => one(SYMBOL),
            b'@' | b'%' | b'\\' | b';' | 0x80.. => one(SUSPECT),
            _ => {
                let letter = match b.to_ascii_lowercase() {
                    b'b' => one(B),
                    b'd' => one(DOT_OR_D),
                    b'x' | b'p' => one(X_OR_P),
                    _ => 0,
                };
                if b.is_ascii_uppercase() { letter | one(UPPER) } else { letter }
            }
        };
        byte += 1;
    }
    counts
};

/// Whether the detectors surely find nothing in this text, which is UTF-8. To a text without secrets it may say no; the detectors then decide.
#[inline]
pub(crate) fn surely_harmless(text: &[u8]) -> bool {
    let text = without_leading_uuids(text);
    if text.is_empty() {
        return true;
    }
    if text.len() > MAX_TEXT_BYTES {
        return false;
    }
    let counts = counts(text);
    is_harmless(text, counts) && (count(counts, SYMBOL) == 0 || letters_are_harmless(text))
}

/// The same, of a text as it stands.
#[inline]
fn is_harmless(text: &[u8], counts: Counts) -> bool {
    let has = |kind: u32| count(counts, kind) > 0;
    if has(SUSPECT) || (has(SYMBOL) && !symbols_are_harmless(text)) || (has(COLON) && may_have_colons(text)) {
        return false;
    }
    let (digits, gaps) = (count(counts, DIGIT), count(counts, JOINT) + count(counts, BLANK));
    let may_be_mail = has(DOT_OR_D) && gaps >= 2 && text.len() >= mails::SHORTEST_BYTES;
    let may_be_v4 = digits >= V4_GROUPS && gaps >= V4_JOINTS;
    let may_be_whole_v4 = has(X_OR_P) && digits > 0;
    if text.len() < SHORTEST_WORD && !(has(B) || may_be_mail || may_be_v4 || may_be_whole_v4) {
        return digits < cards::MIN_DIGITS as u64 && count(counts, JOINT) < PEM_DASHES as u64;
    }
    let pairs = Pairs::new(text);
    let may_be_v4 = may_be_v4 && pairs.count(|one, other| is_digit(one) & is_gap(other)) >= V4_JOINTS;
    !((has(B) && (pairs.has(*b"ar") || pairs.has(*b"si")) && keys::has_authorization(text))
        || ((may_be_v4 || digits >= cards::MIN_DIGITS as u64) && may_have_numbers(text))
        || (may_be_mail && pairs.has(*b"at") && mails::ats(text).next().is_some())
        || (may_be_whole_v4 && (pairs.has(*b"0x") || (digits >= WHOLE_V4_DIGITS && pairs.has(*b"ip"))))
        || (count(counts, JOINT) >= PEM_DASHES as u64 && may_have_pem(text))
        || (text.len() >= SHORTEST_WORD && (may_have_token(text, has(COLON)) || may_have_split_key(text, &pairs, counts))))
}

/// The sum over all bytes, of which there are few: four at a time, so that they do not wait for one another.
#[inline]
fn sum(text: &[u8]) -> Counts {
    let of = |byte: &u8| COUNTS[usize::from(*byte)];
    let (fours, rest) = text.as_chunks::<4>();
    let fours = fours.iter().fold([0; 4], |sums: [Counts; 4], four| std::array::from_fn(|at| sums[at] + of(&four[at])));
    fours.iter().sum::<Counts>() + rest.iter().map(of).sum::<Counts>()
}

#[inline]
fn counts(text: &[u8]) -> Counts {
    if text.len() <= COUNTED_BYTES {
        return sum(text);
    }
    // A count stays where it is full.
    text.chunks(COUNTED_BYTES).map(sum).fold(0, |all, more| {
        (0..=X_OR_P)
            .fold(0, |out, kind| out | (count(all, kind) + count(more, kind)).min(COUNTED_BYTES as u64) << (kind * COUNT_BITS))
    })
}

#[inline]
fn count(counts: Counts, kind: u32) -> u64 {
    counts >> (kind * COUNT_BITS) & COUNTED_BYTES as u64
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

/// Whether there is no other symbol than those of composed texts, each a word of its own. Where one is glued to something it could stand for
/// another character.
#[inline]
fn symbols_are_harmless(text: &[u8]) -> bool {
    let is_alone = |neighbour: Option<&u8>| neighbour.is_none_or(|byte| *byte == b' ');
    text.iter().enumerate().all(|(at, byte)| {
        let length = match (byte, &text[at..]) {
            // In the middle it is read as a dash.
            (0xE2, [_, 0x80, 0x93, rest @ ..]) if at > 0 && !rest.is_empty() => return false,
            // ·
            (0xC2, [_, 0xB7, ..]) => 2,
            // –, ←, ⚡
            (0xE2, [_, 0x80, 0x93, ..] | [_, 0x86, 0x90, ..] | [_, 0x9A, 0xA1, ..]) => 3,
            (0xC2 | 0xE2, _) => return false,
            _ => return true,
        };
        is_alone(at.checked_sub(1).and_then(|before| text.get(before))) && is_alone(text.get(at + length))
    })
}

/// Whether a byte starts a letter of Latin, Greek or Cyrillic; combining marks are in the gap between those.
const fn starts_letter(byte: u8) -> bool {
    matches!(byte, 0xC3..=0xCB | 0xCE..=0xD1)
}

/// Whether the text is harmless, too, that is [read](read_into) where there are such letters.
fn letters_are_harmless(text: &[u8]) -> bool {
    /// Of a text that is read. The longest labels have half of it, in bytes; a longer text is shown to the detectors.
    const MAX_BYTES: usize = 512;
    // To the end of the text, so that many bytes are looked at in one instruction.
    if !text.iter().fold(false, |any, byte| any | starts_letter(*byte)) {
        return true;
    }
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let mut room = [0; MAX_BYTES];
    let Some(read) = read_into(&mut room, text).and_then(|length| room.get(..length)) else { return false };
    read == text.as_bytes() || is_harmless(read, counts(read))
}

/// A URL, or an IPv6 address, also with blanks and brackets between its colons.
fn may_have_colons(text: &[u8]) -> bool {
    let is_blank = |byte: &&u8| COUNTS[usize::from(**byte)] == one(BLANK);
    memchr_iter(b':', text).zip(1..).any(|(at, count)| {
        let next = text[at + 1..].iter().find(|byte| !is_blank(byte));
        count >= V6_COLONS || matches!(next, Some(b':' | b'/'))
    })
}

/// An IPv4 address, or a card number.
fn may_have_numbers(text: &[u8]) -> bool {
    /// Of a decimal number; octal ones are longer, and start with a zero.
    const MAX_DIGITS: usize = 3;
    // Between the numbers of an address is one joint; blanks may stand around it. Of `.`, `-` and `_` each may be one of them here.
    let (mut digits, mut groups, mut joint) = (0, 0, b'.');
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let start = at;
        at += 1;
        if byte.is_ascii_digit() {
            at += text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            digits += at - start;
            groups = if at - start <= MAX_DIGITS || *byte == b'0' { groups + 1 } else { 0 };
            if groups >= V4_GROUPS || digits >= cards::MIN_DIGITS {
                return true;
            }
        } else {
            if !cards::is_separator(*byte) {
                digits = 0;
            }
            let kinds = COUNTS[usize::from(*byte)];
            let this = match byte.to_ascii_lowercase() {
                // The letters are those of `dot`.
                b'-' | b'_' | b'd' | b'o' | b't' => b'.',
                byte => byte,
            };
            if kinds & one(JOINT) != 0 || this == b'.' {
                if this != joint {
                    (groups, joint) = (groups.min(1), this);
                }
            } else if kinds & one(BLANK) == 0 {
                groups = 0;
            }
        }
    }
    false
}

/// Whether there are as many digits, or capitals, as a key in pieces has, and a prefix of one.
fn may_have_split_key(text: &[u8], pairs: &Pairs, counts: Counts) -> bool {
    let (digits, capitals) = (count(counts, DIGIT), count(counts, UPPER));
    let is_change = |one, other| (is_digit(one) & is_letter(other)) | (is_letter(one) & is_digit(other));
    text.len() > keys::AWS_ID_BYTES
        && ((digits >= keys::MIN_SPLIT_DIGITS as u64 && pairs.count(is_change) >= keys::MIN_SPLIT_CHANGES as u64)
            || (digits > 0 && digits + capitals >= keys::AWS_ID_BYTES as u64))
        && keys::starts(text).next().is_some()
        && keys::has_split_key(&without_uuids(text))
}

/// What stands side by side in a short text. Of a fixed length, and without a branch, so that many bytes are looked at in one instruction.
struct Pairs {
    /// The text, and zeros behind it; `None` if it is longer.
    bytes: Option<[u8; Self::MAX_BYTES + 1]>,
}

impl Pairs {
    const MAX_BYTES: usize = 64;

    #[inline]
    fn new(text: &[u8]) -> Self {
        let mut bytes = [0; Self::MAX_BYTES + 1];
        let start = bytes[..Self::MAX_BYTES].get_mut(..text.len());
        Self { bytes: start.map(|start| start.copy_from_slice(text)).map(|()| bytes) }
    }

    /// How many pairs are so; of a long text it is not known, and may be any number.
    #[inline]
    fn count(&self, is_so: impl Fn(u8, u8) -> u8) -> u64 {
        let Some(bytes) = &self.bytes else { return u64::MAX };
        u64::from(
            bytes[..Self::MAX_BYTES]
                .iter()
                .zip(&bytes[1..])
                .fold(0_u8, |count, (one, other)| count.wrapping_add(is_so(*one, *other))),
        )
    }

    /// Whether these two small letters, or a digit and one, are there in either case.
    #[inline]
    fn has(&self, [one, other]: [u8; 2]) -> bool {
        const SMALL: u8 = 0x20;
        self.count(|this, next| u8::from(this | SMALL == one) & u8::from(next | SMALL == other)) > 0
    }
}

fn is_digit(byte: u8) -> u8 {
    u8::from(byte.wrapping_sub(b'0') < 10)
}

fn is_letter(byte: u8) -> u8 {
    u8::from((byte | 0x20).wrapping_sub(b'a') < 26)
}

/// A joint, a blank, or a bracket as around the dots of an address; and a few signs between these.
fn is_gap(byte: u8) -> u8 {
    // Square brackets differ from curly ones in the bit of small letters.
    u8::from(byte == b' ')
        | u8::from(byte.wrapping_sub(b'#') <= b'/' - b'#')
        | u8::from(byte == b':')
        | u8::from(byte == b'_')
        | u8::from(byte | 0x20 == b'{')
        | u8::from(byte | 0x20 == b'}')
}

/// Five dashes.
fn may_have_pem(text: &[u8]) -> bool {
    // Each fifth place is enough to look at; there and beside it are dashes.
    (PEM_DASHES - 1..text.len())
        .step_by(PEM_DASHES)
        .any(|at| text[at] == b'-' && (text[at - 1] == b'-' || text.get(at + 1) == Some(&b'-')))
}

/// A key, a JWT, a random string, something in base64 or hexadecimal digits.
fn may_have_token(text: &[u8], has_colon: bool) -> bool {
    let mut at = SHORTEST_WORD - 1;
    // No word of this length is between two of these places.
    while let Some(byte) = text.get(at) {
        if tokens::of_word(*byte) {
            let start = text[..at].iter().rposition(|byte| !tokens::of_word(*byte)).map_or(0, |before| before + 1);
            let end = text[at..].iter().position(|byte| !tokens::of_word(*byte)).map_or(text.len(), |length| at + length);
            if end - start >= SHORTEST_WORD && may_be_token(text, start, end, has_colon) {
                return true;
            }
            at = end;
        }
        at += SHORTEST_WORD;
    }
    false
}

fn may_be_token(text: &[u8], start: usize, end: usize, has_colon: bool) -> bool {
    let word = &text[start..end];
    if is_uuid(word) {
        // Behind a number and a colon it is read as the token of a bot.
        return text[..start].ends_with(b":");
    }
    word.len() >= tokens::LONG_BYTES
        // The token of a bot is shorter.
        || has_colon && word.len() >= tokens::LONG_BYTES / 2
        || word.iter().any(u8::is_ascii_uppercase)
        || (word.len() >= tokens::SHORTER_BYTES && tokens::found(word))
        || (word.len() >= MIN_HEX_DIGITS && may_be_hex(word))
        || keys::has_key_in(text, start..end)
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

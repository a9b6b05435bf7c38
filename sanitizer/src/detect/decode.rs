//! Other readings of a text: with its characters folded to ASCII, unescaped, and decoded from base64 and hexadecimal digits.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use regex::Regex;
use regex_syntax::hir::{Class, Hir, HirKind};
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;
use unicode_security::skeleton;

/// Fewest digits that are decoded. Fewer can hide no more than a short address.
pub(super) const MIN_BASE64_DIGITS: usize = 14;
pub(super) const MIN_HEX_DIGITS: usize = 16;
/// Shortest readable stretch of what was decoded that counts, in bytes: chance makes shorter ones of names.
const MIN_READABLE_BASE64: usize = 10;
const MIN_READABLE_HEX: usize = 8;

/// More marks on one letter than any language has.
static MARKS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\p{M}{4}").ok());

/// Whether a letter has more than three combining marks.
pub(super) fn has_too_many_marks(text: &str) -> bool {
    !text.is_ascii() && MARKS.as_ref().is_none_or(|marks| marks.is_match(text))
}

/// The text as it is read: without what cannot be seen and the marks on its letters, and with the ASCII characters that others stand for or look like;
/// `None` if that is the text itself.
pub(super) fn fold(text: &str) -> Option<String> {
    if text.is_ascii() {
        return None;
    }
    let read: String = as_read(text).collect();
    (read != text).then_some(read)
}

/// The characters of a text as they are read. Unicode's decomposition takes the letters off their marks, and says which stand for others: full-width,
/// mathematical, circled, raised; what its authors know to look alike, they list apart.
pub(super) fn as_read(text: &str) -> impl Iterator<Item = char> {
    text.nfkd().filter(|character| character.is_ascii() || !is_combining_mark(*character)).filter_map(seen)
}

/// Letters of Latin, Greek and Cyrillic, which make most of what is not ASCII in labels.
const LETTERS: RangeInclusive<u32> = 0xC0..=0x47F;
/// What each of them is read as: up to four bytes of UTF-8, and zeros behind them; [`MORE`] where it is more.
static READ_LETTERS: LazyLock<Vec<[u8; 4]>> = LazyLock::new(|| {
    let read = |code| {
        let letter = char::from_u32(code).unwrap_or_default();
        let read: String = as_read(letter.encode_utf8(&mut [0; 4])).collect();
        let mut bytes = [0; 4];
        let Some(room) = bytes.get_mut(..read.len()) else { return MORE };
        room.copy_from_slice(read.as_bytes());
        bytes
    };
    LETTERS.map(read).collect()
});
const MORE: [u8; 4] = [0xff; 4];

/// Writes a text as it is read, and says how much of the room that takes; `None` if it is too little. Faster than [`as_read`] where letters of a few
/// alphabets are among ASCII.
pub(super) fn read_into(room: &mut [u8], text: &str) -> Option<usize> {
    let letters = &*READ_LETTERS;
    let mut length = 0;
    let mut put = |bytes: &[u8]| {
        room.get_mut(length..length + bytes.len())?.copy_from_slice(bytes);
        length += bytes.len();
        Some(())
    };
    for character in text.chars() {
        let mut bytes = [0; 4];
        let encoded = &*character.encode_utf8(&mut bytes);
        let letter = u32::from(character).checked_sub(*LETTERS.start()).and_then(|at| letters.get(usize::try_from(at).ok()?));
        match letter {
            _ if character.is_ascii() => put(encoded.as_bytes())?,
            Some(&MORE) => return None,
            Some(read) => put(read.split(|byte| *byte == 0).next()?)?,
            None => as_read(encoded).try_for_each(|read| put(read.encode_utf8(&mut [0; 4]).as_bytes()))?,
        }
    }
    Some(length)
}

/// The first of nine digits in circles that the decomposition leaves as they are.
const ONES: &[char] = &['⓵', '❶', '➀', '➊'];

/// The decimal digits of all scripts: in each of these ranges they go from 0 to 9, once or several times.
static DIGITS: LazyLock<Vec<RangeInclusive<u32>>> = LazyLock::new(|| {
    let Ok(HirKind::Class(Class::Unicode(class))) = regex_syntax::parse(r"\p{Nd}").map(Hir::into_kind) else { return Vec::new() };
    class.ranges().iter().map(|range| range.start().into()..=range.end().into()).collect()
});

/// The character as it is read; `None` for one that is not seen.
fn seen(character: char) -> Option<char> {
    match character {
        _ if character.is_ascii() => Some(character),
        // Fillers, joiners, directions, variation selectors, tags.
        '\u{AD}'
        | '\u{34F}'
        | '\u{61C}'
        | '\u{115F}'
        | '\u{1160}'
        | '\u{17B4}'
        | '\u{17B5}'
        | '\u{180B}'..='\u{180F}'
        | '\u{200B}'..='\u{200F}'
        | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}'
        | '\u{2800}'
        | '\u{3164}'
        | '\u{FE00}'..='\u{FE0F}'
        | '\u{FEFF}'
        | '\u{FFA0}'
        | '\u{FFF0}'..='\u{FFFB}'
        | '\u{16FE4}'
        | '\u{1BCA0}'..='\u{1BCA3}'
        | '\u{1D173}'..='\u{1D17A}'
        | '\u{E0000}'..='\u{E0FFF}' => None,
        '\u{1680}' | '\u{2028}' | '\u{2029}' => Some(' '),
        '。' => Some('.'),
        '‐'..='―' | '−' => Some('-'),
        '⁄' | '∕' => Some('/'),
        '∶' => Some(':'),
        '⓿' => Some('0'),
        _ => Some(digit(character).or_else(|| looks_like(character)).unwrap_or(character)),
    }
}

fn digit(character: char) -> Option<char> {
    let code = u32::from(character);
    let decimal = DIGITS.iter().find(|digits| digits.contains(&code)).map(|digits| (code - digits.start()) % 10);
    let circled = || ONES.iter().find_map(|one| code.checked_sub(u32::from(*one)).filter(|more| *more < 9).map(|more| more + 1));
    char::from_digit(decimal.or_else(circled)?, 10)
}

/// The ASCII character that another looks like, marks aside, by the table of Unicode's security mechanisms (UTS 39).
fn looks_like(character: char) -> Option<char> {
    let mut bytes = [0; 4];
    let mut like = skeleton(character.encode_utf8(&mut bytes)).filter(|character| !is_combining_mark(*character));
    match (like.next()?, like.next()) {
        // For that table a capital I is a small L.
        ('l', None) if character.is_uppercase() => Some('I'),
        (like, None) => Some(like).filter(char::is_ascii),
        (_, Some(_)) => None,
    }
}

/// What a text says when it is decoded, in each way in which that says something.
pub(super) fn decodings(text: &str) -> impl Iterator<Item = String> {
    let digits = super::without_uuids(text.as_bytes());
    [unescaped(text), from_base64(&digits), from_hex(&digits)].into_iter().flatten()
}

/// Without percent encoding, the escapes of JSON, and HTML entities.
fn unescaped(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    memchr::memchr3(b'%', b'\\', b'&', bytes)?;
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        let escaped = match first {
            b'%' => hex_byte(tail).map(|byte| (vec![byte], 2)),
            b'\\' => json_escape(tail),
            b'&' => entity(tail),
            _ => None,
        };
        if let Some((bytes, length)) = escaped {
            out.extend(bytes);
            rest = &tail[length..];
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

fn hex_byte(text: &[u8]) -> Option<u8> {
    u8::try_from(number(text.get(..2)?, 16)?).ok()
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
    u32::from_str_radix(digits, radix).ok()
}

fn utf8(character: char) -> Vec<u8> {
    character.to_string().into_bytes()
}

/// What stands behind a backslash, and how long it is.
fn json_escape(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    const SURROGATES: std::ops::RangeInclusive<u32> = 0xD800..=0xDBFF;
    match text.first()? {
        b'u' => {
            let unit = number(text.get(1..5)?, 16)?;
            if !SURROGATES.contains(&unit) {
                return Some((utf8(char::from_u32(unit)?), 5));
            }
            let low = number(text.get(5..)?.strip_prefix(b"\\u")?.get(..4)?, 16)?.checked_sub(0xDC00)?;
            Some((utf8(char::from_u32(0x1_0000 + ((unit - 0xD800) << 10) + low)?), 11))
        }
        b'x' => Some((utf8(char::from(hex_byte(&text[1..])?)), 3)),
        b'n' | b't' | b'r' => Some((vec![b'\n'], 1)),
        other @ (b'/' | b'"' | b'\\') => Some((vec![*other], 1)),
        _ => None,
    }
}

/// What stands behind an ampersand, and how long it is.
fn entity(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    const MAX_BYTES: usize = 10;
    const NAMED: &[(&[u8], u8)] = &[
        (b"amp", b'&'),
        (b"apos", b'\''),
        (b"colon", b':'),
        (b"commat", b'@'),
        (b"gt", b'>'),
        (b"hyphen", b'-'),
        (b"lowbar", b'_'),
        (b"lt", b'<'),
        (b"nbsp", b' '),
        (b"period", b'.'),
        (b"quot", b'"'),
        (b"sol", b'/'),
    ];
    let length = text.iter().take(MAX_BYTES).position(|byte| *byte == b';')?;
    let name = &text[..length];
    let decoded = match name {
        [b'#', b'x' | b'X', digits @ ..] => utf8(char::from_u32(number(digits, 16)?)?),
        [b'#', digits @ ..] => utf8(char::from_u32(number(digits, 10)?)?),
        _ => vec![NAMED.iter().find(|(known, _)| *known == name)?.1],
    };
    Some((decoded, length + 1))
}

/// The value of a digit of base64 or base64url.
#[inline]
pub(crate) fn base64_value(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

/// The readable stretches of what base64 digits stand for, whichever of the digits is the first one. A run without a capital is taken for
/// words: a code of an error, or a route.
fn from_base64(text: &[u8]) -> Option<String> {
    let mut readable = Readable::new(MIN_READABLE_BASE64);
    for run in text.split(|byte| base64_value(*byte).is_none()) {
        if run.len() < MIN_BASE64_DIGITS || !run.iter().any(u8::is_ascii_uppercase) {
            continue;
        }
        for phase in 0..4 {
            let (mut bits, mut count) = (0_u32, 0);
            for value in run[phase..].iter().filter_map(|byte| base64_value(*byte)) {
                bits = (bits << 6 | u32::from(value)) & 0xffff;
                count += 6;
                if count >= 8 {
                    count -= 8;
                    readable.push((bits >> count & 0xff) as u8);
                }
            }
            readable.end();
        }
    }
    readable.finish()
}

/// The same for hexadecimal digits.
fn from_hex(text: &[u8]) -> Option<String> {
    let mut readable = Readable::new(MIN_READABLE_HEX);
    for run in text.split(|byte| !byte.is_ascii_hexdigit()).filter(|run| run.len() >= MIN_HEX_DIGITS) {
        for phase in 0..2 {
            for pair in run[phase..].chunks_exact(2) {
                if let Some(byte) = hex_byte(pair) {
                    readable.push(byte);
                }
            }
            readable.end();
        }
    }
    readable.finish()
}

/// Keeps what is readable of bytes that come one by one.
struct Readable {
    out: String,
    current: String,
    min_bytes: usize,
}

impl Readable {
    fn new(min_bytes: usize) -> Self {
        Self { out: String::new(), current: String::new(), min_bytes }
    }

    fn push(&mut self, byte: u8) {
        if matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r') {
            self.current.push(char::from(byte));
        } else {
            self.end();
        }
    }

    fn end(&mut self) {
        if self.current.len() >= self.min_bytes {
            self.out.push_str(&self.current);
            // So that two stretches are not read as one.
            self.out.push('\u{0}');
        }
        self.current.clear();
    }

    fn finish(self) -> Option<String> {
        Some(self.out).filter(|out| !out.is_empty())
    }
}

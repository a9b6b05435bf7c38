//! Random strings. The rule: a word of [`LONG_BYTES`] and more in which a stretch of that length
//!
//! - changes between letters and digits [`DIGIT_CHANGES`] times or more, as hexadecimal, base32 and base64 digits do and names do not; or
//! - changes between small letters, capitals and digits [`CLASS_CHANGES`] times or more, and has a Shannon entropy of [`MIXED_BITS`] or
//!   more per character, as random letters do; or
//! - is unbroken by any separator and has digits, or letters of one case as evenly as in no language ([`EVEN_BITS`]).
//!
//! And a shorter one, if it is more random than any name: see [`is_shorter_key`]. Keys of 32 characters are common, and so is nothing else of that
//! length but hexadecimal ids, which pass up to there: row ids, trace ids and MD5 sums look the same as such keys. Ids that services give to requests have up to
//! 29 characters behind their prefix.
//!
//! A word may have `+ / = _ . -` in it, so that a secret in pieces is one word. UUIDs are taken out before.

/// Shortest word, and length of the stretches in it, that are looked at, in bytes.
pub(super) const LONG_BYTES: usize = 40;
/// Shortest unbroken piece that is looked at as well, and shortest with separators in it, in bytes.
pub(super) const SHORTER_BYTES: usize = 30;
const SHORTER_BROKEN_BYTES: usize = 32;
/// Most hexadecimal digits that an id has.
const HEX_ID_BYTES: usize = 32;
/// Of a hundred pieces of thirty random letters and digits, 96 change as often between the two; names with a number in them change once or twice a number.
const SHORTER_DIGIT_CHANGES: usize = 7;
/// Of a hundred stretches of 32 random digits of base64url, 92 change class as often; names in camel case with numbers up to 11 times.
const SHORTER_CLASS_CHANGES: usize = 14;
/// Forty random hexadecimal digits change 18 times, random letters and digits 10 times; names of models with versions up to 5 times.
const DIGIT_CHANGES: usize = 6;
/// Forty random letters change 20 times; words in camel case twice a word, and names of models up to 10 times.
const CLASS_CHANGES: usize = 12;
/// Of a hundred stretches of forty random letters of both cases, 99 have more.
const MIXED_BITS: f64 = 4.3;
/// Forty random letters of one case have 4.2 bits; words of a language 3.9.
const EVEN_BITS: f64 = 4.1;

/// Whether a byte can be in a word.
#[inline]
pub(super) fn of_word(byte: u8) -> bool {
    static OF_WORD: [bool; 256] = {
        let mut of_word = [false; 256];
        let mut byte = 0;
        while byte < 128 {
            #[allow(clippy::cast_possible_truncation, reason = "below 128")]
            let b = byte as u8;
            of_word[byte] = b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'_' | b'.' | b'-');
            byte += 1;
        }
        of_word
    };
    OF_WORD[usize::from(byte)]
}

/// Whether a long random string is in the text.
pub(super) fn found(text: &[u8]) -> bool {
    text.split(|byte| !of_word(*byte)).filter(|word| word.len() >= SHORTER_BYTES).any(|word| {
        let is_long = word.len() >= LONG_BYTES;
        is_shorter_key(word) || (is_long && (pieces(word).any(is_unbroken) || is_random(word)))
    })
}

fn pieces(word: &[u8]) -> impl Iterator<Item = &[u8]> {
    word.split(|byte| !byte.is_ascii_alphanumeric())
}

/// Whether a piece without separators is no hexadecimal id and changes between letters and digits as names do not, or a stretch behind the words
/// at the start, such as `chatcmpl-`, changes as often between classes as random digits of base64url.
fn is_shorter_key(word: &[u8]) -> bool {
    let digit_changes = |piece: &[u8]| piece.windows(2).filter(|pair| Change::between(pair[0], pair[1]) == Change::Digit).count();
    let is_key = |piece: &[u8]| {
        piece.len() >= SHORTER_BYTES
            && (piece.len() > HEX_ID_BYTES || !piece.iter().all(u8::is_ascii_hexdigit))
            && (digit_changes(piece) >= SHORTER_DIGIT_CHANGES || class_changes(piece, SHORTER_BYTES) >= SHORTER_CLASS_CHANGES)
    };
    // A key of Mailchimp looks like an id, and ends in the name of a region.
    let is_in_region = |[id, region]: [&[u8]; 2]| {
        id.len() == HEX_ID_BYTES
            && id.iter().all(u8::is_ascii_hexdigit)
            && region
                .strip_prefix(b"us")
                .is_some_and(|number| matches!(number.len(), 1..=2) && number.iter().all(u8::is_ascii_digit))
    };
    let starts = word.split(|byte| !byte.is_ascii_alphanumeric()).take_while(|piece| piece.iter().all(u8::is_ascii_lowercase));
    let behind = starts.map(|piece| piece.len() + 1).sum::<usize>().min(word.len());
    let rest = &word[behind..];
    // Hexadecimal digits and names have one case, or words in it.
    let is_mixed = rest.iter().any(u8::is_ascii_lowercase) && rest.iter().any(u8::is_ascii_uppercase);
    pieces(word).any(is_key)
        || pieces(word).zip(pieces(word).skip(1)).any(|(id, region)| is_in_region([id, region]))
        || (is_mixed && class_changes(rest, SHORTER_BROKEN_BYTES) >= SHORTER_CLASS_CHANGES)
}

/// The most changes of class in any stretch of so many bytes; none in a shorter text.
fn class_changes(text: &[u8], stretch: usize) -> usize {
    if text.len() < stretch {
        return 0;
    }
    let is_change = |at: usize| usize::from(Change::between(text[at], text[at + 1]) != Change::None);
    let mut changes = (0..stretch - 1).map(is_change).sum::<usize>();
    let mut most = changes;
    for end in stretch..text.len() {
        changes = changes + is_change(end - 1) - is_change(end - stretch);
        most = most.max(changes);
    }
    most
}

fn is_unbroken(piece: &[u8]) -> bool {
    let has = |is_so: fn(&u8) -> bool| piece.iter().any(is_so);
    piece.len() >= LONG_BYTES
        && match (has(u8::is_ascii_digit), has(u8::is_ascii_lowercase), has(u8::is_ascii_uppercase)) {
            (true, _, _) => true,
            // Words in camel case; if they are none, the entropy of the stretches tells.
            (false, true, true) => false,
            (false, _, _) => {
                let mut counts = Counts::default();
                for byte in piece {
                    counts.add(*byte);
                }
                counts.bits() >= EVEN_BITS
            }
        }
}

/// Slides over the word.
fn is_random(word: &[u8]) -> bool {
    let change = |at: usize| Change::between(word[at], word[at + 1]);
    let (mut digits, mut classes) = (0, 0);
    let mut counts = Counts::default();
    for (at, byte) in word.iter().enumerate() {
        counts.add(*byte);
        let come = at.checked_sub(1).map_or(Change::None, change);
        digits += usize::from(come == Change::Digit);
        classes += usize::from(come != Change::None);
        if let Some(gone) = at.checked_sub(LONG_BYTES) {
            counts.remove(word[gone]);
            digits -= usize::from(change(gone) == Change::Digit);
            classes -= usize::from(change(gone) != Change::None);
        }
        if at + 1 >= LONG_BYTES && (digits >= DIGIT_CHANGES || (classes >= CLASS_CHANGES && counts.bits() >= MIXED_BITS)) {
            return true;
        }
    }
    false
}

/// What differs between two characters that stand side by side.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Nothing, or one of them is a separator.
    None,
    /// The case of letters.
    Case,
    /// One is a digit.
    Digit,
}

impl Change {
    fn between(one: u8, other: u8) -> Self {
        if !one.is_ascii_alphanumeric() || !other.is_ascii_alphanumeric() {
            Self::None
        } else if one.is_ascii_digit() != other.is_ascii_digit() {
            Self::Digit
        } else if one.is_ascii_uppercase() != other.is_ascii_uppercase() {
            Self::Case
        } else {
            Self::None
        }
    }
}

/// How often each byte occurs, and what the entropy is made of.
struct Counts {
    of: [u32; 128],
    total: u32,
    /// The sum of n · log2 n over all counts n.
    sum: f64,
}

impl Default for Counts {
    fn default() -> Self {
        Self { of: [0; 128], total: 0, sum: 0.0 }
    }
}

impl Counts {
    fn add(&mut self, byte: u8) {
        let count = &mut self.of[usize::from(byte % 128)];
        self.sum += weight(*count + 1) - weight(*count);
        *count += 1;
        self.total += 1;
    }

    fn remove(&mut self, byte: u8) {
        let count = &mut self.of[usize::from(byte % 128)];
        self.sum += weight(*count - 1) - weight(*count);
        *count -= 1;
        self.total -= 1;
    }

    /// Shannon entropy per byte.
    fn bits(&self) -> f64 {
        let total = f64::from(self.total);
        total.log2() - self.sum / total
    }
}

fn weight(count: u32) -> f64 {
    if count == 0 { 0.0 } else { f64::from(count) * f64::from(count).log2() }
}

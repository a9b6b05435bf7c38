//! The second line: texts that a rule allows and that still look like a credential, an address or a card number. A hit drops the text; it is
//! never masked, and never shortened into something new.
//!
//! A text is looked at as it is, with its characters [folded](decode::fold) to ASCII, and again after each of two rounds of decoding, so that a
//! secret in percent signs, JSON escapes, HTML entities, base64 or hexadecimal digits is seen as well. All work is in proportion to the text, and
//! a text over [`MAX_TEXT_BYTES`] is not looked at but dropped.

mod addresses;
mod cards;
mod decode;
mod glance;
mod keys;
mod mails;
mod prefixes;
#[cfg(test)]
mod tests;
mod tokens;

use std::borrow::Cow;

pub(crate) use decode::base64_value;
pub(crate) use glance::{UUID_BYTES, is_lower_uuid, surely_harmless};

/// A longer text looks secret unseen, in bytes. No text of the contract comes near.
const MAX_TEXT_BYTES: usize = 64 << 10;
/// How often what was decoded is decoded again. Each round makes at most five bytes of one.
const DECODING_ROUNDS: usize = 2;

/// Whether a text looks like something that must not get through.
///
/// ```
/// assert!(sanitizer::looks_secret("seat 192.0.2.7"));
/// assert!(sanitizer::looks_secret("sk-cxp-1b158839f8aa-abc"));
/// assert!(sanitizer::looks_secret("alice%40example.com"));
/// assert!(!sanitizer::looks_secret("sk-cxp-1b158839f8aa"));
/// assert!(!sanitizer::looks_secret("Aurora seat 1"));
/// ```
#[must_use]
pub fn looks_secret(text: &str) -> bool {
    !surely_harmless(text.as_bytes()) && thorough(text)
}

/// The detectors themselves, without the glance that saves most texts from them.
fn thorough(text: &str) -> bool {
    if text.len() > MAX_TEXT_BYTES {
        return true;
    }
    let mut views = vec![Cow::Borrowed(text)];
    for round in 0..=DECODING_ROUNDS {
        let mut decoded = Vec::new();
        for view in &views {
            let folded = decode::fold(view);
            if decode::has_too_many_marks(view) || is_secret(view) || folded.as_deref().is_some_and(is_secret) {
                return true;
            }
            if round < DECODING_ROUNDS {
                decoded.extend(decode::decodings(folded.as_deref().unwrap_or(view)).map(Cow::Owned));
            }
        }
        views = decoded;
    }
    false
}

/// Whether a detector hits a text as it stands.
fn is_secret(text: &str) -> bool {
    let text = text.as_bytes();
    if keys::found(text) {
        return true;
    }
    let text = without_uuids(text);
    mails::found(&text) || addresses::found(&text) || cards::found(&text) || tokens::found(&text) || keys::has_split_key(&text)
}

/// The text with a control character in the place of every UUID: row ids are what the log is made of, and their digits are no numbers.
fn without_uuids(text: &[u8]) -> Cow<'_, [u8]> {
    const DASH_AT: usize = 8;
    let mut out = Cow::Borrowed(text);
    for dash in memchr::memchr_iter(b'-', text) {
        let Some(start) = dash.checked_sub(DASH_AT) else { continue };
        let end = start + UUID_BYTES;
        let alone = |at: Option<&u8>| at.is_none_or(|byte| !byte.is_ascii_alphanumeric());
        if text.get(start..end).is_some_and(glance::is_uuid)
            && alone(start.checked_sub(1).and_then(|before| text.get(before)))
            && alone(text.get(end))
        {
            out.to_mut()[start..end].fill(0);
        }
    }
    out
}

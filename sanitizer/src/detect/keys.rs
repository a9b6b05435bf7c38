//! Credentials that say what they are: keys with a published prefix, tokens with a known head, `Authorization` values, PEM, URLs and
//! e-mail addresses.

use memchr::{memchr_iter, memmem};

use super::decode::base64_value;

/// What a key starts with, and what at least follows.
struct Key {
    prefix: &'static [u8],
    tail: fn(u8) -> bool,
    min_tail_bytes: usize,
}

const fn key(prefix: &'static str, tail: fn(u8) -> bool, min_tail_bytes: usize) -> Key {
    Key { prefix: prefix.as_bytes(), tail, min_tail_bytes }
}

fn alnum(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

/// Digits of base64url.
pub(super) fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn dotted(byte: u8) -> bool {
    word(byte) || byte == b'.'
}

fn hex(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

/// Digits of base64, for secrets in it and in paths.
fn path(byte: u8) -> bool {
    word(byte) || matches!(byte, b'/' | b'+')
}

/// Keys of vendors who publish the prefix so that scanners can find them. The tails are shorter than the real ones: a key that was cut
/// is a leak too.
const KEYS: &[Key] = &[
    // AI services. Those that start with `sk-` have a rule of their own.
    key("hf_", alnum, 20),
    key("gsk_", alnum, 20),
    key("xai-", alnum, 20),
    key("nvapi-", word, 20),
    key("pplx-", alnum, 20),
    key("r8_", alnum, 20),
    // Code hosting and packages.
    key("ghp_", alnum, 20),
    key("gho_", alnum, 20),
    key("ghu_", alnum, 20),
    key("ghs_", alnum, 20),
    key("ghr_", alnum, 20),
    key("github_pat_", word, 20),
    key("glpat-", word, 16),
    key("gldt-", word, 16),
    key("glrt-", word, 16),
    key("glcbt-", word, 16),
    key("glptt-", word, 16),
    key("npm_", alnum, 20),
    key("pypi-", word, 16),
    key("rubygems_", hex, 20),
    key("dckr_pat_", word, 16),
    key("ATATT3", word, 20),
    // Clouds and infrastructure.
    key("AKIA", alnum, 16),
    key("ASIA", alnum, 16),
    key("AIza", word, 30),
    key("ya29.", word, 16),
    key("GOCSPX-", word, 16),
    key("dop_v1_", hex, 20),
    key("doo_v1_", hex, 20),
    key("dor_v1_", hex, 20),
    key("dapi", hex, 32),
    key("hvs.", word, 20),
    key("hvb.", word, 20),
    key("hvr.", word, 20),
    key("glsa_", word, 20),
    key("tskey-", word, 16),
    key("AGE-SECRET-KEY-1", alnum, 20),
    // Payment, mail, chat, shops.
    key("sk_live_", word, 10),
    key("sk_test_", word, 10),
    key("pk_live_", word, 10),
    key("pk_test_", word, 10),
    key("rk_live_", word, 10),
    key("rk_test_", word, 10),
    key("whsec_", path, 20),
    key("sq0atp-", word, 16),
    key("sq0csp-", word, 16),
    key("SG.", dotted, 30),
    key("key-", hex, 32),
    key("xoxa-", word, 10),
    key("xoxb-", word, 10),
    key("xoxe-", word, 10),
    key("xoxe.", dotted, 10),
    key("xoxo-", word, 10),
    key("xoxp-", word, 10),
    key("xoxr-", word, 10),
    key("xoxs-", word, 10),
    key("xapp-", word, 10),
    key("hooks.slack.com/services/", path, 8),
    key("discord.com/api/webhooks/", path, 8),
    key("shpat_", alnum, 20),
    key("shpca_", alnum, 20),
    key("shppa_", alnum, 20),
    key("shpss_", alnum, 20),
    key("lin_api_", alnum, 20),
    key("ntn_", alnum, 20),
    key("figd_", word, 20),
    key("PMAK-", word, 20),
];

/// Other things that [`starts_at`] knows, by their first two letters; in every case where `true`.
const OTHER_STARTS: &[(&[u8; 2], bool)] = &[(b"sk", true), (b"be", true), (b"ba", true), (b"ey", false), (b"ew", false)];

/// For each first byte, a bit for each second byte with which something secret can start.
static STARTS: [u128; 128] = {
    let mut starts = [0; 128];
    let mut at = 0;
    while at < KEYS.len() {
        starts[KEYS[at].prefix[0] as usize] |= 1 << KEYS[at].prefix[1];
        at += 1;
    }
    at = 0;
    while at < OTHER_STARTS.len() {
        let ([first, second], any_case) = OTHER_STARTS[at];
        starts[*first as usize] |= 1 << *second;
        if any_case {
            let both = 1 << *second | 1 << second.to_ascii_uppercase();
            starts[*first as usize] |= both;
            starts[first.to_ascii_uppercase() as usize] |= both;
        }
        at += 1;
    }
    starts
};

/// Whether something here hits the text.
pub(super) fn found(text: &[u8]) -> bool {
    memmem::find(text, b"-----BEGIN").is_some()
        || memmem::find(text, b"PRIVATE KEY-----").is_some()
        || memchr_iter(b'@', text).any(|at| is_mail(text, at))
        || memchr_iter(b':', text).any(|at| is_url(text, at) || is_bot_token(text, at))
        || word_starts(text).any(|at| starts_at(&text[at..]))
}

/// Where words start: in front of them is no letter and no digit. `_` is not part of a word here, so that `user_ghp_…` has a key.
pub(super) fn word_starts(text: &[u8]) -> impl Iterator<Item = usize> {
    let mut before = false;
    text.iter().enumerate().filter_map(move |(at, byte)| {
        let inside = std::mem::replace(&mut before, byte.is_ascii_alphanumeric());
        (!inside && byte.is_ascii_alphanumeric()).then_some(at)
    })
}

/// Whether a secret starts with this word.
#[inline]
pub(super) fn starts_at(text: &[u8]) -> bool {
    let [first, second, ..] = text else { return false };
    let seconds = STARTS.get(usize::from(*first)).copied().unwrap_or(0);
    second.is_ascii() && seconds >> second & 1 == 1 && is_start(text)
}

fn is_start(text: &[u8]) -> bool {
    // Most words that come here only start like `basic`, or are a public prefix: the list is for the others.
    match text {
        [b's' | b'S', b'k' | b'K', b'-', ..] => is_sk(text),
        [b'b' | b'B', b'a' | b'A' | b'e' | b'E', ..] => is_basic(text) || is_bearer(text),
        [b'e', b'y' | b'w', ..] => is_jwt(text),
        _ => KEYS.iter().any(|key| {
            let tail = text.strip_prefix(key.prefix);
            tail.is_some_and(|tail| run(tail, key.tail, key.min_tail_bytes) == key.min_tail_bytes)
        }),
    }
}

/// How many bytes at the start are so; stops at `most`.
fn run(text: &[u8], is_so: impl Fn(u8) -> bool, most: usize) -> usize {
    text.iter().take(most).take_while(|byte| is_so(**byte)).count()
}

fn strip_any_case<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (head, tail) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(tail)
}

/// An API key of the pooler, with more than its public prefix, or any other key that starts with `sk-`.
fn is_sk(text: &[u8]) -> bool {
    const PUBLIC_DIGITS: usize = 12;
    const MIN_TAIL_BYTES: usize = 12;
    if let Some(tail) = strip_any_case(text, b"sk-cxp-")
        && run(tail, hex, PUBLIC_DIGITS) == PUBLIC_DIGITS
    {
        // The public prefix may stand in a sentence. Anything that is glued to it is the secret part.
        return !matches!(
            tail.get(PUBLIC_DIGITS),
            None | Some(b' ' | b'\t' | b'\n' | b'\r' | b')' | b']' | b',' | b';' | b'"' | b'\'')
        );
    }
    text.strip_prefix(b"sk-").is_some_and(|tail| run(tail, word, MIN_TAIL_BYTES) == MIN_TAIL_BYTES)
}

fn is_bearer(text: &[u8]) -> bool {
    const MIN_TOKEN_BYTES: usize = 8;
    strip_any_case(text, b"bearer").is_some_and(|tail| {
        let gap = run(tail, |byte| byte.is_ascii_whitespace() || matches!(byte, b':' | b'='), usize::MAX);
        gap > 0 && run(&tail[gap..], |byte| !byte.is_ascii_whitespace(), MIN_TOKEN_BYTES) == MIN_TOKEN_BYTES
    })
}

/// A name and a password in base64, padded or not.
fn is_basic(text: &[u8]) -> bool {
    const MIN_DIGITS: usize = 8;
    const MAX_DIGITS: usize = 512;
    let Some(tail) = strip_any_case(text, b"basic") else { return false };
    let gap = run(tail, |byte| byte.is_ascii_whitespace() || matches!(byte, b':' | b'='), usize::MAX);
    let credentials = &tail[gap..];
    let digits = run(credentials, |byte| base64_value(byte).is_some(), MAX_DIGITS);
    if gap == 0 || digits < MIN_DIGITS {
        return false;
    }
    let decoded = decoded(&credentials[..digits]);
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

/// An `@` with something on both sides of it.
fn is_mail(text: &[u8], at: usize) -> bool {
    let part = |byte: u8| byte.is_ascii_alphanumeric() || !byte.is_ascii();
    let before =
        at.checked_sub(1).is_some_and(|at| part(text[at]) || matches!(text[at], b'.' | b'_' | b'%' | b'+' | b'-' | b'"'));
    before && text.get(at + 1).is_some_and(|byte| part(*byte) || *byte == b'[')
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

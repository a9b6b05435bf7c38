//! The second line: texts that a rule allows and that still look like a credential, an address or a card number. A hit drops the text; it is
//! never masked, and never shortened into something new.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use regex::RegexSet;

/// Shapes that a regular expression knows. Ours first, then what other vendors publish about the form of their keys. What may stand before a key is
/// spelt out, because a word boundary counts `_` as a letter, and because the expression's fast engine has none for texts beyond ASCII, which
/// every composed text is.
static SHAPES: LazyLock<Option<RegexSet>> = LazyLock::new(|| {
    RegexSet::new([
        // A whole API key of the pooler: the public prefix, and more.
        r"sk-cxp-[0-9a-f]{12}-",
        // Any other key that starts with sk-; the pooler's public prefix alone is not one.
        r"(?:^|[^A-Za-z0-9])sk-(?:[a-bd-zA-Z0-9_]|c(?:[a-wyzA-Z0-9_]|x(?:[a-oq-zA-Z0-9_]|p[^-])))[A-Za-z0-9_-]{12,}",
        r"(?i)(?:^|[^A-Za-z0-9])bearer[\s:]+\S{8,}",
        r"(?i)(?:^|[^A-Za-z0-9])basic\s+[A-Za-z0-9+/]{8,}={1,2}",
        r"(?:^|[^A-Za-z0-9])eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}",
        r"-----BEGIN",
        r"(?:^|[^A-Za-z0-9])(?:AKIA|ASIA)[0-9A-Z]{16}",
        r"(?:^|[^A-Za-z0-9])gh[pousr]_[A-Za-z0-9]{20,}",
        r"(?:^|[^A-Za-z0-9])github_pat_[A-Za-z0-9_]{20,}",
        r"(?:^|[^A-Za-z0-9])glpat-[A-Za-z0-9_-]{16,}",
        r"(?:^|[^A-Za-z0-9])xox[abeoprs]-[A-Za-z0-9-]{10,}",
        r"(?:^|[^A-Za-z0-9])AIza[0-9A-Za-z_-]{30,}",
        r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+",
        r"(?i)https?://",
    ])
    .ok()
});

/// Shortest unbroken run that counts as a token when it is mixed, in characters.
const LONG_RUN: usize = 40;

/// Whether a text looks like something that must not get through.
///
/// ```
/// assert!(sanitizer::looks_secret("seat 192.0.2.7"));
/// assert!(sanitizer::looks_secret("sk-cxp-1b158839f8aa-abc"));
/// assert!(!sanitizer::looks_secret("sk-cxp-1b158839f8aa"));
/// assert!(!sanitizer::looks_secret("Aurora seat 1"));
/// ```
#[must_use]
pub fn looks_secret(text: &str) -> bool {
    // Words are looked at one by one where an id must not be taken for a number: a row id beside another one, in a search text.
    SHAPES.as_ref().is_none_or(|shapes| shapes.is_match(text))
        || text.split([' ', '(', ')', ',', '/', '#']).any(|word| is_address(word) || (!is_uuid(word) && is_long_token(word)))
        || has_card_number(text)
}

fn is_uuid(word: &str) -> bool {
    word.len() == 36
        && word.bytes().enumerate().all(|(at, b)| if [8, 13, 18, 23].contains(&at) { b == b'-' } else { b.is_ascii_hexdigit() })
}

/// An IPv4 or IPv6 address, alone or with a port.
fn is_address(word: &str) -> bool {
    let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != ':');
    let v4 = |w: &str| w.parse::<Ipv4Addr>().is_ok();
    let dotted = word.split(|c: char| !(c.is_ascii_digit() || c == '.')).any(|part| v4(part.trim_matches('.')));
    dotted || (word.matches(':').count() >= 2 && word.trim_matches('.').parse::<Ipv6Addr>().is_ok())
}

/// A long run without a break that mixes letters with digits or cases, as keys do and names do not.
fn is_long_token(word: &str) -> bool {
    word.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '+' || c == '=')).any(|run| {
        run.len() >= LONG_RUN
            && run.bytes().any(|b| b.is_ascii_alphabetic())
            && run.bytes().any(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
    })
}

/// 13 to 19 digits, single spaces or dashes between them, with a valid Luhn checksum, that are not a piece of a UUID.
fn has_card_number(text: &str) -> bool {
    let mut digits: Vec<u8> = Vec::new();
    let mut previous_separator = false;
    // A word that is a UUID is no number, however many of its digits are decimal.
    let words: Vec<&str> = text.split(' ').filter(|word| !is_uuid(word)).collect();
    for byte in words.join(" ").bytes().chain([b'.']) {
        match byte {
            b'0'..=b'9' => {
                digits.push(byte - b'0');
                previous_separator = false;
            }
            b' ' | b'-' if !digits.is_empty() && !previous_separator => previous_separator = true,
            _ => {
                if (13..=19).contains(&digits.len()) && luhn(&digits) {
                    return true;
                }
                digits.clear();
                previous_separator = false;
            }
        }
    }
    false
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, u32::from(*digit)) {
            (0, d) => d,
            (_, d) if d > 4 => d * 2 - 9,
            (_, d) => d * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: the shapes compile; a set that did not would make everything look secret.
    #[test]
    fn shapes_compile() {
        assert!(SHAPES.is_some());
    }

    /// Guarantees: each family of secrets is seen. Card number: a published test number; JWT: the header of RFC 7519's example.
    #[test]
    fn secrets_are_seen() {
        for text in [
            "sk-proj-abcdefghijklmnop1234",
            "sk-cxp-1b158839f8aa-x",
            "Bearer abcdefgh1234",
            "Basic dXNlcjpwYXNzd29yZA==",
            "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UifQ.sig",
            "AKIAIOSFODNN7EXAMPLE",
            "x_AKIAIOSFODNN7EXAMPLE",
            "user_sk-proj-abcdefghijklmnop1234",
            "token_ghp_0123456789abcdefghijABCDEFGHIJ",
            "Bearer:abcdefgh12345678",
            "ghp_0123456789abcdefghijABCDEFGHIJ",
            "alice@example.com",
            "192.0.2.7",
            "192.0.2.7:8080",
            "seat (2001:db8::1)",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        ] {
            assert!(looks_secret(text), "{text}");
        }
    }

    /// Guarantees: what the request log is made of is not taken for a secret.
    #[test]
    fn names_are_not_secrets() {
        for text in [
            "sk-cxp-1b158839f8aa",
            "0b5a2f0e-6c0f-4f3a-9a53-0c7f4f2f8f11 33333333-4444-4111-8111-111111111111",
            "0b5a2f0e6c0f4f3a9a530c7f4f2f8f11",
            "stale_websocket_turn_claim_recovered",
            "gpt-5.4-codex-2026-08-01",
            "0.142.0",
            "Team 7 (eu) 2026-08-24 06:00:00 UTC",
            "/backend-api/codex/responses ← /v1/responses · 8.4s",
            "Basic accounts",
        ] {
            assert!(!looks_secret(text), "{text}");
        }
    }
}

//! E-mail addresses, also those that are spelled out so that programs do not see them: `alice at example dot com`, `alice(at)example.com`.

use memchr::memchr_iter;

/// Ends of names of hosts that are taken for such behind a mere word `at`; `meet at St.Moritz` and `failed_at_index.js` have none.
const ENDS: &[&str] = &[
    "com", "org", "net", "edu", "gov", "info", "app", "dev", "biz", "cloud", "online", "email", "test", "example", "invalid",
    "local", "internal", "ai", "at", "au", "be", "br", "ca", "ch", "cn", "co", "cz", "de", "dk", "es", "eu", "fi", "fr", "ie",
    "in", "io", "it", "jp", "kr", "me", "mx", "nl", "no", "nz", "pl", "pt", "ru", "se", "tr", "ua", "uk", "us", "za",
];
/// Longest end of a name of a host that is looked for.
const MAX_END_BYTES: usize = 24;
/// The shortest that is spelled out: `a at b.de`.
pub(super) const SHORTEST_BYTES: usize = 9;
/// How far the two parts of an address are looked for around its sign.
const MAX_GAP_BYTES: usize = 4;
const MAX_HOST_BYTES: usize = 128;

/// Whether an address is in the text.
pub(super) fn found(text: &[u8]) -> bool {
    memchr_iter(b'@', text).any(|at| is_mail(text, at) || is_spelled_out(text, at, at + 1, true))
        || ats(text).any(|(at, is_marked)| is_spelled_out(text, at, at + 2, is_marked))
}

/// An `@` with something on both sides of it.
fn is_mail(text: &[u8], at: usize) -> bool {
    let part = |byte: u8| byte.is_ascii_alphanumeric() || !byte.is_ascii();
    let before =
        at.checked_sub(1).is_some_and(|at| part(text[at]) || matches!(text[at], b'.' | b'_' | b'%' | b'+' | b'-' | b'"'));
    before && text.get(at + 1).is_some_and(|byte| part(*byte) || *byte == b'[')
}

/// Where the word `at` stands, and whether in brackets.
pub(super) fn ats(text: &[u8]) -> impl Iterator<Item = (usize, bool)> {
    text.windows(4).enumerate().filter_map(|(before, window)| {
        let [left, a, t, right] = window else { return None };
        let is_at = a.eq_ignore_ascii_case(&b'a') && t.eq_ignore_ascii_case(&b't');
        (is_at && is_around(*left) && is_around(*right)).then(|| (before + 1, is_bracket(*left) && is_bracket(*right)))
    })
}

fn is_bracket(byte: u8) -> bool {
    matches!(byte, b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'<' | b'>')
}

/// What stands around the words `at` and `dot`.
fn is_around(byte: u8) -> bool {
    is_bracket(byte) || matches!(byte, b' ' | b'-' | b'_' | b'.' | b'/' | b'*' | b'|' | b':' | b'+' | b'&' | b'\'' | b'#')
}

/// A name, the sign from `start` to `end`, the name of a host, a dot in signs or letters, and its end.
fn is_spelled_out(text: &[u8], start: usize, end: usize, is_marked: bool) -> bool {
    let has_name =
        text[..start].iter().rev().take(MAX_GAP_BYTES).find(|byte| !is_around(**byte)).is_some_and(u8::is_ascii_alphanumeric);
    let host = behind(&text[end..text.len().min(end + MAX_HOST_BYTES)], is_around);
    let (label, rest) = split(host, |byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    // `example-dot-com` is one label, and the dot is in it.
    let dashed = label.windows(5).position(|window| {
        let [left, d, o, t, right] = window else { return false };
        is_around(*left) && [*d, *o, *t].eq_ignore_ascii_case(b"dot") && is_around(*right)
    });
    has_name
        && match dashed {
            Some(at) => at > 0 && is_end(&label[at + 5..], true),
            None => {
                !label.is_empty()
                    && match rest {
                        [b'.', end @ ..] => is_end(end, is_marked),
                        _ => spelled_dot(rest).is_some_and(|end| is_end(end, true)),
                    }
            }
        }
}

/// What is behind a dot that is spelled out, or stands in brackets or among blanks.
fn spelled_dot(text: &[u8]) -> Option<&[u8]> {
    let inner = behind(text, |byte| is_bracket(byte) || byte == b' ');
    if inner.len() == text.len() {
        return None;
    }
    let tail = match inner {
        [b'.', tail @ ..] => tail,
        [d, o, t, tail @ ..]
            if [*d, *o, *t].eq_ignore_ascii_case(b"dot") && tail.first().is_some_and(|byte| is_around(*byte)) =>
        {
            tail
        }
        _ => return None,
    };
    Some(behind(tail, is_around))
}

/// Whether one of the names between dots can be the last one of a host.
fn is_end(text: &[u8], is_marked: bool) -> bool {
    let name = split(text, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')).0;
    name.split(|byte| *byte == b'.').any(|label| {
        (2..=MAX_END_BYTES).contains(&label.len())
            && label.iter().all(u8::is_ascii_alphabetic)
            && (is_marked || ENDS.iter().any(|end| label.eq_ignore_ascii_case(end.as_bytes())))
    })
}

fn behind(text: &[u8], is_so: impl Fn(u8) -> bool) -> &[u8] {
    split(text, is_so).1
}

/// The bytes at the start that are so, and the rest.
fn split(text: &[u8], is_so: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|byte| !is_so(*byte)).unwrap_or(text.len()))
}

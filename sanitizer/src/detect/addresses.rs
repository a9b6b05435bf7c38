//! IP addresses, wherever they stand and however they are written.

/// Numbers in an IPv4 address.
const V4_GROUPS: usize = 4;
/// Groups in an IPv6 address that is written in full.
const V6_GROUPS: usize = 8;
/// Most digits of one of them.
const MAX_V4_DIGITS: usize = 3;
const MAX_V6_DIGITS: usize = 4;

/// Digits of a whole IPv4 address in one number.
const MAX_WHOLE_DIGITS: usize = 10;
const WHOLE_HEX_DIGITS: usize = 8;

/// Whether an address is in the text, also with blanks around what joins its numbers, or that in brackets or letters.
pub(super) fn found(text: &[u8]) -> bool {
    is_in(text) || joined(text).is_some_and(|text| is_in(&text))
}

fn is_in(text: &[u8]) -> bool {
    has_v4(text) || has_v4_in_pieces(text) || has_whole_v4(text) || has_v6(text)
}

/// The text without blanks and brackets around dots and colons, and with dots for the word, also between dashes; `None` if that changes nothing.
fn joined(text: &[u8]) -> Option<Vec<u8>> {
    let around = |byte: u8| matches!(byte, b' ' | b'(' | b')' | b'[' | b']' | b'{' | b'}');
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        if let [b'-' | b'_', d, o, t, b'-' | b'_', ..] = &text[at..]
            && [*d, *o, *t].eq_ignore_ascii_case(b"dot")
        {
            out.push(b'.');
            at += "-dot-".len();
            continue;
        }
        if !around(*byte) && !matches!(byte, b'.' | b':') {
            out.push(*byte);
            at += 1;
            continue;
        }
        // A stretch of these with one joint in it.
        let start = at;
        at += text[at..].iter().take_while(|byte| around(**byte)).count();
        let joint = match &text[at..] {
            [joint @ (b'.' | b':'), ..] => Some((*joint, 1)),
            [d, o, t, after, ..] if [*d, *o, *t].eq_ignore_ascii_case(b"dot") && around(*after) && at > start => Some((b'.', 3)),
            _ => None,
        };
        let Some((joint, length)) = joint else {
            out.extend_from_slice(&text[start..at]);
            continue;
        };
        out.push(joint);
        at += length;
        at += text[at..].iter().take_while(|byte| around(**byte)).count();
    }
    (out != text).then_some(out)
}

/// An address' number; zeros may be in front of it.
fn octet(group: &[u8]) -> Option<u16> {
    if group.is_empty() || group.len() > MAX_V4_DIGITS || !group.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(group.iter().fold(0, |value, digit| value * 10 + u16::from(digit - b'0'))).filter(|value| *value <= 255)
}

/// The same in the base that its start says, as programs read it: `0x` for hexadecimal, `0` for octal digits.
fn is_octet_in_any_base(group: &[u8]) -> bool {
    const MAX_DIGITS: usize = 6;
    let (digits, radix) = match group {
        [b'0', b'x' | b'X', digits @ ..] => (digits, 16),
        [b'0', digits @ ..] if !digits.is_empty() => (digits, 8),
        digits => (digits, 10),
    };
    digits.len() <= MAX_DIGITS
        && digits.iter().all(u8::is_ascii_hexdigit)
        && std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| u32::from_str_radix(digits, radix).ok())
            .is_some_and(|value| value <= 255)
}

/// Four numbers in a row with dots between them; more of them around it do not make it a version.
fn has_v4(text: &[u8]) -> bool {
    let has = |is_so: fn(u8) -> bool, is_octet: fn(&[u8]) -> bool| {
        text.split(|byte| !is_so(*byte) && *byte != b'.').any(|run| {
            let mut in_a_row = 0;
            run.split(|byte| *byte == b'.').any(|group| {
                in_a_row = if is_octet(group) { in_a_row + 1 } else { 0 };
                in_a_row == V4_GROUPS
            })
        })
    };
    has(|byte| byte.is_ascii_digit(), |group| octet(group).is_some())
        || has(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'x' | b'X'), is_octet_in_any_base)
}

/// A whole address as one number: eight hexadecimal digits behind `0x`, or any number behind `ip`. Other numbers can be anything.
fn has_whole_v4(text: &[u8]) -> bool {
    memchr::memchr2_iter(b'x', b'X', text).any(|at| {
        let digits = text[at + 1..].iter().take(WHOLE_HEX_DIGITS + 1).take_while(|byte| byte.is_ascii_alphanumeric());
        at > 0
            && text[at - 1] == b'0'
            && !glued(at.checked_sub(2).and_then(|before| text.get(before)))
            && digits.clone().count() == WHOLE_HEX_DIGITS
            && digits.clone().all(u8::is_ascii_hexdigit)
    }) || memchr::memchr2_iter(b'p', b'P', text).any(|at| {
        let is_named =
            at > 0 && text[at - 1].eq_ignore_ascii_case(&b'i') && !glued(at.checked_sub(2).and_then(|before| text.get(before)));
        is_named && {
            let rest = &text[at + 1..];
            let gap = rest.iter().take(3).take_while(|byte| matches!(byte, b' ' | b':' | b'=' | b'-' | b'_' | b'(')).count();
            let digits = rest[gap..].iter().take(MAX_WHOLE_DIGITS + 1).take_while(|byte| byte.is_ascii_alphanumeric()).count();
            let number = std::str::from_utf8(&rest[gap..gap + digits]).ok().and_then(|digits| digits.parse::<u32>().ok());
            // Smaller numbers are of a network that nobody has.
            gap > 0 && number.is_some_and(|number| number >= 1 << 24)
        }
    })
}

/// Exactly four numbers with the same joint between them, such as dashes in names of hosts. A date, a time or a version can look so, too: one of the
/// numbers has three digits, the first one is that of a private network, or `ip` stands before them; and there are no zeros in front, or all four have
/// three digits.
fn has_v4_in_pieces(text: &[u8]) -> bool {
    b"-_ :/+#&'".iter().copied().any(|joint| {
        runs(text, move |byte| byte.is_ascii_digit() || byte == joint).any(|(before, run, after)| {
            let mut groups: Vec<&[u8]> = run.split(|byte| *byte == joint).collect();
            let is_ip = |before: &[u8]| match before {
                [at @ .., i, p] => [*i, *p].eq_ignore_ascii_case(b"ip") && !glued(at.last()),
                _ => false,
            };
            let glued_ip = !groups[0].is_empty() && is_ip(before);
            // A group that is glued to a letter is another word's; an empty one is a joint at an end.
            if !glued_ip && (glued(before.last()) || groups[0].is_empty()) {
                groups.remove(0);
            }
            if glued(after.first()) || groups.last().is_some_and(|last| last.is_empty()) {
                groups.pop();
            }
            let named = glued_ip || (run.first() == Some(&joint) && before.to_ascii_lowercase().ends_with(b"ip"));
            groups.len() == V4_GROUPS && is_v4_in_pieces(&groups, named, matches!(joint, b'-' | b'_' | b' '))
        })
    })
}

/// `as_in_hosts`: joined as in names of hosts, so that a private network is one. Numbers from 10 on with colons between them can be a time.
fn is_v4_in_pieces(groups: &[&[u8]], named: bool, as_in_hosts: bool) -> bool {
    const PRIVATE: u16 = 10;
    const LONG: u16 = 100;
    let padded = groups.iter().all(|group| group.len() == MAX_V4_DIGITS);
    let octets: Option<Vec<u16>> =
        groups.iter().map(|group| octet(group).filter(|_| padded || group.len() == 1 || group[0] != b'0')).collect();
    octets.is_some_and(|octets| named || (as_in_hosts && octets[0] == PRIVATE) || octets.iter().any(|octet| *octet >= LONG))
}

fn glued(neighbour: Option<&u8>) -> bool {
    neighbour.is_some_and(u8::is_ascii_alphanumeric)
}

/// The stretches of bytes that are so, each with three bytes before it at most, and with what comes after it.
fn runs(text: &[u8], is_so: impl Fn(u8) -> bool + Copy) -> impl Iterator<Item = (&[u8], &[u8], &[u8])> {
    let mut start = 0;
    text.split(move |byte| !is_so(*byte)).filter_map(move |run| {
        let at = start;
        start += run.len() + 1;
        (!run.is_empty()).then(|| (&text[at.saturating_sub(3)..at], run, &text[at + run.len()..]))
    })
}

/// Eight groups of hexadecimal digits, or fewer with two colons in the place of zeros.
fn has_v6(text: &[u8]) -> bool {
    runs(text, |byte| byte.is_ascii_hexdigit() || byte == b':')
        .filter(|(_, run, _)| memchr::memchr(b':', run).is_some())
        .any(|(before, run, after)| is_v6(run, glued(before.last()), glued(after.first())))
}

/// `glued_before` and `glued_after`: the run is the end, or the start, of a longer word, whose group does not count.
fn is_v6(run: &[u8], glued_before: bool, glued_after: bool) -> bool {
    let mut groups: Vec<&[u8]> = run.split(|byte| *byte == b':').collect();
    if glued_before {
        groups.remove(0);
    }
    if glued_after {
        groups.pop();
    }
    let is_group = |group: &&[u8]| !group.is_empty() && group.len() <= MAX_V6_DIGITS;
    let mut in_a_row = 0;
    let full = groups.iter().any(|group| {
        in_a_row = if is_group(group) { in_a_row + 1 } else { 0 };
        in_a_row == V6_GROUPS
    });
    // An empty group between others stands for two colons; at an end of the run it takes two of them.
    let last = groups.len().saturating_sub(1);
    full || groups.iter().enumerate().any(|(at, group)| {
        group.is_empty()
            && match at {
                0 => groups.get(1).is_some_and(|next| next.is_empty()) && groups.get(2).is_some_and(is_group),
                at if at == last => groups[at - 1].is_empty() && at >= 2 && is_group(&groups[at - 2]),
                at => is_group(&groups[at - 1]) || is_group(&groups[at + 1]),
            }
    })
}

//! IP addresses, wherever they stand and however they are written.

/// Numbers in an IPv4 address.
const V4_GROUPS: usize = 4;
/// Groups in an IPv6 address that is written in full.
const V6_GROUPS: usize = 8;
/// Most digits of one of them.
const MAX_V4_DIGITS: usize = 3;
const MAX_V6_DIGITS: usize = 4;

/// Whether an address is in the text.
pub(super) fn found(text: &[u8]) -> bool {
    has_v4(text) || has_dashed_v4(text) || has_v6(text)
}

/// An address' number; zeros may be in front of it.
fn octet(group: &[u8]) -> Option<u16> {
    if group.is_empty() || group.len() > MAX_V4_DIGITS || !group.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(group.iter().fold(0, |value, digit| value * 10 + u16::from(digit - b'0'))).filter(|value| *value <= 255)
}

/// Four numbers in a row with dots between them; more of them around it do not make it a version.
fn has_v4(text: &[u8]) -> bool {
    text.split(|byte| !byte.is_ascii_digit() && *byte != b'.').any(|run| {
        let mut in_a_row = 0;
        run.split(|byte| *byte == b'.').any(|group| {
            in_a_row = if octet(group).is_some() { in_a_row + 1 } else { 0 };
            in_a_row == V4_GROUPS
        })
    })
}

/// Exactly four numbers with dashes or underscores between them, as in names of hosts. A date or a version can look so, too: one of the
/// numbers has three digits, the first one is that of a private network, or `ip` stands before them, and there are no zeros in front.
fn has_dashed_v4(text: &[u8]) -> bool {
    [b'-', b'_'].into_iter().any(|joint| {
        runs(text, move |byte| byte.is_ascii_digit() || byte == joint).any(|(before, run, after)| {
            let mut groups: Vec<&[u8]> = run.split(|byte| *byte == joint).collect();
            // A group that is glued to a letter is another word's; an empty one is a joint at an end.
            if glued(before.last()) || groups[0].is_empty() {
                groups.remove(0);
            }
            if glued(after.first()) || groups.last().is_some_and(|last| last.is_empty()) {
                groups.pop();
            }
            let named = run.first() == Some(&joint) && before.to_ascii_lowercase().ends_with(b"ip");
            groups.len() == V4_GROUPS && is_dashed_v4(&groups, named)
        })
    })
}

fn is_dashed_v4(groups: &[&[u8]], named: bool) -> bool {
    const PRIVATE: u16 = 10;
    const LONG: u16 = 100;
    let octets: Option<Vec<u16>> =
        groups.iter().map(|group| octet(group).filter(|_| group.len() == 1 || group[0] != b'0')).collect();
    octets.is_some_and(|octets| named || octets[0] == PRIVATE || octets.iter().any(|octet| *octet >= LONG))
}

fn glued(neighbour: Option<&u8>) -> bool {
    neighbour.is_some_and(u8::is_ascii_alphanumeric)
}

/// The stretches of bytes that are so, each with two bytes before it at most, and with what comes after it.
fn runs(text: &[u8], is_so: impl Fn(u8) -> bool + Copy) -> impl Iterator<Item = (&[u8], &[u8], &[u8])> {
    let mut start = 0;
    text.split(move |byte| !is_so(*byte)).filter_map(move |run| {
        let at = start;
        start += run.len() + 1;
        (!run.is_empty()).then(|| (&text[at.saturating_sub(2)..at], run, &text[at + run.len()..]))
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

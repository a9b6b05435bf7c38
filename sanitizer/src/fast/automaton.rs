//! Anchored patterns without a search engine: every one becomes a table of states that is stepped through byte by byte; and for the forms
//! that most have, one class of characters or a class for each place, a quicker look is read off the pattern's own syntax tree.

use std::collections::BTreeSet;

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::util::primitives::StateID;
use regex_automata::{Anchored, Input};
use regex_syntax::hir::{Class, Hir, HirKind, Look};

use super::secret;

/// Bits of the classes in the table of [`Glance::Words`].
const HEAD: u8 = 1;
const TAIL: u8 = 2;
/// How many classes a table has bits for.
const MAX_CLASSES: usize = 8;
/// How many texts are few enough to be listed.
const MAX_ALL: usize = 512;
/// The longest text of fixed length that is matched byte by byte.
const MAX_POSITIONS: usize = 64;

/// An anchored pattern.
pub(super) struct Pattern {
    /// Says yes to most texts that match, and to no other; quickly.
    glance: Option<Glance>,
    /// Says yes to those that match. Absent where a glance is enough.
    states: Option<States>,
}

/// A table of states, and the first of them.
struct States {
    table: Box<dense::DFA<Vec<u32>>>,
    start: StateID,
}

enum Glance {
    /// Words with a separator between them. A word is one byte of a class, then any number of another.
    Words { classes: Box<[u8; 256]>, separator: u8, max_words: usize },
    /// A class for each byte.
    Positions { classes: Box<[u8; 256]>, positions: Vec<u8> },
    /// A UUID in lower case.
    Uuid,
}

/// The ASCII characters of a class.
type Ascii = [bool; 128];

impl Pattern {
    /// `None` for what is no pattern; the reference then decides.
    pub(super) fn new(pattern: &str) -> Option<Self> {
        let tree = regex_syntax::parse(pattern).ok()?;
        between_anchors(&tree)?;
        let glance = words(&tree).or_else(|| positions(&tree));
        let is_enough = glance.is_some() && is_ascii(&tree);
        let states = if is_enough {
            None
        } else {
            let config = dense::Config::new().start_kind(StartKind::Anchored);
            let table = Box::new(dense::Builder::new().configure(config).build(pattern).ok()?);
            let start = table.start_state_forward(&Input::new(b"").anchored(Anchored::Yes)).ok()?;
            Some(States { table, start })
        };
        Some(Self { glance, states })
    }

    /// Whether the whole text is a match.
    #[inline]
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        self.glance.as_ref().is_some_and(|glance| glance.matches(text))
            || self.states.as_ref().is_some_and(|states| states.match_to_the_end(text))
    }

    /// How many UUIDs with spaces between it takes, whatever their digits.
    pub(super) fn max_uuids(&self) -> usize {
        match &self.glance {
            Some(Glance::Uuid) => 1,
            Some(Glance::Words { classes, separator, max_words }) => {
                let takes = |byte: u8, bits: u8| classes[usize::from(byte)] & bits == bits;
                let takes_uuids = b"0123456789abcdef".iter().all(|digit| takes(*digit, HEAD | TAIL)) && takes(b'-', TAIL);
                match takes_uuids {
                    true if *separator == b' ' => *max_words,
                    true => 1,
                    false => 0,
                }
            }
            Some(Glance::Positions { .. }) => 0,
            None => self.states.as_ref().map_or(0, States::max_uuids),
        }
    }

    /// Whether all that it matches are UUIDs.
    #[inline]
    pub(super) fn is_uuid(&self) -> bool {
        matches!(self.glance, Some(Glance::Uuid))
    }
}

impl States {
    /// How many UUIDs with spaces between it takes, whatever their digits; a few at most.
    fn max_uuids(&self) -> usize {
        const ENOUGH: usize = 4;
        let step = |from: &BTreeSet<StateID>, bytes: &[u8]| -> BTreeSet<StateID> {
            from.iter().flat_map(|state| bytes.iter().map(|byte| self.table.next_state(*state, *byte))).collect()
        };
        let mut reached = BTreeSet::from([self.start]);
        for count in 0..ENOUGH {
            // Every state in which a text of UUIDs can be.
            for at in 0..secret::UUID_BYTES {
                reached = step(&reached, if [8, 13, 18, 23].contains(&at) { b"-" } else { b"0123456789abcdef" });
            }
            if !reached.iter().all(|state| self.table.is_match_state(self.table.next_eoi_state(*state))) {
                return count;
            }
            reached = step(&reached, b" ");
        }
        ENOUGH
    }

    /// Every pattern is anchored at both ends, so that a match is known after the last byte and not before.
    #[inline]
    fn match_to_the_end(&self, text: &[u8]) -> bool {
        let mut state = self.start;
        for byte in text {
            state = self.table.next_state(state, *byte);
            if self.table.is_dead_state(state) {
                return false;
            }
        }
        self.table.is_match_state(self.table.next_eoi_state(state))
    }
}

impl Glance {
    #[inline]
    fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Words { classes, max_words: 1, .. } => is_word(classes, text),
            Self::Words { classes, separator, max_words } => {
                let mut words = text.split(|byte| byte == separator);
                words.by_ref().take(*max_words).all(|word| is_word(classes, word)) && words.next().is_none()
            }
            Self::Uuid => <&[u8; 36]>::try_from(text).is_ok_and(secret::is_lower_uuid),
            Self::Positions { classes, positions } => {
                let fits = |(byte, class): (&u8, &u8)| classes[usize::from(*byte)] & class != 0;
                text.len() == positions.len() && text.iter().zip(positions).fold(true, |all, pair| all & fits(pair))
            }
        }
    }
}

/// All texts that match, where these are few and are put together of fixed parts.
pub(super) fn all_matches(pattern: &str) -> Option<Vec<String>> {
    let tree = regex_syntax::parse(pattern).ok()?;
    between_anchors(&tree)?.iter().try_fold(vec![String::new()], followed)
}

/// Each of the starts, followed by each of the texts that match.
fn followed(starts: Vec<String>, tree: &Hir) -> Option<Vec<String>> {
    let all = match tree.kind() {
        HirKind::Empty => starts,
        HirKind::Literal(literal) => {
            let text = std::str::from_utf8(&literal.0).ok()?;
            starts.into_iter().map(|start| start + text).collect()
        }
        HirKind::Concat(parts) => parts.iter().try_fold(starts, followed)?,
        HirKind::Alternation(parts) => {
            let each = parts.iter().map(|part| followed(starts.clone(), part)).collect::<Option<Vec<_>>>()?;
            each.concat()
        }
        _ => return None,
    };
    (all.len() <= MAX_ALL).then_some(all)
}

/// What stands between the start and the end of the text.
fn between_anchors(tree: &Hir) -> Option<&[Hir]> {
    let HirKind::Concat(parts) = tree.kind() else { return None };
    let [start, parts @ .., end] = parts.as_slice() else { return None };
    (*start.kind() == HirKind::Look(Look::Start) && *end.kind() == HirKind::Look(Look::End)).then_some(parts)
}

#[inline]
fn is_word(classes: &[u8; 256], word: &[u8]) -> bool {
    let Some((head, tail)) = word.split_first() else { return false };
    let common = |bytes: &[u8]| bytes.iter().fold(TAIL, |common, byte| common & classes[usize::from(*byte)]);
    // Eight at a time, so that the loop costs less than what is in it.
    let chunks = tail.chunks_exact(8);
    let rest = common(chunks.remainder());
    classes[usize::from(*head)] & HEAD != 0 && chunks.fold(rest, |all, chunk| all & common(chunk)) != 0
}

fn words(tree: &Hir) -> Option<Glance> {
    let (first, separator, max_words) = match between_anchors(tree)? {
        first @ [_, _] => (first, 0, 1),
        [first @ .., more] if first.len() == 2 => {
            let HirKind::Repetition(more) = more.kind() else { return None };
            let HirKind::Concat(next) = more.sub.kind() else { return None };
            let [separator, next @ ..] = next.as_slice() else { return None };
            let HirKind::Literal(separator) = separator.kind() else { return None };
            let [separator] = *separator.0 else { return None };
            if more.min != 0 || next != first {
                return None;
            }
            (first, separator, usize::try_from(more.max?).ok()? + 1)
        }
        _ => return None,
    };
    let HirKind::Repetition(tail) = first[1].kind() else { return None };
    if tail.min != 0 || tail.max.is_some() {
        return None;
    }
    let (head, tail) = (ascii(&first[0])?, ascii(&tail.sub)?);
    if max_words > 1 && (head[usize::from(separator)] || tail[usize::from(separator)]) {
        return None;
    }
    let mut classes = Box::new([0; 256]);
    for (class, bit) in [(head, HEAD), (tail, TAIL)] {
        add(&mut classes, &class, bit);
    }
    Some(Glance::Words { classes, separator, max_words })
}

fn positions(tree: &Hir) -> Option<Glance> {
    let mut sequence: Vec<Ascii> = Vec::new();
    for part in between_anchors(tree)? {
        match part.kind() {
            HirKind::Literal(literal) => {
                for byte in literal.0.iter().filter(|_| literal.0.is_ascii()) {
                    let mut class = [false; 128];
                    class[usize::from(*byte)] = true;
                    sequence.push(class);
                }
                literal.0.is_ascii().then_some(())?;
            }
            HirKind::Repetition(repetition) if Some(repetition.min) == repetition.max => {
                let times = usize::try_from(repetition.min).ok().filter(|times| *times <= MAX_POSITIONS)?;
                sequence.extend(std::iter::repeat_n(ascii(&repetition.sub)?, times));
            }
            _ => sequence.push(ascii(part)?),
        }
    }
    if is_uuid(&sequence) {
        return Some(Glance::Uuid);
    }
    let mut distinct: Vec<Ascii> = Vec::new();
    let mut positions = Vec::new();
    for class in &sequence {
        let at = distinct.iter().position(|other| other == class).unwrap_or(distinct.len());
        if at == distinct.len() {
            distinct.push(*class);
        }
        positions.push(1_u8.checked_shl(u32::try_from(at).ok()?)?);
    }
    if distinct.len() > MAX_CLASSES || sequence.len() > MAX_POSITIONS {
        return None;
    }
    let mut classes = Box::new([0; 256]);
    for (class, at) in distinct.iter().zip(0..) {
        add(&mut classes, class, 1_u8.checked_shl(at)?);
    }
    Some(Glance::Positions { classes, positions })
}

fn add(classes: &mut [u8; 256], class: &Ascii, bit: u8) {
    for (entry, member) in classes.iter_mut().zip(class) {
        *entry |= if *member { bit } else { 0 };
    }
}

/// Whether nothing outside ASCII matches.
fn is_ascii(tree: &Hir) -> bool {
    match tree.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(literal) => literal.0.is_ascii(),
        HirKind::Class(Class::Unicode(class)) => class.is_ascii(),
        HirKind::Class(Class::Bytes(class)) => class.is_ascii(),
        HirKind::Repetition(repetition) => is_ascii(&repetition.sub),
        HirKind::Capture(capture) => is_ascii(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().all(is_ascii),
    }
}

/// The ASCII characters that one character of the text may be.
fn ascii(part: &Hir) -> Option<Ascii> {
    let HirKind::Class(Class::Unicode(class)) = part.kind() else { return None };
    let mut members = [false; 128];
    for (member, byte) in members.iter_mut().zip(0_u8..) {
        *member = class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&char::from(byte)));
    }
    Some(members)
}

/// Whether the texts are the UUIDs in lower case.
fn is_uuid(sequence: &[Ascii]) -> bool {
    let is = |class: &Ascii, member: fn(u8) -> bool| class.iter().zip(0_u8..).all(|(is, byte)| *is == member(byte));
    sequence.len() == 36
        && sequence.iter().enumerate().all(|(at, class)| match at {
            8 | 13 | 18 | 23 => is(class, |byte| byte == b'-'),
            _ => is(class, |byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{Rule, attr};

    /// Guarantees: where a pattern is said to take UUIDs, it takes all of them, and as many as its rule says; one that misses some takes none.
    #[test]
    fn uuids_are_taken_whole() {
        let of_key = |key| match contract::attribute(key).map(|attribute| &attribute.rule) {
            Some(Rule::Text { pattern: Some(pattern), .. }) => Pattern::new(pattern).map(|pattern| pattern.max_uuids()),
            _ => None,
        };
        assert_eq!(
            [attr::REQUEST_ID, attr::REQUEST_CORRELATION_ID, attr::REQUEST_SEARCH].map(of_key),
            [Some(1), Some(1), Some(3)]
        );
        assert_eq!(of_key(attr::ERROR_CODE), Some(0));
        // All but those with no letter, those with an `f`, those of more than four words of letters.
        let words = "(?:[0-9a-f]*[0-9][0-9a-f]*|[a-f]+)";
        for pattern in ["^(?:[0-9-]*[a-f][0-9a-f-]*)$", "^(?:[0-9a-e-]+|x)$", &format!("^{words}(?:-(?:{words})){{3}}$")] {
            assert_eq!(Pattern::new(pattern).map(|pattern| pattern.max_uuids()), Some(0), "{pattern}");
        }
    }
}

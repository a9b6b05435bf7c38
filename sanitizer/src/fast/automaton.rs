//! Anchored patterns without a search engine: every one becomes a table of states that is stepped through byte by byte; and for the forms
//! that most have, one class of characters or a class for each place, a quicker look is read off the pattern's own syntax tree.

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::{Anchored, Input};
use regex_syntax::hir::{Class, Hir, HirKind, Look};

/// Bits of the classes in the table of [`Glance::Run`].
const HEAD: u8 = 1;
const TAIL: u8 = 2;
/// How many classes a table has bits for.
const MAX_CLASSES: usize = 8;
/// The longest text of fixed length that is matched byte by byte.
const MAX_POSITIONS: usize = 64;

/// An anchored pattern.
pub(super) struct Pattern {
    /// Says yes to most texts that match, and to no other; quickly.
    glance: Option<Glance>,
    /// Says yes to those that match.
    states: Box<dense::DFA<Vec<u32>>>,
}

enum Glance {
    /// One byte of a class, then any number of another.
    Run(Box<[u8; 256]>),
    /// A class for each byte.
    Positions { classes: Box<[u8; 256]>, positions: Vec<u8>, is_uuid: bool },
}

/// The ASCII characters of a class.
type Ascii = [bool; 128];

impl Pattern {
    /// `None` for what is no pattern; the reference then decides.
    pub(super) fn new(pattern: &str) -> Option<Self> {
        let tree = regex_syntax::parse(pattern).ok()?;
        let config = dense::Config::new().start_kind(StartKind::Anchored);
        Some(Self {
            glance: run(&tree).or_else(|| positions(&tree)),
            states: Box::new(dense::Builder::new().configure(config).build(pattern).ok()?),
        })
    }

    /// Whether the whole text is a match.
    #[inline]
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        self.glance.as_ref().is_some_and(|glance| glance.matches(text)) || {
            let input = Input::new(text).anchored(Anchored::Yes);
            self.states.try_search_fwd(&input).is_ok_and(|found| found.is_some())
        }
    }

    /// Whether all that it matches are UUIDs.
    #[inline]
    pub(super) fn is_uuid(&self) -> bool {
        matches!(self.glance, Some(Glance::Positions { is_uuid: true, .. }))
    }
}

impl Glance {
    #[inline]
    fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Run(classes) => {
                let Some((head, tail)) = text.split_first() else { return false };
                let common = tail.iter().fold(TAIL, |common, byte| common & classes[usize::from(*byte)]);
                classes[usize::from(*head)] & HEAD != 0 && common != 0
            }
            Self::Positions { classes, positions, .. } => {
                let fits = |(byte, class): (&u8, &u8)| classes[usize::from(*byte)] & class != 0;
                text.len() == positions.len() && text.iter().zip(positions).fold(true, |all, pair| all & fits(pair))
            }
        }
    }
}

/// What stands between the start and the end of the text.
fn between_anchors(tree: &Hir) -> Option<&[Hir]> {
    let HirKind::Concat(parts) = tree.kind() else { return None };
    let [start, parts @ .., end] = parts.as_slice() else { return None };
    (*start.kind() == HirKind::Look(Look::Start) && *end.kind() == HirKind::Look(Look::End)).then_some(parts)
}

fn run(tree: &Hir) -> Option<Glance> {
    let [head, tail] = between_anchors(tree)? else { return None };
    let HirKind::Repetition(tail) = tail.kind() else { return None };
    if tail.min != 0 || tail.max.is_some() {
        return None;
    }
    let mut classes = Box::new([0; 256]);
    for (class, bit) in [(ascii(head)?, HEAD), (ascii(&tail.sub)?, TAIL)] {
        add(&mut classes, &class, bit);
    }
    Some(Glance::Run(classes))
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
    Some(Glance::Positions { classes, positions, is_uuid: is_uuid(&sequence) })
}

fn add(classes: &mut [u8; 256], class: &Ascii, bit: u8) {
    for (entry, member) in classes.iter_mut().zip(class) {
        *entry |= if *member { bit } else { 0 };
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

/// Whether every text is dashes where a UUID has them, and hexadecimal digits elsewhere.
fn is_uuid(sequence: &[Ascii]) -> bool {
    let of = |class: &Ascii, allowed: fn(u8) -> bool| class.iter().zip(0_u8..).all(|(member, byte)| !member || allowed(byte));
    sequence.len() == 36
        && sequence.iter().enumerate().all(|(at, class)| {
            if [8, 13, 18, 23].contains(&at) { of(class, |b| b == b'-') } else { of(class, |b| b.is_ascii_hexdigit()) }
        })
}

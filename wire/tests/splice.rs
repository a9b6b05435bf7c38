//! Holds spliced messages against messages that were built anew from what is left.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use wire::{Fields, Splice, write};

/// A field of a message, and what becomes of it.
#[derive(Clone, Debug)]
enum Node {
    Kept(Vec<u8>),
    Cut(Vec<u8>),
    Replaced(Vec<u8>, Vec<u8>),
    Inside(Vec<Node>),
    /// A message that is looked into and then goes as a whole.
    Forgotten(Vec<Node>),
}

const LEAF: u32 = 1;
const MESSAGE: u32 = 2;

/// The message before the edits.
fn before(nodes: &[Node]) -> Vec<u8> {
    let mut out = Vec::new();
    for node in nodes {
        match node {
            Node::Kept(bytes) | Node::Cut(bytes) | Node::Replaced(bytes, _) => write::bytes_field(&mut out, LEAF, bytes),
            Node::Inside(inner) | Node::Forgotten(inner) => write::bytes_field(&mut out, MESSAGE, &before(inner)),
        }
    }
    out
}

/// The message that the edits should leave.
fn after(nodes: &[Node]) -> Vec<u8> {
    let mut out = Vec::new();
    for node in nodes {
        match node {
            Node::Kept(bytes) | Node::Replaced(_, bytes) => write::bytes_field(&mut out, LEAF, bytes),
            Node::Inside(inner) => write::bytes_field(&mut out, MESSAGE, &after(inner)),
            Node::Cut(_) | Node::Forgotten(_) => {}
        }
    }
    out
}

fn edit(nodes: &[Node], content: &[u8], at: usize, splice: &mut Splice<'_>) {
    for (node, field) in nodes.iter().zip(Fields::new(content)) {
        let field = field.unwrap();
        let (start, end) = (at + field.start, at + field.end);
        let inner = field.bytes().unwrap();
        match node {
            Node::Kept(_) => {}
            Node::Cut(_) => splice.cut(start..end),
            Node::Replaced(_, bytes) => splice.replace(start..end, |out| write::bytes_field(out, LEAF, bytes)),
            Node::Inside(nodes) => {
                let frame = splice.open(end - inner.len()..end);
                edit(nodes, inner, end - inner.len(), splice);
                splice.close(frame);
            }
            Node::Forgotten(nodes) => {
                let frame = splice.open(end - inner.len()..end);
                edit(nodes, inner, end - inner.len(), splice);
                splice.forget(frame);
                splice.cut(start..end);
            }
        }
    }
}

fn nodes() -> impl Strategy<Value = Vec<Node>> {
    // Lengths around 127, where the length of a length changes.
    let bytes =
        || (any::<u8>(), prop_oneof![0..4_usize, 60..70_usize, 120..130_usize]).prop_map(|(byte, length)| vec![byte; length]);
    let leaf = prop_oneof![
        4 => bytes().prop_map(Node::Kept),
        2 => bytes().prop_map(Node::Cut),
        2 => (bytes(), bytes()).prop_map(|(from, to)| Node::Replaced(from, to)),
    ];
    let node = leaf.prop_recursive(4, 24, 4, |inner| {
        let inner = prop::collection::vec(inner, 0..4);
        prop_oneof![4 => inner.clone().prop_map(Node::Inside), 1 => inner.prop_map(Node::Forgotten)]
    });
    prop::collection::vec(node, 0..6)
}

/// So many cases, or as many as the variable `PROPTEST_CASES` asks for.
fn at_least(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.max(cases), ..default }
}

proptest! {
    #![proptest_config(at_least(4_000))]

    /// Guarantees: a spliced message is, byte by byte, the message built anew; without edits it says so.
    #[test]
    fn spliced_equals_built_anew(nodes in nodes()) {
        let (input, expected) = (before(&nodes), after(&nodes));
        let mut splice = Splice::new(&input);
        edit(&nodes, &input, 0, &mut splice);
        if splice.is_empty() {
            prop_assert_eq!(&input, &expected);
        }
        prop_assert_eq!(splice.finish(), expected);
    }

    /// Guarantees: numbers come out in their shortest form, and their length is known before. Oracle: prost.
    #[test]
    fn numbers_are_written_as_prost_does(n in prop_oneof![any::<u64>(), 0..300_u64, (0..64_u32).prop_map(|bits| 1 << bits)]) {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        write::varint(&mut ours, n);
        prost::encoding::encode_varint(n, &mut theirs);
        prop_assert_eq!(&ours, &theirs);
        prop_assert_eq!(write::varint_len(n), theirs.len());
    }
}

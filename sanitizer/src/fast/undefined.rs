//! How many fields OTLP does not define were cut out. Where they stood, nothing is looked at; so they are counted when the message is done, and only in
//! those parts of it that changed.

use std::iter::Peekable;
use std::ops::Range;

use wire::{Fields, Kind, Message};

/// Counts them in a message of this type that was walked; these are the ranges in it that change, in their order.
pub(super) fn fields(message: &[u8], of_type: &Message, changes: impl Iterator<Item = Range<usize>>) -> usize {
    Count { changes: changes.peekable() }.fields(message, 0, of_type)
}

struct Count<I: Iterator> {
    /// From the one at hand on.
    changes: Peekable<I>,
}

impl<I: Iterator<Item = Range<usize>>> Count<I> {
    /// Counts in a message whose content starts at this place in the whole one.
    fn fields(&mut self, content: &[u8], at: usize, of_type: &Message) -> usize {
        let mut undefined = 0;
        for field in Fields::new(content) {
            // It was walked, so there is none.
            let Ok(field) = field else { break };
            match of_type.kind(field.number) {
                None => undefined += 1,
                Some(Kind::Message(of_type)) if self.touch(at + field.start..at + field.end) => {
                    let content = field.bytes().unwrap_or_default();
                    undefined += self.fields(content, at + field.end - content.len(), of_type);
                }
                Some(_) => {}
            }
        }
        undefined
    }

    /// Whether any change is within a part. Parts are asked for in their order, an outer one before those in it.
    fn touch(&mut self, part: Range<usize>) -> bool {
        while self.changes.next_if(|range| range.end <= part.start).is_some() {}
        self.changes.peek().is_some_and(|range| range.start < part.end)
    }
}

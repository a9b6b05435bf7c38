//! A message with parts cut out and put in.

use std::ops::Range;

use crate::write;

/// Notes the edits of a message while it is walked from front to back, and applies them at the end.
///
/// Edits come in the order of their places, and do not overlap. Around the edits inside a nested message stand [`Self::open`] and
/// [`Self::close`], which see to its length. Every place is in bytes from the start of the whole message.
#[derive(Debug)]
pub struct Splice<'a> {
    input: &'a [u8],
    edits: Vec<Edit>,
    /// What is put in, one after the other.
    put: Vec<u8>,
    /// Bytes that the edits since the start remove and add.
    removed: usize,
    added: usize,
}

#[derive(Debug)]
struct Edit {
    cut: Range<usize>,
    put: Put,
}

#[derive(Debug)]
enum Put {
    Nothing,
    /// A part of [`Splice::put`].
    Bytes(Range<usize>),
    /// The length of a nested message.
    Length(usize),
}

/// A nested message whose edits are being noted.
#[derive(Debug)]
#[must_use = "a message that is opened is closed, or its edits are forgotten"]
pub struct Frame {
    content_len: usize,
    /// Where the edits and bytes of this message start.
    edits: usize,
    put: usize,
    removed: usize,
    added: usize,
}

impl<'a> Splice<'a> {
    /// No edits yet.
    #[must_use]
    pub fn new(input: &'a [u8]) -> Self {
        Self { input, edits: Vec::new(), put: Vec::new(), removed: 0, added: 0 }
    }

    /// Whether there is nothing to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// The ranges that change so far, in their order; empty where something is put in.
    pub fn changes(&self) -> impl Iterator<Item = Range<usize>> {
        self.edits.iter().map(|edit| edit.cut.clone())
    }

    /// Removes a range.
    pub fn cut(&mut self, range: Range<usize>) {
        self.removed += range.len();
        match self.edits.last_mut() {
            // Neighbours become one, so that many small cuts in a row cost one edit.
            Some(Edit { cut, put: Put::Nothing }) if cut.end == range.start => cut.end = range.end,
            _ => self.edits.push(Edit { cut: range, put: Put::Nothing }),
        }
    }

    /// Removes a range, which may be empty, and puts in its place what `write` appends.
    pub fn replace(&mut self, range: Range<usize>, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.put.len();
        write(&mut self.put);
        let put = start..self.put.len();
        self.removed += range.len();
        self.added += put.len();
        self.edits.push(Edit { cut: range, put: Put::Bytes(put) });
    }

    /// Enters the nested message with this content. Its length stands before it, in its shortest form.
    pub fn open(&mut self, content: Range<usize>) -> Frame {
        let width = write::varint_len(content.len() as u64);
        let frame = Frame {
            content_len: content.len(),
            edits: self.edits.len(),
            put: self.put.len(),
            removed: self.removed,
            added: self.added,
        };
        self.edits.push(Edit { cut: content.start - width..content.start, put: Put::Length(content.len()) });
        frame
    }

    /// Leaves a nested message.
    #[allow(clippy::needless_pass_by_value, reason = "a frame ends here")]
    pub fn close(&mut self, frame: Frame) {
        if self.edits.len() == frame.edits + 1 {
            self.edits.truncate(frame.edits);
            return;
        }
        let content_len = frame.content_len - (self.removed - frame.removed) + (self.added - frame.added);
        if let Some(edit) = self.edits.get_mut(frame.edits) {
            self.removed += edit.cut.len();
            self.added += write::varint_len(content_len as u64);
            edit.put = Put::Length(content_len);
        }
    }

    /// Leaves a nested message and forgets its edits: for one that goes as a whole.
    #[allow(clippy::needless_pass_by_value, reason = "a frame ends here")]
    pub fn forget(&mut self, frame: Frame) {
        self.edits.truncate(frame.edits);
        self.put.truncate(frame.put);
        self.removed = frame.removed;
        self.added = frame.added;
    }

    /// The edited message.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.input.len() - self.removed + self.added);
        let mut copied = 0;
        for Edit { cut, put } in self.edits {
            out.extend_from_slice(&self.input[copied..cut.start]);
            match put {
                Put::Nothing => {}
                Put::Bytes(range) => out.extend_from_slice(&self.put[range]),
                Put::Length(length) => write::varint(&mut out, length as u64),
            }
            copied = cut.end;
        }
        out.extend_from_slice(&self.input[copied..]);
        out
    }
}

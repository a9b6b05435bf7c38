//! Message types as tables, and the walk that holds bytes against them.

use crate::read::{Error, Fields, check_text, fixed64s, varints};

/// How many messages may be nested around a field, the outermost one not counted. Prost's limit.
pub const MAX_DEPTH: usize = 100;

/// What a field of a message type holds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// An integer, a truth value or an enumeration.
    Varint,
    /// Eight bytes.
    Fixed64,
    /// Four bytes.
    Fixed32,
    /// Several integers: one in a field, or any number of them in a row in one field.
    VarintList,
    /// Several times eight bytes, in the same two ways.
    Fixed64List,
    /// Any bytes.
    Bytes,
    /// UTF-8.
    Text,
    /// A message of this type.
    Message(&'static Message),
}

/// A message type: the numbers and kinds of its fields.
#[derive(Debug)]
pub struct Message {
    /// In the order of the numbers.
    pub fields: &'static [(u32, Kind)],
}

impl Message {
    /// What the field of this number holds; none if the type has no such field.
    #[inline]
    #[must_use]
    pub fn kind(&self, number: u32) -> Option<&Kind> {
        // Most types number their fields without a gap.
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        match self.fields.get(at) {
            Some((of, kind)) if *of == number => Some(kind),
            _ => self.fields.iter().find(|(of, _)| *of == number).map(|(_, kind)| kind),
        }
    }
}

/// Whether a decoder would accept `content` as a message of this type, `depth` messages deep. Unknown fields are skipped, their content
/// is not looked at; so a message that passes can still hold anything in them. Says whether there are any.
///
/// Takes time in proportion to the length of `content`, and stack for [`MAX_DEPTH`] calls.
pub fn validate(content: &[u8], message: &Message, depth: usize) -> Result<bool, Error> {
    let mut any_unknown = false;
    for field in Fields::new(content) {
        let field = field?;
        match message.kind(field.number) {
            Some(Kind::Varint) => field.varint().map(drop)?,
            Some(Kind::Fixed64) => field.fixed64().map(drop)?,
            Some(Kind::Fixed32) => field.fixed32().map(drop)?,
            Some(Kind::VarintList) => varints(&field)?.try_for_each(|n| n.map(drop))?,
            Some(Kind::Fixed64List) => fixed64s(&field).map(drop)?,
            Some(Kind::Bytes) => field.bytes().map(drop)?,
            Some(Kind::Text) => check_text(field.bytes()?)?,
            Some(Kind::Message(inner)) => {
                let content = field.bytes()?;
                if depth >= MAX_DEPTH {
                    return Err(Error::Depth);
                }
                any_unknown |= validate(content, inner, depth + 1)?;
            }
            // Prost counts skipping a field as one more level.
            None if depth >= MAX_DEPTH => return Err(Error::Depth),
            None => any_unknown = true,
        }
    }
    Ok(any_unknown)
}

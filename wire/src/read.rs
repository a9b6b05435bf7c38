//! A strict cursor over the fields of one protobuf message.

use std::ops::Range;

/// Why bytes are no message. The text is constant: it never repeats what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A number or a field ends after the message does.
    Truncated,
    /// A variable-length number has more than 64 bits.
    Varint,
    /// A variable-length number is longer than it needs to be. Lenient decoders accept it.
    Padded,
    /// A field number is 0 or above 2^29 - 1.
    FieldNumber,
    /// A wire type does not exist, ends a group that did not start, or is not the field's.
    WireType,
    /// A group starts. Lenient decoders accept it.
    Group,
    /// Messages are nested too deeply.
    Depth,
    /// A text is not UTF-8.
    Text,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the message ends inside a field",
            Self::Varint => "a number has more than 64 bits",
            Self::Padded => "a number is longer than it needs to be",
            Self::FieldNumber => "a field number is out of range",
            Self::WireType => "a field has a wrong wire type",
            Self::Group => "a field is a group",
            Self::Depth => "messages are nested too deeply",
            Self::Text => "a text is not utf-8",
        })
    }
}

impl std::error::Error for Error {}

/// What a field holds, as far as the wire type tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// An integer, a truth value or an enumeration; what its upper bits mean depends on the field's type.
    Varint(u64),
    /// Eight bytes, little endian.
    Fixed64(u64),
    /// A text, bytes or a message.
    Bytes(&'a [u8]),
    /// Four bytes, little endian.
    Fixed32(u32),
}

/// One field, and where it stands in its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// 1 to 2^29 - 1.
    pub number: u32,
    /// Its value.
    pub value: Value<'a>,
    /// Where its tag starts, in bytes from the message's start.
    pub start: usize,
    /// Where its value ends. A value of [`Value::Bytes`] is the last part of this range.
    pub end: usize,
}

impl<'a> Field<'a> {
    /// The value of a text, bytes or message field.
    #[inline]
    pub fn bytes(&self) -> Result<&'a [u8], Error> {
        if let Value::Bytes(bytes) = self.value { Ok(bytes) } else { Err(Error::WireType) }
    }

    /// The value of a text field.
    #[inline]
    pub fn text(&self) -> Result<&'a str, Error> {
        text(self.bytes()?)
    }

    /// The value of an integer, truth value or enumeration field.
    #[inline]
    pub fn varint(&self) -> Result<u64, Error> {
        if let Value::Varint(n) = self.value { Ok(n) } else { Err(Error::WireType) }
    }

    /// The value of a field of eight bytes.
    #[inline]
    pub fn fixed64(&self) -> Result<u64, Error> {
        if let Value::Fixed64(n) = self.value { Ok(n) } else { Err(Error::WireType) }
    }

    /// The value of a field of four bytes.
    #[inline]
    pub fn fixed32(&self) -> Result<u32, Error> {
        if let Value::Fixed32(n) = self.value { Ok(n) } else { Err(Error::WireType) }
    }
}

/// The text in these bytes.
#[inline]
pub fn text(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|_| Error::Text)
}

/// Checks that these bytes are a text. Most are ASCII, which is seen sooner than anything else.
#[inline]
pub fn check_text(bytes: &[u8]) -> Result<(), Error> {
    if bytes.is_ascii() { Ok(()) } else { text(bytes).map(|_| ()) }
}

/// The numbers in a field of several integers: the one that it holds, or all that it holds in a row. After an error there are no more.
#[inline]
pub fn varints<'a>(field: &Field<'a>) -> Result<impl Iterator<Item = Result<u64, Error>> + use<'a>, Error> {
    let (one, row) = match field.value {
        Value::Varint(n) => (Some(n), &[][..]),
        Value::Bytes(row) => (None, row),
        _ => return Err(Error::WireType),
    };
    let mut row = Fields::new(row);
    let row = std::iter::from_fn(move || {
        if row.at >= row.message.len() {
            return None;
        }
        let number = row.number();
        if number.is_err() {
            row.at = row.message.len();
        }
        Some(number)
    });
    Ok(one.map(Ok).into_iter().chain(row))
}

/// The numbers in a field of several times eight bytes, in the same way.
#[inline]
pub fn fixed64s<'a>(field: &Field<'a>) -> Result<impl Iterator<Item = u64> + use<'a>, Error> {
    let (one, row) = match field.value {
        Value::Fixed64(n) => (Some(n), &[][..]),
        Value::Bytes(row) => (None, row),
        _ => return Err(Error::WireType),
    };
    let (row, rest) = row.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(Error::Truncated);
    }
    Ok(one.into_iter().chain(row.iter().map(|bytes| u64::from_le_bytes(*bytes))))
}

/// Iterates over the fields of one message. After an error it ends.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    /// Starts at the first field of `message`, which is the content alone, without a length before it.
    #[inline]
    #[must_use]
    pub fn new(message: &'a [u8]) -> Self {
        Self { message, at: 0 }
    }

    /// The one field of a message that has exactly one.
    #[inline]
    #[must_use]
    pub fn only(mut self) -> Option<Field<'a>> {
        let field = self.field().ok()?;
        (self.at == self.message.len()).then_some(field)
    }

    /// The content of the next field and where the field stands, if its tag is this byte and its length has one or two. A short cut for
    /// what comes most often; if it is something else, or something wrong, nothing is taken.
    #[allow(clippy::inline_always, reason = "as below")]
    #[inline(always)]
    pub fn take_short(&mut self, tag: u8) -> Option<(&'a [u8], Range<usize>)> {
        let (width, length) = match self.message.get(self.at..)? {
            [first, length @ 0..0x80, ..] if *first == tag => (2, usize::from(*length)),
            [first, low, high @ 1..0x80, ..] if *first == tag => (3, usize::from(low & 0x7f) | usize::from(*high) << 7),
            _ => return None,
        };
        let (start, content) = (self.at, self.at + width);
        let taken = self.message.get(content..content + length)?;
        self.at = content + length;
        Some((taken, start..self.at))
    }

    #[allow(clippy::inline_always, reason = "a field then stays in registers; through memory it takes twice the time")]
    #[inline(always)]
    fn field(&mut self) -> Result<Field<'a>, Error> {
        let start = self.at;
        let tag = self.number()?;
        let number = u32::try_from(tag >> 3).ok().filter(|n| (1..1 << 29).contains(n)).ok_or(Error::FieldNumber)?;
        let value = match tag & 7 {
            0 => Value::Varint(self.number()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.number()?).map_err(|_| Error::Truncated)?;
                Value::Bytes(self.take(length)?)
            }
            3 => return Err(Error::Group),
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(Error::WireType),
        };
        Ok(Field { number, value, start, end: self.at })
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let end = self.at.checked_add(length).ok_or(Error::Truncated)?;
        let taken = self.message.get(self.at..end).ok_or(Error::Truncated)?;
        self.at = end;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.take(N)?.try_into().map_err(|_| Error::Truncated)
    }

    #[inline]
    fn number(&mut self) -> Result<u64, Error> {
        match self.message.get(self.at) {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_number(),
        }
    }

    /// A number of two bytes or more: seven bits each, the lowest first, the top bit says that another byte follows.
    fn long_number(&mut self) -> Result<u64, Error> {
        let mut number = 0;
        for index in 0..10 {
            let byte = *self.message.get(self.at + index).ok_or(Error::Truncated)?;
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                // Nine bytes hold 63 bits.
                if index == 9 && byte > 1 {
                    return Err(Error::Varint);
                }
                if index > 0 && byte == 0 {
                    return Err(Error::Padded);
                }
                self.at += index + 1;
                return Ok(number);
            }
        }
        Err(Error::Varint)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Error>;

    #[allow(clippy::inline_always, reason = "as above")]
    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.message.len() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.at = self.message.len();
        }
        Some(field)
    }
}

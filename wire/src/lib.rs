//! OTLP messages as bytes: strict reading without decoding, and cutting and splicing with right lengths.
//!
//! **Reading.** [`Fields`] walks the fields of one message and borrows from it; nothing is allocated. [`validate`] walks a whole message
//! by the tables in [`otlp`]. Both accept what prost accepts, with two exceptions that the encoding allows and no OpenTelemetry SDK
//! writes: numbers padded with zero bits ([`Error::Padded`]) and groups ([`Error::Group`]). Who must handle these asks a lenient decoder.
//!
//! **Writing.** [`Splice`] notes what to cut and what to put in, while a message is being walked, and copies the rest in whole ranges at
//! the end. A cut changes the length of every message around it, and a length stands before its content. The usual ways out are to
//! reserve the old width and pad the new number, or to write backwards. Here the lengths are edits like the others, filled in when the
//! walk leaves a message: they come out minimal, as every SDK writes them, the output's size is known before its one allocation, and
//! a message without edits need not be copied at all.
//!
//! ```
//! use wire::{Fields, Value};
//!
//! // Field 1 is the text "hi", field 2 the number 300.
//! let fields: Vec<_> = Fields::new(b"\x0a\x02hi\x10\xac\x02").collect::<Result<_, _>>()?;
//! assert_eq!((fields[0].number, fields[0].value), (1, Value::Bytes(b"hi")));
//! assert_eq!((fields[1].number, fields[1].value), (2, Value::Varint(300)));
//! # Ok::<(), wire::Error>(())
//! ```

#![forbid(unsafe_code)]

pub mod otlp;
mod read;
mod schema;
mod splice;
pub mod write;

pub use read::{Error, Field, Fields, Value, check_text, fixed64s, text, varints};
pub use schema::{Kind, MAX_DEPTH, Message, validate};
pub use splice::{Frame, Splice};

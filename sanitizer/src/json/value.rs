//! One value that is no message: as JSON has it, and as it stands on the wire.

use std::fmt;

use prost_types::field_descriptor_proto::Type;
use serde::de::{Error, Visitor};

use super::schema::Kind;
use crate::detect::base64_value;

/// Whole numbers up to here, and no further, are the same in floating point.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// A value of JSON that is neither null, nor a list, nor an object.
pub(super) enum Scalar {
    Bool(bool),
    Whole(i128),
    /// A number with a fraction or an exponent, or beyond 64 bits.
    Float(f64),
    Text(String),
}

/// A value on the wire.
pub(super) enum Encoded {
    Bytes(Vec<u8>),
    Varint(u64),
    Fixed32(u32),
    Fixed64(u64),
}

/// Reads a [`Scalar`].
pub(super) struct ReadScalar;

impl Visitor<'_> for ReadScalar {
    type Value = Scalar;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text, a number or a truth value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar::Whole(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar::Whole(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Scalar, E> {
        Ok(Scalar::Text(value))
    }
}

impl Kind {
    /// The value on the wire; `None` if it has another form, or is out of the field's range.
    pub(super) fn encode(&self, value: Scalar) -> Option<Encoded> {
        let of = match (self, value) {
            (Self::Hex, Scalar::Text(digits)) => return hex(digits.as_bytes()).map(Encoded::Bytes),
            // Names of an enumeration's members are proto3's, but not OTLP's.
            (Self::Hex | Self::Message(_), _) | (Self::Scalar(Type::Enum), Scalar::Text(_)) => return None,
            (Self::Scalar(Type::String), Scalar::Text(text)) => return Some(Encoded::Bytes(text.into_bytes())),
            (Self::Scalar(Type::Bytes), Scalar::Text(digits)) => return base64(digits.as_bytes()).map(Encoded::Bytes),
            (Self::Scalar(Type::Bool), Scalar::Bool(value)) => return Some(Encoded::Varint(value.into())),
            (Self::Scalar(Type::Double), value) => return double(&value).map(|n| Encoded::Fixed64(n.to_bits())),
            (Self::Scalar(of), value) => (*of, whole(&value)?),
        };
        // On the wire a negative number has 64 bits, whatever its field has.
        let signed = |n: i64| Encoded::Varint(n.cast_unsigned());
        Some(match of {
            (Type::Int32 | Type::Enum, n) => signed(i32::try_from(n).ok()?.into()),
            (Type::Int64, n) => signed(i64::try_from(n).ok()?),
            (Type::Uint32, n) => Encoded::Varint(u32::try_from(n).ok()?.into()),
            (Type::Uint64, n) => Encoded::Varint(u64::try_from(n).ok()?),
            (Type::Sint32, n) => {
                let n = i32::try_from(n).ok()?;
                Encoded::Varint(((n << 1) ^ (n >> 31)).cast_unsigned().into())
            }
            (Type::Fixed32, n) => Encoded::Fixed32(u32::try_from(n).ok()?),
            (Type::Fixed64, n) => Encoded::Fixed64(u64::try_from(n).ok()?),
            (Type::Sfixed64, n) => Encoded::Fixed64(i64::try_from(n).ok()?.cast_unsigned()),
            // OTLP has no field of another kind; a test says so.
            _ => return None,
        })
    }
}

/// A whole number, also with an empty fraction, with an exponent, or as a text.
fn whole(value: &Scalar) -> Option<i128> {
    match value {
        Scalar::Whole(n) => Some(*n),
        #[allow(clippy::cast_possible_truncation, reason = "it is whole, and exact")]
        Scalar::Float(n) if n.fract() == 0.0 && n.abs() <= MAX_EXACT => Some(*n as i128),
        Scalar::Text(digits) => digits.parse().ok(),
        _ => None,
    }
}

/// A number of any form, also as a text, and the three that JSON has no number for.
fn double(value: &Scalar) -> Option<f64> {
    match value {
        #[allow(clippy::cast_precision_loss, reason = "a double is what the field holds")]
        Scalar::Whole(n) => Some(*n as f64),
        Scalar::Float(n) => Some(*n),
        Scalar::Text(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            // Rust knows more names for these three.
            digits if digits.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) => {
                digits.parse().ok().filter(|n: &f64| n.is_finite())
            }
            _ => None,
        },
        Scalar::Bool(_) => None,
    }
}

/// Bytes from hexadecimal digits of either case.
fn hex(digits: &[u8]) -> Option<Vec<u8>> {
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then_some(())?;
    pairs.iter().map(|[high, low]| Some(value(*high)? << 4 | value(*low)?)).collect()
}

/// Bytes from base64 or base64url, padded or not.
fn base64(digits: &[u8]) -> Option<Vec<u8>> {
    let end = digits.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let (digits, padding) = digits.split_at(end);
    if digits.len() % 4 == 1 || !(padding.is_empty() || (padding.len() < 3 && (digits.len() + padding.len()).is_multiple_of(4))) {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for four in digits.chunks(4) {
        let mut bits = 0_u32;
        for digit in four {
            bits = bits << 6 | u32::from(base64_value(*digit)?);
        }
        // To the left of 24 bits, of which as many bytes count as are complete.
        bits <<= 6 * (4 - four.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    Some(bytes)
}

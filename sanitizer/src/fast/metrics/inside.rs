//! What is inside a data point: exemplars, buckets, quantiles. Each is read where it stands, and written anew if something of it goes.

use wire::otlp::{buckets, exemplar, key_value, value_at_quantile};
use wire::{Fields, Value, write};

use super::super::span::is_id;
use super::super::{Once, Stop};
use super::point::INSIDE_DEPTH;
use crate::reference::metrics::{MAX_EXPONENTIAL_BUCKETS, MAX_OFFSET, is_count, is_value};
use crate::times::Times;

/// An exemplar as it stands in the message.
#[derive(Default)]
pub(super) struct Exemplar<'a> {
    unix_ns: u64,
    /// The number of the value's field, and its bits.
    value: Option<(u32, u64)>,
    trace_id: &'a [u8],
    span_id: &'a [u8],
    /// How many attributes it has.
    pub(super) attributes: u64,
    had_unknown: bool,
}

impl<'a> Exemplar<'a> {
    pub(super) fn read(content: &'a [u8]) -> Result<Self, Stop> {
        let (mut once, mut read) = (Once::default(), Self::default());
        for field in Fields::new(content) {
            let field = field?;
            match field.number {
                exemplar::TIME_UNIX_NANO => {
                    once.see(field.number)?;
                    read.unix_ns = field.fixed64()?;
                }
                exemplar::AS_DOUBLE | exemplar::AS_INT => {
                    if read.value.replace((field.number, field.fixed64()?)).is_some() {
                        return Err(Stop::Slow);
                    }
                }
                exemplar::TRACE_ID => {
                    once.see(field.number)?;
                    read.trace_id = field.bytes()?;
                }
                exemplar::SPAN_ID => {
                    once.see(field.number)?;
                    read.span_id = field.bytes()?;
                }
                exemplar::FILTERED_ATTRIBUTES => {
                    wire::validate(field.bytes()?, &key_value::MESSAGE, INSIDE_DEPTH + 1)?;
                    read.attributes += 1;
                }
                _ => read.had_unknown = true,
            }
        }
        Ok(read)
    }

    /// Whether it has a value and a time that can be.
    pub(super) fn is_valid(&self, times: Times) -> bool {
        let value_is_valid = match self.value {
            Some((exemplar::AS_DOUBLE, bits)) => is_value(f64::from_bits(bits)),
            Some((_, bits)) => is_count(bits.cast_signed()),
            None => false,
        };
        value_is_valid && times.contain(self.unix_ns)
    }

    fn trace_id_goes(&self) -> bool {
        !self.trace_id.is_empty() && !is_id(self.trace_id, 16)
    }

    fn span_id_goes(&self) -> bool {
        !self.span_id.is_empty() && !is_id(self.span_id, 8)
    }

    /// How many of its ids are none.
    pub(super) fn wrong_ids(&self) -> u64 {
        u64::from(self.trace_id_goes()) + u64::from(self.span_id_goes())
    }

    /// Whether nothing of it goes.
    pub(super) fn is_exact(&self) -> bool {
        self.attributes == 0 && !self.had_unknown && self.wrong_ids() == 0
    }

    /// Writes what stays of a valid one.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write::fixed64_field(out, exemplar::TIME_UNIX_NANO, self.unix_ns);
        if let Some((number, bits)) = self.value {
            write::fixed64_field(out, number, bits);
        }
        if !self.span_id_goes() {
            write::bytes_field(out, exemplar::SPAN_ID, self.span_id);
        }
        if !self.trace_id_goes() {
            write::bytes_field(out, exemplar::TRACE_ID, self.trace_id);
        }
    }
}

/// One side's buckets.
pub(super) struct Buckets {
    /// Their counts added; none if that is more than any number.
    pub(super) total: Option<u64>,
    /// Whether there are not too many, nor too far off.
    pub(super) is_valid: bool,
    /// Whether they stand as every SDK writes them.
    pub(super) is_exact: bool,
}

impl Buckets {
    pub(super) fn read(content: &[u8]) -> Result<Self, Stop> {
        let mut read = Self { total: Some(0), is_valid: true, is_exact: true };
        let (mut once, mut pieces, mut counts) = (Once::default(), 0_usize, 0_usize);
        for field in Fields::new(content) {
            let field = field?;
            match field.number {
                buckets::OFFSET => {
                    once.see(field.number)?;
                    read.is_valid &= (-MAX_OFFSET..=MAX_OFFSET).contains(&zigzag(field.varint()?)?);
                }
                buckets::BUCKET_COUNTS => {
                    pieces += 1;
                    read.is_exact &= pieces == 1 && matches!(field.value, Value::Bytes(_));
                    for count in wire::varints(&field)? {
                        counts += 1;
                        read.total = add(read.total, count?);
                    }
                }
                _ => read.is_exact = false,
            }
        }
        read.is_valid &= counts <= MAX_EXPONENTIAL_BUCKETS;
        Ok(read)
    }

    /// Writes what such buckets say.
    pub(super) fn write(content: &[u8], out: &mut Vec<u8>) {
        for offset in Fields::new(content).flatten().filter(|field| field.number == buckets::OFFSET) {
            out.extend_from_slice(&content[offset.start..offset.end]);
        }
        write_list(content, buckets::BUCKET_COUNTS, out);
    }
}

/// A quantile: whether it and its value can be, and whether nothing else is in it.
pub(super) fn quantile(content: &[u8]) -> Result<(bool, bool), Stop> {
    let (mut once, mut is_valid, mut is_exact) = (Once::default(), true, true);
    for field in Fields::new(content) {
        let field = field?;
        match field.number {
            value_at_quantile::QUANTILE => {
                once.see(field.number)?;
                is_valid &= (0.0..=1.0).contains(&f64::from_bits(field.fixed64()?));
            }
            value_at_quantile::VALUE => {
                once.see(field.number)?;
                is_valid &= is_value(f64::from_bits(field.fixed64()?));
            }
            _ => is_exact = false,
        }
    }
    Ok((is_valid, is_exact))
}

/// Writes what a quantile says.
pub(super) fn write_quantile(content: &[u8], out: &mut Vec<u8>) {
    for field in Fields::new(content).flatten() {
        if matches!(field.number, value_at_quantile::QUANTILE | value_at_quantile::VALUE) {
            out.extend_from_slice(&content[field.start..field.end]);
        }
    }
}

/// Writes a list of numbers in one piece, from all the pieces in which it stands in this message.
pub(super) fn write_list(content: &[u8], number: u32, out: &mut Vec<u8>) {
    let mut row = Vec::new();
    for piece in Fields::new(content).flatten().filter(|field| field.number == number) {
        match piece.value {
            Value::Bytes(several) => row.extend_from_slice(several),
            Value::Fixed64(one) => row.extend_from_slice(&one.to_le_bytes()),
            Value::Varint(one) => write::varint(&mut row, one),
            // No list of OTLP's has such numbers.
            Value::Fixed32(_) => {}
        }
    }
    write::bytes_field(out, number, &row);
}

/// A number of 32 bits with its sign in the lowest.
pub(super) fn zigzag(encoded: u64) -> Result<i32, Stop> {
    // The reference sees the lower half alone.
    let encoded = u32::try_from(encoded).map_err(|_| Stop::Slow)?;
    Ok((encoded >> 1).cast_signed() ^ -(encoded & 1).cast_signed())
}

/// The sum; none if it is more than any number.
pub(super) fn add(sum: Option<u64>, count: u64) -> Option<u64> {
    sum.and_then(|sum| sum.checked_add(count))
}

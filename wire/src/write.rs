//! Appends protobuf fields to a buffer, numbers and lengths in their shortest form.

/// How many bytes a number takes.
#[inline]
#[must_use]
pub const fn varint_len(n: u64) -> usize {
    // Seven bits a byte; zero takes one.
    (64 - (n | 1).leading_zeros() as usize).div_ceil(7)
}

/// A number.
#[inline]
pub fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n.to_le_bytes()[0] | 0x80);
        n >>= 7;
    }
    out.push(n.to_le_bytes()[0]);
}

/// An integer, truth value or enumeration field.
pub fn varint_field(out: &mut Vec<u8>, number: u32, n: u64) {
    tag(out, number, 0);
    varint(out, n);
}

/// A text, bytes or message field.
#[inline]
pub fn bytes_field(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    bytes_field_start(out, number, bytes.len());
    out.extend_from_slice(bytes);
}

/// The tag and the length of a text, bytes or message field, whose content follows. Makes room for that.
#[inline]
pub fn bytes_field_start(out: &mut Vec<u8>, number: u32, content_len: usize) {
    out.reserve(bytes_field_len(number, content_len));
    tag(out, number, 2);
    varint(out, content_len as u64);
}

/// How many bytes such a field takes.
#[inline]
#[must_use]
pub const fn bytes_field_len(number: u32, content_len: usize) -> usize {
    varint_len((number as u64) << 3) + varint_len(content_len as u64) + content_len
}

/// A field of four bytes.
pub fn fixed32_field(out: &mut Vec<u8>, number: u32, n: u32) {
    tag(out, number, 5);
    out.extend_from_slice(&n.to_le_bytes());
}

/// A field of eight bytes.
pub fn fixed64_field(out: &mut Vec<u8>, number: u32, n: u64) {
    tag(out, number, 1);
    out.extend_from_slice(&n.to_le_bytes());
}

#[inline]
fn tag(out: &mut Vec<u8>, number: u32, wire_type: u64) {
    varint(out, u64::from(number) << 3 | wire_type);
}

//! Rows, attempts and corrections are in the trace of their request: its id is the 16 bytes of the row id that they carry. One that carries no
//! row id, or no valid one, is not lost for that; one that carries another request's is nobody's.

use contract::RecordKind;

use crate::detect::is_lower_uuid;

/// Whether a span of this kind, with this trace id and these texts under `codex_pooler.request.id`, is where it belongs. All of them are asked,
/// because which of them stays is decided later. Markers are in traces of their own, and spans without a kind may be anywhere.
///
/// ```
/// use contract::RecordKind;
/// use sanitizer::row_id::is_at_home;
///
/// let trace_id = 0x0b5a2f0e_6c0f_4f3a_9a53_0c7f4f2f8f11_u128.to_be_bytes();
/// assert!(is_at_home(Some(RecordKind::Attempt), &trace_id, [&b"0b5a2f0e-6c0f-4f3a-9a53-0c7f4f2f8f11"[..]]));
/// assert!(!is_at_home(Some(RecordKind::Attempt), &trace_id, [&b"no row id"[..], b"0b5a2f0e-6c0f-4f3a-9a53-0c7f4f2f8f12"]));
/// assert!(is_at_home(Some(RecordKind::Attempt), &trace_id, [&b"no row id"[..]]));
/// assert!(is_at_home(Some(RecordKind::InProgress), &trace_id, []));
/// ```
#[must_use]
pub fn is_at_home<'a>(kind: Option<RecordKind>, trace_id: &[u8], request_ids: impl IntoIterator<Item = &'a [u8]>) -> bool {
    match kind {
        None | Some(RecordKind::InProgress) => true,
        Some(RecordKind::Request | RecordKind::Attempt | RecordKind::Correction) => {
            let own = <&[u8; 16]>::try_from(trace_id).ok().map(text_of);
            request_ids.into_iter().all(|request_id| own.is_some_and(|own| request_id == own) || !is_row_id(request_id))
        }
    }
}

/// Whether the root of a trace is of this kind, so that it has no parent.
#[must_use]
pub const fn is_root(kind: Option<RecordKind>) -> bool {
    matches!(kind, Some(RecordKind::Request | RecordKind::InProgress))
}

/// Whether a text has the form of a row id: a UUID in lower case with dashes.
fn is_row_id(text: &[u8]) -> bool {
    <&[u8; 36]>::try_from(text).is_ok_and(is_lower_uuid)
}

/// The row id of these bytes.
fn text_of(bytes: &[u8; 16]) -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    /// Where each byte's two digits stand.
    const AT: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let mut text = [b'-'; 36];
    for (byte, at) in bytes.iter().zip(AT) {
        text[at] = DIGITS[usize::from(byte >> 4)];
        text[at + 1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

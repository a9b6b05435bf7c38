//! Rows, attempts and corrections are in the trace of their request: its id is the 16 bytes of the row id that they carry. One that carries no
//! row id, or no valid one, is not lost for that; one that carries another request's is nobody's.

use contract::RecordKind;

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
            request_ids.into_iter().all(|request_id| !is_row_id(request_id) || is_text_of(request_id, trace_id))
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
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == 36
        && text.iter().enumerate().all(|(at, &byte)| if DASHES.contains(&at) { byte == b'-' } else { is_digit(byte) })
}

/// Where a UUID has its dashes.
const DASHES: [usize; 4] = [8, 13, 18, 23];

/// Whether a text of a row id's form is that of these bytes.
fn is_text_of(text: &[u8], bytes: &[u8]) -> bool {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = text.iter().enumerate().filter(|(at, _)| !DASHES.contains(at)).map(|(_, digit)| *digit);
    let expected = bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    digits.eq(expected)
}

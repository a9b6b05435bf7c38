//! Rows, attempts and corrections are in the trace of their request: its id is the 16 bytes of the row id that they carry.

use contract::RecordKind;

/// Whether a span of this kind, with this trace id and this text under `codex_pooler.request.id`, is where it belongs. Markers are in
/// traces of their own, and spans without a kind may be anywhere.
///
/// ```
/// use contract::RecordKind;
/// use sanitizer::row_id::is_at_home;
///
/// let trace_id = 0x0b5a2f0e_6c0f_4f3a_9a53_0c7f4f2f8f11_u128.to_be_bytes();
/// assert!(is_at_home(Some(RecordKind::Attempt), &trace_id, Some("0b5a2f0e-6c0f-4f3a-9a53-0c7f4f2f8f11")));
/// assert!(!is_at_home(Some(RecordKind::Attempt), &trace_id, Some("0b5a2f0e-6c0f-4f3a-9a53-0c7f4f2f8f12")));
/// assert!(is_at_home(Some(RecordKind::InProgress), &trace_id, None));
/// ```
#[must_use]
pub fn is_at_home(kind: Option<RecordKind>, trace_id: &[u8], request_id: Option<&str>) -> bool {
    match kind {
        None | Some(RecordKind::InProgress) => true,
        Some(RecordKind::Request | RecordKind::Attempt | RecordKind::Correction) => {
            request_id.is_some_and(|request_id| is_text_of(request_id, trace_id))
        }
    }
}

/// Whether the root of a trace is of this kind, so that it has no parent.
#[must_use]
pub const fn is_root(kind: Option<RecordKind>) -> bool {
    matches!(kind, Some(RecordKind::Request | RecordKind::InProgress))
}

/// Whether a text is the UUID of these bytes, in lower case with dashes.
fn is_text_of(text: &str, bytes: &[u8]) -> bool {
    const DASHES: [usize; 4] = [8, 13, 18, 23];
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let text = text.as_bytes();
    if text.len() != 36 || bytes.len() != 16 || DASHES.iter().any(|at| text[*at] != b'-') {
        return false;
    }
    let digits = text.iter().enumerate().filter(|(at, _)| !DASHES.contains(at)).map(|(_, digit)| *digit);
    let expected = bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    digits.eq(expected)
}

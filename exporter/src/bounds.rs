//! Bounds on what a caller hands over, so that what waits in memory is bounded in bytes and not only in number.

use crate::lifecycle::{Account, Admission, ApiKey, Attempt, AttemptEnd, Ended};

/// Bytes of a text at most. Far more than any rule of the contract allows, so that a text that is cut breaks its rule as the whole one would.
const MAX_TEXT_BYTES: usize = 1024;
/// Denials of a request at most; the log shows fewer.
const MAX_DENIALS: usize = 32;
/// Attempts of a request at most. The last ones are kept, because the log shows the account that served.
pub(crate) const MAX_ATTEMPTS: usize = 64;
/// The contract's limit on the list of finish reasons.
pub(crate) const MAX_FINISH_REASONS: usize = 4;

fn text(text: &mut String) {
    if text.len() > MAX_TEXT_BYTES {
        let end = (0..=MAX_TEXT_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        // A copy: cutting a string keeps its memory.
        *text = text[..end].to_owned();
    }
}

fn maybe(text: &mut Option<String>) {
    text.iter_mut().for_each(self::text);
}

pub(crate) fn admission(admission: &mut Admission) {
    maybe(&mut admission.correlation_id);
    maybe(&mut admission.client_request_id);
    maybe(&mut admission.model);
    text(&mut admission.pool.slug);
    text(&mut admission.pool.name);
    if let ApiKey::Key { label, prefix, .. } = &mut admission.api_key {
        maybe(label);
        maybe(prefix);
    }
    if let Some(client) = &mut admission.client {
        maybe(&mut client.version);
    }
}

fn account(account: &mut Account) {
    maybe(&mut account.label);
    maybe(&mut account.plan_label);
    maybe(&mut account.plan_family);
}

pub(crate) fn attempt(attempt: &mut Attempt) {
    account(&mut attempt.account);
    maybe(&mut attempt.model);
    attempt.end.iter_mut().for_each(attempt_end);
}

pub(crate) fn attempt_end(end: &mut AttemptEnd) {
    maybe(&mut end.error_code);
    maybe(&mut end.response_model);
    end.finish_reasons.truncate(MAX_FINISH_REASONS);
}

pub(crate) fn end(end: &mut Ended) {
    maybe(&mut end.error_code);
    end.denials.truncate(MAX_DENIALS);
    end.denials.iter_mut().for_each(|denial| text(&mut denial.code));
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::Rule;

    /// Guarantees: no rule allows a text as long as one that was cut, at four bytes a character.
    #[test]
    fn a_cut_text_breaks_every_rule() {
        for attribute in contract::generated::ATTRIBUTES {
            // The columns' composed texts are made of texts that were checked each.
            if let Rule::Text { max_chars, .. } = attribute.rule
                && !attribute.key.contains(".text.")
                && attribute.key != contract::attr::REQUEST_SEARCH
            {
                assert!(max_chars * 4 < MAX_TEXT_BYTES - 4, "{}", attribute.key);
            }
        }
        let mut long = "é".repeat(MAX_TEXT_BYTES);
        text(&mut long);
        assert_eq!(long.len(), MAX_TEXT_BYTES);
    }
}

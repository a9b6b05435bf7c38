//! Bounds on what a caller hands over, so that what waits in memory is bounded in bytes and not only in number.

use crate::lifecycle::{Account, Admission, ApiKey, Attempt, AttemptEnd, Ended, Lifecycle};

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

/// Keeps the first ones, and no memory of the others.
fn list<T>(list: &mut Vec<T>, max: usize) {
    if list.len() > max {
        list.truncate(max);
        list.shrink_to_fit();
    }
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
    list(&mut end.finish_reasons, MAX_FINISH_REASONS);
}

pub(crate) fn end(end: &mut Ended) {
    maybe(&mut end.error_code);
    list(&mut end.denials, MAX_DENIALS);
    end.denials.iter_mut().for_each(|denial| text(&mut denial.code));
}

/// A whole one, as a correction hands it over, so that it differs from its row, which was bounded, in nothing but what has changed.
pub(crate) fn lifecycle(lifecycle: &mut Lifecycle) {
    admission(&mut lifecycle.admission);
    lifecycle.account.iter_mut().for_each(account);
    let too_many = lifecycle.attempts.len().saturating_sub(MAX_ATTEMPTS);
    if too_many > 0 {
        lifecycle.attempts.drain(..too_many);
        lifecycle.attempts.shrink_to_fit();
    }
    lifecycle.attempts.iter_mut().for_each(attempt);
    lifecycle.end.iter_mut().for_each(end);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::end::{Denial, End};
    use crate::testing;
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

    /// Guarantees: of a whole lifecycle, as a correction hands it over, no text and no list stays longer than its bound, in memory either; the
    /// last attempts are kept.
    #[test]
    fn a_whole_lifecycle_is_bounded() {
        let long = || "a".repeat(1 << 20);
        let mut given = Lifecycle::new(testing::admission(), testing::at());
        given.admission.model = Some(long());
        given.account = Some(Account { label: Some(long()), ..Account::default() });
        let attempt = |number| Attempt { number, model: Some(long()), ..testing::attempt() };
        given.attempts = (1..=70).map(attempt).collect();
        let denial = Denial { code: long(), ..Denial::default() };
        given.end = Some(End { denials: vec![denial; 40], ..End::failed(long()) }.into());
        lifecycle(&mut given);
        let end = given.end.as_ref().unwrap();
        let texts = [&given.admission.model, &given.account.as_ref().unwrap().label, &end.error_code];
        let texts = texts.into_iter().chain(given.attempts.iter().map(|attempt| &attempt.model)).flatten();
        let texts = texts.chain(end.denials.iter().map(|denial| &denial.code));
        assert!(texts.clone().count() == 3 + 64 + 32 && texts.clone().all(|text| text.capacity() <= 1024));
        assert!(given.attempts.capacity() <= 64 && end.denials.capacity() <= 32);
        assert_eq!((given.attempts[0].number, given.attempts[63].number), (7, 70));
    }
}

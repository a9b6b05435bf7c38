//! Applies a contract rule to one value. The exporter does it to what it sends, and a [`Policy`] before it asks what an operator
//! demands besides.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use contract::{Attribute, Fallback, Record, Rule, StripReason, generated};
use regex::Regex;

use crate::Policy;
use crate::detect::looks_secret;

/// A value in the forms that rules know. Anything else, such as bytes or a nested list, is never allowed.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// Text.
    Text(&'a str),
    /// A list of texts.
    TextList(&'a [&'a str]),
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Double(f64),
    /// True or false.
    Bool(bool),
}

/// The regular expressions of all rules, compiled at the first use.
static PATTERNS: LazyLock<HashMap<&'static str, Regex>> = LazyLock::new(|| {
    let rules = generated::ATTRIBUTES.iter().filter_map(|attribute| match attribute.rule {
        Rule::Text { pattern, .. } => pattern,
        _ => None,
    });
    let names = generated::RECORDS.iter().map(|record| record.name_pattern);
    // `cargo xtask gen` refuses a pattern that does not compile, and a test compiles them all: nothing is lost here. If one were, it would match nothing.
    rules.chain(names).filter_map(|pattern| Some((pattern, Regex::new(pattern).ok()?))).collect()
});

fn matches(pattern: &'static str, text: &str) -> bool {
    PATTERNS.get(pattern).is_some_and(|regex| regex.is_match(text))
}

/// Whether a value may pass as it is; if not, why. The first call builds the contract's tables, see [`Policy::prepare`](crate::Policy::prepare).
pub fn check(attribute: &Attribute, value: Value<'_>) -> Result<(), StripReason> {
    if let Value::Text(text) = value
        && Policy::contract().tables().surely_pass(attribute, text.as_bytes())
    {
        return Ok(());
    }
    by_rule(attribute, value)
}

/// The same, by the rule as it is written down, without tables.
pub(crate) fn by_rule(attribute: &Attribute, value: Value<'_>) -> Result<(), StripReason> {
    match (&attribute.rule, value) {
        (Rule::Text { members, pattern, max_chars }, Value::Text(text)) => {
            if members.contains(&text) || attribute.fallback == Fallback::Text(fixed_text(text)) {
                return Ok(());
            }
            let Some(pattern) = pattern else { return Err(StripReason::NotAMember) };
            // Bytes first: a text of more bytes than four a character is too long whatever it says, and need not be counted.
            if text.len() > max_chars * 4 || text.chars().count() > *max_chars {
                Err(StripReason::TooLong)
            } else if !matches(pattern, text) {
                Err(StripReason::Pattern)
            } else if looks_secret(text) {
                Err(StripReason::Detected)
            } else {
                Ok(())
            }
        }
        (Rule::TextList { members, max_items }, Value::TextList(items)) => {
            if items.len() > *max_items {
                Err(StripReason::TooLong)
            } else if items.iter().all(|item| members.contains(item)) {
                Ok(())
            } else {
                Err(StripReason::NotAMember)
            }
        }
        (Rule::Int { min, max }, Value::Int(n)) if (*min..=*max).contains(&n) => Ok(()),
        // A comparison with a value that is not a number is false, so NaN is out of range.
        (Rule::Double { min, max }, Value::Double(n)) if n >= *min && n <= *max => Ok(()),
        (Rule::Int { .. }, Value::Int(_)) | (Rule::Double { .. }, Value::Double(_)) => Err(StripReason::OutOfRange),
        (Rule::Bool, Value::Bool(_)) => Ok(()),
        _ => Err(StripReason::WrongType),
    }
}

/// The fixed fallback text that equals `text`, or one that no rule has. Fallbacks always pass, so that sanitizing twice equals once.
pub(crate) fn fixed_text(text: &str) -> &'static str {
    [contract::OTHER, contract::ABSENT, contract::DASH].into_iter().find(|fixed| *fixed == text).unwrap_or("")
}

/// Whether a span of this record may have this name; if not, why.
pub fn check_name(record: &Record, name: &str) -> Result<(), StripReason> {
    /// No name that the contract composes is longer, in bytes.
    const MAX_NAME_BYTES: usize = 256;
    if name == record.fallback_name {
        Ok(())
    } else if name.len() > MAX_NAME_BYTES {
        Err(StripReason::TooLong)
    } else if !matches(record.name_pattern, name) {
        Err(StripReason::Pattern)
    } else if looks_secret(name) {
        Err(StripReason::Detected)
    } else {
        Ok(())
    }
}

/// What a value that broke its rule becomes; `account_id` is the record's own, where that is valid. `None` means that the attribute goes.
#[must_use]
pub fn fallback(attribute: &Attribute, account_id: Option<&str>) -> Option<String> {
    stand_in(attribute.fallback, account_id).map(Cow::into_owned)
}

pub(crate) fn stand_in(fallback: Fallback, account_id: Option<&str>) -> Option<Cow<'static, str>> {
    match fallback {
        Fallback::Drop => None,
        Fallback::Text(text) => Some(text.into()),
        Fallback::AccountShortForm => {
            Some(account_id.map_or(contract::ABSENT.into(), |id| contract::display::account_short_form(id).into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::attr;

    /// Guarantees: no pattern of the contract is silently missing.
    #[test]
    fn every_pattern_compiles() {
        for attribute in generated::ATTRIBUTES {
            if let Rule::Text { pattern: Some(pattern), .. } = attribute.rule {
                assert!(PATTERNS.contains_key(pattern), "{}", attribute.key);
            }
        }
        for record in generated::RECORDS {
            assert!(PATTERNS.contains_key(record.name_pattern), "{}", record.fallback_name);
        }
    }

    /// Guarantees: a value that is a prompt, an address, a credential or of another type is refused for its own reason under a legal key.
    #[test]
    fn a_legal_key_does_not_carry_an_illegal_value() {
        let reason = |key: &str, value| check(contract::attribute(key).expect("in the contract"), value).unwrap_err();
        for (key, text, expected) in [
            (attr::GEN_AI_REQUEST_MODEL, "tell me a joke", StripReason::Pattern),
            (attr::GEN_AI_REQUEST_MODEL, "10.20.30.40", StripReason::Detected),
            (attr::HTTP_ROUTE, "/users/17", StripReason::NotAMember),
            (attr::ERROR_TYPE, "the user said no", StripReason::Pattern),
            (attr::SERVICE_NAME, "alice@example.com", StripReason::Pattern),
            (attr::UPSTREAM_ACCOUNT_LABEL, "alice@example.com", StripReason::Pattern),
            (attr::UPSTREAM_ACCOUNT_LABEL, "seat 192.0.2.7", StripReason::Detected),
            (attr::UPSTREAM_ACCOUNT_LABEL, "a\u{200b}b", StripReason::Pattern),
            (attr::UPSTREAM_ACCOUNT_LABEL, "\u{3164}", StripReason::Pattern),
            (attr::API_KEY_LABEL, "sk-cxp-1b158839f8aa-0123456789abcdefghijklmnopqrstuvwxyzABCDEFG", StripReason::Detected),
            (attr::API_KEY_PREFIX, "sk-cxp-1b158839f8aa-x", StripReason::TooLong),
            (attr::REQUEST_STATUS, "Succeeded", StripReason::NotAMember),
            (attr::TEXT_USAGE, "50.1k tokens of secrets", StripReason::Pattern),
            (attr::TEXT_TRANSPORT, "HTTP SSE · Codex says hello", StripReason::Pattern),
        ] {
            assert_eq!(reason(key, Value::Text(text)), expected, "{key}: {text}");
        }
        assert_eq!(reason(attr::USAGE_TOTAL_TOKENS, Value::Int(-1)), StripReason::OutOfRange);
        assert_eq!(reason(attr::USAGE_TOTAL_TOKENS, Value::Text("1")), StripReason::WrongType);
        assert_eq!(reason(attr::COST_SETTLED_USD, Value::Double(f64::NAN)), StripReason::OutOfRange);
        assert_eq!(reason(attr::GEN_AI_RESPONSE_FINISH_REASONS, Value::TextList(&["because"])), StripReason::NotAMember);
    }

    /// Guarantees: the tables never say yes where the rule does not: each text that is told of here, under every key.
    #[test]
    fn the_tables_add_nothing() {
        let texts =
            ["tell me a joke", "10.20.30.40", "sk-cxp-1b158839f8aa-x", "33ecffe2-5175-44bc-86ca-7ca871e58a48", "gpt-5.4", "–"];
        for attribute in generated::ATTRIBUTES {
            for text in texts {
                assert_eq!(check(attribute, Value::Text(text)), by_rule(attribute, Value::Text(text)), "{}", attribute.key);
            }
        }
        // A rule of another, under one of the contract's keys, is judged by itself.
        let model = contract::attribute(attr::REQUEST_MODEL).expect("in the contract");
        let narrower = Attribute { rule: Rule::Bool, ..*model };
        assert_eq!(check(&narrower, Value::Text("gpt-5.4")), Err(StripReason::WrongType));
    }

    /// Guarantees: what the rules are there for passes.
    #[test]
    fn honest_values_pass() {
        for (key, text) in [
            (attr::UPSTREAM_ACCOUNT_LABEL, "Команда 7 (Zürich)"),
            (attr::API_KEY_PREFIX, "sk-cxp-1b158839f8aa"),
            (attr::REQUEST_CORRELATION_ID, "33ecffe2-5175-44bc-86ca-7ca871e58a48"),
            (attr::TEXT_ROUTE, "/backend-api/codex/responses ← /v1/responses · 8.4s"),
            (attr::TEXT_USAGE, "50.1k tokens · 41k cached · $0.0331"),
            (attr::TEXT_ERRORS, "quota exhausted · resets 2026-08-24 06:00:00 UTC"),
            (attr::TEXT_MODEL, "gpt-5.4 · max · requested: ultra / priority · CI agents"),
            (attr::ERROR_CODE, "workspace_member_usage_limit_reached"),
        ] {
            assert_eq!(check(contract::attribute(key).expect("in the contract"), Value::Text(text)), Ok(()), "{text}");
        }
    }

    /// Guarantees: every fallback passes its own rule, so that sanitizing twice equals once.
    #[test]
    fn fallbacks_pass() {
        for attribute in generated::ATTRIBUTES {
            if let Some(text) = fallback(attribute, Some("63918144-2107-4e99-9119-c5edfe6f6b9b")) {
                assert_eq!(check(attribute, Value::Text(&text)), Ok(()), "{}", attribute.key);
            }
        }
    }
}

//! What an operator demands of a value.

use contract::StripReason;
use regex::Regex;

use crate::check::Value;
use crate::looks_secret;

/// Longest text under an operator's own key, in characters.
pub(super) const MAX_ADDED_CHARS: usize = 128;

/// A value has to meet all of it.
#[derive(Debug)]
#[cfg_attr(not(feature = "policy-file"), expect(dead_code, reason = "without files, there is the contract alone"))]
pub(super) enum Demand {
    /// A text, or each text of a list.
    Text {
        /// In order; none means that it need not be one of a set.
        members: Option<Vec<String>>,
        /// Anchored.
        pattern: Option<Regex>,
        max_chars: usize,
    },
    /// A whole number within inclusive bounds.
    Int { min: i64, max: i64 },
    /// A finite number within inclusive bounds.
    Double { min: f64, max: f64 },
    /// True or false.
    Bool,
}

impl Demand {
    pub(super) fn check(&self, value: Value<'_>) -> Result<(), StripReason> {
        match (self, value) {
            (Self::Text { .. }, Value::Text(text)) => self.check_text(text),
            (Self::Text { .. }, Value::TextList(items)) => items.iter().try_for_each(|item| self.check_text(item)),
            (Self::Int { min, max }, Value::Int(n)) if (*min..=*max).contains(&n) => Ok(()),
            (Self::Double { min, max }, Value::Double(n)) if n >= *min && n <= *max => Ok(()),
            (Self::Int { .. }, Value::Int(_)) | (Self::Double { .. }, Value::Double(_)) => Err(StripReason::OutOfRange),
            (Self::Bool, Value::Bool(_)) => Ok(()),
            _ => Err(StripReason::WrongType),
        }
    }

    fn check_text(&self, text: &str) -> Result<(), StripReason> {
        let Self::Text { members, pattern, max_chars } = self else { return Err(StripReason::WrongType) };
        if text.len() > max_chars * 4 || text.chars().count() > *max_chars {
            Err(StripReason::TooLong)
        } else if members.as_ref().is_some_and(|members| members.binary_search_by(|member| member.as_str().cmp(text)).is_err()) {
            Err(StripReason::NotAMember)
        } else if pattern.as_ref().is_some_and(|pattern| !pattern.is_match(text)) {
            Err(StripReason::Pattern)
        } else {
            Ok(())
        }
    }
}

/// What holds for every text under an operator's own key, whatever its rule says: letters, digits and a few signs, no spaces, so that no pattern
/// lets prose in; and nothing that looks like a secret.
pub(super) fn check_added_text(text: &str) -> Result<(), StripReason> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:/-".contains(&byte);
    if text.len() > MAX_ADDED_CHARS {
        Err(StripReason::TooLong)
    } else if !text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric()) || !text.bytes().all(is_plain) {
        Err(StripReason::Pattern)
    } else if looks_secret(text) {
        Err(StripReason::Detected)
    } else {
        Ok(())
    }
}

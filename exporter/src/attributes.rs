//! Attributes that pass the contract: every value is checked as it is added, and one that breaks its rule becomes the rule's fallback.

use contract::{Attribute, StripReason};
use opentelemetry::{Array, KeyValue, StringValue, Value};
use sanitizer::check::{self, check};
use uuid::Uuid;

/// The attributes of one span.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    account_id: Option<String>,
    values: Vec<KeyValue>,
    refused: u32,
}

/// Attributes of a row; it has the most.
const CAPACITY: usize = 64;

impl Attributes {
    /// `account_id` is the span's own; a short form of it stands in for an account label that must not get out.
    pub(crate) fn new(account_id: Option<String>) -> Self {
        Self { account_id, values: Vec::with_capacity(CAPACITY), refused: 0 }
    }

    pub(crate) fn text(&mut self, key: &'static str, text: impl AsRef<str>) {
        let text = text.as_ref();
        self.add(key, check::Value::Text(text), || text.to_owned().into());
    }

    pub(crate) fn maybe_text(&mut self, key: &'static str, text: Option<impl AsRef<str>>) {
        if let Some(text) = text {
            self.text(key, text);
        }
    }

    pub(crate) fn texts(&mut self, key: &'static str, texts: &[&'static str]) {
        let array = || Value::Array(Array::String(texts.iter().map(|text| StringValue::from(*text)).collect()));
        self.add(key, check::Value::TextList(texts), array);
    }

    pub(crate) fn int(&mut self, key: &'static str, number: impl TryInto<i64>) {
        // A number that does not fit is beyond every bound.
        let number = number.try_into().unwrap_or(i64::MAX);
        self.add(key, check::Value::Int(number), || number.into());
    }

    pub(crate) fn maybe_int(&mut self, key: &'static str, number: Option<impl TryInto<i64>>) {
        if let Some(number) = number {
            self.int(key, number);
        }
    }

    pub(crate) fn double(&mut self, key: &'static str, number: f64) {
        self.add(key, check::Value::Double(number), || number.into());
    }

    pub(crate) fn bool(&mut self, key: &'static str, value: bool) {
        self.add(key, check::Value::Bool(value), || value.into());
    }

    /// A text composed of other attributes. [`Self::compose`] judges it, when these are known.
    pub(crate) fn composed(&mut self, key: &'static str, text: String) {
        self.values.push(KeyValue::new(key, text));
    }

    /// Makes the composed texts of a whole row what follows from the attributes that were allowed.
    pub(crate) fn compose(&mut self) {
        crate::enforce::correct(&mut self.values, false);
    }

    /// An id. It needs no check: whatever its bits, its form is the one that the contract wants.
    pub(crate) fn id(&mut self, key: &'static str, id: Uuid) {
        let mut buffer = Uuid::encode_buffer();
        let text: &str = id.hyphenated().encode_lower(&mut buffer);
        self.values.push(KeyValue::new(key, text.to_owned()));
    }

    pub(crate) fn maybe_id(&mut self, key: &'static str, id: Option<Uuid>) {
        if let Some(id) = id {
            self.id(key, id);
        }
    }

    /// A member of one of the contract's closed sets, which needs no check under its own key.
    pub(crate) fn member(&mut self, key: &'static str, member: &'static str) {
        self.values.push(KeyValue::new(key, member));
    }

    pub(crate) fn maybe_member(&mut self, key: &'static str, member: Option<&'static str>) {
        if let Some(member) = member {
            self.member(key, member);
        }
    }

    /// The text, if it may stand under this key; if not, that is counted.
    pub(crate) fn part<'a>(&mut self, key: &'static str, text: &'a str) -> Option<&'a str> {
        let allowed = allowed(key, text);
        self.refused += u32::from(allowed.is_none());
        allowed
    }

    /// A text that was found [allowed](Self::part) under this key, or the key's own fallback.
    pub(crate) fn checked(&mut self, key: &'static str, text: impl Into<StringValue>) {
        self.values.push(KeyValue::new(key, Value::String(text.into())));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &KeyValue> {
        self.values.iter()
    }

    pub(crate) fn extend(&mut self, more: impl IntoIterator<Item = KeyValue>) {
        self.values.extend(more);
    }

    /// Counts values that were refused elsewhere.
    pub(crate) fn refuse(&mut self, values: u32) {
        self.refused += values;
    }

    /// The attributes, and how many of the values that were given are not among them as they were.
    pub(crate) fn into_parts(self) -> (Vec<KeyValue>, u32) {
        (self.values, self.refused)
    }

    fn add(&mut self, key: &'static str, value: check::Value<'_>, owned: impl FnOnce() -> Value) {
        // A key outside the contract goes nowhere; the tests hold that there is none.
        let Some(attribute) = contract::attribute(key) else { return };
        let value = if check(attribute, value).is_ok() {
            Some(owned())
        } else {
            self.refused += 1;
            check::fallback(attribute, self.account_id.as_deref()).map(Value::from)
        };
        self.values.extend(value.map(|value| KeyValue::new(key, value)));
    }
}

/// The number, if it may stand under this key.
pub(crate) fn allowed_int(key: &str, number: u64) -> Option<u64> {
    let value = check::Value::Int(i64::try_from(number).ok()?);
    contract::attribute(key).is_some_and(|rule| check(rule, value).is_ok()).then_some(number)
}

/// The text, if it may stand under this key. Composed texts are made of such parts, so that one odd part does not cost the whole.
pub(crate) fn allowed<'a>(key: &str, text: &'a str) -> Option<&'a str> {
    let verdict =
        contract::attribute(key).map_or(Err(StripReason::UnknownKey), |a: &Attribute| check(a, check::Value::Text(text)));
    verdict.is_ok().then_some(text)
}

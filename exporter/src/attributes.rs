//! Attributes that pass the contract: every value is checked as it is added, and one that breaks its rule becomes the rule's fallback.

use contract::{Attribute, StripReason};
use opentelemetry::{Array, KeyValue, StringValue, Value};
use sanitizer::check::{self, check};

/// The attributes of one span.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    account_id: Option<String>,
    values: Vec<KeyValue>,
}

impl Attributes {
    /// `account_id` is the span's own; a short form of it stands in for an account label that must not get out.
    pub(crate) fn new(account_id: Option<String>) -> Self {
        Self { account_id, values: Vec::new() }
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

    /// With the composed texts as they follow from the attributes that were allowed.
    pub(crate) fn into_values(mut self) -> Vec<KeyValue> {
        crate::enforce::correct(&mut self.values, false);
        self.values
    }

    fn add(&mut self, key: &'static str, value: check::Value<'_>, owned: impl FnOnce() -> Value) {
        // A key outside the contract goes nowhere; the tests hold that there is none.
        let Some(attribute) = contract::attribute(key) else { return };
        let value = match check(attribute, value) {
            Ok(()) => Some(owned()),
            Err(_) => check::fallback(attribute, self.account_id.as_deref()).map(Value::from),
        };
        self.values.extend(value.map(|value| KeyValue::new(key, value)));
    }
}

/// The text, if it may stand under this key. Composed texts are made of such parts, so that one odd part does not cost the whole.
pub(crate) fn allowed<'a>(key: &str, text: &'a str) -> Option<&'a str> {
    let verdict =
        contract::attribute(key).map_or(Err(StripReason::UnknownKey), |a: &Attribute| check(a, check::Value::Text(text)));
    verdict.is_ok().then_some(text)
}

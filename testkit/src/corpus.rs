//! The corpus of named cases: one forbidden or allowed value in one place of a message, as data in `tests/corpus`. This is its form, and
//! how it is read; [`message`] makes the messages.

pub mod message;

use std::collections::BTreeSet;

use contract::Signal;
use serde::Deserialize;

/// The files, by name.
const FILES: &[(&str, &str)] = &[
    ("places.yaml", include_str!("../../tests/corpus/places.yaml")),
    ("values.yaml", include_str!("../../tests/corpus/values.yaml")),
    ("evasions.yaml", include_str!("../../tests/corpus/evasions.yaml")),
    ("readings.yaml", include_str!("../../tests/corpus/readings.yaml")),
    ("passing.yaml", include_str!("../../tests/corpus/passing.yaml")),
];

/// One case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Unique name.
    pub id: String,
    /// Why it is there, in one sentence.
    pub why: String,
    /// Signal of the message.
    #[serde(default)]
    pub signal: CaseSignal,
    /// Where the value is planted.
    pub place: Place,
    /// Key of the attribute, where the place is one of attributes.
    #[serde(default)]
    pub key: Option<String>,
    /// The value. In the files it may be a list, whose parts are joined, so that no scanner of a repository takes it for a real secret.
    pub value: Parts,
    /// What has to become of it.
    pub expect: Expect,
    /// The text that has to stand in the attribute instead; without one, the attribute goes.
    #[serde(default)]
    pub becomes: Option<String>,
}

/// What has to become of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// It is in the output.
    Pass,
    /// It is in no output; everything else of its record is.
    Strip,
    /// Its record is in no output.
    Drop,
    /// The whole message is refused.
    Refuse,
}

/// A signal, in the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseSignal {
    /// A row of the request log.
    #[default]
    Traces,
    /// An event.
    Logs,
    /// A sum, unless the place says otherwise.
    Metrics,
}

impl From<CaseSignal> for Signal {
    fn from(signal: CaseSignal) -> Self {
        match signal {
            CaseSignal::Traces => Self::Traces,
            CaseSignal::Logs => Self::Logs,
            CaseSignal::Metrics => Self::Metrics,
        }
    }
}

/// A text, or parts of one.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Parts {
    /// The text itself.
    Whole(String),
    /// Its parts.
    Parts(Vec<String>),
}

/// Where a value can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are OTLP's")]
pub enum Place {
    // All signals.
    ResourceAttribute,
    ResourceSchemaUrl,
    EntityRef,
    ScopeName,
    ScopeVersion,
    ScopeAttribute,
    ScopeSchemaUrl,
    /// An attribute of the span, the log record or the data point.
    Attribute,
    /// The value is the key.
    AttributeKey,
    /// The attribute is there already.
    DuplicateAttribute,
    /// A map with the value in it, in a list, in a map.
    NestedAttribute,
    ListAttribute,
    BytesAttribute,
    /// Key and value are indices into a dictionary that only profiles have; the text is the value beside them.
    DictionaryIndex,
    /// A field that OTLP does not have, in the record.
    UnknownField,
    /// The span's name, whose last byte is none of UTF-8.
    NotUtf8,
    /// The span's name, in a message whose last byte is missing.
    Truncated,
    // Traces.
    SpanName,
    StatusMessage,
    TraceState,
    EventName,
    EventAttribute,
    LinkAttribute,
    LinkTraceState,
    LinkTraceId,
    ParentSpanId,
    TraceId,
    SpanId,
    // Logs.
    BodyText,
    BodyMap,
    BodyBytes,
    SeverityText,
    LogEventName,
    // Metrics.
    MetricName,
    MetricDescription,
    MetricUnit,
    MetricMetadata,
    HistogramAttribute,
    ExponentialHistogramAttribute,
    SummaryAttribute,
    ExemplarAttribute,
}

impl Case {
    /// The value as it is planted.
    #[must_use]
    pub fn text(&self) -> String {
        match &self.value {
            Parts::Whole(text) => text.clone(),
            Parts::Parts(parts) => parts.concat(),
        }
    }

    /// The key of the attribute.
    ///
    /// # Panics
    /// If the case has none.
    #[must_use]
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or_else(|| panic!("{}: the place needs a key", self.id))
    }
}

/// All cases, in the order of the files.
///
/// # Panics
/// If a file has another form, or two cases have one name.
#[must_use]
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (file, text) in FILES {
        let read: Vec<Case> = serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{file}: {error}"));
        cases.extend(read);
    }
    let mut names = BTreeSet::new();
    for case in &cases {
        assert!(names.insert(&case.id), "two cases are called {}", case.id);
        assert!(!case.why.is_empty() && !case.text().is_empty(), "{} says nothing", case.id);
        assert!(case.becomes.is_none() || case.expect == Expect::Strip, "{}: only what is stripped becomes something", case.id);
    }
    cases
}

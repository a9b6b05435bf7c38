//! Asks a Tempo API the way a panel does.

use std::collections::BTreeMap;

use contract::limits::MAX_ROWS;
use contract::{RecordKind, attr};
use serde_json::Value;

use crate::otlp::now_ms;
use crate::send::{self, JSON, Reply};

/// How far back a search looks, in seconds: a day less than the most that a real Tempo allows.
const WINDOW_S: u64 = 6 * 24 * 3600;

/// A row as a search returned it.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Trace id, 32 digits.
    pub trace_id: String,
    /// Selected attributes.
    pub attributes: BTreeMap<String, Value>,
}

impl Found {
    /// A text attribute; an empty text where there is none.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.attributes.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// A whole number.
    #[must_use]
    pub fn int(&self, key: &str) -> Option<i64> {
        self.attributes.get(key)?.as_i64()
    }
}

/// Every attribute of a row that the request log shows or filters by, in TraceQL's `select`.
#[must_use]
pub fn select() -> String {
    let keys = contract::Record::of(Some(RecordKind::Request)).attributes.iter().map(|key| format!("span.{key}"));
    format!("select({})", keys.collect::<Vec<_>>().join(", "))
}

/// The reference query: rows for which all of `conditions` hold, newest first, with every attribute.
#[must_use]
pub fn rows_query(conditions: &[String]) -> String {
    let kind = format!("span.{} = \"{}\"", attr::RECORD_KIND, RecordKind::Request);
    let all: Vec<&str> = std::iter::once(kind.as_str()).chain(conditions.iter().map(String::as_str)).collect();
    format!("{{ {} }} | {} with (most_recent=true)", all.join(" && "), select())
}

/// A condition with a regular expression in backticks, which need no escapes.
#[must_use]
pub fn matches(key: &str, pattern: &str) -> String {
    format!("span.{key} =~ `{pattern}`")
}

/// One search, whatever the answer is. `url` is the API's base.
#[must_use]
pub fn search(url: &str, query: &str, limit: u32) -> Reply {
    let now_s = now_ms() / 1000;
    let (start, end, limit) = ((now_s - WINDOW_S).to_string(), (now_s + 60).to_string(), limit.to_string());
    let parameters = [("q", query), ("limit", &limit), ("spss", "1"), ("start", &start), ("end", &end)];
    send::get_with(&format!("{url}/api/search"), &parameters, JSON)
}

/// The rows for which all of `conditions` hold, newest first, as many as one query gives.
///
/// # Panics
/// If the answer is not a search result.
#[must_use]
pub fn rows(url: &str, conditions: &[String]) -> Vec<Found> {
    let reply = search(url, &rows_query(conditions), MAX_ROWS);
    assert_eq!(reply.status, 200, "{}", reply.text());
    found(&reply.json())
}

/// The rows in a search result.
///
/// # Panics
/// If it is none.
#[must_use]
pub fn found(answer: &Value) -> Vec<Found> {
    let traces = answer["traces"].as_array().expect("a list of traces");
    let row = |trace: &Value| Found {
        trace_id: format!("{:0>32}", trace["traceID"].as_str().expect("a trace id")),
        attributes: trace["spanSets"][0]["spans"][0]["attributes"].as_array().map_or_else(BTreeMap::new, |all| {
            all.iter().map(|a| (a["key"].as_str().expect("a key").to_owned(), scalar(&a["value"]))).collect()
        }),
    };
    traces.iter().map(row).collect()
}

/// The value in an OTLP `AnyValue`; protobuf's JSON has whole numbers as texts, and takes them as numbers, too.
fn scalar(value: &Value) -> Value {
    let (kind, value) = value.as_object().and_then(|object| object.iter().next()).expect("a value of one type");
    match (kind.as_str(), value) {
        ("intValue", Value::String(text)) => text.parse::<i64>().expect("a whole number").into(),
        _ => value.clone(),
    }
}

//! Asks a Tempo API for rows.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::Value;

use super::print::Row;
use crate::config::serve::origin;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer that is read, in bytes: 200 rows are well below it.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// One search.
#[derive(Clone, Debug)]
pub struct Query {
    /// The query text.
    pub traceql: String,
    /// Start of the window, in seconds since the Unix epoch.
    pub start_s: i64,
    /// End of the window, in seconds since the Unix epoch.
    pub end_s: i64,
    /// How many traces, which is how many rows.
    pub limit: u32,
}

/// A Tempo API.
pub struct Client {
    http: reqwest::Client,
    base: reqwest::Url,
    tenant: Option<String>,
}

impl Client {
    /// A client for a base URL.
    ///
    /// # Errors
    /// A text that is no http URL.
    pub fn new(url: &str, tenant: Option<&str>) -> anyhow::Result<Self> {
        let base = reqwest::Url::parse(url).ok().filter(|base| ["http", "https"].contains(&base.scheme()) && base.has_host());
        let base = base.context("--url is not the URL of a Tempo API; give one such as http://127.0.0.1:3200")?;
        // A redirect could lead the tenant's name somewhere else.
        let client = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { http: client, base, tenant: tenant.map(str::to_owned) })
    }

    /// The rows, newest first.
    ///
    /// # Errors
    /// The API cannot be reached, refuses the query, or does not answer as a Tempo API does.
    pub async fn search(&self, query: &Query) -> anyhow::Result<Vec<Row>> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/api/search", self.base.path().trim_end_matches('/')));
        let mut request = self.http.get(url).query(&[
            ("q", query.traceql.as_str()),
            ("limit", &query.limit.to_string()),
            ("spss", "1"),
            ("start", &query.start_s.to_string()),
            ("end", &query.end_s.to_string()),
        ]);
        if let Some(tenant) = &self.tenant {
            request = request.header("X-Scope-OrgID", tenant);
        }
        let mut response = request.send().await.map_err(|error| {
            let place = origin(&self.base);
            if error.is_timeout() {
                return anyhow::anyhow!("no answer from {place} within {} s; try a narrower --from and --to", TIMEOUT.as_secs());
            }
            anyhow::anyhow!(
                "no Tempo API answers at {place}; is `pooler-otel serve`, or Tempo, running there? change it with --url"
            )
        })?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.context("the answer broke off")? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER_BYTES {
                bail!("the answer is larger than {MAX_ANSWER_BYTES} bytes; use a smaller --limit");
            }
        }
        if !status.is_success() {
            let place = origin(&self.base);
            if status == reqwest::StatusCode::NOT_FOUND {
                bail!("{place} answers, but is no Tempo API; change it with --url");
            }
            bail!("the Tempo API at {place} answered {status}; check --tenant and, on a real Tempo, its limits");
        }
        let answer: Answer = serde_json::from_slice(&body).context("the answer is not a Tempo search result; check --url")?;
        let mut rows: Vec<Row> = answer.traces.into_iter().filter_map(row).collect();
        // Tempo sorts by start time in descending order already; two servers behind one proxy need not.
        rows.sort_by_key(|row| std::cmp::Reverse(row.start_unix_ns));
        rows.truncate(query.limit as usize);
        Ok(rows)
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    traces: Vec<Trace>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Trace {
    #[serde(rename = "traceID")]
    id: String,
    #[serde(default)]
    span_sets: Vec<SpanSet>,
}

#[derive(Deserialize)]
struct SpanSet {
    #[serde(default)]
    spans: Vec<Span>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Span {
    start_time_unix_nano: Value,
    #[serde(default)]
    attributes: Vec<Attribute>,
}

#[derive(Deserialize)]
struct Attribute {
    key: String,
    value: BTreeMap<String, Value>,
}

fn row(trace: Trace) -> Option<Row> {
    let span = trace.span_sets.into_iter().flat_map(|set| set.spans).next()?;
    let attributes = span.attributes.into_iter().filter_map(|a| Some((printable(&a.key), scalar(a.value)?))).collect();
    // Search results lose leading zeros of a trace id.
    let trace_id = format!("{:0>32}", printable(&trace.id));
    Some(Row { trace_id, start_unix_ns: unsigned(&span.start_time_unix_nano)?, attributes })
}

/// Protobuf's JSON has 64-bit numbers as texts, and takes them as numbers, too.
fn unsigned(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn scalar(value: BTreeMap<String, Value>) -> Option<Value> {
    let (kind, value) = value.into_iter().next()?;
    match kind.as_str() {
        "intValue" => {
            let number = value.as_i64().or_else(|| value.as_str()?.parse().ok())?;
            Some(number.into())
        }
        "stringValue" => Some(printable(value.as_str()?).into()),
        "doubleValue" => value.is_number().then_some(value),
        "boolValue" => value.is_boolean().then_some(value),
        _ => None,
    }
}

/// A text without characters that a terminal would act on: any server can answer at `--url`, and not every Tempo has a sanitizer before it.
fn printable(text: &str) -> String {
    let acts = |c: char| {
        let invisible =
            matches!(c, '\u{061c}' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
        c.is_control() || invisible
    };
    text.chars().map(|c| if acts(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a hostile server cannot send escape sequences to the terminal, nor reverse what is read.
    #[test]
    fn answers_cannot_act_on_the_terminal() {
        let value = |text: &str| scalar([("stringValue".to_owned(), Value::from(text))].into()).unwrap();
        assert_eq!(value("\u{1b}[2Jgone\u{9b}31m\r\n"), "\u{fffd}[2Jgone\u{fffd}31m\u{fffd}\u{fffd}");
        assert_eq!(value("a\u{202e}b"), "a\u{fffd}b");
        assert_eq!(value("Aurora · Zürich ⚡"), "Aurora · Zürich ⚡");
        for (kind, value) in [("doubleValue", "\u{1b}[2J"), ("boolValue", "\u{1b}[2J"), ("intValue", "\u{1b}[2J")] {
            assert_eq!(scalar([(kind.to_owned(), Value::from(value))].into()), None, "{kind}");
        }
    }
}

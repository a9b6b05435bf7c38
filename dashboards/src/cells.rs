//! How cells look that several tables have: states as coloured symbols, plans as badges, times; and the links of a request.

use contract::{ABSENT, AttemptStatus, DASH, RequestStatus, UsageStatus, attr, display};
use serde_json::{Value, json};

use crate::board::{Board, SAME_TIME, named, set};
use crate::filter::Filter;
use crate::grafana::{self, Column, NEUTRAL, TRACE_ID, hidden, mapping, numeric, shown};

/// Unit of a column of times.
pub const TIME_FORMAT: &str = "time:YYYY-MM-DD HH:mm:ss";
/// Heading of the hidden column with the time of admission, short enough for a link.
const ADMITTED: &str = "admitted_ms";
/// Heading of the hidden column with the row id.
const ROW_ID: &str = "row_id";
/// How far to both sides the neighbours of a request are shown.
const NEIGHBOURS_MS: u32 = 10 * 60 * 1000;

/// Variable of the request's dashboard with the row id.
pub const REQUEST_VARIABLE: &str = "request";
/// Variable of the request's dashboard with the trace id.
pub const TRACE_VARIABLE: &str = "trace";

/// A status: symbol and word, in the colours of the pooler's own page.
pub fn status() -> Column {
    let mappings: Vec<Value> = RequestStatus::ALL
        .iter()
        .enumerate()
        .map(|(at, status)| {
            let color = match status {
                RequestStatus::Succeeded => "green",
                RequestStatus::Failed | RequestStatus::Rejected => "red",
                RequestStatus::Cancelled => "yellow",
                RequestStatus::InProgress => "blue",
                RequestStatus::Other => NEUTRAL,
            };
            let text = format!("{} {}", display::status_symbol(*status), display::status_label(*status));
            mapping(at, &format!("^{status}$"), Some(text), color)
        })
        .collect();
    colored(shown(attr::REQUEST_STATUS, "Status", 130), &mappings)
}

/// How an attempt ended, in the same way.
pub fn attempt_status() -> Column {
    let mappings: Vec<Value> = AttemptStatus::ALL
        .iter()
        .enumerate()
        .map(|(at, status)| {
            let (text, color) = match status {
                AttemptStatus::Succeeded => ("✔ Succeeded", "green"),
                AttemptStatus::Failed => ("✖ Failed", "red"),
                AttemptStatus::RetryableFailed => ("↻ Failed, next account tried", "orange"),
                AttemptStatus::Cancelled => ("⊘ Cancelled", "yellow"),
                AttemptStatus::Other => ("? Other", NEUTRAL),
            };
            mapping(at, &format!("^{status}$"), Some(text.to_owned()), color)
        })
        .collect();
    colored(shown(attr::ATTEMPT_STATUS, "Status", 220), &mappings)
}

/// Whether the usage is known.
pub fn usage_status() -> Column {
    let mappings: Vec<Value> = UsageStatus::ALL
        .iter()
        .enumerate()
        .map(|(at, status)| {
            let color = match status {
                UsageStatus::UsageKnown => "green",
                UsageStatus::UsagePending => "blue",
                UsageStatus::UsageUnknown => "orange",
                UsageStatus::NotApplicable | UsageStatus::Other => NEUTRAL,
            };
            mapping(at, &format!("^{status}$"), None, color)
        })
        .collect();
    colored(shown(attr::USAGE_STATUS, "Usage", 140), &mappings)
}

fn colored(column: Column, mappings: &[Value]) -> Column {
    column.with([("mappings", json!(mappings)), ("custom.cellOptions", json!({"type": "color-text"}))])
}

/// The plan of the account, as a badge.
pub fn plan() -> Column {
    shown(attr::UPSTREAM_PLAN_LABEL, "Plan", 130).with(badge())
}

/// Colours by the badge's first word. Badges are open texts; one that is not listed keeps a neutral colour.
pub fn badge() -> Vec<(&'static str, Value)> {
    let tones = [
        ("^Free\\b.*", "green"),
        ("^(?:Go|Plus|Pro|ChatGPT (?:Plus|Pro))\\b.*", "purple"),
        ("^(?:Team|Business|Self Serve|ChatGPT Team)\\b.*", "blue"),
        ("^(?:Edu|Education|Enterprise)\\b.*", "orange"),
    ];
    let none = mapping(0, &format!("^{ABSENT}$"), Some(DASH.to_owned()), NEUTRAL);
    let tones = (1..).zip(tones).map(|(at, (pattern, color))| mapping(at, pattern, None, color));
    let mappings: Vec<Value> = std::iter::once(none).chain(tones).collect();
    vec![
        ("mappings", json!(mappings)),
        ("custom.cellOptions", json!({"type": "pill"})),
        ("color", json!({"mode": "fixed", "fixedColor": NEUTRAL})),
    ]
}

/// The account by its label, with the link to its dashboard.
pub fn account() -> Column {
    linked(text(attr::UPSTREAM_ACCOUNT_LABEL, "Upstream account", 180), &[account_link("${__value.raw:percentencode}")])
}

/// A text that is a dash where there is nothing.
pub fn text(field: &'static str, title: &'static str, width: u32) -> Column {
    let none = mapping(0, &format!("^{ABSENT}$"), Some(DASH.to_owned()), NEUTRAL);
    shown(field, title, width).with([("mappings", json!([none]))])
}

/// The HTTP status of one request. Where a span has none, a Tempo server answers the word `nil`, so a table with several spans, some of them
/// without, would have two types in this column, which Grafana's data source does not take.
pub fn http_status() -> Column {
    let none = mapping(0, "^nil$", Some(DASH.to_owned()), NEUTRAL);
    shown(attr::HTTP_RESPONSE_STATUS_CODE, "HTTP status", 100).with([("mappings", json!([none]))])
}

/// Milliseconds.
pub fn milliseconds(field: &'static str, title: &'static str, width: u32) -> Column {
    numeric(field, title, width, "ms")
}

/// A column with links.
pub fn linked(column: Column, links: &[Value]) -> Column {
    column.with([("links", json!(links))])
}

/// The hidden columns that the links of a request need.
pub fn for_links() -> [Column; 3] {
    [hidden(attr::REQUEST_ADMITTED_MS, ADMITTED), hidden(attr::REQUEST_ID, ROW_ID), hidden(TRACE_ID, TRACE_ID)]
}

/// To everything about the request of this line.
pub fn detail_link() -> Value {
    let row = cell(ROW_ID);
    let parameters =
        [set(Filter::Id.name(), &row), set(REQUEST_VARIABLE, &row), set(TRACE_VARIABLE, &cell(TRACE_ID)), SAME_TIME.to_owned()];
    named("Request detail", &Board::RequestDetail.link(&parameters))
}

/// To the trace of this line, in Explore, which needs the role of an editor.
pub fn trace_link() -> Value {
    let pane = json!({
        "datasource": "${tempo_datasource}",
        "queries": [{
            "refId": "A", "datasource": {"type": "tempo", "uid": "${tempo_datasource}"},
            "queryType": "traceql", "query": cell(TRACE_ID),
        }],
        "range": {"from": "${__from}", "to": "${__to}"},
    });
    let mut panes = json!({"log": pane});
    panes.sort_all_objects();
    named("Trace in Explore", &format!("/explore?schemaVersion=1&panes={}", grafana::url_encoded(&panes.to_string())))
}

/// To the log page that begins with this line, with these filters.
pub fn older_link(kept: &[String]) -> Value {
    let parameters: Vec<String> =
        kept.iter().cloned().chain([set(Filter::Before.name(), &number(ADMITTED)), SAME_TIME.to_owned()]).collect();
    named("This row and older ones", &Board::RequestLogs.link(&parameters))
}

/// To the log around this line's admission, without filters.
pub fn neighbours_link() -> Value {
    let window = format!("time={}&time.window={NEIGHBOURS_MS}", number(ADMITTED));
    named("Requests of the same minutes", &Board::RequestLogs.link(&[window]))
}

/// To the dashboard of this cell's account.
pub fn account_link(cell: &str) -> Value {
    let parameters = [set(Filter::Account.name(), cell), SAME_TIME.to_owned()];
    named("Upstream account", &Board::Accounts.link(&parameters))
}

/// The value of a column of the same line, encoded for a URL.
pub fn cell(column: &str) -> String {
    format!("${{__data.fields.{column}:percentencode}}")
}

/// The number itself: its shown text could be abbreviated.
fn number(column: &str) -> String {
    format!("${{__data.fields.{column}.numeric}}")
}

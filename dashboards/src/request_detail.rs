//! The dashboard "Request detail": everything about one request.

use contract::limits::PAGE_ROWS;
use contract::{RecordKind, attr};
use serde_json::{Value, json};

use crate::board::Board;
use crate::cells::{self, REQUEST_VARIABLE, TIME_FORMAT, TRACE_VARIABLE};
use crate::filter::Filter;
use crate::grafana::{self, Column, START_TIME, Size, numeric, shown};
use crate::request_logs::{is_record, query};

/// Spans of one kind in a request that a table shows at most; the trace has them all.
const MAX_SPANS: u32 = 50;
/// Matching requests from which one is chosen.
const MATCHES: u32 = 10;
/// Heading of the hidden column with the account's label.
const ACCOUNT: &str = "account";

/// The dashboard.
pub fn dashboard() -> Value {
    let text_box = |name: &str, label: &str, description: &str| {
        grafana::merge(grafana::text_box(""), json!({"name": name, "label": label, "description": description}))
    };
    let variables = vec![
        Filter::Id.variable(),
        text_box(
            REQUEST_VARIABLE,
            "Row id",
            "Whole row id of the request that is shown. Links set it: choose a line of the first table.",
        ),
        text_box(TRACE_VARIABLE, "Trace id", "Trace of the request that is shown. Links set it, together with the row id."),
    ];
    let panels = vec![
        matches(),
        grafana::heading("The request: ${request}"),
        fields("How it ended", "State, times and codes.", outcome()),
        fields("Who and what", "Pool, account, API key, client, model and route.", attribution()),
        fields("Usage and cost", "Tokens and cost, as settled. Where usage is not known they are absent, never zero.", usage()),
        of_request(
            "Attempts",
            "Every try on an upstream account, the newest first. Retried attempts name the account that was left.",
            RecordKind::Attempt,
            8,
            attempts(),
        ),
        of_request(
            "Corrections",
            "What was learned after the row was sent, such as a late settlement; of several, the highest number holds. The collector's own \
             store has applied them above, a Tempo server has not.",
            RecordKind::Correction,
            5,
            corrections(),
        ),
        trace(),
    ];
    Board::RequestDetail.dashboard(
        "One request: its fields, its attempts, what was learned later, its trace, and the way to its neighbours and to its account.",
        "now-6h",
        variables,
        panels,
    )
}

/// The requests that the id fits, to choose one.
fn matches() -> Value {
    let links = [cells::detail_link(), cells::neighbours_link(), cells::older_link(&[]), cells::trace_link()];
    let mut columns = vec![
        cells::linked(cells::status(), &links[..1]),
        cells::linked(numeric(START_TIME, "Admitted (UTC)", 180, TIME_FORMAT), &links),
        shown(attr::REQUEST_CORRELATION_ID, "Correlation id", 310),
        cells::linked(shown(attr::TEXT_ACCOUNT, "Upstream account", 240), &[cells::account_link(&cells::cell(ACCOUNT))]),
        cells::plan(),
        shown(attr::TEXT_MODEL, "Model / API key", 300),
        shown(attr::TEXT_ROUTE, "Route", 280),
        shown(attr::TEXT_USAGE, "Usage", 250),
        shown(attr::TEXT_ERRORS, "Errors", 260),
    ];
    columns.extend(cells::for_links());
    columns.push(grafana::hidden(attr::UPSTREAM_ACCOUNT_LABEL, ACCOUNT));
    let text = format!(
        "The newest {MATCHES} requests that the id fits, in the time range. Click a status to show that request below, a time for its \
         neighbours in the log, its account for how that is doing."
    );
    let query = query(&[is_record(RecordKind::Request), Filter::Id.traceql()], &fields_of(&columns));
    grafana::span_table("Requests with this id", &text, Size(24, 6), &query, (MATCHES, 1), columns)
}

fn outcome() -> Vec<Column> {
    vec![
        cells::status(),
        shown(attr::REQUEST_OUTCOME, "Outcome", 90),
        shown(attr::ERROR_CODE, "Error code", 200),
        cells::http_status(),
        shown(attr::RESPONSE_STATUS, "Response", 110),
        shown(attr::RESPONSE_INCOMPLETE_REASON, "Incomplete because", 160),
        numeric(START_TIME, "Admitted (UTC)", 170, TIME_FORMAT),
        // The data source's own column, of every span.
        numeric(DURATION, "Total time", 110, "ns"),
        cells::milliseconds(attr::REQUEST_LATENCY_MS, "Latency of the last attempt", 190),
        shown(attr::REQUEST_RETRY_COUNT, "Retries", 80),
        shown(attr::TEXT_ERRORS, "Errors", 300),
    ]
}

fn attribution() -> Vec<Column> {
    vec![
        shown(attr::POOL_NAME, "Pool", 150),
        shown(attr::POOL_SLUG, "Pool slug", 130),
        cells::account(),
        cells::plan(),
        shown(attr::API_KEY_LABEL, "API key", 150),
        shown(attr::API_KEY_PREFIX, "Key prefix", 180),
        cells::text(attr::REQUEST_MODEL, "Model", 150),
        shown(attr::REASONING_EFFORT_REQUESTED, "Effort asked", 110),
        shown(attr::REASONING_EFFORT_EFFECTIVE, "Effort", 90),
        shown(attr::REASONING_EFFORT_SOURCE, "Effort set by", 120),
        shown(attr::SERVICE_TIER_REQUESTED, "Tier asked", 100),
        shown(attr::SERVICE_TIER_ACTUAL, "Tier", 90),
        shown(attr::TEXT_TRANSPORT, "Transport", 200),
        shown(attr::HTTP_REQUEST_METHOD, "Method", 80),
        shown(attr::TEXT_ROUTE, "Route", 280),
        shown(attr::REQUEST_ROUTE_CLASS, "Route class", 130),
        cells::text(attr::REQUEST_SERVING_MODE, "Serving mode", 110),
    ]
}

fn usage() -> Vec<Column> {
    vec![
        cells::usage_status(),
        tokens(attr::USAGE_TOTAL_TOKENS, "Total tokens"),
        tokens(attr::USAGE_INPUT_TOKENS, "Input"),
        tokens(attr::USAGE_CACHE_READ_INPUT_TOKENS, "of it read from a cache"),
        tokens(attr::USAGE_CACHE_WRITE_INPUT_TOKENS, "of it written to a cache"),
        tokens(attr::USAGE_OUTPUT_TOKENS, "Output"),
        tokens(attr::USAGE_REASONING_OUTPUT_TOKENS, "of it reasoning"),
        cells::text(attr::PRICING_STATUS, "Pricing", 220),
        cost(),
        shown(attr::TEXT_USAGE, "As the log shows it", 250),
    ]
}

fn attempts() -> Vec<Column> {
    vec![
        shown(attr::ATTEMPT_NUMBER, "Attempt", 80),
        cells::attempt_status(),
        numeric(START_TIME, "Started (UTC)", 170, TIME_FORMAT),
        numeric(DURATION, "Time", 100, "ns"),
        cells::account(),
        cells::plan(),
        shown(attr::ATTEMPT_TRANSPORT, "Transport", 130),
        cells::text(attr::ERROR_CODE, "Error code", 200),
        shown(attr::ATTEMPT_RETRYABLE, "Retryable", 90),
        numeric(attr::GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK, "First output after", 140, "s"),
        shown(attr::GEN_AI_RESPONSE_MODEL, "Model", 150),
        cells::usage_status(),
    ]
}

fn corrections() -> Vec<Column> {
    vec![
        shown(attr::CORRECTION_SEQUENCE, "Correction", 100),
        numeric(START_TIME, "Learned (UTC)", 170, TIME_FORMAT),
        cells::status(),
        cells::text(attr::ERROR_CODE, "Error code", 200),
        cells::usage_status(),
        tokens(attr::USAGE_TOTAL_TOKENS, "Total tokens"),
        cells::text(attr::PRICING_STATUS, "Pricing", 220),
        cost(),
        shown(attr::TEXT_USAGE, "As the log shows it", 250),
    ]
}

/// Name that Tempo's data source gives to the duration of a span, in nanoseconds.
const DURATION: &str = "Duration";

fn tokens(field: &'static str, title: &'static str) -> Column {
    numeric(field, title, 150, "locale")
}

fn cost() -> Column {
    numeric(attr::COST_SETTLED_USD, "Cost", 100, "currencyUSD").with([("decimals", json!(4))])
}

/// A table of fields of the row.
fn fields(title: &str, text: &str, columns: Vec<Column>) -> Value {
    let query = query(&[is_record(RecordKind::Request), of_row()], &fields_of(&columns));
    grafana::span_table(title, text, Size(24, 4), &query, (1, 1), columns)
}

/// A table of the request's spans of one kind.
fn of_request(title: &str, text: &str, kind: RecordKind, height: u32, columns: Vec<Column>) -> Value {
    let query = query(&[is_record(kind), of_row()], &fields_of(&columns));
    grafana::span_table(title, text, Size(24, height), &query, (PAGE_ROWS.min(MAX_SPANS), MAX_SPANS), columns)
}

/// That a record belongs to the request. By the row id, because trace ids in answers can have lost their leading zeros.
fn of_row() -> String {
    format!("span.{} = `${{{REQUEST_VARIABLE}}}`", attr::REQUEST_ID)
}

fn fields_of(columns: &[Column]) -> Vec<&'static str> {
    columns.iter().map(|column| column.field).collect()
}

fn trace() -> Value {
    let datasource = grafana::datasource(grafana::TEMPO);
    let query = format!("${{{TRACE_VARIABLE}}}");
    let target = json!({"refId": "A", "datasource": datasource, "queryType": "traceql", "query": query, "tableType": "traces"});
    grafana::panel(
        "traces",
        "Trace",
        "The request with its attempts and corrections over time. The time range does not matter.",
        Size(24, 14),
        json!({"datasource": datasource, "targets": [target], "fieldConfig": {"defaults": {}, "overrides": []}, "options": {}}),
    )
}

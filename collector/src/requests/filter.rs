//! From the command's filters to a TraceQL query: one filter of conditions that are all required, and a window of time.

use contract::{RecordKind, RequestStatus, attr};
use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::tempo::Query;
use crate::cli::{RequestsArgs, parse_duration};

/// What is selected for the columns, in the order of the log's columns.
pub const COLUMNS: &[&str] = &[
    attr::REQUEST_STATUS,
    attr::TEXT_ID,
    attr::TEXT_ACCOUNT,
    attr::UPSTREAM_PLAN_LABEL,
    attr::TEXT_MODEL,
    attr::TEXT_TRANSPORT,
    attr::TEXT_ROUTE,
    attr::TEXT_USAGE,
    attr::TEXT_ERRORS,
];

/// What is selected besides, for `--format json` and for the marks of the table: always the same, whatever is filtered by.
const DETAILS: &[&str] = &[
    attr::REQUEST_ID,
    attr::REQUEST_CORRELATION_ID,
    attr::REQUEST_OUTCOME,
    attr::POOL_SLUG,
    attr::POOL_NAME,
    attr::UPSTREAM_ACCOUNT_LABEL,
    attr::UPSTREAM_PLAN_FAMILY,
    attr::API_KEY_LABEL,
    attr::API_KEY_PREFIX,
    attr::REQUEST_MODEL,
    attr::REQUEST_TRANSPORT,
    attr::REQUEST_ROUTE_CLASS,
    attr::REASONING_EFFORT_EFFECTIVE,
    attr::SERVICE_TIER_ACTUAL,
    attr::HTTP_ROUTE,
    attr::REQUEST_RETRY_COUNT,
    attr::REQUEST_LATENCY_MS,
    attr::ERROR_CODE,
    attr::USAGE_STATUS,
    attr::USAGE_INPUT_TOKENS,
    attr::USAGE_CACHE_READ_INPUT_TOKENS,
    attr::USAGE_OUTPUT_TOKENS,
    attr::USAGE_REASONING_OUTPUT_TOKENS,
    attr::USAGE_TOTAL_TOKENS,
    attr::COST_SETTLED_USD,
    attr::PRICING_STATUS,
    attr::RESPONSE_STATUS,
    attr::RESPONSE_INCOMPLETE_REASON,
    attr::HTTP_RESPONSE_STATUS_CODE,
];

/// How far back the log goes without `--from`, in seconds. A real Tempo refuses a window of more than 168 hours.
const DEFAULT_WINDOW_S: i64 = 7 * 24 * 3600 - 60;

/// The query for the filters, and a warning for each one that was ignored.
pub fn query(args: &RequestsArgs, now: Timestamp) -> (Query, Vec<String>) {
    let mut warnings = Vec::new();
    let mut conditions = vec![format!("span.{} = \"{}\"", attr::RECORD_KIND, RecordKind::Request)];

    let statuses: Vec<&str> = args.status.iter().filter_map(|text| status(text, &mut warnings)).collect();
    if !statuses.is_empty() {
        conditions.push(format!("span.{} =~ `{}`", attr::REQUEST_STATUS, statuses.join("|")));
    }
    let mut text_condition = |flag: &str, value: Option<&String>, key: &str, pattern: fn(&str) -> String| {
        let Some(value) = value.map(|v| v.trim()).filter(|v| !v.is_empty()) else { return };
        if value.contains('`') || value.chars().any(char::is_control) {
            warnings.push(format!("{flag} is ignored: it holds a backtick or a control character, which no value has"));
        } else {
            conditions.push(format!("span.{key} =~ `{}`", pattern(value)));
        }
    };
    let whole = |value: &str| regex_literal(value);
    let piece = |value: &str| format!("(?i).*{}.*", regex_literal(value));
    text_condition("--pool", args.pool.as_ref(), attr::POOL_SLUG, whole);
    text_condition("--account", args.account.as_ref(), attr::UPSTREAM_ACCOUNT_LABEL, whole);
    text_condition("--model", args.model.as_ref(), attr::REQUEST_MODEL, piece);
    text_condition("--api-key", args.api_key.as_ref(), attr::API_KEY_LABEL, piece);
    let id = args.id.as_deref().map(|id| uuid_of_trace_id(id.trim()).unwrap_or_else(|| id.trim().to_owned()));
    text_condition("--id", id.as_ref(), attr::REQUEST_SEARCH, piece);

    let from = args.from.as_deref().and_then(|text| date("--from", text, Edge::Start, now, &mut warnings));
    let to = args.to.as_deref().and_then(|text| date("--to", text, Edge::End, now, &mut warnings));
    // A window of time means overlap with the whole request, so the admission time is a condition of its own.
    if let Some(from) = from {
        conditions.push(format!("span.{} >= {}", attr::REQUEST_ADMITTED_MS, from.as_millisecond()));
    }
    if let Some(to) = to {
        conditions.push(format!("span.{} <= {}", attr::REQUEST_ADMITTED_MS, to.as_millisecond()));
    }
    let end_s = to.unwrap_or(now).as_second().saturating_add(1);
    let start_s = from.map_or(end_s - DEFAULT_WINDOW_S, Timestamp::as_second);

    let select: Vec<String> = COLUMNS.iter().chain(DETAILS).map(|key| format!("span.{key}")).collect();
    let traceql = format!("{{ {} }} | select({}) with (most_recent=true)", conditions.join(" && "), select.join(", "));
    (Query { traceql, start_s, end_s, limit: args.limit }, warnings)
}

fn status(text: &str, warnings: &mut Vec<String>) -> Option<&'static str> {
    let text = text.trim();
    let found = RequestStatus::ALL.iter().filter(|status| **status != RequestStatus::Other).find(|s| s.as_str() == text);
    if found.is_none() && !text.is_empty() {
        warnings.push(
            "--status: an unknown status is ignored; known are in_progress, succeeded, failed, rejected, cancelled".to_owned(),
        );
    }
    found.map(|status| status.as_str())
}

#[derive(Clone, Copy)]
enum Edge {
    Start,
    End,
}

/// A date, an instant, or a time ago.
fn date(flag: &str, text: &str, edge: Edge, now: Timestamp, warnings: &mut Vec<String>) -> Option<Timestamp> {
    let text = text.trim();
    let instant = text.parse::<Timestamp>().ok();
    let whole_day = || {
        let day: Date = text.parse().ok()?;
        let moment = match edge {
            Edge::Start => day.at(0, 0, 0, 0),
            Edge::End => day.at(23, 59, 59, 999_999_999),
        };
        TimeZone::UTC.to_timestamp(moment).ok()
    };
    let ago = || now.checked_sub(parse_duration(text).ok()?).ok();
    let parsed = instant.or_else(whole_day).or_else(ago);
    if parsed.is_none() && !text.is_empty() {
        warnings.push(format!("{flag}: a bad date is ignored; give 2026-08-21, 2026-08-21T09:00:00Z, or 6h for six hours ago"));
    }
    parsed
}

/// A text that matches itself in a regular expression between backticks.
fn regex_literal(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// 32 hexadecimal digits are a trace id, which is the row id without its dashes.
fn uuid_of_trace_id(id: &str) -> Option<String> {
    if id.len() != 32 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let id = id.to_ascii_lowercase();
    Some([&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]].join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn query_for(args: &[&str]) -> (Query, Vec<String>) {
        let cli = crate::cli::Cli::parse_from(["pooler-otel", "requests"].iter().chain(args));
        let crate::cli::Command::Requests(args) = cli.command else { panic!("not the command") };
        query(&args, "2026-08-21T12:00:00Z".parse().unwrap())
    }

    /// Guarantees: an unknown status and a bad date are ignored, each with a warning that says what is accepted and does not repeat the input.
    #[test]
    fn bad_filters_are_ignored_with_a_warning() {
        let (query, warnings) = query_for(&["--status", "failed,exploded", "--from", "yesteryear"]);
        assert!(query.traceql.contains("codex_pooler.request.status =~ `failed`"), "{}", query.traceql);
        assert!(!query.traceql.contains("admitted_ms"), "{}", query.traceql);
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].contains("in_progress, succeeded, failed, rejected, cancelled"));
        assert!(warnings[1].contains("2026-08-21T09:00:00Z"));
        assert!(!warnings.concat().contains("exploded") && !warnings.concat().contains("yesteryear"));
    }

    /// Guarantees: a date means its first moment from, and its last moment to, in UTC. 1787270400 is 2026-08-21T00:00:00Z.
    #[test]
    fn dates_are_inclusive_days_in_utc() {
        let (query, warnings) = query_for(&["--from", "2026-08-21", "--to", "2026-08-21"]);
        assert_eq!(warnings, Vec::<String>::new());
        assert!(query.traceql.contains("admitted_ms >= 1787270400000"), "{}", query.traceql);
        assert!(query.traceql.contains("admitted_ms <= 1787356799999"), "{}", query.traceql);
        assert_eq!((query.start_s, query.end_s), (1_787_270_400, 1_787_356_800));
    }

    /// Guarantees: characters with a meaning in regular expressions match themselves, and a text cannot break out of the query.
    #[test]
    fn values_are_literal() {
        let (query, _) = query_for(&["--account", "Seat (1) + more|x", "--model", "gpt-5.4"]);
        assert!(query.traceql.contains(r"label =~ `Seat \(1\) \+ more\|x`"), "{}", query.traceql);
        assert!(query.traceql.contains(r"model =~ `(?i).*gpt-5\.4.*`"), "{}", query.traceql);
        let (query, warnings) = query_for(&["--pool", "a` || true"]);
        assert!(!query.traceql.contains("pool.slug =~"), "{}", query.traceql);
        assert_eq!(warnings.len(), 1);
    }

    /// Guarantees: a trace id finds its row by the id with dashes.
    #[test]
    fn a_trace_id_is_a_row_id() {
        let (query, _) = query_for(&["--id", "AD321A7601E94131B6B6602E9C0BEF9E"]);
        assert!(query.traceql.contains("(?i).*ad321a76-01e9-4131-b6b6-602e9c0bef9e.*"), "{}", query.traceql);
    }
}

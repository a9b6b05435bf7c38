//! The pieces of PromQL that several rules share.

use contract::{Metric, Outcome};

/// Codes of a request that an exhausted quota ended, at admission or upstream.
pub const QUOTA_CODES: &[&str] = &[
    "quota_exhausted",
    "quota_evidence_unavailable",
    "insufficient_quota",
    "usage_limit_exceeded",
    "usage_limit_reached",
    "workspace_member_credits_depleted",
    "workspace_member_usage_limit_reached",
    "workspace_owner_credits_depleted",
    "workspace_owner_usage_limit_reached",
];
/// Codes of a request for which no upstream account could be chosen.
pub const ROUTING_CODES: &[&str] = &["no_compatible_backend", "no_eligible_backend", "session_assignment_unavailable"];
/// Codes by which the provider says that it cannot serve now. They count in no failure ratio.
pub const PROVIDER_CODES: &[&str] = &["overloaded_error", "server_error", "server_is_overloaded"];
/// Codes of a stream that the upstream side broke off before its end.
pub const STREAM_CODES: &[&str] =
    &["stream_idle_timeout", "stream_incomplete", "stream_interrupted", "upstream_stream_error", "websocket_stream_error"];
/// Codes of a stream whose client went away.
pub const CLIENT_CODES: &[&str] = &[contract::outcome::CLIENT_DISCONNECTED, "downstream_stream_error"];

/// A regular expression for any of these texts, none of which has a special character.
pub fn any_of<'a>(texts: impl IntoIterator<Item = &'a &'a str>) -> String {
    texts.into_iter().copied().collect::<Vec<_>>().join("|")
}

/// Requests that are in the failure ratio, good or bad.
pub fn counted() -> String {
    format!("outcome=~\"{}|{}\"", Outcome::Good, Outcome::Bad)
}

/// `metric{matchers}`, without braces where there is no matcher.
pub fn select(metric: &Metric, matchers: &str) -> String {
    if matchers.is_empty() { metric.name.to_owned() } else { format!("{}{{{matchers}}}", metric.name) }
}

/// How much a counter rose in a window, by these labels.
pub fn rise(by: &str, metric: &Metric, matchers: &str, window: &str) -> String {
    format!("sum by ({by}) (increase({}[{window}]))", select(metric, matchers))
}

/// How much a counter rose in a window, by these labels, where the very first event matters: `increase` does not see the value with which
/// a series begins, so a series that did not exist a window ago counts with all that it has.
pub fn rise_from_nothing(by: &str, metric: &Metric, matchers: &str, window: &str) -> String {
    let series = select(metric, matchers);
    format!("sum by ({by}) (({series} unless {series} offset {window}) or increase({series}[{window}]))")
}

/// bad / counted over a window, 0 where nothing is bad, and nothing where nothing is counted. `counted` is a recorded number of the window.
pub fn failure_ratio(by: &str, metric: &Metric, bad: &str, window: &str, counted: &str) -> String {
    format!("({} or {counted} * 0)\n  /\n({counted} > 0)", rise(by, metric, bad, window))
}

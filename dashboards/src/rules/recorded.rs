//! What is computed beforehand: the series that alerts and dashboards share, named level:metric:operation.

use std::collections::BTreeSet;

use contract::generated::metrics;
use contract::{AttemptStatus, Metric, Outcome, outcome};

use super::Rule;
use super::query::{any_of, counted, ended, failure_ratio, rise, rise_of_new};
use super::thresholds::{
    ACCOUNT_FAILING, BURN_RATES, CLIENTS_LEAVING, LATENCY_HIGH, QUOTA_EXHAUSTED, REJECTIONS_JUMP, STREAMS_INTERRUPTED,
};

/// Windows over which a failure ratio is recorded at Prometheus's own interval. The other windows of the burn rates can wait.
const SHORT_WINDOWS: [&str; 4] = ["5m", "30m", "1h", "2h"];

/// Name of a Pool's failure ratio.
pub fn failures(window: &str) -> String {
    format!("pool:codex_pooler_request_failures:ratio_rate{window}")
}

/// Name of the number of a Pool's requests that are in its failure ratio.
pub fn counted_requests(window: &str) -> String {
    format!("pool:codex_pooler_requests_counted:increase{window}")
}

/// Name of the number of a Pool's requests by how they ended and why. A series of it is there while requests end so.
pub fn requests(window: &str) -> String {
    format!("pool_status_error_code:codex_pooler_requests:increase{window}")
}

/// Name of an account's failure ratio.
pub fn account_failures() -> String {
    format!("pool_account:codex_pooler_attempt_failures:ratio_rate{}", ACCOUNT_FAILING.window)
}

/// Name of the number of an account's attempts that are in its failure ratio.
pub fn account_attempts() -> String {
    format!("pool_account:codex_pooler_attempts_counted:increase{}", ACCOUNT_FAILING.window)
}

/// Name of the 95th percentile of a Pool's durations.
pub fn duration_p95() -> String {
    format!("pool:codex_pooler_request_duration_seconds:p95_{}", LATENCY_HIGH.window)
}

/// Names of what was received and is in no further count: messages, records, records of a branch.
pub const UNACCOUNTED: [&str; 3] = [
    "instance:pooler_otel_unaccounted_messages:sum",
    "instance_signal:pooler_otel_unaccounted_records:sum",
    "instance_signal_branch:pooler_otel_unaccounted_branch_records:sum",
];

/// Series that are cheap to compute.
pub fn short() -> Vec<Rule> {
    let duration = &metrics::CODEX_POOLER_REQUEST_DURATION_SECONDS;
    let mut rules = vec![record(
        duration_p95(),
        // Rejections and clients that left are quick, and would hide that the rest is slow.
        format!(
            "histogram_quantile(0.95, sum by (pool, le) (rate({}_bucket{{{}}}[{}])))",
            duration.name,
            counted(),
            LATENCY_HIGH.window
        ),
    )];
    rules.extend(SHORT_WINDOWS.into_iter().flat_map(pool_ratio));
    rules.extend(by_error_code());
    rules.extend(accounts());
    rules.extend(unaccounted());
    rules
}

/// Series over windows of hours and days.
pub fn long() -> Vec<Rule> {
    let mut windows: Vec<&str> = BURN_RATES.iter().flat_map(|burn| [burn.long, burn.short]).collect();
    windows.retain(|window| !SHORT_WINDOWS.contains(window));
    windows.sort_unstable();
    windows.dedup();
    windows.into_iter().flat_map(pool_ratio).collect()
}

fn pool_ratio(window: &str) -> [Rule; 2] {
    let ratio = failure_ratio(&ended(&[Outcome::Bad], &[], window), &counted_requests(window));
    [record(counted_requests(window), ended(&[Outcome::Good, Outcome::Bad], &[], window)), record(failures(window), ratio)]
}

/// The windows of the alerts on error codes.
fn by_error_code() -> impl Iterator<Item = Rule> {
    let windows = [QUOTA_EXHAUSTED, REJECTIONS_JUMP, STREAMS_INTERRUPTED, CLIENTS_LEAVING].map(|threshold| threshold.window);
    let increase = |window| rise_of_new("pool, status, error_code", &metrics::CODEX_POOLER_REQUESTS_TOTAL, window);
    BTreeSet::from(windows).into_iter().map(move |window| record(requests(window), increase(window)))
}

/// An attempt has no outcome of its own. The same codes as on a request say nothing about its account.
fn accounts() -> [Rule; 2] {
    let attempts = &metrics::CODEX_POOLER_ATTEMPTS_TOTAL;
    let neutral = any_of(outcome::HEALTH_NEUTRAL_CODES.iter().chain(&[outcome::CLIENT_DISCONNECTED]));
    let failed = format!("{}|{}", AttemptStatus::Failed, AttemptStatus::RetryableFailed);
    let matchers = |statuses: &str| format!("status=~\"{statuses}\",error_code!~\"{neutral}\"");
    let (bad, counted) = (matchers(&failed), matchers(&format!("{}|{failed}", AttemptStatus::Succeeded)));
    let window = ACCOUNT_FAILING.window;
    [
        record(account_attempts(), rise("pool, account", attempts, &counted, window)),
        record(account_failures(), failure_ratio(&rise("pool, account", attempts, &bad, window), &account_attempts())),
    ]
}

/// What came in, less everything that it can become.
fn unaccounted() -> [Rule; 3] {
    let [messages, records, branch] = UNACCOUNTED;
    let difference = |by: &str, whole: &Metric, parts: &[&Metric]| {
        let parts = any_of(&parts.iter().map(|part| part.name).collect::<Vec<_>>());
        format!("sum by ({by}) ({})\n  -\nsum by ({by}) ({{__name__=~\"{parts}\"}})", whole.name)
    };
    [
        record(
            messages.to_owned(),
            difference(
                "job, instance",
                &metrics::POOLER_OTEL_RECEIVED_MESSAGES_TOTAL,
                &[
                    &metrics::POOLER_OTEL_REFUSED_MESSAGES_TOTAL,
                    &metrics::POOLER_OTEL_PARSED_MESSAGES_TOTAL,
                    &metrics::POOLER_OTEL_MESSAGES_IN_PROGRESS,
                ],
            ),
        ),
        record(
            records.to_owned(),
            difference(
                "job, instance, signal",
                &metrics::POOLER_OTEL_PARSED_RECORDS_TOTAL,
                &[&metrics::POOLER_OTEL_DROPPED_RECORDS_TOTAL, &metrics::POOLER_OTEL_ACCEPTED_RECORDS_TOTAL],
            ),
        ),
        record(
            branch.to_owned(),
            difference(
                "job, instance, signal, branch",
                &metrics::POOLER_OTEL_BRANCH_ACCEPTED_RECORDS_TOTAL,
                &[
                    &metrics::POOLER_OTEL_BRANCH_DELIVERED_RECORDS_TOTAL,
                    &metrics::POOLER_OTEL_BRANCH_DROPPED_RECORDS_TOTAL,
                    &metrics::POOLER_OTEL_BRANCH_QUEUED_RECORDS,
                ],
            ),
        ),
    ]
}

fn record(name: String, expr: String) -> Rule {
    Rule::Record { name, expr }
}

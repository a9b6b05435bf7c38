//! The dashboard "Upstream accounts": which account fails, is slow, is out of quota or has lost its authorization.

use contract::generated::metrics;
use contract::outcome::{CLIENT_DISCONNECTED, HEALTH_NEUTRAL_CODES};
use contract::{AttemptStatus, Metric, attr};
use serde_json::{Value, json};

use crate::board::Board;
use crate::cells;
use crate::codes;
use crate::filter::{Filter, matchers};
use crate::grafana::{self, Query, Size, heading, thresholds};
use crate::promql::{self, P50, P95, RANGE, RATE, label, legend};
use crate::rules::FAILURE_RATIO_LIMIT;

/// The filters of this dashboard.
const FILTERS: [Filter; 2] = [Filter::Pool, Filter::Account];
/// Attempts in the time range, good or bad; fewer say nothing about a ratio.
const MIN_ATTEMPTS: u32 = 10;

const ATTEMPTS: &Metric = &metrics::CODEX_POOLER_ATTEMPTS_TOTAL;
const DURATION: &Metric = &metrics::CODEX_POOLER_ATTEMPT_DURATION_SECONDS;
const ACCOUNT: &str = attr::UPSTREAM_ACCOUNT_LABEL;
const HALF: Size = Size(12, 8);

/// The dashboard.
pub fn dashboard() -> Value {
    let mut panels = vec![first_to_look_at()];
    panels.extend(outcome());
    panels.extend(causes());
    panels.extend(latency());
    Board::Accounts.dashboard(
        "Which upstream account to look at first, and why: failures, quota, authorization, latency, retries, plan.",
        "now-6h",
        FILTERS.map(Filter::variable).into(),
        panels,
    )
}

/// Attempts that a matcher picks, summed.
fn pace(by: &[&str], further: &[String]) -> String {
    promql::sum(by, &promql::rate(ATTEMPTS, &matchers(&FILTERS, further), RATE))
}

fn grown(by: &[&str], further: &[String]) -> String {
    promql::sum(by, &promql::increase(ATTEMPTS, &matchers(&FILTERS, further), RANGE))
}

/// Attempts that failed, for the caller's reasons or for the account's.
fn failed() -> String {
    promql::one_of(attr::ATTEMPT_STATUS, &[AttemptStatus::Failed.as_str(), AttemptStatus::RetryableFailed.as_str()])
}

/// Attempts that do not fail for the caller's reasons.
fn telling() -> String {
    let neutral: Vec<&str> = HEALTH_NEUTRAL_CODES.iter().copied().chain([CLIENT_DISCONNECTED]).collect();
    promql::none_of(attr::ERROR_CODE, &neutral)
}

fn failure_ratio(by: &[&str], growth: impl Fn(&[&str], &[String]) -> String) -> String {
    promql::share(&growth(by, &[failed(), telling()]), &growth(by, &[telling()]))
}

fn first_to_look_at() -> Value {
    let by = [attr::POOL_SLUG, ACCOUNT];
    let left = grown(&by, &[promql::is(attr::ATTEMPT_STATUS, AttemptStatus::RetryableFailed.as_str())]);
    let ratio = format!("({}) and ({} >= {MIN_ATTEMPTS})", failure_ratio(&by, grown), grown(&by, &[telling()]));
    let plans = promql::max(
        &[attr::POOL_SLUG, ACCOUNT, attr::UPSTREAM_PLAN_LABEL],
        &promql::select(&metrics::CODEX_POOLER_ACCOUNT_INFO, &matchers(&FILTERS, &[])),
    );
    let queries = [
        Query::new("Known", plans),
        Query::new("Failure ratio", ratio),
        Query::new("Attempts", grown(&by, &[])),
        Query::new("Quota errors", grown(&by, &[promql::one_of(attr::ERROR_CODE, &[codes::USED_UP, codes::TOO_FAST].concat())])),
        Query::new("Authorization errors", grown(&by, &[promql::one_of(attr::ERROR_CODE, codes::AUTHORIZATION)])),
        Query::new("Retried elsewhere", left),
        Query::new("Latency, p95", promql::quantile(P95, DURATION, &by, &matchers(&FILTERS, &[]), RANGE)),
    ];
    let account = "Upstream account";
    let labels = [(label(ACCOUNT), account), (label(attr::UPSTREAM_PLAN_LABEL), "Plan"), (label(attr::POOL_SLUG), "Pool")];
    let count = |heading, color: &str| {
        let limits = thresholds(&[(1.0, color)]);
        (
            heading,
            vec![
                ("unit", json!("short")),
                ("decimals", json!(0)),
                ("thresholds", limits),
                ("custom.cellOptions", json!({"type": "color-text"})),
            ],
        )
    };
    let properties = vec![
        (account, vec![("links", json!([cells::account_link("${__value.raw:percentencode}")]))]),
        ("Plan", cells::badge()),
        ("Known", vec![("custom.hidden", json!(true)), ("custom.hideFrom.viz", json!(true))]),
        (
            "Failure ratio",
            vec![
                ("unit", json!("percentunit")),
                ("decimals", json!(1)),
                ("max", json!(1)),
                ("thresholds", thresholds(&[(FAILURE_RATIO_LIMIT, "red")])),
                ("custom.cellOptions", json!({"type": "color-text"})),
            ],
        ),
        ("Attempts", vec![("unit", json!("short")), ("decimals", json!(0))]),
        count("Quota errors", "orange"),
        count("Authorization errors", "red"),
        count("Retried elsewhere", "orange"),
        ("Latency, p95", vec![("unit", json!("s"))]),
    ];
    grafana::metric_table(
        "Which account to look at first",
        &format!(
            "Accounts by failure ratio over the time range: attempts that failed, over all, without those that failed for the caller's \
             reasons or because the client left. No ratio with fewer than {MIN_ATTEMPTS} attempts. Authorization errors: the account needs \
             to be authorized again. Quota errors: it is used up until it resets. A dash: nothing in the time range."
        ),
        Size(24, 10),
        &labels,
        &queries,
        properties,
        "Failure ratio",
    )
}

fn curves(title: &str, text: &str, attribute: &str, expr: String, defaults: Value) -> Value {
    grafana::timeseries(title, text, HALF, &[Query::new(&legend(attribute), expr)], defaults)
}

fn outcome() -> Vec<Value> {
    let unit = json!({"unit": "reqps"});
    let left = [promql::is(attr::ATTEMPT_STATUS, AttemptStatus::RetryableFailed.as_str())];
    vec![
        heading("Outcome"),
        curves("Attempts by account", "Finished attempts a second.", ACCOUNT, pace(&[ACCOUNT], &[]), unit.clone()),
        curves(
            "Failure ratio by account",
            "Attempts that failed, over all, without those that failed for the caller's reasons or because the client left.",
            ACCOUNT,
            failure_ratio(&[ACCOUNT], pace),
            json!({"unit": "percentunit", "max": 1, "thresholds": thresholds(&[(FAILURE_RATIO_LIMIT, "red")])}),
        ),
        curves(
            "Attempts by status",
            "Finished attempts a second.",
            attr::ATTEMPT_STATUS,
            pace(&[attr::ATTEMPT_STATUS], &[]),
            unit.clone(),
        ),
        curves(
            "Retried away from an account",
            "Attempts a second that failed and after which another account was tried.",
            ACCOUNT,
            pace(&[ACCOUNT], &left),
            unit,
        ),
    ]
}

fn causes() -> Vec<Value> {
    let unit = json!({"unit": "reqps"});
    let with = |codes: &[&str]| pace(&[ACCOUNT], &[promql::one_of(attr::ERROR_CODE, codes)]);
    vec![
        heading("Causes"),
        curves(
            "Quota errors by account",
            "Attempts a second that the upstream refused because a rate or quota is used up.",
            ACCOUNT,
            with(&[codes::USED_UP, codes::TOO_FAST].concat()),
            unit.clone(),
        ),
        curves(
            "Authorization errors by account",
            "Attempts a second whose credentials the upstream did not accept.",
            ACCOUNT,
            with(codes::AUTHORIZATION),
            unit.clone(),
        ),
        curves(
            "Failures by error code",
            "Failed attempts a second, whatever the reason.",
            attr::ERROR_CODE,
            pace(&[attr::ERROR_CODE], &[failed()]),
            unit,
        ),
        grafana::metric_table(
            "Plans",
            "Accounts that were seen, by Pool and plan.",
            HALF,
            &[(label(attr::UPSTREAM_PLAN_LABEL), "Plan"), (label(attr::POOL_SLUG), "Pool")],
            &[Query::new(
                "Accounts",
                format!(
                    "count by ({}) ({})",
                    promql::labels(&[attr::POOL_SLUG, attr::UPSTREAM_PLAN_LABEL]),
                    promql::max(
                        &[attr::POOL_SLUG, ACCOUNT, attr::UPSTREAM_PLAN_LABEL],
                        &promql::select(&metrics::CODEX_POOLER_ACCOUNT_INFO, &matchers(&FILTERS, &[])),
                    )
                ),
            )],
            vec![("Plan", cells::badge()), ("Accounts", vec![("unit", json!("short")), ("decimals", json!(0))])],
            "Accounts",
        ),
    ]
}

fn latency() -> Vec<Value> {
    let quantile = |q: f64| {
        let expr = promql::quantile(q, DURATION, &[ACCOUNT], &matchers(&FILTERS, &[]), RATE);
        [Query::with_exemplars(&legend(ACCOUNT), expr)]
    };
    let text = "Time of finished attempts, as the log's latency. Points lead to traces.";
    vec![
        heading("Latency"),
        grafana::timeseries("Latency by account, p50", text, HALF, &quantile(P50), json!({"unit": "s"})),
        grafana::timeseries("Latency by account, p95", text, HALF, &quantile(P95), json!({"unit": "s"})),
    ]
}

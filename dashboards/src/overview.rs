//! The dashboard "Overview": how the service does: rate, errors, duration, error budget, tokens and cost, retries, settlements.

use contract::generated::metrics;
use contract::{Metric, Outcome, RequestStatus, attr};
use serde_json::{Value, json};

use crate::board::Board;
use crate::filter::{self, Filter, matchers};
use crate::grafana::{self, Query, Size, heading, thresholds};
use crate::promql::{self, P50, P95, P99, RANGE, RATE, legend};
use crate::rules::{self, BURN_RATES, ERROR_BUDGET, FAILURE_RATIO_LIMIT};

/// The filters of this dashboard.
const FILTERS: [Filter; 2] = [Filter::Pool, Filter::Model];
/// Those that a metric without the model has.
const POOL_ONLY: [Filter; 1] = [Filter::Pool];
const HALF: Size = Size(12, 8);
const THIRD: Size = Size(8, 8);
const NUMBER: Size = Size(4, 4);

/// The dashboard.
pub fn dashboard() -> Value {
    let panels = [numbers(), traffic(), errors(), budget(), duration(), usage(), retries()].concat();
    Board::Overview.dashboard(
        "How the pooler serves its clients: rate, errors, duration, error budget, tokens and cost, by Pool, model, transport and route.",
        "now-6h",
        FILTERS.map(Filter::variable).into(),
        panels,
    )
}

fn described(text: &str, applied: &[Filter]) -> String {
    filter::described(text, applied, &FILTERS)
}

const REQUESTS: &Metric = &metrics::CODEX_POOLER_REQUESTS_TOTAL;
const DURATION: &Metric = &metrics::CODEX_POOLER_REQUEST_DURATION_SECONDS;

/// Sums of the growth of a counter over a window.
fn grown(metric: &Metric, by: &[&str], further: &[String], window: &str) -> String {
    promql::sum(by, &promql::increase(metric, &matchers(&FILTERS, further), window))
}

/// Sums of the pace of a counter, for curves.
fn pace(metric: &Metric, filters: &[Filter], by: &[&str], further: &[String]) -> String {
    promql::sum(by, &promql::rate(metric, &matchers(filters, further), RATE))
}

fn outcomes(outcomes: &[Outcome]) -> Vec<String> {
    vec![promql::one_of(attr::REQUEST_OUTCOME, &outcomes.iter().map(|outcome| outcome.as_str()).collect::<Vec<_>>())]
}

/// Bad over good and bad.
fn failure_ratio(by: &[&str], growth: impl Fn(&[&str], &[String]) -> String) -> String {
    promql::share(&growth(by, &outcomes(&[Outcome::Bad])), &growth(by, &outcomes(&[Outcome::Good, Outcome::Bad])))
}

// --- now ----------------------------------------------------------------------------------------------------------------------

fn numbers() -> Vec<Value> {
    let stat = |title: &str, text: &str, applied: &[Filter], expr: String, defaults: Value| {
        grafana::stat(title, &described(text, applied), NUMBER, &expr, defaults)
    };
    let ratio = failure_ratio(&[], |by, further| grown(REQUESTS, by, further, RANGE));
    let in_flight = promql::sum(&[], &promql::select(&metrics::CODEX_POOLER_REQUESTS_IN_FLIGHT, &matchers(&POOL_ONLY, &[])));
    let oldest = promql::max(
        &[],
        &promql::select(&metrics::CODEX_POOLER_REQUESTS_IN_FLIGHT_OLDEST_AGE_SECONDS, &matchers(&POOL_ONLY, &[])),
    );
    vec![
        stat(
            "Requests",
            "Finished requests in the time range.",
            &FILTERS,
            grown(REQUESTS, &[], &[], RANGE),
            json!({"unit": "short", "decimals": 0}),
        ),
        stat(
            "Failure ratio",
            "Bad over good and bad outcomes in the time range. Rejections, cancellations, clients that left and errors on the caller's side \
             count in neither.",
            &FILTERS,
            ratio,
            json!({"unit": "percentunit", "decimals": 2, "min": 0, "max": 1, "thresholds": thresholds(&[(FAILURE_RATIO_LIMIT, "red")])}),
        ),
        stat(
            "Duration, p95",
            "Total time from admission to the end of delivery.",
            &FILTERS,
            promql::quantile(P95, DURATION, &[], &matchers(&FILTERS, &[]), RANGE),
            json!({"unit": "s"}),
        ),
        stat(
            "In flight",
            "Requests that are open now, by their heartbeats.",
            &POOL_ONLY,
            in_flight,
            json!({"unit": "short", "decimals": 0}),
        ),
        stat(
            "Oldest in flight",
            "Age of the oldest request that is open and has a heartbeat.",
            &POOL_ONLY,
            oldest,
            json!({"unit": "s"}),
        ),
        stat(
            "Cost",
            "Settled cost in the time range, of requests with known usage and a price. No provider's bill.",
            &FILTERS,
            grown(&metrics::CODEX_POOLER_COST_USD_TOTAL, &[], &[], RANGE),
            json!({"unit": "currencyUSD", "decimals": 2}),
        ),
    ]
}

/// A panel of curves, one for each value of an attribute.
fn by(title: &str, text: &str, size: Size, attribute: &str, expr: String, defaults: Value) -> Value {
    grafana::timeseries(title, text, size, &[Query::new(&legend(attribute), expr)], defaults)
}

// --- rate and errors ----------------------------------------------------------------------------------------------------------

fn traffic() -> Vec<Value> {
    let panel = |name: &str, attribute: &str| {
        let expr = pace(REQUESTS, &FILTERS, &[attribute], &[]);
        by(&format!("Requests by {name}"), "Finished requests a second.", HALF, attribute, expr, json!({"unit": "reqps"}))
    };
    vec![
        heading("Rate"),
        panel("Pool", attr::POOL_SLUG),
        panel("model", attr::REQUEST_MODEL),
        panel("transport", attr::REQUEST_TRANSPORT),
        panel("route", attr::HTTP_ROUTE),
    ]
}

fn errors() -> Vec<Value> {
    let share = |name: &str, attribute: &str| {
        by(
            &format!("Failure ratio by {name}"),
            "Bad over good and bad outcomes.",
            HALF,
            attribute,
            failure_ratio(&[attribute], |by, further| pace(REQUESTS, &FILTERS, by, further)),
            json!({"unit": "percentunit", "max": 1, "thresholds": thresholds(&[(FAILURE_RATIO_LIMIT, "red")])}),
        )
    };
    let codes = |title: &str, text: &str, matcher: String| {
        let expr = pace(REQUESTS, &FILTERS, &[attr::ERROR_CODE], &[matcher]);
        by(title, text, HALF, attr::ERROR_CODE, expr, json!({"unit": "reqps"}))
    };
    vec![
        heading("Errors"),
        share("Pool", attr::POOL_SLUG),
        share("model", attr::REQUEST_MODEL),
        share("transport", attr::REQUEST_TRANSPORT),
        share("route", attr::HTTP_ROUTE),
        codes(
            "Failures by error code",
            "Requests with a bad outcome, a second.",
            promql::is(attr::REQUEST_OUTCOME, Outcome::Bad.as_str()),
        ),
        codes(
            "Rejections by error code",
            "Requests that were refused before any upstream work, a second: policy, keys, routing, quota.",
            promql::is(attr::REQUEST_STATUS, RequestStatus::Rejected.as_str()),
        ),
    ]
}

fn budget() -> Vec<Value> {
    let percent = (1.0 - ERROR_BUDGET) * 100.0;
    let pool = promql::matches(attr::POOL_SLUG, "$pool");
    // Over hours and days only what is recorded is quick enough to draw.
    let burning = BURN_RATES.iter().map(|burn| {
        let curve = |window: &str| {
            let expr = format!("{}{{{pool}}} / {ERROR_BUDGET}", rules::failure_ratio(window));
            Query::new(&format!("{} {window}", legend(attr::POOL_SLUG)), expr)
        };
        let text = format!(
            "How many times faster than evenly the budget of failures is used up. {} Above the line over both windows: it matters, and it \
             goes on; then an alert fires. From the recording rules.",
            burn.why
        );
        grafana::timeseries(
            &format!("Burn rate over {} and {}", burn.long, burn.short),
            &described(&text, &POOL_ONLY),
            Size(6, 8),
            &[curve(burn.long), curve(burn.short)],
            json!({"unit": "none", "decimals": 1, "thresholds": thresholds(&[(burn.factor, "red")])}),
        )
    });
    let ratio = failure_ratio(&[attr::POOL_SLUG], |by, further| grown(REQUESTS, by, further, RANGE));
    let left = grafana::state(
        "Budget left",
        "Share of the budget of failures that the requests of the time range leave; below zero it is overdrawn.",
        Size(24, 4),
        &Query::new(&legend(attr::POOL_SLUG), format!("1 - ({ratio}) / {ERROR_BUDGET}")),
        json!({"unit": "percentunit", "decimals": 0, "thresholds": {"mode": "absolute", "steps": [
            {"value": null, "color": "red"}, {"value": 0, "color": "orange"}, {"value": 0.5, "color": "green"},
        ]}}),
    );
    [heading(&format!("Error budget, with {percent} % of requests to end well")), left].into_iter().chain(burning).collect()
}

// --- duration -----------------------------------------------------------------------------------------------------------------

fn duration() -> Vec<Value> {
    let query = |q: f64, name: &str, metric: &Metric, by: &[&str]| {
        Query::with_exemplars(name, promql::quantile(q, metric, by, &matchers(&FILTERS, &[]), RATE))
    };
    let p95 = |name: &str, attribute: &str| {
        grafana::timeseries(
            &format!("Duration by {name}, p95"),
            "Total time from admission to the end of delivery. Points lead to traces.",
            THIRD,
            &[query(P95, &legend(attribute), DURATION, &[attribute])],
            json!({"unit": "s"}),
        )
    };
    let first = &metrics::CODEX_POOLER_TIME_TO_FIRST_OUTPUT_SECONDS;
    vec![
        heading("Duration"),
        grafana::timeseries(
            "Duration quantiles",
            "Total time from admission to the end of delivery. Points lead to traces. Rows that a recovery closed are left out. The metric \
             has no route.",
            HALF,
            &[query(P50, "p50", DURATION, &[]), query(P95, "p95", DURATION, &[]), query(P99, "p99", DURATION, &[])],
            json!({"unit": "s"}),
        ),
        grafana::timeseries(
            "Time to first output by model, p95",
            "From the start of an attempt to its first output, where it had one. Points lead to traces.",
            HALF,
            &[query(P95, &legend(attr::REQUEST_MODEL), first, &[attr::REQUEST_MODEL])],
            json!({"unit": "s"}),
        ),
        p95("Pool", attr::POOL_SLUG),
        p95("model", attr::REQUEST_MODEL),
        p95("transport", attr::REQUEST_TRANSPORT),
    ]
}

// --- tokens, cost, retries, settlements ---------------------------------------------------------------------------------------

fn usage() -> Vec<Value> {
    const HOUR: &str = "3600 * ";
    let kinds = [
        ("input", &metrics::CODEX_POOLER_USAGE_INPUT_TOKENS_TOTAL),
        ("of it read from a cache", &metrics::CODEX_POOLER_USAGE_CACHE_READ_INPUT_TOKENS_TOTAL),
        ("of it written to a cache", &metrics::CODEX_POOLER_USAGE_CACHE_WRITE_INPUT_TOKENS_TOTAL),
        ("output", &metrics::CODEX_POOLER_USAGE_OUTPUT_TOKENS_TOTAL),
        ("of it reasoning", &metrics::CODEX_POOLER_USAGE_REASONING_OUTPUT_TOKENS_TOTAL),
    ];
    let tokens: Vec<Query> = kinds.map(|(name, metric)| Query::new(name, pace(metric, &FILTERS, &[], &[]))).into();
    let cached = promql::share(
        &pace(kinds[1].1, &FILTERS, &[attr::REQUEST_MODEL], &[]),
        &pace(kinds[0].1, &FILTERS, &[attr::REQUEST_MODEL], &[]),
    );
    let cost = |name: &str, attribute: &str| {
        let expr = format!("{HOUR}{}", pace(&metrics::CODEX_POOLER_COST_USD_TOTAL, &FILTERS, &[attribute], &[]));
        let text = "US dollars an hour, at the pace of the moment; of requests with known usage and a price.";
        by(&format!("Cost by {name}"), text, HALF, attribute, expr, json!({"unit": "currencyUSD"}))
    };
    vec![
        heading("Tokens and cost"),
        grafana::timeseries("Tokens", "Tokens a second, of requests with known usage.", HALF, &tokens, json!({"unit": "cps"})),
        by(
            "Input read from a cache by model",
            "Share of the input tokens.",
            HALF,
            attr::REQUEST_MODEL,
            cached,
            json!({"unit": "percentunit", "max": 1}),
        ),
        cost("Pool", attr::POOL_SLUG),
        cost("model", attr::REQUEST_MODEL),
    ]
}

fn retries() -> Vec<Value> {
    let settled = |title: &str, text: &str, attribute: &str| {
        let expr = pace(&metrics::CODEX_POOLER_SETTLEMENTS_TOTAL, &POOL_ONLY, &[attribute], &[]);
        by(title, &described(text, &POOL_ONLY), THIRD, attribute, expr, json!({"unit": "reqps"}))
    };
    let retries = pace(&metrics::CODEX_POOLER_RETRIES_TOTAL, &FILTERS, &[attr::REQUEST_MODEL], &[]);
    let gauge = |metric: &Metric| promql::sum(&[attr::POOL_SLUG], &promql::select(metric, &matchers(&POOL_ONLY, &[])));
    let late = pace(&metrics::CODEX_POOLER_LATE_ROWS_TOTAL, &POOL_ONLY, &[attr::POOL_SLUG], &[]);
    vec![
        heading("Retries, settlements, open requests"),
        by(
            "Retries by model",
            "Attempts after the first, a second. Which accounts they left is on the dashboard of the upstream accounts.",
            THIRD,
            attr::REQUEST_MODEL,
            retries,
            json!({"unit": "reqps"}),
        ),
        settled("Settlements by usage", "Settled requests a second, by what is known of their usage.", attr::USAGE_STATUS),
        settled("Settlements by price", "Settled requests a second, by whether their usage has a price.", attr::PRICING_STATUS),
        by(
            "In flight by Pool",
            &described("Requests that are open, by their heartbeats.", &POOL_ONLY),
            THIRD,
            attr::POOL_SLUG,
            gauge(&metrics::CODEX_POOLER_REQUESTS_IN_FLIGHT),
            json!({"unit": "short", "decimals": 0}),
        ),
        by(
            "Without heartbeat by Pool",
            &described(
                "Requests that never finished and sent no heartbeat for a minute: their pooler is gone, or its telemetry.",
                &POOL_ONLY,
            ),
            THIRD,
            attr::POOL_SLUG,
            gauge(&metrics::CODEX_POOLER_REQUESTS_WITHOUT_HEARTBEAT),
            json!({"unit": "short", "decimals": 0}),
        ),
        by(
            "Late rows by Pool",
            &described(
                "Rows a second that ended more than ten minutes before they arrived. They are stored, and in no figure above.",
                &POOL_ONLY,
            ),
            THIRD,
            attr::POOL_SLUG,
            late,
            json!({"unit": "cps"}),
        ),
    ]
}

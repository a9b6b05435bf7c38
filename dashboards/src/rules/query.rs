//! The pieces of PromQL that several rules share.

use contract::generated::metrics;
use contract::{Metric, Outcome, outcome};

use super::thresholds::REMEMBERED;

/// A regular expression for any of these texts, none of which has a special character.
pub fn any_of<'a>(texts: impl IntoIterator<Item = &'a &'a str>) -> String {
    texts.into_iter().copied().collect::<Vec<_>>().join("|")
}

/// Requests that are in the failure ratio, good or bad.
pub fn counted() -> String {
    format!("outcome=~\"{}|{}\"", Outcome::Good, Outcome::Bad)
}

/// `series{matchers}`, without braces where there is no matcher.
pub fn select(series: &str, matchers: &str) -> String {
    if matchers.is_empty() { series.to_owned() } else { format!("{series}{{{matchers}}}") }
}

/// How much a counter rose in a window, by these labels.
pub fn rise(by: &str, metric: &Metric, matchers: &str, window: &str) -> String {
    format!("sum by ({by}) (increase({}[{window}]))", select(metric.name, matchers))
}

/// How much a counter rose in a window, by these labels, where the very first event matters: `increase` does not see the value with which
/// a series begins, so a series that is new counts with all that it has. New is what nobody has seen for [`REMEMBERED`] before the window: a scrape
/// that fails ends a series for a moment, and what was counted long ago must not be news when that moment leaves the window. What rose while
/// nobody looked is the difference to what was seen last.
pub fn rise_from_nothing(by: &str, metric: &Metric, matchers: &str, window: &str) -> String {
    let series = select(metric.name, matchers);
    let seen = last_seen(&series, window);
    format!("sum by ({by}) ({series} unless {seen} or increase({series}[{window}]) > 0 or {series} - {seen} > 0)")
}

/// How much a counter rose in a window, by these labels, where what nobody has had yet is news, and what is found at the first look is not: a
/// series that is new counts with all that it has if its collector is known.
pub fn rise_of_new(by: &str, metric: &Metric, window: &str) -> String {
    let series = metric.name;
    let (seen, known) = (last_seen(series, window), last_seen(metrics::POOLER_OTEL_READY.name, window));
    format!(
        "sum by ({by}) (\n  {series} unless {seen} and on (job, instance) {known}\n    or\n  increase({series}[{window}]) > 0\n)"
    )
}

/// What a series was a window ago, or, where it was not scraped then, at last before that.
pub fn last_seen(series: &str, window: &str) -> String {
    format!("last_over_time({series}[{REMEMBERED}] offset {window})")
}

/// How many requests ended with these outcomes in a window, and those with these matchers besides, by Pool. The outcomes are those of the
/// durations: their series begin together at 0, whatever the error code, whereas each code begins a series with its first failure, which no
/// increase sees. What a recovery closed has no duration.
pub fn ended(outcomes: &[Outcome], besides: &[String], window: &str) -> String {
    let outcome = format!("outcome=~\"{}\"", outcomes.iter().map(ToString::to_string).collect::<Vec<_>>().join("|"));
    let recovered = format!("{outcome},error_code=~\"{}\"", any_of(outcome::RECOVERY_CODES));
    let timed = format!("{}_count{{{outcome}}}", metrics::CODEX_POOLER_REQUEST_DURATION_SECONDS.name);
    let untimed = [recovered].into_iter().chain(besides.iter().cloned());
    let series = [timed].into_iter().chain(untimed.map(|matchers| select(metrics::CODEX_POOLER_REQUESTS_TOTAL.name, &matchers)));
    let increases: Vec<String> = series.map(|series| format!("increase({series}[{window}])")).collect();
    format!("sum by (pool) ({})", increases.join(" or "))
}

/// bad / counted over a window, 0 where nothing is bad, and nothing where nothing is counted. `counted` is a recorded number of the window.
pub fn failure_ratio(bad: &str, counted: &str) -> String {
    format!("({bad} or {counted} * 0)\n  /\n({counted} > 0)")
}

//! Builds PromQL from the contract's metrics and the labels of its attributes.

use contract::{Instrument, Metric};

/// For curves: the data source chooses a window that always holds enough scrapes.
pub const RATE: &str = "$__rate_interval";
/// For single numbers: the dashboard's time range.
pub const RANGE: &str = "$__range";
/// Shares that the panels show of a distribution.
pub const P50: f64 = 0.5;
/// See [`P50`].
pub const P95: f64 = 0.95;
/// See [`P50`].
pub const P99: f64 = 0.99;

/// Label of Prometheus's own with the scrape job, and the one with the scraped address.
pub const JOB: &str = "job";
/// See [`JOB`].
pub const INSTANCE: &str = "instance";

/// The attribute's short name as a label. Every attribute that a dashboard groups by has one; the tests refuse an empty one.
pub fn label(attribute: &str) -> &'static str {
    contract::attribute(attribute).and_then(|attribute| attribute.label).unwrap_or_default()
}

/// A matcher for one value.
pub fn is(attribute: &str, value: &str) -> String {
    format!(r#"{}="{value}""#, label(attribute))
}

/// A matcher for a regular expression, or for a variable.
pub fn matches(attribute: &str, pattern: &str) -> String {
    format!(r#"{}=~"{pattern}""#, label(attribute))
}

/// A matcher for several values.
pub fn one_of(attribute: &str, values: &[&str]) -> String {
    matches(attribute, &values.join("|"))
}

/// A matcher for everything but several values.
pub fn none_of(attribute: &str, values: &[&str]) -> String {
    format!(r#"{}!~"{}""#, label(attribute), values.join("|"))
}

/// The series of a metric that fulfil all matchers.
pub fn select(metric: &Metric, matchers: &[String]) -> String {
    if matchers.is_empty() { metric.name.to_owned() } else { format!("{}{{{}}}", metric.name, matchers.join(",")) }
}

/// How fast a counter grows, a second.
pub fn rate(metric: &Metric, matchers: &[String], window: &str) -> String {
    format!("rate({}[{window}])", select(metric, matchers))
}

/// By how much a counter grew.
pub fn increase(metric: &Metric, matchers: &[String], window: &str) -> String {
    format!("increase({}[{window}])", select(metric, matchers))
}

/// The sum of an expression, one for each combination of the attributes' labels.
pub fn sum(by: &[&str], expr: &str) -> String {
    aggregate("sum", by, expr)
}

/// The greatest value of an expression, one for each combination of the attributes' labels.
pub fn max(by: &[&str], expr: &str) -> String {
    aggregate("max", by, expr)
}

fn aggregate(function: &str, by: &[&str], expr: &str) -> String {
    if by.is_empty() { format!("{function}({expr})") } else { format!("{function} by ({}) ({expr})", labels(by)) }
}

/// The labels of attributes, as in `by (…)`.
pub fn labels(by: &[&str]) -> String {
    by.iter().map(|attribute| label(attribute)).collect::<Vec<_>>().join(", ")
}

/// A quantile of a histogram, one for each combination of the attributes' labels.
pub fn quantile(q: f64, metric: &Metric, by: &[&str], matchers: &[String], window: &str) -> String {
    debug_assert_eq!(metric.instrument, Instrument::Histogram);
    let by: Vec<&str> = std::iter::once("le").chain(by.iter().map(|attribute| label(attribute))).collect();
    let buckets = format!("{}_bucket{{{}}}", metric.name, matchers.join(","));
    format!("histogram_quantile({q}, sum by ({}) (rate({buckets}[{window}])))", by.join(", "))
}

/// A share that is 0 where the part has no series and absent where the whole is 0. Both have the same labels.
pub fn share(part: &str, whole: &str) -> String {
    format!("({part} or 0 * {whole}) / ({whole} > 0)")
}

/// What curves of this attribute are called.
pub fn legend(attribute: &str) -> String {
    format!("{{{{{}}}}}", label(attribute))
}

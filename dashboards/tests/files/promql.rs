//! Checks the names in a PromQL expression. Not a parser: enough to find every metric, its label matchers and the labels of `by`.

use std::collections::BTreeSet;

use contract::generated::metrics;
use contract::{Instrument, Metric};
use regex::Regex;

/// Functions and keywords that our expressions use. Any other word must be a metric, a recorded series or a label.
const WORDS: &[&str] = &[
    "absent",
    "and",
    "avg_over_time",
    "by",
    "count",
    "histogram_quantile",
    "increase",
    "label_values",
    "last_over_time",
    "max",
    "max_over_time",
    "offset",
    "on",
    "or",
    "rate",
    "scalar",
    "sum",
    "time",
    "topk",
    "unless",
    "up",
    "vector",
];
/// Labels that Prometheus gives to everything that it scrapes.
const SCRAPED: &[&str] = &["instance", "job"];

/// Fails if the expression names a metric or label that the contract does not have, or a recorded series that is not in `recorded`.
pub fn check(expr: &str, recorded: &[&str]) {
    let pattern = |text: &str| Regex::new(text).expect("a constant pattern");
    let mut labels = BTreeSet::new();
    // Whether a target is up is Prometheus's own series.
    let expr = &pattern(r#"up\{job="[a-z-]+"\}"#).replace_all(expr, "up").into_owned();
    let mut rest = expr.clone();

    // Selectors, with the name in front or as a matcher on `__name__`.
    for found in pattern(r"([A-Za-z_:][A-Za-z0-9_:]*)?\{([^}]*)\}").captures_iter(expr) {
        let matchers: Vec<(String, String)> = pattern(r#"([A-Za-z_]+)(?:=~|!~|!=|=)"([^"]*)""#)
            .captures_iter(&found[2])
            .map(|m| (m[1].to_owned(), m[2].to_owned()))
            .collect();
        let names: Vec<String> = match found.get(1) {
            Some(name) => vec![name.as_str().to_owned()],
            None => matchers.iter().filter(|m| m.0 == "__name__").flat_map(|m| m.1.split('|')).map(str::to_owned).collect(),
        };
        assert!(!names.is_empty(), "a selector without a metric: {expr}");
        for name in names.iter().filter(|name| !recorded.contains(&name.as_str())) {
            let metric = metric(name).unwrap_or_else(|| panic!("{name} is not a metric of the contract: {expr}"));
            for (label, _) in matchers.iter().filter(|m| m.0 != "__name__") {
                assert!(
                    metric.labels.contains(&label.as_str()) || SCRAPED.contains(&label.as_str()),
                    "{name} has no label {label}: {expr}"
                );
            }
            labels.extend(metric.labels.iter().chain(SCRAPED).copied());
            labels.extend((metric.instrument == Instrument::Histogram).then_some("le"));
        }
        // A recorded series has the labels of its level.
        for (level, _) in names.iter().filter_map(|name| name.split_once(':')) {
            for (label, _) in &matchers {
                assert!(format!("_{level}_").contains(&format!("_{label}_")), "{level} has no label {label}: {expr}");
            }
        }
        let of_records: Vec<String> = names.into_iter().filter(|name| recorded.contains(&name.as_str())).collect();
        rest = rest.replace(&found[0], &of_records.join(" "));
    }
    // Recorded series carry the labels by which they were summed.
    if rest.contains(':') {
        labels.insert("pool");
    }
    rest = pattern(r#""[^"]*"|\[[^\]]*\]|\$[a-z_]+|offset [0-9]+[smhd]"#).replace_all(&rest, "").into_owned();
    let words: Vec<&str> = pattern(r"[A-Za-z_:][A-Za-z0-9_:]*").find_iter(&rest).map(|m| m.as_str()).collect();
    // Metrics without a selector.
    let (bare, words): (Vec<_>, Vec<_>) = words.into_iter().partition(|word| metric(word).is_some());
    labels.extend(bare.into_iter().filter_map(metric).flat_map(|metric| metric.labels.iter().chain(SCRAPED).copied()));
    for word in words {
        let known = WORDS.contains(&word) || labels.contains(word) || recorded.contains(&word);
        assert!(known, "{word:?} is neither a label of the metrics here, nor recorded, nor a word of PromQL: {expr}");
    }
}

/// The metric of a series: its own name, or a histogram's with the suffix of its series.
fn metric(series: &str) -> Option<&'static Metric> {
    metrics::ALL.iter().copied().find(|metric| match metric.instrument {
        Instrument::Histogram => series.strip_prefix(metric.name).is_some_and(|s| ["_bucket", "_sum", "_count"].contains(&s)),
        Instrument::Counter | Instrument::Gauge => series == metric.name,
    })
}

/// Guarantees: the check above can fail; without that it would prove nothing.
#[test]
fn the_check_refuses_what_does_not_exist() {
    let refused = [
        r#"sum(rate(codex_pooler_request_total{pool="a"}[5m]))"#,
        r#"sum(codex_pooler_requests_total{api_key="a"})"#,
        r#"sum by (account) (codex_pooler_requests_total{pool="a"})"#,
        r#"codex_pooler_request_duration_seconds{pool="a"}"#,
        r#"sum by (le) (codex_pooler_requests_total{pool="a"})"#,
        "codex_pooler_requests",
        "pool:something:rate1h > 1",
        r#"{job="a"}"#,
    ];
    for expr in refused {
        assert!(std::panic::catch_unwind(|| check(expr, &[])).is_err(), "accepted {expr}");
    }
    let recorded = ["pool_error_code:requests:increase5m"];
    let other_label = r#"pool_error_code:requests:increase5m{status="failed"}"#;
    assert!(std::panic::catch_unwind(|| check(other_label, &recorded)).is_err(), "accepted {other_label}");
    check(r#"pool_error_code:requests:increase5m{error_code="none"}"#, &recorded);
    check(r#"sum by (pool) (rate(codex_pooler_requests_total{outcome="bad"}[5m])) > 0"#, &[]);
}

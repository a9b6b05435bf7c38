//! The files that an operator copies into Grafana and Prometheus.

use contract::attr;
use contract::limits::{METRICS_PORT, TEMPO_PORT};
use regex::Regex;
use serde_json::Value;

use super::{committed, promql, workspace, yaml};

const DATASOURCES: &str = "collector-config/grafana/provisioning/datasources/codex-pooler.yaml";

fn datasource(kind: &str) -> Value {
    let file = yaml(DATASOURCES);
    let list = file["datasources"].as_array().expect("a list");
    list.iter().find(|source| source["type"] == kind).unwrap_or_else(|| panic!("no data source of type {kind}")).clone()
}

/// Guarantees: Grafana finds the Tempo API on its default port, answers stay typed, and the two data sources link to each other.
#[test]
fn data_sources_fit_the_collector() {
    let (tempo, prometheus) = (datasource("tempo"), datasource("prometheus"));
    assert_eq!(tempo["url"], format!("http://127.0.0.1:{TEMPO_PORT}"));
    for kind in ["search", "metrics"] {
        assert_eq!(tempo["jsonData"]["streamingEnabled"][kind], false, "{kind}");
    }
    let to_metrics = &tempo["jsonData"]["tracesToMetrics"];
    assert_eq!(to_metrics["datasourceUid"], prometheus["uid"]);
    assert_eq!(prometheus["jsonData"]["exemplarTraceIdDestinations"][0]["datasourceUid"], tempo["uid"]);
    for tag in to_metrics["tags"].as_array().expect("tags") {
        let attribute = contract::attribute(tag["key"].as_str().expect("a key")).expect("an attribute of the contract");
        assert_eq!(attribute.label, tag["value"].as_str());
    }
    assert_eq!(to_metrics["tags"][0]["key"], attr::POOL_SLUG);
    for query in to_metrics["queries"].as_array().expect("queries") {
        // Grafana puts the tags' matchers in place of `$__tags`.
        promql::check(&query["query"].as_str().expect("a query").replace("$$__tags", r#"pool="a""#), &[]);
    }
}

/// Guarantees: no `$` is taken for a variable of Grafana's environment.
#[test]
fn dollar_signs_are_escaped() {
    let values: String = committed(DATASOURCES).lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let lone = Regex::new(r"(?:^|[^$])\$(?:[^$]|$)").expect("a constant pattern");
    assert!(values.contains("$$") && !lone.is_match(&values));
}

/// Guarantees: the provider loads dashboards from files and does not let them drift from what is committed.
#[test]
fn provider_loads_files() {
    let file = yaml("collector-config/grafana/provisioning/dashboards/codex-pooler.yaml");
    let provider = &file["providers"][0];
    assert_eq!((&provider["type"], &provider["allowUiUpdates"]), (&"file".into(), &false.into()));
    assert!(provider["options"]["path"].as_str().is_some_and(|path| path.starts_with('/')));
}

/// Guarantees: Prometheus scrapes the collector's default port and finds the rules from where the file lies.
#[test]
fn prometheus_scrapes_the_collector_and_loads_the_rules() {
    let file = yaml("collector-config/prometheus.yml");
    assert_eq!(file["scrape_configs"][0]["static_configs"][0]["targets"][0], format!("127.0.0.1:{METRICS_PORT}"));
    let rules = file["rule_files"].as_array().expect("a list");
    assert!(!rules.is_empty());
    for rule in rules {
        assert!(workspace("collector-config").join(rule.as_str().expect("a path")).is_file(), "{rule}");
    }
    assert_eq!(datasource("prometheus")["jsonData"]["timeInterval"], file["global"]["scrape_interval"]);
}

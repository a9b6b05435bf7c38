//! The files that an operator copies into Grafana, Prometheus, Alertmanager, Tempo and an OpenTelemetry Collector. How they fit together in
//! containers is in `compose.rs`.

use std::collections::BTreeSet;

use contract::limits::{LATE_AFTER, METRICS_PORT, OPEN_GONE_AFTER, TEMPO_PORT};
use contract::{Rule, attr};
use regex::Regex;
use serde_json::Value;

use super::{committed, promql, workspace, yaml};

/// Data sources and Prometheus's configuration, for one machine and for containers.
pub const DATASOURCES: [&str; 2] =
    ["collector-config/grafana/provisioning/datasources/codex-pooler.yaml", "collector-config/compose/datasources.yaml"];
pub const PROMETHEUS: [&str; 2] = ["collector-config/prometheus.yml", "collector-config/compose/prometheus.yml"];

pub fn datasource(file: &str, uid: &str) -> Value {
    let file = yaml(file);
    let list = file["datasources"].as_array().expect("a list");
    list.iter().find(|source| source["uid"] == uid).unwrap_or_else(|| panic!("no data source {uid}")).clone()
}

/// The strings of a list.
pub fn texts(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|item| item.as_str().expect("a text")).collect()
}

/// Guarantees: Grafana finds the embedded store on its default port, answers stay typed, and the data sources link to each other.
#[test]
fn data_sources_fit_the_collector() {
    assert_eq!(datasource(DATASOURCES[0], "codex-pooler-requests")["url"], format!("http://127.0.0.1:{TEMPO_PORT}"));
    for file in DATASOURCES {
        let prometheus = datasource(file, "prometheus");
        assert_eq!(prometheus["type"], "prometheus");
        let exemplars = &prometheus["jsonData"]["exemplarTraceIdDestinations"][0];
        assert_eq!((&exemplars["name"], &exemplars["datasourceUid"]), (&"trace_id".into(), &"codex-pooler-requests".into()));
        for uid in ["codex-pooler-requests", "tempo"] {
            let tempo = datasource(file, uid);
            assert_eq!(tempo["type"], "tempo");
            for kind in ["search", "metrics"] {
                assert_eq!(tempo["jsonData"]["streamingEnabled"][kind], false, "{file}: {uid}: {kind}");
            }
            let to_metrics = &tempo["jsonData"]["tracesToMetrics"];
            assert_eq!(to_metrics["datasourceUid"], prometheus["uid"]);
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
    }
}

/// Guarantees: one machine and containers differ in addresses alone.
#[test]
fn variants_differ_in_addresses_only() {
    let address =
        Regex::new(r"(?:http://)?[a-z0-9.-]+:[0-9]{4,5}|[a-z./-]*/codex-pooler-rules\.yaml").expect("a constant pattern");
    for [one, other] in [DATASOURCES, PROMETHEUS] {
        let plain = |file: &str| address.replace_all(&yaml(file).to_string(), "address").into_owned();
        assert_eq!(plain(one), plain(other));
    }
}

/// Guarantees: no `$` is taken for a variable of Grafana's environment.
#[test]
fn dollar_signs_are_escaped() {
    let lone = Regex::new(r"(?:^|[^$])\$(?:[^$]|$)").expect("a constant pattern");
    for file in DATASOURCES {
        let values: String = committed(file).lines().filter(|line| !line.trim_start().starts_with('#')).collect();
        assert!(values.contains("$$") && !lone.is_match(&values), "{file}");
    }
}

/// Guarantees: the provider loads dashboards from files and does not let them drift from what is committed.
#[test]
fn provider_loads_files() {
    let file = yaml("collector-config/grafana/provisioning/dashboards/codex-pooler.yaml");
    let provider = &file["providers"][0];
    assert_eq!((&provider["type"], &provider["allowUiUpdates"]), (&"file".into(), &false.into()));
    assert!(provider["options"]["path"].as_str().is_some_and(|path| path.starts_with('/')));
}

/// Guarantees: Prometheus scrapes the collector's default port under the name that the alert on its absence looks for, and finds the rules from
/// where the file lies.
#[test]
fn prometheus_scrapes_the_collector_and_loads_the_rules() {
    let rules = committed("dashboards/rules/codex-pooler-rules.yaml");
    for (file, host) in [(PROMETHEUS[0], "127.0.0.1"), (PROMETHEUS[1], "pooler-otel")] {
        let config = yaml(file);
        let job = &config["scrape_configs"][0];
        assert_eq!(job["static_configs"][0]["targets"][0], format!("{host}:{METRICS_PORT}"));
        assert!(rules.contains(&format!("absent(up{{job={}}})", job["job_name"])), "{file}");
        assert_eq!(datasource(DATASOURCES[0], "prometheus")["jsonData"]["timeInterval"], config["global"]["scrape_interval"]);
    }
    for path in texts(&yaml(PROMETHEUS[0])["rule_files"]) {
        assert!(workspace("collector-config").join(path).is_file(), "{path}");
    }
}

/// Guarantees: routes and inhibitions name alerts and receivers that exist, one Pool or collector hides nothing of another, and messages show what
/// the alerts carry.
#[test]
fn alertmanager_knows_the_alerts() {
    let config = yaml("collector-config/alertmanager/alertmanager.yml");
    let rules = committed("dashboards/rules/codex-pooler-rules.yaml");
    let alert = Regex::new(r#"alertname =~? "([^"]+)""#).expect("a constant pattern");
    let text = config["inhibit_rules"].to_string().replace(r#"\""#, "\"");
    let names: Vec<&str> = alert.captures_iter(&text).flat_map(|found| found.extract::<1>().1[0].split('|')).collect();
    assert!(names.len() > 5, "{text}");
    for name in names {
        assert!(rules.contains(&format!("- alert: {name}\n")), "{name}");
    }
    for rule in config["inhibit_rules"].as_array().expect("inhibitions") {
        // The alert on a collector has no instance where there is no collector at all.
        let of_none = texts(&rule["source_matchers"]).contains(&"instance = \"\"");
        assert!(of_none || rule["equal"].is_array(), "{rule}");
    }
    let receivers: BTreeSet<&str> =
        config["receivers"].as_array().expect("receivers").iter().map(|r| r["name"].as_str().expect("a name")).collect();
    let routes = config["route"]["routes"].as_array().expect("routes");
    let used = routes.iter().chain([&config["route"]]).map(|route| route["receiver"].as_str().expect("a receiver")).collect();
    assert_eq!(receivers, used);
    let shown = Regex::new(r#"template "([a-z.-]+)""#).expect("a constant pattern");
    for file in texts(&config["templates"]) {
        let template = committed(&format!("collector-config/alertmanager/{file}"));
        for annotation in ["summary", "description", "dashboard_url", "runbook_url"] {
            assert!(template.contains(&format!(".Annotations.{annotation}")), "{annotation}");
        }
        for name in shown.captures_iter(&format!("{template}{}", committed("collector-config/alertmanager/alertmanager.yml"))) {
            assert!(template.contains(&format!("define \"{}\"", &name[1])), "{}", &name[1]);
        }
    }
}

/// The seconds of a duration such as 25h.
fn seconds(duration: &Value) -> u64 {
    let text = duration.as_str().expect("a duration");
    let (number, unit) = text.split_at(text.len() - 1);
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => panic!("{text}"),
    };
    number.parse::<u64>().expect("a number") * factor
}

/// Guarantees: a Tempo with this file hides no new row, finds requests that were open for as long as the pooler allows, cuts no text of the
/// contract, and refuses no search over what the store keeps by default.
#[test]
fn tempo_shows_every_row() {
    let tempo = yaml("collector-config/tempo.yaml");
    assert_eq!(seconds(&tempo["query_frontend"]["query_end_cutoff"]), 0);
    assert_eq!(tempo["live_store"]["fail_on_high_lag"], false);
    assert!(seconds(&tempo["live_store"]["wal"]["ingestion_time_range_slack"]) > (OPEN_GONE_AFTER + LATE_AFTER).as_secs());
    assert!(seconds(&tempo["query_frontend"]["search"]["max_duration"]) >= 14 * 24 * 3600);
    let longest = contract::generated::ATTRIBUTES.iter().map(|attribute| match attribute.rule {
        Rule::Text { max_chars, .. } => max_chars,
        _ => 0,
    });
    let cut = tempo["distributor"]["max_attribute_bytes"].as_u64().and_then(|bytes| usize::try_from(bytes).ok());
    // Characters beyond ASCII are longer, but no text is made of them alone.
    assert!(longest.max() <= cut, "texts are cut at {cut:?} bytes");
}

/// Guarantees: of the OpenTelemetry Collector's files, every pipeline names components that are declared, every declared one is used; the one
/// in front exports to pooler-otel alone, the one behind can be reached from the machine alone, and neither samples.
#[test]
fn opentelemetry_collectors_do_not_bypass() {
    for (file, exporters) in [("before", Some("otlp/pooler-otel")), ("behind", None)] {
        let config = yaml(&format!("collector-config/otel-collector-{file}.yaml"));
        for kind in ["receivers", "processors", "exporters"] {
            let declared: BTreeSet<&str> = config[kind].as_object().expect("components").keys().map(String::as_str).collect();
            let pipelines = config["service"]["pipelines"].as_object().expect("pipelines");
            assert_eq!(pipelines.keys().map(String::as_str).collect::<Vec<_>>(), ["logs", "metrics", "traces"]);
            let used: BTreeSet<&str> = pipelines.values().flat_map(|pipeline| texts(&pipeline[kind])).collect();
            assert_eq!(declared, used, "{file}: {kind}");
            assert!(declared.iter().all(|name| !name.contains("sampl")), "{file}");
            if let (Some(only), "exporters") = (exporters, kind) {
                assert_eq!(declared, BTreeSet::from([only]));
            }
        }
    }
    let receivers = yaml("collector-config/otel-collector-behind.yaml")["receivers"].to_string();
    assert!(receivers.contains("127.0.0.1:") && !receivers.contains("0.0.0.0"), "{receivers}");
}

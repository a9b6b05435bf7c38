//! The Prometheus rules and their runbooks. What the rules do is tested by `promtool test rules` with the files in `rules/tests`.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::Value;

use super::boards::{self, variables};
use super::{committed, promql, workspace, yaml};

fn rules() -> Vec<Value> {
    let file = yaml("dashboards/rules/codex-pooler-rules.yaml");
    let groups = file["groups"].as_array().expect("groups are a list");
    groups.iter().flat_map(|group| group["rules"].as_array().expect("rules are a list").clone()).collect()
}

fn alerts(rules: &[Value]) -> impl Iterator<Item = (&str, &Value)> {
    rules.iter().filter_map(|rule| Some((rule["alert"].as_str()?, rule)))
}

fn recorded(rules: &[Value]) -> Vec<&str> {
    rules.iter().filter_map(|rule| rule["record"].as_str()).collect()
}

fn annotation<'a>(rule: &'a Value, name: &str) -> &'a str {
    rule["annotations"][name].as_str().unwrap_or_else(|| panic!("no {name}: {rule}"))
}

/// The sections of the runbooks by their headings.
fn runbooks() -> BTreeMap<String, String> {
    let text = committed("dashboards/runbooks.md");
    let sections = text.split("\n## ").skip(1).map(|section| section.split_once('\n').expect("a heading and a text"));
    sections.map(|(heading, body)| (heading.to_owned(), body.to_owned())).collect()
}

/// Guarantees: every expression names metrics and labels of the contract, or a series that is recorded here.
#[test]
fn expressions_name_what_exists() {
    let rules = rules();
    let recorded = recorded(&rules);
    for rule in &rules {
        promql::check(rule["expr"].as_str().expect("an expression"), &recorded);
    }
}

/// Guarantees: no series is recorded that nothing reads, neither another rule nor a panel.
#[test]
fn recorded_series_have_a_reader() {
    let name = Regex::new("[a-z0-9_]+:[a-z0-9_]+:[a-z0-9_]+").expect("a constant pattern");
    let rules = rules();
    let expressions = rules.iter().map(|rule| rule["expr"].as_str().expect("an expression").to_owned());
    let readers: Vec<String> = expressions.chain(boards::all().values().map(Value::to_string)).collect();
    let read: BTreeSet<&str> = readers.iter().flat_map(|text| name.find_iter(text)).map(|found| found.as_str()).collect();
    let recorded = recorded(&rules);
    assert!(!recorded.is_empty());
    for series in recorded {
        assert!(read.contains(series), "{series}");
    }
}

/// Guarantees: recorded series are named level:metric:operation, and the level is what every sum in them is by, in its order.
#[test]
fn recorded_names_say_what_is_in_them() {
    let by = Regex::new(r"by \(([a-z_, ]+)\)").expect("a constant pattern");
    for rule in rules().iter().filter(|rule| rule["record"].is_string()) {
        let (name, expr) = (rule["record"].as_str().expect("a name"), rule["expr"].as_str().expect("an expression"));
        let [level, _, operation] = name.split(':').collect::<Vec<_>>()[..] else { panic!("{name}") };
        assert!(!operation.is_empty(), "{name}");
        let mut sums = by.captures_iter(expr).map(|found| found.extract::<1>().1[0]).peekable();
        assert!(sums.peek().is_some(), "{name}");
        for labels in sums {
            // Within a level, a job is many instances, and a histogram many buckets.
            let labels: Vec<&str> = labels.split(", ").filter(|label| !["job", "le"].contains(label)).collect();
            assert_eq!(level, labels.join("_"), "{name}");
        }
    }
}

/// Guarantees: whoever is woken finds what it means and what to do: severity, texts, and a runbook under the very link.
#[test]
fn every_alert_has_a_runbook() {
    let rules = rules();
    let names: BTreeSet<String> = alerts(&rules).map(|(name, _)| name.to_owned()).collect();
    assert!(names.len() >= 20, "{names:?}");
    assert_eq!(runbooks().into_keys().collect::<BTreeSet<_>>(), names, "headings of runbooks.md and alerts");
    for (name, rule) in alerts(&rules) {
        assert!(["critical", "warning", "info"].contains(&rule["labels"]["severity"].as_str().unwrap_or_default()), "{name}");
        for text in ["summary", "description"] {
            assert!(annotation(rule, text).ends_with('.'), "{name}: {text}");
        }
        let link = annotation(rule, "runbook_url");
        assert_eq!(link, format!("dashboards/runbooks.md#{}", name.to_lowercase()), "a path in the repository");
    }
}

/// Guarantees: the link to the dashboard leads to one that is there, and fills in variables that it has, from labels that the alert has.
#[test]
fn every_alert_links_to_a_dashboard() {
    let rules = rules();
    let dashboards = boards::all();
    let parameter = Regex::new(r"(?:^|&)([a-z_-]+)=([^&]*)").expect("a constant pattern");
    for (name, rule) in alerts(&rules) {
        let link = annotation(rule, "dashboard_url");
        let (uid, query) = link.strip_prefix("/d/").and_then(|rest| rest.split_once('?')).expect("a path and its query");
        let dashboard = dashboards.values().find(|d| d["uid"] == uid).unwrap_or_else(|| panic!("{name}: {link}"));
        let mut given = BTreeSet::new();
        for found in parameter.captures_iter(query) {
            let (key, value) = (&found[1], &found[2]);
            if let Some(variable) = key.strip_prefix("var-") {
                assert!(variables(dashboard).contains_key(variable), "{name}: {uid} has no variable {variable}");
            }
            if let Some(label) = value.strip_prefix("{{ $labels.") {
                let label = label.trim_end_matches(" | urlquery }}");
                assert!(!label.contains(' ') && key == format!("var-{label}"), "{name}: {link}");
            }
            given.insert(key.to_owned());
        }
        assert!(given.contains("from") && given.contains("to"), "{name}: {link}");
    }
}

/// Guarantees: the healthy system serves answers that are incomplete and were delivered, of which no alert may make failures.
#[test]
fn healthy_traffic_holds_incomplete_answers() {
    let healthy = yaml("dashboards/rules/tests/healthy.yaml");
    let series = healthy["tests"][0]["input_series"].as_array().expect("series");
    let texts = |series: &Value| ["series", "values"].map(|key| series[key].as_str().expect("a text").to_owned());
    let incomplete = r#"status="succeeded", outcome="good", error_code="response.incomplete"}"#;
    assert!(series.iter().map(texts).any(|[name, values]| name.ends_with(incomplete) && values.starts_with("0+")));
}

/// Guarantees: every alert is seen to fire, with its labels and texts, is seen not to fire just before, and not in a healthy system. A test
/// of an alert that does not exist would pass for ever.
#[test]
fn every_alert_has_tests() {
    let rules = rules();
    let names: BTreeSet<String> = alerts(&rules).map(|(name, _)| name.to_owned()).collect();
    let (mut fires, mut silent, mut healthy) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for entry in std::fs::read_dir(workspace("dashboards/rules/tests")).expect("the folder of the tests") {
        let file = entry.expect("an entry").file_name().into_string().expect("a name");
        for test in yaml(&format!("dashboards/rules/tests/{file}"))["tests"].as_array().expect("tests") {
            for case in test["alert_rule_test"].as_array().expect("cases") {
                let name = case["alertname"].as_str().expect("a name").to_owned();
                assert!(names.contains(&name), "{file} tests {name}, which does not exist");
                let expected = case["exp_alerts"].as_array().expect("a list");
                for alert in expected {
                    assert!(alert["exp_labels"]["severity"].is_string(), "{file}: {name}");
                    assert_eq!(alert["exp_annotations"].as_object().map(serde_json::Map::len), Some(4), "{file}: {name}");
                }
                match (expected.is_empty(), file.as_str()) {
                    (true, "healthy.yaml") => healthy.insert(name),
                    (true, _) => silent.insert(name),
                    (false, other) => {
                        assert_ne!(other, "healthy.yaml", "{name}");
                        fires.insert(name)
                    }
                };
            }
        }
    }
    assert_eq!(fires, names, "alerts that a test sees fire");
    assert_eq!(silent, names, "alerts that a test sees wait");
    assert_eq!(healthy, names, "alerts that a healthy system does not fire");
}

//! The Prometheus rules. What they do is tested by `promtool test rules` with the files in `rules/tests`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{committed, promql, workspace, yaml};

fn rules() -> Vec<Value> {
    let file = yaml("dashboards/rules/codex-pooler-rules.yaml");
    let groups = file["groups"].as_array().expect("groups are a list");
    groups.iter().flat_map(|group| group["rules"].as_array().expect("rules are a list").clone()).collect()
}

fn names<'a>(rules: &'a [Value], kind: &str) -> Vec<&'a str> {
    rules.iter().filter_map(|rule| rule[kind].as_str()).collect()
}

/// Guarantees: every expression names metrics and labels of the contract, or a series that is recorded here.
#[test]
fn expressions_name_what_exists() {
    let rules = rules();
    let recorded = names(&rules, "record");
    assert!(!rules.is_empty());
    for rule in &rules {
        promql::check(rule["expr"].as_str().expect("an expression"), &recorded);
    }
}

/// Guarantees: whoever is woken finds what it means and what to do: severity, texts, and a runbook under the very link.
#[test]
fn every_alert_has_a_runbook_and_a_test() {
    let rules = rules();
    let alerts: BTreeSet<&str> = names(&rules, "alert").into_iter().collect();
    assert!(!alerts.is_empty());
    let runbooks = committed("dashboards/runbooks.md");
    let headings: BTreeSet<&str> = runbooks.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(headings, alerts, "headings of runbooks.md and alerts");
    let tests: String = std::fs::read_dir(workspace("dashboards/rules/tests"))
        .expect("the folder of the tests")
        .map(|entry| std::fs::read_to_string(entry.expect("an entry").path()).expect("a readable file"))
        .collect();
    for rule in rules.iter().filter(|rule| rule["alert"].is_string()) {
        let alert = rule["alert"].as_str().expect("a name");
        assert!(["critical", "warning", "info"].contains(&rule["labels"]["severity"].as_str().unwrap_or_default()), "{alert}");
        for annotation in ["summary", "description"] {
            assert!(rule["annotations"][annotation].as_str().is_some_and(|text| text.ends_with('.')), "{alert}: {annotation}");
        }
        let link = rule["annotations"]["runbook_url"].as_str().expect("a runbook's link");
        assert!(link.ends_with(&format!("/dashboards/runbooks.md#{}", alert.to_lowercase())), "{alert}: {link}");
        assert!(tests.contains(&format!("alertname: {alert}")), "{alert} has no test");
    }
}

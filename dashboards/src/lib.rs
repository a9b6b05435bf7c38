//! Generates the Grafana dashboard and the Prometheus rules. Attributes, metrics, closed sets and limits come from the contract, so that a
//! rename there is a compile error here. `cargo xtask gen` writes the files; `cargo xtask check` compares them.

mod filter;
mod grafana;
mod request_logs;
mod rules;

use std::collections::BTreeMap;

/// Every generated file: its path below the workspace, and its content. The same bytes on every call.
#[must_use]
pub fn files() -> BTreeMap<String, String> {
    let mut dashboard = request_logs::dashboard();
    // Another crate of the build may switch serde_json to insertion order; the file must not depend on that.
    dashboard.sort_all_objects();
    BTreeMap::from([
        ("dashboards/grafana/request-logs.json".to_owned(), format!("{dashboard:#}\n")),
        ("dashboards/rules/codex-pooler-rules.yaml".to_owned(), rules::yaml()),
    ])
}

//! Generates the Grafana dashboards and the Prometheus rules. Attributes, metrics, closed sets and limits come from the contract, so that a
//! rename there is a compile error here. `cargo xtask gen` writes the files; `cargo xtask check` compares them.

mod accounts;
mod board;
mod cells;
mod codes;
mod filter;
mod grafana;
mod overview;
mod pipeline;
mod promql;
mod request_detail;
mod request_logs;
mod rules;

use std::collections::BTreeMap;

use board::Board;
use serde_json::Value;

/// Every generated file: its path below the workspace, and its content. The same bytes on every call.
#[must_use]
pub fn files() -> BTreeMap<String, String> {
    let dashboards: [(Board, Value); 5] = [
        (Board::RequestLogs, request_logs::dashboard()),
        (Board::RequestDetail, request_detail::dashboard()),
        (Board::Overview, overview::dashboard()),
        (Board::Accounts, accounts::dashboard()),
        (Board::Pipeline, pipeline::dashboard()),
    ];
    let dashboards = dashboards.map(|(board, mut dashboard)| {
        // Another crate of the build may switch serde_json to insertion order; the file must not depend on that.
        dashboard.sort_all_objects();
        (format!("dashboards/grafana/{}.json", board.slug()), format!("{dashboard:#}\n"))
    });
    let rules = ("dashboards/rules/codex-pooler-rules.yaml".to_owned(), rules::yaml());
    dashboards.into_iter().chain([rules]).collect()
}

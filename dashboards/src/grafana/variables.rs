//! Variables of a dashboard: data sources, lists from Prometheus, fixed lists, lines of text.

use serde_json::{Value, json};

/// Type of the data source of spans.
pub const TEMPO: &str = "tempo";
/// Type of the data source of metrics.
pub const PROMETHEUS: &str = "prometheus";

/// The data source that the dashboard's variable names. Panels never name one directly.
pub fn datasource(kind: &str) -> Value {
    json!({"type": kind, "uid": format!("${{{kind}_datasource}}")})
}

/// The variables that choose the data sources: every dashboard has both, so that links between dashboards keep the choice.
pub fn datasource_variables() -> Vec<Value> {
    [(PROMETHEUS, "Prometheus data source"), (TEMPO, "Tempo data source")]
        .map(|(kind, label)| {
            json!({
                "name": format!("{kind}_datasource"), "label": label, "description": "", "type": "datasource", "query": kind,
                "refresh": 1, "multi": false, "includeAll": false, "options": [], "hide": 0,
            })
        })
        .into()
}

/// A list from Prometheus, several at once, refreshed with the time range. All is `all`, and stays right while the list is empty.
pub fn label_values(query: &str, all: &str) -> Value {
    json!({
        "type": "query", "datasource": datasource(PROMETHEUS),
        "query": {"qryType": 5, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "refresh": 2, "sort": 5, "multi": true, "includeAll": true, "allValue": all, "allowCustomValue": true,
        "current": {"text": ["All"], "value": ["$__all"]}, "options": [],
    })
}

/// A fixed list of (shown text, value), several at once.
pub fn choice<'a>(items: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    let query = items.map(|(text, value)| format!("{text} : {value}")).collect::<Vec<_>>().join(", ");
    json!({
        "type": "custom", "query": query, "multi": true, "includeAll": true, "allValue": ".*", "allowCustomValue": false,
        "current": {"text": ["All"], "value": ["$__all"]}, "options": [],
    })
}

/// A line of text.
pub fn text_box(default: &str) -> Value {
    let option = json!({"text": default, "value": default, "selected": true});
    json!({"type": "textbox", "query": default, "current": option, "options": [option]})
}

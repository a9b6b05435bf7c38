//! Panels over PromQL: single numbers, states, curves and tables.

use serde_json::{Value, json};

use super::variables::{PROMETHEUS, datasource};
use super::{NEUTRAL, Size, merge, panel};

/// One expression of a panel.
pub struct Query {
    /// In PromQL.
    pub expr: String,
    /// Name of its curves, with `{{label}}` in it; heading of its column in a table.
    pub name: String,
    /// Whether points lead to traces: histograms carry exemplars.
    pub exemplar: bool,
}

impl Query {
    /// An expression without exemplars.
    pub fn new(name: &str, expr: String) -> Self {
        Self { expr, name: name.to_owned(), exemplar: false }
    }

    /// Over a histogram whose buckets carry exemplars.
    pub fn with_exemplars(name: &str, expr: String) -> Self {
        Self { exemplar: true, ..Self::new(name, expr) }
    }

    fn target(&self, at: usize, kind: &Value) -> Value {
        let base = json!({
            "refId": ref_id(at), "datasource": datasource(PROMETHEUS), "expr": self.expr, "legendFormat": self.name,
            "exemplar": self.exemplar, "editorMode": "code",
        });
        merge(base, kind.clone())
    }
}

/// A, B, C…
fn ref_id(at: usize) -> String {
    u8::try_from(at).map_or_else(|_| at.to_string(), |at| char::from(b'A' + at % 26).to_string())
}

fn targets(queries: &[Query], kind: &Value) -> Vec<Value> {
    queries.iter().enumerate().map(|(at, query)| query.target(at, kind)).collect()
}

/// One number, from an instant query. `defaults` has its unit, and what else differs from neutral text.
pub fn stat(title: &str, description: &str, size: Size, expr: &str, defaults: Value) -> Value {
    stat_of(title, description, size, &Query::new("", expr.to_owned()), "value", defaults)
}

/// A state for each series, named by the query: value mappings in `defaults` give the words, the background has their colour.
pub fn state(title: &str, description: &str, size: Size, query: &Query, defaults: Value) -> Value {
    stat_of(title, description, size, query, "background", defaults)
}

fn stat_of(title: &str, description: &str, size: Size, query: &Query, color_mode: &str, defaults: Value) -> Value {
    let defaults =
        merge(json!({"noValue": contract::DASH, "color": {"mode": "thresholds"}, "thresholds": thresholds(&[])}), defaults);
    let rest = json!({
        "datasource": datasource(PROMETHEUS),
        "targets": [query.target(0, &json!({"instant": true, "range": false}))],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {
            "colorMode": color_mode, "graphMode": "none", "justifyMode": "auto", "orientation": "auto", "textMode": "auto",
            "wideLayout": true, "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
        },
    });
    panel("stat", title, description, size, rest)
}

/// Curves over the time range. `defaults` has the unit, and what else differs: limits, thresholds.
pub fn timeseries(title: &str, description: &str, size: Size, queries: &[Query], defaults: Value) -> Value {
    // Curves that start at zero can be compared by eye; one below zero is still seen.
    let custom = json!({
        "axisSoftMin": 0, "fillOpacity": 10, "showPoints": "never", "lineWidth": 1, "thresholdsStyle": {"mode": "line"},
    });
    let base = json!({"color": {"mode": "palette-classic"}, "custom": custom, "thresholds": thresholds(&[])});
    let rest = json!({
        "datasource": datasource(PROMETHEUS),
        "targets": targets(queries, &json!({"instant": false, "range": true})),
        "fieldConfig": {"defaults": merge(base, defaults), "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    });
    panel("timeseries", title, description, size, rest)
}

/// A table with a line for each set of labels: the labels, as (label, heading), then a column for each query. `properties` are those of
/// the columns, by heading; the table is sorted by `sort_by`, highest first.
pub fn metric_table(
    title: &str,
    description: &str,
    size: Size,
    labels: &[(&str, &str)],
    queries: &[Query],
    properties: Vec<(&str, Vec<(&str, Value)>)>,
    sort_by: &str,
) -> Value {
    let values = queries.iter().enumerate().map(|(at, query)| {
        // Grafana names the column of a single query without its letter.
        let field = if queries.len() == 1 { "Value".to_owned() } else { format!("Value #{}", ref_id(at)) };
        (field, query.name.clone())
    });
    let columns: Vec<(String, String)> =
        labels.iter().map(|(label, heading)| ((*label).to_owned(), (*heading).to_owned())).chain(values).collect();
    let order: Value = columns.iter().enumerate().map(|(at, (field, _))| (field.clone(), json!(at))).collect();
    let names: Value = columns.iter().map(|(field, heading)| (field.clone(), json!(heading))).collect();
    let fields: Vec<&String> = columns.iter().map(|(field, _)| field).collect();
    let overrides: Vec<Value> = properties
        .into_iter()
        .map(|(heading, properties)| {
            let properties: Vec<Value> = properties.into_iter().map(|(id, value)| json!({"id": id, "value": value})).collect();
            json!({"matcher": {"id": "byName", "options": heading}, "properties": properties})
        })
        .collect();
    let rest = json!({
        "datasource": datasource(PROMETHEUS),
        "targets": targets(queries, &json!({"instant": true, "range": false, "format": "table"})),
        "transformations": [
            {"id": "merge", "options": {}},
            {"id": "filterFieldsByName", "options": {"include": {"names": fields}}},
            {"id": "organize", "options": {"excludeByName": {}, "indexByName": order, "orderByMode": "manual", "renameByName": names}},
        ],
        "fieldConfig": {
            "defaults": {"noValue": contract::DASH, "custom": {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": false}},
            "overrides": overrides,
        },
        "options": {"showHeader": true, "cellHeight": "sm", "sortBy": [{"displayName": sort_by, "desc": true}]},
    });
    panel("table", title, description, size, rest)
}

/// Neutral up to the first step; then each colour from its value on.
pub fn thresholds(steps: &[(f64, &str)]) -> Value {
    let base = json!({"value": null, "color": NEUTRAL});
    let steps: Vec<Value> =
        std::iter::once(base).chain(steps.iter().map(|(from, color)| json!({"value": from, "color": color}))).collect();
    json!({"mode": "absolute", "steps": steps})
}

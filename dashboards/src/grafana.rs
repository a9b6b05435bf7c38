//! The parts of Grafana's classic dashboard model, schema version 41, which Grafana 12 and 13 load.

use serde_json::{Value, json};

/// Where a panel lies: column of 24, row, width, height, in Grafana's grid units.
#[derive(Clone, Copy)]
pub struct Place(pub u32, pub u32, pub u32, pub u32);

/// The data source that the dashboard's variable names. Panels never name one directly.
pub fn datasource(kind: &str) -> Value {
    json!({"type": kind, "uid": format!("${{{kind}_datasource}}")})
}

/// A variable that chooses a data source.
pub fn datasource_variable(kind: &str, label: &str) -> Value {
    json!({"name": format!("{kind}_datasource"), "label": label, "type": "datasource", "query": kind, "refresh": 1})
}

/// A list from Prometheus, several at once, refreshed with the time range. All is `.*`, and stays right while the list is empty.
pub fn label_values(query: &str) -> Value {
    json!({
        "type": "query", "datasource": datasource("prometheus"), "definition": query,
        "query": {"qryType": 5, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "refresh": 2, "sort": 5, "multi": true, "includeAll": true, "allValue": ".*", "allowCustomValue": true,
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

/// A panel. Its id is its place in the dashboard, see [`numbered`].
pub fn panel(kind: &str, title: &str, description: &str, place: Place, rest: Value) -> Value {
    let Place(x, y, w, h) = place;
    merge(json!({"type": kind, "title": title, "description": description, "gridPos": {"x": x, "y": y, "w": w, "h": h}}), rest)
}

/// One number over the whole time range, from an instant PromQL query.
pub fn stat(title: &str, description: &str, place: Place, expr: &str, defaults: Value) -> Value {
    let defaults =
        merge(json!({"noValue": contract::DASH, "color": {"mode": "thresholds"}, "thresholds": thresholds(&[])}), defaults);
    panel(
        "stat",
        title,
        description,
        place,
        json!({
            "datasource": datasource("prometheus"),
            "targets": [{"refId": "A", "datasource": datasource("prometheus"), "expr": expr, "instant": true, "range": false}],
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": {
                "colorMode": "value", "graphMode": "none", "justifyMode": "auto", "orientation": "auto", "textMode": "auto",
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
            },
        }),
    )
}

/// Neutral up to the first step; then each colour from its value on.
pub fn thresholds(steps: &[(f64, &str)]) -> Value {
    let base = json!({"value": null, "color": "text"});
    let steps: Vec<Value> =
        std::iter::once(base).chain(steps.iter().map(|(from, color)| json!({"value": from, "color": color}))).collect();
    json!({"mode": "absolute", "steps": steps})
}

/// A column of a table of spans.
pub struct Column {
    /// Name of the field in Tempo's answer.
    pub field: &'static str,
    /// Heading, and the name by which links reach the field.
    pub title: &'static str,
    /// Width in pixels; a column without one is hidden, and only links use it.
    pub width: Option<u32>,
    /// Further properties of the field, as (Grafana's property id, value).
    pub properties: Vec<(&'static str, Value)>,
}

/// A table of spans, one a trace, newest first: exactly these columns in this order, whatever else the answer holds.
pub fn span_table(title: &str, description: &str, place: Place, query: &str, limit: u32, columns: Vec<Column>) -> Value {
    let fields: Vec<&str> = columns.iter().map(|c| c.field).collect();
    let order: Value = fields.iter().enumerate().map(|(at, field)| ((*field).to_owned(), json!(at))).collect();
    let names: Value = columns.iter().map(|c| (c.field.to_owned(), json!(c.title))).collect();
    let newest_first = columns.iter().find(|c| c.field == START_TIME).map_or("", |c| c.title);
    let sort_by = json!([{"displayName": newest_first, "desc": true}]);
    let overrides: Vec<Value> = columns
        .into_iter()
        .map(|column| {
            let width = match column.width {
                Some(pixels) => vec![("custom.width", json!(pixels))],
                // Grafana 12.0 knows the first name of this switch, 12.2 the second.
                None => vec![("custom.hidden", json!(true)), ("custom.hideFrom.viz", json!(true))],
            };
            let properties: Vec<Value> =
                width.into_iter().chain(column.properties).map(|(id, value)| json!({"id": id, "value": value})).collect();
            json!({"matcher": {"id": "byName", "options": column.title}, "properties": properties})
        })
        .collect();
    panel(
        "table",
        title,
        description,
        place,
        json!({
            "datasource": datasource("tempo"),
            "targets": [{
                "refId": "A", "datasource": datasource("tempo"), "queryType": "traceql", "query": query,
                "tableType": "spans", "limit": limit, "spss": 1,
            }],
            "transformations": [
                {"id": "filterFieldsByName", "options": {"include": {"names": fields}}},
                {"id": "organize", "options": {
                    "excludeByName": {}, "indexByName": order, "orderByMode": "manual", "renameByName": names,
                }},
            ],
            "fieldConfig": {
                "defaults": {"noValue": contract::DASH, "custom": {
                    // The switch for wrapping moved out of the cell options in Grafana 12.2.
                    "align": "left", "cellOptions": {"type": "auto", "wrapText": true}, "wrapText": true, "filterable": false,
                }},
                "overrides": overrides,
            },
            "options": {"showHeader": true, "cellHeight": "sm", "sortBy": sort_by},
        }),
    )
}

/// Name that Tempo's data source gives to the start of a span.
pub const START_TIME: &str = "Start time";
/// Field of Tempo's answer that holds the trace id.
pub const TRACE_ID: &str = "traceIdHidden";

/// A value mapping for the property `mappings`: every text that matches the expression.
pub fn mapping(at: usize, pattern: &str, text: Option<String>, color: &str) -> Value {
    let mut result = json!({"index": at, "color": color});
    if let Some(text) = text {
        result["text"] = json!(text);
    }
    json!({"type": "regex", "options": {"pattern": format!("/{pattern}/"), "result": result}})
}

/// Gives every panel its id: 1, 2, 3…
pub fn numbered(panels: Vec<Value>) -> Vec<Value> {
    (1..).zip(panels).map(|(id, panel): (u32, Value)| merge(panel, json!({"id": id}))).collect()
}

/// Percent-encodes a text for a URL, except Grafana's `${variables}`, which Grafana replaces later.
pub fn url_encoded(text: &str) -> String {
    let encode = |plain: &str| -> String {
        plain
            .bytes()
            .map(|byte| match byte {
                b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
                _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
                _ => format!("%{byte:02X}"),
            })
            .collect()
    };
    let mut parts = text.split("${");
    let start = parts.next().map(encode).unwrap_or_default();
    parts.fold(start, |url, part| match part.split_once('}') {
        Some((variable, plain)) => format!("{url}${{{variable}}}{}", encode(plain)),
        None => url + &encode(part),
    })
}

/// The entries of both objects; the second one's win.
pub fn merge(mut base: Value, over: Value) -> Value {
    if let (Value::Object(base), Value::Object(over)) = (&mut base, over) {
        base.extend(over);
    }
    base
}

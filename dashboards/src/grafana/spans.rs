//! Tables of spans, from TraceQL.

use serde_json::{Value, json};

use super::variables::{TEMPO, datasource};
use super::{Size, panel};

/// Name that Tempo's data source gives to the start of a span.
pub const START_TIME: &str = "Start time";
/// Field of Tempo's answer that holds the trace id.
pub const TRACE_ID: &str = "traceIdHidden";

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
    /// A text field that is written behind this one, which is a time, into one cell.
    suffix: Option<&'static str>,
}

impl Column {
    /// The column with further properties.
    pub fn with(mut self, properties: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        self.properties.extend(properties);
        self
    }
}

/// A column.
pub fn shown(field: &'static str, title: &'static str, width: u32) -> Column {
    Column { field, title, width: Some(width), properties: vec![], suffix: None }
}

/// A column of numbers with a unit of Grafana's.
pub fn numeric(field: &'static str, title: &'static str, width: u32, unit: &str) -> Column {
    shown(field, title, width).with([("unit", json!(unit))])
}

/// A field that only links use.
pub fn hidden(field: &'static str, title: &'static str) -> Column {
    Column { width: None, ..shown(field, title, 0) }
}

/// The start of the span in UTC, and behind it in the same cell a text field.
pub fn timestamp(title: &'static str, suffix: &'static str) -> Column {
    Column { suffix: Some(suffix), ..shown(START_TIME, title, 250) }
}

/// A table of spans: exactly these columns in this order, whatever else the answer holds, in the order of the answer, newest first. At most
/// `limit` traces, with at most `spans` of each.
pub fn span_table(
    title: &str,
    description: &str,
    size: Size,
    query: &str,
    (limit, spans): (u32, u32),
    columns: Vec<Column>,
) -> Value {
    let joined: Vec<&str> = columns.iter().filter_map(|c| c.suffix).collect();
    let fields: Vec<&str> = columns.iter().map(|c| c.field).chain(joined).collect();
    let mut transformations = vec![json!({"id": "filterFieldsByName", "options": {"include": {"names": fields}}})];
    for column in &columns {
        transformations.extend(column.suffix.map(|suffix| joined_cell(column.field, suffix)).into_iter().flatten());
    }
    let cell = |column: &Column| if column.suffix.is_some() { JOINED } else { column.field };
    let order: Value = columns.iter().enumerate().map(|(at, c)| (cell(c).to_owned(), json!(at))).collect();
    let names: Value = columns.iter().map(|c| (cell(c).to_owned(), json!(c.title))).collect();
    // What the cell was joined from.
    let gone: Value = columns
        .iter()
        .filter_map(|c| c.suffix.map(|s| [c.field, s]))
        .flatten()
        .map(|field| (field.to_owned(), json!(true)))
        .collect();
    let gone = if gone.is_object() { gone } else { json!({}) };
    transformations.push(json!({"id": "organize", "options": {
        "excludeByName": gone, "indexByName": order, "orderByMode": "manual", "renameByName": names,
    }}));
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
    let rest = json!({
        "datasource": datasource(TEMPO),
        "targets": [{
            "refId": "A", "datasource": datasource(TEMPO), "queryType": "traceql", "query": query,
            "tableType": "spans", "limit": limit, "spss": spans,
        }],
        "transformations": transformations,
        "fieldConfig": {
            "defaults": {"noValue": contract::DASH, "custom": {
                // The switch for wrapping moved out of the cell options in Grafana 12.2.
                "align": "left", "cellOptions": {"type": "auto", "wrapText": true}, "wrapText": true, "filterable": false,
            }},
            "overrides": overrides,
        },
        "options": {"showHeader": true, "cellHeight": "sm"},
    });
    panel("table", title, description, size, rest)
}

/// Field that [`joined_cell`] makes.
const JOINED: &str = "joined";

/// Writes a time as text, and a second text behind it. Grafana has no template for texts, but its sum of two texts is both, one behind the
/// other, in a column that it takes for numbers until it is told otherwise. The middle dot comes from the format of the time.
fn joined_cell(time: &str, text: &str) -> [Value; 3] {
    let operand = |field: &str| json!({"matcher": {"id": "byName", "options": field}});
    [
        json!({"id": "formatTime", "options": {"timeField": time, "outputFormat": "YYYY-MM-DD HH:mm:ss · ", "timezone": "utc", "useTimezone": false}}),
        json!({"id": "calculateField", "options": {
            "mode": "binary", "alias": JOINED, "replaceFields": false,
            "binary": {"left": operand(time), "operator": "+", "right": operand(text)},
        }}),
        json!({"id": "convertFieldType", "options": {
            "fields": {}, "conversions": [{"targetField": JOINED, "destinationType": "string"}],
        }}),
    ]
}

/// A value mapping for the property `mappings`: every text that matches the expression.
pub fn mapping(at: usize, pattern: &str, text: Option<String>, color: &str) -> Value {
    let mut result = json!({"index": at, "color": color});
    if let Some(text) = text {
        result["text"] = json!(text);
    }
    json!({"type": "regex", "options": {"pattern": format!("/{pattern}/"), "result": result}})
}

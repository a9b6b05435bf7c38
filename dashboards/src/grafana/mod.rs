//! The parts of Grafana's classic dashboard model, schema version 41, which Grafana 12 and 13 load.

mod metrics;
mod spans;
mod variables;

use serde_json::{Value, json};

pub use metrics::{Query, metric_table, stat, state, thresholds, timeseries};
pub use spans::{Column, START_TIME, TRACE_ID, hidden, mapping, numeric, shown, span_table, timestamp};
pub use variables::{PROMETHEUS, TEMPO, choice, datasource, datasource_variables, label_values, text_box};

/// Grafana's grid is so many units wide.
const GRID_WIDTH: u32 = 24;
/// Dark grey in Grafana's light theme, light grey in the dark one: says nothing.
pub const NEUTRAL: &str = "text";

/// Width and height of a panel, in units of the grid.
#[derive(Clone, Copy)]
pub struct Size(pub u32, pub u32);

/// A panel.
pub fn panel(kind: &str, title: &str, description: &str, size: Size, rest: Value) -> Value {
    let Size(w, h) = size;
    merge(json!({"type": kind, "title": title, "description": description, "gridPos": {"w": w, "h": h}}), rest)
}

/// A heading over the panels that follow.
pub fn heading(title: &str) -> Value {
    json!({"type": "row", "title": title, "collapsed": false, "panels": [], "gridPos": {"w": GRID_WIDTH, "h": 1}})
}

/// A panel of text, in Markdown.
pub fn guide(title: &str, description: &str, size: Size, content: &str) -> Value {
    let options = json!({"mode": "markdown", "content": content, "code": {"language": "plaintext", "showLineNumbers": false, "showMiniMap": false}});
    panel("text", title, description, size, json!({"options": options}))
}

/// Gives the panels their places, line by line like words, and their ids, from 1 on.
pub fn laid_out(panels: Vec<Value>) -> Vec<Value> {
    let (mut x, mut y, mut line_height) = (0, 0, 0);
    (1..)
        .zip(panels)
        .map(|(id, panel): (u32, Value)| {
            let side = |name: &str| panel["gridPos"][name].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(GRID_WIDTH);
            let (w, h) = (side("w"), side("h"));
            if x + w > GRID_WIDTH {
                (x, y, line_height) = (0, y + line_height, 0);
            }
            let place = json!({"x": x, "y": y, "w": w, "h": h});
            (x, line_height) = (x + w, line_height.max(h));
            merge(panel, json!({"id": id, "gridPos": place}))
        })
        .collect()
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

//! Prints rows: as a table with the log's nine columns, as JSON, or as CSV.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};

use contract::{DASH, RequestStatus, attr, display};
use serde_json::{Map, Value};
use unicode_width::UnicodeWidthStr as _;

use super::filter::COLUMNS;
use crate::cli::Format;

/// Column heads, in the log's order.
const HEADS: [&str; 9] =
    ["STATUS", "TIME", "UPSTREAM ACCOUNT", "PLAN", "MODEL / API KEY", "TRANSPORT", "ROUTE", "USAGE", "ERRORS"];
/// Space between two columns.
const GAP: &str = "  ";

/// One row of the request log, as a Tempo API returned it.
#[derive(Clone, Debug)]
pub struct Row {
    /// Trace id, 32 digits.
    pub trace_id: String,
    /// When the request was admitted, in nanoseconds since the Unix epoch.
    pub start_unix_ns: u64,
    /// Attributes by key.
    pub attributes: BTreeMap<String, Value>,
}

impl Row {
    fn text(&self, key: &str) -> &str {
        self.attributes.get(key).and_then(Value::as_str).unwrap_or(DASH)
    }

    /// The first eight characters of the row id.
    pub fn short_id(&self) -> &str {
        self.text(attr::TEXT_ID)
    }

    fn time(&self) -> String {
        let nanoseconds = i128::from(self.start_unix_ns);
        jiff::Timestamp::from_nanosecond(nanoseconds)
            .map_or(DASH.to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
    }

    fn status(&self) -> RequestStatus {
        RequestStatus::parse(self.text(attr::REQUEST_STATUS)).unwrap_or(RequestStatus::Other)
    }

    /// The nine cells. The short id stands with the time, a mark for retries with the status.
    fn cells(&self) -> [String; 9] {
        let status = self.status();
        let retries = self.attributes.get(attr::REQUEST_RETRY_COUNT).and_then(Value::as_i64).unwrap_or(0);
        let retried = if retries > 0 { format!(" ↻{retries}") } else { String::new() };
        [
            format!("{} {}{retried}", display::status_symbol(status), display::status_label(status)),
            format!("{} {}", self.time(), self.short_id()),
            self.text(attr::TEXT_ACCOUNT).to_owned(),
            self.plan().to_owned(),
            self.text(attr::TEXT_MODEL).to_owned(),
            self.text(attr::TEXT_TRANSPORT).to_owned(),
            self.text(attr::TEXT_ROUTE).to_owned(),
            self.text(attr::TEXT_USAGE).to_owned(),
            self.text(attr::TEXT_ERRORS).to_owned(),
        ]
    }

    fn plan(&self) -> &str {
        match self.text(attr::UPSTREAM_PLAN_LABEL) {
            contract::ABSENT => DASH,
            plan => plan,
        }
    }

    fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("trace_id".to_owned(), self.trace_id.clone().into());
        object.insert("time".to_owned(), self.time().into());
        for (key, value) in &self.attributes {
            object.insert(key.clone(), value.clone());
        }
        Value::Object(object)
    }
}

/// Prints rows to standard output.
///
/// # Errors
/// Standard output cannot be written.
pub fn print(rows: &[Row], format: Format) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let text = match format {
        Format::Table if rows.is_empty() => {
            eprintln!("no requests match; widen --from, or drop a filter");
            return Ok(());
        }
        Format::Table => table(rows, std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()),
        Format::Json => format!("{:#}\n", Value::Array(rows.iter().map(Row::json).collect())),
        Format::Csv => csv(rows),
    };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads, such as `head`, has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// The table, each column as wide as its widest cell.
pub fn table(rows: &[Row], colours: bool) -> String {
    let cells: Vec<[String; 9]> = rows.iter().map(Row::cells).collect();
    let mut widths = HEADS.map(|head| head.width());
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let line = |row: &[&str; 9], colour: Option<&str>| {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
            let padding = " ".repeat(width - cell.width());
            match colour {
                Some(colour) if at == 0 => line.push_str(&format!("\x1b[{colour}m{cell}\x1b[0m{padding}{GAP}")),
                _ => line.push_str(&format!("{cell}{padding}{GAP}")),
            }
        }
        line.truncate(line.trim_end().len());
        line + "\n"
    };
    let mut text = line(&HEADS, colours.then_some("1"));
    for (row, cells) in rows.iter().zip(&cells) {
        let colour = colours.then(|| colour(row.status()));
        text.push_str(&line(&cells.each_ref().map(String::as_str), colour));
    }
    text
}

/// The log's tones, as terminal colours: green, red, yellow, blue, none.
const fn colour(status: RequestStatus) -> &'static str {
    match status {
        RequestStatus::Succeeded => "32",
        RequestStatus::Failed | RequestStatus::Rejected => "31",
        RequestStatus::Cancelled => "33",
        RequestStatus::InProgress => "34",
        RequestStatus::Other => "0",
    }
}

/// The nine columns, and the ids, as RFC 4180 has them.
fn csv(rows: &[Row]) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let mut text = String::from("time,trace_id,");
    text.push_str(&COLUMNS.join(","));
    text.push_str("\r\n");
    for row in rows {
        let mut fields = vec![quoted(&row.time()), quoted(&row.trace_id)];
        fields.extend(COLUMNS.iter().map(|key| quoted(row.text(key))));
        text.push_str(&fields.join(","));
        text.push_str("\r\n");
    }
    text
}

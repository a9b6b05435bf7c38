//! Prints rows: as a table with the log's nine columns, as JSON, or as CSV.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};

use contract::{DASH, RequestStatus, attr, display};
use serde_json::{Map, Value};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr};

use super::filter::COLUMNS;
use crate::cli::Format;

/// Column heads, in the log's order.
const HEADS: [&str; 9] =
    ["STATUS", "TIME (UTC) AND ID", "UPSTREAM ACCOUNT", "PLAN", "MODEL / API KEY", "TRANSPORT", "ROUTE", "USAGE", "ERRORS"];
/// Space between two columns.
const GAP: &str = "  ";
/// A column is not cut below this width: what is left of it would say nothing.
const MIN_COLUMN: usize = 8;
/// The first columns, status and time with id, are never cut: whoever is looking for a request looks for these.
const WHOLE_COLUMNS: usize = 2;

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
        jiff::Timestamp::from_nanosecond(nanoseconds).map_or(DASH.to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string())
    }

    fn status(&self) -> RequestStatus {
        RequestStatus::parse(self.text(attr::REQUEST_STATUS)).unwrap_or(RequestStatus::Other)
    }

    /// The nine cells. The short id stands with the time, a mark for retries with the status.
    fn cells(&self) -> [String; 9] {
        let status = self.status();
        let retries = self.attributes.get(attr::REQUEST_RETRY_COUNT).and_then(Value::as_i64).unwrap_or(0);
        let mark = if retries > 0 { format!(" ↻{retries}") } else { String::new() };
        [
            format!("{} {}{mark}", display::status_symbol(status), display::status_label(status)),
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
        object.insert("time".to_owned(), format!("{} UTC", self.time()).into());
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
        Format::Table => {
            let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            table(rows, colours, terminal_width())
        }
        Format::Json => format!("{:#}\n", Value::Array(rows.iter().map(Row::json).collect())),
        Format::Csv => csv(rows),
    };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads, such as `head`, has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// Columns of the terminal that standard output is, if it is one.
pub fn terminal_width() -> Option<usize> {
    terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| usize::from(width.0))
}

/// The table, each column as wide as its widest cell. Where the whole is wider than `width`, the widest columns are cut.
pub fn table(rows: &[Row], colours: bool, width: Option<usize>) -> String {
    let cells: Vec<[String; 9]> = rows.iter().map(Row::cells).collect();
    let mut widths = HEADS.map(UnicodeWidthStr::width);
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    fit(&mut widths, width);
    let line = |row: &[&str; 9], colour: Option<&str>| {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
            let cell = cut(cell, width);
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

/// Narrows the widest columns until the table fits, but none below [`MIN_COLUMN`].
fn fit(widths: &mut [usize; 9], available: Option<usize>) {
    let Some(available) = available else { return };
    let gaps = GAP.len() * (widths.len() - 1);
    while widths.iter().sum::<usize>() + gaps > available {
        match widths[WHOLE_COLUMNS..].iter_mut().max() {
            Some(widest) if *widest > MIN_COLUMN => *widest -= 1,
            _ => return,
        }
    }
}

/// A cell in so many columns. A longer one loses its middle: both ends say more, such as a route and its latency.
fn cut(cell: &str, width: usize) -> String {
    if cell.width() <= width {
        return cell.to_owned();
    }
    let take = |characters: &mut dyn Iterator<Item = char>, room: usize| {
        let mut taken = String::new();
        for c in characters {
            if taken.width() + c.width().unwrap_or(0) > room {
                break;
            }
            taken.push(c);
        }
        taken
    };
    let head_room = (width - 1) / 2;
    let head = take(&mut cell.chars(), head_room);
    let tail: String = take(&mut cell.chars().rev(), width - 1 - head_room).chars().rev().collect();
    format!("{head}…{tail}")
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
        let mut fields = vec![quoted(&format!("{} UTC", row.time())), quoted(&row.trace_id)];
        fields.extend(COLUMNS.iter().map(|key| quoted(row.text(key))));
        text.push_str(&fields.join(","));
        text.push_str("\r\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(account: &str) -> Row {
        let text = |key: &str, value: &str| (key.to_owned(), Value::from(value));
        Row {
            trace_id: "0".repeat(32),
            start_unix_ns: 1_787_302_837_007_919_000,
            attributes: [
                text(attr::REQUEST_STATUS, "failed"),
                text(attr::TEXT_ACCOUNT, account),
                text(attr::TEXT_ERRORS, "a \"b\", c"),
            ]
            .into(),
        }
    }

    /// Guarantees: on a narrow terminal no line is wider than it, wide characters included; elsewhere nothing is cut.
    #[test]
    fn the_table_fits() {
        let rows = [row("一二三四五六七八九十一二三四五六七八九十 · Core agents"), row("Aurora seat 1 · Core agents")];
        let narrow = table(&rows, false, Some(100));
        assert!(narrow.lines().all(|line| line.width() <= 100), "{narrow}");
        assert!(narrow.contains('…'));
        let wide = table(&rows, false, None);
        assert!(wide.contains("九十 · Core agents") && !wide.contains('…'), "{wide}");
        assert!(wide.contains("2026-08-21 09:00:37"), "{wide}");
        assert!(narrow.contains("2026-08-21 09:00:37"), "{narrow}");
    }

    /// Guarantees: CSV is quoted as RFC 4180 says: every field in quotes, quotes doubled, lines ended by CR LF.
    #[test]
    fn csv_is_quoted() {
        let text = csv(&[row("Aurora")]);
        assert!(text.ends_with("\"a \"\"b\"\", c\"\r\n"), "{text}");
        assert_eq!(text.matches("\r\n").count(), 2);
    }
}

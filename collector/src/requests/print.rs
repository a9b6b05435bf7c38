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
/// Before the second line of a row.
const INDENT: &str = "    ";
/// The column that is coloured.
const STATUS_COLUMN: usize = 0;

/// How the columns stand: all of them on one line, or on two where the terminal is narrow. Each line is given by the numbers of its columns, and
/// for each the least width at which it still says something. What an operator reads first is on the first line.
const WIDE: &[&[(usize, usize)]] = &[&[(0, 14), (1, 28), (2, 20), (3, 6), (4, 24), (5, 12), (6, 30), (7, 30), (8, 28)]];
const NARROW: &[&[(usize, usize)]] = &[&[(0, 14), (1, 28), (2, 14), (7, 17), (8, 16)], &[(6, 24), (4, 20), (3, 6), (5, 8)]];

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

    /// The first eight characters of the row id; a sender that composed none has given its id as the trace id.
    pub fn short_id(&self) -> &str {
        match self.text(attr::TEXT_ID) {
            DASH => display::short_id(&self.trace_id),
            id => id,
        }
    }

    fn time(&self) -> String {
        let nanoseconds = i128::from(self.start_unix_ns);
        jiff::Timestamp::from_nanosecond(nanoseconds).map_or(DASH.to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string())
    }

    fn status(&self) -> RequestStatus {
        RequestStatus::parse(self.text(attr::REQUEST_STATUS)).unwrap_or(RequestStatus::Other)
    }

    fn retries(&self) -> i64 {
        self.attributes.get(attr::REQUEST_RETRY_COUNT).and_then(Value::as_i64).unwrap_or(0)
    }

    /// The nine cells. The short id stands with the time, a mark for retries with the status.
    fn cells(&self) -> [String; 9] {
        let status = self.status();
        let retries = self.retries();
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
            table(rows, colours, terminal_size().map(|(width, _)| width))
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

/// Columns and lines of the terminal that standard output is, if it is one.
pub fn terminal_size() -> Option<(usize, usize)> {
    terminal_size::terminal_size_of(std::io::stdout()).map(|(width, height)| (usize::from(width.0), usize::from(height.0)))
}

/// Whether a table for a terminal of this width has two lines a row.
pub fn is_narrow(width: Option<usize>) -> bool {
    width.is_some_and(|width| width < least_width(WIDE[0]))
}

fn least_width(columns: &[(usize, usize)]) -> usize {
    columns.iter().map(|(_, least)| least).sum::<usize>() + GAP.len() * (columns.len() - 1)
}

/// The table, each column as wide as its widest cell; where that is wider than `width`, the widest columns are cut.
pub fn table(rows: &[Row], colours: bool, width: Option<usize>) -> String {
    let mut lines: Vec<[String; 9]> = vec![HEADS.map(str::to_owned)];
    lines.extend(rows.iter().map(Row::cells));
    let layout = if is_narrow(width) { NARROW } else { WIDE };
    let indents = ["", INDENT];
    let widths: Vec<Vec<usize>> = layout
        .iter()
        .zip(indents)
        .map(|(columns, indent)| fit(columns, &lines, width.map(|width| width.saturating_sub(indent.len()))))
        .collect();
    let mut text = String::new();
    for (at, cells) in lines.iter().enumerate() {
        let colour = if at == 0 { "1" } else { colour(rows[at - 1].status()) };
        for ((columns, widths), indent) in layout.iter().zip(&widths).zip(indents) {
            let mut line = indent.to_owned();
            for ((column, _), width) in columns.iter().zip(widths) {
                let cell = cut(&cells[*column], *width);
                let padding = " ".repeat(width.saturating_sub(cell.width()));
                if colours && *column == STATUS_COLUMN {
                    line.push_str(&format!("\x1b[{colour}m{cell}\x1b[0m{padding}{GAP}"));
                } else {
                    line.push_str(&format!("{cell}{padding}{GAP}"));
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text
}

/// Widths for some columns: as wide as their widest cells, and where that is too much, first whatever is furthest above its least width is cut,
/// then whatever is widest.
fn fit(columns: &[(usize, usize)], lines: &[[String; 9]], available: Option<usize>) -> Vec<usize> {
    let widest = |column: usize| lines.iter().map(|cells| cells[column].width()).max().unwrap_or(0);
    let mut widths: Vec<usize> = columns.iter().map(|(column, _)| widest(*column)).collect();
    let Some(available) = available else { return widths };
    let gaps = GAP.len() * (columns.len() - 1);
    while widths.iter().sum::<usize>() + gaps > available {
        let excess = |at: &usize| widths[*at].saturating_sub(columns[*at].1);
        let Some(at) = (0..widths.len()).max_by_key(excess) else { break };
        let at = if excess(&at) > 0 { at } else { (0..widths.len()).max_by_key(|at| widths[*at]).unwrap_or(at) };
        if widths[at] <= 1 {
            break;
        }
        widths[at] -= 1;
    }
    widths
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
    let head_room = width / 2;
    let head = take(&mut cell.chars(), head_room);
    let tail: String = take(&mut cell.chars().rev(), width.saturating_sub(1 + head_room)).chars().rev().collect();
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

/// The columns and the ids, as RFC 4180 has them. The time is in a form that spreadsheets read.
fn csv(rows: &[Row]) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let mut text = String::from("time,trace_id,status,id,account,plan,model,transport,route,usage,errors,retries\r\n");
    for row in rows {
        let mut fields = vec![quoted(&format!("{}Z", row.time().replace(' ', "T"))), quoted(&row.trace_id)];
        let text_of = |key: &str| if key == attr::UPSTREAM_PLAN_LABEL { row.plan() } else { row.text(key) };
        fields.extend(COLUMNS.iter().map(|key| quoted(text_of(key))));
        fields.push(row.retries().to_string());
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
                text(attr::UPSTREAM_PLAN_LABEL, contract::ABSENT),
            ]
            .into(),
        }
    }

    /// Guarantees: on a narrow terminal no line is wider than it, wide characters included; elsewhere nothing is cut.
    #[test]
    fn the_table_fits() {
        let rows = [row("一二三四五六七八九十一二三四五六七八九十 · Core agents"), row("Aurora seat 1 · Core agents")];
        let narrow = table(&rows, false, Some(100));
        for width in [60, 80, 100, 120, 160, 200] {
            let table = table(&rows, false, Some(width));
            assert!(table.lines().all(|line| line.width() <= width), "{width}\n{table}");
        }
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
        assert!(text.ends_with("\"a \"\"b\"\", c\",0\r\n"), "{text}");
        assert!(text.contains(",\"–\",") && !text.contains("none"), "{text}");
        assert!(text.contains("\"2026-08-21T09:00:37Z\""), "{text}");
        assert_eq!(text.matches("\r\n").count(), 2);
    }
}

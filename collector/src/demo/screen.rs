//! The demo's screen: the latest requests, the latest ones that did not succeed, what was stripped, and what to do next. Everything comes back
//! from the Tempo API. On a terminal the screen is redrawn and fits it; elsewhere it is printed now and then, and once more at the end.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser as _;
use tokio::sync::watch;
use unicode_width::UnicodeWidthStr as _;

use super::Addresses;
use crate::cli::{Cli, Command};
use crate::requests::{Client, Row, is_narrow, query, table, terminal_size};
use crate::serve::metrics::Metrics;
use crate::stop::stopped;

/// Pause between two looks.
const REFRESH: Duration = Duration::from_secs(1);
/// Pause between two screens where there is no terminal to redraw.
const PRINT_EVERY: Duration = Duration::from_secs(10);
/// Latest requests on a screen that has no height.
const LATEST_ROWS: usize = 12;
/// Latest requests on the smallest screen, and on the largest.
const LEAST_ROWS: usize = 2;
const MOST_ROWS: usize = 50;
/// Latest requests of each other status.
const OTHER_ROWS: usize = 1;
/// The statuses that are looked for besides, since most requests succeed.
const OTHER_STATUSES: [&str; 3] = ["failed", "rejected", "cancelled"];

/// Shows until `stop`.
pub async fn run(addresses: &Addresses, metrics: &Arc<Metrics>, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let client = Client::new(&format!("http://{}", addresses.tempo), None)?;
    let terminal = terminal_size().is_some();
    let colours = terminal && std::env::var_os("NO_COLOR").is_none();
    let mut printed = Instant::now();
    loop {
        let ending = *stop.borrow();
        if terminal || ending || printed.elapsed() >= PRINT_EVERY {
            printed = Instant::now();
            let size = terminal_size();
            let mut others = Vec::new();
            for status in OTHER_STATUSES {
                others.extend(search(&client, &["--status", status], OTHER_ROWS).await?);
            }
            others.sort_by_key(|row| std::cmp::Reverse(row.start_unix_ns));
            let hints = hints(&others, addresses, colours);
            let mut below = unsuccessful(&others, colours, size) + &stripped(metrics, colours) + &hints;
            // On a small screen, what to do next is worth more than what the next command shows as well.
            if size.is_some_and(|size| rows_above(&below, size) < LEAST_ROWS) {
                below = stripped(metrics, colours) + &hints;
            }
            let rows = size.map_or(LATEST_ROWS, |size| rows_above(&below, size).clamp(LEAST_ROWS, MOST_ROWS));
            let latest = search(&client, &[], rows).await?;
            let screen = above(&latest, colours, size) + &below;
            let mut out = std::io::stdout().lock();
            match size {
                // Home, as many lines as there are, and whatever is left below them is cleared: no flicker, and nothing scrolls.
                Some((_, height)) => {
                    let lines: Vec<String> = screen.lines().take(height).map(|line| format!("{line}\x1b[K")).collect();
                    write!(out, "\x1b[H{}\x1b[J", lines.join("\r\n"))?;
                }
                None => writeln!(out, "{screen}")?,
            }
            out.flush()?;
        }
        if ending {
            if terminal {
                println!();
            }
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(REFRESH) => {}
            () = stopped(&mut stop) => {}
        }
    }
}

/// What `pooler-otel requests` finds with these arguments.
async fn search(client: &Client, arguments: &[&str], rows: usize) -> anyhow::Result<Vec<Row>> {
    let limit = rows.to_string();
    let command = ["pooler-otel", "requests", "--limit", &limit];
    let cli = Cli::try_parse_from(command.iter().chain(arguments))?;
    let Command::Requests(args) = cli.command else { anyhow::bail!("`requests` is another command") };
    client.search(&query(&args, jiff::Timestamp::now()).0).await
}

/// How many requests fit above the rest.
fn rows_above(below: &str, (width, height): (usize, usize)) -> usize {
    let lines_a_row = if is_narrow(Some(width)) { 2 } else { 1 };
    // Longer lines are continued on the next one.
    let lines: usize = below.lines().map(|line| line.width().div_ceil(width.max(1)).max(1)).sum();
    // The title, an empty line, and the table's head.
    height.saturating_sub(lines + 2 + lines_a_row) / lines_a_row
}

fn bold(text: &str, colours: bool) -> String {
    if colours { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
}

fn above(latest: &[Row], colours: bool, size: Option<(usize, usize)>) -> String {
    format!(
        "{}: a simulated pooler, and a broken client that sends what it must not\n\n{}",
        bold("pooler-otel demo", colours),
        table(latest, colours, size.map(|(width, _)| width))
    )
}

fn unsuccessful(others: &[Row], colours: bool, size: Option<(usize, usize)>) -> String {
    if others.is_empty() {
        return String::new();
    }
    let title = bold("The latest failed, rejected and cancelled ones", colours);
    format!("\n{title}\n{}", table(others, colours, size.map(|(width, _)| width)))
}

fn hints(others: &[Row], addresses: &Addresses, colours: bool) -> String {
    let Addresses { tempo, metrics, otlp_grpc, otlp_http } = addresses;
    let program = program();
    format!(
        "\n{}\n  {program} requests --url http://{tempo} --status failed,rejected\n  \
         {program} requests --url http://{tempo} --id {}\n  \
         Grafana: Tempo data source http://{tempo}; five dashboards in dashboards/grafana, first request-logs.json; alerts in dashboards/rules\n  \
         Prometheus: scrape http://{metrics}/metrics; your own spans: OTLP {otlp_grpc} (gRPC), http://{otlp_http}\n  \
         Ctrl-C ends the demo and deletes its data\n",
        bold("What to do next, in another terminal", colours),
        others.first().map_or("<row id>", Row::short_id),
    )
}

/// How this program is started: by its own name, or, for whoever builds it, by cargo, which says so in a variable.
fn program() -> String {
    if std::env::var_os("CARGO").is_some() {
        return "cargo run --release --".to_owned();
    }
    std::env::args_os().next().map_or_else(|| "pooler-otel".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Says how much was stripped, and where it was; the broken client puts prompts, model output, keys, e-mail and IP addresses there.
fn stripped(metrics: &Metrics, colours: bool) -> String {
    let mut places: BTreeMap<String, u64> = BTreeMap::new();
    for (place, _, fields) in metrics.stripped() {
        *places.entry(place.replace('_', " ")).or_default() += fields;
    }
    let total: u64 = places.values().sum();
    let mut sorted: Vec<(String, u64)> = places.into_iter().collect();
    sorted.sort_by_key(|(_, fields)| std::cmp::Reverse(*fields));
    let list: Vec<String> = sorted.iter().map(|(place, fields)| format!("{fields} × {place}")).collect();
    format!(
        "\n{}: prompts, outputs, keys, e-mail and IP addresses, in\n  {}\n",
        bold(&format!("{total} forbidden fields stripped"), colours),
        list.join(", ")
    )
}

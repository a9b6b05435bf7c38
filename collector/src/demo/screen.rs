//! The demo's screen: the latest requests, the latest ones that did not succeed, what was stripped, and what to do next. Everything comes back
//! from the Tempo API. On a terminal the screen is redrawn; elsewhere it is printed now and then, and once more at the end.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser as _;
use tokio::sync::watch;

use super::Addresses;
use crate::cli::{Cli, Command};
use crate::requests::{Client, Row, query, table, terminal_width};
use crate::serve::metrics::Metrics;
use crate::stop::stopped;

/// Pause between two looks.
const REFRESH: Duration = Duration::from_secs(1);
/// Pause between two screens where there is no terminal to redraw.
const PRINT_EVERY: Duration = Duration::from_secs(10);
/// Latest requests on the screen.
const LATEST_ROWS: u32 = 10;
/// Latest requests of each other status.
const OTHER_ROWS: u32 = 2;
/// The statuses that are looked for besides, since most requests succeed.
const OTHER_STATUSES: [&str; 3] = ["failed", "rejected", "cancelled"];

/// Shows until `stop`.
pub async fn run(addresses: &Addresses, metrics: &Arc<Metrics>, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let client = Client::new(&format!("http://{}", addresses.tempo), None)?;
    let width = terminal_width();
    let colours = width.is_some() && std::env::var_os("NO_COLOR").is_none();
    let mut printed = Instant::now();
    loop {
        let ending = *stop.borrow();
        if width.is_some() || ending || printed.elapsed() >= PRINT_EVERY {
            printed = Instant::now();
            let latest = search(&client, &[], LATEST_ROWS).await?;
            let mut others = Vec::new();
            for status in OTHER_STATUSES {
                others.extend(search(&client, &["--status", status], OTHER_ROWS).await?);
            }
            let screen = screen(&latest, &others, metrics, addresses, colours, terminal_width());
            let mut out = std::io::stdout().lock();
            if std::io::stdout().is_terminal() {
                // Home, the text, and whatever is left below it is cleared: no flicker.
                write!(out, "\x1b[H{}\x1b[J", screen.replace('\n', "\x1b[K\n"))?;
            } else {
                writeln!(out, "{screen}")?;
            }
            out.flush()?;
        }
        if ending {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(REFRESH) => {}
            () = stopped(&mut stop) => {}
        }
    }
}

/// What `pooler-otel requests` finds with these arguments.
async fn search(client: &Client, arguments: &[&str], rows: u32) -> anyhow::Result<Vec<Row>> {
    let limit = rows.to_string();
    let command = ["pooler-otel", "requests", "--limit", &limit];
    let cli = Cli::try_parse_from(command.iter().chain(arguments))?;
    let Command::Requests(args) = cli.command else { anyhow::bail!("`requests` is another command") };
    client.search(&query(&args, jiff::Timestamp::now()).0).await
}

fn screen(
    latest: &[Row],
    others: &[Row],
    metrics: &Metrics,
    addresses: &Addresses,
    colours: bool,
    width: Option<usize>,
) -> String {
    let bold = |text: &str| if colours { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() };
    let stripped = metrics.stripped();
    let total: u64 = stripped.iter().map(|(_, _, fields)| fields).sum();
    let mut text = format!(
        "{}  a simulated pooler sends over OTLP; a broken client sends prompts, keys and addresses now and then\n\n",
        bold("pooler-otel demo")
    );
    text.push_str(&table(latest, colours, width));
    text.push_str(&format!("\n{}\n", bold("Latest that did not succeed")));
    text.push_str(&table(others, colours, width));
    text.push_str(&format!("\n{}\n", bold(&format!("{total} forbidden fields stripped"))));
    for (place, reason, fields) in stripped {
        text.push_str(&format!("  {fields:>6}  {} ({})\n", place.replace('_', " "), reason.replace('_', " ")));
    }
    let Addresses { tempo, metrics, otlp_grpc, otlp_http } = addresses;
    text.push_str(&format!(
        "\n{}\n  request log   cargo run --release -- requests --url http://{tempo} --status failed,rejected\n  \
         one request   cargo run --release -- requests --url http://{tempo} --id {}\n  \
         Grafana       Tempo data source http://{tempo}, Prometheus scraping http://{metrics}/metrics; dashboards/grafana/request-logs.json\n  \
         your spans    OTLP/gRPC {otlp_grpc}, OTLP/HTTP http://{otlp_http}\n  Ctrl-C ends the demo and deletes its data\n",
        bold("What to do next"),
        latest.first().map_or("<row id>", |row| row.short_id()),
    ));
    text
}

//! The demo's screen: the latest requests, as the Tempo API returns them, what was stripped, and what to do next. On a terminal it is redrawn;
//! elsewhere it is printed once the history is there, and once more at the end.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use tokio::sync::watch;

use super::Addresses;
use crate::stop::stopped;
use crate::cli::{Cli, Command};
use crate::requests::{Client, Query, Row, query, table};
use crate::serve::metrics::Metrics;

/// Pause between two looks.
const REFRESH: Duration = Duration::from_secs(1);
/// Rows on the screen.
const ROWS: u32 = 18;
/// Rows that a printed screen waits for before it is printed the first time.
const ENOUGH_ROWS: usize = ROWS as usize;

/// Shows until `stop`.
pub async fn run(addresses: &Addresses, metrics: &Arc<Metrics>, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let client = Client::new(&format!("http://{}", addresses.tempo), None)?;
    let terminal = std::io::stdout().is_terminal();
    let colours = terminal && std::env::var_os("NO_COLOR").is_none();
    let mut printed = false;
    loop {
        let rows = client.search(&latest()?).await?;
        let ending = *stop.borrow();
        let screen = screen(&rows, metrics, addresses, colours);
        let mut out = std::io::stdout().lock();
        if terminal {
            // Home, the text, and whatever is left below it is cleared: no flicker.
            write!(out, "\x1b[H{}\x1b[J", screen.replace('\n', "\x1b[K\n"))?;
        } else if ending || (!printed && rows.len() >= ENOUGH_ROWS) {
            printed = true;
            writeln!(out, "{screen}")?;
        }
        out.flush()?;
        drop(out);
        if ending {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(REFRESH) => {}
            () = stopped(&mut stop) => {}
        }
    }
}

/// What `pooler-otel requests --limit …` asks for: the very query of the command.
fn latest() -> anyhow::Result<Query> {
    let cli = Cli::try_parse_from(["pooler-otel", "requests", "--limit", &ROWS.to_string()])?;
    let Command::Requests(args) = cli.command else { anyhow::bail!("`requests` is another command") };
    Ok(query(&args, jiff::Timestamp::now()).0)
}

fn screen(rows: &[Row], metrics: &Metrics, addresses: &Addresses, colours: bool) -> String {
    let bold = |text: &str| if colours { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() };
    let stripped = metrics.stripped();
    let total: u64 = stripped.iter().map(|(_, _, fields)| fields).sum();
    let mut text = format!(
        "{}  a simulated pooler sends over OTLP; a broken client sends prompts, keys and addresses now and then\n\n",
        bold("pooler-otel demo")
    );
    text.push_str(&table(rows, colours));
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
        rows.first().map_or("<row id>", |row| row.short_id()),
    ));
    text
}

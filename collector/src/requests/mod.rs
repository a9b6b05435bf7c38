//! `pooler-otel requests`: the request log in the terminal. It asks a Tempo API, so it works on a real Tempo as on the embedded store.

mod filter;
mod print;
mod tempo;

use crate::cli::RequestsArgs;

pub use filter::query;
pub use print::{Row, is_narrow, table, terminal_size};
pub use tempo::Client;

/// Runs the command. A filter that makes no sense is ignored with a warning, and the rows still come.
///
/// # Errors
/// The Tempo API cannot be reached, or does not answer as one.
pub async fn run(args: &RequestsArgs) -> anyhow::Result<()> {
    let (query, warnings) = filter::query(args, jiff::Timestamp::now());
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    if query.start_s > query.end_s {
        anyhow::bail!("--from is after --to: no request can match; swap them");
    }
    let client = Client::new(&args.url, args.tenant.as_deref())?;
    let rows = client.search(&query).await?;
    print::print(&rows, args.format)
}

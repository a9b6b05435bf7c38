//! A small pooler: it streams answers from a fake upstream, turns to a second account when the first one is out of quota, rejects by policy,
//! and notices clients that go away. Every request is a row of the request log.
//!
//! With the collector beside it, whose policy lets the pooler's own spans keep their names (without it they are called `internal`):
//!
//! ```sh
//! cargo run -- serve --policy exporter/examples/pooler/policy.yaml
//! cargo run -p codex-pooler-exporter --example pooler        # in a second terminal
//! ```
//!
//! Complete a stream, while it runs see its row in progress, and then its end (`cargo run -- requests` prints the log):
//!
//! ```sh
//! url=http://127.0.0.1:4000/backend-api/codex/responses
//! curl -N $url -H 'authorization: Bearer demo' -d '{"model": "gpt-5.4"}'
//! cargo run -- requests
//! ```
//!
//! Cut one short, which is a success with a reason:
//!
//! ```sh
//! curl -N $url -H 'authorization: Bearer demo' -d '{"model": "gpt-5.4", "max_output_tokens": 5}'
//! ```
//!
//! Break one off, and find it failed with `client_disconnected`:
//!
//! ```sh
//! curl -N -m 2 $url -H 'authorization: Bearer demo' -d '{"model": "gpt-5.4"}'
//! ```
//!
//! Hit a policy, and find it rejected with `model_not_allowed`:
//!
//! ```sh
//! curl $url -H 'authorization: Bearer demo' -d '{"model": "gpt-5.4-pro"}'
//! ```
//!
//! Provoke a retry, and find two attempts, the second account, and one retry:
//!
//! ```sh
//! curl -N $url -H 'authorization: Bearer demo' -d '{"model": "gpt-5.4-mini"}'
//! ```
//!
//! Without a key there is no caller, and no row:
//!
//! ```sh
//! curl -i $url -d '{"model": "gpt-5.4"}'
//! ```

mod app;

use std::error::Error;
use std::time::Duration;

use codex_pooler_exporter::{Exporter, layer};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Where the pooler listens.
const ADDRESS: &str = "127.0.0.1:4000";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Warnings are printed, such as the one that nobody takes the spans.
    let printed = tracing_subscriber::fmt::layer().with_filter(LevelFilter::INFO);
    tracing_subscriber::registry().with(layer::new(app::SPAN_NAMES)).with(printed).init();
    // Endpoint, protocol and the rest: the standard variables, `OTEL_EXPORTER_OTLP_ENDPOINT` and so on.
    let exporter = Exporter::builder().service_version(env!("CARGO_PKG_VERSION")).build()?;

    let upstream = app::Upstream { words: 40, pause: Duration::from_millis(250) };
    let listener = tokio::net::TcpListener::bind(ADDRESS).await?;
    println!("listening on http://{ADDRESS}");
    let app = app::app(exporter.clone(), upstream);
    tokio::select! {
        result = axum::serve(listener, app) => result?,
        result = tokio::signal::ctrl_c() => result?,
    }
    let totals = tokio::task::spawn_blocking(move || exporter.shutdown()).await?;
    println!("{} spans, {} exported, {} lost", totals.emitted, totals.exported, totals.dropped());
    Ok(())
}

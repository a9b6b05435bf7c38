//! Sends rows of Codex Pooler's database, given as JSON, through the bridge and the exporter to a collector: to fill one for a look at it.
//!
//! `cargo run -p codex-pooler-bridge --example send_rows -- tests/fixtures/pooler-rows.json http://127.0.0.1:4318`

use std::error::Error;

use exporter::{Exporter, Protocol};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, endpoint] = arguments.as_slice() else { return Err("usage: send_rows <rows.json> <OTLP/HTTP endpoint>".into()) };
    // The program, not the library, chooses the TLS implementation; nobody else has chosen one here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(file)?)?;
    let exporter = Exporter::builder().endpoint(endpoint).protocol(Protocol::HttpProtobuf).build()?;
    for row in rows {
        exporter.record(&bridge::lifecycle(&bridge::Row::from_json(row.to_string().as_bytes())?));
    }
    let totals = exporter.shutdown();
    println!("sent {} of {} spans", totals.exported, totals.emitted);
    if totals.exported == totals.emitted { Ok(()) } else { Err("the collector did not take every span".into()) }
}

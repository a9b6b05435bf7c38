//! The crate that a pooler links: it tells the life of each request in typed values, and this crate sends it as OTLP spans of the Codex
//! Pooler telemetry contract.
//!
//! There is no way to hand it a prompt, an output, a header or a key, and every text that does go in is checked against the contract
//! before it is queued, so that a collector's sanitizer finds nothing to strip. Recording never waits, never fails, and never needs an
//! async runtime: the exporter brings its own thread.
//!
//! ```no_run
//! use codex_pooler_exporter::{Account, Admission, ApiKey, Attempt, AttemptEnd, End, Exporter, Pool, Price, Settlement, Tokens};
//! use contract::{AttemptStatus, Method, RequestStatus, Route, Transport};
//! use uuid::Uuid;
//!
//! let exporter = Exporter::builder().endpoint("http://127.0.0.1:4317").service_version("0.6.8").build()?;
//!
//! let pool = Pool { id: Uuid::new_v4(), slug: "core".into(), name: "Core agents".into() };
//! let key = ApiKey::Key { id: Uuid::new_v4(), label: Some("CI agents".into()), prefix: Some("sk-cxp-1b158839f8aa".into()) };
//! let request = exporter.admit(Admission {
//!     model: Some("gpt-5.4".into()),
//!     ..Admission::new(Uuid::new_v4(), pool, key, Method::Post, Route::BackendApiCodexResponses, Transport::HttpSse)
//! });
//!
//! let account = Account { id: Some(Uuid::new_v4()), label: Some("Aurora seat 1".into()), ..Account::default() };
//! let attempt = request.attempt(Attempt { model: Some("gpt-5.4".into()), ..Attempt::new(account, Transport::HttpSse) });
//! attempt.finish(AttemptEnd { http_status: Some(200), ..AttemptEnd::new(AttemptStatus::Succeeded) });
//!
//! let tokens = Tokens { input: Some(640), output: Some(52), total: Some(692), ..Tokens::default() };
//! request.settle(Settlement::Known { tokens, price: Price::Priced { usd: 0.000_264 } });
//! request.finish(End { http_status: Some(200), ..End::new(RequestStatus::Succeeded) });
//!
//! let totals = exporter.shutdown();
//! assert_eq!(totals.emitted, totals.exported + totals.dropped() + totals.queued);
//! # Ok::<(), codex_pooler_exporter::BuildError>(())
//! ```

mod attributes;
mod builder;
mod exporter;
mod heartbeat;
pub mod ids;
pub mod lifecycle;
mod queue;
mod request;
mod row;
pub mod spans;
#[cfg(test)]
mod testing;
mod transport;

pub use builder::{BuildError, Builder, Protocol};
pub use exporter::Exporter;
pub use lifecycle::{
    Account, Admission, ApiKey, Attempt, AttemptEnd, Client, Denial, End, INTERRUPTED, Lifecycle, Pool, Price, Settlement, Tokens,
};
pub use queue::Totals;
pub use request::{AttemptHandle, Request};

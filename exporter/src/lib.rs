//! The crate that a pooler links: it tells the life of each request in typed values, and this crate sends it as OTLP spans of the Codex
//! Pooler telemetry contract.
//!
//! There is no way to hand it a prompt, an output, a header or a key, and every text that does go in is checked against the contract
//! before it is queued, so that a collector's sanitizer finds nothing to strip. Recording never waits, never fails, and never needs an
//! async runtime: the exporter brings its own thread.
//!
//! [`guide`] leads from the dependency to the row in the log. In short:
//!
//! ```no_run
//! use codex_pooler_exporter::{Account, Admission, ApiKey, Attempt, AttemptEnd, End, Exporter, Pool, Settlement, Terminal};
//! use codex_pooler_exporter::contract::{Method, Route, Transport};
//! use codex_pooler_exporter::uuid::Uuid;
//!
//! let exporter = Exporter::builder().endpoint("http://127.0.0.1:4317").service_version("0.6.8").build()?;
//!
//! let pool = Pool { id: Uuid::new_v4(), slug: "core".into(), name: "Core agents".into() };
//! let key = ApiKey::Key { id: Uuid::new_v4(), label: Some("CI agents".into()), prefix: Some("sk-cxp-1b158839f8aa".into()) };
//! let (route, transport) = (Route::BackendApiCodexResponses, Transport::HttpSse);
//! let request = exporter.admit(Admission::new(Uuid::new_v4(), pool, key, Method::Post, route, transport)).dispatch();
//!
//! let account = Account { id: Some(Uuid::new_v4()), label: Some("Aurora seat 1".into()), ..Account::default() };
//! let attempt = request.attempt(Attempt::new(account, transport));
//! attempt.finish(AttemptEnd { http_status: Some(200), ..AttemptEnd::of(Terminal::Completed) });
//! request.settle(Settlement::Unknown);
//! request.finish(End { http_status: Some(200), ..End::completed() });
//!
//! let totals = exporter.shutdown();
//! assert_eq!(totals.emitted, totals.exported + totals.dropped() + totals.queued);
//! # Ok::<(), codex_pooler_exporter::BuildError>(())
//! ```

mod attributes;
mod bounds;
mod builder;
mod clock;
mod config;
mod end;
pub mod enforce;
mod environment;
mod exporter;
pub mod guide;
pub mod ids;
#[cfg(feature = "tracing-layer")]
pub mod layer;
pub mod lifecycle;
mod open;
mod otlp;
mod queue;
mod request;
mod row;
mod sender;
pub mod spans;
#[cfg(test)]
mod testing;
mod totals;
#[cfg(feature = "tower")]
pub mod tower;

/// The telemetry contract: closed sets such as `Route`, `Method` and `Transport`, which admissions are made of.
pub use contract;
/// The crate of the ids' type.
pub use uuid;

pub use builder::{BuildError, Builder};
pub use config::{Compression, Protocol};
pub use end::{AttemptEnd, Denial, End, EndStatus, Ended, Rejection, Terminal};
pub use enforce::Enforced;
pub use exporter::Exporter;
pub use lifecycle::{Account, Admission, ApiKey, Attempt, Client, INTERRUPTED, Lifecycle, Pool, Price, Settlement, Tokens};
pub use request::{Admitted, AttemptHandle, Finished, Request};
pub use totals::Totals;

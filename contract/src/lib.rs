//! The telemetry contract of the Codex Pooler request log: attribute names, closed sets, value rules, which record may carry
//! what, metrics, and the display rules that compose the texts of the log's columns.
//!
//! Declared once in `registry/*.yaml`; `cargo xtask gen` turns that into [`generated`]. Everything here is constant data and pure
//! functions, without dependencies, so that every other crate, and the dashboards' generator, can use it.
//!
//! ```
//! use contract::{attr, Transport};
//! assert_eq!(attr::REQUEST_TRANSPORT, "codex_pooler.request.transport");
//! assert_eq!(Transport::parse("http_sse"), Some(Transport::HttpSse));
//! assert_eq!(Transport::parse("carrier pigeon"), None);
//! ```

pub mod client;
mod closed_set;
pub mod display;
pub mod generated;
pub mod limits;
pub mod metric;
pub mod outcome;
mod rule;

pub use generated::{SCHEMA_URL, attr, sets::*};
pub use metric::{Instrument, Metric, OtlpMetric, otlp_metric};
pub use rule::{ABSENT, Attribute, DASH, Event, Fallback, OTHER, Record, Rule, SpanKind, attribute, event};

/// Name of the instrumentation scope of every record.
pub const SCOPE_NAME: &str = "codex_pooler.telemetry";

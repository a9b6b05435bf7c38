//! Lets through what the contract allows, and nothing else.
//!
//! A message is held against the typed allowlist as it stands in its bytes ([`fast`]); one that is unlike what any SDK sends is decoded, and a new one is
//! built from what is allowed. What cannot be parsed is refused as a whole, with constant text. Only this crate can make a [`Sanitized`] value, and only `Sanitized` values are stored,
//! forwarded or counted.
//!
//! ```
//! use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
//! use prost::Message as _;
//!
//! let message = ExportTraceServiceRequest::default().encode_to_vec();
//! let (policy, now) = (sanitizer::Policy::contract(), std::time::SystemTime::now());
//! let sanitized = sanitizer::protobuf::<ExportTraceServiceRequest>(&policy, now, &message).unwrap();
//! assert_eq!(sanitized.report().parsed_records, 0);
//! assert!(sanitizer::protobuf::<ExportTraceServiceRequest>(&policy, now, b"not a message").is_err());
//! ```

pub mod check;
pub mod derived;
mod detect;
pub mod fast;
mod json;
mod policy;
#[cfg(not(feature = "reference"))]
mod reference;
#[cfg(feature = "reference")]
pub mod reference;
mod report;
pub mod row_id;
mod sanitized;
pub mod times;
pub mod view;
mod weight;

pub use detect::looks_secret;
pub use policy::{MAX_ADDED_ATTRIBUTES, Policy, Summary};
#[cfg(feature = "policy-file")]
pub use policy::{PolicyError, PolicyWarning, UNCLOSED, unclosed_line};
pub use report::{Report, Stripped, is_operators_doing};
pub use sanitized::{Export, Refused, Sanitized, json, protobuf, protobuf_bytes};
pub use weight::{decoded_json_bytes, decoded_protobuf_bytes};

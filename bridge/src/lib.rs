//! Codex Pooler's database rows, turned into the exporter's lifecycle: which column or which piece of metadata decides what the request
//! log shows.
//!
//! Columns that must never leave the database (client addresses, account e-mails, idempotency keys, error messages, the accounts' own
//! metadata) are in no type here, and of the requests' and attempts' metadata only named pieces are.
//!
//! ```
//! assert!(bridge::Row::from_json(b"{\"requests\": {}}").is_err());
//! ```

mod convert;
mod rows;

pub use convert::lifecycle;
pub use rows::{
    ApiKey, Assignment, Attempt, AttemptMetadata, CandidateExclusion, CodexTurn, Denial, ExclusionReason, Facts, Identity,
    InvalidRow, LedgerDetails, LedgerEntry, Mode, OpenaiCompatibility, Pool, Reasoning, Request, RequestMetadata,
    RouteClassHolder, Routing, Row, StreamFacts, UpstreamIdentity,
};

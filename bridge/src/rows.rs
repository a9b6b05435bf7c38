//! The columns that the bridge reads, by their names in the database, and the pieces of metadata that it knows. Everything else is
//! ignored, and is not even kept in memory.
//!
//! A column of the wrong type refuses the row. Metadata is open-ended, and parts of it may be redacted: there a piece of the wrong type is
//! simply absent.

use std::time::SystemTime;

use jiff::Timestamp;
use serde::de::{DeserializeOwned, Deserializer};
use serde::{Deserialize, de::Error as _};
use serde_json::Value;
use uuid::Uuid;

/// One request with everything that hangs on it; the names are the tables'.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Row {
    pub requests: Request,
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    #[serde(default)]
    pub ledger_entries: Vec<LedgerEntry>,
    pub request_log_facts: Option<Facts>,
    pub codex_turns: Option<CodexTurn>,
    pub pools: Pool,
    pub api_keys: Option<ApiKey>,
    #[serde(default)]
    pub upstream_identities: Vec<Identity>,
    #[serde(default)]
    pub pool_upstream_assignments: Vec<Assignment>,
}

/// A row without the columns that the bridge needs. The text repeats none of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the database row lacks a column, or a column has another type: check that this version of the pooler is supported")]
pub struct InvalidRow;

impl Row {
    /// Reads a row from JSON, as `row_to_json` writes it.
    ///
    /// # Errors
    /// [`InvalidRow`] if a needed column is missing or has another type.
    pub fn from_json(json: &[u8]) -> Result<Self, InvalidRow> {
        serde_json::from_slice(json).map_err(|_| InvalidRow)
    }
}

macro_rules! columns {
    ($($(#[$doc:meta])* $name:ident { $($(#[$attribute:meta])* $column:ident: $type:ty,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Deserialize)]
        #[allow(missing_docs)]
        #[serde(default)]
        pub struct $name { $($(#[$attribute])* pub $column: $type,)+ }
    )+};
}

/// Table `requests`.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Request {
    pub id: Uuid,
    pub api_key_id: Option<Uuid>,
    pub requested_model: String,
    pub endpoint: String,
    pub transport: String,
    pub status: String,
    pub usage_status: String,
    pub correlation_id: String,
    pub user_agent: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub request_metadata: RequestMetadata,
    #[serde(deserialize_with = "instant")]
    pub admitted_at: SystemTime,
    #[serde(default, deserialize_with = "maybe_instant")]
    pub completed_at: Option<SystemTime>,
    pub response_status_code: Option<u16>,
    pub retry_count: u32,
    pub last_error_code: Option<String>,
    pub upstream_account_label: Option<String>,
    pub upstream_account_plan_label: Option<String>,
    pub upstream_account_plan_family: Option<String>,
    pub reasoning_effort: Option<String>,
    pub requested_service_tier: Option<String>,
    pub actual_service_tier: Option<String>,
    pub service_tier: Option<String>,
}

/// Table `attempts`.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Attempt {
    pub id: Uuid,
    pub attempt_number: u32,
    pub pool_upstream_assignment_id: Uuid,
    pub upstream_identity_id: Option<Uuid>,
    pub upstream_model_id: String,
    pub transport: String,
    pub status: String,
    #[serde(deserialize_with = "instant")]
    pub started_at: SystemTime,
    #[serde(default, deserialize_with = "maybe_instant")]
    pub completed_at: Option<SystemTime>,
    pub upstream_status_code: Option<u16>,
    pub retryable: bool,
    pub network_error_code: Option<String>,
    pub latency_ms: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    pub response_metadata: AttemptMetadata,
}

/// Table `ledger_entries`.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct LedgerEntry {
    pub attempt_id: Option<Uuid>,
    pub entry_kind: String,
    pub amount_status: String,
    pub usage_status: String,
    pub input_tokens: Option<u64>,
    pub cached_input_tokens: Option<u64>,
    pub cache_write_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub reasoning_tokens: Option<u64>,
    pub total_tokens: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    pub details: LedgerDetails,
}

/// Table `pools`.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Pool {
    pub id: Uuid,
    pub slug: String,
    pub name: String,
}

/// Table `api_keys`.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct ApiKey {
    pub display_name: Option<String>,
    pub key_prefix: Option<String>,
}

/// Table `upstream_identities`.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Identity {
    pub id: Uuid,
    pub account_label: Option<String>,
    pub plan_label: Option<String>,
    pub plan_family: Option<String>,
}

/// Table `pool_upstream_assignments`.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Assignment {
    pub id: Uuid,
    pub assignment_label: Option<String>,
}

/// Table `codex_turns`.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct CodexTurn {
    pub final_attempt_id: Option<Uuid>,
    #[serde(default, deserialize_with = "maybe_instant")]
    pub first_visible_output_at: Option<SystemTime>,
}

columns! {
    /// Table `request_log_facts`, which holds what the request log shows.
    Facts {
        latest_pool_upstream_assignment_id: Option<Uuid>,
        latest_upstream_identity_id: Option<Uuid>,
        latest_latency_ms: Option<u64>,
        latest_settlement_usage_status: Option<String>,
        latest_settlement_pricing_status: Option<String>,
        latest_input_tokens: Option<u64>,
        latest_cached_input_tokens: Option<u64>,
        latest_cache_write_tokens: Option<u64>,
        latest_output_tokens: Option<u64>,
        latest_reasoning_tokens: Option<u64>,
        latest_total_tokens: Option<u64>,
        latest_settled_cost_micros: Option<u64>,
    }
    /// Known pieces of `requests.request_metadata`.
    RequestMetadata {
        #[serde(deserialize_with = "lenient")] client_request_id: Option<String>,
        #[serde(deserialize_with = "lenient")] routing: Routing,
        #[serde(deserialize_with = "lenient")] reservation_snapshot_inputs: RouteClassHolder,
        #[serde(deserialize_with = "lenient")] openai_compatibility: OpenaiCompatibility,
        #[serde(deserialize_with = "lenient")] policy_denial: Option<Denial>,
        #[serde(deserialize_with = "lenient")] gateway_denial: Option<Denial>,
        #[serde(deserialize_with = "lenient")] continuity_denial: Option<Denial>,
        #[serde(deserialize_with = "lenient")] retryable_summary: Option<Denial>,
        #[serde(deserialize_with = "lenient")] degraded_summary: Option<Denial>,
        #[serde(deserialize_with = "lenient")] candidate_exclusions: Vec<CandidateExclusion>,
        #[serde(deserialize_with = "lenient")] upstream_identity: UpstreamIdentity,
        #[serde(deserialize_with = "lenient")] fast_mode: bool,
        #[serde(deserialize_with = "lenient")] codex_mode: Option<String>,
        #[serde(deserialize_with = "lenient")] codex: Mode,
        #[serde(deserialize_with = "lenient")] request: Mode,
    }
    /// How a request was routed. The serving mode is valid only as a triple.
    Routing {
        #[serde(deserialize_with = "lenient")] route_class: Option<String>,
        #[serde(deserialize_with = "lenient")] model_serving_mode_configured: Option<String>,
        #[serde(deserialize_with = "lenient")] model_serving_mode: Option<String>,
        #[serde(deserialize_with = "lenient")] model_serving_mode_source: Option<String>,
    }
    /// What a reservation was made for.
    RouteClassHolder {
        #[serde(deserialize_with = "lenient")] route_class: Option<String>,
    }
    /// How a request was translated.
    OpenaiCompatibility {
        #[serde(deserialize_with = "lenient")] source_endpoint: Option<String>,
    }
    /// The account of a request that came with a token of its own.
    UpstreamIdentity {
        #[serde(deserialize_with = "lenient")] id: Option<Uuid>,
    }
    /// A mode that a client asked for.
    Mode {
        #[serde(deserialize_with = "lenient")] mode: Option<String>,
    }
    /// Why a request was denied.
    Denial {
        #[serde(deserialize_with = "lenient")] code: Option<String>,
        #[serde(deserialize_with = "lenient")] denial_family: Option<String>,
        #[serde(deserialize_with = "lenient")] error_code: Option<String>,
        #[serde(deserialize_with = "lenient")] reason: Option<String>,
    }
    /// A candidate account that was passed over.
    CandidateExclusion {
        #[serde(deserialize_with = "lenient")] reasons: Vec<ExclusionReason>,
    }
    /// Why it was.
    ExclusionReason {
        #[serde(deserialize_with = "lenient")] code: Option<String>,
        #[serde(deserialize_with = "lenient")] reason: Option<String>,
        #[serde(deserialize_with = "lenient")] reason_codes: Vec<String>,
        #[serde(deserialize_with = "lenient")] reset_at: Option<String>,
    }
    /// Known pieces of `attempts.response_metadata`.
    AttemptMetadata {
        #[serde(deserialize_with = "lenient")] error_code: Option<String>,
        #[serde(deserialize_with = "lenient")] error_kind: Option<String>,
        #[serde(deserialize_with = "lenient")] reasoning: Reasoning,
        #[serde(deserialize_with = "lenient")] public_openai_responses_stream: StreamFacts,
    }
    /// Reasoning effort of an attempt.
    Reasoning {
        #[serde(deserialize_with = "lenient")] applied_effort: Option<String>,
        #[serde(deserialize_with = "lenient")] effective_effort: Option<String>,
        #[serde(deserialize_with = "lenient")] source: Option<String>,
    }
    /// How a public stream ended.
    StreamFacts {
        #[serde(deserialize_with = "lenient")] terminal_kind: Option<String>,
    }
    /// Known pieces of a settlement's `ledger_entries.details`.
    LedgerDetails {
        #[serde(deserialize_with = "lenient")] pricing_status: Option<String>,
        /// Micro-dollars; a decimal text, at times in scientific form.
        #[serde(deserialize_with = "lenient")] settled_cost_micros: Option<String>,
    }
}

/// The value, or the default where it has another form.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).unwrap_or_default())
}

/// An instant with its offset from UTC, as PostgreSQL writes `timestamptz` in JSON.
pub(crate) fn parse_instant(text: &str) -> Option<SystemTime> {
    text.parse::<Timestamp>().ok()?.try_into().ok()
}

fn instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
    maybe_instant(deserializer)?.ok_or_else(|| D::Error::custom("no instant"))
}

fn maybe_instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| parse_instant(&text).ok_or_else(|| D::Error::custom("not an instant"))).transpose()
}

//! OTLP trace messages as an emitter that follows the contract would send them: rows, attempts, markers, corrections. Ids are derived
//! from the row's number, so that a test knows them.

use std::time::{SystemTime, UNIX_EPOCH};

use contract::{
    AttemptStatus, PricingStatus, RecordKind, RequestStatus, Route, RouteClass, ServiceTier, ServingMode, Transport, UsageStatus,
    attr, display, outcome,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
pub use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::SpanKind, status::StatusCode};
use sha2::{Digest as _, Sha256};

/// W3C flag of a trace that is recorded.
const SAMPLED: u32 = 1;
const NS_PER_MS: u64 = 1_000_000;

/// Milliseconds since the Unix epoch.
#[must_use]
pub fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// An attribute. `value` is a text, an `i64`, an `f64` or a `bool`.
#[must_use]
pub fn attribute(key: &str, value: impl Into<AnyValueOf>) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value.into().0) }), ..KeyValue::default() }
}

/// A value of an attribute.
pub struct AnyValueOf(Value);

impl From<&str> for AnyValueOf {
    fn from(text: &str) -> Self {
        Self(Value::StringValue(text.to_owned()))
    }
}
impl From<String> for AnyValueOf {
    fn from(text: String) -> Self {
        Self(Value::StringValue(text))
    }
}
impl From<i64> for AnyValueOf {
    fn from(n: i64) -> Self {
        Self(Value::IntValue(n))
    }
}
impl From<f64> for AnyValueOf {
    fn from(n: f64) -> Self {
        Self(Value::DoubleValue(n))
    }
}
impl From<bool> for AnyValueOf {
    fn from(b: bool) -> Self {
        Self(Value::BoolValue(b))
    }
}
impl From<Value> for AnyValueOf {
    fn from(value: Value) -> Self {
        Self(value)
    }
}

/// A request of the log. The fields are what tests vary; everything else is the same in all rows.
#[derive(Clone, Debug)]
pub struct Row {
    /// Row id, which is the trace id.
    pub id: [u8; 16],
    /// Correlation id.
    pub correlation_id: String,
    /// Admission, in milliseconds since the Unix epoch.
    pub admitted_ms: u64,
    /// Total time in milliseconds, also the latency that is shown.
    pub duration_ms: u64,
    /// State.
    pub status: RequestStatus,
    /// Error code.
    pub error_code: Option<String>,
    /// Slug of the Pool.
    pub pool: String,
    /// Name of the Pool.
    pub pool_name: String,
    /// Label of the upstream account.
    pub account: String,
    /// Model.
    pub model: String,
    /// Label of the API key.
    pub api_key: String,
    /// Settled tokens: input, cached input, output. `None` is an unknown usage.
    pub tokens: Option<(u32, u32, u32)>,
    /// Settled cost in US dollars, of a known usage.
    pub cost_usd: Option<f64>,
}

impl Row {
    /// A succeeded row whose ids follow from `number`: 1 gives row id `a0000001-0000-4000-8000-000000000001` and correlation id
    /// `corr-000001`. Admitted 10 s ago, and 1 ms later for every number: of rows that are made in the order of their numbers, each is newer
    /// than those before it.
    #[must_use]
    pub fn numbered(number: u32) -> Self {
        Self {
            id: id_bytes(&format!("{:08x}-0000-4000-8000-{number:012}", 0xa000_0000 | number)),
            correlation_id: format!("corr-{number:06}"),
            admitted_ms: now_ms() - 10_000 + u64::from(number),
            duration_ms: 2_500,
            status: RequestStatus::Succeeded,
            error_code: None,
            pool: "core-agents".to_owned(),
            pool_name: "Core agents".to_owned(),
            account: "Aurora seat 1".to_owned(),
            model: "gpt-5.4".to_owned(),
            api_key: "CI agents".to_owned(),
            tokens: Some((48_210, 40_960, 1_893)),
            cost_usd: Some(0.033_112_5),
        }
    }

    /// The row id with dashes.
    #[must_use]
    pub fn id_text(&self) -> String {
        id_text(&self.id)
    }

    /// The row id as 32 hexadecimal digits, which is how a trace id is written.
    #[must_use]
    pub fn trace_id_text(&self) -> String {
        self.id_text().replace('-', "")
    }

    /// The row span.
    #[must_use]
    pub fn span(&self) -> Span {
        let failed = self.status == RequestStatus::Failed;
        Span {
            trace_id: self.id.to_vec(),
            span_id: derived_id::<8>(&self.id, "request", &[]).to_vec(),
            flags: SAMPLED,
            name: format!("POST {}", Route::BackendApiCodexResponses),
            kind: SpanKind::Server as i32,
            start_time_unix_nano: self.admitted_ms * NS_PER_MS,
            end_time_unix_nano: (self.admitted_ms + self.duration_ms) * NS_PER_MS,
            attributes: self.attributes(RecordKind::Request),
            status: Some(Status { code: if failed { StatusCode::Error } else { StatusCode::Unset } as i32, ..Status::default() }),
            ..Span::default()
        }
    }

    /// The span of attempt `number`, from 1.
    #[must_use]
    pub fn attempt(&self, number: u32, status: AttemptStatus) -> Span {
        let error_code = self.error_code.as_deref().unwrap_or(contract::ABSENT);
        Span {
            trace_id: self.id.to_vec(),
            span_id: derived_id::<8>(&self.id, "attempt", &number.to_be_bytes()).to_vec(),
            parent_span_id: derived_id::<8>(&self.id, "request", &[]).to_vec(),
            flags: SAMPLED,
            name: format!("chat {}", self.model),
            kind: SpanKind::Client as i32,
            start_time_unix_nano: (self.admitted_ms + 20) * NS_PER_MS,
            end_time_unix_nano: (self.admitted_ms + self.duration_ms) * NS_PER_MS,
            attributes: vec![
                attribute(attr::RECORD_KIND, RecordKind::Attempt.as_str()),
                attribute(attr::REQUEST_ID, self.id_text()),
                attribute(attr::POOL_SLUG, self.pool.as_str()),
                attribute(attr::UPSTREAM_ACCOUNT_LABEL, self.account.as_str()),
                attribute(attr::ATTEMPT_NUMBER, i64::from(number)),
                attribute(attr::ATTEMPT_STATUS, status.as_str()),
                attribute(attr::ATTEMPT_TRANSPORT, Transport::HttpSse.as_str()),
                attribute(attr::ERROR_CODE, error_code),
                attribute(attr::GEN_AI_OPERATION_NAME, "chat"),
                attribute(attr::GEN_AI_REQUEST_MODEL, self.model.as_str()),
            ],
            ..Span::default()
        }
    }

    /// The marker span with this sequence number, observed now: the row's attributes, still in progress, in a trace of its own.
    #[must_use]
    pub fn marker(&self, sequence: u32) -> Span {
        let open = Self { status: RequestStatus::InProgress, error_code: None, tokens: None, cost_usd: None, ..self.clone() };
        let mut attributes = open.attributes(RecordKind::InProgress);
        attributes.retain(|a| a.key != attr::REQUEST_LATENCY_MS && a.key != attr::HTTP_RESPONSE_STATUS_CODE);
        attributes.push(attribute(attr::IN_PROGRESS_SEQUENCE, i64::from(sequence)));
        let now = now_ms() * NS_PER_MS;
        Span {
            trace_id: derived_id::<16>(&self.id, "in_progress_trace", &[]).to_vec(),
            span_id: derived_id::<8>(&self.id, "in_progress", &sequence.to_be_bytes()).to_vec(),
            flags: SAMPLED,
            name: format!("in_progress {}", Route::BackendApiCodexResponses),
            kind: SpanKind::Internal as i32,
            start_time_unix_nano: now,
            end_time_unix_nano: now,
            attributes,
            ..Span::default()
        }
    }

    /// The correction with this sequence number, from 1: what changed, as it is now.
    #[must_use]
    pub fn correction(&self, sequence: u32, changed: Vec<KeyValue>) -> Span {
        let learned = now_ms() * NS_PER_MS;
        let mut attributes = changed;
        attributes.push(attribute(attr::RECORD_KIND, RecordKind::Correction.as_str()));
        attributes.push(attribute(attr::REQUEST_ID, self.id_text()));
        attributes.push(attribute(attr::CORRECTION_SEQUENCE, i64::from(sequence)));
        Span {
            trace_id: self.id.to_vec(),
            span_id: derived_id::<8>(&self.id, "correction", &sequence.to_be_bytes()).to_vec(),
            parent_span_id: derived_id::<8>(&self.id, "request", &[]).to_vec(),
            flags: SAMPLED,
            name: "correction".to_owned(),
            kind: SpanKind::Internal as i32,
            start_time_unix_nano: learned,
            end_time_unix_nano: learned,
            attributes,
            ..Span::default()
        }
    }

    fn attributes(&self, kind: RecordKind) -> Vec<KeyValue> {
        let id = self.id_text();
        let total = self.tokens.map(|(input, _, output)| u64::from(input + output));
        let usage_status = match (kind, self.tokens) {
            (RecordKind::InProgress, _) => UsageStatus::UsagePending,
            (_, Some(_)) => UsageStatus::UsageKnown,
            (_, None) => UsageStatus::UsageUnknown,
        };
        let pricing = if self.cost_usd.is_some() { PricingStatus::Priced } else { PricingStatus::None };
        let route = Route::BackendApiCodexResponses;
        let shown_latency = (kind == RecordKind::Request).then_some(self.duration_ms);
        let model_text = format!("{} / {}{}{}", self.model, ServiceTier::Default, display::SEPARATOR, self.api_key);
        let cached = self.tokens.map(|(_, cached, _)| u64::from(cached));
        let usage_text = display::text_usage(usage_status, total, cached, self.cost_usd);
        let mut attributes = vec![
            attribute(attr::RECORD_KIND, kind.as_str()),
            attribute(attr::REQUEST_ID, id.as_str()),
            attribute(attr::REQUEST_CORRELATION_ID, self.correlation_id.as_str()),
            attribute(attr::REQUEST_SEARCH, format!("{id} {}", self.correlation_id.to_lowercase())),
            attribute(attr::REQUEST_ADMITTED_MS, int(self.admitted_ms)),
            attribute(attr::REQUEST_STATUS, self.status.as_str()),
            attribute(attr::REQUEST_OUTCOME, outcome::outcome(self.status, self.error_code.as_deref()).as_str()),
            attribute(attr::POOL_SLUG, self.pool.as_str()),
            attribute(attr::POOL_NAME, self.pool_name.as_str()),
            attribute(attr::UPSTREAM_ACCOUNT_LABEL, self.account.as_str()),
            attribute(attr::UPSTREAM_PLAN_LABEL, "Pro"),
            attribute(attr::UPSTREAM_PLAN_FAMILY, "pro"),
            attribute(attr::API_KEY_LABEL, self.api_key.as_str()),
            attribute(attr::REQUEST_MODEL, self.model.as_str()),
            attribute(attr::REQUEST_TRANSPORT, Transport::HttpSse.as_str()),
            attribute(attr::REQUEST_ROUTE_CLASS, RouteClass::ProxyStream.as_str()),
            attribute(attr::REQUEST_SERVING_MODE, ServingMode::Full.as_str()),
            attribute(attr::REQUEST_RETRY_COUNT, 0),
            attribute(attr::REQUEST_LATENCY_MS, int(self.duration_ms)),
            attribute(attr::ERROR_CODE, self.error_code.as_deref().unwrap_or(contract::ABSENT)),
            attribute(attr::USAGE_STATUS, usage_status.as_str()),
            attribute(attr::PRICING_STATUS, pricing.as_str()),
            attribute(attr::TEXT_ID, &id[..8]),
            attribute(attr::TEXT_ACCOUNT, display::text_account(Some(&self.account), &self.pool_name)),
            attribute(attr::TEXT_MODEL, model_text),
            attribute(attr::TEXT_TRANSPORT, "HTTP SSE · Codex 0.142.0"),
            attribute(attr::TEXT_ROUTE, display::text_route(route, None, shown_latency)),
            attribute(attr::TEXT_USAGE, usage_text),
            attribute(attr::TEXT_ERRORS, self.error_code.as_deref().unwrap_or(contract::DASH)),
            attribute(attr::USER_AGENT_NAME, "codex"),
            attribute(attr::USER_AGENT_VERSION, "0.142.0"),
            attribute(attr::HTTP_REQUEST_METHOD, "POST"),
            attribute(attr::HTTP_ROUTE, route.as_str()),
            attribute(attr::HTTP_RESPONSE_STATUS_CODE, if self.status == RequestStatus::Failed { 502 } else { 200 }),
        ];
        if let Some((input, cached, output)) = self.tokens {
            attributes.push(attribute(attr::USAGE_INPUT_TOKENS, i64::from(input)));
            attributes.push(attribute(attr::USAGE_CACHE_READ_INPUT_TOKENS, i64::from(cached)));
            attributes.push(attribute(attr::USAGE_OUTPUT_TOKENS, i64::from(output)));
            attributes.push(attribute(attr::USAGE_TOTAL_TOKENS, i64::from(input + output)));
            attributes.extend(self.cost_usd.map(|cost| attribute(attr::COST_SETTLED_USD, cost)));
        }
        if let Some(code) = self.error_code.as_deref().filter(|_| self.status == RequestStatus::Failed) {
            attributes.push(attribute(attr::ERROR_TYPE, code));
        }
        attributes
    }
}

/// A message with these spans, from a pooler that follows the contract.
#[must_use]
pub fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![
                    attribute(attr::SERVICE_NAME, "codex-pooler"),
                    attribute(attr::SERVICE_VERSION, "0.1.0"),
                    attribute(attr::SERVICE_INSTANCE_ID, "7d1c1f0e-51ad-4a39-8f0b-2a0b8f6f0a11"),
                ],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: contract::SCOPE_NAME.to_owned(),
                    version: "0.1.0".to_owned(),
                    ..InstrumentationScope::default()
                }),
                spans,
                schema_url: contract::SCHEMA_URL.to_owned(),
            }],
            schema_url: contract::SCHEMA_URL.to_owned(),
        }],
    }
}

/// A span or trace id as emitters derive it from a row id: the first bytes of a SHA-256 over the domain, the label, the row id and a
/// suffix. Written a second time here on purpose, so that a change of the emitter's is seen.
#[must_use]
pub fn derived_id<const N: usize>(row_id: &[u8; 16], label: &str, suffix: &[u8]) -> [u8; N] {
    let hash = Sha256::new()
        .chain_update(b"codex-pooler/span/v1\0")
        .chain_update(label)
        .chain_update([0])
        .chain_update(row_id)
        .chain_update(suffix)
        .finalize();
    let mut id = [0; N];
    id.copy_from_slice(&hash[..N]);
    if id == [0; N] {
        id[N - 1] = 1;
    }
    id
}

/// The 16 bytes of an id with dashes.
#[must_use]
pub fn id_bytes(text: &str) -> [u8; 16] {
    u128::from_str_radix(&text.replace('-', ""), 16).expect("a UUID").to_be_bytes()
}

/// An id with dashes from its 16 bytes.
#[must_use]
pub fn id_text(id: &[u8; 16]) -> String {
    let hex = format!("{:032x}", u128::from_be_bytes(*id));
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn int(n: u64) -> i64 {
    i64::try_from(n).expect("a number that OTLP can carry")
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;

    /// Guarantees: the builders' messages follow the contract: the sanitizer has nothing to strip, and passes on the very same message.
    #[test]
    fn built_messages_are_clean() {
        let good = Row::numbered(1);
        let failed = Row {
            status: RequestStatus::Failed,
            error_code: Some("upstream_network_error".to_owned()),
            tokens: None,
            cost_usd: None,
            ..Row::numbered(2)
        };
        let message = request(vec![
            good.span(),
            good.attempt(1, AttemptStatus::Succeeded),
            failed.span(),
            failed.attempt(1, AttemptStatus::Failed),
            good.marker(0),
            good.correction(1, vec![attribute(attr::TEXT_USAGE, "–")]),
        ]);
        let sanitized: sanitizer::Sanitized =
            sanitizer::protobuf(&sanitizer::Policy::contract(), std::time::SystemTime::now(), &message.encode_to_vec()).unwrap();
        assert_eq!(sanitized.report().stripped_fields, std::collections::BTreeMap::new());
        assert_eq!(sanitized.report().accepted_records, 6);
        assert_eq!(ExportTraceServiceRequest::decode(sanitized.encoded().clone()).unwrap(), message);
    }

    /// Guarantees: every attribute that the contract requires is there.
    #[test]
    fn nothing_required_is_missing() {
        let row = Row::numbered(1);
        for (kind, span) in [
            (RecordKind::Request, row.span()),
            (RecordKind::Attempt, row.attempt(1, AttemptStatus::Succeeded)),
            (RecordKind::InProgress, row.marker(0)),
        ] {
            for key in contract::Record::of(Some(kind)).required {
                assert!(span.attributes.iter().any(|a| a.key == *key), "{kind} lacks {key}");
            }
        }
    }

    /// Guarantees: the derivation of ids is the written one. Expected value: `printf` of the same bytes into sha256sum.
    #[test]
    fn ids_are_derived_as_written() {
        let id = id_bytes("0b5a2f0e-6c0f-4f3a-9a53-0c7f4f2f8f11");
        assert_eq!(derived_id::<8>(&id, "request", &[]), [0xe2, 0xbc, 0x80, 0xa4, 0x69, 0x1a, 0x66, 0xe9]);
        assert_eq!(id_text(&id), "0b5a2f0e-6c0f-4f3a-9a53-0c7f4f2f8f11");
    }
}

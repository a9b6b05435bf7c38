//! The messages that benchmarks run on: spans of several shapes, clean and dirty, no two alike.

use contract::display::{ModelText, text_account, text_model, text_route, text_transport, text_usage};
use contract::{
    ClientFamily, PricingStatus, ReasoningEffort, RecordKind, RequestStatus, Route, RouteClass, ServiceTier, ServingMode,
    Transport, UsageStatus, attr,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

/// Admission of the first row.
pub const ADMITTED_MS: u64 = 1_787_544_000_000;
const NS_PER_MS: u64 = 1_000_000;

/// What is wrong with the spans of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Clean,
    /// One in a hundred has something that goes.
    Rare,
    /// All have something that goes.
    Dirty,
    /// All texts of all spans look almost like secrets, so that every rule and detector runs to its end; and all of them go.
    Hostile,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Clean, Self::Rare, Self::Dirty, Self::Hostile];

    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clean => "none",
            Self::Rare => "1 %",
            Self::Dirty => "all",
            Self::Hostile => "hostile",
        }
    }

    fn is_dirty(self, number: u64) -> bool {
        self == Self::Dirty || self == Self::Rare && number % 100 == 50
    }
}

/// A shape of spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Two attributes, about 150 bytes. Dirty: one of them is unknown.
    Tiny,
    /// 16 attributes, about 890 bytes. Dirty: half of them are unknown.
    Medium,
    /// 30 attributes, about 1.6 kB. Dirty: with two texts of 4 KiB more, 9.8 kB. Such texts have no place in a clean message.
    Large,
    /// A row of the request log with all its columns, about 2.9 kB. Dirty: with a prompt, an event and a status message.
    Row,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Self; 4] = [Self::Tiny, Self::Medium, Self::Large, Self::Row];

    /// How many fields are stripped from this span.
    pub fn stripped_fields(self, number: u64, kind: Kind) -> u64 {
        match self {
            _ if kind == Kind::Hostile => self.span(number, kind).attributes.iter().filter(|a| is_hostile(a)).count() as u64,
            _ if !kind.is_dirty(number) => 0,
            Self::Tiny => 1,
            Self::Medium => 8,
            Self::Large => 2,
            Self::Row => 3,
        }
    }

    /// Span `number`, which is in its ids, labels and amounts.
    pub fn span(self, number: u64, kind: Kind) -> Span {
        let dirty = kind.is_dirty(number);
        let start = (ADMITTED_MS + number) * NS_PER_MS;
        let mut span = Span {
            trace_id: digits(&id(number)),
            span_id: number.wrapping_add(1).to_be_bytes().to_vec(),
            flags: 1,
            name: format!("POST {}", pick(Route::TEXTS, number)),
            kind: 2,
            start_time_unix_nano: start,
            end_time_unix_nano: start + 2_500 * NS_PER_MS,
            ..Span::default()
        };
        match self {
            Self::Tiny => {
                "internal".clone_into(&mut span.name);
                span.kind = 1;
                let other = if dirty { "thread.pool.queue_len" } else { attr::HTTP_REQUEST_METHOD };
                span.attributes = vec![int(attr::HTTP_RESPONSE_STATUS_CODE, 200 + number % 300)];
                span.attributes.push(if dirty { int(other, number) } else { text(other, pick(&["POST", "GET"], number)) });
            }
            Self::Medium => {
                span.attributes = medium(number);
                if dirty {
                    // Not those without which the span would go, nor those that others follow from.
                    for (at, attribute) in span.attributes.iter_mut().enumerate().take(10).skip(2) {
                        attribute.key = format!("app.internal.debug.field_{at:02}");
                    }
                }
            }
            Self::Large => {
                span.attributes = row(number);
                span.attributes.truncate(28);
                if dirty {
                    span.attributes.push(text("gen_ai.input.messages", &"tell me a story ".repeat(256)));
                    span.attributes.push(text("gen_ai.output.messages", &"once upon a time".repeat(256)));
                } else {
                    span.attributes.extend(row(number).into_iter().skip(28).take(2));
                }
            }
            Self::Row => {
                span.attributes = row(number);
                span.status = Some(Status::default());
                if dirty {
                    span.attributes.push(text("gen_ai.prompt", &format!("question {number}: tell me a story")));
                    span.events.push(Event { name: "exception".to_owned(), ..Event::default() });
                    span.status = Some(Status { message: "connection to 192.0.2.7 refused".to_owned(), code: 2 });
                }
            }
        }
        if kind == Kind::Hostile {
            for attribute in &mut span.attributes {
                if is_hostile(attribute) {
                    *attribute = text(&attribute.key, &format!("Team {number} (1:2 3.4.5 a:b) 4111 1111 1111 1111"));
                }
            }
        }
        span
    }
}

/// Whether this attribute is one that a hostile span uses: a text, but not those without which the span would go.
fn is_hostile(attribute: &KeyValue) -> bool {
    let is_text = matches!(attribute.value.as_ref().and_then(|v| v.value.as_ref()), Some(Value::StringValue(_)));
    is_text && ![attr::RECORD_KIND, attr::REQUEST_ID].contains(&attribute.key.as_str())
}

/// A message of these spans.
pub fn message(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let resource = Resource {
        attributes: vec![
            text(attr::SERVICE_NAME, "codex-pooler"),
            text(attr::SERVICE_VERSION, "0.1.0"),
            text(attr::SERVICE_INSTANCE_ID, "7d1c1f0e-51ad-4a39-8f0b-2a0b8f6f0a11"),
        ],
        ..Resource::default()
    };
    let scope = InstrumentationScope {
        name: contract::SCOPE_NAME.to_owned(),
        version: "0.1.0".to_owned(),
        ..InstrumentationScope::default()
    };
    let schema_url = contract::SCHEMA_URL.to_owned();
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans, schema_url: schema_url.clone() }],
            schema_url,
        }],
    }
}

/// 16 attributes of a row.
fn medium(number: u64) -> Vec<KeyValue> {
    let keys = [
        attr::RECORD_KIND,
        attr::REQUEST_ID,
        attr::REQUEST_CORRELATION_ID,
        attr::REQUEST_STATUS,
        attr::POOL_SLUG,
        attr::POOL_NAME,
        attr::UPSTREAM_ACCOUNT_LABEL,
        attr::API_KEY_LABEL,
        attr::REQUEST_MODEL,
        attr::REQUEST_TRANSPORT,
        attr::REQUEST_LATENCY_MS,
        attr::USAGE_INPUT_TOKENS,
        attr::USAGE_OUTPUT_TOKENS,
        attr::TEXT_ROUTE,
        attr::HTTP_ROUTE,
        attr::COST_SETTLED_USD,
    ];
    let mut attributes = row(number);
    attributes.retain(|attribute| keys.contains(&attribute.key.as_str()));
    attributes
}

fn row(number: u64) -> Vec<KeyValue> {
    let (request_id, correlation_id) = (id(number), id(number ^ 0xabcd_ef01));
    let pool = format!("Core agents {}", number % 7);
    let account = format!("{} seat {}", pick(&["Aurora", "Borealis", "Команда"], number / 5), number % 13);
    let api_key = format!("{} agents", pick(&["CI", "Review", "Support"], number / 3));
    let model = pick(&["gpt-5.4", "gpt-5.4-mini", "gpt-5.1-codex-max"], number / 2);
    let route = Route::ALL[usize::try_from(number).unwrap_or(0) % Route::ALL.len()];
    let (input, cached, output) = (40_000 + number * 17 % 9_000, 30_000 + number % 7_000, 1_000 + number * 31 % 5_000);
    let cost_usd = 0.01 + f64::from(u32::try_from(number % 1_000).unwrap_or(0)) / 10_000.0;
    let latency_ms = 400 + number * 7 % 9_000;
    let effort = ReasoningEffort::High;
    let model_text = ModelText {
        model: Some(model),
        effort: Some(effort),
        requested_effort: None,
        tier: Some(ServiceTier::Default),
        requested_tier: None,
        fast_mode: false,
        api_key: &api_key,
    };
    let client = Some((ClientFamily::Codex, Some("0.142.0")));
    let status = pick(&[RequestStatus::Succeeded, RequestStatus::Succeeded, RequestStatus::Cancelled], number);
    vec![
        text(attr::RECORD_KIND, RecordKind::Request.as_str()),
        text(attr::REQUEST_ID, &request_id),
        text(attr::REQUEST_CORRELATION_ID, &correlation_id),
        text(attr::REQUEST_SEARCH, &format!("{request_id} {correlation_id}")),
        int(attr::REQUEST_ADMITTED_MS, ADMITTED_MS + number),
        text(attr::REQUEST_STATUS, status.as_str()),
        text(attr::REQUEST_OUTCOME, if status == RequestStatus::Succeeded { "good" } else { "neutral" }),
        text(attr::POOL_ID, &id(number % 7)),
        text(attr::POOL_SLUG, &format!("core-agents-{}", number % 7)),
        text(attr::POOL_NAME, &pool),
        text(attr::UPSTREAM_ACCOUNT_ID, &id(number % 13)),
        text(attr::UPSTREAM_ACCOUNT_LABEL, &account),
        text(attr::UPSTREAM_PLAN_LABEL, "Pro Lite"),
        text(attr::UPSTREAM_PLAN_FAMILY, "pro-lite"),
        text(attr::API_KEY_ID, &id(number % 3)),
        text(attr::API_KEY_LABEL, &api_key),
        text(attr::API_KEY_PREFIX, &format!("sk-cxp-1b158839f8{:02x}", number % 256)),
        text(attr::REQUEST_MODEL, model),
        text(attr::REQUEST_TRANSPORT, Transport::HttpSse.as_str()),
        text(attr::REQUEST_ROUTE_CLASS, RouteClass::ProxyStream.as_str()),
        text(attr::REQUEST_SERVING_MODE, ServingMode::Full.as_str()),
        int(attr::REQUEST_RETRY_COUNT, number % 2),
        int(attr::REQUEST_LATENCY_MS, latency_ms),
        text(attr::REASONING_EFFORT_EFFECTIVE, effort.as_str()),
        text(attr::REASONING_EFFORT_SOURCE, "client"),
        text(attr::SERVICE_TIER_ACTUAL, ServiceTier::Default.as_str()),
        text(attr::RESPONSE_STATUS, "completed"),
        text(attr::ERROR_CODE, contract::ABSENT),
        text(attr::USAGE_STATUS, UsageStatus::UsageKnown.as_str()),
        text(attr::PRICING_STATUS, PricingStatus::Priced.as_str()),
        int(attr::USAGE_INPUT_TOKENS, input),
        int(attr::USAGE_CACHE_READ_INPUT_TOKENS, cached),
        int(attr::USAGE_OUTPUT_TOKENS, output),
        int(attr::USAGE_TOTAL_TOKENS, input + output),
        KeyValue { key: attr::COST_SETTLED_USD.to_owned(), value: any(Value::DoubleValue(cost_usd)), key_strindex: 0 },
        text(attr::TEXT_ID, &request_id[..8]),
        text(attr::TEXT_ACCOUNT, &text_account(Some(&account), &pool)),
        text(attr::TEXT_MODEL, &text_model(&model_text)),
        text(attr::TEXT_TRANSPORT, &text_transport(Transport::HttpSse, false, client)),
        text(attr::TEXT_ROUTE, &text_route(route, None, Some(latency_ms))),
        text(attr::TEXT_USAGE, &text_usage(UsageStatus::UsageKnown, Some(input + output), Some(cached), Some(cost_usd))),
        text(attr::TEXT_ERRORS, contract::DASH),
        text(attr::HTTP_REQUEST_METHOD, "POST"),
        text(attr::HTTP_ROUTE, route.as_str()),
        int(attr::HTTP_RESPONSE_STATUS_CODE, 200),
        text(attr::URL_SCHEME, "https"),
        text(attr::USER_AGENT_NAME, ClientFamily::Codex.as_str()),
        text(attr::USER_AGENT_VERSION, "0.142.0"),
    ]
}

fn pick<T: Copy>(from: &[T], number: u64) -> T {
    from[usize::try_from(number).unwrap_or(0) % from.len()]
}

/// An id whose digits look random, as ids do.
fn id(number: u64) -> String {
    let (a, b) = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15), (number ^ 0x5555).wrapping_mul(0xbf58_476d_1ce4_e5b9));
    format!("{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}", a >> 32, a >> 16 & 0xffff, a & 0xfff, b >> 52, b & 0xffff_ffff_ffff)
}

/// The bytes of an id: a row is the root of the trace that has its id.
fn digits(id: &str) -> Vec<u8> {
    let id = u128::from_str_radix(&id.replace('-', ""), 16);
    id.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default()
}

pub fn text(key: &str, text: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: any(Value::StringValue(text.to_owned())), key_strindex: 0 }
}

fn int(key: &str, n: u64) -> KeyValue {
    KeyValue { key: key.to_owned(), value: any(Value::IntValue(i64::try_from(n).unwrap_or(i64::MAX))), key_strindex: 0 }
}

#[allow(clippy::unnecessary_wraps, reason = "the field is optional")]
pub fn any(value: Value) -> Option<AnyValue> {
    Some(AnyValue { value: Some(value) })
}

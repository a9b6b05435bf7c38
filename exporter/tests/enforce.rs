//! The contract on the SDK's span data, against the collector's sanitizer on the bytes: arbitrary spans, and arbitrary lifecycles.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use codex_pooler_exporter::lifecycle::Lifecycle;
use codex_pooler_exporter::{
    Account, Admission, ApiKey, Attempt, AttemptEnd, Client, Denial, Ended, Enforced, Pool, Price, Settlement, Tokens, enforce,
    spans,
};
use contract::{
    AttemptStatus, ClientFamily, EffortSource, FinishReason, IncompleteReason, Method, PricingStatus, ReasoningEffort,
    RecordKind, RequestStatus, ResponseStatus, Route, RouteClass, Rule, ServiceTier, ServingMode, Transport, attr,
};
use opentelemetry::trace::{Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message as _;
use testkit::backend::{Answer, Backend, Script};
use uuid::Uuid;

/// As the SDK's exporters encode it.
fn encoded(spans: Vec<SpanData>, resource: &Resource) -> Vec<u8> {
    let resource_spans = group_spans_by_resource_and_scope(spans, &ResourceAttributesWithSchema::from(resource));
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn sanitized(message: &[u8]) -> Vec<u8> {
    sanitizer::protobuf::<ExportTraceServiceRequest>(&sanitizer::Policy::contract(), std::time::SystemTime::now(), message)
        .unwrap()
        .encoded()
        .to_vec()
}

/// Texts of the contract, and of people.
const KNOWN: &[&str] = &[
    "none",
    "_OTHER",
    "–",
    "",
    " ",
    "gpt-5.4",
    "core",
    "Core agents",
    "63918144-2107-4e99-9119-c5edfe6f6b9b",
    "0.6.8",
    "sk-cxp-1b158839f8aa",
    "acct-63918144",
    "692 tokens · $0.50",
    "POST /v1/responses",
    "in_progress /v1/models",
    "request",
    "internal",
    "correction",
    "chat gpt-5.4",
    "alice@example.com",
    "192.0.2.7",
    "Bearer abcdefgh12345678",
    "write a poem, please",
    "sk-cxp-1b158839f8aa-0123456789abcdefghijklmnopqrstuvwxyzABCDEFG",
    "4111 1111 1111 1111",
    "a\u{200b}b",
    "500",
    "quota_exhausted",
];

/// Texts of every sort: of the contract, nearly of the contract, and of people.
fn text() -> BoxedStrategy<String> {
    let members: Vec<&str> = contract::generated::ATTRIBUTES
        .iter()
        .flat_map(|attribute| match attribute.rule {
            Rule::Text { members, .. } | Rule::TextList { members, .. } => members,
            _ => &[],
        })
        .copied()
        .collect();
    prop_oneof![
        2 => select(members).prop_map(str::to_owned),
        3 => select(KNOWN).prop_map(str::to_owned),
        1 => "[a-z0-9._ -]{0,140}",
        1 => ".{0,40}",
    ]
    .boxed()
}

fn key() -> BoxedStrategy<String> {
    let keys: Vec<&str> = contract::generated::ATTRIBUTES.iter().map(|attribute| attribute.key).collect();
    prop_oneof![8 => select(keys).prop_map(str::to_owned), 1 => Just("gen_ai.input.messages".to_owned()), 1 => "[a-z._]{0,30}"]
        .boxed()
}

fn value() -> BoxedStrategy<Value> {
    let int = prop_oneof![any::<i64>(), 0..1000_i64];
    let texts = vec(prop_oneof![select(FinishReason::TEXTS).prop_map(str::to_owned), text()], 0..6);
    let strings = |texts: Vec<String>| Value::Array(Array::String(texts.into_iter().map(StringValue::from).collect()));
    prop_oneof![
        8 => text().prop_map(Value::from),
        3 => int.prop_map(Value::I64),
        2 => any::<f64>().prop_map(Value::F64),
        1 => any::<bool>().prop_map(Value::Bool),
        2 => texts.prop_map(strings),
        1 => vec(any::<i64>(), 0..3).prop_map(|list| Value::Array(Array::I64(list))),
        1 => vec(any::<f64>(), 0..2).prop_map(|list| Value::Array(Array::F64(list))),
        1 => vec(any::<bool>(), 0..2).prop_map(|list| Value::Array(Array::Bool(list))),
    ]
    .boxed()
}

fn attributes() -> BoxedStrategy<Vec<KeyValue>> {
    let kind = select(RecordKind::TEXTS).prop_map(|kind| KeyValue::new(attr::RECORD_KIND, kind));
    let account = Just(KeyValue::new(attr::UPSTREAM_ACCOUNT_ID, "63918144-2107-4e99-9119-c5edfe6f6b9b"));
    let given = (key(), value()).prop_map(|(key, value)| KeyValue::new(key, value));
    (of(kind), vec(prop_oneof![12 => given, 1 => account], 0..14), any::<bool>())
        .prop_map(|(kind, mut rest, first)| {
            if let Some(kind) = kind {
                rest.insert(if first { 0 } else { rest.len() }, kind);
            }
            rest
        })
        .boxed()
}

fn context() -> BoxedStrategy<SpanContext> {
    let state = TraceState::from_key_value([("vendor", "alice")]).unwrap();
    let (trace, span) = (prop_oneof![9 => any::<u128>(), 1 => Just(0)], prop_oneof![9 => any::<u64>(), 1 => Just(0)]);
    (trace, span, any::<u8>(), any::<bool>(), select(vec![TraceState::NONE, state]))
        .prop_map(|(trace, span, flags, remote, state)| {
            SpanContext::new(TraceId::from(trace), SpanId::from(span), TraceFlags::new(flags), remote, state)
        })
        .boxed()
}

fn time() -> impl Strategy<Value = SystemTime> {
    let seconds = prop_oneof![
        8 => 1_700_000_000..1_800_000_000_u64,
        1 => select(vec![0, 1_577_836_799, 1_577_836_800, 4_102_444_799, 4_102_444_800, 18_446_744_073, 18_446_744_074, 20_100_000_000]),
    ];
    (seconds, 0..1_000_000_000_u32, prop::bool::weighted(0.02)).prop_map(|(seconds, ns, before)| {
        let since = Duration::new(seconds, ns);
        if before { UNIX_EPOCH - since } else { UNIX_EPOCH + since }
    })
}

fn scope() -> BoxedStrategy<InstrumentationScope> {
    let name = prop_oneof![3 => Just(contract::SCOPE_NAME.to_owned()), 1 => text()];
    let url = prop_oneof![2 => Just(contract::SCHEMA_URL.to_owned()), 1 => text()];
    let version = prop_oneof![2 => Just("0.1.0".to_owned()), 1 => text()];
    (name, of(version), of(url), prop_oneof![2 => Just(Vec::new()), 1 => attributes()])
        .prop_map(|(name, version, url, attributes)| {
            let mut scope = InstrumentationScope::builder(name).with_attributes(attributes);
            if let Some(version) = version {
                scope = scope.with_version(version);
            }
            if let Some(url) = url {
                scope = scope.with_schema_url(url);
            }
            scope.build()
        })
        .boxed()
}

fn span() -> BoxedStrategy<SpanData> {
    let event =
        (text(), time(), attributes(), any::<u32>()).prop_map(|(name, at, attributes, n)| Event::new(name, at, attributes, n));
    let link = (context(), attributes(), any::<u32>()).prop_map(|(context, attributes, n)| Link::new(context, attributes, n));
    let kind = select(vec![SpanKind::Client, SpanKind::Server, SpanKind::Internal, SpanKind::Producer, SpanKind::Consumer]);
    let status = prop_oneof![Just(Status::Unset), Just(Status::Ok), text().prop_map(Status::error)];
    let times = (time(), prop_oneof![3 => (0..100_u64).prop_map(Some), 1 => Just(None)], time());
    (
        (context(), prop_oneof![any::<u64>(), Just(0)], any::<bool>(), kind, text(), times),
        (attributes(), vec(event, 0..3), vec(link, 0..4), status, scope(), any::<[u32; 3]>()),
    )
        .prop_map(|((span_context, parent, remote, span_kind, name, (start_time, took, end)), rest)| {
            let (attributes, given_events, given_links, status, instrumentation_scope, counts) = rest;
            let (mut events, mut links) = (SpanEvents::default(), SpanLinks::default());
            (events.events, events.dropped_count) = (given_events, counts[0]);
            (links.links, links.dropped_count) = (given_links, counts[1]);
            SpanData {
                span_context,
                parent_span_id: SpanId::from(parent),
                parent_span_is_remote: remote,
                span_kind,
                name: Cow::Owned(name),
                start_time,
                end_time: took.map_or(end, |seconds| start_time + Duration::from_secs(seconds)),
                attributes,
                dropped_attributes_count: counts[2],
                events,
                links,
                status,
                instrumentation_scope,
            }
        })
        .boxed()
}

/// Text in every place that takes text.
#[allow(clippy::too_many_lines, reason = "it has a line for every field")]
fn lifecycle() -> BoxedStrategy<Lifecycle> {
    // Boxed part by part: all in one it does not fit a thread's stack.
    fn member<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
        select(all)
    }
    let uuid = || any::<u128>().prop_map(|id| Uuid::from_u128(id.max(1)));
    let account = move || {
        (of(uuid()), of(text()), of(text()), of(text()), of(uuid()))
            .prop_map(|(id, label, plan_label, plan_family, assignment_id)| Account {
                id,
                label,
                plan_label,
                plan_family,
                assignment_id,
            })
            .boxed()
    };
    let at = || (1_700_000_000_000..1_700_500_000_000_u64).prop_map(|ms| UNIX_EPOCH + Duration::from_millis(ms));
    let tokens = || {
        let n = || of(prop_oneof![0..1_000_000_u64, any::<u64>()]);
        (n(), n(), n(), n(), n(), n())
            .prop_map(|(input, cache_read, cache_write, output, reasoning, total)| Tokens {
                input,
                cache_read,
                cache_write,
                output,
                reasoning,
                total,
            })
            .boxed()
    };
    let api_key = prop_oneof![
        1 => Just(ApiKey::ExternalToken),
        4 => (uuid(), of(text()), of(text())).prop_map(|(id, label, prefix)| ApiKey::Key { id, label, prefix }),
    ];
    let client = (member(ClientFamily::ALL), of(text())).prop_map(|(family, version)| Client { family, version });
    let pool = (uuid(), text(), text()).prop_map(|(id, slug, name)| Pool { id, slug, name });
    let admission = (
        (uuid(), of(text()), of(text()), pool, api_key, member(Method::ALL), member(Route::ALL), of(member(Route::ALL))),
        (
            member(Transport::ALL),
            member(RouteClass::ALL),
            of(text()),
            of(member(ReasoningEffort::ALL)),
            of(member(ServiceTier::ALL)),
        ),
        (of(member(ServiceTier::ALL)), any::<bool>(), member(ServingMode::ALL), of(client), of(context())),
    )
        .prop_map(|(a, b, c)| Admission {
            correlation_id: a.1,
            client_request_id: a.2,
            translated_from: a.7,
            route_class: b.1,
            model: b.2,
            requested_effort: b.3,
            requested_tier: b.4,
            service_tier: c.0,
            fast_mode: c.1,
            serving_mode: c.2,
            client: c.3,
            client_context: c.4,
            ..Admission::new(a.0, a.3, a.4, a.5, a.6, b.0)
        })
        .boxed();
    let attempt_end = (
        (member(AttemptStatus::ALL), at(), of(any::<u16>()), any::<bool>(), of(text()), of(any::<u64>())),
        (of(tokens()), of(any::<u64>()), of(text()), of(member(ResponseStatus::ALL)), vec(member(FinishReason::ALL), 0..6)),
    )
        .prop_map(|(a, b)| AttemptEnd {
            at: a.1,
            http_status: a.2,
            retryable: a.3,
            error_code: a.4,
            // Some 30 years: the clock's own limit is no part of this.
            latency_ms: a.5.map(|ms| ms % 1_000_000_000_000),
            usage: b.0,
            first_output_ms: b.1.map(|ms| ms % 1_000_000_000_000),
            response_model: b.2,
            response_status: b.3,
            finish_reasons: b.4,
            ..AttemptEnd::new(a.0)
        })
        .boxed();
    let attempt = (
        (account(), member(Transport::ALL), uuid(), any::<u32>(), of(text()), at()),
        (of(member(ReasoningEffort::ALL)), of(member(ReasoningEffort::ALL)), of(member(EffortSource::ALL)), of(attempt_end)),
    )
        .prop_map(|(a, b)| Attempt {
            id: a.2,
            number: a.3,
            model: a.4,
            started_at: a.5,
            applied_effort: b.0,
            effective_effort: b.1,
            effort_source: b.2,
            end: b.3,
            ..Attempt::new(a.0, a.1)
        })
        .boxed();
    let price = prop_oneof![
        any::<f64>().prop_map(|usd| Price::Priced { usd }),
        (0.0..10.0).prop_map(|usd| Price::Priced { usd }),
        member(PricingStatus::ALL).prop_map(Price::Unpriced),
    ];
    let settlement = prop_oneof![
        Just(Settlement::Pending),
        Just(Settlement::Unknown),
        Just(Settlement::NotApplicable),
        (tokens(), price).prop_map(|(tokens, price)| Settlement::Known { tokens, price }),
    ]
    .boxed();
    let denial =
        (text(), any::<bool>(), of(time())).prop_map(|(code, exhausted, resets_at)| Denial { code, exhausted, resets_at });
    let end = (
        (member(RequestStatus::ALL), at(), of(any::<u16>()), of(text()), vec(denial, 0..12)),
        (of(member(ResponseStatus::ALL)), of(member(IncompleteReason::ALL)), any::<u32>(), of(member(ServiceTier::ALL))),
    )
        .prop_map(|(a, b)| Ended {
            at: a.1,
            http_status: a.2,
            error_code: a.3,
            denials: a.4,
            response_status: b.0,
            incomplete_reason: b.1,
            retry_count: b.2,
            service_tier: b.3,
            ..Ended::new(a.0)
        })
        .boxed();
    (admission, at(), of(account()), vec(attempt, 0..4), settlement, end)
        .prop_map(|(admission, admitted_at, account, attempts, settlement, end)| Lifecycle {
            admission,
            admitted_at,
            account,
            attempts,
            settlement,
            end: Some(end),
        })
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Guarantees: whatever the SDK's span data holds, what is let through is what the collector's sanitizer would let through of the
    /// encoded span; and letting it through twice is letting it through once.
    #[test]
    fn spans_as_the_sanitizer_would(given in span()) {
        let resource = Resource::builder_empty().build();
        let expected = sanitized(&encoded(vec![given.clone()], &resource));
        let kept: Vec<_> = enforce::span(given).into_iter().collect();
        let message = if kept.is_empty() { Vec::new() } else { encoded(kept.clone(), &resource) };
        // By meaning: what is clean goes on with the bytes that it had, such as those of an empty name.
        let decoded = |message: &[u8]| ExportTraceServiceRequest::decode(message).unwrap();
        prop_assert_eq!(decoded(&message), decoded(&expected));
        for span in kept {
            prop_assert_eq!(enforce::span(span.clone()).map(|twice| format!("{twice:?}")), Ok(format!("{span:?}")));
        }
    }

    /// Guarantees: the same of the resource.
    #[test]
    fn resources_as_the_sanitizer_would(given in attributes(), ours in any::<bool>(), url in text()) {
        let url = if ours { contract::SCHEMA_URL.to_owned() } else { url };
        let resource = Resource::builder_empty().with_schema_url(given, url).build();
        let decoded = |message: &[u8]| {
            let mut request = ExportTraceServiceRequest::decode(message).unwrap();
            // The SDK keeps them in no order.
            let attributes = &mut request.resource_spans[0].resource.as_mut().unwrap().attributes;
            attributes.sort_by(|a, b| a.key.cmp(&b.key));
            request
        };
        let span = spans::marker(&Lifecycle::new(support::admission(), SystemTime::now()), 0, SystemTime::now());
        let expected = decoded(&sanitized(&encoded(vec![span.clone()], &resource)));
        prop_assert_eq!(decoded(&encoded(vec![span], &enforce::resource(&resource))), expected);
    }

    /// Guarantees: whatever a lifecycle holds, its row, attempts, marker and correction pass the sanitizer as they are, byte for byte, and so
    /// they pass the enforcement.
    #[test]
    fn lifecycles_pass_the_sanitizer_unchanged(before in lifecycle(), after in lifecycle(), sequence in 0..1_000_000_u32) {
        let mut all = spans::finished(&before);
        all.push(spans::marker(&Lifecycle { end: None, ..before.clone() }, sequence, before.admitted_at));
        all.push(spans::correction(&before, &after, sequence.max(1), before.admitted_at));
        let resource = Resource::builder_empty().build();
        for mut span in all {
            // Counted by the exporter, and not sent.
            span.dropped_attributes_count = 0;
            let message = encoded(vec![span.clone()], &resource);
            if enforce::span(span.clone()).is_err() {
                // Its times cannot be, for both.
                prop_assert!(sanitized(&message).is_empty());
                continue;
            }
            prop_assert_eq!(&sanitized(&message), &message, "{}", span.name);
            let enforced = enforce::span(span).map(|span| encoded(vec![span], &resource));
            prop_assert_eq!(enforced, Ok(message));
        }
    }
}

/// Guarantees: around the OpenTelemetry project's own OTLP exporters, over gRPC and over HTTP, what arrives is what the sanitizer lets
/// through, resource included.
#[tokio::test(flavor = "multi_thread")]
async fn around_the_stock_exporters() {
    use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
    let _ = rustls::crypto::ring::default_provider().install_default();
    let accept = || Script::always(Answer::Accept);
    let (grpc, http) = (Backend::grpc(accept()), Backend::http(accept()));
    let over_grpc = SpanExporter::builder().with_tonic().with_endpoint(grpc.url()).build().unwrap();
    let over_http = SpanExporter::builder().with_http().with_endpoint(format!("{}/v1/traces", http.url())).build().unwrap();
    let mut dirty = spans::marker(&Lifecycle::new(support::admission(), SystemTime::now()), 0, SystemTime::now());
    dirty.attributes.push(KeyValue::new("gen_ai.input.messages", "canary"));
    dirty.events.events.push(Event::new("canary", SystemTime::now(), vec![], 0));
    dirty.status = Status::error("canary");
    let lost = SpanData { span_context: SpanContext::NONE, ..dirty.clone() };
    let resource = Resource::builder_empty().with_attributes([KeyValue::new("host.name", "canary")]).build();
    for (exporter, backend) in [(over_grpc, grpc), (over_http, http)] {
        let mut exporter = Enforced::new(exporter);
        exporter.set_resource(&resource);
        exporter.export(vec![dirty.clone(), lost.clone()]).await.unwrap();
        assert_eq!((exporter.dropped(), backend.accepted_spans().len()), (1, 1));
        support::assert_clean(&backend);
        let recorded = &backend.recorded()[0].body;
        assert!(!recorded.windows(6).any(|bytes| bytes == b"canary"));
    }
}

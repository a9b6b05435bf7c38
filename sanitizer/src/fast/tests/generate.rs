//! Messages that mix what is legal with what is not, in every field.

use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

use contract::{RecordKind, Rule, attr, generated};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList, any_value::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message as _;

use super::plain::MARKER;
use crate::{Policy, check, protobuf};

const ROW_ID: &str = "33ecffe2-5175-44bc-86ca-7ca871e58a48";
const TRACE_ID: [u8; 16] = 0x33ecffe2_5175_44bc_86ca_7ca871e58a48_u128.to_be_bytes();
const ADMITTED_NS: u64 = 1_787_544_000_000_000_000;
/// When the messages arrive: a minute later.
pub const NOW_NS: u64 = ADMITTED_NS + 60_000_000_000;

/// Keys that the policies add: two of texts, of a whole number, of another one, and of a truth value.
pub const ADDED_KEYS: &[&str] = &["k8s.namespace.name", "deployment.zone", "queue.depth", "spot.price", "spot.used"];

/// Texts of every kind that the log is made of, and of every kind that has no place in it. Which is which, the rule of a key says.
pub const TEXTS: &[&str] = &[
    ROW_ID,
    "63918144-2107-4e99-9119-c5edfe6f6b9b",
    "33ecffe2-5175-44bc-86ca-7ca871e58a48 corr-000001",
    "33ecffe2-5175-44bc-86ca-7ca871e58a48 63918144-2107-4e99-9119-c5edfe6f6b9b req_abc",
    "corr-000001",
    "33ecffe2",
    "sk-cxp-1b158839f8aa",
    "core-agents",
    "Core agents",
    "Aurora seat 1",
    "Команда 7 (Zürich)",
    "Pro Lite (Team)",
    "pro-lite",
    "gpt-5.4-codex",
    "upstream_rate_limited",
    "production",
    "0.142.0-alpha.1",
    "v1.2",
    "Aurora seat 1 · Core agents",
    "– · Команда 7",
    "gpt-5.4 · max · requested: ultra / priority · CI agents",
    "gpt-5.4 / default · Команда 7",
    "HTTP SSE ⚡ · Codex 0.142.0",
    "/backend-api/codex/responses ← /v1/responses · 8.4s",
    "50.1k tokens · 41k cached · $0.0331",
    "– (usage pending)",
    "quota exhausted · resets 2026-08-24 06:00:00 UTC",
    "stale_claim · upstream_status",
    contract::ABSENT,
    contract::OTHER,
    contract::DASH,
    // And what has no place.
    "",
    " ",
    "tell me a joke, please",
    "alice@example.com",
    "seat 192.0.2.7",
    "192.0.2.7",
    "2001:db8::1",
    "sk-proj-abcdefghijklmnop1234",
    "sk-cxp-1b158839f8aa-0123456789abcdefghijklmnopqrstuvwxyz",
    "4111 1111 1111 1111",
    "4111-1111-1111-1111",
    "Bearer abcdefgh1234",
    "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UifQ.sig",
    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "a\u{200b}b",
    "ſk-K",
    MARKER,
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

pub fn attribute(key: &str, text: &str) -> KeyValue {
    key_value(key, Some(Value::StringValue(text.to_owned())))
}

fn key_value(key: &str, value: Option<Value>) -> KeyValue {
    KeyValue { key: key.to_owned(), value: value.map(|value| AnyValue { value: Some(value) }), key_strindex: 0 }
}

/// For each attribute of the contract some values that pass. The reference's check says which.
static PASSING: LazyLock<Vec<Vec<Value>>> = LazyLock::new(|| {
    let passing = |attribute: &contract::Attribute| match attribute.rule {
        Rule::Text { members, .. } => {
            let texts = members.iter().chain(TEXTS).copied();
            let texts = texts.filter(|text| check::check(attribute, check::Value::Text(text)).is_ok());
            texts.map(|text| Value::StringValue(text.to_owned())).collect()
        }
        Rule::TextList { members, .. } => {
            let item = |text: &&str| AnyValue { value: Some(Value::StringValue((*text).to_owned())) };
            let list = |count| Value::ArrayValue(ArrayValue { values: members.iter().take(count).map(item).collect() });
            vec![list(0), list(1), list(2)]
        }
        Rule::Int { min, max } => vec![Value::IntValue(min), Value::IntValue(max), Value::IntValue(min + 1)],
        Rule::Double { min, max } => vec![Value::DoubleValue(min), Value::DoubleValue(max)],
        Rule::Bool => vec![Value::BoolValue(false), Value::BoolValue(true)],
    };
    generated::ATTRIBUTES.iter().map(passing).collect()
});

/// A row in which nothing has to change, with as many of its attributes as have a value here.
pub fn row() -> ExportTraceServiceRequest {
    let record = contract::Record::of(Some(RecordKind::Request));
    let attributes = record.attributes.iter().filter_map(|key| {
        if *key == attr::RECORD_KIND {
            return Some(attribute(key, RecordKind::Request.as_str()));
        }
        let at = generated::ATTRIBUTES.iter().position(|attribute| attribute.key == *key)?;
        Some(key_value(key, Some(PASSING[at].first()?.clone())))
    });
    let span = Span {
        trace_id: TRACE_ID.to_vec(),
        span_id: vec![2; 8],
        flags: 1,
        name: "POST /v1/responses".to_owned(),
        kind: 2,
        start_time_unix_nano: ADMITTED_NS,
        end_time_unix_nano: ADMITTED_NS + 5,
        attributes: attributes.collect(),
        status: Some(Status { code: 1, ..Status::default() }),
        ..Span::default()
    };
    let resource = Resource { attributes: vec![attribute(attr::SERVICE_NAME, "codex-pooler")], ..Resource::default() };
    let scope = InstrumentationScope {
        name: contract::SCOPE_NAME.to_owned(),
        version: "0.1.0".to_owned(),
        ..InstrumentationScope::default()
    };
    let schema_url = || contract::SCHEMA_URL.to_owned();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans: vec![span], schema_url: schema_url() }];
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource: Some(resource), scope_spans, schema_url: schema_url() }],
    };
    // Its texts become what follows from the rest.
    let now = UNIX_EPOCH + Duration::from_nanos(NOW_NS);
    let clean = protobuf::<ExportTraceServiceRequest>(&Policy::contract(), now, &request.encode_to_vec()).expect("a message");
    ExportTraceServiceRequest::decode(clean.encoded().as_ref()).expect("a message")
}

/// A row with one attribute changed, removed or added, and the others as they were.
fn changed_row() -> impl Strategy<Value = ExportTraceServiceRequest> {
    (any_attribute(), any::<prop::sample::Index>(), 0..4_u8, select(RecordKind::TEXTS)).prop_map(|(attribute, at, how, kind)| {
        let mut request = CLEAN_ROW.clone();
        let span = &mut request.resource_spans[0].scope_spans[0].spans[0];
        let at = at.index(span.attributes.len());
        match how {
            0 => span.attributes[at].value = attribute.value,
            1 => drop(span.attributes.remove(at)),
            2 => span.attributes.insert(at, attribute),
            _ => span
                .attributes
                .iter_mut()
                .filter(|a| a.key == attr::RECORD_KIND)
                .for_each(|a| *a = self::attribute(attr::RECORD_KIND, kind)),
        }
        request
    })
}

static CLEAN_ROW: LazyLock<ExportTraceServiceRequest> = LazyLock::new(row);

pub fn text() -> impl Strategy<Value = String> {
    prop_oneof![16 => select(TEXTS).prop_map(str::to_owned), 4 => ".{0,12}", 4 => "[ -~]{0,60}", 3 => Just(MARKER.to_owned())]
}

/// Any value, nested ones too.
pub fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => text().prop_map(Value::StringValue),
        2 => prop_oneof![any::<i64>(), -2..700_i64].prop_map(Value::IntValue),
        1 => prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY), Just(1.5)].prop_map(Value::DoubleValue),
        1 => any::<bool>().prop_map(Value::BoolValue),
        1 => prop_oneof![any::<Vec<u8>>(), Just(MARKER.into())].prop_map(Value::BytesValue),
        1 => any::<i32>().prop_map(Value::StringValueStrindex),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        let value = prop::option::weighted(0.9, inner).prop_map(|value| AnyValue { value });
        let list = prop::collection::vec(value.clone(), 0..6).prop_map(|values| Value::ArrayValue(ArrayValue { values }));
        let pair = (text(), prop::option::weighted(0.9, value)).prop_map(|(key, value)| KeyValue { key, value, key_strindex: 0 });
        let map = prop::collection::vec(pair, 0..3).prop_map(|values| Value::KvlistValue(KeyValueList { values }));
        prop_oneof![list, map]
    })
}

/// An attribute of the contract with a value that passes, or with any, or an unknown one.
fn any_attribute() -> impl Strategy<Value = KeyValue> {
    let passing = (0..generated::ATTRIBUTES.len(), any::<prop::sample::Index>()).prop_map(|(at, value)| {
        key_value(generated::ATTRIBUTES[at].key, PASSING[at].get(value.index(8) % PASSING[at].len().max(1)).cloned())
    });
    let known = select(generated::ATTRIBUTES.iter().map(|a| a.key).collect::<Vec<_>>());
    let added = prop_oneof![
        (select(ADDED_KEYS), any_value()),
        (select(&ADDED_KEYS[..2]), prop_oneof![2 => Just("production".to_owned()), 1 => text()])
            .prop_map(|(key, text)| (key, Value::StringValue(text))),
        (-9..700_i64).prop_map(|depth| (ADDED_KEYS[2], Value::IntValue(depth))),
        select(&[0.0, 1.5, 2.0, 2.1][..]).prop_map(|price| (ADDED_KEYS[3], Value::DoubleValue(price))),
        any::<bool>().prop_map(|used| (ADDED_KEYS[4], Value::BoolValue(used))),
    ]
    .prop_map(|(key, value)| key_value(key, Some(value)));
    let kind = select(RecordKind::TEXTS).prop_map(|kind| attribute(attr::RECORD_KIND, kind));
    let key = prop_oneof![4 => known.prop_map(str::to_owned), 1 => text(), 1 => "[a-z_.]{0,40}"];
    let any = (key, prop::option::weighted(0.95, any_value()), prop_oneof![20 => Just(0), 1 => any::<i32>()])
        .prop_map(|(key, value, key_strindex)| KeyValue { key_strindex, ..key_value(&key, value) });
    prop_oneof![8 => passing, 2 => kind, 4 => any, 2 => added]
}

pub fn attributes(most: usize) -> impl Strategy<Value = Vec<KeyValue>> {
    prop::collection::vec(any_attribute(), 0..most)
}

pub fn id(length_bytes: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        20 => prop::collection::vec(1..255_u8, length_bytes),
        1 => Just(vec![0; length_bytes]),
        1 => prop::collection::vec(any::<u8>(), 0..20),
        1 => Just(MARKER.into()),
    ]
}

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![20 => ADMITTED_NS..ADMITTED_NS + 1_000, 1 => any::<u64>(), 1 => NOW_NS + 3_599_999_999_990..NOW_NS + 3_600_000_000_010]
}

/// Mostly nothing, else anything.
pub fn rarely<T: std::fmt::Debug + Default + Clone>(value: impl Strategy<Value = T>) -> impl Strategy<Value = T> {
    prop_oneof![6 => Just(T::default()), 1 => value]
}

fn event() -> impl Strategy<Value = Event> {
    (any::<u64>(), text(), attributes(3), rarely(any::<u32>())).prop_map(|(time_unix_nano, name, attributes, count)| Event {
        time_unix_nano,
        name,
        attributes,
        dropped_attributes_count: count,
    })
}

fn link() -> impl Strategy<Value = Link> {
    (id(16), id(8), rarely(text()), rarely(attributes(3)), rarely(any::<u32>()), prop_oneof![0..4_u32, any::<u32>()]).prop_map(
        |(trace_id, span_id, trace_state, attributes, count, flags)| Link {
            trace_id,
            span_id,
            trace_state,
            attributes,
            dropped_attributes_count: count,
            flags,
        },
    )
}

fn span() -> impl Strategy<Value = Span> {
    let name = prop_oneof![
        4 => select(&["POST /v1/responses", "in_progress /v1/usage", "chat gpt-5.4", "correction", "internal", "GET"][..]).prop_map(str::to_owned),
        1 => text(),
    ];
    let status =
        (rarely(text()), prop_oneof![5 => 0..3_i32, 1 => any::<i32>()]).prop_map(|(message, code)| Status { message, code });
    let ids = (prop_oneof![8 => Just(TRACE_ID.to_vec()), 1 => id(16)], id(8), prop_oneof![1 => Just(Vec::new()), 2 => id(8)]);
    let head =
        (name, prop_oneof![8 => 0..6_i32, 1 => any::<i32>()], time(), time(), prop_oneof![3 => 0..0x400_u32, 1 => any::<u32>()]);
    let inside = (
        (attributes(12), prop_oneof![8 => Just(ROW_ID.to_owned()), 1 => text()], any::<prop::sample::Index>()).prop_map(
            |(mut attributes, id, at)| {
                attributes.insert(at.index(attributes.len() + 1), attribute(attr::REQUEST_ID, &id));
                attributes
            },
        ),
        rarely(prop::collection::vec(event(), 0..3)),
        rarely(prop::collection::vec(link(), 0..3)),
        prop::option::of(status),
        rarely(text()),
    );
    let counts = (rarely(any::<u32>()), rarely(any::<u32>()), rarely(any::<u32>()));
    (ids, head, inside, counts).prop_map(|(ids, head, inside, counts)| {
        let (name, kind, one, other, flags) = head;
        let (attributes, events, links, status, trace_state) = inside;
        Span {
            trace_id: ids.0,
            span_id: ids.1,
            trace_state,
            parent_span_id: ids.2,
            flags,
            name,
            kind,
            start_time_unix_nano: one.min(other),
            end_time_unix_nano: one.max(other).saturating_sub(u64::from(counts.0 > 1 << 31)),
            attributes,
            dropped_attributes_count: counts.0,
            events,
            dropped_events_count: counts.1,
            links,
            dropped_links_count: counts.2,
            status,
        }
    })
}

pub fn schema_url() -> impl Strategy<Value = String> {
    prop_oneof![2 => Just(contract::SCHEMA_URL.to_owned()), 2 => Just(String::new()), 1 => text()]
}

pub fn scope() -> impl Strategy<Value = InstrumentationScope> {
    let name = prop_oneof![3 => Just(contract::SCOPE_NAME.to_owned()), 1 => text()];
    let version = prop_oneof![3 => Just("0.1.0".to_owned()), 1 => text()];
    (name, version, rarely(attributes(3)), rarely(any::<u32>())).prop_map(|(name, version, attributes, count)| {
        InstrumentationScope { name, version, attributes, dropped_attributes_count: count }
    })
}

pub fn resource() -> impl Strategy<Value = Resource> {
    let entity = (text(), text(), prop::collection::vec(text(), 0..2)).prop_map(|(schema_url, r#type, keys)| EntityRef {
        schema_url,
        r#type,
        id_keys: keys.clone(),
        description_keys: keys,
    });
    (attributes(6), rarely(any::<u32>()), rarely(prop::collection::vec(entity, 0..3))).prop_map(
        |(attributes, dropped_attributes_count, entity_refs)| Resource { attributes, dropped_attributes_count, entity_refs },
    )
}

/// Any message.
pub fn request() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let scope_spans = (prop::option::of(scope()), prop::collection::vec(span(), 0..3), schema_url())
        .prop_map(|(scope, spans, schema_url)| ScopeSpans { scope, spans, schema_url });
    let group = (prop::option::of(resource()), prop::collection::vec(scope_spans, 0..3), schema_url())
        .prop_map(|(resource, scope_spans, schema_url)| ResourceSpans { resource, scope_spans, schema_url });
    let mixed = prop::collection::vec(group, 0..3).prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans });
    // A clean row alone is too improbable to come up by itself.
    prop_oneof![6 => mixed, 2 => changed_row(), 1 => Just(()).prop_map(|()| CLEAN_ROW.clone())]
}

//! Messages of the corpus: legal ones, each with one case's value planted in it.

use contract::attr;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use prost::Message as _;

use super::{Case, CaseSignal, Place};
use crate::otlp::{self, Row, Value, attribute};

/// Number of a field that OTLP does not have.
const UNKNOWN_FIELD: u32 = 1_999;
/// Length-delimited, in protobuf.
const LENGTH_DELIMITED: u64 = 2;
const EVENT: &str = "codex_pooler.request.started";
const SUM: &str = "codex_pooler.requests";
const DISTRIBUTION: &str = "gen_ai.client.inference.duration";

/// A case's message, in both forms.
pub struct Planted {
    /// In protobuf.
    pub protobuf: Vec<u8>,
    /// In OTLP's JSON form.
    pub json: Vec<u8>,
    /// The record's own mark: it is in every output that has the record.
    pub witness: Vec<u8>,
    /// The record's attributes as they are without the case.
    pub legal: Vec<KeyValue>,
}

fn text(text: impl Into<String>) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(text.into())) }
}

/// The message of a case. `number` is in the record's ids, so that it is found again among others.
///
/// # Panics
/// If the place is none of the signal's.
#[must_use]
pub fn planted(case: &Case, number: u32) -> Planted {
    match case.signal {
        CaseSignal::Traces => traces(case, number),
        CaseSignal::Logs => logs(case, number),
        CaseSignal::Metrics => metrics(case, number),
    }
}

/// What all signals have. `false` if the place is another one.
fn around(
    case: &Case,
    resource: &mut Resource,
    resource_url: &mut String,
    scope: &mut InstrumentationScope,
    url: &mut String,
) -> bool {
    let value = case.text();
    match case.place {
        Place::ResourceAttribute => resource.attributes.push(attribute(case.key(), value)),
        Place::ResourceSchemaUrl => *resource_url = value,
        Place::EntityRef => resource.entity_refs.push(EntityRef {
            schema_url: value.clone(),
            r#type: value.clone(),
            id_keys: vec![value.clone()],
            description_keys: vec![value],
        }),
        Place::ScopeName => scope.name = value,
        Place::ScopeVersion => scope.version = value,
        Place::ScopeAttribute => scope.attributes.push(attribute(case.key(), value)),
        Place::ScopeSchemaUrl => *url = value,
        _ => return false,
    }
    true
}

/// What everything with attributes has. `false` if the place is another one.
fn in_attributes(case: &Case, attributes: &mut Vec<KeyValue>) -> bool {
    let value = case.text();
    let mut put = |value: Value| {
        let legal = attributes.iter_mut().find(|attribute| attribute.key == case.key());
        match legal {
            Some(legal) => *legal = attribute(case.key(), value),
            None => attributes.push(attribute(case.key(), value)),
        }
    };
    match case.place {
        Place::Attribute => put(Value::StringValue(value)),
        Place::BytesAttribute => put(Value::BytesValue(value.into_bytes())),
        Place::ListAttribute => put(Value::ArrayValue(ArrayValue { values: vec![text(value)] })),
        Place::NestedAttribute => {
            let inner = KeyValue { key: value.clone(), value: Some(text(value)), key_strindex: 0 };
            let list =
                ArrayValue { values: vec![AnyValue { value: Some(Value::KvlistValue(KeyValueList { values: vec![inner] })) }] };
            let outer =
                KeyValue { key: "a".to_owned(), value: Some(AnyValue { value: Some(Value::ArrayValue(list)) }), key_strindex: 0 };
            put(Value::KvlistValue(KeyValueList { values: vec![outer] }));
        }
        Place::AttributeKey => attributes.push(attribute(&value, true)),
        Place::DuplicateAttribute => attributes.push(attribute(case.key(), value)),
        Place::DictionaryIndex => {
            attributes.push(KeyValue { key: String::new(), value: Some(text(value)), key_strindex: 1 });
            attributes.push(attribute(case.key(), Value::StringValueStrindex(1)));
        }
        _ => return false,
    }
    true
}

fn traces(case: &Case, number: u32) -> Planted {
    let row = Row::numbered(number);
    let legal = row.span();
    let mut request = otlp::request(vec![legal.clone()]);
    let group = &mut request.resource_spans[0];
    let resource = group.resource.get_or_insert_default();
    let scope_spans = &mut group.scope_spans[0];
    let scope = scope_spans.scope.get_or_insert_default();
    let span = &mut scope_spans.spans[0];
    let value = case.text();
    if !around(case, resource, &mut group.schema_url, scope, &mut scope_spans.schema_url)
        && !in_attributes(case, &mut span.attributes)
    {
        let link = |trace_id: &[u8]| Link { trace_id: trace_id.to_vec(), span_id: vec![7; 8], ..Link::default() };
        match case.place {
            Place::UnknownField => {}
            Place::SpanName | Place::NotUtf8 | Place::Truncated => span.name = value,
            Place::StatusMessage => span.status.get_or_insert_default().message = value,
            Place::TraceState => span.trace_state = format!("vendor={value}"),
            Place::EventName => span.events.push(Event { name: value, ..Event::default() }),
            Place::EventAttribute => span.events.push(Event {
                name: "exception".to_owned(),
                attributes: vec![attribute(case.key(), value)],
                ..Event::default()
            }),
            Place::LinkAttribute => span.links.push(Link { attributes: vec![attribute(case.key(), value)], ..link(&[7; 16]) }),
            Place::LinkTraceState => span.links.push(Link { trace_state: value, ..link(&[7; 16]) }),
            Place::LinkTraceId => span.links.push(link(value.as_bytes())),
            Place::ParentSpanId => span.parent_span_id = value.into_bytes(),
            Place::TraceId => span.trace_id = value.into_bytes(),
            Place::SpanId => span.span_id = value.into_bytes(),
            other => panic!("{}: {other:?} is no place of a trace message", case.id),
        }
    }
    let mut protobuf = request.encode_to_vec();
    let mut json = serde_json::to_value(&request).expect("a message has a JSON form");
    if case.place == Place::UnknownField {
        let group = &mut request.resource_spans[0];
        let mut span = group.scope_spans[0].spans.remove(0).encode_to_vec();
        span.extend(field(UNKNOWN_FIELD, case.text().as_bytes()));
        let mut scope = group.scope_spans.remove(0).encode_to_vec();
        scope.extend(field(2, &span));
        let mut resource = group.encode_to_vec();
        resource.extend(field(2, &scope));
        protobuf = field(1, &resource);
        json["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["unknownField"] = case.text().into();
    }
    let mut json = json.to_string().into_bytes();
    for message in [&mut protobuf, &mut json] {
        match case.place {
            Place::NotUtf8 => spoil(message, case.text().as_bytes()),
            Place::Truncated => drop(message.pop()),
            _ => {}
        }
    }
    Planted { protobuf, json, witness: legal.span_id, legal: legal.attributes }
}

/// Makes the last byte of a text one that is none of UTF-8.
fn spoil(message: &mut [u8], text: &[u8]) {
    let at = message.windows(text.len()).position(|window| window == text).expect("the text is in the message");
    message[at + text.len() - 1] = 0xff;
}

fn logs(case: &Case, number: u32) -> Planted {
    let row = Row::numbered(number);
    let id = otlp::id_text(&row.id);
    let legal = vec![attribute(attr::REQUEST_ID, id.as_str()), attribute(attr::UPSTREAM_ACCOUNT_LABEL, "Aurora seat 1")];
    let time = otlp::now_ms() * 1_000_000;
    let mut record = LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: time,
        severity_number: 9,
        event_name: EVENT.to_owned(),
        attributes: legal.clone(),
        ..LogRecord::default()
    };
    let (mut resource, mut scope) = resource_and_scope();
    let (mut resource_url, mut scope_url) = (contract::SCHEMA_URL.to_owned(), contract::SCHEMA_URL.to_owned());
    let value = case.text();
    if !around(case, &mut resource, &mut resource_url, &mut scope, &mut scope_url) && !in_attributes(case, &mut record.attributes)
    {
        match case.place {
            Place::BodyText => record.body = Some(text(value)),
            Place::BodyBytes => record.body = Some(AnyValue { value: Some(Value::BytesValue(value.into_bytes())) }),
            Place::BodyMap => {
                let values = vec![attribute("message", value.clone()), attribute(&value, true)];
                record.body = Some(AnyValue { value: Some(Value::KvlistValue(KeyValueList { values })) });
            }
            Place::SeverityText => record.severity_text = value,
            Place::LogEventName => record.event_name = value,
            Place::TraceId => record.trace_id = value.into_bytes(),
            Place::SpanId => record.span_id = value.into_bytes(),
            other => panic!("{}: {other:?} is no place of a log message", case.id),
        }
    }
    let scope_logs = vec![ScopeLogs { scope: Some(scope), log_records: vec![record], schema_url: scope_url }];
    let group = ResourceLogs { resource: Some(resource), scope_logs, schema_url: resource_url };
    let request = ExportLogsServiceRequest { resource_logs: vec![group] };
    let json = serde_json::to_vec(&request).expect("a message has a JSON form");
    Planted { protobuf: request.encode_to_vec(), json, witness: id.into_bytes(), legal }
}

fn metrics(case: &Case, number: u32) -> Planted {
    let slug = format!("corpus-{number}");
    let is_sum =
        !matches!(case.place, Place::HistogramAttribute | Place::ExponentialHistogramAttribute | Place::SummaryAttribute);
    let known = contract::otlp_metric(if is_sum { SUM } else { DISTRIBUTION }).expect("a metric of the contract");
    let mut legal = if is_sum {
        vec![attribute(attr::POOL_SLUG, slug.as_str())]
    } else {
        vec![attribute(attr::GEN_AI_REQUEST_MODEL, slug.as_str()), attribute(attr::GEN_AI_OPERATION_NAME, "chat")]
    };
    let unplanted = legal.clone();
    let time = otlp::now_ms() * 1_000_000;
    let (mut resource, mut scope) = resource_and_scope();
    let (mut resource_url, mut scope_url) = (contract::SCHEMA_URL.to_owned(), contract::SCHEMA_URL.to_owned());
    let mut metric = Metric {
        name: known.name.to_owned(),
        description: known.description.to_owned(),
        unit: known.unit.to_owned(),
        ..Metric::default()
    };
    let mut exemplars = Vec::new();
    let value = case.text();
    if !around(case, &mut resource, &mut resource_url, &mut scope, &mut scope_url) && !in_attributes(case, &mut legal) {
        match case.place {
            Place::MetricName => metric.name = value,
            Place::MetricDescription => metric.description = value,
            Place::MetricUnit => metric.unit = value,
            Place::MetricMetadata => metric.metadata.push(attribute(case.key(), value)),
            Place::HistogramAttribute | Place::ExponentialHistogramAttribute | Place::SummaryAttribute => {
                legal.push(attribute(case.key(), value));
            }
            Place::ExemplarAttribute => exemplars.push(Exemplar {
                filtered_attributes: vec![attribute(case.key(), value)],
                time_unix_nano: time,
                ..Exemplar::default()
            }),
            other => panic!("{}: {other:?} is no place of a metrics message", case.id),
        }
    }
    metric.data = Some(data(case.place, legal, exemplars, time));
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics: vec![metric], schema_url: scope_url }];
    let group = ResourceMetrics { resource: Some(resource), scope_metrics, schema_url: resource_url };
    let request = ExportMetricsServiceRequest { resource_metrics: vec![group] };
    let json = serde_json::to_vec(&request).expect("a message has a JSON form");
    Planted { protobuf: request.encode_to_vec(), json, witness: slug.into_bytes(), legal: unplanted }
}

/// One data point.
fn data(place: Place, attributes: Vec<KeyValue>, exemplars: Vec<Exemplar>, time_unix_nano: u64) -> Data {
    const CUMULATIVE: i32 = 2;
    let start_time_unix_nano = time_unix_nano - 1_000_000_000;
    match place {
        Place::HistogramAttribute => {
            let point = HistogramDataPoint {
                attributes,
                start_time_unix_nano,
                time_unix_nano,
                count: 1,
                sum: Some(0.5),
                bucket_counts: vec![1, 0],
                explicit_bounds: vec![1.0],
                ..HistogramDataPoint::default()
            };
            Data::Histogram(Histogram { data_points: vec![point], aggregation_temporality: CUMULATIVE })
        }
        Place::ExponentialHistogramAttribute => {
            let point = ExponentialHistogramDataPoint {
                attributes,
                start_time_unix_nano,
                time_unix_nano,
                count: 1,
                zero_count: 1,
                ..ExponentialHistogramDataPoint::default()
            };
            Data::ExponentialHistogram(ExponentialHistogram { data_points: vec![point], aggregation_temporality: CUMULATIVE })
        }
        Place::SummaryAttribute => {
            let point = SummaryDataPoint {
                attributes,
                start_time_unix_nano,
                time_unix_nano,
                count: 1,
                sum: 0.5,
                ..SummaryDataPoint::default()
            };
            Data::Summary(Summary { data_points: vec![point] })
        }
        _ => {
            let point = NumberDataPoint {
                attributes,
                start_time_unix_nano,
                time_unix_nano,
                exemplars,
                value: Some(number_data_point::Value::AsInt(1)),
                ..NumberDataPoint::default()
            };
            Data::Sum(Sum { data_points: vec![point], aggregation_temporality: CUMULATIVE, is_monotonic: true })
        }
    }
}

fn resource_and_scope() -> (Resource, InstrumentationScope) {
    let request: ExportTraceServiceRequest = otlp::request(Vec::new());
    let group = request.resource_spans.into_iter().next().expect("a group");
    let scope = group.scope_spans.into_iter().next().and_then(|scope| scope.scope);
    (group.resource.expect("a resource"), scope.expect("a scope"))
}

/// A length-delimited protobuf field.
fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(u64::from(number) << 3 | LENGTH_DELIMITED, &mut bytes);
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    bytes.extend(content);
    bytes
}

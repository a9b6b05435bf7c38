//! Runs every case of the corpus through every engine: the slow reference, the fast path, JSON, the exporter's enforcement, and the real
//! binary over each protocol.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use contract::{Signal, attr};
use opentelemetry::trace::{Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, StringValue};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use prost::Message as _;
use sanitizer::Policy;
use sanitizer::fast::{self, Fast};
use sanitizer::times::Times;
use testkit::backend::{Answer, Backend, Script, service};
use testkit::corpus::message::{Planted, planted};
use testkit::corpus::{self, Case, Expect, Place};
use testkit::leaks::Scanner;
use testkit::otlp::{self, attribute};
use testkit::send::{self, JSON, PROTOBUF};
use testkit::serve::Serve;

const BINARY: &str = env!("CARGO_BIN_EXE_pooler-otel");
/// A shorter text would be found by chance in a database.
const MIN_SCANNED_CHARS: usize = 8;

/// What comes out of an engine.
struct Output {
    /// Whether the whole message was refused. Then there is nothing else.
    is_refused: bool,
    /// All of it.
    bytes: Vec<u8>,
    /// The records in it.
    records: Vec<Record>,
}

struct Record {
    id: Vec<u8>,
    attributes: Vec<KeyValue>,
}

impl Output {
    fn decoded(signal: Signal, bytes: Vec<u8>) -> Self {
        let text_id = |attributes: &[KeyValue], keys: &[&str]| {
            let value = attributes.iter().find(|a| keys.contains(&a.key.as_str())).and_then(|a| a.value.as_ref()?.value.as_ref());
            if let Some(Value::StringValue(text)) = value { text.clone().into_bytes() } else { Vec::new() }
        };
        let record = |attributes: Vec<KeyValue>, keys: &[&str]| Record { id: text_id(&attributes, keys), attributes };
        let records = match signal {
            Signal::Traces => {
                let groups = ExportTraceServiceRequest::decode(&bytes[..]).unwrap().resource_spans.into_iter();
                let spans = groups.flat_map(|group| group.scope_spans).flat_map(|scope| scope.spans);
                spans.map(|span| Record { id: span.span_id, attributes: span.attributes }).collect()
            }
            Signal::Logs => {
                let groups = ExportLogsServiceRequest::decode(&bytes[..]).unwrap().resource_logs.into_iter();
                let records = groups.flat_map(|group| group.scope_logs).flat_map(|scope| scope.log_records);
                records.map(|log| record(log.attributes, &[attr::REQUEST_ID])).collect()
            }
            Signal::Metrics => {
                let groups = ExportMetricsServiceRequest::decode(&bytes[..]).unwrap().resource_metrics.into_iter();
                let metrics = groups.flat_map(|group| group.scope_metrics).flat_map(|scope| scope.metrics);
                let points = metrics.filter_map(|metric| metric.data).flat_map(|data| match data {
                    Data::Sum(sum) => sum.data_points.into_iter().map(|point| point.attributes).collect::<Vec<_>>(),
                    Data::Histogram(histogram) => histogram.data_points.into_iter().map(|point| point.attributes).collect(),
                    Data::ExponentialHistogram(histogram) => {
                        histogram.data_points.into_iter().map(|point| point.attributes).collect()
                    }
                    Data::Summary(summary) => summary.data_points.into_iter().map(|point| point.attributes).collect(),
                    Data::Gauge(gauge) => gauge.data_points.into_iter().map(|point| point.attributes).collect(),
                });
                points.map(|attributes| record(attributes, &[attr::POOL_SLUG, attr::GEN_AI_REQUEST_MODEL])).collect()
            }
        };
        Self { is_refused: false, bytes, records }
    }

    fn refused() -> Self {
        Self { is_refused: true, bytes: Vec::new(), records: Vec::new() }
    }

    fn contains(&self, text: &[u8]) -> bool {
        self.bytes.windows(text.len()).any(|window| window == text)
    }
}

fn text_of(attributes: &[KeyValue], key: &str) -> Option<String> {
    match attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

/// Whether the case's value became what it has to become, and nothing else changed.
fn verify(case: &Case, planted: &Planted, output: &Output) -> Result<(), &'static str> {
    if output.is_refused || case.expect == Expect::Refuse {
        let agree = output.is_refused && case.expect == Expect::Refuse;
        return if agree {
            Ok(())
        } else {
            Err(if output.is_refused { "the message was refused" } else { "the message got through" })
        };
    }
    let value = case.text();
    if output.contains(value.as_bytes()) != (case.expect == Expect::Pass) {
        return Err(if case.expect == Expect::Pass { "the value is missing" } else { "the value got through" });
    }
    // A point's pool is its own mark, and may be what the case is about.
    let is_mark = case.key.as_deref() == Some(attr::POOL_SLUG) && case.place != Place::DuplicateAttribute;
    let becomes = case.becomes.as_deref().unwrap_or(&value);
    let id = if is_mark { becomes.as_bytes() } else { &planted.witness };
    let record = output.records.iter().find(|record| record.id == id);
    if (case.expect == Expect::Drop) != record.is_none() {
        return Err(if record.is_none() { "the record is missing" } else { "the record got through" });
    }
    let Some(record) = record else { return Ok(()) };
    let mut expected = planted.legal.clone();
    let is_the_value =
        matches!(case.place, Place::Attribute | Place::BytesAttribute | Place::ListAttribute | Place::NestedAttribute);
    if let Some(key) = case.key.as_deref().filter(|_| is_the_value) {
        expected.retain(|attribute| attribute.key != key);
        match (case.expect, case.becomes.as_deref()) {
            (Expect::Pass, _) => expected.push(attribute(key, value)),
            (_, Some(text)) => expected.push(attribute(key, text)),
            (_, None) => {}
        }
        // What follows from the attribute changes with it. The error lines need not, as a dash is always true.
        let given = expected.iter().find(|attribute| attribute.key == key).cloned();
        let errors =
            planted.legal.iter().find(|attribute| attribute.key == attr::TEXT_ERRORS && key == attr::ERROR_CODE).cloned();
        testkit::composed::compose(&mut expected);
        for kept in [given, errors].into_iter().flatten() {
            expected.retain(|attribute| attribute.key != kept.key);
            expected.push(kept);
        }
        // The text to search by may have one id that no attribute has, which the row's own now is.
        if key == attr::REQUEST_CORRELATION_ID
            && let Some(search) = expected.iter_mut().find(|attribute| attribute.key == attr::REQUEST_SEARCH)
            && let Some(legal) = text_of(&planted.legal, attr::REQUEST_CORRELATION_ID)
        {
            *search = attribute(
                attr::REQUEST_SEARCH,
                format!("{} {legal}", text_of(std::slice::from_ref(search), attr::REQUEST_SEARCH).unwrap_or_default()),
            );
        }
    }
    let by_key = |list: &[KeyValue]| list.iter().map(|a| (a.key.clone(), a.value.clone())).collect::<BTreeMap<_, _>>();
    if record.attributes.len() != expected.len() || by_key(&record.attributes) != by_key(&expected) {
        return Err("other attributes than expected");
    }
    Ok(())
}

/// Name, and what it makes of a message; `None` where the case is none for it.
type Engine = (&'static str, fn(&Case, &Planted) -> Option<Output>);

const ENGINES: &[Engine] = &[
    ("reference", |case, planted| {
        (signal(case) == Signal::Traces).then(|| {
            let sanitized = sanitizer::reference::protobuf::<ExportTraceServiceRequest>(
                &Policy::contract(),
                SystemTime::now(),
                &planted.protobuf,
            );
            sanitized.map_or_else(|_| Output::refused(), |(bytes, _)| Output::decoded(Signal::Traces, bytes))
        })
    }),
    ("fast", |case, planted| {
        let (message, times) = (&planted.protobuf, Times::until(SystemTime::now()));
        match (signal(case) == Signal::Traces).then(|| fast::traces(&Policy::contract(), times, message))? {
            Err(_) => Some(Output::refused()),
            Ok(fast) => match fast {
                Fast::Clean(_) => Some(Output::decoded(Signal::Traces, planted.protobuf.clone())),
                Fast::Rewritten(bytes, _) => Some(Output::decoded(Signal::Traces, bytes.to_vec())),
                Fast::Slow => None,
            },
        }
    }),
    ("protobuf", |case, planted| Some(sanitized(signal(case), &planted.protobuf, false))),
    ("JSON", |case, planted| Some(sanitized(signal(case), &planted.json, true))),
    ("exporter", exported),
];

fn signal(case: &Case) -> Signal {
    case.signal.into()
}

fn sanitized(signal: Signal, message: &[u8], json: bool) -> Output {
    fn run<R: sanitizer::Export>(message: &[u8], json: bool) -> Output {
        let (policy, now) = (Policy::contract(), SystemTime::now());
        let sanitized =
            if json { sanitizer::json::<R>(&policy, now, message) } else { sanitizer::protobuf::<R>(&policy, now, message) };
        sanitized.map_or_else(|_| Output::refused(), |sanitized| Output::decoded(R::SIGNAL, sanitized.encoded().to_vec()))
    }
    match signal {
        Signal::Traces => run::<ExportTraceServiceRequest>(message, json),
        Signal::Logs => run::<ExportLogsServiceRequest>(message, json),
        Signal::Metrics => run::<ExportMetricsServiceRequest>(message, json),
    }
}

/// The exporter's enforcement, on the SDK's form of the span. It has no form for fields that only the wire has.
fn exported(case: &Case, planted: &Planted) -> Option<Output> {
    if signal(case) != Signal::Traces {
        return None;
    }
    let value = case.text();
    let of_case = |place: Place| if case.place == place { value.clone() } else { String::new() };
    let sdk = |attributes: &[KeyValue]| attributes.iter().map(sdk_attribute).collect::<Option<Vec<_>>>();
    let mut request = ExportTraceServiceRequest::decode(&planted.protobuf[..]).ok()?;
    let group = request.resource_spans.remove(0).scope_spans.remove(0);
    let span = group.spans.into_iter().next()?;
    let other = |attributes: Vec<opentelemetry::KeyValue>, state: &str| {
        Link::new(
            SpanContext::new(TraceId::from(7), SpanId::from(7), TraceFlags::SAMPLED, true, trace_state(state)),
            attributes,
            0,
        )
    };
    let (mut events, mut links) = (SpanEvents::default(), SpanLinks::default());
    match case.place {
        Place::SpanName
        | Place::Attribute
        | Place::AttributeKey
        | Place::DuplicateAttribute
        | Place::ListAttribute
        | Place::StatusMessage
        | Place::TraceState
        | Place::ScopeName
        | Place::ScopeVersion
        | Place::ScopeAttribute
        | Place::ScopeSchemaUrl => {}
        Place::EventName => events.events.push(Event::with_name(value.clone())),
        Place::EventAttribute => {
            let attributes = vec![opentelemetry::KeyValue::new(case.key().to_owned(), value.clone())];
            events.events.push(Event::new("exception", SystemTime::now(), attributes, 0));
        }
        Place::LinkAttribute => {
            links.links.push(other(vec![opentelemetry::KeyValue::new(case.key().to_owned(), value.clone())], ""));
        }
        Place::LinkTraceState => links.links.push(other(Vec::new(), &value)),
        _ => return None,
    }
    let scope = group.scope.unwrap_or_default();
    let scope_attributes = sdk(&scope.attributes)?;
    let time = |ns: u64| SystemTime::UNIX_EPOCH + Duration::from_nanos(ns);
    let trace_id = TraceId::from_bytes(span.trace_id.try_into().ok()?);
    let span_id = SpanId::from_bytes(span.span_id.try_into().ok()?);
    let data = SpanData {
        span_context: SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, false, trace_state(&of_case(Place::TraceState))),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Server,
        name: span.name.into(),
        start_time: time(span.start_time_unix_nano),
        end_time: time(span.end_time_unix_nano),
        attributes: sdk(&span.attributes)?,
        dropped_attributes_count: 0,
        events,
        links,
        status: if case.place == Place::StatusMessage { Status::error(value) } else { Status::Unset },
        instrumentation_scope: InstrumentationScope::builder(scope.name)
            .with_version(scope.version)
            .with_schema_url(group.schema_url)
            .with_attributes(scope_attributes)
            .build(),
    };
    let kept = exporter::enforce::span(data).ok()?;
    let attributes = kept.attributes.iter().map(proto_attribute).collect();
    let record = Record { id: kept.span_context.span_id().to_bytes().to_vec(), attributes };
    let texts = kept.attributes.iter().map(|a| format!("{}={}", a.key, a.value)).collect::<Vec<_>>().join("\n");
    Some(Output { is_refused: false, bytes: format!("{texts}\n{}\n{kept:?}", kept.name).into_bytes(), records: vec![record] })
}

fn trace_state(text: &str) -> TraceState {
    let entry = (!text.is_empty()).then_some(("vendor", text));
    // What the SDK itself refuses cannot be sent by it.
    TraceState::from_key_value(entry).unwrap_or_default()
}

fn sdk_attribute(attribute: &KeyValue) -> Option<opentelemetry::KeyValue> {
    let value: opentelemetry::Value = match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone().into(),
        Value::IntValue(n) => (*n).into(),
        Value::DoubleValue(n) => (*n).into(),
        Value::BoolValue(value) => (*value).into(),
        Value::ArrayValue(list) => {
            let texts = list.values.iter().map(|item| match item.value.as_ref()? {
                Value::StringValue(text) => Some(StringValue::from(text.clone())),
                _ => None,
            });
            opentelemetry::Value::Array(texts.collect::<Option<Vec<_>>>()?.into())
        }
        _ => return None,
    };
    Some(opentelemetry::KeyValue::new(attribute.key.clone(), value))
}

fn proto_attribute(attribute: &opentelemetry::KeyValue) -> KeyValue {
    let value: Value = match &attribute.value {
        opentelemetry::Value::I64(n) => Value::IntValue(*n),
        opentelemetry::Value::F64(n) => Value::DoubleValue(*n),
        opentelemetry::Value::Bool(value) => Value::BoolValue(*value),
        text => Value::StringValue(text.to_string()),
    };
    otlp::attribute(attribute.key.as_str(), value)
}

/// Guarantees: in every engine of the library, every case's value becomes what the case says, and everything else of its record stays as
/// it was. A case that fewer than two engines run is an error.
#[test]
fn every_case_holds_in_the_library() {
    let mut wrong = Vec::new();
    for (number, case) in (1..).zip(corpus::all()) {
        let planted = planted(&case, number);
        let mut engines = 0;
        for (name, engine) in ENGINES {
            if let Some(output) = engine(&case, &planted) {
                engines += 1;
                wrong.extend(verify(&case, &planted, &output).err().map(|error| format!("{} in {name}: {error}", case.id)));
            }
        }
        assert!(engines >= 2, "{} is run by {engines} engines", case.id);
    }
    assert!(wrong.is_empty(), "{} of the corpus:\n{}", wrong.len(), wrong.join("\n"));
}

/// Guarantees: an expectation that is wrong is seen, in every engine and case; else the other tests of the corpus would prove nothing.
#[test]
fn a_wrong_expectation_is_seen() {
    for (number, case) in (1..).zip(corpus::all()) {
        let planted = planted(&case, number);
        let expects =
            [Expect::Pass, Expect::Strip, Expect::Drop, Expect::Refuse].into_iter().filter(|expect| *expect != case.expect);
        for wrong in expects.map(|expect| Case { expect, ..case.clone() }) {
            for (name, engine) in ENGINES {
                if let Some(output) = engine(&case, &planted) {
                    assert!(
                        verify(&wrong, &planted, &output).is_err(),
                        "{} in {name} also passes as {:?}",
                        case.id,
                        wrong.expect
                    );
                }
            }
        }
    }
}

/// Guarantees: the same through the real binary, over every protocol: what is forwarded is what the case says, and no value that must not get
/// through is in any file, answer, metric or log.
#[test]
fn every_case_holds_in_the_binary() {
    const WAYS: [&str; 3] = ["grpc", PROTOBUF, JSON];
    let backend = Backend::http(Script::always(Answer::Accept));
    let folder = tempfile::tempdir().unwrap();
    let url = backend.url();
    let arguments = ["--log-level", "debug", "--forward-protocol", "http/protobuf", "--forward-endpoint", &url];
    let mut serve = Serve::start(BINARY, folder.path(), &arguments);
    let mut answers = Vec::new();
    let mut sent = Vec::new();
    let cases = corpus::all();
    for (number, (case, way)) in (1..).zip(cases.iter().flat_map(|case| WAYS.map(|way| (case, way)))) {
        let planted = planted(case, number);
        let signal = signal(case);
        let is_refused = case.expect == Expect::Refuse;
        if way == "grpc" {
            let answer = send::grpc_bytes(&serve.otlp_grpc(), service(signal), planted.protobuf.clone(), false);
            match answer {
                Err(status) if is_refused => {
                    assert_eq!(status.code() as i32, 3, "{}: {status}", case.id);
                    answers.extend(status.message().bytes());
                }
                answer => answers.extend(answer.unwrap_or_else(|status| panic!("{}: {status}", case.id))),
            }
        } else {
            let body = if way == JSON { &planted.json } else { &planted.protobuf };
            let reply = send::post(&format!("{}/v1/{signal}", serve.otlp_http()), &[("content-type", way)], body);
            assert_eq!(reply.status, if is_refused { 400 } else { 200 }, "{} as {way}: {}", case.id, reply.text());
            answers.extend(reply.everything());
        }
        if !is_refused {
            sent.push((case, way, planted));
        }
    }
    serve.assert_conserved();

    let forwarded: BTreeMap<String, Output> = Signal::ALL
        .iter()
        .map(|signal| {
            let is_of = |path: &str| path.ends_with(&format!("/{signal}"));
            // An export request has nothing but a list, so that messages one after the other are one message.
            let bytes = backend.recorded().into_iter().filter(|r| is_of(&r.path)).flat_map(|r| r.body).collect();
            (signal.to_string(), Output::decoded(*signal, bytes))
        })
        .collect();
    let wrong: Vec<String> = sent
        .iter()
        .filter_map(|(case, way, planted)| {
            let error = verify(case, planted, &forwarded[signal(case).as_str()]).err()?;
            Some(format!("{} by {way}: {error}", case.id))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of the corpus:\n{}", wrong.len(), wrong.join("\n"));

    answers.extend(send::get(&format!("{}/metrics", serve.metrics())).everything());
    let values = cases.iter().filter(|case| case.expect != Expect::Pass).map(Case::text);
    let mut scanner = Scanner::new(values.filter(|value| value.chars().count() >= MIN_SCANNED_CHARS));
    scanner.everything_of(&mut serve, folder.path(), &backend);
    scanner.bytes("an answer", &answers);
    scanner.assert_clean();
}

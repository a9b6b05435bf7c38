//! Hostile messages of growing size, through the door that every message takes. What has to hold is that the time for a byte does not grow
//! with the message.

use std::fmt::Write as _;

use bytes::Bytes;
use contract::attr;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use prost::Message as _;
use sanitizer::{Policy, Refused};

use crate::shapes::{ADMITTED_MS, Kind, Shape, any, message, text};
use crate::{ROUNDS, TURN, as_f64};

/// About so many bytes has a message.
const SIZES: [usize; 3] = [64 << 10, 512 << 10, 4 << 20];
/// A byte of the largest message may take so many times as long as one of the smallest. Work that grew with the square of the size would
/// take 64 times as long.
const MAX_GROWTH: f64 = 4.0;

/// A name, and a message of about this size.
type Attack = (&'static str, fn(usize) -> ExportTraceServiceRequest);

const ATTACKS: [Attack; 8] = [
    ("spans, nothing in them legal", |size| {
        message((0..(size / 2_600) as u64).map(|number| Shape::Row.span(number, Kind::Hostile)).collect())
    }),
    ("one text", |size| one_span(|span| span.attributes.push(text(attr::POOL_NAME, &"Team 7 ".repeat(size / 7))))),
    ("one text of near secrets", |size| {
        one_span(|span| {
            span.attributes.push(text(attr::POOL_NAME, &"sk-cxp-1b158839f8a 4111 111 a:b:c 1.2.3 ".repeat(size / 40)));
        })
    }),
    ("unknown attributes", |size| {
        one_span(|span| span.attributes = (0..size / 24).map(|at| text(&format!("key.{at:09}"), "x")).collect())
    }),
    ("one key, again and again", |size| one_span(|span| span.attributes = vec![text(attr::POOL_NAME, "Team"); size / 34])),
    ("links and events", |size| {
        one_span(|span| {
            span.links = vec![Link { trace_id: vec![1; 16], span_id: vec![1; 8], ..Link::default() }; size / 60];
            span.events = vec![Event::default(); size / 60 * 15];
        })
    }),
    ("values in values", |size| {
        one_span(|span| {
            let mut deep = AnyValue { value: Some(Value::StringValue("tell me a long long story".to_owned())) };
            for _ in 0..4 {
                deep = AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: vec![deep] })) };
            }
            let mut attribute = text("deep", "");
            attribute.value = any(Value::ArrayValue(ArrayValue { values: vec![deep; size / 46] }));
            span.attributes.push(attribute);
        })
    }),
    ("a long name", |size| {
        one_span(|span| {
            span.name.clear();
            for at in 0..size / 8 {
                let _ = write!(span.name, "POST /v{}", at % 10);
            }
        })
    }),
];

fn one_span(change: impl FnOnce(&mut opentelemetry_proto::tonic::trace::v1::Span)) -> ExportTraceServiceRequest {
    let mut span = Shape::Row.span(1, Kind::Clean);
    // Who it is; the rest is up to the attack.
    span.attributes.retain(|attribute| [attr::RECORD_KIND, attr::REQUEST_ID].contains(&attribute.key.as_str()));
    change(&mut span);
    message(vec![span])
}

/// Prints nanoseconds a byte, and holds that they do not grow.
pub fn measure(once: bool) {
    println!("\nhostile messages, ns a byte, best of {ROUNDS} rounds");
    println!("{:<30} {:>8} {:>8} {:>8} {:>8}", "", "64 KiB", "512 KiB", "4 MiB", "growth");
    for (name, attack) in ATTACKS {
        let times = SIZES.map(|size| {
            let message = Bytes::from(attack(size).encode_to_vec());
            assert!((size / 2..size * 2).contains(&message.len()), "{name}: {} bytes instead of {size}", message.len());
            let ns = (0..if once { 1 } else { ROUNDS }).map(|_| time(&message, once)).fold(f64::INFINITY, f64::min);
            ns / as_f64(message.len())
        });
        println!("{name:<30} {:>8.2} {:>8.2} {:>8.2} {:>8.1}", times[0], times[1], times[2], times[2] / times[0]);
        assert!(once || times[2] / times[0] < MAX_GROWTH, "{name}: a byte takes longer in a larger message");
    }
}

/// Nanoseconds for the message, which is hostile and still one; so something of it goes.
fn time(message: &Bytes, once: bool) -> f64 {
    let now = std::time::UNIX_EPOCH + std::time::Duration::from_millis(ADMITTED_MS + 60_000);
    let policy = Policy::contract();
    let (start, mut passes) = (std::time::Instant::now(), 0);
    while passes == 0 || (!once && start.elapsed() < TURN) {
        match sanitizer::protobuf::<ExportTraceServiceRequest>(&policy, now, message) {
            Ok(sanitized) => assert!(sanitized.report().stripped_total() > 0),
            // The largest of the nested ones has more parts than are taken.
            Err(refused) => assert_eq!(refused, Refused::TooManyParts),
        }
        passes += 1;
    }
    start.elapsed().as_secs_f64() * 1e9 / as_f64(passes)
}

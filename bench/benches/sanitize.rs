//! What sanitizing costs, per span and per byte: the fast sanitizer, the reference, prost alone, and a plain copy of the bytes, in turns
//! in one run. Every engine's result is checked before it is measured.
//!
//! `cargo bench -p codex-pooler-bench` measures; with `-- --test` each runs once.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot run must not go on")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bench::Shape;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use sanitizer::fast::{self, Fast};

/// Spans in all messages of a case; with messages of one span, so many different messages.
const SPANS: u64 = 512;
/// In every round each engine has a turn of about this length.
const TURN: Duration = Duration::from_millis(25);
const ROUNDS: usize = 15;

/// Whether the span with this number is dirty.
type IsDirty = fn(u64) -> bool;

const DIRTY: &[(&str, IsDirty)] = &[("none", |_| false), ("1 %", |number| number % 100 == 50), ("all", |_| true)];

/// Bytes in, bytes out.
type Engine = (&'static str, fn(&Bytes) -> usize);

const ENGINES: [Engine; 4] = [
    ("fast", |message| match fast::traces(&sanitizer::Policy::contract(), std::time::SystemTime::now(), message).unwrap() {
        Fast::Clean(report) => message.len() + usize::from(report.parsed_records == 0),
        Fast::Rewritten(output, _) => output.len(),
        Fast::Slow => panic!("a message of the benchmark is unusual"),
    }),
    ("reference", |message| {
        sanitizer::reference::protobuf(&sanitizer::Policy::contract(), std::time::SystemTime::now(), message).unwrap().0.len()
    }),
    ("prost", |message| ExportTraceServiceRequest::decode(&message[..]).unwrap().encode_to_vec().len()),
    ("copy", |message| black_box(message.to_vec()).len()),
];

fn main() {
    let once = std::env::args().any(|argument| argument == "--test");
    println!("{:<7} {:>9} {:>6} {:>7}  {:>30}", "", "", "", "", "ns/span, best and median");
    println!(
        "{:<7} {:>9} {:>6} {:>7}  {:>15} {:>15} {:>15} {:>15} {:>10} {:>7}",
        "shape", "spans", "dirty", "B/span", "fast", "reference", "prost", "copy", "fast GB/s", "ref/fast"
    );
    for shape in Shape::ALL {
        for spans_per_message in [1, SPANS] {
            for (name, is_dirty) in DIRTY {
                measure(shape, spans_per_message, name, *is_dirty, once);
            }
        }
    }
}

fn measure(shape: Shape, spans_per_message: u64, name: &str, is_dirty: IsDirty, once: bool) {
    let numbers: Vec<u64> = (0..SPANS).collect();
    let messages: Vec<Bytes> = numbers
        .chunks(usize::try_from(spans_per_message).unwrap())
        .map(|numbers| {
            let spans = numbers.iter().map(|number| shape.span(*number, is_dirty(*number))).collect();
            bench::message(spans).encode_to_vec().into()
        })
        .collect();
    verify(shape, &messages, numbers.iter().filter(|number| is_dirty(**number)).count() as u64);

    let bytes: usize = messages.iter().map(Bytes::len).sum();
    let mut times = [const { Vec::new() }; ENGINES.len()];
    for round in 0..if once { 1 } else { ROUNDS } {
        for at in 0..ENGINES.len() {
            // Another engine begins in every round.
            let at = (at + round) % ENGINES.len();
            times[at].push(turn(&messages, ENGINES[at].1, if once { Duration::ZERO } else { TURN }));
        }
    }
    let [fast, reference, prost, copy] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        (times[0], times[times.len() / 2])
    });
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    let bytes_per_span = bytes as f64 / SPANS as f64;
    let cell = |(best, median): (f64, f64)| format!("{best:.0} {median:.0}");
    println!(
        "{:<7} {spans_per_message:>9} {name:>6} {bytes_per_span:>7.0}  {:>15} {:>15} {:>15} {:>15} {:>10.2} {:>7.1}",
        format!("{shape:?}").to_lowercase(),
        cell(fast),
        cell(reference),
        cell(prost),
        cell(copy),
        bytes_per_span / fast.1,
        reference.1 / fast.1,
    );
}

/// Nanoseconds per span, over as many passes as fit.
#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
fn turn(messages: &[Bytes], engine: fn(&Bytes) -> usize, length: Duration) -> f64 {
    let start = Instant::now();
    let mut passes = 0;
    while passes == 0 || start.elapsed() < length {
        for message in messages {
            black_box(engine(black_box(message)));
        }
        passes += 1;
    }
    start.elapsed().as_nanos() as f64 / (passes * SPANS) as f64
}

/// Each engine does what it says: the fast one and the reference agree, and strip what is dirty and nothing else.
fn verify(shape: Shape, messages: &[Bytes], dirty_spans: u64) {
    let (mut stripped, mut accepted) = (0, 0);
    for message in messages {
        let (expected, report) =
            sanitizer::reference::protobuf(&sanitizer::Policy::contract(), std::time::SystemTime::now(), message).unwrap();
        let (output, fast_report) =
            match fast::traces(&sanitizer::Policy::contract(), std::time::SystemTime::now(), message).unwrap() {
                Fast::Clean(report) => (message.clone(), report),
                Fast::Rewritten(output, report) => (output, report),
                Fast::Slow => panic!("a message of the benchmark is unusual"),
            };
        assert_eq!(ExportTraceServiceRequest::decode(output), ExportTraceServiceRequest::decode(&expected[..]));
        assert_eq!(fast_report, report);
        let decoded = ExportTraceServiceRequest::decode(&message[..]).unwrap();
        assert_eq!(decoded.encode_to_vec(), message[..]);
        stripped += report.stripped_total();
        accepted += report.accepted_records;
    }
    assert_eq!(accepted, SPANS);
    assert_eq!(stripped, dirty_spans * shape.stripped_fields(), "{shape:?}");
}

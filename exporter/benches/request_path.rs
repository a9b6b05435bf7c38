//! What the exporter costs the caller: a request from admission to end, a stream's chunk, and a disabled exporter; beside the same spans made
//! with the plain OpenTelemetry SDK, in turns in one run. A receiver that takes everything runs in the same process.
//!
//! `cargo bench -p codex-pooler-exporter` measures; with `-- --test` each runs once.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot run must not go on")]

use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use codex_pooler_exporter::{
    Account, Admission, ApiKey, Attempt, AttemptEnd, End, Exporter, Pool, Protocol, Settlement, Terminal,
};
use codex_pooler_exporter::{lifecycle::Lifecycle, spans};
use contract::{Method, Route, Transport};
use opentelemetry::KeyValue;
use opentelemetry::trace::{Span as _, SpanKind, TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider, SpanData, SpanExporter};
use testkit::backend::{Answer, Backend, Script};
use uuid::Uuid;

/// Requests in a turn: fewer than fit the queue, so that none is dropped.
const REQUESTS: u32 = 1000;
/// Each engine has so many turns.
const ROUNDS: usize = 25;
/// Chunks of a stream in a turn, and requests of a disabled exporter.
const CHEAP: u32 = 100_000;
/// Threads that record at the same time, where several do.
const THREADS: u32 = 2;

#[derive(Debug)]
struct Nowhere;

impl SpanExporter for Nowhere {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        drop(black_box(batch));
        Ok(())
    }
}

/// What the pooler knows of a request when it arrives. Made before the clock starts: the pooler has it anyway.
fn known() -> (Admission, Attempt) {
    let pool = Pool { id: Uuid::new_v4(), slug: "core".into(), name: "Core agents".into() };
    let key = ApiKey::Key { id: Uuid::new_v4(), label: Some("CI agents".into()), prefix: Some("sk-cxp-1b158839f8aa".into()) };
    let admission = Admission {
        correlation_id: Some(Uuid::new_v4().to_string()),
        model: Some("gpt-5.4".into()),
        ..Admission::new(Uuid::new_v4(), pool, key, Method::Post, Route::BackendApiCodexResponses, Transport::HttpSse)
    };
    let account = Account { id: Some(Uuid::new_v4()), label: Some("Aurora seat 1".into()), ..Account::default() };
    (admission, Attempt { model: Some("gpt-5.4".into()), ..Attempt::new(account, Transport::HttpSse) })
}

fn ours(exporter: &Exporter, (admission, attempt): (Admission, Attempt)) {
    let request = exporter.admit(admission).dispatch();
    let attempt = request.attempt(attempt);
    attempt.finish(AttemptEnd { http_status: Some(200), ..AttemptEnd::of(Terminal::Completed) });
    request.settle(Settlement::Unknown);
    drop(request.finish(End { http_status: Some(200), ..End::completed() }));
}

/// The attributes of the three spans, as the contract wants them.
struct Wanted {
    row: Vec<KeyValue>,
    attempt: Vec<KeyValue>,
    marker: Vec<KeyValue>,
}

impl Wanted {
    fn of(lifecycle: &Lifecycle) -> Self {
        let mut spans = spans::finished(lifecycle);
        let attempt = spans.remove(1).attributes;
        let marker = spans::marker(lifecycle, 0, SystemTime::now()).attributes;
        Self { row: spans.remove(0).attributes, attempt, marker }
    }
}

/// The same three spans with the plain SDK: the texts are composed already, only their copies are made.
fn plain(tracer: &SdkTracer, wanted: &Wanted) {
    let start = |name: &'static str, kind, attributes: &[KeyValue]| {
        tracer.span_builder(name).with_kind(kind).with_attributes(attributes.to_vec())
    };
    let marker = start("in_progress", SpanKind::Internal, &wanted.marker);
    tracer.build_with_context(marker, &opentelemetry::Context::new()).end();
    let row = tracer.build_with_context(start("request", SpanKind::Server, &wanted.row), &opentelemetry::Context::new());
    let context = opentelemetry::Context::new().with_span(row);
    tracer.build_with_context(start("attempt", SpanKind::Client, &wanted.attempt), &context).end();
    context.span().end();
}

/// Nanoseconds that each call takes over one turn, and for how many of them it had a processor. The difference is other programs' and the exporter's
/// own threads' time.
#[derive(Clone, Copy)]
struct Took {
    elapsed: f64,
    on_processor: f64,
}

impl Took {
    const NOTHING: Self = Self { elapsed: 0.0, on_processor: 0.0 };

    fn or_longer(self, other: Self) -> Self {
        Self { elapsed: self.elapsed.max(other.elapsed), on_processor: self.on_processor.max(other.on_processor) }
    }
}

fn per_call(calls: u32, mut turn: impl FnMut()) -> Took {
    let (started, had) = (Instant::now(), processor_time());
    turn();
    let (had, elapsed) = (processor_time().saturating_sub(had), started.elapsed());
    let each = |time: Duration| time.as_secs_f64() * 1e9 / f64::from(calls);
    Took { elapsed: each(elapsed), on_processor: each(had) }
}

/// For how long this thread has had a processor; nothing where the system does not say.
fn processor_time() -> Duration {
    #[cfg(unix)]
    return Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime)).unwrap();
    #[cfg(not(unix))]
    Duration::ZERO
}

fn enabled_turn(exporter: &Exporter, threads: u32) -> Took {
    // Every thread its own requests, so that only what they share slows them down.
    let mut shares: Vec<Vec<_>> = (0..threads).map(|_| (0..REQUESTS / threads).map(|_| known()).collect()).collect();
    let time = if let [share] = &mut shares[..] {
        per_call(REQUESTS, || share.drain(..).for_each(|known| ours(exporter, known)))
    } else {
        let barrier = std::sync::Barrier::new(shares.len());
        let run = |mut share: Vec<_>| {
            barrier.wait();
            per_call(REQUESTS / threads, || share.drain(..).for_each(|known| ours(exporter, known)))
        };
        let run = &run;
        let times: Vec<Took> = std::thread::scope(|scope| {
            let threads: Vec<_> = shares.into_iter().map(|share| scope.spawn(move || run(share))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        times.into_iter().fold(Took::NOTHING, Took::or_longer)
    };
    exporter.flush();
    time
}

fn main() {
    let once = std::env::args().any(|argument| argument == "--test");
    let backend = Backend::http(Script::always(Answer::Accept));
    let exporter = Exporter::builder().endpoint(backend.url()).protocol(Protocol::HttpProtobuf).build().unwrap();
    let disabled = Exporter::disabled();
    let batch = BatchConfigBuilder::default().with_max_queue_size(8192).build();
    let processor = BatchSpanProcessor::builder(Nowhere).with_batch_config(batch).build();
    let provider = SdkTracerProvider::builder().with_span_processor(processor).build();
    let tracer = provider.tracer("plain");
    let finished = finished();
    let wanted = Wanted::of(&finished);

    let mut table: [(&str, Vec<Took>); 7] = [
        ("request, one thread", Vec::new()),
        ("request, two threads", Vec::new()),
        ("chunk of a stream", Vec::new()),
        ("request, disabled", Vec::new()),
        ("plain SDK, the same spans", Vec::new()),
        ("(composing the spans)", Vec::new()),
        ("(the clock, twice)", Vec::new()),
    ];
    for _ in 0..if once { 1 } else { ROUNDS } {
        let times = [
            enabled_turn(&exporter, 1),
            enabled_turn(&exporter, THREADS),
            {
                let request = exporter.admit_at(known().0, SystemTime::now()).dispatch();
                let mut open = request.attempt(known().1);
                per_call(CHEAP, || (0..CHEAP).for_each(|_| black_box(&mut open).output()))
            },
            per_call(CHEAP, || {
                for _ in 0..CHEAP {
                    let request = black_box(&disabled).admit_with(|| known().0).dispatch();
                    let attempt = request.attempt_with(|| known().1);
                    attempt.finish_with(|| AttemptEnd::of(Terminal::Completed));
                    black_box(request.finish_with(End::completed));
                }
            }),
            per_call(REQUESTS, || (0..REQUESTS).for_each(|_| plain(&tracer, &wanted))),
            // The other thread's share, which would be the caller's if spans were queued.
            per_call(REQUESTS, || {
                for _ in 0..REQUESTS {
                    black_box((spans::finished(&finished), spans::marker(&finished, 0, finished.admitted_at)));
                }
            }),
            per_call(CHEAP, || {
                for _ in 0..CHEAP {
                    black_box((SystemTime::now(), Instant::now()));
                }
            }),
        ];
        // What was queued goes out before the next turn.
        provider.force_flush().unwrap();
        for ((_, all), time) in table.iter_mut().zip(times) {
            all.push(time);
        }
    }
    println!("{:<28} {:>22}   {:>22}", "ns per call", "elapsed", "on a processor");
    println!("{:<28} {:>10} {:>11}   {:>10} {:>11}", "", "best", "median", "best", "median");
    for (name, times) in table {
        let sorted = |part: fn(&Took) -> f64| {
            let mut parts: Vec<f64> = times.iter().map(part).collect();
            parts.sort_by(f64::total_cmp);
            (parts[0], parts[parts.len() / 2])
        };
        let (elapsed, on_processor) = (sorted(|took| took.elapsed), sorted(|took| took.on_processor));
        println!("{name:<28} {:>10.1} {:>11.1}   {:>10.1} {:>11.1}", elapsed.0, elapsed.1, on_processor.0, on_processor.1);
    }
    let totals = exporter.shutdown_within(Duration::from_secs(60));
    assert_eq!((totals.dropped(), totals.queued), (0, 0), "nothing may be faster for being dropped: {totals:?}");
}

fn finished() -> Lifecycle {
    let (admission, attempt) = known();
    let mut lifecycle = Lifecycle::new(admission, SystemTime::now());
    lifecycle.attempts.push(Attempt { end: Some(AttemptEnd::of(Terminal::Completed)), ..attempt });
    lifecycle.settlement = Settlement::Unknown;
    lifecycle.end = Some(End::completed().into());
    lifecycle
}

//! The exporter's account: emitted = exported + dropped + queued at every moment, with many threads, with a receiver that refuses for a while,
//! and beyond the queue's bound; and what is said to be exported is what has arrived.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use codex_pooler_exporter::{AttemptEnd, End, Exporter, Protocol, Rejection, Settlement, Terminal, Totals};
use support::{admission, assert_clean, attempt, connected};
use testkit::backend::{Answer, Backend, Script};
use testkit::{DEADLINE, wait_for};

/// Threads that record at the same time.
const THREADS: u64 = 4;
/// Requests that each of them records: with three spans each, they all fit the queue.
const REQUESTS: u64 = 400;
/// Spans that wait at most, as documented.
const MAX_QUEUED: u64 = 8192;
/// Spans of a message at most, as documented.
const MAX_BATCH: u64 = 512;

#[track_caller]
fn assert_balanced(totals: Totals) {
    assert_eq!(totals.emitted, totals.exported + totals.dropped() + totals.queued, "{totals:?}");
}

/// Marker, row and attempt.
fn three_spans(exporter: &Exporter) {
    let request = exporter.admit(admission()).dispatch();
    request.attempt(attempt("seat 1")).finish(AttemptEnd::of(Terminal::Completed));
    request.settle(Settlement::Unknown);
    request.finish(End::completed());
}

fn one_span(exporter: &Exporter) {
    exporter.admit_at(admission(), SystemTime::now()).reject(Rejection::new("policy_denied", 403));
}

/// How many different spans were accepted.
fn arrived(backend: &Backend) -> u64 {
    let spans = backend.accepted_spans();
    let different: HashSet<_> = spans.iter().map(|span| (span.trace_id.clone(), span.span_id.clone())).collect();
    assert_eq!(different.len(), spans.len(), "none twice");
    spans.len() as u64
}

/// Guarantees: while several threads record and the exporter sends, every reading of the counters adds up, from whichever thread; nothing that
/// fits the queue is lost, and what is counted has arrived, once.
#[test]
fn counters_add_up_while_threads_push() {
    let (backend, exporter) = connected();
    let recording = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut last = Totals::default();
            while recording.load(Ordering::Relaxed) {
                let now = exporter.totals();
                assert_balanced(now);
                assert!(now.emitted >= last.emitted && now.exported >= last.exported, "counters only grow: {last:?} {now:?}");
                last = now;
            }
        });
        let writers: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    for number in 0..REQUESTS {
                        three_spans(&exporter);
                        if number % 100 == 0 {
                            assert_balanced(exporter.flush_within(Duration::from_millis(1)));
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        recording.store(false, Ordering::Relaxed);
        reader.join().unwrap();
    });
    let all = 3 * THREADS * REQUESTS;
    assert_eq!(exporter.shutdown(), Totals { emitted: all, exported: all, ..Totals::default() });
    assert_eq!(arrived(&backend), all);
    assert_clean(&backend);
}

/// Guarantees: the same when the exporter is shut down in the middle of it: what came too late is counted as that, and the rest has arrived.
#[test]
fn counters_add_up_when_threads_outlive_the_exporter() {
    let (backend, exporter) = connected();
    let totals = std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..REQUESTS).for_each(|_| three_spans(&exporter)));
        }
        wait_for("some spans to be recorded", || (exporter.totals().emitted > REQUESTS).then_some(()));
        let totals = exporter.shutdown();
        assert_balanced(totals);
        totals
    });
    let after = exporter.totals();
    assert_eq!((after.emitted, after.queued, after.exported), (3 * THREADS * REQUESTS, 0, totals.exported));
    assert_eq!(after.dropped(), after.dropped_shutdown);
    assert_balanced(after);
    assert_eq!(arrived(&backend), after.exported);
}

/// Guarantees: with a receiver that refuses for a while, recording goes on up to the queue's bound, and what is beyond is dropped and counted;
/// as soon as it takes again, all that was within the bound arrives, once.
#[test]
fn within_the_bound_nothing_is_lost_while_the_receiver_refuses() {
    for (protocol, start) in [(Protocol::HttpProtobuf, Backend::http as fn(Script) -> Backend), (Protocol::Grpc, Backend::grpc)] {
        let backend = start(Script::always(Answer::Refuse(503)));
        let exporter = Exporter::builder().endpoint(backend.url()).protocol(protocol).build().unwrap();
        one_span(&exporter);
        wait_for("the first refusal", || (!backend.recorded().is_empty()).then_some(()));
        let beyond = 100;
        for _ in 0..MAX_QUEUED + beyond {
            one_span(&exporter);
            assert_balanced(exporter.totals());
        }
        let full = exporter.totals();
        // The message on its way has its first span, which waits in it and not in the queue.
        assert_eq!((full.exported, full.queued, full.dropped()), (0, MAX_QUEUED + 1, beyond), "{protocol:?}");
        assert!(full.queued <= MAX_QUEUED + MAX_BATCH && full.dropped_queue_full == beyond);
        backend.follow(Script::always(Answer::Accept));

        let all = MAX_QUEUED + 1;
        let expected = Totals { emitted: all + beyond, exported: all, dropped_queue_full: beyond, ..Totals::default() };
        assert_eq!(exporter.shutdown_within(DEADLINE), expected, "{protocol:?}");
        assert_eq!(arrived(&backend), all, "{protocol:?}");
    }
}

//! The account of the queue: what fits, what is dropped, what is waited for.

use std::sync::mpsc;

use super::*;
use crate::lifecycle::{End, Lifecycle};
use crate::{spans, testing};

fn queue() -> Queue {
    Queue::new(Bounds::default(), Clock::new(Duration::from_secs(15), Duration::from_secs(30)))
}

fn spans(count: usize) -> Vec<SpanData> {
    let marker = spans::marker(&Lifecycle::new(testing::admission(), testing::at()), 0, testing::at());
    vec![marker; count]
}

fn push_each(queue: &Queue, count: usize) {
    for span in spans(count) {
        queue.push(Job::Spans(vec![span]));
    }
}

fn balanced(totals: Totals) -> bool {
    totals.emitted == totals.exported + totals.dropped() + totals.queued
}

/// Takes everything, and says with the number of each batch what becomes of it.
fn drain(queue: &Queue, mut fate: impl FnMut(usize) -> Settled) {
    while let Some(batch) = queue.next_batch() {
        queue.settle(fate(batch.iter().map(Job::spans).sum()));
    }
}

/// Guarantees: a full queue drops and counts, it does not wait; and the account is balanced before, while and after it is drained,
/// whatever becomes of the spans.
#[test]
fn a_full_queue_drops_and_counts() {
    let queue = queue();
    push_each(&queue, MAX_QUEUED + 3);
    let full = queue.totals();
    assert_eq!((full.emitted, full.queued, full.dropped_queue_full), (MAX_QUEUED as u64 + 3, MAX_QUEUED as u64, 3));
    queue.close();
    let mut batches = 0;
    drain(&queue, |spans| {
        assert!(spans <= MAX_BATCH && balanced(queue.totals()));
        batches += 1;
        match batches % 4 {
            0 => Settled { exported: spans - 1, rejected: 1, ..Settled::default() },
            1 => Settled { exhausted: spans, ..Settled::default() },
            2 => Settled { invalid: spans, ..Settled::default() },
            _ => Settled { shutdown: spans, ..Settled::default() },
        }
    });
    let drained = queue.totals();
    assert!(balanced(drained) && drained.queued == 0 && drained.dropped_rejected == 4, "{drained:?}");
}

/// Guarantees: a row goes with all its attempts or not at all, so that nobody sees half of a request.
#[test]
fn a_row_is_whole_or_dropped() {
    let queue = queue();
    push_each(&queue, MAX_QUEUED - 1);
    queue.push(Job::Spans(spans(2)));
    assert_eq!((queue.totals().queued, queue.totals().dropped_queue_full), (MAX_QUEUED as u64 - 1, 2));
}

/// Guarantees: a producer that waits for room loses nothing, however much it has.
#[test]
fn waiting_for_room_loses_nothing() {
    let queue = queue();
    let all = MAX_QUEUED as u64 * 2 + 1;
    std::thread::scope(|scope| {
        scope.spawn(|| drain(&queue, |exported| Settled { exported, ..Settled::default() }));
        for span in spans(MAX_QUEUED * 2 + 1) {
            queue.push_waiting(vec![span]);
        }
        queue.shutdown(Duration::from_secs(60));
    });
    assert_eq!(queue.totals(), Totals { emitted: all, exported: all, ..Totals::default() });
}

/// Guarantees: a shutdown that cannot wait drops what is left and asks for the message on its way, counts both, and what comes later is
/// counted as well.
#[test]
fn shutdown_counts_what_it_leaves() {
    let queue = queue();
    let (started, has_started) = mpsc::channel();
    std::thread::scope(|scope| {
        let queue = &queue;
        scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            drain(queue, |spans| {
                started.send(()).unwrap();
                runtime.block_on(queue.abandon.notified());
                Settled { shutdown: spans, ..Settled::default() }
            });
        });
        push_each(queue, MAX_BATCH + 5);
        has_started.recv().unwrap();
        let totals = queue.shutdown(Duration::from_millis(1));
        assert_eq!((totals.queued, totals.dropped_shutdown), (0, MAX_BATCH as u64 + 5));
        queue.push(Job::Spans(spans(1)));
    });
    let expected = Totals { emitted: MAX_BATCH as u64 + 6, dropped_shutdown: MAX_BATCH as u64 + 6, ..Totals::default() };
    assert_eq!(queue.totals(), expected);
}

/// Guarantees: a row that is held goes out when the queue is closed, and what is watched or held is let go of.
#[test]
fn closing_records_what_is_held() {
    let queue = queue();
    let mut lifecycle = Lifecycle::new(testing::admission(), testing::at());
    lifecycle.attempts.push(testing::attempt());
    let open = Arc::new(Open::new(lifecycle));
    assert!(open.end(End::completed().into()) && queue.clock.hold(&open));
    assert_eq!(queue.totals().queued, 0);
    queue.close();
    assert_eq!(queue.totals().queued, 2);
    queue.clock.run(&queue);
    assert!(!queue.clock.hold(&open), "and the clock has stopped");
}

/// Guarantees: when very many requests end at once, their rows take the place of markers that still wait: a request that nobody would hear of
/// again would look open for ever. The account stays balanced.
#[test]
fn rows_displace_markers() {
    let queue = queue();
    let open = Arc::new(Open::new(Lifecycle::new(testing::admission(), testing::at())));
    for sequence in (0_u32..).take(MAX_QUEUED) {
        queue.push(Job::Marker { open: Arc::clone(&open), sequence, at: testing::at() });
    }
    push_each(&queue, MAX_QUEUED);
    let totals = queue.totals();
    assert!(balanced(totals), "{totals:?}");
    assert_eq!((totals.queued, totals.dropped_queue_full), (MAX_QUEUED as u64, MAX_QUEUED as u64));
    queue.close();
    let mut rows = 0;
    while let Some(batch) = queue.next_batch() {
        rows += batch.iter().filter(|job| matches!(job, Job::Spans(_))).count();
        queue.settle(Settled { exported: batch.iter().map(Job::spans).sum(), ..Settled::default() });
    }
    assert_eq!(rows, MAX_QUEUED);
}

/// Guarantees: what a handle prints for debugging holds nothing of what any caller recorded, and stays small; and the longest wait is no panic.
#[test]
fn debugging_prints_no_one_elses_requests() {
    let queue = queue();
    let open = Arc::new(Open::new(Lifecycle::new(testing::admission(), testing::at())));
    queue.push(Job::Marker { open: Arc::clone(&open), sequence: 0, at: testing::at() });
    let text = format!("{queue:?} {open:?}");
    assert!(!text.contains("CI agents") && !text.contains("core") && text.len() < 1000, "{text}");
    let queue = Queue::new(Bounds::default(), Clock::new(Duration::from_secs(15), Duration::MAX));
    assert_eq!(queue.flush(Duration::MAX).queued, 0);
}

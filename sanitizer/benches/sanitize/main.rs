//! What sanitizing costs: per span and per byte, in allocations, and for hostile messages of growing size. Every engine's result is checked
//! before it is measured.
//!
//! `cargo bench -p codex-pooler-sanitizer --bench sanitize` measures; with `-- --test` everything runs once, with `-- hostile`
//! only what hostile messages of growing size cost, with `-- metrics` only what metrics cost, with the name of a shape only that
//! one, in messages of 512 spans; with `profile` besides, only the fast sanitizer, for a profiler to look at.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot run must not go on")]

mod engines;
mod hostile;
mod metrics;
mod shapes;

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message as _;

use self::engines::{ENGINES, Engine};
use self::shapes::{Kind, Shape, message};

/// Spans in a message.
const BATCHES: [u64; 3] = [1, 512, 8_192];
/// Spans in all messages of a case at least; with messages of one span, so many different messages.
const MIN_SPANS: u64 = 512;
/// In every round each engine has a turn of at least this length: short, so that on a busy machine some of them are not interrupted.
const TURN: Duration = Duration::from_millis(2);
/// Rounds of a case; fewer, but not below the least, once it has taken too long.
const ROUNDS: usize = 25;
const MIN_ROUNDS: usize = 3;
const MAX_CASE: Duration = Duration::from_millis(2_500);

fn main() {
    let asked = |word: &str| std::env::args().any(|argument| argument == word);
    let once = asked("--test");
    if asked("hostile") {
        hostile::measure(once);
        return;
    }
    if asked("metrics") {
        metrics::measure(once);
        return;
    }
    println!("ns a span, best of {ROUNDS} rounds; allocations a message");
    println!(
        "{:<6} {:>5} {:<7} {:>6} {:>8} {:>9} {:>8} {:>7} {:>7} {:>6} {:>8} {:>9} {:>9} {:>7} {:>7}",
        "shape",
        "spans",
        "dirty",
        "B/span",
        "fast",
        "reference",
        "prost",
        "walk",
        "copy",
        "GB/s",
        "ref/fast",
        "fast/copy",
        "walk/copy",
        "allocs",
        "ref"
    );
    if Shape::ALL.into_iter().any(|shape| asked(&name(shape))) {
        for shape in Shape::ALL.into_iter().filter(|shape| asked(&name(*shape))) {
            for kind in Kind::ALL {
                measure(shape, MIN_SPANS, kind, once);
            }
        }
        return;
    }
    for shape in Shape::ALL {
        for batch in BATCHES {
            for kind in Kind::ALL {
                measure(shape, batch, kind, once);
            }
        }
    }
    metrics::measure(once);
    hostile::measure(once);
}

fn name(shape: Shape) -> String {
    format!("{shape:?}").to_lowercase()
}

fn measure(shape: Shape, batch: u64, kind: Kind, once: bool) {
    let numbers: Vec<u64> = (0..batch.max(MIN_SPANS)).collect();
    let messages: Vec<Bytes> = numbers
        .chunks(usize::try_from(batch).unwrap())
        .map(|numbers| message(numbers.iter().map(|number| shape.span(*number, kind)).collect()).encode_to_vec().into())
        .collect();
    let stripped = numbers.iter().map(|number| shape.stripped_fields(*number, kind)).sum();
    engines::verify(&messages, numbers.len() as u64, stripped);

    let bytes: usize = messages.iter().map(Bytes::len).sum();
    let best = best(&messages, &ENGINES, once).map(|ns| ns / as_f64(numbers.len()));
    let bytes_per_span = as_f64(bytes) / as_f64(numbers.len());
    let [fast, reference, prost, walk, copy] = best;
    let allocations = |engine: Engine| allocation_counter::measure(|| _ = black_box((engine.1)(&messages[0]))).count_total;
    println!(
        "{:<6} {batch:>5} {:<7} {bytes_per_span:>6.0} {fast:>8.0} {reference:>9.0} {prost:>8.0} {walk:>7.1} {copy:>7.1} {:>6.2} {:>8.1} {:>9.1} {:>9.1} {:>7} {:>7}",
        name(shape),
        kind.name(),
        bytes_per_span / fast,
        reference / fast,
        fast / copy,
        walk / copy,
        allocations(ENGINES[0]),
        allocations(ENGINES[1]),
    );
}

/// The best time of each engine for one pass over the messages, in nanoseconds. The engines take turns, and another begins in every round.
fn best<const N: usize>(messages: &[Bytes], engines: &[Engine; N], once: bool) -> [f64; N] {
    let mut best = [f64::INFINITY; N];
    let start = Instant::now();
    for round in 0..if once { 1 } else { ROUNDS } {
        if round >= MIN_ROUNDS && start.elapsed() > MAX_CASE {
            break;
        }
        let only_fast = std::env::args().any(|argument| argument == "profile");
        for at in 0..N {
            let at = if only_fast { 0 } else { (at + round) % N };
            best[at] = best[at].min(turn(messages, engines[at], if once { Duration::ZERO } else { TURN }));
        }
    }
    best
}

/// Nanoseconds a pass, over as many passes as fit.
fn turn(messages: &[Bytes], engine: Engine, length: Duration) -> f64 {
    let start = Instant::now();
    let mut passes = 0;
    while passes == 0 || start.elapsed() < length {
        for message in messages {
            black_box((engine.1)(black_box(message)));
        }
        passes += 1;
    }
    start.elapsed().as_secs_f64() * 1e9 / as_f64(passes)
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
fn as_f64(n: usize) -> f64 {
    n as f64
}

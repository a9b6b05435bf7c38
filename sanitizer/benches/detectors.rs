//! What the detectors cost: on the texts that a sanitizer keeps of the example rows, where it has to be next to nothing, and on hostile texts of
//! growing length, where it has to grow no faster than they do.
//!
//! `cargo bench -p codex-pooler-sanitizer --bench detectors` measures; with `-- --test` it runs everything once. It fails where a verdict is
//! wrong, and, when it measures, where a bound is broken.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot run must not go on")]
#![allow(clippy::cast_precision_loss, reason = "small numbers")]

#[path = "sanitize/shapes.rs"]
#[allow(dead_code, reason = "the other benchmark uses the rest")]
mod shapes;

use std::hint::black_box;
use std::time::{Duration, Instant};

use contract::Rule;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use sanitizer::looks_secret;

use self::shapes::{Kind, Shape};

/// Rows whose texts are looked at.
const ROWS: u64 = 512;
/// Kept texts are looked at as fast as this at least, in gigabytes a second: a bound against getting slower. The goal is 2.
const MIN_GB_PER_S: f64 = 0.15;
const ROUNDS: usize = 15;
const TURN: Duration = Duration::from_millis(25);
/// Lengths of the hostile texts, in bytes.
const SIZES: [usize; 3] = [1 << 10, 8 << 10, 64 << 10];
/// A byte of the longest text may cost so many times what one of the shortest costs.
const MAX_GROWTH: f64 = 3.0;

/// Pieces that make each detector begin, and none of them find anything, when they are repeated.
const HOSTILE: &[(&str, &str)] = &[
    ("words", "Aurora seat "),
    ("starts of keys", "sk-ghp_eyJ-AKIA hf_ba-be "),
    ("starts of JWTs", "eyJh-"),
    ("digits apart", "4 1 9 7 "),
    ("digits", "1234567890 x"),
    ("numbers with dots", "1.2.300."),
    ("colons", "a:b:12345:"),
    ("dashes", "1-2-3000-"),
    ("at signs", "@ "),
    ("bearer", "bearer  "),
    ("percent", "%25"),
    ("backslashes", "\\u005c"),
    ("entities", "&amp;"),
    ("base64 of base64", "VTJWaGRDQnpaV0YwSUhObFlYUWc "),
    ("zero width", "a\u{200b}"),
    ("full width", "ａ "),
    ("marks", "a\u{301}\u{301}\u{301}"),
    ("alphabets", "ЖоKо "),
    ("long characters", "\u{fdfa} "),
    ("signs", "1:2/3+"),
];

fn main() {
    let once = std::env::args().any(|argument| argument == "--test");
    kept_texts(once);
    hostile_texts(once);
}

/// The texts that no closed set decides: those are what the detectors are asked about.
fn kept() -> Vec<String> {
    let texts = (0..ROWS).flat_map(|number| Shape::Row.span(number, Kind::Clean).attributes).filter_map(|attribute| {
        let Rule::Text { members, pattern: Some(_), .. } = contract::attribute(&attribute.key).unwrap().rule else { return None };
        match attribute.value?.value? {
            Value::StringValue(text) if !members.contains(&text.as_str()) => Some(text),
            _ => None,
        }
    });
    texts.collect()
}

fn kept_texts(once: bool) {
    let texts = kept();
    assert!(texts.len() > 5_000, "the rows have fewer texts than expected");
    let bytes: usize = texts.iter().map(String::len).sum();
    let count = || texts.iter().filter(|text| looks_secret(black_box(text))).count();
    assert_eq!(count(), 0, "a text of an honest row is taken for a secret");
    let best = best(once, || {
        black_box(count());
    });
    let speed = bytes as f64 / best;
    println!(
        "kept texts: {} of {:.1} bytes, {:.1} ns each, {speed:.2} GB/s",
        texts.len(),
        bytes as f64 / texts.len() as f64,
        best / texts.len() as f64
    );
    assert!(once || speed >= MIN_GB_PER_S, "slower than {MIN_GB_PER_S} GB/s");
}

fn hostile_texts(once: bool) {
    println!("{:<18} {:>10} {:>10} {:>10}  ns/byte at 1, 8 and 64 KiB", "hostile", "", "", "");
    for (name, piece) in HOSTILE {
        let costs = SIZES.map(|size| {
            let text = piece.repeat(size / piece.len());
            let expected = looks_secret(&text);
            best(once, || assert_eq!(looks_secret(black_box(&text)), expected)) / text.len() as f64
        });
        println!("{name:<18} {:>10.2} {:>10.2} {:>10.2}", costs[0], costs[1], costs[2]);
        assert!(once || costs[2] < costs[0] * MAX_GROWTH + 1.0, "{name}: the cost grows faster than the text");
    }
}

/// Best time of a run, in nanoseconds.
fn best(once: bool, run: impl Fn()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..if once { 1 } else { ROUNDS } {
        let start = Instant::now();
        let mut runs = 0_u32;
        while runs == 0 || (!once && start.elapsed() < TURN) {
            run();
            runs += 1;
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(runs));
    }
    best
}

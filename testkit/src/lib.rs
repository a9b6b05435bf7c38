//! What tests of the whole system share: OTLP messages, clean and dirty; senders; the real binary; a scripted fake backend; the leak
//! scanner; the conservation check. For tests only.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]
#![allow(clippy::missing_panics_doc, reason = "everything here panics where the test has to fail")]

pub mod backend;
pub mod composed;
pub mod corpus;
pub mod dirty;
pub mod leaks;
pub mod metrics;
pub mod otlp;
pub mod send;
pub mod serve;
pub mod tempo;

use std::time::{Duration, Instant};

/// Time that anything in a test may take, on a slow and busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// Pause between two looks at a condition.
const POLL: Duration = Duration::from_millis(20);

/// Waits until `ready` gives a value.
///
/// # Panics
/// After [`DEADLINE`], with `what` did not happen.
pub fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain for: {what}");
        std::thread::sleep(POLL);
    }
}

//! Sends markers for open requests, from one thread for all of them.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use uuid::Uuid;

use crate::lifecycle::Lifecycle;
use crate::{queue::Queue, spans};

/// Open requests that send heartbeats at most. Beyond it a request is still recorded, and sends its first marker only.
const MAX_OPEN: usize = 65_536;
/// How often the thread looks what is due: this many times in an interval.
const TICKS_PER_INTERVAL: u32 = 15;

#[derive(Debug)]
pub(crate) struct Heartbeats {
    interval: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    open: HashMap<Uuid, Open>,
    stopped: bool,
}

#[derive(Debug)]
struct Open {
    lifecycle: Arc<Mutex<Lifecycle>>,
    next_sequence: u32,
    due: Instant,
}

impl Heartbeats {
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, state: Mutex::default(), changed: Condvar::new() }
    }

    pub(crate) const fn interval(&self) -> Duration {
        self.interval
    }

    /// The first marker goes out at the next look, the others every interval.
    pub(crate) fn start(&self, request_id: Uuid, lifecycle: Arc<Mutex<Lifecycle>>) {
        let mut state = self.lock();
        if state.open.len() < MAX_OPEN {
            state.open.insert(request_id, Open { lifecycle, next_sequence: 1, due: Instant::now() + self.interval });
            self.changed.notify_all();
        }
    }

    pub(crate) fn end(&self, request_id: Uuid) {
        self.lock().open.remove(&request_id);
    }

    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Runs until stopped.
    pub(crate) fn run(&self, queue: &Queue) {
        while let Some(due) = self.wait_for_due() {
            for (lifecycle, sequence) in due {
                // Held while the marker is queued, so that none comes after the row.
                let lifecycle = lifecycle.lock().unwrap_or_else(PoisonError::into_inner);
                if lifecycle.end.is_none() {
                    queue.push([spans::marker(&lifecycle, sequence, SystemTime::now())]);
                }
            }
        }
    }

    fn wait_for_due(&self) -> Option<Vec<(Arc<Mutex<Lifecycle>>, u32)>> {
        let mut state = self.lock();
        while !state.stopped {
            let now = Instant::now();
            let mut due = Vec::new();
            for open in state.open.values_mut().filter(|open| open.due <= now) {
                due.push((Arc::clone(&open.lifecycle), open.next_sequence));
                open.next_sequence += 1;
                open.due = now + self.interval;
            }
            if !due.is_empty() {
                return Some(due);
            }
            state = if state.open.is_empty() {
                self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                self.changed.wait_timeout(state, self.interval / TICKS_PER_INTERVAL).unwrap_or_else(PoisonError::into_inner).0
            };
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

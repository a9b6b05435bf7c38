//! The exporter's thread: takes what is queued, makes spans of it, enforces the contract, sends, and tries again as OTLP says.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;

use crate::builder::BuildError;
use crate::config::Config;
use crate::enforce;
use crate::otlp::{Answer, Client};
use crate::queue::{Fate, Job, Queue};

/// First pause before a message is sent again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause, whatever a receiver asks for.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// Messages that may be sent again in a row, over all messages.
const RETRY_BURST: f64 = 10.0;
/// How many more of them each second allows: a receiver that takes every message at the second try only is not sent twice as much for ever.
const RETRIES_PER_SECOND: f64 = 0.5;

/// Starts the thread that sends what is in the queue, and waits until it can.
pub(crate) fn start(config: Config, queue: Arc<Queue>) -> Result<(), BuildError> {
    let (ready, is_ready) = mpsc::sync_channel(1);
    let run = move || {
        // The runtime lives and ends on this thread: dropping one inside another runtime's task would panic.
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(BuildError::Runtime(error)))),
        };
        let client = {
            let _inside = runtime.enter();
            Client::new(&config)
        };
        match client {
            Err(error) => drop(ready.send(Err(error))),
            Ok(client) => {
                drop(ready.send(Ok(())));
                let mut sender = Sender {
                    client,
                    resource: (&config.resource).into(),
                    retry_for: config.retry_for,
                    budget: Budget::new(Instant::now()),
                    pause: FIRST_PAUSE,
                    failing: false,
                };
                while let Some(batch) = queue.next_batch() {
                    queue.settle(runtime.block_on(sender.deliver(batch, &queue)));
                }
            }
        }
    };
    std::thread::Builder::new().name("codex-pooler-export".to_owned()).spawn(run).map_err(BuildError::Runtime)?;
    is_ready.recv().unwrap_or(Err(BuildError::Client))
}

struct Sender {
    client: Client,
    resource: ResourceAttributesWithSchema,
    retry_for: Duration,
    budget: Budget,
    /// The next one. It is kept from message to message while the receiver is away.
    pause: Duration,
    /// The last try failed, and that was said.
    failing: bool,
}

impl Sender {
    /// Sends a batch, until it is settled or should be given up.
    async fn deliver(&mut self, batch: Vec<Job>, queue: &Queue) -> Fate {
        let given: Vec<_> = batch.into_iter().flat_map(Job::into_spans).collect();
        let mut fate = Fate::default();
        let recorded = given.len();
        let spans: Vec<_> = given.into_iter().filter_map(|span| enforce::span(span).ok()).collect();
        let (left, recorded) = (spans.len() as u64, recorded as u64);
        fate.invalid = recorded - left;
        if left == 0 {
            return fate;
        }
        let resource_spans = group_spans_by_resource_and_scope(spans, &self.resource);
        let message = ExportTraceServiceRequest { resource_spans };
        let sent = tokio::select! {
            sent = self.send(message) => Some(sent),
            () = queue.abandon.notified() => None,
        };
        match sent {
            Some(Sent::Taken { rejected }) => {
                fate.rejected = rejected.min(left);
                fate.exported = left - fate.rejected;
            }
            Some(Sent::Refused) => fate.rejected = left,
            Some(Sent::Exhausted) => fate.exhausted = left,
            None => fate.shutdown = left,
        }
        fate
    }

    async fn send(&mut self, message: ExportTraceServiceRequest) -> Sent {
        let message = self.client.prepare(message);
        let started = Instant::now();
        loop {
            let answer = self.client.send(&message).await;
            self.say(answer);
            let asked = match answer {
                Answer::Taken { rejected } => {
                    self.pause = FIRST_PAUSE;
                    return Sent::Taken { rejected };
                }
                Answer::Refused => return Sent::Refused,
                Answer::NotNow(asked) => asked,
            };
            let now = Instant::now();
            let pause = asked.unwrap_or_else(|| with_jitter(self.pause)).min(MAX_PAUSE).max(self.budget.take(now));
            self.pause = (self.pause * 2).min(MAX_PAUSE);
            if started.elapsed() + pause > self.retry_for {
                return Sent::Exhausted;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Says once that the receiver does not take what it should, and once that it does again.
    fn say(&mut self, answer: Answer) {
        let fails = !matches!(answer, Answer::Taken { rejected: 0 });
        if fails == std::mem::replace(&mut self.failing, fails) {
            return;
        }
        match answer {
            Answer::Taken { rejected: 0 } => tracing::info!("the OTLP receiver takes all spans again"),
            Answer::Taken { .. } => {
                tracing::warn!("the OTLP receiver rejects spans; what is lost is counted in the exporter's totals");
            }
            Answer::Refused => {
                tracing::warn!("the OTLP receiver refuses messages; what is lost is counted in the exporter's totals");
            }
            Answer::NotNow(_) => {
                tracing::warn!("the OTLP receiver cannot be reached or is busy; spans wait, and are tried again");
            }
        }
    }
}

enum Sent {
    Taken { rejected: u64 },
    Refused,
    Exhausted,
}

/// The budget for sending again: a bucket of tokens, filled by time.
struct Budget {
    tokens: f64,
    filled_at: Instant,
}

impl Budget {
    const fn new(now: Instant) -> Self {
        Self { tokens: RETRY_BURST, filled_at: now }
    }

    /// Takes a token, and says how long to wait until it is there.
    fn take(&mut self, now: Instant) -> Duration {
        let since = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.filled_at = now;
        self.tokens = (self.tokens + since * RETRIES_PER_SECOND).min(RETRY_BURST) - 1.0;
        Duration::from_secs_f64((-self.tokens / RETRIES_PER_SECOND).max(0.0))
    }
}

/// Adds up to half of a pause at random, so that many senders do not come back at the same moment.
fn with_jitter(pause: Duration) -> Duration {
    // The hasher's keys are random, which is enough for this.
    use std::hash::{BuildHasher as _, RandomState};
    let random = RandomState::new().hash_one(0) >> 32;
    #[allow(clippy::cast_precision_loss)]
    let share = random as f64 / f64::from(u32::MAX);
    pause + pause.mul_f64(share / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: over a long time, messages are sent again no more often than the budget says, however many there are; after a pause there
    /// is a burst again.
    #[test]
    fn the_budget_holds_over_all_messages() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let mut now = start;
        for retry in 1..=100_u32 {
            now += budget.take(now);
            let allowed = RETRY_BURST + now.duration_since(start).as_secs_f64() * RETRIES_PER_SECOND;
            assert!(f64::from(retry) <= allowed + 1e-6, "{retry} > {allowed}");
        }
        now += Duration::from_secs(3600);
        assert!((0..10).all(|_| budget.take(now).is_zero()) && !budget.take(now).is_zero());
    }

    /// Guarantees: a pause is never shorter than it should be, and at most half as long again.
    #[test]
    fn jitter_is_bounded() {
        for _ in 0..1000 {
            let pause = with_jitter(FIRST_PAUSE);
            assert!(pause >= FIRST_PAUSE && pause <= FIRST_PAUSE.mul_f64(1.5));
        }
    }
}

//! The exporter's thread: takes what is queued, makes spans of it, enforces the contract, sends, and tries again as OTLP says.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use contract::DropReason;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::trace::SpanData;
use tracing::dispatcher::{DefaultGuard, Dispatch};

use crate::builder::BuildError;
use crate::config::{Config, Protocol};
use crate::enforce;
use crate::otlp::{Answer, Client, Refusal};
use crate::queue::{Job, Queue, Settled};

/// The name of the exporter's thread.
const THREAD_NAME: &str = "codex-pooler-export";
/// First pause before a message is sent again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause, but for its jitter, before a receiver is tried again that did not say when.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause, but for its jitter, that a receiver can ask for.
const MAX_ASKED: Duration = Duration::from_secs(60);
/// How long nothing is said that was said before, so that a receiver which comes and goes is worth a line each way a minute.
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Messages that may be sent again in a row, over all messages.
const RETRY_BURST: f64 = 10.0;
/// How many more of them each second allows: a receiver that takes every message at the second try only is not sent twice as much for ever.
const RETRIES_PER_SECOND: f64 = 0.5;

/// Starts the thread that sends what is in the queue, and waits until it can.
pub(crate) fn start(config: Config, queue: Arc<Queue>) -> Result<(), BuildError> {
    let (ready, is_ready) = mpsc::sync_channel(1);
    let run = move || {
        // The runtime lives and ends on this thread: dropping one inside another runtime's task would panic.
        // The threads on which names of hosts are looked up are as silent as this one, for as long as they live.
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.thread_name(THREAD_NAME).on_thread_start(|| std::mem::forget(silence())).enable_all();
        let runtime = match runtime.build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(BuildError::Runtime(error)))),
        };
        let silence = silence();
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
                    said: Health::Fine,
                    said_at: [None; 3],
                    protocol: config.protocol,
                    silence,
                };
                while let Some(batch) = queue.next_batch() {
                    queue.settle(runtime.block_on(sender.deliver(batch, &queue)));
                }
                // Connections end with the runtime, and are not heard then either.
                let silence = sender.silence.take();
                drop((sender, runtime));
                drop(silence);
            }
        }
    };
    std::thread::Builder::new().name(THREAD_NAME.to_owned()).spawn(run).map_err(BuildError::Runtime)?;
    is_ready.recv().unwrap_or(Err(BuildError::Client))
}

struct Sender {
    client: Client,
    resource: ResourceAttributesWithSchema,
    retry_for: Duration,
    budget: Budget,
    /// The next one. It is kept from message to message while the receiver is away.
    pause: Duration,
    /// The worst that was said since all was fine.
    said: Health,
    /// When each was said last.
    said_at: [Option<Instant>; 3],
    protocol: Protocol,
    silence: Option<DefaultGuard>,
}

impl Sender {
    /// Sends a batch, until it is settled or should be given up.
    async fn deliver(&mut self, batch: Vec<Job>, queue: &Queue) -> Settled {
        let mut settled = Settled::default();
        let mut spans = Vec::new();
        for span in batch.into_iter().flat_map(compose) {
            match span {
                Ok(mut span) => {
                    // How many values were refused while it was composed. A receiver is not told.
                    settled.refused_values += u64::from(std::mem::take(&mut span.dropped_attributes_count));
                    spans.push(span);
                }
                Err(_) => settled.invalid += 1,
            }
        }
        let left = spans.len();
        if left == 0 {
            return settled;
        }
        let resource_spans = group_spans_by_resource_and_scope(spans, &self.resource);
        let message = ExportTraceServiceRequest { resource_spans };
        let sent = tokio::select! {
            sent = self.send(message) => Some(sent),
            () = queue.abandon.notified() => None,
        };
        match sent {
            Some(Sent::Taken { rejected }) => {
                settled.rejected = usize::try_from(rejected).unwrap_or(left).min(left);
                settled.exported = left - settled.rejected;
            }
            Some(Sent::Refused) => settled.rejected = left,
            Some(Sent::Exhausted) => settled.exhausted = left,
            None => settled.shutdown = left,
        }
        settled
    }

    async fn send(&mut self, message: ExportTraceServiceRequest) -> Sent {
        let message = self.client.prepare(message);
        let started = Instant::now();
        loop {
            let answer = self.client.send(&message).await;
            let protocol = self.protocol;
            self.hear(Health::of(answer), || say(answer, protocol));
            let asked = match answer {
                Answer::Taken { rejected } => {
                    self.pause = FIRST_PAUSE;
                    return Sent::Taken { rejected };
                }
                Answer::Refused(_) => return Sent::Refused,
                Answer::NotNow(asked) => asked,
                Answer::OtherProtocol | Answer::NoTls => None,
            };
            let now = Instant::now();
            let pause = asked.map_or(self.pause, |asked| asked.clamp(FIRST_PAUSE, MAX_ASKED));
            let pause = with_jitter(pause).max(self.budget.take(now));
            self.pause = (self.pause * 2).min(MAX_PAUSE);
            if started.elapsed() + pause > self.retry_for {
                self.hear(Health::Losing, say_exhausted);
                return Sent::Exhausted;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Says once that spans wait for the receiver, once that they are lost, and once that all is fine again.
    fn hear(&mut self, health: Health, say: impl FnOnce()) {
        let now = Instant::now();
        let said_at = &mut self.said_at[health as usize];
        let just_said = said_at.is_some_and(|at| now.saturating_duration_since(at) < SAY_AGAIN_AFTER);
        if health == self.said || (health != Health::Fine && health < self.said) || just_said {
            return;
        }
        (self.said, *said_at) = (health, Some(now));
        // The application hears this, and nothing else of what happens on this thread.
        self.silence = None;
        // A subscriber that panics, as one may whose output nobody reads any more, does not take this thread along.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(say));
        self.silence = silence();
    }
}

/// How it stands between an exporter and its receiver; what is worse comes later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Health {
    Fine,
    /// Spans wait.
    Waiting,
    /// Spans are lost.
    Losing,
}

impl Health {
    const fn of(answer: Answer) -> Self {
        match answer {
            Answer::Taken { rejected: 0 } => Self::Fine,
            Answer::NotNow(_) | Answer::OtherProtocol | Answer::NoTls => Self::Waiting,
            Answer::Taken { .. } | Answer::Refused(_) => Self::Losing,
        }
    }
}

/// Says that a message was tried for long enough.
fn say_exhausted() {
    tracing::warn!("the OTLP receiver was away for too long; what is lost is counted in the exporter's totals");
}

/// Says what the receiver's answer means, and what to change.
fn say(answer: Answer, protocol: Protocol) {
    match (answer, protocol) {
        (Answer::Taken { rejected: 0 }, _) => tracing::info!("the OTLP receiver takes all spans again"),
        (Answer::Taken { .. }, _) => {
            tracing::warn!("the OTLP receiver rejects spans; what is lost is counted in the exporter's totals");
        }
        (Answer::Refused(Refusal::Credentials), _) => tracing::warn!(
            "the OTLP receiver does not let this program send: check the credentials in OTEL_EXPORTER_OTLP_HEADERS or the builder's headers; \
             what is lost is counted in the exporter's totals"
        ),
        (Answer::Refused(Refusal::Path), _) => tracing::warn!(
            "the OTLP endpoint takes no traces: name a receiver that does, over HTTP without the /v1/traces that is added; \
             what is lost is counted in the exporter's totals"
        ),
        (Answer::Refused(Refusal::Message), _) => {
            tracing::warn!("the OTLP receiver refuses messages; what is lost is counted in the exporter's totals");
        }
        (Answer::NotNow(_), Protocol::Grpc) => tracing::warn!(
            "the OTLP receiver cannot be reached or is busy; spans wait, and are tried again; if it stays so, check the endpoint: \
             OTLP over gRPC has port 4317 by default"
        ),
        (Answer::NotNow(_), Protocol::HttpProtobuf) => tracing::warn!(
            "the OTLP receiver cannot be reached or is busy; spans wait, and are tried again; if it stays so, check the endpoint: \
             OTLP over HTTP has port 4318 by default"
        ),
        (Answer::NoTls, _) => tracing::warn!(
            "TLS with the OTLP receiver fails: let OTEL_EXPORTER_OTLP_CERTIFICATE name the root that vouches for it, and the endpoint its \
             name as in its certificate, or http:// if it has none; spans wait, and are tried again"
        ),
        (Answer::OtherProtocol, Protocol::Grpc) => tracing::warn!(
            "the OTLP endpoint does not speak gRPC: set its gRPC port (4317 by default), or the protocol http/protobuf; \
             spans wait, and are tried again"
        ),
        (Answer::OtherProtocol, Protocol::HttpProtobuf) => tracing::warn!(
            "the OTLP endpoint does not speak HTTP/1.1: set its HTTP port (4318 by default), or the protocol grpc; \
             spans wait, and are tried again"
        ),
    }
}

/// The spans of a job. What this crate composed has been checked value by value, and is only looked at for what would have the whole span
/// refused; what the tracing layer made is enforced once more.
fn compose(job: Job) -> Vec<Result<SpanData, DropReason>> {
    let sound = |span: SpanData| enforce::sound(&span).map(|()| span);
    match job {
        Job::Marker { open, sequence, at } => vec![sound(open.marker(sequence, at))],
        Job::Row { open, .. } => open.row().into_iter().map(sound).collect(),
        Job::Spans(spans) => spans.into_iter().map(sound).collect(),
        #[cfg(feature = "tracing-layer")]
        Job::Internal(span) => vec![enforce::internal(*span)],
    }
}

/// Keeps what the libraries below say about connections and frames, on this thread and in the tasks that it runs, from the application's
/// subscriber, which has no use for it, and which could feed it back into an exporter. `Dispatch::none` is known to nobody else, so that the
/// application's own events cost what they cost without it.
#[allow(clippy::unnecessary_wraps, reason = "its place is an `Option`, which is empty while something is said")]
fn silence() -> Option<DefaultGuard> {
    Some(tracing::dispatcher::set_default(&Dispatch::none()))
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

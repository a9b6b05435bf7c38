//! The exporter: what a pooler keeps one of, and clones wherever it records something.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry_sdk::trace::SpanData;

use crate::builder::{BuildError, Builder};
use crate::clock::{self, Clock};
use crate::lifecycle::{Admission, Lifecycle};
use crate::open::Open;
use crate::queue::{Bounds, Job, Queue};
use crate::request::Admitted;
use crate::spans;
use crate::totals::Totals;

/// How long [`Exporter::flush`] and [`Exporter::shutdown`] wait at most.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(20);
/// The contract's limit on the number of a marker.
const MAX_MARKER_SEQUENCE: u128 = 1_000_000;

/// Records requests and sends them as OTLP spans. Cloning it is cheap, and the clones share one queue.
///
/// Recording never waits and never fails: what does not fit the queue is dropped and counted in [`Totals`]. When the last clone and the
/// last open request are gone, what is queued still goes out, but only [`Exporter::shutdown`] waits for it.
#[derive(Clone, Debug)]
pub struct Exporter(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) queue: Arc<Queue>,
    pub(crate) enabled: bool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.close();
    }
}

// Called for what they do; what they return can be ignored.
#[allow(clippy::must_use_candidate)]
impl Exporter {
    /// Configures an exporter.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// An exporter that does nothing, as with `OTEL_SDK_DISABLED=true`.
    #[must_use]
    pub fn disabled() -> Self {
        Self(Arc::new(Inner {
            queue: Arc::new(Queue::new(Bounds::default(), Clock::new(Duration::MAX, Duration::MAX))),
            enabled: false,
        }))
    }

    pub(crate) fn start(queue: Arc<Queue>) -> Result<Self, BuildError> {
        let inner = Inner { queue: Arc::clone(&queue), enabled: true };
        let run = move || queue.clock.run(&queue);
        std::thread::Builder::new().name("codex-pooler-clock".to_owned()).spawn(run).map_err(BuildError::Runtime)?;
        Ok(Self(Arc::new(inner)))
    }

    /// Whether anything is recorded: not so if `OTEL_SDK_DISABLED` is `true`.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.0.enabled
    }

    /// A request that is admitted now. Its first marker goes out at once, and further ones while it is open.
    pub fn admit(&self, admission: Admission) -> Admitted {
        let at = SystemTime::now();
        let request = self.open(|| admission, at);
        if let Some((exporter, open)) = &request {
            clock::admit(&exporter.queue, open, at);
        }
        Admitted::new(request)
    }

    /// As [`Self::admit`]; a disabled exporter does not ask for the admission.
    pub fn admit_with(&self, admission: impl FnOnce() -> Admission) -> Admitted {
        if self.0.enabled { self.admit(admission()) } else { Admitted::new(None) }
    }

    /// A request that was admitted at another time, as when history is told. It sends no markers, unless [`Admitted::start_markers`] asks
    /// for them.
    pub fn admit_at(&self, admission: Admission, at: SystemTime) -> Admitted {
        Admitted::new(self.open(|| admission, at))
    }

    fn open(&self, admission: impl FnOnce() -> Admission, at: SystemTime) -> Option<(Arc<Inner>, Arc<Open>)> {
        self.0.enabled.then(|| (Arc::clone(&self.0), Arc::new(Open::new(Lifecycle::new(admission(), at)))))
    }

    /// Records a whole lifecycle: the row and its attempts if it has ended, else a marker that says that it is open now.
    pub fn record(&self, lifecycle: &Lifecycle) {
        self.push(|| self.spans(lifecycle));
    }

    /// As [`Exporter::record`], but waits while the queue is full, so that a long history loses nothing on the way to the receiver.
    /// It blocks the thread; do not call it in an async task.
    pub fn record_waiting(&self, lifecycle: &Lifecycle) {
        if self.0.enabled {
            self.0.queue.push_waiting(self.spans(lifecycle));
        }
    }

    /// Records what a row has become since it was recorded: the attributes that changed. `sequence` counts from 1, the highest one holds.
    pub fn correct(&self, before: &Lifecycle, after: &Lifecycle, sequence: u32) {
        self.correct_at(before, after, sequence, SystemTime::now());
    }

    /// As [`Exporter::correct`], learned at another time.
    pub fn correct_at(&self, before: &Lifecycle, after: &Lifecycle, sequence: u32, at: SystemTime) {
        self.push(|| vec![spans::correction(before, after, sequence, at)]);
    }

    /// Records spans that were made elsewhere. What the contract does not know of them goes before they are sent.
    fn push(&self, spans: impl FnOnce() -> Vec<SpanData>) {
        if self.0.enabled {
            self.0.queue.push(Job::Spans(spans()));
        }
    }

    /// Sends what is queued, waits until it is settled or 20 s are over, and says what became of every span so far. Rows that are held for
    /// their settlement are not waited for. It blocks the thread; do not call it in an async task.
    pub fn flush(&self) -> Totals {
        self.flush_within(FLUSH_TIMEOUT)
    }

    /// As [`Exporter::flush`], for at most this long.
    pub fn flush_within(&self, timeout: Duration) -> Totals {
        self.0.queue.flush(timeout)
    }

    /// Records held rows, sends what is queued, and takes nothing more; what could not be sent in 20 s is dropped and counted: the result
    /// says what was lost, and why. It blocks the thread; do not call it in an async task.
    pub fn shutdown(&self) -> Totals {
        self.shutdown_within(FLUSH_TIMEOUT)
    }

    /// As [`Exporter::shutdown`], for at most this long, and a second more for a message that is on its way.
    pub fn shutdown_within(&self, timeout: Duration) -> Totals {
        self.0.queue.shutdown(timeout)
    }

    /// What has become of every span so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.0.queue.totals()
    }

    fn spans(&self, lifecycle: &Lifecycle) -> Vec<SpanData> {
        if lifecycle.end.is_some() {
            return spans::finished(lifecycle);
        }
        let now = SystemTime::now();
        // Counted from the clock, so that a process that was restarted goes on where it was.
        let open_for = now.duration_since(lifecycle.admitted_at).unwrap_or_default();
        let sequence = (open_for.as_millis() / self.0.queue.clock.heartbeat().as_millis().max(1)).min(MAX_MARKER_SEQUENCE);
        vec![spans::marker(lifecycle, u32::try_from(sequence).unwrap_or(0), now)]
    }
}

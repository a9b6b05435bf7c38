//! The exporter: what a pooler keeps one of, and clones wherever it records something.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry_sdk::trace::SpanData;

use crate::builder::{BuildError, Builder};
use crate::heartbeat::Heartbeats;
use crate::lifecycle::{Admission, Lifecycle};
use crate::queue::{Queue, Totals};
use crate::request::Request;
use crate::{spans, transport};

/// How long [`Exporter::flush`] and [`Exporter::shutdown`] wait at most: for a message on its way, and one more.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2 * transport::EXPORT_TIMEOUT.as_secs());
/// The contract's limit on the number of a marker.
const MAX_MARKER_SEQUENCE: u128 = 1_000_000;

/// Records requests and sends them as OTLP spans. Cloning it is cheap, and the clones share one queue.
///
/// Recording never waits and never fails: what does not fit the queue is dropped and counted in [`Totals`]. When the last clone and the
/// last open request are gone, what is queued still goes out, but only [`Exporter::shutdown`] waits for it.
#[derive(Clone, Debug)]
pub struct Exporter(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) queue: Arc<Queue>,
    pub(crate) heartbeats: Arc<Heartbeats>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.heartbeats.stop();
        self.queue.close();
    }
}

// Called for what they do; what they return can be ignored.
#[allow(clippy::must_use_candidate)]
impl Exporter {
    /// Configures an exporter.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn start(queue: Arc<Queue>, heartbeat: Duration) -> Result<Self, BuildError> {
        let heartbeats = Arc::new(Heartbeats::new(heartbeat));
        let inner = Inner { queue: Arc::clone(&queue), heartbeats: Arc::clone(&heartbeats) };
        let run = move || heartbeats.run(&queue);
        std::thread::Builder::new().name("codex-pooler-heartbeat".to_owned()).spawn(run).map_err(BuildError::Runtime)?;
        Ok(Self(Arc::new(inner)))
    }

    /// A request that is admitted now. Its first marker goes out at once, and further ones while it is open.
    #[must_use = "a request that is dropped is recorded as interrupted"]
    pub fn admit(&self, admission: Admission) -> Request {
        let request = self.admit_at(admission, SystemTime::now());
        request.start_markers();
        request
    }

    /// A request that was admitted at another time, as when history is told. It sends no markers, unless [`Request::start_markers`] asks for them.
    #[must_use = "a request that is dropped is recorded as interrupted"]
    pub fn admit_at(&self, admission: Admission, at: SystemTime) -> Request {
        Request::new(Arc::clone(&self.0), Lifecycle::new(admission, at))
    }

    /// Records a whole lifecycle: the row and its attempts if it has ended, else a marker that says that it is open now.
    pub fn record(&self, lifecycle: &Lifecycle) {
        self.0.queue.push(self.spans(lifecycle));
    }

    /// As [`Exporter::record`], but waits while the queue is full, so that a long history loses nothing on the way to the receiver.
    /// It blocks the thread; do not call it in an async task.
    pub fn record_waiting(&self, lifecycle: &Lifecycle) {
        self.0.queue.push_waiting(self.spans(lifecycle));
    }

    /// Records what a row has become since it was recorded: the attributes that changed. `sequence` counts from 1, the highest one holds.
    pub fn correct(&self, before: &Lifecycle, after: &Lifecycle, sequence: u32) {
        self.0.queue.push([spans::correction(before, after, sequence, SystemTime::now())]);
    }

    /// Sends what is queued, waits until it is settled or 20 s are over, and says what became of every span so far.
    /// It blocks the thread; do not call it in an async task.
    pub fn flush(&self) -> Totals {
        self.0.queue.flush(FLUSH_TIMEOUT)
    }

    /// As [`Exporter::flush`], and takes nothing more; what could not be sent in 20 s is dropped and counted.
    /// It blocks the thread; do not call it in an async task.
    pub fn shutdown(&self) -> Totals {
        self.0.heartbeats.stop();
        self.0.queue.shutdown(FLUSH_TIMEOUT)
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
        let sequence = (open_for.as_millis() / self.0.heartbeats.interval().as_millis().max(1)).min(MAX_MARKER_SEQUENCE);
        vec![spans::marker(lifecycle, u32::try_from(sequence).unwrap_or(0), now)]
    }
}

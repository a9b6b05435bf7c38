//! The writer's thread and the bounded queue in front of it.
//!
//! Messages that wait are written together, so that a sync of the disk, which costs milliseconds, is paid once for many of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sanitizer::Sanitized;
use tokio::sync::oneshot;

use crate::CloseError;
use crate::writer::{Change, Swept, Writer};

/// Messages that may wait.
const MAX_QUEUED_MESSAGES: usize = 1_024;
/// Spans that may wait, in all messages. A message with more of them is taken only by an empty queue.
const MAX_QUEUED_SPANS: u64 = 16_384;
/// From this many spans on, a transaction takes no further message.
const FULL_TRANSACTION_SPANS: u64 = 4_096;
/// Pause between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// Why a message was not stored.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// The queue is full: the disk does not keep up. Trying again later can succeed.
    #[error("the store's queue is full: send slower, or try again later")]
    Full,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// The transaction failed; nothing of the message is stored. Trying again can succeed, once the disk has room.
    #[error("the store cannot write: check that its disk has room and works")]
    Failed(#[source] Arc<rusqlite::Error>),
}

/// What each span of a message changed, or why nothing of it is stored.
type Written = Result<Vec<Change>, WriteError>;

struct Job {
    message: Sanitized,
    spans: u64,
    done: oneshot::Sender<Written>,
}

/// What other threads may look at.
#[derive(Default)]
struct Counters {
    queued_spans: AtomicU64,
    by_age: AtomicU64,
    by_size: AtomicU64,
    gone: AtomicU64,
    failed_sweeps: AtomicU64,
}

pub(crate) struct Queue {
    /// `None` once closed.
    sender: Mutex<Option<SyncSender<Job>>>,
    thread: Mutex<Option<JoinHandle<rusqlite::Result<()>>>>,
    counters: Arc<Counters>,
}

impl Queue {
    pub(crate) fn start(writer: Writer) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(MAX_QUEUED_MESSAGES);
        let counters = Arc::new(Counters::default());
        let theirs = Arc::clone(&counters);
        let thread =
            std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || run(writer, &receiver, &theirs))?;
        Ok(Self { sender: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)), counters })
    }

    pub(crate) async fn write(&self, message: Sanitized) -> Written {
        self.push(message)?.await.unwrap_or(Err(WriteError::Closed))
    }

    fn push(&self, message: Sanitized) -> Result<oneshot::Receiver<Written>, WriteError> {
        let spans = message.report().accepted_records;
        let (done, answer) = oneshot::channel();
        // The lock makes the look at the counter and the addition to it one step.
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = sender.as_ref().ok_or(WriteError::Closed)?;
        let queued = self.counters.queued_spans.load(Ordering::Acquire);
        if queued > 0 && queued.saturating_add(spans) > MAX_QUEUED_SPANS {
            return Err(WriteError::Full);
        }
        self.counters.queued_spans.fetch_add(spans, Ordering::AcqRel);
        sender.try_send(Job { message, spans, done }).map_err(|error| {
            self.counters.queued_spans.fetch_sub(spans, Ordering::AcqRel);
            match error {
                TrySendError::Full(_) => WriteError::Full,
                TrySendError::Disconnected(_) => WriteError::Closed,
            }
        })?;
        Ok(answer)
    }

    pub(crate) fn queued_spans(&self) -> u64 {
        self.counters.queued_spans.load(Ordering::Acquire)
    }

    pub(crate) fn swept(&self) -> Swept {
        Swept {
            by_age: self.counters.by_age.load(Ordering::Relaxed),
            by_size: self.counters.by_size.load(Ordering::Relaxed),
            gone: self.counters.gone.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn failed_sweeps(&self) -> u64 {
        self.counters.failed_sweeps.load(Ordering::Relaxed)
    }

    pub(crate) fn close(&self) -> Result<(), CloseError> {
        drop(self.sender.lock().unwrap_or_else(PoisonError::into_inner).take());
        // Held while waiting, so that a second caller does not return before everything is written.
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        match thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(checkpoint)) => checkpoint.map_err(CloseError::Checkpoint),
            Some(Err(_)) => Err(CloseError::Writer),
        }
    }
}

/// Writes until every sender is gone and the queue is empty.
fn run(mut writer: Writer, jobs: &Receiver<Job>, counters: &Counters) -> rusqlite::Result<()> {
    let mut next_sweep = Instant::now();
    loop {
        match jobs.recv_timeout(next_sweep.saturating_duration_since(Instant::now())) {
            Ok(first) => write_together(&mut writer, first, jobs, counters),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return writer.checkpoint(),
        }
        if Instant::now() >= next_sweep {
            // Between transactions and in small steps, so that a message waits for one step at most.
            let more = sweep_step(&mut writer, counters);
            next_sweep = Instant::now() + if more { Duration::ZERO } else { SWEEP_EVERY };
        }
    }
}

fn write_together(writer: &mut Writer, first: Job, jobs: &Receiver<Job>, counters: &Counters) {
    let mut spans = first.spans;
    let mut batch = vec![first];
    while spans < FULL_TRANSACTION_SPANS {
        let Ok(job) = jobs.try_recv() else { break };
        spans += job.spans;
        batch.push(job);
    }
    let result = writer.write(batch.iter().map(|job| &job.message)).map_err(|error| WriteError::Failed(Arc::new(error)));
    counters.queued_spans.fetch_sub(spans, Ordering::AcqRel);
    let answers: Vec<Written> = match result {
        Ok(changes) => changes.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error); batch.len()],
    };
    for (job, answer) in batch.into_iter().zip(answers) {
        // Whoever waited may have given up; the message is stored all the same.
        let _ = job.done.send(answer);
    }
}

/// Whether there is more to do at once.
fn sweep_step(writer: &mut Writer, counters: &Counters) -> bool {
    let Ok(swept) = writer.sweep_step() else {
        counters.failed_sweeps.fetch_add(1, Ordering::Relaxed);
        return false;
    };
    counters.by_age.fetch_add(swept.by_age, Ordering::Relaxed);
    counters.by_size.fetch_add(swept.by_size, Ordering::Relaxed);
    counters.gone.fetch_add(swept.gone, Ordering::Relaxed);
    Writer::more_to_sweep(swept)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use opentelemetry_proto::tonic::trace::v1::Span;
    use prost::Message as _;
    use testkit::otlp::{self, Row};

    use super::*;
    use crate::schema;

    fn writer(folder: &tempfile::TempDir) -> Writer {
        let path = folder.path().join("store.db");
        let lock = schema::lock(&path).unwrap();
        Writer {
            connection: schema::open(&path).unwrap(),
            file: crate::writer::StoreFile::new(path, lock),
            clock: Arc::new(SystemTime::now),
            retention: crate::DEFAULT_RETENTION,
            max_bytes: crate::DEFAULT_MAX_BYTES,
        }
    }

    /// A message of so many spans of one trace, without attributes.
    fn message(spans: u64) -> Sanitized {
        let span = |n: u64| Span { span_id: (n + 1).to_be_bytes().to_vec(), attributes: Vec::new(), ..Row::numbered(1).span() };
        sanitizer::protobuf(
            &sanitizer::Policy::contract(),
            std::time::SystemTime::now(),
            &otlp::request((0..spans).map(span).collect()).encode_to_vec(),
        )
        .unwrap()
    }

    /// Guarantees: while the disk does not keep up, the queue takes what its bounds allow, refuses the rest, and loses nothing of what it took.
    #[tokio::test]
    async fn a_full_queue_refuses_and_loses_nothing() {
        for (message, most) in [(message(1), 1 + FULL_TRANSACTION_SPANS + 1_024), (message(600), MAX_QUEUED_SPANS)] {
            let folder = tempfile::tempdir().unwrap();
            let queue = Queue::start(writer(&folder)).unwrap();
            // Whoever holds the lock keeps the writer waiting, as a slow disk would.
            let mut other = schema::open(&folder.path().join("store.db")).unwrap();
            let lock = other.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
            let mut answers = Vec::new();
            let refusal = loop {
                match queue.push(message.clone()) {
                    Ok(answer) => answers.push(answer),
                    Err(refusal) => break refusal,
                }
            };
            assert!(matches!(refusal, WriteError::Full), "{refusal}");
            assert!((1..=most).contains(&queue.queued_spans()), "{}", queue.queued_spans());
            lock.rollback().unwrap();
            for answer in answers {
                answer.await.unwrap().unwrap();
            }
            assert_eq!(queue.queued_spans(), 0);
            queue.close().unwrap();
        }
    }

    /// Guarantees: a write that fails says so, and does not end the writer.
    #[tokio::test]
    async fn a_failed_write_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder);
        writer.connection.pragma_update(None, "query_only", true).unwrap();
        let queue = Queue::start(writer).unwrap();
        for _ in 0..2 {
            assert!(matches!(queue.write(message(1)).await, Err(WriteError::Failed(_))));
        }
        assert_eq!(queue.queued_spans(), 0);
    }

    /// Guarantees: closing writes what waits, and a message after that is refused.
    #[tokio::test]
    async fn closing_drains_the_queue() {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::start(writer(&folder)).unwrap();
        let answers: Vec<_> = (0..50).map(|_| queue.push(message(1)).unwrap()).collect();
        queue.close().unwrap();
        for mut answer in answers {
            assert!(matches!(answer.try_recv(), Ok(Ok(_))));
        }
        assert!(matches!(queue.write(message(1)).await, Err(WriteError::Closed)));
    }
}

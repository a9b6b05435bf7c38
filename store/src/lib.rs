//! The embedded store: `SQLite`, one row a request plus the sanitized spans of its trace.
//!
//! **What goes in.** Only [`sanitizer::Sanitized`] messages, and everything in them. Delivering a message again changes nothing: a span
//! replaces the one with its ids, a row the one with its trace id.
//!
//! **What comes out.** Of each request the row as it is to be shown:
//! - A row span is shown with its corrections laid over it. They may arrive in any order, also before the row; the one with the highest
//!   number holds. A trace's extent in time is its row's: corrections, learned later, do not lengthen it.
//! - A request without a row, but with a marker, is open: its last marker is shown as a row, from its admission to that marker. Older
//!   markers, and any marker after the row, change nothing. One that has not been heard of for
//!   [`HEARTBEAT_LOST_AFTER`](contract::limits::HEARTBEAT_LOST_AFTER) says so in its error line; after
//!   [`OPEN_GONE_AFTER`](contract::limits::OPEN_GONE_AFTER) it is gone. The marker itself can be read too, in its own trace.
//!
//! **Durability.** A write is acknowledged when it is committed and the disk has been told to sync (write-ahead log, `synchronous=FULL`),
//! so that it survives the end of the process and of the power. Waiting messages share a transaction: all of it is stored, or nothing.
//!
//! **Locking.** One thread writes. Readers have read-only connections, see the last committed state and never wait for the writer, nor it
//! for them. The write-ahead log needs shared memory, so the file must be on a local disk, not on a network share.
//!
//! **Compatibility.** Migrations are numbered, appended, and applied when the store is opened. A file of a newer version is refused.
//!
//! **Bounds.** The queue is bounded in messages and spans; a full one refuses ([`WriteError::Full`]) and never drops. The oldest traces go
//! when they are older than [`Config::retention`], or when the file holds more than [`Config::max_bytes`]; they are counted
//! ([`Store::swept`]). Space that is freed is used again, so the file stops growing there; beside it lies a log of up to 64 MiB.
//! Queries end at their deadline.

mod columns;
mod queue;
mod reader;
mod row;
mod schema;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sanitizer::Sanitized;

pub use columns::Column;
pub use queue::WriteError;
pub use reader::{Candidate, Counts, MAX_TRACE_SPANS, ReadError, Reader, Records, Scan, StoredSpan, Trace};
pub use schema::OpenError;
pub use writer::{Change, Swept};

/// How long traces are kept unless told otherwise.
pub const DEFAULT_RETENTION: Duration = Duration::from_secs(14 * 24 * 3600);
/// How large the file may become unless told otherwise.
pub const DEFAULT_MAX_BYTES: u64 = 10 << 30;

/// Tells the time. Tests have their own.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

pub(crate) fn now_ns(clock: &Clock) -> u64 {
    clock().duration_since(SystemTime::UNIX_EPOCH).map_or(0, row::nanoseconds)
}

/// Where the store is and how much it keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file. Its folder must exist.
    pub path: PathBuf,
    /// How long a trace is kept, from its start.
    pub retention: Duration,
    /// How many bytes the file may hold before the oldest traces go.
    pub max_bytes: u64,
}

impl Config {
    /// The defaults, for this file.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path, retention: DEFAULT_RETENTION, max_bytes: DEFAULT_MAX_BYTES }
    }
}

/// Why closing failed.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// Everything is written, and stays in the log beside the file until the store is opened again.
    #[error("the store is closed, but its log could not be merged into its file: check that the disk has room and works")]
    Checkpoint(#[source] rusqlite::Error),
    /// The writer ended before its time: a defect of this program. What was acknowledged is stored.
    #[error("the store's writer had failed: messages that were not acknowledged may be lost")]
    Writer,
}

/// A handle to the store, cheap to clone.
#[derive(Clone)]
pub struct Store {
    queue: Arc<queue::Queue>,
    reader: Reader,
}

impl Store {
    /// Opens the store, or creates it.
    pub fn open(config: &Config) -> Result<Self, OpenError> {
        Self::open_with_clock(config, Arc::new(SystemTime::now))
    }

    /// Like [`Store::open`], with a clock that decides what is old.
    pub fn open_with_clock(config: &Config, clock: Clock) -> Result<Self, OpenError> {
        let lock = schema::lock(&config.path)?;
        let connection = schema::open(&config.path)?;
        let writer = writer::Writer {
            connection,
            file: writer::StoreFile::new(config.path.clone(), lock),
            clock: Arc::clone(&clock),
            retention: config.retention,
            max_bytes: config.max_bytes,
        };
        let queue = queue::Queue::start(writer).map_err(OpenError::Thread)?;
        Ok(Self { queue: Arc::new(queue), reader: Reader::new(config.path.clone(), clock) })
    }

    /// Stores a message, and says what each of its spans changed, in their order. Resolves once it is committed; given up on, it is stored
    /// all the same.
    pub async fn write(&self, message: Sanitized) -> Result<Vec<Change>, WriteError> {
        self.queue.write(message).await
    }

    /// A reader. Readers outlive [`Store::close`].
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Spans that were accepted and are not yet committed.
    #[must_use]
    pub fn queued_spans(&self) -> u64 {
        self.queue.queued_spans()
    }

    /// Traces that were deleted since the store was opened, and why.
    #[must_use]
    pub fn swept(&self) -> Swept {
        self.queue.swept()
    }

    /// Sweeps that failed since the store was opened, which happens when the disk does.
    #[must_use]
    pub fn failed_sweeps(&self) -> u64 {
        self.queue.failed_sweeps()
    }

    /// Takes no more messages, writes those that wait, and merges the log into the file. Blocks until that is done. Doing it again is
    /// harmless. A store that is dropped instead does the same without anyone waiting for it.
    pub fn close(&self) -> Result<(), CloseError> {
        self.queue.close()
    }
}

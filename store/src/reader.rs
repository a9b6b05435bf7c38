//! Reading: the request log newest first, one trace by its id, counts. Every reader has a connection of its own that can only read, sees
//! the last committed state, and never makes the writer wait.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use contract::limits;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Row, params, params_from_iter};

use crate::columns::Column;
use crate::row::{self, nanoseconds};
use crate::schema;
use crate::writer::sql_ns;
use crate::{Clock, now_ns};

/// Spans of one trace that are read at most; an honest trace has a handful.
pub const MAX_TRACE_SPANS: usize = 4_096;
/// Idle connections that are kept.
const MAX_IDLE: usize = 4;
/// Steps of `SQLite`'s machine between two looks at the clock, well below a millisecond's worth.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;
/// Traces up to this long are found by their start alone; longer ones are in an index of their own (see the migration).
const LONG_NS: u64 = 3_600_000_000_000;

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The query took too long.
    #[error("the query took too long: ask for a shorter time range or filter more")]
    Deadline,
    /// The file cannot be read.
    #[error("the store cannot be read: check its file and its disk")]
    Sqlite(#[source] rusqlite::Error),
    /// A stored span is not what was written.
    #[error("the store's file is damaged: a stored span cannot be decoded")]
    Damaged(#[from] prost::DecodeError),
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => Self::Deadline,
            _ => Self::Sqlite(error),
        }
    }
}

/// Which traces a scan looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Records {
    /// All: requests, markers, and spans whose row has not arrived.
    All,
    /// Requests, final and live.
    Requests,
    /// The last marker of every open request.
    Markers,
}

/// What a scan looks at. Everything here is compared by the database.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Which traces.
    pub records: Records,
    /// Traces that overlap this time: from and to, both included, in nanoseconds since the Unix epoch.
    pub window_ns: (u64, u64),
    /// Bounds of `codex_pooler.request.admitted_ms`, both included.
    pub admitted_ms: Option<(i64, i64)>,
    /// Columns that must have one of these texts.
    pub any_of: Vec<(Column, Vec<String>)>,
    /// Only this trace.
    pub trace_id: Option<[u8; 16]>,
    /// When the scan gives up.
    pub deadline: Instant,
}

impl Scan {
    /// Everything, until the deadline.
    #[must_use]
    pub const fn all(deadline: Instant) -> Self {
        let window_ns = (0, u64::MAX);
        Self { records: Records::All, window_ns, admitted_ms: None, any_of: Vec::new(), trace_id: None, deadline }
    }
}

/// A span with the resource that sent it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredSpan {
    /// Resource.
    pub resource: Option<Resource>,
    /// Span.
    pub span: Span,
}

/// A whole trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// The row span as it is shown, if it has arrived.
    pub row: Option<StoredSpan>,
    /// The other spans, in the order of their arrival.
    pub others: Vec<StoredSpan>,
    /// Whether there are more than [`MAX_TRACE_SPANS`] others, which are left out.
    pub truncated: bool,
}

impl Trace {
    /// All its spans, the row first.
    pub fn spans(&self) -> impl Iterator<Item = &StoredSpan> {
        self.row.iter().chain(&self.others)
    }
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests whose row has arrived.
    pub requests: u64,
    /// Open requests, known from their markers.
    pub open: u64,
    /// Other spans: attempts, corrections, internal ones.
    pub spans: u64,
}

/// Reads the store. Cheap to clone. Its calls block, for milliseconds at best and until their deadline at worst, so they belong on a
/// thread that may block; how many run at once is for the caller to bound.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    clock: Clock,
    idle: Mutex<Vec<Connection>>,
}

/// A trace that a scan has come to. Its narrow columns are at hand; its spans are read when they are asked for.
pub struct Candidate<'a> {
    connection: &'a Connection,
    row: &'a Row<'a>,
    id: i64,
    open: bool,
    now_ns: u64,
    /// Id of the trace.
    pub trace_id: [u8; 16],
    /// When the trace began, in nanoseconds since the Unix epoch: its row did, or, without a row, its first span.
    pub started_ns: u64,
    /// When the trace ended.
    pub ended_ns: u64,
}

impl Candidate<'_> {
    /// What the row has in a column; `None` where it has nothing, or where there is no row.
    #[must_use]
    pub fn text(&self, column: Column) -> Option<&str> {
        self.row.get_ref(column.sql()).ok()?.as_str_or_null().ok()?
    }

    /// The row span as it is shown; `None` if it has not arrived.
    pub fn view(&self) -> Result<Option<StoredSpan>, ReadError> {
        read_view(self.connection, self.id, self.open, self.now_ns)
    }

    /// The whole trace.
    pub fn trace(&self) -> Result<Trace, ReadError> {
        read_trace(self.connection, self.id, self.open, self.now_ns)
    }
}

impl Reader {
    pub(crate) fn new(path: PathBuf, clock: Clock) -> Self {
        Self { shared: Arc::new(Shared { path, clock, idle: Mutex::default() }) }
    }

    /// The store's clock, in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        now_ns(&self.shared.clock)
    }

    /// Visits traces from the newest to the oldest by their start, until the visitor stops.
    pub fn scan<E: From<ReadError>>(
        &self,
        scan: &Scan,
        mut visit: impl FnMut(&Candidate<'_>) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let now_ns = self.now_ns();
        self.connected(scan.deadline, |connection| {
            let (sql, values) = scan_sql(connection, scan, now_ns).map_err(ReadError::from)?;
            let mut statement = connection.prepare(&sql).map_err(ReadError::from)?;
            let mut rows = statement.query(params_from_iter(values)).map_err(ReadError::from)?;
            while let Some(row) = rows.next().map_err(ReadError::from)? {
                if Instant::now() >= scan.deadline {
                    return Err(ReadError::Deadline.into());
                }
                if visit(&candidate(connection, row, now_ns).map_err(ReadError::from)?)?.is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// The trace with this id; `None` if there is none.
    pub fn trace(&self, trace_id: [u8; 16], deadline: Instant) -> Result<Option<Trace>, ReadError> {
        let now_ns = self.now_ns();
        self.connected(deadline, |connection| {
            let sql = format!("SELECT id, state FROM traces WHERE trace_id = ?1 AND {VISIBLE}", VISIBLE = visible(2));
            let found: Option<(i64, bool)> = connection
                .prepare_cached(&sql)?
                .query_row(params![trace_id, gone_before(now_ns)], |row| Ok((row.get(0)?, row.get_ref(1)?.as_str()? == "open")))
                .optional()?;
            let Some((id, open)) = found else { return Ok(None) };
            read_trace(connection, id, open, now_ns).map(Some)
        })
    }

    /// Counts everything, by looking at every row of the tables.
    pub fn counts(&self, deadline: Instant) -> Result<Counts, ReadError> {
        let now_ns = self.now_ns();
        self.connected(deadline, |connection| {
            let count = |sql: &str| connection.query_row(sql, [], |row| row.get(0));
            let open = format!(
                "SELECT count(*) FROM traces WHERE state IN ('open', 'marker') AND state = 'open' AND ended_ns >= {}",
                gone_before(now_ns)
            );
            Ok(Counts {
                requests: count("SELECT count(*) FROM traces WHERE state = 'final'")?,
                open: count(&open)?,
                spans: count("SELECT count(*) FROM spans")?,
            })
        })
    }

    /// Lends a connection that stops at the deadline.
    fn connected<T, E: From<ReadError>>(
        &self,
        deadline: Instant,
        read: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => schema::open_reader(&self.shared.path).map_err(ReadError::from)?,
        };
        connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(move || Instant::now() >= deadline)).map_err(ReadError::from)?;
        let result = read(&connection);
        let mut idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
        result
    }
}

/// The last marker of an open request that is still shown is not older than this.
fn gone_before(now_ns: u64) -> i64 {
    sql_ns(now_ns.saturating_sub(nanoseconds(limits::OPEN_GONE_AFTER)))
}

/// The condition that hides open requests that are gone and not yet swept; `at` is the parameter with [`gone_before`].
fn visible(at: usize) -> String {
    format!("(state IN ('final', 'spans') OR ended_ns >= ?{at})")
}

/// The statement of a scan, and its parameters.
fn scan_sql(connection: &Connection, scan: &Scan, now_ns: u64) -> rusqlite::Result<(String, Vec<Value>)> {
    let (from, to) = (sql_ns(scan.window_ns.0), sql_ns(scan.window_ns.1));
    let longest: Option<i64> = connection
        .prepare_cached("SELECT min(started_ns) FROM traces INDEXED BY traces_long WHERE ended_ns - started_ns > 3600000000000 AND ended_ns >= ?1")?
        .query_row([from], |row| row.get(0))?;
    let short = sql_ns(scan.window_ns.0.saturating_sub(LONG_NS));
    let began_after = longest.map_or(short, |longest| longest.min(short));

    let mut values = vec![from.into(), to.into(), began_after.into(), gone_before(now_ns).into()];
    let columns = Column::ALL.map(Column::sql).join(", ");
    let (index, state) = match scan.records {
        Records::All => ("", ""),
        Records::Requests => ("", " AND state IN ('final', 'open')"),
        // The few open ones are put in order faster than they are found among all traces.
        Records::Markers => ("INDEXED BY traces_open", " AND state IN ('open', 'marker') AND state = 'marker'"),
    };
    let mut sql = format!(
        "SELECT id, trace_id, state, started_ns, ended_ns, {columns} FROM traces {index} \
         WHERE started_ns BETWEEN ?3 AND ?2 AND ended_ns >= ?1 AND {}{state}",
        visible(4)
    );
    if let Some((min, max)) = scan.admitted_ms {
        sql.push_str(" AND admitted_ms BETWEEN ? AND ?");
        values.extend([min.into(), max.into()]);
    }
    for (column, texts) in &scan.any_of {
        let marks = vec!["?"; texts.len()].join(", ");
        sql.extend([" AND ", column.sql(), " IN (", &marks, ")"]);
        values.extend(texts.iter().cloned().map(Value::from));
    }
    if let Some(trace_id) = scan.trace_id {
        sql.push_str(" AND trace_id = ?");
        values.push(trace_id.to_vec().into());
    }
    sql.push_str(" ORDER BY started_ns DESC");
    Ok((sql, values))
}

fn candidate<'a>(connection: &'a Connection, row: &'a Row<'a>, now_ns: u64) -> rusqlite::Result<Candidate<'a>> {
    Ok(Candidate {
        connection,
        row,
        id: row.get("id")?,
        trace_id: row.get("trace_id")?,
        open: row.get_ref("state")?.as_str()? == "open",
        started_ns: row.get("started_ns")?,
        ended_ns: row.get("ended_ns")?,
        now_ns,
    })
}

fn read_view(connection: &Connection, trace: i64, open: bool, now_ns: u64) -> Result<Option<StoredSpan>, ReadError> {
    let mut statement = connection.prepare_cached("SELECT resource, span FROM views WHERE trace = ?1")?;
    let mut rows = statement.query([trace])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut view = stored(row)?;
    if open {
        row::age(&mut view.span, now_ns);
    }
    Ok(Some(view))
}

fn read_trace(connection: &Connection, trace: i64, open: bool, now_ns: u64) -> Result<Trace, ReadError> {
    let row = read_view(connection, trace, open, now_ns)?;
    let mut statement = connection.prepare_cached("SELECT resource, span FROM spans WHERE trace = ?1 ORDER BY id LIMIT ?2")?;
    let mut rows = statement.query(params![trace, MAX_TRACE_SPANS + 1])?;
    let mut others = Vec::new();
    while let Some(row) = rows.next()? {
        others.push(stored(row)?);
    }
    let truncated = others.len() > MAX_TRACE_SPANS;
    others.truncate(MAX_TRACE_SPANS);
    Ok(Trace { row, others, truncated })
}

fn stored(row: &Row<'_>) -> Result<StoredSpan, ReadError> {
    let resource = row.get_ref(0)?.as_blob_or_null().map_err(rusqlite::Error::from)?.map(Resource::decode).transpose()?;
    Ok(StoredSpan { resource, span: Span::decode(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)? })
}

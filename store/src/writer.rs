//! The one connection that writes: applies messages to the tables, and deletes what is too old or too much.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use contract::{RecordKind, attr, limits};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, named_params, params};
use sanitizer::{Sanitized, view};

use crate::columns::Column;
use crate::row::{self, nanoseconds};
use crate::{Clock, now_ns};

/// Traces that one step of a sweep deletes, so that messages wait for a step and not for the whole sweep.
const STEP_TRACES: u32 = 1_000;
/// Corrections that a row keeps, the ones with the highest numbers. A row has one in life; each of very many would cost as much as all before it.
const MAX_CORRECTIONS: u32 = 32;

pub(crate) struct Writer {
    pub(crate) connection: Connection,
    pub(crate) clock: Clock,
    pub(crate) retention: Duration,
    pub(crate) max_bytes: u64,
    pub(crate) file: StoreFile,
}

/// The file as it was opened. Whoever deletes it, or its folder, leaves an open file that nobody will ever find again.
pub(crate) struct StoreFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
    /// Held while the writer lives, so that no second process writes to the same file.
    _lock: File,
}

impl StoreFile {
    pub(crate) fn new(path: PathBuf, lock: File) -> Self {
        let identity = identity(&path);
        Self { path, identity, _lock: lock }
    }

    fn check(&self) -> rusqlite::Result<()> {
        if identity(&self.path) == self.identity { Ok(()) } else { Err(rusqlite::Error::InvalidPath(self.path.clone())) }
    }
}

/// Device and number of the file at a path.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        Some((metadata.dev(), metadata.ino()))
    }
    #[cfg(not(unix))]
    Some((0, u64::from(metadata.is_file())))
}

/// Traces that a sweep deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Began longer ago than the retention.
    pub by_age: u64,
    /// The oldest ones, because the file had reached its limit.
    pub by_size: u64,
    /// Open requests, and their markers, without a marker for so long that they are gone.
    pub gone: u64,
}

impl Swept {
    /// All of them.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.by_age + self.by_size + self.gone
    }
}

/// What storing a span changed. Whoever counts by it counts what is delivered again, after whatever restart, once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// The span said something new: of a row, that its request had none; of a marker, that it is the latest word on an open request; of any
    /// other span, that none with its ids was there.
    pub is_new: bool,
    /// The row as it was shown before a row or a correction was stored, if it was there.
    pub row_before: Option<Box<Span>>,
    /// The row as it is shown since, if a row or a correction was stored and it is there.
    pub row_now: Option<Box<Span>>,
}

/// What a trace's row in the table says about it.
struct TraceRow<'a> {
    state: &'static str,
    span: &'a Span,
    sequence: Option<i64>,
    /// Of a marker: the trace of its request.
    row_trace_id: Option<&'a [u8]>,
}

impl<'a> TraceRow<'a> {
    const fn row(state: &'static str, span: &'a Span) -> Self {
        Self { state, span, sequence: None, row_trace_id: None }
    }
}

impl Writer {
    /// Writes all the messages in one transaction: all of them, or none. Of each message, what each of its spans changed.
    pub(crate) fn write<'a>(&mut self, messages: impl Iterator<Item = &'a Sanitized>) -> rusqlite::Result<Vec<Vec<Change>>> {
        self.file.check()?;
        let transaction = self.begin()?;
        let mut changes = Vec::new();
        for message in messages {
            let of_message = message.spans().map(|(resource, span)| put(&transaction, resource, span));
            changes.push(of_message.collect::<rusqlite::Result<_>>()?);
            judged_by(&transaction, message)?;
        }
        transaction.commit()?;
        Ok(changes)
    }

    /// Deletes at most [`STEP_TRACES`] of each kind. What it deleted is not everything that is due unless it is less than that.
    pub(crate) fn sweep_step(&mut self) -> rusqlite::Result<Swept> {
        let now = now_ns(&self.clock);
        let gone_before = sql_ns(now.saturating_sub(nanoseconds(limits::OPEN_GONE_AFTER)));
        let old_before = sql_ns(now.saturating_sub(nanoseconds(self.retention)));
        let full = self.used_bytes()? > self.max_bytes;
        let transaction = self.begin()?;
        let delete = |which: &str, before: i64| {
            let sql = format!("DELETE FROM traces WHERE id IN (SELECT id FROM traces WHERE {which} LIMIT ?2)");
            transaction.prepare_cached(&sql)?.execute(params![before, STEP_TRACES]).map(|n| n as u64)
        };
        // What is gone from the log keeps the spans that came for it: its row may still arrive.
        let gone = "state IN ('open', 'marker') AND ended_ns < ?1";
        transaction.execute(
            &format!("DELETE FROM views WHERE trace IN (SELECT id FROM traces WHERE {gone} AND state = 'open' AND id IN (SELECT trace FROM spans))"),
            [gone_before],
        )?;
        let kept = transaction.execute(
            &format!(
                "UPDATE traces SET state = 'spans', sequence = NULL, row_trace_id = NULL, admitted_ms = NULL{} \
                 WHERE {gone} AND state = 'open' AND id IN (SELECT trace FROM spans)",
                Column::ALL.map(|column| format!(", {} = NULL", column.sql())).concat()
            ),
            [gone_before],
        )? as u64;
        let swept = Swept {
            gone: kept + delete(gone, gone_before)?,
            by_age: delete("started_ns < ?1 ORDER BY started_ns", old_before)?,
            by_size: if full { delete("started_ns < ?1 ORDER BY started_ns", i64::MAX)? } else { 0 },
        };
        transaction.commit()?;
        Ok(swept)
    }

    /// Begins with the write lock: one that is asked for later, after a read, is not waited for.
    fn begin(&mut self) -> rusqlite::Result<Transaction<'_>> {
        self.connection.transaction_with_behavior(TransactionBehavior::Immediate)
    }

    /// Whether a step that did this much has left something to do.
    pub(crate) const fn more_to_sweep(swept: Swept) -> bool {
        let step = STEP_TRACES as u64;
        swept.by_age >= step || swept.gone >= step || swept.by_size > 0
    }

    /// Bytes of the file that hold something. Freed pages are used again, so the file itself does not grow beyond the largest this ever was.
    fn used_bytes(&self) -> rusqlite::Result<u64> {
        let pragma = |name: &str| self.connection.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
        Ok((pragma("page_count")? - pragma("freelist_count")?) * pragma("page_size")?)
    }

    /// Brings everything from the log beside the file into the file.
    pub(crate) fn checkpoint(&self) -> rusqlite::Result<()> {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }
}

/// Notes by which policy the message was judged, for each of its traces.
fn judged_by(tx: &Transaction<'_>, message: &Sanitized) -> rusqlite::Result<()> {
    let version = &*message.report().policy_version;
    let mut update =
        tx.prepare_cached("UPDATE traces SET policy_version = ?2 WHERE trace_id = ?1 AND policy_version IS NOT ?2")?;
    let mut last: &[u8] = &[];
    for (_, span) in message.spans() {
        // The spans of a trace come one after the other, as a rule.
        if span.trace_id != last {
            update.execute(params![span.trace_id, version])?;
            last = &span.trace_id;
        }
    }
    Ok(())
}

/// A time as a column holds it; the sanitizer lets no time after the year 2100 through.
pub(crate) fn sql_ns(unix_ns: u64) -> i64 {
    i64::try_from(unix_ns).unwrap_or(i64::MAX)
}

fn put(tx: &Transaction<'_>, resource: Option<&Resource>, span: &Span) -> rusqlite::Result<Change> {
    match view::record_kind(span) {
        Some(RecordKind::Request) => put_row(tx, resource, span.clone()),
        Some(RecordKind::InProgress) => match view::text(&span.attributes, attr::REQUEST_ID).and_then(row::id_bytes) {
            Some(row_id) => put_marker(tx, resource, span, row_id),
            // A marker that does not say of what: it is kept like any span.
            None => put_span(tx, resource, span),
        },
        Some(RecordKind::Attempt | RecordKind::Correction) | None => put_span(tx, resource, span),
    }
}

/// Stores a final row, with the corrections that are known by now.
fn put_row(tx: &Transaction<'_>, resource: Option<&Resource>, mut span: Span) -> rusqlite::Result<Change> {
    let row_before = final_row(tx, &span.trace_id)?.map(|(_, row)| Box::new(row));
    let corrections = corrections(tx, &span.trace_id)?;
    row::correct(&mut span, &corrections);
    delete_markers(tx, &span.trace_id, None)?;
    put_view(tx, &TraceRow::row("final", &span), resource.map(Resource::encode_to_vec).as_deref())?;
    Ok(Change { is_new: row_before.is_none(), row_before, row_now: Some(Box::new(span)) })
}

/// Stores a marker as the live row of its request, and as itself, in place of the marker before it.
fn put_marker(tx: &Transaction<'_>, resource: Option<&Resource>, marker: &Span, row_id: [u8; 16]) -> rusqlite::Result<Change> {
    let sequence = Some(view::int(&marker.attributes, attr::IN_PROGRESS_SEQUENCE).unwrap_or(0));
    let live = row::live(marker, row_id);
    let resource = resource.map(Resource::encode_to_vec);
    let is_new = put_view(tx, &TraceRow { sequence, ..TraceRow::row("open", &live) }, resource.as_deref())?;
    if is_new {
        delete_markers(tx, &row_id, Some(&marker.trace_id))?;
        put_view(
            tx,
            &TraceRow { sequence, row_trace_id: Some(&row_id), ..TraceRow::row("marker", marker) },
            resource.as_deref(),
        )?;
    }
    Ok(Change { is_new, ..Change::default() })
}

/// Stores any other span. A correction also changes the row, if that is there.
fn put_span(tx: &Transaction<'_>, resource: Option<&Resource>, span: &Span) -> rusqlite::Result<Change> {
    let times = (sql_ns(span.start_time_unix_nano), sql_ns(span.end_time_unix_nano));
    let found: Option<(i64, String)> = tx
        .prepare_cached("SELECT id, state FROM traces WHERE trace_id = ?1")?
        .query_row([&span.trace_id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let trace = match &found {
        Some((id, state)) => {
            if state == "spans" {
                tx.prepare_cached(
                    "UPDATE traces SET started_ns = min(started_ns, ?2), ended_ns = max(ended_ns, ?3) WHERE id = ?1",
                )?
                .execute(params![id, times.0, times.1])?;
            }
            *id
        }
        None => tx
            .prepare_cached("INSERT INTO traces (trace_id, state, started_ns, ended_ns) VALUES (?1, 'spans', ?2, ?3)")?
            .insert(params![span.trace_id, times.0, times.1])?,
    };
    let correction = match view::record_kind(span) {
        Some(RecordKind::Correction) => Some(view::int(&span.attributes, attr::CORRECTION_SEQUENCE).unwrap_or(0)),
        _ => None,
    };
    let is_known =
        tx.prepare_cached("SELECT 1 FROM spans WHERE trace = ?1 AND span_id = ?2")?.exists(params![trace, span.span_id])?;
    tx.prepare_cached(
        "INSERT INTO spans (trace, span_id, correction, resource, span) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (trace, span_id) DO UPDATE SET correction = excluded.correction, resource = excluded.resource, span = excluded.span",
    )?
    .execute(params![trace, span.span_id, correction, resource.map(Resource::encode_to_vec), span.encode_to_vec()])?;
    let mut change = Change { is_new: !is_known, ..Change::default() };
    if correction.is_some() {
        tx.prepare_cached(
            "DELETE FROM spans WHERE trace = ?1 AND id IN
                 (SELECT id FROM spans WHERE trace = ?1 AND correction IS NOT NULL ORDER BY correction DESC LIMIT -1 OFFSET ?2)",
        )?
        .execute(params![trace, MAX_CORRECTIONS])?;
        if let Some((resource, before)) = final_row(tx, &span.trace_id)? {
            let mut now = before.clone();
            row::correct(&mut now, &corrections(tx, &span.trace_id)?);
            put_view(tx, &TraceRow::row("final", &now), resource.as_deref())?;
            (change.row_before, change.row_now) = (Some(Box::new(before)), Some(Box::new(now)));
        }
    }
    Ok(change)
}

/// The row of a trace as it is shown, with its resource as it is stored, if it has arrived.
fn final_row(tx: &Transaction<'_>, trace_id: &[u8]) -> rusqlite::Result<Option<(Option<Vec<u8>>, Span)>> {
    tx.prepare_cached(
        "SELECT resource, span FROM views WHERE trace = (SELECT id FROM traces WHERE trace_id = ?1 AND state = 'final')",
    )?
    .query_row([trace_id], |row| Ok((row.get(0)?, decode(row.get_ref(1)?.as_blob()?)?)))
    .optional()
}

/// Inserts or updates a trace and its row. Nothing happens, and the answer is false, if what is there must stay: a final row before any
/// marker, a marker before an older one.
fn put_view(tx: &Transaction<'_>, row: &TraceRow<'_>, resource: Option<&[u8]>) -> rusqlite::Result<bool> {
    let Some(trace) = put_trace(tx, row)? else { return Ok(false) };
    tx.prepare_cached("INSERT OR REPLACE INTO views (trace, resource, span) VALUES (?1, ?2, ?3)")?.execute(params![
        trace,
        resource,
        row.span.encode_to_vec()
    ])?;
    Ok(true)
}

fn put_trace(tx: &Transaction<'_>, row: &TraceRow<'_>) -> rusqlite::Result<Option<i64>> {
    let attributes = &row.span.attributes;
    let [pool_slug, status, outcome, account_label, model, api_key_label, transport, error_code, search] =
        Column::ALL.map(|column| column.value(attributes));
    tx.prepare_cached(
        "INSERT INTO traces (trace_id, state, started_ns, ended_ns, sequence, row_trace_id, admitted_ms, pool_slug, status,
             outcome, account_label, model, api_key_label, transport, error_code, search)
         VALUES (:trace_id, :state, :started_ns, :ended_ns, :sequence, :row_trace_id, :admitted_ms, :pool_slug, :status,
             :outcome, :account_label, :model, :api_key_label, :transport, :error_code, :search)
         ON CONFLICT (trace_id) DO UPDATE SET state = excluded.state, started_ns = excluded.started_ns,
             ended_ns = excluded.ended_ns, sequence = excluded.sequence, row_trace_id = excluded.row_trace_id,
             admitted_ms = excluded.admitted_ms, pool_slug = excluded.pool_slug, status = excluded.status,
             outcome = excluded.outcome, account_label = excluded.account_label, model = excluded.model,
             api_key_label = excluded.api_key_label, transport = excluded.transport, error_code = excluded.error_code,
             search = excluded.search
         WHERE excluded.state = 'final'
             OR (excluded.state = 'open' AND traces.state = 'spans')
             OR (excluded.state = traces.state AND excluded.sequence >= traces.sequence)
         RETURNING id",
    )?
    .query_row(
        named_params! {
            ":trace_id": row.span.trace_id,
            ":state": row.state,
            ":started_ns": sql_ns(row.span.start_time_unix_nano),
            ":ended_ns": sql_ns(row.span.end_time_unix_nano),
            ":sequence": row.sequence,
            ":row_trace_id": row.row_trace_id,
            ":admitted_ms": view::int(attributes, attr::REQUEST_ADMITTED_MS),
            ":pool_slug": pool_slug,
            ":status": status,
            ":outcome": outcome,
            ":account_label": account_label,
            ":model": model,
            ":api_key_label": api_key_label,
            ":transport": transport,
            ":error_code": error_code,
            ":search": search,
        },
        |row| row.get(0),
    )
    .optional()
}

/// Deletes a request's markers, but not those in the trace `except`.
fn delete_markers(tx: &Transaction<'_>, row_trace_id: &[u8], except: Option<&[u8]>) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM traces WHERE state = 'marker' AND row_trace_id = ?1 AND trace_id IS NOT ?2")?
        .execute(params![row_trace_id, except])?;
    Ok(())
}

/// The corrections of a trace, in the order of their numbers.
fn corrections(tx: &Transaction<'_>, trace_id: &[u8]) -> rusqlite::Result<Vec<Span>> {
    tx.prepare_cached(
        "SELECT span FROM spans WHERE trace = (SELECT id FROM traces WHERE trace_id = ?1) AND correction IS NOT NULL ORDER BY correction",
    )?
    .query_map([trace_id], |row| decode(row.get_ref(0)?.as_blob()?))?
    .collect()
}

fn decode(bytes: &[u8]) -> rusqlite::Result<Span> {
    Span::decode(bytes)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, Box::new(error)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Instant, SystemTime};

    use contract::AttemptStatus;
    use testkit::otlp::{self, Row};

    use super::*;
    use crate::reader::{Counts, Reader};
    use crate::schema;

    /// A writer whose clock stands `ahead` of the rows' times, and a reader of the same file with the time of the rows.
    fn writer(folder: &tempfile::TempDir, ahead: Duration) -> (Writer, Reader) {
        let path = folder.path().join("store.db");
        let now = SystemTime::now();
        let connection = schema::open(&path).unwrap();
        let clock: Clock = Arc::new(move || now + ahead);
        let file = StoreFile::new(path.clone(), schema::lock(&path).unwrap());
        let writer = Writer { connection, clock, retention: crate::DEFAULT_RETENTION, max_bytes: crate::DEFAULT_MAX_BYTES, file };
        (writer, Reader::new(path, Arc::new(move || now)))
    }

    fn put_all(writer: &mut Writer, spans: Vec<Span>) {
        let message = sanitizer::protobuf(
            &sanitizer::Policy::contract(),
            std::time::SystemTime::now(),
            &otlp::request(spans).encode_to_vec(),
        )
        .unwrap();
        writer.write(std::iter::once(&message)).unwrap();
    }

    fn counts(reader: &Reader) -> Counts {
        reader.counts(Instant::now() + Duration::from_secs(30)).unwrap()
    }

    /// Guarantees: what began before the retention goes, with all its spans; what began after it stays.
    #[test]
    fn the_old_go() {
        let folder = tempfile::tempdir().unwrap();
        let (mut writer, reader) = writer(&folder, Duration::ZERO);
        let old = Row { admitted_ms: otlp::now_ms() - 14 * 86_400_000 - 60_000, ..Row::numbered(1) };
        let young = Row { admitted_ms: otlp::now_ms() - 14 * 86_400_000 + 60_000, ..Row::numbered(2) };
        for row in [&old, &young] {
            put_all(&mut writer, vec![row.span(), row.attempt(1, AttemptStatus::Succeeded)]);
        }
        assert_eq!(writer.sweep_step().unwrap(), Swept { by_age: 1, ..Swept::default() });
        assert_eq!(writer.sweep_step().unwrap(), Swept::default());
        assert_eq!(counts(&reader), Counts { requests: 1, open: 0, spans: 1 });
        let views: u64 = writer.connection.query_row("SELECT count(*) FROM views", [], |row| row.get(0)).unwrap();
        assert_eq!(views, 1);
    }

    /// Guarantees: a file above its limit loses its oldest traces, step by step, until it is below; the newest stay.
    #[test]
    fn the_oldest_go_when_there_is_no_room() {
        let folder = tempfile::tempdir().unwrap();
        let (mut writer, reader) = writer(&folder, Duration::ZERO);
        let total = 3 * STEP_TRACES;
        let base_ms = otlp::now_ms() - 60_000;
        let row = |n: u32| Row { admitted_ms: base_ms + u64::from(n), ..Row::numbered(n) };
        for from in (1..=total).step_by(500) {
            put_all(&mut writer, (from..from + 500).map(|n| row(n).span()).collect());
        }
        writer.max_bytes = writer.used_bytes().unwrap() / 2;
        let mut by_size = 0;
        loop {
            let swept = writer.sweep_step().unwrap();
            by_size += swept.by_size;
            if !Writer::more_to_sweep(swept) {
                break;
            }
        }
        assert!(writer.used_bytes().unwrap() <= writer.max_bytes);
        assert_eq!(by_size, 2 * u64::from(STEP_TRACES), "half of it is in two steps of a third each");
        assert_eq!(counts(&reader).requests, u64::from(STEP_TRACES));
        let oldest_ms: u64 = writer.connection.query_row("SELECT min(admitted_ms) FROM traces", [], |row| row.get(0)).unwrap();
        assert_eq!(oldest_ms, base_ms + u64::from(2 * STEP_TRACES) + 1, "the newest third stays");
    }

    /// Guarantees: open requests that are gone are deleted with their markers; spans that came for one of them stay.
    #[test]
    fn the_gone_go() {
        let folder = tempfile::tempdir().unwrap();
        let (mut writer, reader) = writer(&folder, limits::OPEN_GONE_AFTER + Duration::from_secs(1));
        let (silent, busy) = (Row::numbered(1), Row::numbered(2));
        put_all(&mut writer, vec![silent.marker(0), busy.marker(0), busy.attempt(1, AttemptStatus::RetryableFailed)]);
        assert_eq!(counts(&reader), Counts { requests: 0, open: 2, spans: 1 });
        assert_eq!(writer.sweep_step().unwrap().gone, 4, "two requests, and the traces of their markers");
        assert_eq!(counts(&reader), Counts { requests: 0, open: 0, spans: 1 });
        put_all(&mut writer, vec![busy.span()]);
        let trace = reader.trace(busy.id, Instant::now() + Duration::from_secs(30)).unwrap().unwrap();
        assert_eq!((trace.row.map(|row| row.span), trace.others.len()), (Some(busy.span()), 1));
        assert!(!Writer::more_to_sweep(writer.sweep_step().unwrap()));
    }

    /// Guarantees: a trace says by which policy its last message was judged, a row that was stored before there was such a column by none, and the
    /// message itself says nothing of it.
    #[test]
    fn the_policy_is_noted() {
        let folder = tempfile::tempdir().unwrap();
        let (mut writer, reader) = writer(&folder, Duration::ZERO);
        let (one, other) = (Row::numbered(1), Row::numbered(2));
        put_all(&mut writer, vec![one.span(), one.attempt(1, AttemptStatus::Succeeded), other.span()]);
        let versions = |writer: &Writer| -> Vec<Option<String>> {
            let mut select = writer.connection.prepare("SELECT policy_version FROM traces ORDER BY trace_id").unwrap();
            select.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
        };
        let contract = Some(sanitizer::Policy::contract().version().to_owned());
        assert_eq!(versions(&writer), [contract.clone(), contract.clone()]);
        writer.connection.execute("UPDATE traces SET policy_version = NULL", []).unwrap();
        put_all(&mut writer, vec![other.attempt(1, AttemptStatus::Succeeded)]);
        assert_eq!(versions(&writer), [None, contract]);
        let row = reader.trace(one.id, Instant::now() + Duration::from_secs(30)).unwrap().unwrap().row;
        assert_eq!(row.map(|row| row.span), Some(one.span()));
    }
}

//! The store's contract as its users see it: what is stored comes back as it is to be shown, in whatever order it arrived.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use contract::{AttemptStatus, RecordKind, RequestStatus, attr, limits};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use sanitizer::{Sanitized, view};
use store::{Column, Config, Counts, ReadError, Reader, Records, Scan, Store, WriteError};
use testkit::otlp::{self, Row, attribute};

const NS_PER_S: u64 = 1_000_000_000;
const NS_PER_MS: u64 = 1_000_000;

/// A store on a clock that stands still until the test moves it.
struct Fixture {
    store: Store,
    now_ns: Arc<AtomicU64>,
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now_ns = Arc::new(AtomicU64::new(otlp::now_ms() * NS_PER_MS));
        let theirs = Arc::clone(&now_ns);
        let clock = Arc::new(move || SystemTime::UNIX_EPOCH + Duration::from_nanos(theirs.load(Ordering::Relaxed)));
        let store = Store::open_with_clock(&Config::new(file(folder.path())), clock).unwrap();
        Self { store, now_ns, folder }
    }

    async fn write(&self, spans: Vec<Span>) {
        self.store.write(sanitized(spans)).await.unwrap();
    }

    fn reader(&self) -> Reader {
        self.store.reader()
    }

    /// The row of a request as it is shown now.
    fn row(&self, row: &Row) -> Option<Span> {
        self.reader().trace(row.id, deadline()).unwrap()?.row.map(|stored| stored.span)
    }
}

fn file(folder: &Path) -> std::path::PathBuf {
    folder.join("store.db")
}

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

fn sanitized(spans: Vec<Span>) -> Sanitized {
    let given = spans.len() as u64;
    let sanitized =
        sanitizer::protobuf(&sanitizer::Policy::contract(), std::time::SystemTime::now(), &otlp::request(spans).encode_to_vec())
            .unwrap();
    assert_eq!(sanitized.report().accepted_records, given);
    sanitized
}

fn correction(row: &Row, sequence: u32, changes: Vec<opentelemetry_proto::tonic::common::v1::KeyValue>) -> Span {
    let mut attributes = vec![
        attribute(attr::RECORD_KIND, RecordKind::Correction.as_str()),
        attribute(attr::CORRECTION_SEQUENCE, i64::from(sequence)),
        attribute(attr::REQUEST_ID, row.id_text()),
    ];
    attributes.extend(changes);
    let learned_ns = (row.admitted_ms + row.duration_ms + 5_000) * NS_PER_MS;
    Span {
        span_id: otlp::derived_id::<8>(&row.id, "correction", &sequence.to_be_bytes()).to_vec(),
        name: "correction".to_owned(),
        kind: 1,
        start_time_unix_nano: learned_ns,
        end_time_unix_nano: learned_ns,
        attributes,
        status: None,
        ..row.span()
    }
}

fn marker_at(row: &Row, sequence: u32, now_ns: u64) -> Span {
    Span { start_time_unix_nano: now_ns, end_time_unix_nano: now_ns, ..row.marker(sequence) }
}

/// The texts of a column, newest row first.
fn texts(reader: &Reader, scan: &Scan, column: Column) -> Vec<String> {
    let mut texts = Vec::new();
    reader
        .scan::<ReadError>(scan, |candidate| {
            texts.extend(candidate.text(column).map(str::to_owned));
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    texts
}

fn requests() -> Scan {
    Scan { records: Records::Requests, ..Scan::all(deadline()) }
}

fn text<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    view::text(&span.attributes, key)
}

/// Guarantees: a row and its attempt come back exactly as they were sent, with their resource, also after the store was closed and opened again.
#[tokio::test]
async fn what_is_written_is_read() {
    let fixture = Fixture::new();
    let row = Row::numbered(1);
    let attempt = row.attempt(1, AttemptStatus::Succeeded);
    fixture.write(vec![row.span(), attempt.clone()]).await;
    assert_eq!(fixture.store.queued_spans(), 0);
    let check = |store: &Store| {
        let trace = store.reader().trace(row.id, deadline()).unwrap().unwrap();
        let stored = trace.row.unwrap();
        assert_eq!(stored.span, row.span());
        assert_eq!(stored.resource, otlp::request(Vec::new()).resource_spans[0].resource);
        assert_eq!(trace.others.into_iter().map(|stored| stored.span).collect::<Vec<_>>(), std::slice::from_ref(&attempt));
        assert_eq!(store.reader().counts(deadline()).unwrap(), Counts { requests: 1, open: 0, spans: 1 });
    };
    check(&fixture.store);
    fixture.store.close().unwrap();
    fixture.store.close().unwrap();
    assert!(matches!(fixture.store.write(sanitized(vec![row.span()])).await, Err(WriteError::Closed)));
    assert!(!fixture.folder.path().join("store.db-wal").metadata().is_ok_and(|log| log.len() > 0), "the log is not merged");
    check(&Store::open(&Config::new(file(fixture.folder.path()))).unwrap());
    assert_eq!(fixture.reader().trace([7; 16], deadline()).unwrap(), None);
}

/// Guarantees: delivering messages again, in any grouping, changes nothing.
#[tokio::test]
async fn repeated_delivery_changes_nothing() {
    let fixture = Fixture::new();
    let row = Row::numbered(1);
    let attempt = row.attempt(1, AttemptStatus::Succeeded);
    let late = correction(&row, 1, vec![attribute(attr::USAGE_TOTAL_TOKENS, 9)]);
    fixture.write(vec![row.span(), attempt.clone(), late.clone()]).await;
    let once = fixture.reader().trace(row.id, deadline()).unwrap();
    for spans in [vec![late], vec![attempt], vec![row.span(), row.span()]] {
        fixture.write(spans).await;
        let again = fixture.reader().trace(row.id, deadline()).unwrap();
        assert_eq!(again.as_ref().map(|trace| (&trace.row, trace.others.len())), once.as_ref().map(|t| (&t.row, t.others.len())));
    }
}

/// Guarantees: whatever the order of arrival of a row and its corrections, the highest number holds, attribute by attribute, and columns follow.
#[tokio::test]
async fn corrections_arrive_in_any_order() {
    let row = Row { status: RequestStatus::Failed, error_code: Some("upstream_status".to_owned()), ..Row::numbered(1) };
    let first =
        correction(&row, 1, vec![attribute(attr::USAGE_TOTAL_TOKENS, 11), attribute(attr::TEXT_USAGE, "11 tokens · cost n/a")]);
    let second = correction(
        &row,
        2,
        vec![attribute(attr::USAGE_TOTAL_TOKENS, 22), attribute(attr::REQUEST_STATUS, RequestStatus::Succeeded.as_str())],
    );
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let fixture = Fixture::new();
        let spans = [row.span(), first.clone(), second.clone()];
        for at in order {
            fixture.write(vec![spans[at].clone()]).await;
        }
        let shown = fixture.row(&row).unwrap();
        assert_eq!(view::int(&shown.attributes, attr::USAGE_TOTAL_TOKENS), Some(22), "{order:?}");
        assert_eq!(text(&shown, attr::TEXT_USAGE), Some("11 tokens · cost n/a"), "{order:?}");
        assert_eq!(text(&shown, attr::REQUEST_STATUS), Some("succeeded"), "{order:?}");
        assert_eq!(text(&shown, attr::RECORD_KIND), Some("request"), "{order:?}");
        // The corrected row is no longer a failed span, so it has no error type either.
        assert_eq!((shown.status.map_or(0, |s| s.code), view::text(&shown.attributes, attr::ERROR_TYPE)), (0, None), "{order:?}");
        assert_eq!(view::int(&shown.attributes, attr::CORRECTION_SEQUENCE), None, "{order:?}");
        assert_eq!((shown.start_time_unix_nano, shown.end_time_unix_nano), {
            let span = row.span();
            (span.start_time_unix_nano, span.end_time_unix_nano)
        });
        assert_eq!(texts(&fixture.reader(), &requests(), Column::Status), ["succeeded"], "{order:?}");
        assert_eq!(fixture.reader().trace(row.id, deadline()).unwrap().unwrap().others.len(), 2, "{order:?}");
    }
}

/// Guarantees: a marker is shown as an open row of its request, from admission to the marker; an older marker, or one after the row,
/// changes nothing, and the row takes its place.
#[tokio::test]
async fn markers_are_live_rows_until_the_row_arrives() {
    let fixture = Fixture::new();
    let row = Row::numbered(1);
    let now_ns = fixture.now_ns.load(Ordering::Relaxed);
    let newest = marker_at(&row, 2, now_ns);
    fixture.write(vec![marker_at(&row, 1, now_ns - NS_PER_S), newest.clone(), marker_at(&row, 0, now_ns - 2 * NS_PER_S)]).await;
    let live = fixture.row(&row).unwrap();
    assert_eq!(live.trace_id, row.id);
    assert_eq!(live.name, row.span().name);
    assert_eq!((live.start_time_unix_nano, live.end_time_unix_nano), (row.admitted_ms * NS_PER_MS, now_ns));
    assert_eq!(text(&live, attr::RECORD_KIND), Some("request"));
    assert_eq!(text(&live, attr::REQUEST_STATUS), Some("in_progress"));
    assert_eq!(view::int(&live.attributes, attr::IN_PROGRESS_SEQUENCE), None);
    assert_eq!(text(&live, attr::TEXT_ERRORS), Some("–"));
    // The marker itself is there too, in its own trace, once.
    let markers = Scan { records: Records::Markers, ..Scan::all(deadline()) };
    assert_eq!(texts(&fixture.reader(), &markers, Column::Status), ["in_progress"]);
    let id: [u8; 16] = newest.trace_id.clone().try_into().unwrap();
    assert_eq!(fixture.reader().trace(id, deadline()).unwrap().unwrap().row.unwrap().span, newest);
    assert_eq!(fixture.reader().counts(deadline()).unwrap(), Counts { requests: 0, open: 1, spans: 0 });

    fixture.write(vec![row.span()]).await;
    fixture.write(vec![marker_at(&row, 3, now_ns + NS_PER_S)]).await;
    assert_eq!(fixture.row(&row).unwrap(), row.span());
    assert_eq!(texts(&fixture.reader(), &markers, Column::Status), Vec::<String>::new());
    assert_eq!(fixture.reader().trace(id, deadline()).unwrap(), None);
    assert_eq!(fixture.reader().counts(deadline()).unwrap(), Counts { requests: 1, open: 0, spans: 0 });
}

/// Guarantees: an open request is without heartbeat from 60 s after its last marker, and gone after 6 h 15 min; nothing before that.
#[tokio::test]
async fn open_rows_age() {
    let fixture = Fixture::new();
    let row = Row::numbered(1);
    let heard_ns = fixture.now_ns.load(Ordering::Relaxed);
    fixture.write(vec![marker_at(&row, 0, heard_ns)]).await;
    let errors_after = |age: Duration| {
        fixture.now_ns.store(heard_ns + u64::try_from(age.as_nanos()).unwrap(), Ordering::Relaxed);
        fixture.row(&row).map(|shown| text(&shown, attr::TEXT_ERRORS).unwrap().to_owned())
    };
    assert_eq!(errors_after(Duration::from_millis(59_999)).as_deref(), Some("–"));
    assert_eq!(errors_after(Duration::from_secs(60)).as_deref(), Some("no heartbeat"));
    assert_eq!(errors_after(Duration::from_secs(22_500)).as_deref(), Some("no heartbeat"));
    assert_eq!(errors_after(limits::OPEN_GONE_AFTER + Duration::from_nanos(1)), None);
    assert_eq!(texts(&fixture.reader(), &requests(), Column::Status), Vec::<String>::new());
    assert_eq!(fixture.reader().counts(deadline()).unwrap().open, 0);
}

/// Guarantees: a marker that names no request, and one that claims a request's own trace, neither fail nor replace anything.
#[tokio::test]
async fn odd_markers_do_no_harm() {
    let fixture = Fixture::new();
    let (row, other) = (Row::numbered(1), Row::numbered(2));
    let mut nameless = marker_at(&other, 0, otlp::now_ms() * NS_PER_MS);
    nameless.attributes.retain(|attribute| attribute.key != attr::REQUEST_ID);
    let intruder = Span { trace_id: row.id.to_vec(), ..other.marker(1) };
    fixture.write(vec![row.span(), nameless, intruder]).await;
    assert_eq!(fixture.row(&row).unwrap(), row.span());
    assert_eq!(text(&fixture.row(&other).unwrap(), attr::REQUEST_STATUS), Some("in_progress"));
    // Markers of one request belong in one trace. One that comes in another trace still leaves one marker.
    for sequence in [2, 3] {
        fixture.write(vec![Span { trace_id: vec![sequence; 16], ..other.marker(sequence.into()) }]).await;
    }
    let markers = Scan { records: Records::Markers, ..Scan::all(deadline()) };
    assert_eq!(texts(&fixture.reader(), &markers, Column::Status).len(), 1);
}

/// Guarantees: a scan is newest first, whatever the order of arrival, stops where it is told to, and its conditions hold.
#[tokio::test]
async fn scans_are_newest_first() {
    let fixture = Fixture::new();
    let rows: Vec<Row> = (1..=9)
        .map(|n| Row { model: format!("m{n}"), pool: if n % 3 == 0 { "b" } else { "a" }.to_owned(), ..Row::numbered(n) })
        .collect();
    for at in [4, 0, 8, 2, 6, 1, 7, 3, 5] {
        fixture.write(vec![rows[at].span()]).await;
    }
    let reader = fixture.reader();
    assert_eq!(texts(&reader, &requests(), Column::Model), ["m9", "m8", "m7", "m6", "m5", "m4", "m3", "m2", "m1"]);
    let scan = Scan { any_of: vec![(Column::PoolSlug, vec!["b".to_owned(), "c".to_owned()])], ..requests() };
    assert_eq!(texts(&reader, &scan, Column::Model), ["m9", "m6", "m3"]);
    let admitted = |n: usize| i64::try_from(rows[n - 1].admitted_ms).unwrap();
    let scan = Scan { admitted_ms: Some((admitted(2), admitted(4))), ..requests() };
    assert_eq!(texts(&reader, &scan, Column::Model), ["m4", "m3", "m2"]);
    let scan = Scan { trace_id: Some(rows[6].id), ..requests() };
    assert_eq!(texts(&reader, &scan, Column::Model), ["m7"]);
    let mut seen = 0;
    reader
        .scan::<ReadError>(&requests(), |_| {
            seen += 1;
            Ok(if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })
        .unwrap();
    assert_eq!(seen, 2);
}

/// Guarantees: a time window holds what overlaps it, both ends included, also a request that began hours before it.
#[tokio::test]
async fn windows_overlap() {
    let fixture = Fixture::new();
    let base_ms = otlp::now_ms() - 86_400_000;
    let row = |n: u32, from_s: u64, for_s: u64| Row {
        model: format!("m{n}"),
        admitted_ms: base_ms + from_s * 1000,
        duration_ms: for_s * 1000,
        ..Row::numbered(n)
    };
    let rows = [row(1, 0, 20_000), row(2, 9_000, 10), row(3, 9_990, 10), row(4, 10_005, 5), row(5, 10_020, 1), row(6, 10_021, 1)];
    fixture.write(rows.iter().map(Row::span).collect()).await;
    let at = |s: u64| (base_ms + s * 1000) * NS_PER_MS;
    let scan = Scan { window_ns: (at(10_000), at(10_020)), ..requests() };
    assert_eq!(texts(&fixture.reader(), &scan, Column::Model), ["m5", "m4", "m3", "m1"]);
}

/// Guarantees: readers see whole messages, all of them in the end, while the writer writes and without making it wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_and_the_writer_do_not_disturb_each_other() {
    const MESSAGES: u32 = 200;
    let fixture = Fixture::new();
    let reader = fixture.reader();
    let reading = std::thread::spawn(move || {
        loop {
            // Two rows a message, so an odd number of rows would be half a message.
            let rows = texts(&reader, &requests(), Column::Status).len();
            assert_eq!(rows % 2, 0, "half a message is seen");
            if rows == 2 * MESSAGES as usize {
                break;
            }
        }
    });
    let mut writes = tokio::task::JoinSet::new();
    for n in 0..MESSAGES {
        let store = fixture.store.clone();
        let message = sanitized(vec![Row::numbered(2 * n + 1).span(), Row::numbered(2 * n + 2).span()]);
        writes.spawn(async move { store.write(message).await });
    }
    while let Some(result) = writes.join_next().await {
        result.unwrap().unwrap();
    }
    reading.join().unwrap();
}

/// Guarantees: a query that has no time left ends, and its connection is of use to the next one.
#[tokio::test]
async fn a_query_ends_at_its_deadline() {
    let fixture = Fixture::new();
    fixture.write(vec![Row::numbered(1).span()]).await;
    let late = Scan { deadline: Instant::now(), ..requests() };
    let result = fixture.reader().scan::<ReadError>(&late, |_| Ok(ControlFlow::Continue(())));
    assert!(matches!(result, Err(ReadError::Deadline)));
    assert_eq!(texts(&fixture.reader(), &requests(), Column::Status).len(), 1);
}

/// Guarantees: the store's files can be read by their owner alone, whatever the folder allows.
#[cfg(unix)]
#[tokio::test]
async fn the_files_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let store = store::Store::open(&store::Config::new(folder.path().join("requests.sqlite"))).unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.file_name());
    }
    store.close().unwrap();
}

/// Guarantees: a second process, or a second handle, cannot open a store that is open, and says what holds it; once that is closed, it can.
#[test]
fn one_store_one_writer() {
    let folder = tempfile::tempdir().unwrap();
    let config = store::Config::new(folder.path().join("requests.sqlite"));
    let first = store::Store::open(&config).unwrap();
    assert!(matches!(store::Store::open(&config), Err(store::OpenError::InUse { .. })));
    first.close().unwrap();
    store::Store::open(&config).unwrap().close().unwrap();
}

/// Guarantees: once the folder was deleted under the store, nothing is acknowledged any more: it would be lost with the open file.
#[cfg(unix)]
#[tokio::test]
async fn a_deleted_folder_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let store = store::Store::open(&store::Config::new(folder.path().join("requests.sqlite"))).unwrap();
    let message = |n| {
        sanitizer::protobuf(
            &sanitizer::Policy::contract(),
            std::time::SystemTime::now(),
            &prost::Message::encode_to_vec(&testkit::otlp::request(vec![testkit::otlp::Row::numbered(n).span()])),
        )
        .unwrap()
    };
    store.write(message(1)).await.unwrap();
    std::fs::remove_dir_all(folder.path()).unwrap();
    assert!(matches!(store.write(message(2)).await, Err(store::WriteError::Failed(_))));
}

/// Guarantees: a write says of each span whether it is new, also after the store was opened again, and of a row and of a correction how the row was
/// shown before and how it is since.
#[tokio::test]
async fn a_write_says_what_changed() {
    let fixture = Fixture::new();
    let row = Row::numbered(1);
    let (span, attempt) = (row.span(), row.attempt(1, AttemptStatus::Succeeded));
    let correct = |text: &str| correction(&row, 1, vec![attribute(attr::TEXT_USAGE, text)]);
    let write = |store: &Store, spans| {
        let (store, message) = (store.clone(), sanitized(spans));
        async move { store.write(message).await.unwrap() }
    };
    let news = |changes: &[store::Change]| changes.iter().map(|change| change.is_new).collect::<Vec<_>>();
    let usage =
        |row: &Option<Box<Span>>| row.as_deref().and_then(|row| view::text(&row.attributes, attr::TEXT_USAGE)).map(str::to_owned);

    let changes =
        write(&fixture.store, vec![correct("1 tokens · cost n/a"), row.marker(0), attempt.clone(), span.clone(), row.marker(1)])
            .await;
    assert_eq!(news(&changes), [true, true, true, true, false], "no marker after the row");
    assert_eq!((&changes[0].row_before, &changes[0].row_now), (&None, &None), "there is no row yet");
    assert_eq!((usage(&changes[3].row_before), usage(&changes[3].row_now)), (None, Some("1 tokens · cost n/a".to_owned())));

    let changes = write(&fixture.store, vec![correct("2 tokens · cost n/a"), span.clone()]).await;
    assert_eq!(news(&changes), [false, false]);
    let (one, two) = (Some("1 tokens · cost n/a".to_owned()), Some("2 tokens · cost n/a".to_owned()));
    assert_eq!((usage(&changes[0].row_before), usage(&changes[0].row_now)), (one, two.clone()));
    assert_eq!((usage(&changes[1].row_before), usage(&changes[1].row_now)), (two.clone(), two));

    fixture.store.close().unwrap();
    let reopened = Store::open(&Config::new(file(fixture.folder.path()))).unwrap();
    let mut same_span_id = Span { trace_id: vec![7; 16], ..attempt.clone() };
    same_span_id.attributes.retain(|attribute| attribute.key != attr::REQUEST_ID);
    assert_eq!(news(&write(&reopened, vec![span, attempt, same_span_id]).await), [false, false, true]);
}

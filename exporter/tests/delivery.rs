//! A receiver that is slow, away, or choosy: nothing within the queue's bound is lost, everything is counted, and one line says so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use codex_pooler_exporter::{AttemptEnd, Compression, End, Exporter, Protocol, Rejection, Settlement, Terminal, Totals};
use contract::RecordKind;
use sanitizer::view;
use support::{admission, assert_clean, attempt};
use testkit::backend::{Answer, Backend, Script};
use testkit::wait_for;

/// How long the receiver is away. The pause between tries grows as in a longer absence.
const AWAY: Duration = Duration::from_secs(5);
/// Requests while it is away.
const REQUESTS: u64 = 400;

fn balanced(totals: Totals) -> bool {
    totals.emitted == totals.exported + totals.dropped() + totals.queued
}

fn one_request(exporter: &Exporter) {
    let request = exporter.admit(admission()).dispatch();
    request.attempt(attempt("seat 1")).finish(AttemptEnd::of(Terminal::Completed));
    request.settle(Settlement::Unknown);
    request.finish(End::completed());
}

/// A way to a backend that can be cut: while it is, nobody listens, and what was connected is not any more.
struct Way {
    address: SocketAddr,
    to: SocketAddr,
    open: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Way {
    fn to(backend: &Backend) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = backend.url().strip_prefix("http://").unwrap().parse().unwrap();
        let way = Self { address: listener.local_addr().unwrap(), to, open: Arc::default(), streams: Arc::default() };
        way.serve(listener);
        way
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn serve(&self, listener: TcpListener) {
        self.open.store(true, Ordering::SeqCst);
        let (open, streams, to) = (Arc::clone(&self.open), Arc::clone(&self.streams), self.to);
        std::thread::spawn(move || {
            for incoming in listener.incoming() {
                if !open.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(near), Ok(far)) = (incoming, TcpStream::connect(to)) else { continue };
                for (mut from, mut to) in
                    [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far.try_clone().unwrap(), near.try_clone().unwrap())]
                {
                    std::thread::spawn(move || {
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
                streams.lock().unwrap().extend([near, far]);
            }
        });
    }

    fn cut(&self) {
        self.open.store(false, Ordering::SeqCst);
        // Wakes the thread, which then lets go of the listener.
        drop(TcpStream::connect(self.address));
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        wait_for("the listener to be gone", || TcpStream::connect(self.address).is_err().then_some(()));
    }

    fn mend(&self) {
        self.serve(wait_for("the address", || TcpListener::bind(self.address).ok()));
    }
}

fn away_and_back(backend: &Backend, protocol: Protocol) {
    let way = Way::to(backend);
    let exporter = Exporter::builder().endpoint(way.url()).protocol(protocol).build().unwrap();
    one_request(&exporter);
    assert_eq!(exporter.flush().exported, 3);

    way.cut();
    let cut_at = Instant::now();
    for _ in 0..REQUESTS {
        one_request(&exporter);
        assert!(balanced(exporter.totals()));
    }
    assert!(cut_at.elapsed() < AWAY, "recording does not wait");
    std::thread::sleep(AWAY.saturating_sub(cut_at.elapsed()));
    let away = exporter.totals();
    assert_eq!((away.exported, away.dropped(), away.queued), (3, 0, 3 * REQUESTS));

    way.mend();
    let all = 3 * (REQUESTS + 1);
    assert_eq!(exporter.shutdown(), Totals { emitted: all, exported: all, ..Totals::default() });
    let mut ids: Vec<_> = backend.accepted_spans().into_iter().map(|span| (span.trace_id, span.span_id)).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len() as u64, all);
    let rows = backend.accepted_spans().iter().filter(|span| view::record_kind(span) == Some(RecordKind::Request)).count();
    assert!(rows as u64 > REQUESTS);
    assert_clean(backend);
}

/// Guarantees: with the receiver gone and back, nothing that fits the queue is lost over gRPC, and the counters add up all the while.
#[test]
fn away_and_back_over_grpc() {
    away_and_back(&Backend::grpc(Script::always(Answer::Accept)), Protocol::Grpc);
}

/// Guarantees: the same over HTTP.
#[test]
fn away_and_back_over_http() {
    away_and_back(&Backend::http(Script::always(Answer::Accept)), Protocol::HttpProtobuf);
}

/// Guarantees: a message is sent again when the receiver is busy, after the time that it asks for, and given up when it refuses it.
#[test]
fn busy_and_choosy() {
    for (protocol, start) in [(Protocol::HttpProtobuf, Backend::http as fn(Script) -> Backend), (Protocol::Grpc, Backend::grpc)] {
        let backend = start(Script::turns([Answer::Refuse(503), Answer::Accept, Answer::Refuse(400), Answer::Accept]));
        let exporter = Exporter::builder().endpoint(backend.url()).protocol(protocol).build().unwrap();
        let rejected = || {
            exporter.admit_at(admission(), std::time::SystemTime::now()).reject(Rejection::new("policy_denied", 403));
            exporter.flush()
        };
        assert_eq!(rejected(), Totals { emitted: 1, exported: 1, ..Totals::default() });
        assert_eq!(rejected(), Totals { emitted: 2, exported: 1, dropped_rejected: 1, ..Totals::default() });
        assert_eq!(rejected(), Totals { emitted: 3, exported: 2, dropped_rejected: 1, ..Totals::default() });
        backend.finish();
    }
}

/// Guarantees: a receiver that asks for time over HTTP gets it.
#[test]
fn retry_after_is_kept() {
    let backend = Backend::http(Script::turns([Answer::RefuseFor(429, 2), Answer::Accept]));
    let exporter = Exporter::builder().endpoint(backend.url()).protocol(Protocol::HttpProtobuf).build().unwrap();
    let started = Instant::now();
    one_request(&exporter);
    assert_eq!(exporter.flush().exported, 3);
    assert!(started.elapsed() >= Duration::from_secs(2));
    backend.finish();
}

/// Guarantees: headers and compression reach the receiver over both protocols, and what is compressed is the same.
#[test]
fn headers_and_compression() {
    for (protocol, start) in [(Protocol::HttpProtobuf, Backend::http as fn(Script) -> Backend), (Protocol::Grpc, Backend::grpc)] {
        let backend = start(Script::always(Answer::Accept));
        let builder = Exporter::builder().endpoint(backend.url()).protocol(protocol).compression(Compression::Gzip);
        let exporter = builder.header("x-tenant", "hunter2").build().unwrap();
        one_request(&exporter);
        assert_eq!(exporter.shutdown().exported, 3);
        let recorded = &backend.recorded()[0];
        let header = |name: &str| recorded.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!(header("x-tenant"), Some("hunter2"));
        let encoding = if protocol == Protocol::Grpc { "grpc-encoding" } else { "content-encoding" };
        assert_eq!(header(encoding), Some("gzip"));
        assert_eq!(backend.accepted_spans().len(), 3);
        assert_clean(&backend);
    }
}

/// Guarantees: a disabled exporter records nothing, asks for nothing, and ends at once.
#[test]
fn disabled() {
    let exporter = Exporter::disabled();
    one_request(&exporter);
    let request = exporter.admit_with(|| panic!("asked for an admission")).dispatch();
    request.attempt_with(|| panic!("asked for an attempt")).finish_with(|| panic!("asked for an end"));
    assert!(request.finish_with(|| panic!("asked for an end")).lifecycle().is_none());
    assert_eq!((exporter.shutdown(), exporter.is_enabled()), (Totals::default(), false));
}

/// Counts what the exporter says to `tracing`, and keeps it.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Guarantees: a receiver that is not there is worth one line, however often it is tried, and the line repeats nothing of the configuration.
#[test]
fn one_line_of_warning() {
    let lines = Lines::default();
    let writer = lines.clone();
    // For the whole process: the exporter has a thread of its own. The other tests here only add lines of other exporters, so this one
    // runs in a process of its own.
    if std::env::var_os("ONE_LINE").is_none() {
        let this = std::env::current_exe().unwrap();
        let run =
            std::process::Command::new(this).args(["--exact", "one_line_of_warning"]).env("ONE_LINE", "1").output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
        return;
    }
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(move || writer.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let backend = Backend::http(Script::always(Answer::Refuse(503)));
    let exporter =
        Exporter::builder().endpoint(backend.url()).protocol(Protocol::HttpProtobuf).header("x", "hunter2").build().unwrap();
    one_request(&exporter);
    wait_for("three tries", || (backend.recorded().len() >= 3).then_some(()));
    exporter.shutdown_within(Duration::ZERO);
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let port = backend.url().rsplit(':').next().unwrap().to_owned();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.contains("the OTLP receiver cannot be reached or is busy") && !text.contains("hunter2") && !text.contains(&port)
    );
}

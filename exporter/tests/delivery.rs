//! A receiver that is slow, away, or choosy: nothing within the queue's bound is lost, everything is counted, and one line says so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use codex_pooler_exporter::{
    AttemptEnd, Compression, End, Exporter, Price, Protocol, Rejection, Settlement, Terminal, Tokens, Totals,
};
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

/// Guarantees: a receiver that asks for time over HTTP gets it, also more than an exporter would wait by itself.
#[test]
fn retry_after_is_kept() {
    let backend = Backend::http(Script::turns([Answer::RefuseFor(429, 6), Answer::Accept]));
    let exporter = Exporter::builder().endpoint(backend.url()).protocol(Protocol::HttpProtobuf).build().unwrap();
    let started = Instant::now();
    one_request(&exporter);
    assert_eq!(exporter.flush().exported, 3);
    assert!(started.elapsed() >= Duration::from_secs(6));
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

/// Runs a test in a process of its own, with these variables, and says whether this is it. A subscriber is one for the whole process, because the
/// exporter has threads of its own, and other tests here would add the lines of other exporters.
fn in_own_process(test: &str, variables: &[(&str, &str)]) -> bool {
    if std::env::var_os("OWN_PROCESS").is_some() {
        return true;
    }
    let this = std::env::current_exe().unwrap();
    let mut run = std::process::Command::new(this);
    let run = run.args(["--exact", test]).env("OWN_PROCESS", "1").envs(variables.iter().copied()).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
    false
}

impl Lines {
    /// Everything that is said in this process from now on.
    fn listen() -> Self {
        let lines = Self::default();
        let writer = lines.clone();
        let everything = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_thread_names(true);
        let everything = everything.with_ansi(false).with_writer(move || writer.clone());
        tracing::subscriber::set_global_default(everything.finish()).unwrap();
        lines
    }

    /// What was said on the exporter's threads and on those of tests. The backend has threads as well, and no name for them.
    fn text(&self) -> String {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        // Time, level, thread, module.
        let of_exporter = |line: &&str| {
            let mut words = line.split_whitespace().skip(2);
            let starts = |word: Option<&str>, with: &str| word.is_some_and(|word| word.starts_with(with));
            starts(words.next(), "codex-pooler-") || starts(words.next(), "codex_pooler_exporter")
        };
        text.lines().filter(of_exporter).collect::<Vec<_>>().join("\n")
    }
}

/// Guarantees: in an application that listens to everything, all that is heard of an exporter's work, over both protocols, is one line when it
/// fails and one when it works again; nothing of the libraries below it, whose lines could hold what they send.
#[test]
fn libraries_are_not_heard() {
    if !in_own_process("libraries_are_not_heard", &[]) {
        return;
    }
    let lines = Lines::listen();
    for (protocol, start) in [(Protocol::HttpProtobuf, Backend::http as fn(Script) -> Backend), (Protocol::Grpc, Backend::grpc)] {
        let backend = start(Script::turns_then([Answer::Refuse(503)], Answer::Accept));
        // By name, so that it has to be looked up.
        let url = backend.url().replace("127.0.0.1", "localhost");
        let exporter = Exporter::builder().endpoint(url).protocol(protocol).build().unwrap();
        one_request(&exporter);
        assert_eq!(exporter.shutdown().exported, 3);
    }
    let text = lines.text();
    assert!(text.lines().all(|line| line.contains("codex_pooler_exporter")), "{text}");
    assert_eq!(text.lines().count(), 4, "{text}");
    std::thread::Builder::new().name("codex-pooler-itself".into()).spawn(|| tracing::trace!("heard")).unwrap().join().unwrap();
    assert!(lines.text().contains("heard"), "the application is, and lines of named threads are looked at");
}

/// Guarantees: a subscriber that panics at what an exporter says costs the line, and nothing of what is sent.
#[test]
fn a_subscriber_that_panics() {
    if !in_own_process("a_subscriber_that_panics", &[]) {
        return;
    }
    let (told, panics) = std::sync::mpsc::channel();
    let nobody_reads = move || -> io::Sink {
        told.send(()).unwrap();
        panic!("nobody reads")
    };
    tracing::subscriber::set_global_default(tracing_subscriber::fmt().with_writer(nobody_reads).finish()).unwrap();
    let backend = Backend::http(Script::turns_then([Answer::Refuse(503)], Answer::Accept));
    let exporter = Exporter::builder().endpoint(backend.url()).protocol(Protocol::HttpProtobuf).build().unwrap();
    one_request(&exporter);
    assert_eq!(exporter.shutdown().exported, 3);
    assert_eq!(panics.try_iter().count(), 2, "it failed, and worked again");
}

/// Guarantees: a variable that is ignored is worth one line, which names it and repeats nothing of its value.
#[test]
fn ignored_variables_are_said() {
    if !in_own_process("ignored_variables_are_said", &[("OTEL_EXPORTER_OTLP_TIMEOUT", "hunter2")]) {
        return;
    }
    let lines = Lines::listen();
    drop(Exporter::builder().build().unwrap());
    let text = lines.text();
    assert!(text.contains("OTEL_EXPORTER_OTLP_TIMEOUT") && text.contains("WARN") && !text.contains("hunter2"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

/// Guarantees: an endpoint of the other protocol is said to be that, in one line that says what to change; the spans wait.
fn other_protocol(backend: &Backend, protocol: Protocol, expected: &str) {
    let lines = Lines::listen();
    let exporter = Exporter::builder().endpoint(backend.url()).protocol(protocol).build().unwrap();
    one_request(&exporter);
    wait_for("a line", || (!lines.text().is_empty()).then_some(()));
    let totals = exporter.totals();
    assert_eq!((totals.queued, totals.dropped()), (3, 0));
    exporter.shutdown_within(Duration::ZERO);
    let text = lines.text();
    assert!(text.contains(expected) && text.lines().count() == 1, "{text}");
}

/// Guarantees: see [`other_protocol`]; OTLP/HTTP sent to a gRPC port.
#[test]
fn http_to_a_grpc_port() {
    if in_own_process("http_to_a_grpc_port", &[]) {
        other_protocol(
            &Backend::grpc(Script::always(Answer::Accept)),
            Protocol::HttpProtobuf,
            "does not speak HTTP/1.1: set its HTTP port",
        );
    }
}

/// Guarantees: see [`other_protocol`]; OTLP/gRPC sent to an HTTP port.
#[test]
fn grpc_to_an_http_port() {
    if in_own_process("grpc_to_an_http_port", &[]) {
        other_protocol(&Backend::http(Script::always(Answer::Accept)), Protocol::Grpc, "does not speak gRPC: set its gRPC port");
    }
}

/// Guarantees: what the contract refuses of a caller's values is counted, once for every span that would have shown it; the spans are sent.
#[test]
fn refused_values_are_counted() {
    let backend = Backend::http(Script::always(Answer::Accept));
    let exporter = Exporter::builder().endpoint(backend.url()).protocol(Protocol::HttpProtobuf).build().unwrap();
    one_request(&exporter);
    assert_eq!(exporter.flush().refused_values, 0);
    let mut admission = admission();
    admission.pool.name = "alice@example.com".into();
    let request = exporter.admit(admission).dispatch();
    let tokens = Tokens { input: Some(u64::MAX), total: Some(u64::MAX), ..Tokens::default() };
    request.settle(Settlement::Known { tokens, price: Price::Unpriced(contract::PricingStatus::None) });
    request.finish(End::completed());
    // The name in the marker and in the row, and two numbers in the row.
    let totals = exporter.shutdown();
    assert_eq!((totals.refused_values, totals.exported, totals.dropped()), (4, 5, 0));
    assert_clean(&backend);
}

/// Guarantees: a receiver that is not there is worth one line, however often it is tried, and the line repeats nothing of the configuration.
#[test]
fn one_line_of_warning() {
    if !in_own_process("one_line_of_warning", &[]) {
        return;
    }
    let lines = Lines::listen();
    let backend = Backend::http(Script::always(Answer::Refuse(503)));
    let exporter =
        Exporter::builder().endpoint(backend.url()).protocol(Protocol::HttpProtobuf).header("x", "hunter2").build().unwrap();
    one_request(&exporter);
    wait_for("three tries", || (backend.recorded().len() >= 3).then_some(()));
    exporter.shutdown_within(Duration::ZERO);
    let text = lines.text();
    let port = backend.url().rsplit(':').next().unwrap().to_owned();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.contains("the OTLP receiver cannot be reached or is busy") && !text.contains("hunter2") && !text.contains(&port)
    );
    // One that speaks another protocol may just hang up, and cannot be told from one that is away.
    assert!(text.contains("OTLP over HTTP has port 4318 by default"), "{text}");
}

/// Guarantees: that spans are lost is said, also after it was said that they wait, and with what to change where the receiver's status says so.
#[test]
fn a_loss_is_said() {
    if !in_own_process("a_loss_is_said", &[]) {
        return;
    }
    let lines = Lines::listen();
    for (status, expected) in [(401, "OTEL_EXPORTER_OTLP_HEADERS"), (404, "/v1/traces"), (400, "refuses messages")] {
        let backend = Backend::http(Script::turns_then([Answer::Refuse(503)], Answer::Refuse(status)));
        let exporter = Exporter::builder().endpoint(backend.url()).protocol(Protocol::HttpProtobuf).build().unwrap();
        let before = lines.text().lines().count();
        one_request(&exporter);
        assert_eq!(exporter.shutdown().dropped_rejected, 3);
        let text = lines.text();
        let said: Vec<_> = text.lines().skip(before).collect();
        assert_eq!(said.len(), 2, "{text}");
        assert!(said[0].contains("spans wait") && said[1].contains(expected) && said[1].contains("lost"), "{text}");
    }
}

/// Guarantees: a receiver that now takes spans and now does not is worth a line each way, and not one for every message.
#[test]
fn a_receiver_that_comes_and_goes() {
    if !in_own_process("a_receiver_that_comes_and_goes", &[]) {
        return;
    }
    let lines = Lines::listen();
    let turns: Vec<_> = (0..4).flat_map(|_| [Answer::Refuse(503), Answer::Accept]).collect();
    let backend = Backend::http(Script::turns(turns));
    let exporter = Exporter::builder().endpoint(backend.url()).protocol(Protocol::HttpProtobuf).build().unwrap();
    for _ in 0..4 {
        exporter.admit_at(admission(), std::time::SystemTime::now()).reject(Rejection::new("policy_denied", 403));
        exporter.flush();
    }
    assert_eq!(exporter.totals().exported, 4);
    let text = lines.text();
    assert_eq!(text.lines().count(), 2, "{text}");
}

/// Guarantees: that spans which waited are lost is said, once, when the time to try them again is over.
#[test]
fn giving_up_is_said() {
    if !in_own_process("giving_up_is_said", &[]) {
        return;
    }
    let lines = Lines::listen();
    let backend = Backend::http(Script::always(Answer::Refuse(503)));
    let builder = Exporter::builder().endpoint(backend.url()).protocol(Protocol::HttpProtobuf);
    let exporter = builder.retry_for(Duration::from_millis(1)).build().unwrap();
    for _ in 0..2 {
        one_request(&exporter);
        exporter.flush();
    }
    assert_eq!(exporter.shutdown().dropped_exhausted, 6);
    let text = lines.text();
    let said: Vec<_> = text.lines().collect();
    assert_eq!(said.len(), 2, "{text}");
    assert!(said[0].contains("spans wait") && said[1].contains("too long") && said[1].contains("lost"), "{text}");
}

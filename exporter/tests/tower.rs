//! The `tower` layer in an axum server, driven over TCP: every way in which an answer ends is a row, once.

// What the tests share may panic as they do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Request};
use axum::http::{Extensions, Response, StatusCode, header};
use axum::routing::{any, get, post};
use codex_pooler_exporter::tower::{CurrentRequest, Head, RequestLayer};
use codex_pooler_exporter::{
    Account, ApiKey, Attempt, AttemptEnd, End, Exporter, Pool, Price, Protocol, Rejection, Settlement, Tokens,
};
use contract::{AttemptStatus, RecordKind, Transport, attr};
use futures_util::stream::{self, StreamExt as _};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::trace::v1::Span;
use sanitizer::view;
use testkit::backend::{Answer, Backend, Script};
use testkit::leaks::Scanner;
use tokio::io::AsyncReadExt as _;
use tower_service::Service as _;
use uuid::Uuid;

/// A running server behind the layer, and the receiver of its telemetry.
struct Server {
    address: SocketAddr,
    exporter: Exporter,
    backend: Backend,
    _runtime: tokio::runtime::Runtime,
}

/// Left in the extensions by a middleware that knows the caller.
#[derive(Clone)]
struct Caller;

impl Server {
    fn start(routes: Router) -> Self {
        let backend = Backend::http(Script::always(Answer::Accept));
        let exporter = Exporter::builder().endpoint(backend.url()).protocol(Protocol::HttpProtobuf).build().unwrap();
        Self::start_with(routes, backend, exporter)
    }

    fn start_with(routes: Router, backend: Backend, exporter: Exporter) -> Self {
        let admit = |head: Head, extensions: &Extensions| {
            let Caller = extensions.get()?;
            let pool = Pool { id: Uuid::new_v4(), slug: "core".into(), name: "Core agents".into() };
            Some(head.admission(pool, ApiKey::ExternalToken, Transport::HttpSse))
        };
        let known = routes.layer(RequestLayer::new(exporter.clone(), admit));
        let routes = known.clone().layer(Extension(Caller)).nest("/nobody", known);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, routes).await });
        Self { address, exporter, backend, _runtime: runtime }
    }

    /// Sends the head of a request.
    fn send(&self, method: &str, path: &str, headers: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(testkit::DEADLINE)).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\nhost: pooler\r\nconnection: close\r\n{headers}\r\n").unwrap();
        stream
    }

    /// Sends a request and reads the whole answer.
    fn get(&self, path: &str) -> String {
        let mut answer = String::new();
        self.send("GET", path, "").read_to_string(&mut answer).unwrap();
        answer
    }

    /// The row of the only request there was, and its attempts, once it has ended.
    fn row(&self) -> (Span, Vec<Span>) {
        let of_kind = |kind| move |span: &Span| view::record_kind(span) == Some(kind);
        testkit::wait_for("the row", || self.backend.accepted_spans().into_iter().find(of_kind(RecordKind::Request)));
        assert_eq!(self.exporter.shutdown().dropped(), 0);
        let spans = self.backend.accepted_spans();
        let mut rows: Vec<_> = spans.iter().filter(|span| of_kind(RecordKind::Request)(span)).cloned().collect();
        assert_eq!(rows.len(), 1, "one row, once");
        (rows.remove(0), spans.into_iter().filter(of_kind(RecordKind::Attempt)).collect())
    }

    /// Status, error code and HTTP status of that row.
    fn ended(&self) -> (String, String, Option<i64>) {
        shown(&self.row().0)
    }
}

fn shown(row: &Span) -> (String, String, Option<i64>) {
    let text = |key| view::text(&row.attributes, key).unwrap().to_owned();
    (text(attr::REQUEST_STATUS), text(attr::ERROR_CODE), view::int(&row.attributes, attr::HTTP_RESPONSE_STATUS_CODE))
}

fn expected(status: &str, code: &str, http_status: i64) -> (String, String, Option<i64>) {
    (status.to_owned(), code.to_owned(), Some(http_status))
}

/// Reads until something of a body has arrived.
fn read_some(stream: &mut TcpStream, expected: &str) {
    let mut so_far = String::new();
    let mut buffer = [0; 1024];
    while !so_far.contains(expected) {
        let count = stream.read(&mut buffer).unwrap();
        assert_ne!(count, 0, "the answer ended: {so_far}");
        so_far.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
}

fn attempt(current: &CurrentRequest) -> codex_pooler_exporter::AttemptHandle {
    current.attempt(an_attempt()).expect("it is open")
}

fn an_attempt() -> Attempt {
    let account = Account { id: Some(Uuid::new_v4()), label: Some("Aurora seat 1".into()), ..Account::default() };
    Attempt::new(account, Transport::HttpSse)
}

fn chunks(count: u32) -> Body {
    Body::from_stream(stream::iter((0..count).map(|n| Ok::<_, Infallible>(Bytes::from(format!("data: {n}\n\n"))))))
}

/// Guarantees: of the head, the method, the matched route and the client's family and version are recorded, and nothing else of it gets out;
/// a whole body is a success.
#[test]
fn a_whole_answer_is_a_success() {
    let server = Server::start(Router::new().route("/v1/models", get(async || "hello")));
    let headers = [
        "user-agent: curl/8.9.1 planted-user-agent-0123",
        "cookie: planted-cookie-0123456",
        "x-planted-header-name: planted-value-0123456",
        "authorization: Bearer planted-token-0123456",
        "traceparent: 00-0123456789abcdef0123456789abcdef-0123456789abcdef-01",
        "",
    ];
    let mut answer = String::new();
    server.send("GET", "/v1/models?key=planted-query-0123456", &headers.join("\r\n")).read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
    let (row, attempts) = server.row();
    assert_eq!((row.name.as_str(), attempts.len()), ("GET /v1/models", 0));
    assert_eq!(shown(&row), expected("succeeded", "none", 200));
    assert_eq!(view::text(&row.attributes, attr::USER_AGENT_NAME), Some("curl"));
    assert_eq!(view::text(&row.attributes, attr::USER_AGENT_VERSION), Some("8.9.1"));
    let mut scanner = Scanner::new([
        "planted-user-agent-0123",
        "planted-cookie-0123456",
        "x-planted-header-name",
        "planted-value-0123456",
        "planted-token-0123456",
        "planted-query-0123456",
        "0123456789abcdef0123456789abcdef",
    ]);
    server.backend.recorded().iter().for_each(|message| scanner.bytes("the wire", &message.everything()));
    scanner.assert_clean();
}

/// Guarantees: a route is what the router matched, from the closed list; a path that is none of them is not repeated.
#[test]
fn a_route_comes_from_the_closed_list() {
    for path in ["/v1/planted-file-0123456", "/planted-path-0123456"] {
        let routes = Router::new().route("/v1/{file}", get(async || "a file")).fallback(async || StatusCode::NOT_FOUND);
        let server = Server::start(routes);
        server.get(path);
        let (row, _) = server.row();
        assert_eq!(view::text(&row.attributes, attr::HTTP_ROUTE), Some("_OTHER"), "{path}");
        let mut scanner = Scanner::new(["planted-file-0123456", "planted-path-0123456"]);
        server.backend.recorded().iter().for_each(|message| scanner.bytes("the wire", &message.everything()));
        scanner.assert_clean();
    }
}

/// Guarantees: a stream that is delivered to its end is a success, and what its handler says of attempts and usage is in the row, also where the
/// usage is known only after the end.
#[test]
fn a_stream_that_completes_is_a_success() {
    let handler = async |Extension(current): Extension<CurrentRequest>| {
        attempt(&current).finish(AttemptEnd::new(AttemptStatus::RetryableFailed));
        attempt(&current).finish(AttemptEnd::new(AttemptStatus::Succeeded));
        tokio::spawn(async move {
            // The ledger is slower than the answer.
            while current.attempt(Attempt::new(Account::default(), Transport::HttpSse)).is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let tokens = Tokens { total: Some(692), ..Tokens::default() };
            current.settle(Settlement::Known { tokens, price: Price::Priced { usd: 0.5 } });
        });
        chunks(3)
    };
    let server = Server::start(Router::new().route("/v1/responses", get(handler)));
    assert!(server.get("/v1/responses").contains("data: 2\n\n"));
    let (row, attempts) = server.row();
    assert_eq!(shown(&row), expected("succeeded", "none", 200));
    assert!(attempts.len() >= 2);
    assert_eq!(view::int(&row.attributes, attr::USAGE_TOTAL_TOKENS), Some(692));
    assert_eq!(view::double(&row.attributes, attr::COST_SETTLED_USD), Some(0.5));
}

/// Guarantees: a client that breaks off a stream is recorded as gone, with the status that it had been given; the attempt that it waited for is
/// cancelled, and took as long as it took. Nobody is left to settle it.
#[test]
fn a_stream_broken_off_is_a_disconnect() {
    let handler = async |Extension(current): Extension<CurrentRequest>| {
        let state = (attempt(&current), current);
        Body::from_stream(stream::unfold(state, |state| async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Some((Ok::<_, Infallible>(Bytes::from_static(b"data: 0\n\n")), state))
        }))
    };
    let server = Server::start(Router::new().route("/v1/responses", get(handler)));
    let mut stream = server.send("GET", "/v1/responses", "");
    read_some(&mut stream, "data: 0");
    drop(stream);
    let (row, attempts) = server.row();
    assert_eq!(shown(&row), expected("failed", "client_disconnected", 200));
    assert_eq!(view::text(&row.attributes, attr::REQUEST_OUTCOME), Some("neutral"));
    assert_eq!(view::text(&row.attributes, attr::USAGE_STATUS), Some("usage_unknown"));
    assert!(view::int(&row.attributes, attr::REQUEST_LATENCY_MS).unwrap() > 0);
    let [attempt] = attempts.as_slice() else { panic!("{attempts:?}") };
    assert_eq!(view::text(&attempt.attributes, attr::ATTEMPT_STATUS), Some("cancelled"));
    assert_eq!(view::text(&attempt.attributes, attr::ERROR_CODE), Some("client_disconnected"));
}

/// Guarantees: a client that goes away before there is an answer is recorded as gone, with the status that stands for it.
#[test]
fn a_handler_that_is_cancelled_is_a_disconnect() {
    let server = Server::start(Router::new().route("/v1/responses", get(async || std::future::pending::<()>().await)));
    let stream = server.send("GET", "/v1/responses", "");
    let marker = |span: &Span| view::record_kind(span) == Some(RecordKind::InProgress);
    testkit::wait_for("the marker", || server.backend.accepted_spans().iter().any(marker).then_some(()));
    stream.shutdown(Shutdown::Both).unwrap();
    assert_eq!(server.ended(), expected("failed", "client_disconnected", 499));
}

/// Guarantees: a status says how a request ended whose handler says nothing: below 400 it succeeded; before any attempt a 4xx or a 503 is a
/// rejection; everything else is a failure.
#[test]
fn a_status_says_how_it_ended() {
    for (status, attempted, result) in [
        (200, true, "succeeded"),
        (304, false, "succeeded"),
        (204, false, "succeeded"),
        (400, false, "rejected"),
        (429, false, "rejected"),
        (503, false, "rejected"),
        (500, false, "failed"),
        (403, true, "failed"),
        (502, true, "failed"),
        (503, true, "failed"),
    ] {
        let handler = move |Extension(current): Extension<CurrentRequest>| async move {
            if attempted {
                attempt(&current).finish(AttemptEnd::new(AttemptStatus::Failed));
            }
            (StatusCode::from_u16(status).unwrap(), "a body")
        };
        let server = Server::start(Router::new().route("/v1/responses", get(handler)));
        server.get("/v1/responses");
        let (row, attempts) = server.row();
        assert_eq!(shown(&row), expected(result, "none", i64::from(status)), "{status} {attempted}");
        assert_eq!(attempts.len(), usize::from(attempted));
    }
}

/// Guarantees: what a handler says is stronger than the status, and than the way in which the answer ends.
#[test]
fn the_handler_knows_better() {
    let rejected = async |Extension(current): Extension<CurrentRequest>| {
        current.end(End::failed("an earlier word"));
        assert!(current.reject(Rejection::new("model_not_allowed", 403)) && current.attempt(an_attempt()).is_none());
        StatusCode::OK
    };
    let server = Server::start(Router::new().route("/v1/responses", get(rejected)));
    server.get("/v1/responses");
    assert_eq!(server.ended(), expected("rejected", "model_not_allowed", 403));

    // The upstream has said its last word; that the client did not wait for the end of the stream changes nothing.
    let completed = async |Extension(current): Extension<CurrentRequest>| {
        current.end(End::completed());
        Body::from_stream(
            stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b"data: 0\n\n")) }).chain(stream::pending()),
        )
    };
    let server = Server::start(Router::new().route("/v1/responses", get(completed)));
    read_some(&mut server.send("GET", "/v1/responses", ""), "data: 0");
    assert_eq!(server.ended(), expected("succeeded", "none", 200));

    let truncated = async |Extension(current): Extension<CurrentRequest>| {
        drop(attempt(&current));
        current.end(End::truncated());
        chunks(1)
    };
    let server = Server::start(Router::new().route("/v1/responses", get(truncated)));
    server.get("/v1/responses");
    let (row, attempts) = server.row();
    assert_eq!(shown(&row), expected("failed", "upstream_stream_error", 200));
    assert_eq!(view::text(&attempts[0].attributes, attr::ERROR_CODE), Some("interrupted"), "nobody said how it ended");
}

/// Guarantees: a body that fails on our side is not the client's doing.
#[test]
fn a_body_that_fails_is_a_broken_stream() {
    let handler = async || {
        let pieces = [Ok(Bytes::from_static(b"data: 0\n\n")), Err(std::io::Error::other("planted"))];
        Body::from_stream(stream::iter(pieces))
    };
    let server = Server::start(Router::new().route("/v1/responses", get(handler)));
    // The connection breaks: there is no whole answer.
    let _ = server.send("GET", "/v1/responses", "").read_to_end(&mut Vec::new());
    assert_eq!(server.ended(), expected("failed", "upstream_stream_error", 200));
}

/// Guarantees: a handler that panics, before its answer or while it streams, is recorded as interrupted, whatever it said before.
#[test]
fn a_panic_is_an_interruption() {
    async fn before(Extension(current): Extension<CurrentRequest>) {
        current.end(End::completed());
        panic!("planned");
    }
    async fn streaming() -> Body {
        Body::from_stream(stream::poll_fn(|_| -> std::task::Poll<Option<Result<Bytes, Infallible>>> { panic!("planned") }))
    }
    for (route, given) in [(get(before), None), (get(streaming), Some(200))] {
        let server = Server::start(Router::new().route("/v1/responses", route));
        let _ = server.send("GET", "/v1/responses", "").read_to_end(&mut Vec::new());
        let (status, code, http_status) = server.ended();
        assert_eq!((status.as_str(), code.as_str()), ("failed", "interrupted"));
        assert_eq!(http_status, given);
    }
}

/// Guarantees: an answer whose body a server does not read to its end, because it has none or because it promised no more bytes, is complete.
#[test]
fn bodies_that_are_not_read_to_the_end_are_complete() {
    async fn promised() -> Response<Body> {
        // The stream does not know that it is at its end.
        let endless = stream::unfold((), async |()| Some((Ok::<_, Infallible>(Bytes::from_static(b"12345")), ())));
        Response::builder().header(header::CONTENT_LENGTH, 10).body(Body::from_stream(endless)).unwrap()
    }
    for (method, route) in
        [("GET", get(promised)), ("HEAD", get(promised)), ("HEAD", get(async || "hello")), ("GET", get(async || ()))]
    {
        let server = Server::start(Router::new().route("/v1/files/content", route));
        server.send(method, "/v1/files/content", "").read_to_end(&mut Vec::new()).unwrap();
        assert_eq!(server.ended(), expected("succeeded", "none", 200), "{method}");
    }
}

/// Guarantees: a request that has become a websocket ends when its handler lets go of it, as it says: completed, or broken off by the client; a
/// handler that says nothing was interrupted.
#[test]
fn a_websocket_ends_with_its_handler() {
    async fn upgrade(mut request: Request) -> Response<Body> {
        let current = request.extensions().get::<CurrentRequest>().unwrap().clone();
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut socket = TokioIo::new(upgrade.await.unwrap());
            match socket.read_u8().await {
                Ok(b'c') => current.end(End::completed()),
                Ok(_) => {}
                Err(_) => current.end(End { http_status: Some(499), ..End::client_disconnected() }),
            }
        });
        let answer = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        answer.header(header::CONNECTION, "upgrade").header(header::UPGRADE, "websocket").body(Body::empty()).unwrap()
    }
    for (sent, result) in [
        (Some(b"c"), expected("succeeded", "none", 101)),
        (Some(b"?"), expected("failed", "interrupted", 101)),
        (None, expected("failed", "client_disconnected", 499)),
    ] {
        let server = Server::start(Router::new().route("/v1/responses", any(upgrade)));
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream
            .write_all(b"GET /v1/responses HTTP/1.1\r\nhost: pooler\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
            .unwrap();
        read_some(&mut stream, "\r\n\r\n");
        // It is open while the socket is: only its marker is there.
        server.exporter.flush();
        assert!(server.backend.accepted_spans().iter().all(|span| view::record_kind(span) == Some(RecordKind::InProgress)));
        if let Some(sent) = sent {
            stream.write_all(sent).unwrap();
        }
        drop(stream);
        assert_eq!(server.ended(), result);
    }
}

/// Guarantees: so does one over HTTP/2, where a websocket is asked for by `CONNECT` and granted with 200, as RFC 8441 says; one that is not
/// granted is an answer like any other.
#[test]
fn a_websocket_over_http_2_ends_with_its_handler() {
    for (granted, status, result) in [
        (true, StatusCode::OK, expected("failed", "interrupted", 200)),
        (false, StatusCode::FORBIDDEN, expected("rejected", "none", 403)),
    ] {
        let backend = Backend::http(Script::always(Answer::Accept));
        let exporter = Exporter::builder().endpoint(backend.url()).protocol(Protocol::HttpProtobuf).build().unwrap();
        let (keep, kept) = std::sync::mpsc::channel();
        let handler = async move |request: Request| {
            keep.send(request.extensions().get::<CurrentRequest>().unwrap().clone()).unwrap();
            status
        };
        let admit = |head: Head, _: &Extensions| {
            let pool = Pool { id: Uuid::new_v4(), slug: "core".into(), name: "Core agents".into() };
            Some(head.admission(pool, ApiKey::ExternalToken, Transport::Websocket))
        };
        let mut routes = Router::new().route("/v1/responses", any(handler)).layer(RequestLayer::new(exporter.clone(), admit));
        let request = Request::connect("http://pooler/v1/responses").body(Body::empty()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let answer = runtime.block_on(routes.call(request)).unwrap();
        assert_eq!(answer.status(), status);
        drop(answer);
        let current = kept.recv().unwrap();
        assert_eq!(current.attempt(an_attempt()).is_some(), granted, "it is open if it is a websocket");
        drop(current);
        exporter.shutdown();
        let spans = backend.accepted_spans();
        let rows: Vec<_> = spans.iter().filter(|span| view::record_kind(span) == Some(RecordKind::Request)).collect();
        assert_eq!((rows.len(), shown(rows[0])), (1, result));
    }
}

/// Guarantees: a request that the application does not admit passes, and is not recorded.
#[test]
fn nobodys_request_is_not_recorded() {
    async fn handler(request: Request) -> &'static str {
        if request.extensions().get::<CurrentRequest>().is_some() { "admitted" } else { "not admitted" }
    }
    let server = Server::start(Router::new().route("/v1/responses", post(handler).get(handler)));
    assert!(server.get("/nobody/v1/responses").ends_with("\r\n\r\nnot admitted"));
    assert!(server.get("/v1/responses").ends_with("\r\n\r\nadmitted"));
    assert_eq!(server.ended(), expected("succeeded", "none", 200));
    assert_eq!(server.exporter.totals().emitted, 2, "one marker, one row");
}

/// Guarantees: with an exporter that is disabled, handlers find their request all the same, and nothing is recorded.
#[test]
fn a_disabled_exporter_is_no_obstacle() {
    let handler = async |Extension(current): Extension<CurrentRequest>| {
        attempt(&current).finish(AttemptEnd::new(AttemptStatus::Succeeded));
        current.settle(Settlement::Unknown);
        current.end(End::completed());
        chunks(3)
    };
    let routes = Router::new().route("/v1/responses", get(handler));
    let server = Server::start_with(routes, Backend::http(Script::always(Answer::Accept)), Exporter::disabled());
    assert!(server.get("/v1/responses").contains("data: 2"));
    assert_eq!(server.exporter.shutdown().emitted, 0);
    assert!(server.backend.recorded().is_empty());
}

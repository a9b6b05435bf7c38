//! A backend that receives OTLP and does as a script says: it keeps every request, and gives the scripted answers in turn.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use contract::Signal;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{MetricsService, MetricsServiceServer};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;
use tonic::codec::CompressionEncoding;

use crate::send::PROTOBUF;

/// Largest request that is taken, in bytes.
const MAX_BODY_BYTES: usize = 64 << 20;

/// What to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Success.
    Accept,
    /// This HTTP status; over gRPC the code that OTLP pairs with it (400 invalid argument, 429 resource exhausted, 503 unavailable).
    Refuse(u16),
    /// A refusal with this status that asks to wait so many seconds (`Retry-After`; over gRPC without the wish).
    RefuseFor(u16, u32),
}

/// The answers, in turn.
#[derive(Clone, Debug)]
pub struct Script {
    turns: Vec<Answer>,
    then: Option<Answer>,
}

impl Script {
    /// The same answer for ever.
    #[must_use]
    pub fn always(answer: Answer) -> Self {
        Self { turns: Vec::new(), then: Some(answer) }
    }

    /// These answers, once each. Any further request is refused with 500, and [`Backend::finish`] fails.
    #[must_use]
    pub fn turns(answers: impl Into<Vec<Answer>>) -> Self {
        Self { turns: answers.into(), then: None }
    }

    /// These answers, then the last one for ever.
    #[must_use]
    pub fn turns_then(answers: impl Into<Vec<Answer>>, then: Answer) -> Self {
        Self { turns: answers.into(), then: Some(then) }
    }
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Path; over gRPC the method's.
    pub path: String,
    /// Headers, with their values as text.
    pub headers: Vec<(String, String)>,
    /// Body after the content encoding that the headers name is undone; over gRPC the message.
    pub body: Vec<u8>,
    /// What was answered.
    pub answer: Answer,
}

impl Recorded {
    /// Everything that arrived, for a leak scan.
    #[must_use]
    pub fn everything(&self) -> Vec<u8> {
        let mut all = format!("{}\n{:?}\n", self.path, self.headers).into_bytes();
        all.extend(&self.body);
        all
    }
}

/// The running backend.
pub struct Backend {
    address: SocketAddr,
    shared: Shared,
    // Dropping it ends the server.
    _stop: oneshot::Sender<()>,
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Played>>);

struct Played {
    script: Script,
    recorded: Vec<Recorded>,
    unexpected: usize,
}

impl Backend {
    /// A backend for OTLP/HTTP with protobuf.
    #[must_use]
    pub fn http(script: Script) -> Self {
        let serve = |listener: TcpListener, shared: Shared, stopped: oneshot::Receiver<()>| async move {
            let router = axum::Router::new().fallback(http_export).with_state(shared);
            tokio::select! {
                served = axum::serve(listener, router) => served.expect("the backend serves"),
                _ = stopped => {}
            }
        };
        Self::start(script, serve)
    }

    /// A backend for OTLP/gRPC.
    #[must_use]
    pub fn grpc(script: Script) -> Self {
        let serve = |listener: TcpListener, shared: Shared, stopped: oneshot::Receiver<()>| async move {
            let traces = TraceServiceServer::new(shared.clone()).accept_compressed(CompressionEncoding::Gzip);
            let logs = LogsServiceServer::new(shared.clone()).accept_compressed(CompressionEncoding::Gzip);
            let metrics = MetricsServiceServer::new(shared).accept_compressed(CompressionEncoding::Gzip);
            let services = tonic::transport::Server::builder()
                .add_service(traces.max_decoding_message_size(MAX_BODY_BYTES))
                .add_service(logs.max_decoding_message_size(MAX_BODY_BYTES))
                .add_service(metrics.max_decoding_message_size(MAX_BODY_BYTES));
            let incoming = tonic::transport::server::TcpIncoming::from(listener);
            tokio::select! {
                served = services.serve_with_incoming(incoming) => {
                    served.expect("the backend serves");
                }
                _ = stopped => {}
            }
        };
        Self::start(script, serve)
    }

    fn start<F: Future<Output = ()>>(
        script: Script,
        serve: impl FnOnce(TcpListener, Shared, oneshot::Receiver<()>) -> F + Send + 'static,
    ) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket can be non-blocking");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Shared(Arc::new(Mutex::new(Played { script, recorded: Vec::new(), unexpected: 0 })));
        let (stop, stopped) = oneshot::channel();
        let on_thread = shared.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a bound socket");
                serve(listener, on_thread, stopped).await;
            });
        });
        Self { address, shared, _stop: stop }
    }

    /// URL without a path.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it answers by another script.
    pub fn follow(&self, script: Script) {
        self.shared.lock().script = script;
    }

    /// Every request so far.
    #[must_use]
    pub fn recorded(&self) -> Vec<Recorded> {
        self.shared.lock().recorded.clone()
    }

    /// Every accepted request of one signal so far.
    ///
    /// # Panics
    /// If one cannot be decoded.
    #[must_use]
    pub fn accepted<R: prost::Message + Default>(&self, signal: Signal) -> Vec<R> {
        let is_of = |path: &str| path.ends_with(&format!("/{signal}")) || path == service(signal);
        let accepted = self.recorded().into_iter().filter(|r| r.answer == Answer::Accept && is_of(&r.path));
        accepted.map(|r| R::decode(r.body.as_slice()).expect("a message of the signal")).collect()
    }

    /// The spans of every accepted request so far.
    #[must_use]
    pub fn accepted_spans(&self) -> Vec<Span> {
        let messages = self.accepted::<ExportTraceServiceRequest>(Signal::Traces);
        let groups = messages.into_iter().flat_map(|m| m.resource_spans).flat_map(|g| g.scope_spans);
        groups.flat_map(|scope| scope.spans).collect()
    }

    /// Ends it.
    ///
    /// # Panics
    /// If a request came for which the script had no answer, or if the script is not at its end.
    pub fn finish(self) {
        let played = self.shared.lock();
        assert_eq!(played.unexpected, 0, "requests without a scripted answer");
        assert!(played.script.turns.is_empty(), "answers that no one asked for: {:?}", played.script.turns);
    }
}

/// A port at which nobody listens, and which no one else is given for as long as this lives: one that is only let go of can be another test's next.
pub struct Nobody(TcpSocket);

impl Nobody {
    /// Such a port.
    #[must_use]
    pub fn somewhere() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        Self(socket)
    }

    /// URL without a path.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().expect("a bound socket has an address"))
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Played> {
        self.0.lock().expect("no one panics while holding it")
    }

    fn answer(&self, path: &str, headers: &HeaderMap, body: Vec<u8>) -> Answer {
        let mut played = self.lock();
        let turn = if played.script.turns.is_empty() { played.script.then } else { Some(played.script.turns.remove(0)) };
        if turn.is_none() {
            played.unexpected += 1;
        }
        let answer = turn.unwrap_or(Answer::Refuse(500));
        let headers = headers.iter().map(|(k, v)| (k.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned())).collect();
        played.recorded.push(Recorded { path: path.to_owned(), headers, body, answer });
        answer
    }

    fn grpc_answer<R: Default>(
        &self,
        signal: Signal,
        headers: &HeaderMap,
        message: &impl prost::Message,
    ) -> Result<tonic::Response<R>, tonic::Status> {
        match self.answer(service(signal), headers, message.encode_to_vec()) {
            Answer::Accept => Ok(tonic::Response::new(R::default())),
            Answer::Refuse(status) | Answer::RefuseFor(status, _) => Err(match status {
                400 => tonic::Status::invalid_argument("scripted"),
                429 => tonic::Status::resource_exhausted("scripted"),
                503 => tonic::Status::unavailable("scripted"),
                _ => tonic::Status::internal("scripted"),
            }),
        }
    }
}

/// Path of a signal's method over gRPC.
#[must_use]
pub const fn service(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    }
}

async fn http_export(State(shared): State<Shared>, request: Request) -> axum::response::Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY_BYTES).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let body = match parts.headers.get("content-encoding").map(axum::http::HeaderValue::as_bytes) {
        Some(b"gzip") => {
            let mut plain = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(body.as_ref()), &mut plain).expect("valid gzip");
            plain
        }
        _ => body.to_vec(),
    };
    let protobuf = [("content-type", PROTOBUF)];
    match shared.answer(parts.uri.path(), &parts.headers, body) {
        Answer::Accept => (protobuf, ExportTraceServiceResponse::default().encode_to_vec()).into_response(),
        Answer::Refuse(status) => http_status(status).into_response(),
        Answer::RefuseFor(status, seconds) => (http_status(status), [("retry-after", seconds.to_string())]).into_response(),
    }
}

fn http_status(status: u16) -> StatusCode {
    StatusCode::from_u16(status).expect("a status between 100 and 999")
}

#[tonic::async_trait]
impl TraceService for Shared {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let headers = request.metadata().clone().into_headers();
        self.grpc_answer(Signal::Traces, &headers, &request.into_inner())
    }
}

#[tonic::async_trait]
impl LogsService for Shared {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, tonic::Status> {
        let headers = request.metadata().clone().into_headers();
        self.grpc_answer(Signal::Logs, &headers, &request.into_inner())
    }
}

#[tonic::async_trait]
impl MetricsService for Shared {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
        let headers = request.metadata().clone().into_headers();
        self.grpc_answer(Signal::Metrics, &headers, &request.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::{self, Row};
    use crate::send;

    /// Guarantees: over both protocols the backend keeps what it was sent, answers in the script's order, and notices a request too many.
    #[test]
    fn the_script_is_played() {
        let message = otlp::request(vec![Row::numbered(1).span()]);
        let script = || Script::turns([Answer::Refuse(503), Answer::Accept]);

        let http = Backend::http(script());
        let headers = [("content-type", PROTOBUF), ("content-encoding", "gzip")];
        let export = || send::post(&format!("{}/v1/traces", http.url()), &headers, &send::gzip(&message.encode_to_vec())).status;
        assert_eq!([export(), export()], [503, 200]);
        assert_eq!(http.accepted_spans(), [Row { admitted_ms: admitted(&message), ..Row::numbered(1) }.span()]);
        assert_eq!(http.recorded()[1].path, "/v1/traces");
        assert_eq!(export(), 500);
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| http.finish())).is_err());

        let grpc = Backend::grpc(script());
        let address = grpc.url().replace("http://", "");
        assert_eq!(send::grpc(&address, message.clone(), true).unwrap_err().code(), tonic::Code::Unavailable);
        assert!(send::grpc(&address, message.clone(), false).is_ok());
        assert_eq!(grpc.accepted_spans(), message.resource_spans[0].scope_spans[0].spans);
        grpc.finish();
    }

    /// Guarantees: whoever connects to nobody is refused, and nobody's port is not to be had.
    #[test]
    fn nobody_is_there() {
        let nobody = Nobody::somewhere();
        let address = nobody.url().replace("http://", "");
        let refused = std::net::TcpStream::connect(&address).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        assert_eq!(std::net::TcpListener::bind(&address).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    }

    fn admitted(message: &ExportTraceServiceRequest) -> u64 {
        message.resource_spans[0].scope_spans[0].spans[0].start_time_unix_nano / 1_000_000
    }
}

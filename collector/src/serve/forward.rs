//! Forwarding sanitized messages to another OTLP endpoint: a bounded queue in memory, one worker, retries as OTLP's table says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use contract::{Branch, DropReason};
use http::header;
use sanitizer::Sanitized;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use super::metrics::Metrics;
use crate::receive::raw_codec::RawCodec;
use crate::stop::stopped;

/// Messages that wait at most.
const MAX_QUEUED_MESSAGES: usize = 1000;
/// How long one attempt to send may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// First pause before another try; it doubles up to [`MAX_BACKOFF`], and up to half of it is added at random.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// Longest pause between two tries.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// How long a message is tried for.
const RETRY_FOR: Duration = Duration::from_secs(300);
/// How long the queue may take to drain when the server ends.
const DRAIN: Duration = Duration::from_secs(5);

/// Where to forward, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardConfig {
    /// Base URL, such as `http://127.0.0.1:4317`; for HTTP, `/v1/traces` is appended to it.
    pub endpoint: String,
    /// Protocol of the destination.
    pub protocol: ForwardProtocol,
}

/// Protocol of a destination, with OpenTelemetry's names for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ForwardProtocol {
    /// OTLP/gRPC.
    #[value(name = "grpc")]
    Grpc,
    /// OTLP/HTTP with protobuf.
    #[value(name = "http/protobuf")]
    HttpProtobuf,
}

/// The queue's end that messages are put into.
pub struct Forward {
    queue: mpsc::Sender<Sanitized>,
    queued_spans: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
}

impl Forward {
    /// The queue and the worker that empties it.
    ///
    /// # Errors
    /// An endpoint that is not an http URL.
    pub fn new(config: &ForwardConfig, metrics: Arc<Metrics>) -> anyhow::Result<(Self, Worker)> {
        let (queue, waiting) = mpsc::channel(MAX_QUEUED_MESSAGES);
        let queued_spans = Arc::new(AtomicU64::new(0));
        let client = Client::new(config)?;
        let worker = Worker {
            waiting,
            queued_spans: Arc::clone(&queued_spans),
            metrics: Arc::clone(&metrics),
            client,
            sending: 0,
            failing: false,
        };
        Ok((Self { queue, queued_spans, metrics }, worker))
    }

    /// Puts a message into the queue; if that is full, the message is dropped and counted.
    pub fn enqueue(&self, message: &Sanitized) {
        let spans = message.report().accepted_spans;
        self.metrics.branch_accepted(Branch::Forward, spans);
        self.queued_spans.fetch_add(spans, Ordering::Relaxed);
        let reason = match self.queue.try_send(message.clone()) {
            Ok(()) => return,
            Err(TrySendError::Full(_)) => DropReason::QueueFull,
            Err(TrySendError::Closed(_)) => DropReason::Shutdown,
        };
        self.queued_spans.fetch_sub(spans, Ordering::Relaxed);
        self.metrics.branch_dropped(Branch::Forward, reason, spans);
    }

    /// Spans that wait, or are on their way.
    pub fn queued_spans(&self) -> u64 {
        self.queued_spans.load(Ordering::Relaxed)
    }
}

/// Empties the queue.
pub struct Worker {
    waiting: mpsc::Receiver<Sanitized>,
    queued_spans: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
    client: Client,
    /// Spans of the message that is on its way.
    sending: u64,
    /// Whether the last message was lost: said once when it begins and once when it is over, not for every message.
    failing: bool,
}

/// What became of one try.
enum Sent {
    Delivered,
    /// The destination will not take it, however often it is asked.
    Refused,
    /// Worth another try, after this long if the destination said so.
    TryAgain(Option<Duration>),
}

impl Worker {
    /// Sends until the queue is closed and empty, or until the time to drain after `stop` is over; what is left then is dropped and counted.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let over = async {
            stopped(&mut stop).await;
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            () = self.send_all() => {}
            () = over => {
                self.waiting.close();
                let mut left = self.sending;
                while let Ok(message) = self.waiting.try_recv() {
                    left += message.report().accepted_spans;
                }
                if left > 0 {
                    self.settle(Err(DropReason::Shutdown), left);
                }
            }
        }
    }

    async fn send_all(&mut self) {
        while let Some(message) = self.waiting.recv().await {
            self.sending = message.report().accepted_spans;
            let result = self.deliver(message.encoded()).await;
            let spans = std::mem::take(&mut self.sending);
            self.settle(result, spans);
        }
    }

    /// Counts spans that are not queued any more.
    fn settle(&mut self, result: Result<(), DropReason>, spans: u64) {
        self.queued_spans.fetch_sub(spans, Ordering::Relaxed);
        match result {
            Ok(()) => {
                self.metrics.branch_delivered(Branch::Forward, spans);
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the forward endpoint takes messages again");
                }
            }
            Err(reason) => {
                self.metrics.branch_dropped(Branch::Forward, reason, spans);
                if !std::mem::replace(&mut self.failing, true) {
                    let counted_in = contract::generated::metrics::POOLER_OTEL_BRANCH_DROPPED_SPANS_TOTAL.name;
                    tracing::warn!(%reason, "the forward endpoint does not take messages; what is lost is counted in {counted_in}");
                }
            }
        }
    }

    async fn deliver(&mut self, message: &Bytes) -> Result<(), DropReason> {
        let started = Instant::now();
        let mut backoff = FIRST_BACKOFF;
        loop {
            let sent = tokio::time::timeout(SEND_TIMEOUT, self.client.send(message.clone())).await;
            let asked = match sent {
                Ok(Sent::Delivered) => return Ok(()),
                Ok(Sent::Refused) => return Err(DropReason::Rejected),
                Ok(Sent::TryAgain(after)) => after,
                Err(_) => None,
            };
            if started.elapsed() >= RETRY_FOR {
                return Err(DropReason::Exhausted);
            }
            tokio::time::sleep(asked.unwrap_or_else(|| with_jitter(backoff)).min(MAX_BACKOFF)).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }
}

/// Adds up to half of a pause at random, so that many senders do not come back at the same moment.
fn with_jitter(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(0);
    pause + pause.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0)
}

enum Client {
    Grpc(Box<Grpc<Channel>>),
    Http { client: reqwest::Client, url: reqwest::Url },
}

impl Client {
    fn new(config: &ForwardConfig) -> anyhow::Result<Self> {
        let mut url = reqwest::Url::parse(&config.endpoint)
            .context("--forward-endpoint is not a URL; give one such as http://127.0.0.1:4317")?;
        if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
            bail!("--forward-endpoint must start with http:// or https:// and name a host");
        }
        Ok(match config.protocol {
            ForwardProtocol::Grpc => {
                let mut endpoint = Endpoint::from_shared(config.endpoint.clone())
                    .context("--forward-endpoint is not a gRPC endpoint")?
                    .connect_timeout(SEND_TIMEOUT);
                if url.scheme() == "https" {
                    endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots())?;
                }
                Self::Grpc(Box::new(Grpc::new(endpoint.connect_lazy())))
            }
            ForwardProtocol::HttpProtobuf => {
                let path = format!("{}/v1/traces", url.path().trim_end_matches('/'));
                url.set_path(&path);
                // A redirect could lead the messages, or the credentials in the URL, somewhere else.
                let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
                Self::Http { client, url }
            }
        })
    }

    async fn send(&mut self, message: Bytes) -> Sent {
        match self {
            Self::Grpc(client) => {
                if client.ready().await.is_err() {
                    return Sent::TryAgain(None);
                }
                let path = http::uri::PathAndQuery::from_static("/opentelemetry.proto.collector.trace.v1.TraceService/Export");
                match client.unary(tonic::Request::new(message), path, RawCodec).await {
                    Ok(_) => Sent::Delivered,
                    Err(status) => grpc_verdict(&status),
                }
            }
            Self::Http { client, url } => {
                let request = client.post(url.clone()).header(header::CONTENT_TYPE, "application/x-protobuf").body(message);
                match request.send().await {
                    Ok(response) => http_verdict(response.status().as_u16(), response.headers()),
                    Err(_) => Sent::TryAgain(None),
                }
            }
        }
    }
}

/// OTLP's table of gRPC codes that may be tried again.
fn grpc_verdict(status: &tonic::Status) -> Sent {
    use tonic::Code::{Aborted, Cancelled, DataLoss, DeadlineExceeded, OutOfRange, ResourceExhausted, Unavailable};
    use tonic_types::StatusExt as _;
    let asked = status.get_details_retry_info().and_then(|info| info.retry_delay);
    match status.code() {
        Cancelled | DeadlineExceeded | Aborted | OutOfRange | Unavailable | DataLoss => Sent::TryAgain(asked),
        ResourceExhausted if asked.is_some() => Sent::TryAgain(asked),
        _ => Sent::Refused,
    }
}

/// OTLP's list of HTTP statuses that may be tried again.
fn http_verdict(status: u16, headers: &http::HeaderMap) -> Sent {
    match status {
        200..=299 => Sent::Delivered,
        429 | 502 | 503 | 504 => {
            let after = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            Sent::TryAgain(after.map(Duration::from_secs))
        }
        _ => Sent::Refused,
    }
}

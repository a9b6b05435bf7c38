//! Forwarding sanitized messages to another OTLP endpoint: a bounded queue in memory, one worker, retries as OTLP's table says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use contract::{Branch, DropReason, Signal};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, header};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use sanitizer::{Export, Sanitized};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::metrics::Metrics;
use super::raw_codec::RawCodec;
use super::said::Said;
use crate::receive::{grpc_path, http_path};
use crate::stop::stopped;

/// Messages that wait at most.
const MAX_QUEUED_MESSAGES: usize = 1000;
/// Largest answer that is read, in bytes: OTLP allows no larger one.
const MAX_ANSWER_BYTES: u64 = 4 * 1024 * 1024;
/// First pause before another try; it doubles up to [`MAX_BACKOFF`], and up to half of it is added at random.
pub(super) const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// Longest pause between two tries.
pub(super) const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// How long a message is tried for.
const RETRY_FOR: Duration = Duration::from_secs(300);
/// How long the queue may take to drain when the server ends.
const DRAIN: Duration = Duration::from_secs(5);

/// Where to forward, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardConfig {
    /// Base URL, http or https, such as `http://127.0.0.1:4317`; for HTTP, the path of the signal, such as `/v1/traces`, is appended to it.
    pub endpoint: reqwest::Url,
    /// What is sent there; of other signals it is no destination.
    pub signals: Vec<Signal>,
    /// Protocol of the destination.
    pub protocol: ForwardProtocol,
    /// Sent with every message. Their values are marked as sensitive and do not print.
    pub headers: HeaderMap,
    /// Certificates in PEM that are trusted besides the system's.
    pub ca_pem: Option<String>,
    /// How messages are compressed.
    pub compression: ForwardCompression,
    /// How long one attempt to send may take.
    pub timeout: Duration,
}

/// How messages to a destination are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ForwardCompression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
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

/// A message that waits. Only a [`Sanitized`] one becomes such.
struct Queued {
    signal: Signal,
    message: Bytes,
    records: u64,
}

/// Records that wait, or are on their way, by signal.
type QueuedRecords = Arc<[AtomicU64; Signal::ALL.len()]>;

/// The queue's end that messages are put into.
pub struct Forward {
    queue: mpsc::Sender<Queued>,
    signals: Vec<Signal>,
    queued_records: QueuedRecords,
    metrics: Arc<Metrics>,
}

impl Forward {
    /// The queue and the worker that empties it.
    ///
    /// # Errors
    /// An endpoint or certificates that the client refuses.
    pub fn new(config: &ForwardConfig, metrics: Arc<Metrics>) -> anyhow::Result<(Self, Worker)> {
        let (queue, waiting) = mpsc::channel(MAX_QUEUED_MESSAGES);
        let queued_records = QueuedRecords::default();
        let client = Client::new(config)?;
        let worker = Worker {
            waiting,
            queued_records: Arc::clone(&queued_records),
            metrics: Arc::clone(&metrics),
            client,
            timeout: config.timeout,
            sending: None,
            health: [Health::Fine; Signal::ALL.len()],
            said: Default::default(),
        };
        Ok((Self { queue, signals: config.signals.clone(), queued_records, metrics }, worker))
    }

    /// Whether the destination is one for this signal.
    pub fn takes(&self, signal: Signal) -> bool {
        self.signals.contains(&signal)
    }

    /// Puts a message into the queue; if that is full, the message is dropped and counted.
    pub fn enqueue<R: Export>(&self, message: &Sanitized<R>) {
        let (signal, records) = (R::SIGNAL, message.report().accepted_records);
        self.metrics.branch_accepted(signal, Branch::Forward, records);
        self.queued_records[signal as usize].fetch_add(records, Ordering::Relaxed);
        let reason = match self.queue.try_send(Queued { signal, message: message.encoded().clone(), records }) {
            Ok(()) => return,
            Err(TrySendError::Full(_)) => DropReason::QueueFull,
            Err(TrySendError::Closed(_)) => DropReason::Shutdown,
        };
        self.queued_records[signal as usize].fetch_sub(records, Ordering::Relaxed);
        self.metrics.branch_dropped(signal, Branch::Forward, reason, records);
    }

    /// Records of a signal that wait, or are on their way.
    pub fn queued_records(&self, signal: Signal) -> u64 {
        self.queued_records[signal as usize].load(Ordering::Relaxed)
    }
}

/// Empties the queue.
pub struct Worker {
    waiting: mpsc::Receiver<Queued>,
    queued_records: QueuedRecords,
    metrics: Arc<Metrics>,
    client: Client,
    timeout: Duration,
    /// Signal and records of the message that is on its way.
    sending: Option<(Signal, u64)>,
    /// The worst that was said of each signal since all was fine.
    health: [Health; Signal::ALL.len()],
    said: [Said; Signal::ALL.len()],
}

/// How a signal's last message fared. Later ones are worse.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Health {
    Fine,
    Waiting,
    Losing,
}

/// What became of one try.
pub(super) enum Sent {
    /// Taken, except for so many records.
    Delivered { rejected: u64 },
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
                let mut left: Vec<(Signal, u64)> = self.sending.into_iter().collect();
                while let Ok(queued) = self.waiting.try_recv() {
                    left.push((queued.signal, queued.records));
                }
                for (signal, records) in left {
                    self.settle(Err(DropReason::Shutdown), signal, records);
                }
            }
        }
    }

    async fn send_all(&mut self) {
        while let Some(Queued { signal, message, records }) = self.waiting.recv().await {
            self.sending = Some((signal, records));
            let result = self.deliver(signal, &message).await;
            self.sending = None;
            self.settle(result, signal, records);
        }
    }

    /// Counts records that are not queued any more.
    fn settle(&mut self, result: Result<u64, DropReason>, signal: Signal, records: u64) {
        self.queued_records[signal as usize].fetch_sub(records, Ordering::Relaxed);
        match result {
            Ok(rejected) => {
                let rejected = rejected.min(records);
                self.metrics.branch_delivered(signal, Branch::Forward, records - rejected);
                self.metrics.branch_dropped(signal, Branch::Forward, DropReason::Rejected, rejected);
                self.hear(signal, Health::Fine, || tracing::info!("the forward endpoint takes {signal} again"));
            }
            Err(reason) => {
                self.metrics.branch_dropped(signal, Branch::Forward, reason, records);
                let counted_in = contract::generated::metrics::POOLER_OTEL_BRANCH_DROPPED_RECORDS_TOTAL.name;
                let say = || tracing::warn!(%reason, "the forward endpoint does not take {signal}; what is lost is counted in {counted_in}");
                self.hear(signal, Health::Losing, say);
            }
        }
    }

    /// Says once that a signal waits, once that it is lost, and once that all is fine again; each once a minute at most.
    fn hear(&mut self, signal: Signal, health: Health, say: impl FnOnce()) {
        let worst = &mut self.health[signal as usize];
        let is_news = if health == Health::Fine { *worst != Health::Fine } else { health > *worst };
        let what = match health {
            Health::Fine => "fine",
            Health::Waiting => "waiting",
            Health::Losing => "losing",
        };
        if is_news && self.said[signal as usize].may_say(what, Instant::now().into_std()) {
            *worst = health;
            say();
        }
    }

    /// Sends one message, again and again if need be. On `Ok`, the destination says how many of its records it rejected.
    async fn deliver(&mut self, signal: Signal, message: &Bytes) -> Result<u64, DropReason> {
        // Once, however often it is sent; a queued message waits as it is, which is what it is counted by.
        let message = &self.client.compress(message).await;
        let started = Instant::now();
        let mut backoff = FIRST_BACKOFF;
        loop {
            let sent = tokio::time::timeout(self.timeout, self.client.send(signal, message.clone())).await;
            let asked = match sent {
                Ok(Sent::Delivered { rejected }) => return Ok(rejected),
                Ok(Sent::Refused) => return Err(DropReason::Rejected),
                Ok(Sent::TryAgain(after)) => after,
                Err(_) => None,
            };
            let say = || tracing::warn!("the forward endpoint cannot be reached or is busy; {signal} wait, and are tried again");
            self.hear(signal, Health::Waiting, say);
            if started.elapsed() >= RETRY_FOR {
                return Err(DropReason::Exhausted);
            }
            tokio::time::sleep(asked.unwrap_or_else(|| with_jitter(backoff)).clamp(FIRST_BACKOFF, MAX_BACKOFF)).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }
}

/// Adds up to half of a pause at random, so that many senders do not come back at the same moment.
pub(super) fn with_jitter(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(0);
    pause + pause.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0)
}

/// Sends messages to a destination, one at a time.
pub(super) enum Client {
    Grpc { client: Box<Grpc<Channel>>, metadata: MetadataMap },
    Http { client: reqwest::Client, base: reqwest::Url, compression: ForwardCompression },
}

impl Client {
    /// A client.
    ///
    /// # Errors
    /// An endpoint or certificates that the library refuses.
    pub(super) fn new(config: &ForwardConfig) -> anyhow::Result<Self> {
        Ok(match config.protocol {
            ForwardProtocol::Grpc => {
                let mut endpoint = Endpoint::from_shared(config.endpoint.to_string())
                    .context("the endpoint is not one for gRPC")?
                    .connect_timeout(config.timeout);
                if config.endpoint.scheme() == "https" {
                    let mut tls = ClientTlsConfig::new().with_native_roots();
                    if let Some(pem) = &config.ca_pem {
                        tls = tls.ca_certificate(Certificate::from_pem(pem));
                    }
                    endpoint = endpoint.tls_config(tls).context("the certificates cannot be used")?;
                }
                let client = Grpc::new(endpoint.connect_lazy());
                let client = match config.compression {
                    ForwardCompression::None => client,
                    ForwardCompression::Gzip => client.send_compressed(CompressionEncoding::Gzip),
                };
                Self::Grpc { client: Box::new(client), metadata: MetadataMap::from_headers(config.headers.clone()) }
            }
            ForwardProtocol::HttpProtobuf => {
                // A redirect could lead the messages, or the credentials in the headers, somewhere else.
                let mut client = reqwest::Client::builder()
                    .redirect(reqwest::redirect::Policy::none())
                    .default_headers(config.headers.clone());
                if let Some(pem) = &config.ca_pem {
                    let certificates = reqwest::Certificate::from_pem_bundle(pem.as_bytes());
                    client = client.tls_certs_merge(certificates.context("forward_tls_ca_file cannot be used")?);
                }
                Self::Http { client: client.build()?, base: config.endpoint.clone(), compression: config.compression }
            }
        })
    }

    /// The body as it is sent; over gRPC the library compresses it.
    async fn compress(&self, message: &Bytes) -> Bytes {
        match self {
            Self::Http { compression: ForwardCompression::Gzip, .. } => {
                let plain = message.clone();
                let packed = tokio::task::spawn_blocking(move || gzip(&plain)).await;
                // Memory takes all that is written to it, so this fails only where the process does.
                packed.ok().and_then(Result::ok).unwrap_or_default()
            }
            Self::Http { compression: ForwardCompression::None, .. } | Self::Grpc { .. } => message.clone(),
        }
    }

    /// Tries once.
    pub(super) async fn send(&mut self, signal: Signal, message: Bytes) -> Sent {
        match self {
            Self::Grpc { client, metadata } => {
                if client.ready().await.is_err() {
                    return Sent::TryAgain(None);
                }
                let path = http::uri::PathAndQuery::from_static(grpc_path(signal));
                let mut request = tonic::Request::new(message);
                *request.metadata_mut() = metadata.clone();
                match client.unary(request, path, RawCodec).await {
                    Ok(response) => Sent::Delivered { rejected: rejected(&response.into_inner()) },
                    Err(status) => grpc_verdict(&status),
                }
            }
            Self::Http { client, base, compression } => {
                let mut url = base.clone();
                url.set_path(&format!("{}{}", base.path().trim_end_matches('/'), http_path(signal)));
                let mut request = client.post(url).header(header::CONTENT_TYPE, "application/x-protobuf").body(message);
                if *compression == ForwardCompression::Gzip {
                    request = request.header(header::CONTENT_ENCODING, "gzip");
                }
                match request.send().await {
                    Ok(response) => http_verdict(response).await,
                    Err(_) => Sent::TryAgain(None),
                }
            }
        }
    }
}

fn gzip(message: &[u8]) -> std::io::Result<Bytes> {
    use std::io::Write as _;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(message)?;
    Ok(encoder.finish()?.into())
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

/// OTLP's list of HTTP statuses that may be tried again. A page that something on the way answers, such as a login, has another type.
async fn http_verdict(response: reqwest::Response) -> Sent {
    match response.status().as_u16() {
        200..=299 => {
            let content_type = response.headers().get(header::CONTENT_TYPE);
            if content_type.is_some_and(|value| !value.as_bytes().starts_with(b"application/x-protobuf")) {
                return Sent::Refused;
            }
            if response.content_length().is_some_and(|length| length > MAX_ANSWER_BYTES) {
                return Sent::Delivered { rejected: 0 };
            }
            Sent::Delivered { rejected: response.bytes().await.map_or(0, |body| rejected(&body)) }
        }
        429 | 502 | 503 | 504 => {
            let after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            Sent::TryAgain(after.map(Duration::from_secs))
        }
        _ => Sent::Refused,
    }
}

/// How many records a destination says it rejected. The answers of all three signals have the same form.
fn rejected(answer: &[u8]) -> u64 {
    let answer = ExportTraceServiceResponse::decode(answer).unwrap_or_default();
    answer.partial_success.map_or(0, |partial| u64::try_from(partial.rejected_spans).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    /// Guarantees: what a destination says it rejected is read; an empty answer, or one that is none, rejects nothing.
    #[test]
    fn rejections_are_read() {
        let partial = ExportTracePartialSuccess { rejected_spans: 7, error_message: "seven".to_owned() };
        let answer = ExportTraceServiceResponse { partial_success: Some(partial) };
        assert_eq!(rejected(&answer.encode_to_vec()), 7);
        assert_eq!(rejected(b""), 0);
        assert_eq!(rejected(b"<html>"), 0);
    }
}

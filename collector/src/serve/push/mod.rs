//! Pushing the metrics over OTLP, for who does not scrape: every interval the figures as they are. They are cumulative, so a push that fails is
//! made good by the next one, and nothing has to be kept for it.

mod convert;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use contract::{DropReason, Signal, attr};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::forward::{Client, FIRST_BACKOFF, ForwardConfig, MAX_BACKOFF, Sent, with_jitter};
use super::pipeline::Pipeline;
use crate::stop::stopped;

/// How long the last push may take when the server ends.
const LAST: Duration = Duration::from_secs(5);

/// Where to push, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushConfig {
    /// The destination. A path that ends in `/v1/metrics` already is taken as it is.
    pub destination: ForwardConfig,
    /// Time between two pushes.
    pub interval: Duration,
}

/// Pushes the metrics until the server ends.
pub struct Push {
    client: Client,
    interval: Duration,
    /// How long one attempt to send may take.
    timeout: Duration,
    pipeline: Arc<Pipeline>,
    resource: Resource,
    started_ns: u64,
    /// Whether the last push failed: said once when it begins and once when it is over.
    failing: bool,
}

impl Push {
    /// # Errors
    /// An endpoint that the client refuses.
    pub fn new(config: &PushConfig, pipeline: Arc<Pipeline>) -> anyhow::Result<Self> {
        let client = Client::new(&config.destination)?;
        let timeout = config.destination.timeout;
        Ok(Self {
            client,
            interval: config.interval,
            timeout,
            pipeline,
            resource: resource(),
            started_ns: now_ns(),
            failing: false,
        })
    }

    /// Pushes every interval until `stop` becomes true.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Self {
        let mut ticks = tokio::time::interval_at(Instant::now() + self.interval, self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let pushing = async {
            loop {
                let tick = ticks.tick().await;
                self.push(tick + self.interval).await;
            }
        };
        tokio::select! {
            () = pushing => {}
            () = stopped(&mut stop) => {}
        }
        self
    }

    /// Pushes the figures as they are at the end.
    pub async fn finish(mut self) {
        let deadline = Instant::now() + LAST;
        if tokio::time::timeout_at(deadline, self.push(deadline)).await.is_err() {
            self.settle(Err(DropReason::Shutdown));
        }
    }

    /// Pushes the figures as they are now, again and again until the deadline if need be.
    async fn push(&mut self, deadline: Instant) {
        let Ok(text) = self.pipeline.metrics_text() else { return };
        let mut result = Ok(());
        for message in convert::requests(&text, &self.resource, (self.started_ns, now_ns())) {
            result = result.and(self.deliver(&message.encode_to_vec().into(), deadline).await);
        }
        self.settle(result);
    }

    async fn deliver(&mut self, message: &Bytes, deadline: Instant) -> Result<(), DropReason> {
        let mut backoff = FIRST_BACKOFF;
        loop {
            let sent = tokio::time::timeout(self.timeout, self.client.send(Signal::Metrics, message.clone())).await;
            let asked = match sent {
                Ok(Sent::Delivered { rejected: 0 }) => return Ok(()),
                Ok(Sent::Delivered { .. } | Sent::Refused) => return Err(DropReason::Rejected),
                Ok(Sent::TryAgain(after)) => after,
                Err(_) => None,
            };
            let pause = asked.unwrap_or_else(|| with_jitter(backoff)).clamp(FIRST_BACKOFF, MAX_BACKOFF);
            if Instant::now() + pause >= deadline {
                return Err(DropReason::Exhausted);
            }
            tokio::time::sleep(pause).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    fn settle(&mut self, result: Result<(), DropReason>) {
        self.pipeline.metrics().pushed(result);
        let failed = std::mem::replace(&mut self.failing, result.is_err());
        match result {
            Ok(()) if failed => tracing::info!("the endpoint for metrics takes them again"),
            Err(reason) if !failed => {
                let counted_in = contract::generated::metrics::POOLER_OTEL_FAILED_METRIC_PUSHES_TOTAL.name;
                tracing::warn!(%reason, "the endpoint for metrics does not take them; pushes that fail are counted in {counted_in}");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

/// This process, as OpenTelemetry names it.
fn resource() -> Resource {
    let attribute = |key: &str, value: String| {
        let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value)) });
        KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
    };
    Resource {
        attributes: vec![
            attribute(attr::SERVICE_NAME, "pooler-otel".to_owned()),
            attribute(attr::SERVICE_VERSION, env!("CARGO_PKG_VERSION").to_owned()),
            attribute(attr::SERVICE_INSTANCE_ID, uuid::Uuid::new_v4().to_string()),
        ],
        ..Resource::default()
    }
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

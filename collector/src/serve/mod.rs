//! `pooler-otel serve`: bind, run, end. Sockets are bound before anything runs, so that a port in use is the first thing that is said.

pub mod admin;
pub mod forward;
pub mod listen;
pub mod metrics;
pub mod pipeline;
pub mod policy;
pub mod push;
pub mod raw_codec;
pub mod request_metrics;
mod said;

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use opentelemetry_proto::tonic::trace::v1::Span;
use sanitizer::Policy;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

use self::forward::{Forward, ForwardConfig};
use self::listen::Version;
use self::metrics::Metrics;
use self::pipeline::Pipeline;
use self::policy::{InForce, PolicyFile};
use self::push::{Push, PushConfig};
use crate::receive;
use crate::stop::stopped;

/// How long open connections may take to finish when the server ends.
const DRAIN: Duration = Duration::from_secs(5);
/// How long the start waits for the requests that were open when the store was closed.
const TAKE_UP: Duration = Duration::from_secs(5);

/// What `serve` runs with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The embedded store, if spans are stored.
    pub store: Option<StoreConfig>,
    /// Address of OTLP/gRPC.
    pub otlp_grpc: SocketAddr,
    /// Address of OTLP/HTTP.
    pub otlp_http: SocketAddr,
    /// Address of the Tempo API.
    pub tempo: SocketAddr,
    /// Address of metrics and health.
    pub metrics: SocketAddr,
    /// Where sanitized messages go besides the store.
    pub forward: Option<ForwardConfig>,
    /// Where the metrics go besides `/metrics`.
    pub push: Option<PushConfig>,
    /// The operator's policy; without one, the contract alone holds.
    pub policy: Option<PolicyFile>,
}

/// Where the embedded store is, and how much it keeps.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Its folder.
    pub data_dir: PathBuf,
    /// How long it keeps a request.
    pub retention: Duration,
    /// How large its file may become, in bytes.
    pub max_bytes: u64,
}

impl StoreConfig {
    fn open(&self) -> anyhow::Result<store::Store> {
        create_private_folder(&self.data_dir)?;
        let config =
            store::Config { path: self.data_dir.join("requests.sqlite"), retention: self.retention, max_bytes: self.max_bytes };
        Ok(store::Store::open(&config)?)
    }
}

/// A server whose sockets are bound.
pub struct Server {
    listeners: Vec<(Role, TcpListener)>,
    store: Option<store::Store>,
    pipeline: Arc<Pipeline>,
    metrics: Arc<Metrics>,
    forward: Option<forward::Worker>,
    policy: Option<policy::Watch>,
    hang_up: Arc<Notify>,
    push: Option<Push>,
}

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// OTLP/gRPC.
    OtlpGrpc,
    /// OTLP/HTTP.
    OtlpHttp,
    /// The Tempo API.
    Tempo,
    /// Metrics and health.
    Metrics,
}

impl Role {
    /// Name in the line that says where it listens.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OtlpGrpc => "otlp_grpc",
            Self::OtlpHttp => "otlp_http",
            Self::Tempo => "tempo",
            Self::Metrics => "metrics",
        }
    }

    /// The flag that moves it elsewhere.
    pub const fn flag(self) -> &'static str {
        match self {
            Self::OtlpGrpc => "--otlp-grpc-listen",
            Self::OtlpHttp => "--otlp-http-listen",
            Self::Tempo => "--tempo-listen",
            Self::Metrics => "--metrics-listen",
        }
    }
}

impl Server {
    /// Binds every socket and opens the store.
    ///
    /// # Errors
    /// An address that cannot be bound, with the flag that changes it; a data folder or store that cannot be opened; a bad forward endpoint.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        if let Some(file) = &config.policy {
            file.log_warnings();
        }
        // Before anyone can connect: it takes a moment to prepare.
        let in_force = Arc::new(InForce::new(config.policy.as_ref().map_or_else(Policy::contract, PolicyFile::policy)));
        let mut listeners = Vec::new();
        for (role, address) in [
            (Role::OtlpGrpc, config.otlp_grpc),
            (Role::OtlpHttp, config.otlp_http),
            (Role::Tempo, config.tempo),
            (Role::Metrics, config.metrics),
        ] {
            // Without a store there is nothing to ask.
            if role == Role::Tempo && config.store.is_none() {
                continue;
            }
            listeners.push((role, listen::bind(role, address).await?));
        }
        let store = config.store.as_ref().map(StoreConfig::open).transpose()?;
        let metrics = Arc::new(Metrics::new());
        if let Some(store) = &store {
            take_up_open_requests(&store.reader(), |marker| metrics.was_open(marker));
        }
        let (forward, worker) = match &config.forward {
            Some(config) => {
                let (forward, worker) = Forward::new(config, Arc::clone(&metrics))?;
                (Some(forward), Some(worker))
            }
            None => (None, None),
        };
        metrics.policy_in_force(in_force.now().version());
        let policy = config.policy.clone().map(|file| policy::Watch::new(file, Arc::clone(&in_force), Arc::clone(&metrics)));
        let pipeline = Arc::new(Pipeline::new(in_force, store.clone(), forward, Arc::clone(&metrics)));
        let push = config.push.as_ref().map(|config| Push::new(config, Arc::clone(&pipeline))).transpose()?;
        Ok(Self { listeners, store, pipeline, metrics, forward: worker, push, policy, hang_up: Arc::default() })
    }

    /// Where each listener really listens.
    ///
    /// # Errors
    /// The operating system's, if it cannot say.
    pub fn addresses(&self) -> std::io::Result<Vec<(Role, SocketAddr)>> {
        self.listeners.iter().map(|(role, listener)| Ok((*role, listener.local_addr()?))).collect()
    }

    /// The counters.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// What to notify for the policy to be loaded again.
    pub fn hang_up(&self) -> Arc<Notify> {
        Arc::clone(&self.hang_up)
    }

    /// Serves until `stop` becomes true, then ends in order: no new connections, open ones finish, the queue drains, the store closes.
    ///
    /// # Errors
    /// A listener that failed, or a store that could not be closed.
    pub async fn run(self, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
        let mut tasks = tokio::task::JoinSet::new();
        for (role, listener) in self.listeners {
            let router = match (role, &self.store) {
                (Role::OtlpGrpc, _) => receive::grpc::router(Arc::clone(&self.pipeline)),
                (Role::OtlpHttp, _) => receive::http::router(Arc::clone(&self.pipeline)),
                (Role::Tempo, Some(store)) => tempo_api::router(store.reader()),
                (Role::Tempo, None) => continue,
                (Role::Metrics, _) => admin::router(Arc::clone(&self.pipeline)),
            };
            let version = if role == Role::OtlpGrpc { Version::Http2 } else { Version::Http1 };
            tasks.spawn(listen::serve(listener, router, version, stop.clone()));
        }
        let policy = match self.policy {
            Some(policy) => tokio::spawn(policy.run(self.hang_up, stop.clone())),
            None => tokio::spawn(policy::nothing_to_load(self.hang_up, stop.clone())),
        };
        let forward = self.forward.map(|worker| tokio::spawn(worker.run(stop.clone())));
        let push = self.push.map(|push| tokio::spawn(push.run(stop.clone())));
        // A dropped sender means that whoever started the server is gone, so an error ends it as a request would.
        stopped(&mut stop).await;
        if tokio::time::timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
            tasks.shutdown().await;
        }
        // It may be asleep; nothing is lost with it.
        policy.abort();
        if let Some(push) = push {
            push.await.context("the push of metrics failed")?.finish().await;
        }
        drop(self.pipeline);
        if let Some(forward) = forward {
            forward.await.context("the forwarder failed")?;
        }
        if let Some(store) = self.store {
            tokio::task::spawn_blocking(move || store.close()).await.context("closing the store failed")??;
        }
        Ok(())
    }
}

/// Takes up the requests that were open when the store was closed. If that fails, their next markers do it.
fn take_up_open_requests(reader: &store::Reader, take_up: impl Fn(&Span)) {
    let scan = store::Scan { records: store::Records::Markers, ..store::Scan::all(Instant::now() + TAKE_UP) };
    let result = reader.scan::<store::ReadError>(&scan, |candidate| {
        if let Some(marker) = candidate.view()? {
            take_up(&marker.span);
        }
        Ok(ControlFlow::Continue(()))
    });
    if let Err(error) = result {
        tracing::warn!(%error, "requests that were open are counted from their next heartbeat on");
    }
}

/// Creates the data folder, readable by its owner alone.
fn create_private_folder(path: &std::path::Path) -> anyhow::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder
        .create(path)
        .with_context(|| format!("cannot create the data folder {}; choose another with --data-dir", path.display()))
}

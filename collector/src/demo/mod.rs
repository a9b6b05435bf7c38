//! `pooler-otel demo`: `serve` in a temporary folder, a simulated pooler that uses the exporter over real OTLP, a broken client that sends what it
//! must not, and a screen that shows what became of it all.

mod broken_client;
mod pooler;
mod scenarios;
mod screen;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;

use crate::cli::DemoArgs;
use crate::config;
use crate::serve::{Config, Role, Server, StoreConfig};
use crate::stop;

/// How much the demo's store may hold, in bytes. It is deleted at the end.
const MAX_STORE_BYTES: u64 = 1024 * 1024 * 1024;
/// How long the demo's requests are kept.
const RETENTION: Duration = Duration::from_secs(14 * 24 * 3600);

/// Addresses that the parts of the demo talk to.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// OTLP/gRPC.
    pub otlp_grpc: SocketAddr,
    /// OTLP/HTTP.
    pub otlp_http: SocketAddr,
    /// The Tempo API.
    pub tempo: SocketAddr,
    /// Metrics.
    pub metrics: SocketAddr,
}

/// Runs the demo until Ctrl-C, or for as long as `--for` says.
///
/// # Errors
/// A port in use, or a part that failed.
pub async fn run(args: DemoArgs) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("pooler-otel-demo-").tempdir().context("cannot create a temporary folder")?;
    let server = Server::bind(&Config {
        store: Some(StoreConfig { data_dir: folder.path().to_owned(), retention: RETENTION, max_bytes: MAX_STORE_BYTES }),
        otlp_grpc: args.listen.otlp_grpc_listen,
        otlp_http: args.listen.otlp_http_listen,
        tempo: args.listen.tempo_listen,
        metrics: args.listen.metrics_listen,
        forward: config::serve::forward(&args.forward, &[])?,
        policy: None,
        push: None,
    })
    .await?;
    let addresses = addresses(&server)?;
    let metrics = server.metrics();

    // The parts end one after the other: first what sends, then the server, then the folder.
    let (stopper, stop) = until(args.duration)?;
    let (stop_server, server_stopped) = watch::channel(false);
    let server = tokio::spawn(server.run(server_stopped));
    let broken = tokio::spawn(broken_client::run(addresses.otlp_http, stop.clone()));
    let pooler = tokio::spawn(pooler::run(addresses.otlp_grpc, args.rate, args.seed, stop.clone()));
    let shown = screen::run(&addresses, &metrics, stop).await;
    // A screen that cannot be shown any more, for instance because its reader has seen enough, ends the demo, too.
    stopper.send_replace(true);

    pooler.await.context("the simulated pooler failed")??;
    broken.await.context("the broken client failed")??;
    stop_server.send_replace(true);
    server.await.context("the server failed")??;
    folder.close().context("cannot remove the temporary folder")?;
    match shown {
        Err(error) if error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe) => {
            Ok(())
        }
        Err(error) => Err(error),
        Ok(()) => {
            println!("The demo has ended; its data is deleted.");
            Ok(())
        }
    }
}

fn addresses(server: &Server) -> anyhow::Result<Addresses> {
    let all = server.addresses()?;
    let of =
        |wanted: Role| all.iter().find(|(role, _)| *role == wanted).map(|(_, address)| *address).context("a listener is missing");
    Ok(Addresses {
        otlp_grpc: of(Role::OtlpGrpc)?,
        otlp_http: of(Role::OtlpHttp)?,
        tempo: of(Role::Tempo)?,
        metrics: of(Role::Metrics)?,
    })
}

/// True at Ctrl-C, after the duration, or when the sender says so.
fn until(duration: Option<Duration>) -> std::io::Result<(watch::Sender<bool>, watch::Receiver<bool>)> {
    let (sender, receiver) = watch::channel(false);
    let stopper = sender.clone();
    let mut signal = stop::on_signal(stop::HangUp::Ends)?;
    tokio::spawn(async move {
        let timeout = async {
            match duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop::stopped(&mut signal) => {}
            () = timeout => {}
        }
        sender.send_replace(true);
    });
    Ok((stopper, receiver))
}

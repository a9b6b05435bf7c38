//! Sockets: binding them with an error that says what to change, and serving on them with bounds that the default servers lack.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::anyhow;
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::Role;
use crate::receive::grpc::TraceService;
use crate::stop::stopped;

/// How long a client may take to send a request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest request head over HTTP/1, in bytes.
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// Concurrent streams on one HTTP/2 connection.
const MAX_STREAMS: u32 = 200;
/// How often an idle gRPC connection is asked whether it is still there, and how long it may take to answer.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How long one OTLP/gRPC call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause after the system refused to accept a connection, for instance because it is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds an address for a role.
pub async fn bind(role: Role, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let (name, flag) = (role.name(), role.flag());
        match error.kind() {
            ErrorKind::AddrInUse => {
                anyhow!("port {} is in use ({name} on {address}); choose another with {flag}", address.port())
            }
            ErrorKind::PermissionDenied => anyhow!("no permission to listen on {address} ({name}); choose another with {flag}"),
            _ => anyhow!("cannot listen on {address} ({name}): {error}; choose another with {flag}"),
        }
    })
}

/// Serves OTLP/gRPC until `stop`.
pub async fn grpc(listener: TcpListener, service: TraceService, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    tonic::transport::Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .timeout(CALL_TIMEOUT)
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, async move {
            stopped(&mut stop).await;
        })
        .await?;
    Ok(())
}

/// Serves a router over HTTP/1 until `stop`. Unlike `axum::serve`, it bounds how long and how large a request's head may be.
pub async fn http(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => break,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEADER_BYTES);
        let service = TowerToHyperService::new(router.clone());
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        // A connection that fails is the client's business; its error could repeat what it sent, so nothing is logged.
        tokio::spawn(async move { drop(connection.await) });
    }
    graceful.shutdown().await;
    Ok(())
}

//! Sockets: binding them with an error that says what to change, and serving on them with bounds that the default servers lack.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::anyhow;
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;

use super::Role;
use crate::receive::notices::Sender;
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
/// What every HTTP/2 connection begins with, RFC 9113, section 3.4.
const HTTP2_GREETING: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Pause between two looks at a greeting of which only a piece has come.
const GREETING_POLL: Duration = Duration::from_millis(20);
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
pub async fn grpc(listener: TcpListener, routes: Routes, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let incoming = greeted(listener, stop.clone());
    tonic::transport::Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .timeout(CALL_TIMEOUT)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, async move {
            stopped(&mut stop).await;
        })
        .await?;
    Ok(())
}

/// Connections that have sent the whole greeting of HTTP/2. The server itself would wait for it without end, and hold a file descriptor for
/// everyone who never sends it.
fn greeted(listener: TcpListener, mut stop: watch::Receiver<bool>) -> ReceiverStream<std::io::Result<TcpStream>> {
    let (sender, connections) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopped(&mut stop) => return,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let sender = sender.clone();
            tokio::spawn(async move {
                if let Ok(true) = tokio::time::timeout(HEADER_TIMEOUT, has_greeting(&stream)).await {
                    // Who does not take it any more is ending.
                    drop(stream.set_nodelay(true));
                    drop(sender.send(Ok(stream)).await);
                }
            });
        }
    });
    ReceiverStream::new(connections)
}

/// Waits for the 24 bytes with which every HTTP/2 connection begins, and leaves them where they are.
async fn has_greeting(stream: &TcpStream) -> bool {
    let mut bytes = [0; HTTP2_GREETING.len()];
    loop {
        match stream.peek(&mut bytes).await {
            Ok(n) if n == bytes.len() => return bytes == *HTTP2_GREETING,
            Ok(n) if n > 0 && HTTP2_GREETING.starts_with(&bytes[..n]) => tokio::time::sleep(GREETING_POLL).await,
            _ => return false,
        }
    }
}

/// Serves a router over HTTP/1 until `stop`. Unlike `axum::serve`, it bounds how long and how large a request's head may be.
pub async fn http(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => break,
        };
        let Ok((stream, address)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEADER_BYTES);
        let service = TowerToHyperService::new(router.clone().layer(Extension(Sender(address.ip()))));
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        // A connection that fails is the client's business; its error could repeat what it sent, so nothing is logged.
        tokio::spawn(async move { drop(connection.await) });
    }
    graceful.shutdown().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    /// Guarantees: a connection is handed on once it has sent the greeting, in however many pieces, and not if it sends anything else.
    #[tokio::test]
    async fn only_http2_gets_in() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for (pieces, gets_in) in [
            (vec![&HTTP2_GREETING[..]], true),
            (vec![&HTTP2_GREETING[..5], &HTTP2_GREETING[5..], b"more"], true),
            (vec![&b"GET / HTTP/1.1\r\n\r\n"[..]], false),
            (vec![&HTTP2_GREETING[..14], &b"\r\nsomething else"[..]], false),
        ] {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            let check = tokio::spawn(async move { has_greeting(&server).await });
            for piece in pieces {
                client.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            assert_eq!(check.await.unwrap(), gets_in);
        }
    }
}

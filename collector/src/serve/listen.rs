//! Sockets: binding them with an error that says what to change, and serving on them with bounds that the default servers lack.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

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
/// Connections of one listener. Each takes some tens of KiB.
const MAX_CONNECTIONS: usize = 1024;
/// How often it is said that there are so many.
const SAY_EVERY: Duration = Duration::from_secs(60);
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

/// Lets this process have as many connections and files open as it is allowed to. It commonly starts with a limit of 1024, for the sake of programs
/// that could not deal with more, and may raise it.
pub fn raise_open_files() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        // Where it cannot be raised, connections beyond it wait until others end.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
}

/// What a listener's clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.
    Http1,
    /// HTTP/2 without TLS, as gRPC does.
    Http2,
}

/// Serves a router until `stop`. Unlike the default servers, it bounds how many connections there are, and how long and how large a request's head
/// may be.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    version: Version,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut connections = Connections::new(listener);
    let graceful = GracefulShutdown::new();
    loop {
        let (stream, address, place) = tokio::select! {
            accepted = connections.next() => accepted,
            () = stopped(&mut stop) => break,
        };
        let service = TowerToHyperService::new(router.clone().layer(Extension(Sender(address.ip()))));
        let (watcher, mut stop) = (graceful.watcher(), stop.clone());
        tokio::spawn(async move {
            let _place = place;
            if version == Version::Http2 {
                let greeted = tokio::select! {
                    greeted = tokio::time::timeout(HEADER_TIMEOUT, has_greeting(&stream)) => greeted.unwrap_or(false),
                    () = stopped(&mut stop) => false,
                };
                if !greeted {
                    return;
                }
            }
            // Answers are small, and whole.
            let _ = stream.set_nodelay(true);
            let builder = builder(version);
            let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
            // A connection that fails is the client's business; its error could repeat what it sent, so nothing is logged.
            drop(watcher.watch(connection).await);
        });
    }
    graceful.shutdown().await;
    Ok(())
}

fn builder(version: Version) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE);
    match version {
        Version::Http1 => builder.http1_only(),
        Version::Http2 => builder.http2_only(),
    }
}

/// The connections of a listener, each with a place among the [`MAX_CONNECTIONS`]. Where there is none left, further ones wait in the system's queue.
struct Connections {
    listener: TcpListener,
    places: Arc<Semaphore>,
    /// When it was last said that there is no place left.
    said: Option<Instant>,
}

impl Connections {
    fn new(listener: TcpListener) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(MAX_CONNECTIONS)), said: None }
    }

    async fn next(&mut self) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
        if self.places.available_permits() == 0 && self.said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
            self.said = Some(Instant::now());
            let address = self.listener.local_addr().ok();
            tracing::warn!(?address, "{MAX_CONNECTIONS} connections are open; further ones wait until one of them ends");
        }
        // A closed semaphore, which there is none of, would let everyone in.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => return (stream, address, place),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    /// Guarantees: where every place is taken, a connection waits, and gets in when another one ends.
    #[tokio::test]
    async fn connections_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut connections = Connections { places: Arc::new(Semaphore::new(1)), ..Connections::new(listener) };
        let _clients = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
        let (_stream, _, place) = connections.next().await;
        let next = connections.next();
        tokio::pin!(next);
        tokio::select! {
            biased;
            _ = &mut next => panic!("there is no place left"),
            () = std::future::ready(()) => {}
        }
        drop(place);
        let (_stream, _, place) = next.await;
        assert!(place.is_some());
    }

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

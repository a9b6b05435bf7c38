//! A real handshake: a receiver that only a private root vouches for, and that asks for the client's certificate, over both protocols.
//!
//! The files in `tls/` were made once, for a hundred years: a root whose key was thrown away, and certificates below it for a server at 127.0.0.1
//! and for a client, on P-256:
//!
//! ```sh
//! openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout root.key.pem -out root.pem -days 36500 -subj '/CN=test root'
//! openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key.pem -out server.csr -subj '/CN=test server'
//! openssl x509 -req -in server.csr -CA root.pem -CAkey root.key.pem -days 36500 -out server.pem \
//!   -extfile <(printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n')
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use codex_pooler_exporter::{BuildError, Exporter, Rejection};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use support::admission;
use testkit::backend::{Answer, Backend, Script};
use tokio_rustls::TlsAcceptor;

const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls");
/// Set in the process that is the client: certificates are named by variables only, and a test must not set its own.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

fn certificates(name: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(format!("{FILES}/{name}")).unwrap().collect::<Result<_, _>>().unwrap()
}

/// A way to a backend, with TLS up to here. Returns its address.
fn with_tls(backend: &Backend, protocol: &[u8]) -> SocketAddr {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates("root.pem"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::from_pem_file(format!("{FILES}/server.key.pem")).unwrap();
    let mut config = config.with_client_cert_verifier(clients).with_single_cert(certificates("server.pem"), key).unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];

    let to: SocketAddr = backend.url().strip_prefix("http://").unwrap().parse().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let (listener, acceptor) =
                (tokio::net::TcpListener::from_std(listener).unwrap(), TlsAcceptor::from(Arc::new(config)));
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // A client that is not trusted, or does not trust, goes away.
                    let Ok(mut near) = acceptor.accept(stream).await else { return };
                    let mut far = tokio::net::TcpStream::connect(to).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
    });
    address
}

/// This test once more, as the client in a process of its own: what it says, and what became of its span.
fn says(test: &str, address: SocketAddr, protocol: &str, files: &[(&str, &str)]) -> String {
    let mut client = Command::new(std::env::current_exe().unwrap());
    client.args(["--exact", test, "--nocapture"]);
    client.env(ENDPOINT, format!("https://{address}")).env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
    for (variable, file) in files {
        client.env(format!("OTEL_EXPORTER_OTLP_{variable}"), format!("{FILES}/{file}"));
    }
    let output = client.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}");
    printed
}

fn client() {
    tracing_subscriber::fmt().with_ansi(false).init();
    let exporter = Exporter::builder().retry_for(Duration::from_millis(1)).build().unwrap();
    exporter.admit_at(admission(), std::time::SystemTime::now()).reject(Rejection::new("policy_denied", 403));
    println!("{:?}", exporter.shutdown());
}

fn check(test: &str, backend: &Backend, protocol: &str, alpn: &[u8]) {
    if std::env::var_os(ENDPOINT).is_some() {
        return client();
    }
    let address = with_tls(backend, alpn);
    let root = ("CERTIFICATE", "root.pem");
    let identity = [("CLIENT_CERTIFICATE", "client.pem"), ("CLIENT_KEY", "client.key.pem")];
    let exports = |files: &[(&str, &str)]| says(test, address, protocol, files).contains("exported: 1,");
    let untrusted = says(test, address, protocol, &identity);
    assert!(untrusted.contains("exported: 0,"), "the system's roots do not vouch for the receiver");
    assert!(untrusted.contains("TLS with the OTLP receiver fails"), "{untrusted}");
    assert!(!exports(&[root]), "the receiver does not know who that is");
    assert!(backend.recorded().is_empty());
    assert!(exports(&[root, identity[0], identity[1]]));
    assert_eq!(backend.accepted_spans().len(), 1);
}

/// Guarantees: over gRPC, a receiver is trusted if and only if the roots that the variables name vouch for it, and it is shown the client's
/// certificate; one that is not trusted is said to be that, with what to change.
#[test]
fn a_private_root_over_grpc() {
    check("a_private_root_over_grpc", &Backend::grpc(Script::always(Answer::Accept)), "grpc", b"h2");
}

/// Guarantees: the same over HTTP.
#[test]
fn a_private_root_over_http() {
    check("a_private_root_over_http", &Backend::http(Script::always(Answer::Accept)), "http/protobuf", b"http/1.1");
}

/// Guarantees: a file of certificates whose path is no Unicode is one that cannot be used, and not one that nobody named.
#[cfg(unix)]
#[test]
fn a_path_that_is_no_unicode() {
    use std::os::unix::ffi::OsStrExt as _;
    if std::env::var_os(ENDPOINT).is_some() {
        assert!(matches!(Exporter::builder().build(), Err(BuildError::Certificate)));
        return;
    }
    let mut client = Command::new(std::env::current_exe().unwrap());
    let path = std::ffi::OsStr::from_bytes(b"/root-\xff.pem");
    client.args(["--exact", "a_path_that_is_no_unicode"]).env("OTEL_EXPORTER_OTLP_CERTIFICATE", path);
    assert!(client.env(ENDPOINT, "https://127.0.0.1:1").status().unwrap().success());
}

/// Guarantees: a file without a certificate cannot be used, over either protocol: it vouches for nobody, and whoever named it meant another.
#[test]
fn a_file_without_a_certificate() {
    if std::env::var_os(ENDPOINT).is_some() {
        assert!(matches!(Exporter::builder().build(), Err(BuildError::Certificate)));
        return;
    }
    for (protocol, file) in ["grpc", "http/protobuf"].into_iter().flat_map(|it| [(it, "../tls.rs"), (it, "server.key.pem")]) {
        let mut client = Command::new(std::env::current_exe().unwrap());
        client.args(["--exact", "a_file_without_a_certificate"]).env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
        client.env("OTEL_EXPORTER_OTLP_CERTIFICATE", format!("{FILES}/{file}"));
        assert!(client.env(ENDPOINT, "https://127.0.0.1:1").status().unwrap().success(), "{protocol} {file}");
    }
}

//! The configuration of the real binary: file, variables and flags; what `check` says of them; and that they do what they say.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::path::Path;
use std::process::Output;

use testkit::backend::{Answer, Backend, Script};
use testkit::otlp::{self, Row};
use testkit::send;
use testkit::serve::{self, Serve};

const BINARY: &str = env!("CARGO_BIN_EXE_pooler-otel");
/// A secret that must show nowhere.
const SECRET: &str = "hunter2-hunter2-hunter2";

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn write(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

/// `check` with a home folder, so that there is one to keep data in.
fn check(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    serve::run_with(BINARY, &[&["check"], arguments].concat(), &[variables, &[("HOME", "/home/me")]].concat(), b"")
}

/// Guarantees: a flag wins over its variable, that over the file, that over the default; and `check` says of each option what holds and why.
#[test]
fn the_nearer_wins_and_check_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "c.yaml", "# ours\nretention: 1d\nmax_store_mib: 1\nlog_level: warn\n");
    let variables = [("POOLER_OTEL_CONFIG", file.as_str()), ("POOLER_OTEL_RETENTION", "2d"), ("POOLER_OTEL_MAX_STORE_MIB", "2")];
    let printed = check(&["--retention", "3d", "--format", "json"], &variables);
    assert_eq!(printed.status.code(), Some(0), "{}", text(&printed.stderr));
    let report: serde_json::Value = serde_json::from_slice(&printed.stdout).unwrap();
    for (key, value, origin, place) in [
        ("retention", "3d", "flag", "--retention"),
        ("max_store_mib", "2", "environment", "POOLER_OTEL_MAX_STORE_MIB"),
        ("log_level", "warn", "file", &*format!("{file}:4")),
        ("forward_protocol", "grpc", "default", "default"),
        ("data_dir", "/home/me/.local/share/pooler-otel", "default", "default"),
    ] {
        assert_eq!(report["options"][key], serde_json::json!({"value": value, "origin": origin, "place": place}), "{key}");
    }
    let printed = text(&check(&["--retention", "3d"], &variables).stdout);
    for line in ["retention 3d (--retention)", "max_store_mib 2 (POOLER_OTEL_MAX_STORE_MIB)"] {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(printed.lines().any(|printed| words(printed) == line), "{printed}");
    }
}

/// Guarantees: the default configuration can be printed, and `check` and `serve` take it.
#[test]
fn the_default_configuration_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let printed = check(&["--print-default-config"], &[]);
    let file = write(folder.path(), "c.yaml", &text(&printed.stdout));
    let checked = check(&["--config", &file], &[]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    let mut serve = Serve::start(BINARY, &folder.path().join("data"), &["--config", &file]);
    assert!(serve.terminate().success());
}

/// Guarantees: what is wrong in the file ends `check` and `serve` alike with status 2 and one line that begins with file and line; a secret in
/// the wrong place is not repeated.
#[test]
fn what_is_wrong_is_said_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    for (content, line, why) in [
        ("store: true\nretentoin: 1d\n", 2, "there is no such option"),
        ("store: true\n\nretention: hunter2-hunter2-hunter2\n", 3, "90s, 15m, 12h or 30d"),
        ("store: false\n", 1, "forward_endpoint"),
        ("# ours\nforward_headers: [a=hunter2-hunter2-hunter2]\nforward_endpoint: http://h\n", 2, "in the clear"),
        ("forward_endpoint: https://me:hunter2-hunter2-hunter2@h\n", 1, "forward_headers"),
        ("retention: 1d\nretention: 2d\n", 2, "twice"),
        ("retention: 'hunter2-hunter2-hunter2\n", 1, "not closed"),
        ("store: true\nforward_headers: [a=${env:HOME}\nretention: 1d\n", 2, "not closed"),
        ("max_store_mib: -1\n", 1, "between 1 and"),
        ("retention: 0s\n", 1, "above 0"),
        ("retention: 99999d\n", 1, "36500d at most"),
        ("tempo_listen: localhost:3200\n", 1, "names such as localhost are not looked up"),
    ] {
        let file = write(folder.path(), "c.yaml", content);
        for command in ["check", "serve"] {
            let ended = serve::run(BINARY, &[command, "--data-dir", "/tmp/never", "--config", &file]);
            assert_eq!(ended.status.code(), Some(2), "{content}");
            let error = text(&ended.stderr);
            assert!(
                error.starts_with(&format!("{file}:{line}: ")) && error.contains(why) && error.lines().count() == 1,
                "{error}"
            );
            assert!(!error.contains(SECRET) && ended.stdout.is_empty(), "{error}");
        }
    }
    let ended = check(&["--config", "/no/such/file.yaml"], &[]);
    assert_eq!(ended.status.code(), Some(2));
    assert!(
        text(&ended.stderr).starts_with("/no/such/file.yaml: cannot be opened: there is no such file"),
        "{}",
        text(&ended.stderr)
    );
}

/// Guarantees: an option that is wrong is named once, as whoever set it knows it: the flag, the variable, or the line of the file.
#[test]
fn what_is_wrong_is_named_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "c.yaml", "forward_endpoint: ftp://h\n");
    let says = |ended: std::process::Output, place: &str| {
        assert_eq!(text(&ended.stderr), format!("{place}: it must start with http:// or https:// and name a host\n"));
    };
    says(check(&["--forward-endpoint", "ftp://h"], &[]), "--forward-endpoint");
    says(check(&[], &[("POOLER_OTEL_FORWARD_ENDPOINT", "ftp://h")]), "POOLER_OTEL_FORWARD_ENDPOINT");
    says(check(&["--config", &file], &[]), &format!("{file}:1: forward_endpoint"));
}

/// Guarantees: of a URL, whose path can be a secret, `check` says where it leads and no more.
#[test]
fn a_url_shows_where_it_leads() {
    let endpoint = format!("https://otlp.example.com/{SECRET}/v1");
    let arguments = ["--forward-endpoint", &endpoint, "--metrics-otlp-endpoint", &endpoint];
    for format in ["text", "json"] {
        let printed = check(&[&arguments[..], &["--format", format]].concat(), &[]);
        assert!(printed.status.success(), "{}", text(&printed.stderr));
        let printed = text(&printed.stdout);
        assert!(printed.matches("https://otlp.example.com:443").count() == 2 && !printed.contains(SECRET), "{printed}");
    }
}

/// Guarantees: headers for a destination come from variables and files, arrive with every message, compressed or not, over both protocols, and
/// show neither in `check` nor in the logs; and without a store the spans are acknowledged and forwarded all the same.
#[test]
fn headers_arrive_and_do_not_show() {
    for (protocol, compression) in [("grpc", "gzip"), ("http/protobuf", "gzip"), ("http/protobuf", "none")] {
        let backend = if protocol == "grpc" {
            Backend::grpc(Script::always(Answer::Accept))
        } else {
            Backend::http(Script::always(Answer::Accept))
        };
        let folder = tempfile::tempdir().unwrap();
        let secret = write(folder.path(), "token", &format!("{SECRET}\n"));
        let content = format!(
            "store: false\nlog_level: debug\nforward_endpoint: {}\nforward_protocol: {protocol}\nforward_compression: {compression}\n\
             forward_headers:\n  - authorization=Bearer ${{file:{secret}}}\n  - x-tenant=${{env:TENANT}}\n",
            backend.url()
        );
        let file = write(folder.path(), "c.yaml", &content);
        let variables = [("TENANT", "team-a")];
        let checked = serve::run_with(BINARY, &["check", "--config", &file], &variables, b"");
        assert!(checked.status.success(), "{}", text(&checked.stderr));
        assert!(text(&checked.stdout).contains("authorization, x-tenant"), "{}", text(&checked.stdout));

        let data = folder.path().join("data");
        let mut serve = Serve::start_with(BINARY, &data, &["--config", &file], &variables);
        let row = Row::numbered(1);
        send::grpc(&serve.otlp_grpc(), otlp::request(vec![row.span()]), false).unwrap();
        serve.assert_conserved();
        assert_eq!(backend.accepted_spans(), [row.span()], "{protocol}");
        let recorded = backend.recorded();
        let sent = text(&recorded[0].everything().into_iter().filter(u8::is_ascii).collect::<Vec<u8>>());
        assert!(sent.contains(&format!("Bearer {SECRET}")) && sent.contains("team-a"), "{sent}");
        assert!(serve.terminate().success());
        assert!(!data.exists(), "nothing is stored");
        assert!(!serve.stdout().contains("listening tempo"), "{}", serve.stdout());
        for shown in [text(&checked.stdout), text(&checked.stderr), serve.stdout(), serve.stderr()] {
            assert!(!shown.contains(SECRET), "{shown}");
        }
    }
}

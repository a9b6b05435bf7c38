//! The command line of the real binary: what it prints, where, and how it ends.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use contract::RequestStatus;
use testkit::backend::Nobody;
use testkit::otlp::{self, Row};
use testkit::send;
use testkit::serve::{self, Serve};

const BINARY: &str = env!("CARGO_BIN_EXE_pooler-otel");

fn serve_with_rows() -> (tempfile::TempDir, Serve) {
    let folder = tempfile::tempdir().unwrap();
    let serve = Serve::start(BINARY, folder.path(), &[]);
    // In this order, as a row is as old as the moment at which it was made: the second is the newer one.
    let succeeded = Row::numbered(1);
    let failed = Row {
        status: RequestStatus::Failed,
        error_code: Some("upstream_network_error".to_owned()),
        tokens: None,
        cost_usd: None,
        account: "Borealis team".to_owned(),
        model: "gpt-5.4-mini".to_owned(),
        ..Row::numbered(2)
    };
    let spans = vec![succeeded.span(), failed.span()];
    send::grpc(&serve.otlp_grpc(), otlp::request(spans), false).unwrap();
    (folder, serve)
}

fn requests(serve: &Serve, arguments: &[&str]) -> Output {
    let url = serve.tempo();
    serve::run(BINARY, &[&["requests", "--url", &url], arguments].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Guarantees: the table has the log's nine columns, newest row first, with the text that the contract's display rules give each.
#[test]
fn the_table_has_nine_columns() {
    let (_folder, serve) = serve_with_rows();
    let printed = requests(&serve, &[]);
    assert!(printed.status.success(), "{}", text(&printed.stderr));
    let table = text(&printed.stdout);
    let cells = |line: &str| line.split("  ").map(str::trim).filter(|c| !c.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let lines: Vec<Vec<String>> = table.lines().map(cells).collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert_eq!(
        lines[0],
        ["STATUS", "TIME (UTC) AND ID", "UPSTREAM ACCOUNT", "PLAN", "MODEL / API KEY", "TRANSPORT", "ROUTE", "USAGE", "ERRORS"]
    );
    let columns = |line: &[String]| [&line[0..1], &line[2..]].concat();
    assert_eq!(
        columns(&lines[1]),
        [
            "✖ Failed",
            "Borealis team · Core agents",
            "Pro",
            "gpt-5.4-mini / default · CI agents",
            "HTTP SSE · Codex 0.142.0",
            "/backend-api/codex/responses · 2.5s",
            "– (usage unknown)",
            "upstream_network_error"
        ]
    );
    assert_eq!(columns(&lines[2])[6..], ["50.1k tokens · 41k cached · $0.0331", "–"]);
    assert!(lines[1][1].ends_with(" a0000002"), "{}", lines[1][1]);
    assert_eq!(text(&printed.stderr), "");
}

/// Guarantees: every filter narrows the rows, alone and together, and `--limit` bounds them.
#[test]
fn filters_narrow_the_rows() {
    let (_folder, serve) = serve_with_rows();
    let id = Row::numbered(1).id_text();
    let trace_id = Row::numbered(1).trace_id_text();
    for (arguments, expected) in [
        (vec!["--status", "failed"], "[2]"),
        (vec!["--status", "failed,succeeded"], "[2, 1]"),
        (vec!["--account", "Borealis team"], "[2]"),
        (vec!["--model", "MINI"], "[2]"),
        (vec!["--api-key", "ci"], "[2, 1]"),
        (vec!["--pool", "core-agents"], "[2, 1]"),
        (vec!["--pool", "core"], "[]"),
        (vec!["--id", &id], "[1]"),
        (vec!["--id", &trace_id], "[1]"),
        (vec!["--id", "CORR-000002"], "[2]"),
        (vec!["--from", "1h"], "[2, 1]"),
        (vec!["--to", "1h"], "[]"),
        (vec!["--limit", "1"], "[2]"),
        (vec!["--status", "failed", "--account", "Aurora seat 1"], "[]"),
    ] {
        let printed = requests(&serve, &[arguments.as_slice(), &["--format", "json"]].concat());
        assert!(printed.status.success(), "{}", text(&printed.stderr));
        let rows: serde_json::Value = serde_json::from_slice(&printed.stdout).unwrap();
        let number = |row: &serde_json::Value| row["trace_id"].as_str().unwrap()[7..8].to_owned();
        let numbers: Vec<String> = rows.as_array().unwrap().iter().map(number).collect();
        assert_eq!(format!("[{}]", numbers.join(", ")), expected, "{arguments:?}");
    }
}

/// Guarantees: a filter that makes no sense is ignored with a warning on standard error that names what is accepted and repeats nothing; the rows
/// still come, and the status is 0.
#[test]
fn a_bad_filter_warns_and_the_rows_still_come() {
    let (_folder, serve) = serve_with_rows();
    for (arguments, accepted) in [
        (["--status", "exploded"], "in_progress, succeeded, failed, rejected, cancelled"),
        (["--from", "yesteryear"], "2026-08-21T09:00:00Z"),
        (["--to", "2026-13-45"], "2026-08-21"),
    ] {
        let printed = requests(&serve, &arguments);
        assert!(printed.status.success());
        let warning = text(&printed.stderr);
        assert_eq!(warning.lines().count(), 1, "{warning}");
        assert!(warning.contains(arguments[0]) && warning.contains(accepted), "{warning}");
        assert!(!warning.contains(arguments[1]), "{warning}");
        assert_eq!(text(&printed.stdout).lines().count(), 3);
    }
}

/// Guarantees: JSON has a row's values in their own types, and nothing that is not known; CSV has the nine columns and the ids.
#[test]
fn other_programs_can_read_it() {
    let (_folder, serve) = serve_with_rows();
    let rows: serde_json::Value = serde_json::from_slice(&requests(&serve, &["--format", "json"]).stdout).unwrap();
    assert_eq!(rows[1]["codex_pooler.usage.total_tokens"], 50_103);
    assert_eq!(rows[1]["codex_pooler.cost.settled_usd"], 0.033_112_5);
    assert_eq!(rows[1]["codex_pooler.text.usage"], "50.1k tokens · 41k cached · $0.0331");
    assert!(rows[0].get("codex_pooler.cost.settled_usd").is_none());

    let csv = text(&requests(&serve, &["--format", "csv"]).stdout);
    let lines: Vec<&str> = csv.split_terminator("\r\n").collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0], "time,trace_id,status,id,account,plan,model,transport,route,usage,errors,retries");
    assert!(!csv.contains("none"), "{csv}");
    assert!(lines[1].contains("\"a0000002\"") && lines[1].contains("\"upstream_network_error\""), "{}", lines[1]);
}

/// Guarantees: a port in use ends `serve` at once with one line that names the port and the flag that changes it, whichever listener it is for.
#[test]
fn a_port_in_use_is_said_plainly() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let flags = ["--otlp-grpc-listen", "--otlp-http-listen", "--tempo-listen", "--metrics-listen"];
    for flag in flags {
        let folder = tempfile::tempdir().unwrap();
        let mut arguments = vec!["serve", "--data-dir", folder.path().to_str().unwrap()];
        for other in flags {
            arguments.extend([other, if other == flag { &address } else { "127.0.0.1:0" }]);
        }
        let ended = serve::run(BINARY, &arguments);
        assert_eq!(ended.status.code(), Some(1));
        let error = text(&ended.stderr);
        assert_eq!(error.lines().count(), 1, "{error}");
        let port = address.rsplit(':').next().unwrap();
        assert!(error.contains(port) && error.contains(flag), "{error}");
    }
}

/// Guarantees: a URL that is none ends `requests` with one line that says what one looks like.
#[test]
fn a_url_that_is_none_is_said_plainly() {
    for url in ["foo", "localhost:3200", "ftp://localhost"] {
        let ended = serve::run(BINARY, &["requests", "--url", url]);
        assert_eq!(ended.status.code(), Some(1));
        assert_eq!(
            text(&ended.stderr),
            "pooler-otel: --url is not the URL of a Tempo API; give one such as http://127.0.0.1:3200\n"
        );
    }
}

/// Guarantees: where nothing answers, `requests` fails with one line that names the flag.
#[test]
fn a_server_that_is_not_there_is_said_plainly() {
    let nobody = Nobody::somewhere();
    let ended = serve::run(BINARY, &["requests", "--url", &nobody.url()]);
    assert_eq!(ended.status.code(), Some(1));
    let error = text(&ended.stderr);
    assert!(error.lines().count() == 1 && error.contains("--url"), "{error}");
    assert_eq!(text(&ended.stdout), "");
}

/// Guarantees: help is there for every command and names its flags; an unknown flag is a usage error with status 2.
#[test]
fn help_is_there() {
    let help = |arguments: &[&str]| {
        let printed = serve::run(BINARY, arguments);
        assert!(printed.status.success(), "{arguments:?}");
        text(&printed.stdout)
    };
    let top = help(&["--help"]);
    for command in ["serve", "check", "sanitize", "requests", "demo"] {
        assert!(top.contains(command), "{top}");
        let help = help(&[command, "--help"]);
        assert!(help.contains("Usage: pooler-otel") && help.contains(&format!("Examples:\n  pooler-otel {command}")), "{help}");
    }
    for flag in
        ["--pool", "--status", "--account", "--model", "--api-key", "--id", "--from", "--to", "--limit", "--format", "--url"]
    {
        assert!(help(&["requests", "--help"]).contains(flag), "{flag}");
    }
    assert_eq!(serve::run(BINARY, &["serve", "--no-such-flag"]).status.code(), Some(2));
    assert_eq!(serve::run(BINARY, &[]).status.code(), Some(2));
}

/// Guarantees: health is what the listener of metrics says, the data folder is its owner's alone, and SIGTERM is a clean end.
#[test]
fn serve_is_a_good_citizen() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data");
    let mut serve = Serve::start(BINARY, &folder, &[]);
    for path in ["livez", "readyz"] {
        assert_eq!(send::get(&format!("{}/{path}", serve.metrics())).status, 200, "{path}");
    }
    assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(serve.terminate().code(), Some(0));
    let printed = serve.stdout();
    assert_eq!(printed.lines().count(), 5, "{printed}");
}

//! What the documentation tells people to type, typed: every `pooler-otel` command of the runbooks and of the configuration's README is
//! understood by the real binary, the lines that lead from an id to a trace find it, and the row for `curl` is a row.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::process::Command;

use serde_json::Value;
use testkit::otlp::{self, Row};
use testkit::send;
use testkit::serve::{self, Serve};

const BINARY: &str = env!("CARGO_BIN_EXE_pooler-otel");
const RUNBOOKS: &str = include_str!("../../dashboards/runbooks.md");
const README: &str = include_str!("../../collector-config/README.md");
const SENDING: &str = include_str!("../../docs/sending.md");
const HEADING: &str = "\n## From an id in a ticket to the trace\n";

/// The lines in blocks for a shell.
fn lines(text: &str) -> Vec<&str> {
    text.split("```sh\n").skip(1).flat_map(|rest| rest.split("```").next().unwrap().lines()).collect()
}

/// The words of a line as a shell splits it: quotes of both kinds, which end within a word, too.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c == ' ' => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    assert_eq!(quote, None, "an open quote: {line}");
    words.into_iter().chain(word).collect()
}

/// Guarantees: no runbook tells somebody at night to use a flag that does not exist.
#[test]
fn every_command_is_understood() {
    let commands: Vec<&str> =
        [RUNBOOKS, README, SENDING].into_iter().flat_map(lines).filter(|line| line.starts_with("pooler-otel ")).collect();
    assert!(commands.len() > 12, "{commands:?}");
    for command in commands {
        let words = words(command).into_iter().take_while(|word| !["<", ">"].contains(&word.as_str()));
        // Help is printed only if everything before it is understood.
        let words: Vec<String> = words.chain(["--help".to_owned()]).collect();
        let printed = serve::run(BINARY, &words[1..].iter().map(String::as_str).collect::<Vec<_>>());
        assert!(printed.status.success(), "{command}: {}", String::from_utf8_lossy(&printed.stderr));
    }
    assert!(!serve::run(BINARY, &["requests", "--no-such-flag", "x", "--help"]).status.success(), "the check can fail");
}

/// Guarantees: each line of the README from an id to the trace works as it stands, for every kind of id that it names.
#[test]
fn an_id_leads_to_the_trace() {
    let section = README.split_once(HEADING).unwrap().1;
    let [terminal, search, trace] = lines(section)[..] else { panic!("three lines: {section}") };
    let folder = tempfile::tempdir().unwrap();
    let serve = Serve::start(BINARY, folder.path(), &[]);
    let row = Row::numbered(7);
    send::grpc(&serve.otlp_grpc(), otlp::request(vec![row.span(), Row::numbered(8).span()]), false).unwrap();
    let (id, trace_id) = (row.id_text(), row.trace_id_text());
    let typed = |line: &str, id: &str| -> Vec<String> {
        let line = line.replace("$ID", id).replace("$TRACE_ID", &trace_id).replace("http://127.0.0.1:3200", &serve.tempo());
        words(&line)
    };

    for id in [&id, &row.correlation_id, &id[..13], &trace_id] {
        let mut words = typed(terminal, id);
        words.extend(["--url".to_owned(), serve.tempo(), "--format".to_owned(), "json".to_owned()]);
        assert_eq!(words[0], "pooler-otel");
        let printed = serve::run(BINARY, &words[1..].iter().map(String::as_str).collect::<Vec<_>>());
        let rows: Value = serde_json::from_slice(&printed.stdout).unwrap();
        assert_eq!(rows.as_array().map(Vec::len), Some(1), "{id}: {rows}");
        assert_eq!(rows[0]["trace_id"], trace_id.as_str(), "{id}: {rows}");
    }
    for id in [&id, &row.correlation_id, &id[..13]] {
        let words = typed(search, id);
        let ["curl", "--get", url, "--data-urlencode", parameter] = words.iter().map(String::as_str).collect::<Vec<_>>()[..]
        else {
            panic!("{words:?}")
        };
        let found = send::get_with(url, &[parameter.split_once('=').unwrap()], "application/json").json();
        assert_eq!(found["traces"].as_array().map(Vec::len), Some(1), "{id}: {found}");
    }
    let words = typed(trace, &id);
    assert_eq!(words[0], "curl");
    let found = send::get_with(&words[1], &[], "application/json").json();
    assert!(found.to_string().contains(&id), "{found}");
}

/// Guarantees: the whole row that a sender without the exporter is shown is taken as it is, with nothing stripped and nothing hidden, by the
/// contract alone and by the policy that is shown as an example, and is found by the id that is then asked for.
#[test]
fn the_row_for_curl_is_whole() {
    is_whole(&[]);
    is_whole(&["--policy", concat!(env!("CARGO_MANIFEST_DIR"), "/../collector-config/policy.yaml")]);
}

fn is_whole(arguments: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let serve = Serve::start(BINARY, folder.path(), arguments);
    let lines = lines(SENDING);
    let (command, script) = lines.split_last().unwrap();
    // The shell writes the message; `curl` need not be there.
    let script: Vec<_> = script.iter().map(|line| if line.starts_with("curl ") { "cat <<JSON" } else { *line }).collect();
    let written = Command::new("sh").arg("-c").arg(script.join("\n")).output().unwrap();
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let url = format!("{}/v1/traces", serve.otlp_http());
    let reply = send::post(&url, &[("content-type", "application/json")], &written.stdout);
    assert_eq!((reply.status, reply.text().as_str()), (200, "{}"));
    let words = [words(command), ["--url", &serve.tempo(), "--format", "json"].map(str::to_owned).to_vec()].concat();
    let printed = serve::run(BINARY, &words[1..].iter().map(String::as_str).collect::<Vec<_>>());
    let rows: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(rows.as_array().map(Vec::len), Some(1), "{rows}");
    assert_eq!(rows[0]["trace_id"], "0b5a2f0e6c0f4f3a9a530c7f4f2f8f11");
    assert!(rows[0].to_string().contains("Aurora seat 1") && !rows[0].to_string().contains("hidden"), "{rows}");
}

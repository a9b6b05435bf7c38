//! An operator's policy in the real binary: what it lets in and takes away, and how it changes while the binary runs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use contract::{AttemptStatus, Signal, attr};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use testkit::backend::{Answer, Backend, Script};
use testkit::corpus::message::planted;
use testkit::corpus::{Case, CaseSignal, Expect, Parts, Place};
use testkit::leaks::Scanner;
use testkit::otlp::{self, Row, attribute};
use testkit::send;
use testkit::serve::{self, Serve};
use testkit::tempo;

const BINARY: &str = env!("CARGO_BIN_EXE_pooler-otel");
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../collector-config/policy.yaml");
const ADDS_TEAM: &str = "attributes:\n  acme.team: {places: [row], type: string, members: [core, growth]}\n";

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn with_team(number: u32, team: &str) -> ExportTraceServiceRequest {
    let mut span = Row::numbered(number).span();
    span.attributes.push(attribute("acme.team", team));
    otlp::request(vec![span])
}

/// Versions of the policy that are said to be in force.
fn versions(serve: &Serve) -> Vec<String> {
    serve.scrape().label_values("pooler_otel_policy_info", "version").into_iter().map(str::to_owned).collect()
}

fn reloads(serve: &Serve, result: &str) -> u64 {
    serve.scrape().count("pooler_otel_policy_reloads_total", &[("result", result)])
}

fn stale(serve: &Serve) -> u64 {
    serve.scrape().count("pooler_otel_policy_stale", &[])
}

/// The teams that stored rows have, of requests with these numbers.
fn has_team(serve: &Serve, number: u32) -> bool {
    let trace = send::get(&format!("{}/api/traces/{}", serve.tempo(), Row::numbered(number).trace_id_text()));
    assert_eq!(trace.status, 200);
    trace.text().contains("acme.team")
}

/// Guarantees: the example that is shipped is valid, and `check` counts what it says.
#[test]
fn the_example_is_valid() {
    let printed = serve::run(BINARY, &["check", "--data-dir", "/tmp/never", "--policy", EXAMPLE, "--format", "json"]);
    assert!(printed.status.success(), "{}", text(&printed.stderr));
    let report: serde_json::Value = serde_json::from_slice(&printed.stdout).unwrap();
    let policy = &report["policy"];
    assert_eq!(policy["version"].as_str().unwrap().len(), 12);
    for (name, count) in [
        ("attributes_added", 4),
        ("attributes_tightened", 2),
        ("pools_hidden", 1),
        ("accounts_hidden", 1),
        ("span_names_added", 2),
    ] {
        assert_eq!(policy[name], count, "{name}");
    }
    assert_eq!(report["options"]["policy"]["value"], EXAMPLE);
}

/// Guarantees: a pattern that admits nearly anything is valid, and `check` and the start warn of it, with file and line.
#[test]
fn a_pattern_that_says_nothing_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.yaml");
    std::fs::write(&path, "attributes:\n  acme.team: {places: [row], type: string,\n    pattern: \".*\"}\n").unwrap();
    let path = path.to_str().unwrap();
    let warning = format!("{path}:3: this pattern admits nearly any text");
    let printed = serve::run(BINARY, &["check", "--data-dir", "/tmp/never", "--policy", path]);
    assert!(printed.status.success() && text(&printed.stdout).contains(&warning), "{}", text(&printed.stdout));
    let serve = Serve::start(BINARY, &folder.path().join("data"), &["--policy", path]);
    serve.wait_until_said(&warning);
}

/// Guarantees: an invalid policy ends `serve`, `check` and `sanitize` alike with status 2 and a line that begins with file and line.
#[test]
fn an_invalid_policy_is_said_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.yaml");
    std::fs::write(&path, "# ours\nattributes:\n  gen_ai.prompt: {places: [row], type: string, members: [hunter2]}\n").unwrap();
    let path = path.to_str().unwrap();
    for command in [
        &["serve", "--data-dir", "/tmp/never"][..],
        &["check", "--data-dir", "/tmp/never"],
        &["sanitize", "--signal", "traces", "--format", "json"],
    ] {
        let ended = serve::run(BINARY, &[command, &["--policy", path]].concat());
        assert_eq!(ended.status.code(), Some(2));
        let error = text(&ended.stderr);
        assert!(error.starts_with(&format!("{path}:3: ")) && error.lines().count() == 1, "{error}");
        assert!(!error.contains("hunter2") && ended.stdout.is_empty(), "{error}");
    }
}

/// Guarantees: what a policy adds passes by its rule, in `sanitize` as in `serve`; what breaks the rule is told, counted and reported under the key, and
/// without the policy the key is unknown.
#[test]
fn a_policy_adds_an_attribute() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.yaml");
    std::fs::write(&path, ADDS_TEAM).unwrap();
    let policy = ["--policy", path.to_str().unwrap()];
    let serve = Serve::start(BINARY, &folder.path().join("data"), &policy);
    let answer = send::grpc(&serve.otlp_grpc(), with_team(1, "core"), false).unwrap();
    assert_eq!(answer.partial_success, None);
    let answer = send::grpc(&serve.otlp_grpc(), with_team(2, "hunter2"), false).unwrap();
    assert_eq!(answer.partial_success.unwrap().error_message, "1 stripped: span_attribute not_a_member acme.team");
    assert!(has_team(&serve, 1) && !has_team(&serve, 2));
    let broken = serve.scrape().count("pooler_otel_broken_rules_total", &[("rule", "acme.team"), ("reason", "not_a_member")]);
    assert_eq!(broken, 1);

    let sanitize = |arguments: &[&str]| {
        let input = serde_json::to_vec(&with_team(3, "hunter2")).unwrap();
        serve::run_with(BINARY, &[&["sanitize", "--signal", "traces", "--format", "json"], arguments].concat(), &[], &input)
    };
    let with = text(&sanitize(&policy).stderr);
    assert!(with.contains("stripped 1 place=span_attribute reason=not_a_member rule=acme.team\n"), "{with}");
    assert!(with.contains(&format!("by policy {}\n", versions(&serve)[0])), "{with}");
    let without = text(&sanitize(&[]).stderr);
    assert!(without.contains("stripped 1 place=span_attribute reason=unknown_key\n"), "{without}");
}

/// Guarantees: a changed file takes the old one's place, also when a link is turned to it; an invalid or missing one changes nothing, shows as
/// stale, is counted, and is logged with file and line; the next valid one holds again. A hang-up loads at once, and ends nothing.
#[test]
fn a_policy_is_loaded_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.yaml");
    // As Kubernetes mounts it: a link to a file in a folder that is itself behind a link, which is turned.
    let version = |name: &str, content: &str| {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("policy.yaml"), content).unwrap();
    };
    let turn_to = |name: &str| {
        let (new, data) = (folder.path().join("new"), folder.path().join("data-link"));
        std::os::unix::fs::symlink(name, &new).unwrap();
        std::fs::rename(new, data).unwrap();
    };
    version("one", "{} # the contract alone\n");
    version("two", ADDS_TEAM);
    version("three", "attributes:\n  acme.team: {places: [row], type: text}\n");
    turn_to("one");
    std::os::unix::fs::symlink(Path::new("data-link").join("policy.yaml"), &path).unwrap();

    let mut serve = Serve::start(BINARY, &folder.path().join("data"), &["--policy", path.to_str().unwrap()]);
    let first = versions(&serve);
    assert_eq!((first.len(), stale(&serve), reloads(&serve, "loaded")), (1, 0, 0));
    send::grpc(&serve.otlp_grpc(), with_team(1, "core"), false).unwrap();
    assert!(!has_team(&serve, 1));

    turn_to("two");
    testkit::wait_for("the changed policy", || (reloads(&serve, "loaded") == 1).then_some(()));
    let second = versions(&serve);
    assert!(second.len() == 1 && second != first, "{second:?}");
    send::grpc(&serve.otlp_grpc(), with_team(2, "core"), false).unwrap();
    assert!(has_team(&serve, 2));

    turn_to("three");
    testkit::wait_for("the invalid policy", || (reloads(&serve, "invalid") == 1).then_some(()));
    assert_eq!((stale(&serve), versions(&serve)), (1, second.clone()));
    serve.wait_until_said(&format!("{}:2: ", path.display()));
    send::grpc(&serve.otlp_grpc(), with_team(3, "core"), false).unwrap();
    assert!(has_team(&serve, 3), "the policy before it holds");

    // Whoever looks between a change and its hang-up loads it twice.
    turn_to("two");
    serve.hang_up();
    testkit::wait_for("the policy at the hang-up", || (reloads(&serve, "loaded") >= 2).then_some(()));
    assert_eq!((stale(&serve), versions(&serve)), (0, second.clone()));

    std::fs::remove_file(&path).unwrap();
    serve.hang_up();
    testkit::wait_for("the missing policy", || (reloads(&serve, "invalid") >= 2).then_some(()));
    assert_eq!((stale(&serve), versions(&serve)), (1, second));
    serve.assert_conserved();
    assert!(serve.terminate().success());
}

/// Guarantees: a message is judged by one policy from its first row to its last, whichever is in force when it comes, while policies take each
/// other's place.
#[test]
fn a_message_is_judged_by_one_policy() {
    const ROWS: u32 = 256;
    const SWAPS: usize = 8;
    let keys = ["acme.first", "acme.second"];
    let (folder, policies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = policies.path().join("policy.yaml");
    // Each admits one of the two attributes that every row has.
    let write = |turn: usize| {
        let text = format!("attributes:\n  {}: {{places: [row], type: string, members: [set]}}\n", keys[turn % 2]);
        std::fs::write(&path, text).unwrap();
    };
    write(0);
    let backend = Backend::http(Script::always(Answer::Accept));
    let url = backend.url();
    let forward = ["--forward-protocol", "http/protobuf", "--forward-endpoint", &url];
    let arguments = [&["--policy", path.to_str().unwrap()], &forward[..]].concat();
    let serve = Serve::start(BINARY, folder.path(), &arguments);

    let row = |number| {
        let mut span = Row::numbered(number).span();
        span.attributes.extend(keys.map(|key| attribute(key, "set")));
        span
    };
    let message = otlp::request((1..=ROWS).map(row).collect()).encode_to_vec();
    let traces = format!("{}/v1/traces", serve.otlp_http());
    let answers = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let swaps = scope.spawn(|| {
            for turn in 1..=SWAPS {
                // The first of two answers can be to a message that was judged before the swap, the second cannot: each policy judges one.
                let before = answers.load(Ordering::Acquire);
                testkit::wait_for("two answers", || (answers.load(Ordering::Acquire) >= before + 2).then_some(()));
                let old = versions(&serve);
                write(turn);
                serve.hang_up();
                testkit::wait_for("the swap", || (versions(&serve) != old).then_some(()));
            }
        });
        while !swaps.is_finished() {
            assert_eq!(send::post(&traces, &[("content-type", send::PROTOBUF)], &message).status, 200);
            answers.fetch_add(1, Ordering::Release);
        }
    });
    serve.assert_conserved();

    let kept = |span: &Span| keys.map(|key| span.attributes.iter().any(|attribute| attribute.key == key));
    let mut seen = BTreeSet::new();
    for message in backend.accepted::<ExportTraceServiceRequest>(Signal::Traces) {
        let spans = message.resource_spans.iter().flat_map(|group| &group.scope_spans).flat_map(|scope| &scope.spans);
        let kept: Vec<[bool; 2]> = spans.map(kept).collect();
        assert_eq!(kept, vec![kept[0]; ROWS as usize], "rows of one message were judged by different policies");
        seen.insert(kept[0]);
    }
    assert_eq!(seen, [[false, true], [true, false]].into(), "both policies have judged, and nothing else");
}

/// Guarantees: a hang-up of a service with a configuration file ends nothing; without any file the terminal is gone, and `serve` ends in order.
#[test]
fn a_hang_up_ends_what_has_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.yaml");
    std::fs::write(&file, "retention: 1d\n").unwrap();
    let mut serve = Serve::start(BINARY, &folder.path().join("one"), &["--config", file.to_str().unwrap()]);
    serve.hang_up();
    serve.wait_until_said("there is no policy file");
    assert!(serve.terminate().success());

    let mut serve = Serve::start(BINARY, &folder.path().join("two"), &[]);
    serve.hang_up();
    assert!(serve.ended().success());
}

/// A Pool and an account that are hidden, by everything that says which they are.
const HIDDEN_POOL: [&str; 3] = ["veiled-agents", "Veiled agents", "5b0a7f3c-9f6e-4d8a-8f1e-0a1b2c3d4e5f"];
const HIDDEN_ACCOUNT: [&str; 3] =
    ["Obscured seat 9", "7c1d2e3f-4a5b-4c6d-8e7f-9a8b7c6d5e4f", "0d1e2f3a-4b5c-4d6e-8f7a-8b9c0d1e2f3a"];

/// A span whose Pool and account are hidden.
fn veiled(mut span: Span) -> Span {
    let [slug, name, pool_id] = HIDDEN_POOL;
    let [label, account_id, assignment_id] = HIDDEN_ACCOUNT;
    for (key, value) in [
        (attr::POOL_SLUG, slug),
        (attr::POOL_NAME, name),
        (attr::POOL_ID, pool_id),
        (attr::UPSTREAM_ACCOUNT_LABEL, label),
        (attr::UPSTREAM_ACCOUNT_ID, account_id),
        (attr::UPSTREAM_ASSIGNMENT_ID, assignment_id),
    ] {
        span.attributes.retain(|attribute| attribute.key != key);
        span.attributes.push(attribute(key, value));
    }
    span
}

/// A log record or a data point that is legal, with this value.
fn record(signal: CaseSignal, key: &str, value: &str) -> Vec<u8> {
    let case = Case {
        id: "hidden".to_owned(),
        why: String::new(),
        signal,
        place: Place::Attribute,
        key: Some(key.to_owned()),
        value: Parts::Whole(value.to_owned()),
        expect: Expect::Strip,
        becomes: None,
    };
    planted(&case, 7).protobuf
}

/// Guarantees: a hidden Pool's and a hidden account's rows are there and say `hidden`, and nothing that names either is in any file, answer,
/// metric, forwarded message or line of output: not from rows, their composed texts, attempts, markers or corrections, not from events and metrics
/// either. Others stay as they are.
#[test]
fn what_is_hidden_is_nowhere() {
    let (folder, policies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = policies.path().join("policy.yaml");
    std::fs::write(&path, format!("hide:\n  pools: [{}]\n  accounts: [{}]\n", HIDDEN_POOL[0], HIDDEN_ACCOUNT[1])).unwrap();
    let backend = Backend::http(Script::always(Answer::Accept));
    let url = backend.url();
    let policy = path.to_str().unwrap();
    let forward = ["--forward-protocol", "http/protobuf", "--forward-endpoint", &url];
    let arguments = [&["--policy", policy, "--log-level", "debug"], &forward[..]].concat();
    let mut serve = Serve::start(BINARY, folder.path(), &arguments);

    let hidden = |number: u32| {
        let (name, account) = (HIDDEN_POOL[1].to_owned(), HIDDEN_ACCOUNT[0].to_owned());
        Row { pool_name: name, account, ..Row::numbered(number) }
    };
    let (row, open, seen) = (hidden(1), hidden(2), Row::numbered(3));
    let mut seen_span = seen.span();
    seen_span.attributes.push(attribute(attr::UPSTREAM_ACCOUNT_ID, "63918144-2107-4e99-9119-c5edfe6f6b9b"));
    let text = format!("{} · {}", HIDDEN_ACCOUNT[0], HIDDEN_POOL[1]);
    let correction = row.correction(1, vec![attribute(attr::TEXT_ACCOUNT, text)]);
    // The second says no more than a name: whose it is cannot be known, so that it is hidden as well.
    let half = row.correction(2, vec![attribute(attr::UPSTREAM_ACCOUNT_LABEL, HIDDEN_ACCOUNT[0])]);
    let attempt = row.attempt(1, AttemptStatus::Succeeded);
    let spans = [row.span(), attempt, open.marker(0), correction].map(veiled);
    let spans = spans.into_iter().chain([half, seen_span]).collect();
    let answer = send::grpc(&serve.otlp_grpc(), otlp::request(spans), false).unwrap();
    // To hide is the operator's wish, and no sender's fault; that some of these stand where they may not is.
    let scrape = serve.scrape();
    assert!(scrape.count("pooler_otel_stripped_fields_total", &[("reason", "hidden")]) > 0);
    assert_eq!(scrape.label_values("pooler_otel_broken_rules_total", "reason"), ["wrong_place"].into());
    let told = answer.partial_success.unwrap().error_message;
    assert!(told.split(", ").all(|item| item.contains("stripped: span_attribute wrong_place")), "{told}");
    for (path, signal, key, value) in [
        ("logs", CaseSignal::Logs, attr::UPSTREAM_ACCOUNT_LABEL, HIDDEN_ACCOUNT[0]),
        ("metrics", CaseSignal::Metrics, attr::POOL_SLUG, HIDDEN_POOL[0]),
    ] {
        let reply = send::post(
            &format!("{}/v1/{path}", serve.otlp_http()),
            &[("content-type", send::PROTOBUF)],
            &record(signal, key, value),
        );
        assert_eq!(reply.status, 200);
    }
    serve.assert_conserved();

    let rows = tempo::rows(&serve.tempo(), &[]);
    let [shown, veiled] = [&seen, &row].map(|row| rows.iter().find(|found| found.trace_id == row.trace_id_text()).unwrap());
    for key in [attr::POOL_SLUG, attr::POOL_NAME, attr::UPSTREAM_ACCOUNT_LABEL] {
        assert_eq!(veiled.text(key), "hidden", "{key}");
    }
    assert_eq!(shown.text(attr::TEXT_ACCOUNT), "Aurora seat 1 · Core agents");
    assert_eq!(shown.text(attr::POOL_SLUG), "core-agents");

    let mut scanner = Scanner::new(HIDDEN_POOL.iter().chain(&HIDDEN_ACCOUNT));
    for path in [
        format!("/api/traces/{}", row.trace_id_text()),
        format!("/api/v2/traces/{}", row.trace_id_text()),
        "/api/v2/search/tag/span.codex_pooler.pool.slug/values".to_owned(),
        "/api/v2/search/tag/span.codex_pooler.pool.name/values".to_owned(),
        "/api/v2/search/tag/span.codex_pooler.upstream.account.label/values".to_owned(),
    ] {
        let answer = send::get(&format!("{}{path}", serve.tempo()));
        assert_eq!(answer.status, 200, "{path}");
        scanner.bytes(&path, &answer.everything());
    }
    let scrape = send::get(&format!("{}/metrics", serve.metrics())).text();
    assert!(scrape.contains(r#"pool="hidden""#) && scrape.contains(r#"pool="core-agents""#), "{scrape}");
    scanner.bytes("/metrics", scrape.as_bytes());
    for format in ["table", "json", "csv"] {
        let printed = serve::run(BINARY, &["requests", "--url", &serve.tempo(), "--format", format]);
        assert!(printed.status.success() && self::text(&printed.stdout).contains("Aurora seat 1"), "{format}");
        scanner.bytes("requests", &printed.stdout);
    }
    scanner.everything_of(&mut serve, folder.path(), &backend);
    assert!(backend.recorded().len() >= 3, "traces, logs and metrics");
    scanner.assert_clean();
}

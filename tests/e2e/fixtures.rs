//! The request log's example rows, on the whole way: database row, bridge, exporter, OTLP, collector, store, Tempo API and terminal. What is shown
//! at the end is what the pooler's own page shows for the row, which each example says itself.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;

use contract::{RecordKind, attr};
use exporter::{Exporter, Protocol};
use serde_json::Value;
use testkit::leaks::Scanner;
use testkit::serve::{self, Serve};
use testkit::{send, tempo};

const BINARY: &str = env!("CARGO_BIN_EXE_pooler-otel");
const EXAMPLES: &str = include_str!("../fixtures/pooler-rows.json");
/// All examples are of this day; they must not be swept away as old.
const DAY: (&str, u64) = ("2026-08-21", 1_787_270_400);
const RETENTION: &str = "36500d";
/// What the page shows where it has nothing to show.
const PAGE_DASH: &str = "—";

/// One example.
struct Example(Value);

impl Example {
    fn all() -> Vec<Self> {
        let examples: Vec<Value> = serde_json::from_str(EXAMPLES).unwrap();
        assert_eq!(examples.len(), 42);
        examples.into_iter().map(Self).collect()
    }

    fn scenario(&self) -> &str {
        self.0["scenario"].as_str().unwrap()
    }

    fn id(&self) -> &str {
        self.0["requests"]["id"].as_str().unwrap()
    }

    /// What the page shows, `None` where it shows a dash or nothing.
    fn page(&self, key: &str) -> Option<&str> {
        self.0["expected_display"][key].as_str().filter(|text| *text != PAGE_DASH)
    }

    /// The page's values, put together as the columns of this project are: parts joined by a middle dot, a dash where there is nothing.
    fn columns(&self) -> BTreeMap<&'static str, String> {
        let dash = contract::DASH;
        let part = |text: Option<&str>| text.map_or(String::new(), |text| format!(" · {text}"));
        let shown = |key| self.page(key).unwrap_or(dash);
        let status = match self.page("status_label").unwrap() {
            // The page has no word for a request that is accepted and not started; it is in progress.
            "Accepted" => "in_progress".to_owned(),
            label => label.to_lowercase().replace(' ', "_"),
        };
        let model = format!(
            "{}{}{} / {}{} · {}",
            shown("model"),
            part(self.page("reasoning")),
            part(self.page("requested_reasoning")),
            shown("service_tier"),
            part(self.page("requested_tier")),
            shown("api_key")
        );
        let bolt = if self.0["expected_display"]["fast_mode"] == true { " ⚡" } else { "" };
        let route = match self.page("translated_origin") {
            Some(origin) => format!("{} ← {origin}", shown("route")),
            None => shown("route").to_owned(),
        };
        let errors: Vec<&str> =
            self.0["expected_display"]["error_lines"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        BTreeMap::from([
            (attr::REQUEST_STATUS, status),
            (attr::TEXT_ID, shown("short_id").to_owned()),
            (attr::TEXT_ACCOUNT, format!("{} · {}", shown("upstream_account"), shown("pool"))),
            (attr::UPSTREAM_PLAN_LABEL, self.page("plan_badge").unwrap_or(contract::ABSENT).to_owned()),
            (attr::TEXT_MODEL, model),
            (attr::TEXT_TRANSPORT, format!("{}{bolt}{}", shown("transport"), part(self.client().as_deref()))),
            (attr::TEXT_ROUTE, format!("{route}{}", part(self.page("latency")))),
            (attr::TEXT_USAGE, self.usage()),
            (attr::TEXT_ERRORS, if errors.is_empty() { dash.to_owned() } else { errors.join(" · ") }),
        ])
    }

    /// The client's name, and the version with which its text ends, if it does.
    fn client(&self) -> Option<String> {
        let client = &self.0["expected_display"]["client"];
        let version = client["text"].as_str()?.rsplit(' ').next().filter(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        Some([client["label"].as_str()?, version.unwrap_or_default()].join(" ").trim().to_owned())
    }

    /// The page's three lines of tokens and cost; where it shows none, a dash and, where it is not obvious, why.
    fn usage(&self) -> String {
        if let Some(tokens) = self.page("tokens") {
            let cached = self.page("cached_line").map_or(String::new(), |cached| format!(" · {cached}"));
            return format!("{tokens} tokens{cached} · {}", self.page("cost").unwrap());
        }
        match self.0["requests"]["usage_status"].as_str().unwrap() {
            "usage_pending" => format!("{} (usage pending)", contract::DASH),
            "usage_unknown" => format!("{} (usage unknown)", contract::DASH),
            _ => contract::DASH.to_owned(),
        }
    }

    fn usage_is_known(&self) -> bool {
        self.0["requests"]["usage_status"] == "usage_known"
    }
}

/// Sends the examples with the exporter, over both protocols in turn, and waits until all are taken.
fn send_examples(serve: &Serve, examples: &[Example]) {
    // The program, not the library, chooses the TLS implementation. A second test finds it installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let exporter = |url: String, protocol| Exporter::builder().endpoint(url).protocol(protocol).build().unwrap();
    let exporters =
        [exporter(format!("http://{}", serve.otlp_grpc()), Protocol::Grpc), exporter(serve.otlp_http(), Protocol::HttpProtobuf)];
    for (example, exporter) in examples.iter().zip(exporters.iter().cycle()) {
        let row =
            bridge::Row::from_json(example.0.to_string().as_bytes()).unwrap_or_else(|e| panic!("{}: {e}", example.scenario()));
        exporter.record(&bridge::lifecycle(&row));
    }
    for exporter in exporters {
        let totals = exporter.shutdown();
        assert_eq!((totals.exported, totals.dropped()), (totals.emitted, 0));
    }
}

/// Guarantees: every example row is shown with the page's own values, column by column, by the Tempo API and by the terminal; tokens and cost are
/// there exactly where the page has them; nothing of what the row must not tell is anywhere; and every span is accounted for.
#[test]
fn every_row_shows_what_the_page_shows() {
    let examples = Example::all();
    let folder = tempfile::tempdir().unwrap();
    let mut serve = Serve::start(BINARY, folder.path(), &["--retention", RETENTION]);
    send_examples(&serve, &examples);
    serve.assert_conserved();
    let scrape = serve.scrape();
    assert_eq!(scrape.count("pooler_otel_stripped_fields_total", &[]), 0, "what the exporter sends is clean already");
    assert_eq!(scrape.count("pooler_otel_received_messages_total", &[("protocol", "http_json")]), 0);
    for protocol in ["grpc", "http_protobuf"] {
        assert!(scrape.count("pooler_otel_received_messages_total", &[("protocol", protocol)]) > 0, "{protocol}");
    }

    let found = rows_of_the_day(&serve);
    let printed = requests_of_the_day(&serve);
    assert_eq!((found.len(), printed.len()), (42, 42));
    for example in &examples {
        let scenario = example.scenario();
        let row = &found[example.id()];
        let line = &printed[example.id()];
        for (key, expected) in example.columns() {
            assert_eq!(row.text(key), expected, "{scenario}: {key} from the Tempo API");
            assert_eq!(line[key], expected, "{scenario}: {key} in the terminal");
        }
        assert_eq!(line["time"], example.page("admitted").unwrap(), "{scenario}");
        let facts = &example.0["request_log_facts"];
        let settled = |key: &str| facts[key].as_i64().filter(|_| example.usage_is_known());
        assert_eq!(row.int(attr::USAGE_TOTAL_TOKENS), settled("latest_total_tokens"), "{scenario}");
        assert_eq!(row.int(attr::USAGE_INPUT_TOKENS), settled("latest_input_tokens"), "{scenario}");
        assert_eq!(row.int(attr::USAGE_OUTPUT_TOKENS), settled("latest_output_tokens"), "{scenario}");
        let cost_is_shown = example.page("cost").is_some_and(|cost| cost.contains('$'));
        assert_eq!(row.attributes.contains_key(attr::COST_SETTLED_USD), cost_is_shown, "{scenario}");
    }
    let incomplete: Vec<&str> = examples.iter().map(Example::scenario).filter(|s| s.starts_with("incomplete_")).collect();
    assert_eq!(incomplete.len(), 2);
    for scenario in incomplete {
        let example = examples.iter().find(|example| example.scenario() == scenario).unwrap();
        let row = &found[example.id()];
        assert_eq!((row.text(attr::REQUEST_STATUS), row.text(attr::REQUEST_OUTCOME)), ("succeeded", "good"), "{scenario}");
    }

    assert!(serve.terminate().success());
    let mut scanner = Scanner::new(private_texts(&examples));
    scanner.folder(folder.path());
    scanner.bytes("standard error", serve.stderr().as_bytes());
    scanner.bytes("the terminal", printed.into_values().collect::<Value>().to_string().as_bytes());
    scanner.assert_clean();
}

/// The rows of the examples' day by row id, in pages of the request log's size.
fn rows_of_the_day(serve: &Serve) -> BTreeMap<String, tempo::Found> {
    let query = tempo::rows_query(&[]);
    let (start, end) = (DAY.1.to_string(), (DAY.1 + 86_400).to_string());
    let parameters = [("q", query.as_str()), ("limit", "200"), ("spss", "1"), ("start", &start), ("end", &end)];
    let answer = send::get_with(&format!("{}/api/search", serve.tempo()), &parameters, send::JSON);
    assert_eq!(answer.status, 200, "{}", answer.text());
    tempo::found(&answer.json()).into_iter().map(|row| (row.text(attr::REQUEST_ID).to_owned(), row)).collect()
}

/// What `requests` prints for the day, as JSON, by row id.
fn requests_of_the_day(serve: &Serve) -> BTreeMap<String, Value> {
    let url = serve.tempo();
    let arguments = ["requests", "--url", &url, "--from", DAY.0, "--to", DAY.0, "--limit", "200", "--format", "json"];
    let printed = serve::run(BINARY, &arguments);
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    let rows: Vec<Value> = serde_json::from_slice(&printed.stdout).unwrap();
    rows.into_iter().map(|row| (row[attr::REQUEST_ID].as_str().unwrap().to_owned(), row)).collect()
}

/// What the examples hold that must not be told: addresses, e-mails, keys, whole user agents, session keys, messages.
fn private_texts(examples: &[Example]) -> Vec<String> {
    const PRIVATE: [&str; 7] = [
        "client_ip",
        "upstream_account_email",
        "idempotency_key",
        "error_message",
        "user_agent",
        "codex_session_key",
        "upstream_request_id",
    ];
    fn collect(value: &Value, texts: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                for (key, inner) in object {
                    match inner.as_str() {
                        // A user agent of one word, such as `curl/8.9.1`, is no more than the client and version that are shown.
                        Some(text) if PRIVATE.contains(&key.as_str()) && text.len() >= 8 => texts.push(text.to_owned()),
                        _ => collect(inner, texts),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
            _ => {}
        }
    }
    let mut texts = Vec::new();
    for example in examples {
        collect(&example.0, &mut texts);
    }
    texts.sort();
    texts.dedup();
    for needed in ["192.0.2.11", "aurora@example.com", "codex_exec/0.142.0 (Ubuntu 24.04; x86_64) xterm-256color"] {
        assert!(texts.iter().any(|text| text == needed), "{needed}");
    }
    texts
}

/// Guarantees: an open request of the examples, accepted ones included, is in progress for every reader, with no usage and no end.
#[test]
fn open_rows_are_in_progress() {
    let examples: Vec<Example> = Example::all()
        .into_iter()
        .filter(|e| ["in_progress", "accepted"].contains(&e.0["requests"]["status"].as_str().unwrap()))
        .collect();
    assert_eq!(examples.len(), 3);
    let folder = tempfile::tempdir().unwrap();
    let serve = Serve::start(BINARY, folder.path(), &["--retention", RETENTION]);
    send_examples(&serve, &examples);
    assert_eq!(serve.scrape().count("codex_pooler_requests_in_flight", &[]), 3);
    let rows = rows_of_the_day(&serve);
    for example in &examples {
        let row = &rows[example.id()];
        assert_eq!(row.text(attr::REQUEST_STATUS), "in_progress", "{}", example.scenario());
        assert_eq!(row.text(attr::REQUEST_OUTCOME), "neutral");
        assert_eq!(row.text(attr::RECORD_KIND), RecordKind::Request.as_str());
        for absent in [attr::REQUEST_LATENCY_MS, attr::USAGE_TOTAL_TOKENS, attr::COST_SETTLED_USD] {
            assert!(!row.attributes.contains_key(absent), "{absent}");
        }
    }
}

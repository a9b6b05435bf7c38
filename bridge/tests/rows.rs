//! Worked rows of every kind, from database columns to OTLP bytes, against what the request log shows for each of them.

// What the tests share may panic as they do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::time::Duration;

use bridge::Row;
use contract::{RecordKind, attr};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::trace::SpanData;
use prost::Message as _;
use sanitizer::{Sanitized, view};
use serde_json::Value;

fn examples() -> Vec<Value> {
    serde_json::from_str(include_str!("../../tests/fixtures/pooler-rows.json")).unwrap()
}

fn scenario(example: &Value) -> &str {
    example["scenario"].as_str().unwrap()
}

/// What the exporter sends for a row: the row and its attempts, or a marker.
fn spans(example: &Value) -> Vec<SpanData> {
    let row = Row::from_json(example.to_string().as_bytes()).unwrap();
    let lifecycle = bridge::lifecycle(&row);
    match lifecycle.end {
        Some(_) => exporter::spans::finished(&lifecycle),
        None => vec![exporter::spans::marker(&lifecycle, 0, lifecycle.admitted_at + Duration::from_secs(1))],
    }
}

fn encode(spans: Vec<SpanData>) -> Vec<u8> {
    let resource_spans = group_spans_by_resource_and_scope(spans, &ResourceAttributesWithSchema::default());
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn sanitized(example: &Value) -> Sanitized {
    sanitizer::protobuf(&sanitizer::Policy::contract(), std::time::SystemTime::now(), &encode(spans(example))).unwrap()
}

fn row_span(message: &Sanitized) -> &Span {
    message.spans().next().expect("a row").1
}

/// The text as the telemetry has it: an en dash where the page draws an em dash.
fn shown(value: &Value) -> String {
    value.as_str().map_or("–", |text| if text == "—" { "–" } else { text }).to_owned()
}

fn part(value: &Value) -> Option<String> {
    (!value.is_null()).then(|| shown(value))
}

fn joined(parts: impl IntoIterator<Item = Option<String>>) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// The version in the page's client text, `product version`; other texts have none.
fn client_version(text: &str) -> Option<&str> {
    let last = text.rsplit_once(' ')?.1;
    last.bytes().all(|b| b.is_ascii_digit() || b == b'.').then_some(last)
}

/// The texts that the page's columns add up to.
fn expected_texts(example: &Value) -> BTreeMap<&'static str, String> {
    let d = &example["expected_display"];
    let model = joined([part(&d["model"]), part(&d["reasoning"]), part(&d["requested_reasoning"])]);
    let tier = joined([part(&d["service_tier"]), part(&d["requested_tier"]), part(&d["api_key"])]);
    let client = d["client"]["label"].as_str().map(|label| match client_version(d["client"]["text"].as_str().unwrap()) {
        Some(version) => format!("{label} {version}"),
        None => label.to_owned(),
    });
    let bolt = if d["fast_mode"] == true { " ⚡" } else { "" };
    let origin = d["translated_origin"].as_str().map_or(String::new(), |origin| format!(" ← {origin}"));
    let usage = match (d["tokens"].as_str(), example["requests"]["usage_status"].as_str()) {
        (Some("—"), Some("usage_pending")) => "– (usage pending)".to_owned(),
        (Some("—"), Some("usage_unknown")) => "– (usage unknown)".to_owned(),
        (Some("—"), _) => "–".to_owned(),
        (Some(tokens), _) => joined([Some(format!("{tokens} tokens")), part(&d["cached_line"]), part(&d["cost"])]),
        (None, _) => panic!("no tokens"),
    };
    let errors = joined(d["error_lines"].as_array().unwrap().iter().map(part));
    BTreeMap::from([
        (attr::TEXT_ID, shown(&d["short_id"])),
        (attr::TEXT_ACCOUNT, joined([part(&d["upstream_account"]), part(&d["pool"])])),
        (attr::TEXT_MODEL, format!("{model} / {tier}")),
        (attr::TEXT_TRANSPORT, joined([Some(shown(&d["transport"]) + bolt), client])),
        (attr::TEXT_ROUTE, joined([Some(shown(&d["route"]) + &origin), part(&d["latency"])])),
        (attr::TEXT_USAGE, usage),
        (attr::TEXT_ERRORS, if errors.is_empty() { "–".to_owned() } else { errors }),
    ])
}

/// The filter attributes that the page's columns name; `none` where the page has a dash.
fn expected_filters(example: &Value) -> BTreeMap<&'static str, String> {
    let d = &example["expected_display"];
    let filter = |value: &Value| shown(value).replace('–', "none");
    // An accepted request is open, and the telemetry has one word for that.
    let status = d["status_label"].as_str().unwrap().to_lowercase().replace(' ', "_").replace("accepted", "in_progress");
    BTreeMap::from([
        (attr::REQUEST_STATUS, status),
        (attr::UPSTREAM_ACCOUNT_LABEL, filter(&d["upstream_account"])),
        (attr::UPSTREAM_PLAN_LABEL, filter(&d["plan_badge"])),
        (attr::POOL_NAME, filter(&d["pool"])),
        (attr::REQUEST_MODEL, filter(&d["model"])),
        (attr::API_KEY_LABEL, filter(&d["api_key"])),
        (attr::HTTP_ROUTE, filter(&d["route"])),
        (attr::USER_AGENT_NAME, filter(&d["client"]["kind"])),
        (attr::REQUEST_TRANSPORT, filter(&example["requests"]["transport"])),
        (attr::REQUEST_CORRELATION_ID, filter(&example["requests"]["correlation_id"])),
        (attr::POOL_SLUG, filter(&example["pools"]["slug"])),
    ])
}

/// Guarantees: for every kind of row, each column reads as it does on the page, and each filter holds what the page shows.
#[test]
fn every_row_reads_as_on_the_page() {
    let examples = examples();
    assert_eq!(examples.len(), 42);
    for example in &examples {
        let message = sanitized(example);
        let row = row_span(&message);
        for (key, expected) in expected_texts(example).into_iter().chain(expected_filters(example)) {
            assert_eq!(view::text(&row.attributes, key), Some(expected.as_str()), "{}: {key}", scenario(example));
        }
    }
}

/// Guarantees: the row's times are the columns', to the microsecond, and the cursor is the admission.
#[test]
fn times_are_the_columns() {
    for example in &examples() {
        let message = sanitized(example);
        let row = row_span(&message);
        let ns = |column: &str| {
            let at: Option<jiff::Timestamp> = example["requests"][column].as_str().map(|text| text.parse().unwrap());
            at.map(|at| u64::try_from(at.as_nanosecond()).unwrap())
        };
        let admitted_ns = ns("admitted_at").unwrap();
        assert_eq!(view::int(&row.attributes, attr::REQUEST_ADMITTED_MS), i64::try_from(admitted_ns / 1_000_000).ok());
        let shown = jiff::Timestamp::from_nanosecond(admitted_ns.into()).unwrap().strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
        assert_eq!(example["expected_display"]["admitted"], shown.as_str());
        if let Some(completed_ns) = ns("completed_at") {
            assert_eq!((row.start_time_unix_nano, row.end_time_unix_nano), (admitted_ns, completed_ns), "{}", scenario(example));
        }
    }
}

/// Guarantees: what the exporter sends passes the collector's sanitizer as it is, to the last byte, with every attribute that is required.
#[test]
fn the_sanitizer_finds_nothing() {
    for example in &examples() {
        let encoded = encode(spans(example));
        let message = sanitizer::protobuf(&sanitizer::Policy::contract(), std::time::SystemTime::now(), &encoded).unwrap();
        let report = message.report();
        assert_eq!((report.stripped_total(), report.dropped_total()), (0, 0), "{}: {report:?}", scenario(example));
        assert_eq!(message.encoded().as_ref(), encoded);
        for (_, span) in message.spans() {
            let record = contract::Record::of(view::record_kind(span));
            for key in record.required {
                assert!(span.attributes.iter().any(|a| a.key == *key), "{}: {key}", scenario(example));
            }
        }
    }
}

/// Guarantees: nothing of the columns and texts that must stay in the database is in the bytes that leave.
#[test]
fn forbidden_columns_stay_in_the_database() {
    let examples = examples();
    let mut forbidden = Vec::new();
    for example in &examples {
        let request = &example["requests"];
        forbidden.extend([&request["client_ip"], &request["upstream_account_email"], &request["idempotency_key"]]);
        forbidden.push(&request["request_metadata"]["codex_session_key"]);
        forbidden.push(&request["request_metadata"]["codex_session_id"]);
        forbidden.extend(example["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["error_message"]));
    }
    let mut forbidden: Vec<&str> = forbidden.into_iter().filter_map(Value::as_str).collect();
    forbidden.extend(["fixture text", "x86_64", "@example.com", "192.0.2.", "[REDACTED]"]);
    assert!(forbidden.len() > 100, "the fixture fills these columns");
    for example in &examples {
        let encoded = encode(spans(example));
        for secret in &forbidden {
            assert!(!encoded.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()), "{}: {secret}", scenario(example));
        }
    }
}

/// Guarantees: the ledger's tokens and cost are on a row exactly where the ledger knows them; an estimate is never taken for usage.
#[test]
fn usage_and_cost_are_the_ledgers() {
    for example in &examples() {
        let message = sanitized(example);
        let row = row_span(&message);
        let facts = &example["request_log_facts"];
        let known = facts["latest_settlement_usage_status"] == "usage_known";
        for (key, column) in [
            (attr::USAGE_INPUT_TOKENS, "latest_input_tokens"),
            (attr::USAGE_CACHE_READ_INPUT_TOKENS, "latest_cached_input_tokens"),
            (attr::USAGE_CACHE_WRITE_INPUT_TOKENS, "latest_cache_write_tokens"),
            (attr::USAGE_OUTPUT_TOKENS, "latest_output_tokens"),
            (attr::USAGE_REASONING_OUTPUT_TOKENS, "latest_reasoning_tokens"),
            (attr::USAGE_TOTAL_TOKENS, "latest_total_tokens"),
        ] {
            let expected = facts[column].as_i64().filter(|_| known);
            assert_eq!(view::int(&row.attributes, key), expected, "{}: {key}", scenario(example));
        }
        let priced = known && facts["latest_settlement_pricing_status"] == "priced";
        let micros = facts["latest_settled_cost_micros"].as_f64().filter(|_| priced);
        assert_eq!(
            view::double(&row.attributes, attr::COST_SETTLED_USD),
            micros.map(|micros| micros / 1e6),
            "{}",
            scenario(example)
        );
        let reported = message.spans().filter(|(_, span)| view::int(&span.attributes, attr::GEN_AI_USAGE_INPUT_TOKENS).is_some());
        assert_eq!(reported.count(), usize::from(known), "{}", scenario(example));
    }
}

/// Guarantees: a row whose facts are not written yet takes usage, account and latency from the ledger and the last attempt, with the same
/// result, decimal texts in scientific form included.
#[test]
fn without_facts_the_ledger_speaks() {
    for mut example in examples() {
        // A recovery writes no latency into the facts, nor into the attempt; the account of every row has an attempt.
        example["request_log_facts"] = Value::Null;
        let message = sanitized(&example);
        let row = row_span(&message);
        for (key, expected) in expected_texts(&example) {
            assert_eq!(view::text(&row.attributes, key), Some(expected.as_str()), "{}: {key}", scenario(&example));
        }
    }
    let mut free = examples().remove(0);
    free["request_log_facts"] = Value::Null;
    for entry in free["ledger_entries"].as_array_mut().unwrap() {
        entry["details"]["settled_cost_micros"] = "0E-9".into();
    }
    assert_eq!(view::double(&row_span(&sanitized(&free)).attributes, attr::COST_SETTLED_USD), Some(0.0));
}

/// Guarantees: the status of row and attempt spans follows the table of situations: a client's error, a client that left and a refusal are
/// no errors of the server; a broken stream, a 5xx and a recovery are.
#[test]
fn span_status_follows_the_situation() {
    // Scenario, error.type of the row and of each attempt; `-` where the span status is unset.
    let expected = [
        ("sse_success_cached", "-", "-"),
        ("incomplete_with_usage", "-", "-"),
        ("retry_second_upstream", "-", "retryable_upstream_status -"),
        ("retry_exhausted_network_error", "upstream_network_error", "upstream_network_error upstream_network_error"),
        ("rejected_model_policy", "-", ""),
        ("quota_exhausted_reset", "quota_exhausted", ""),
        ("full_upstream_rejection", "-", "full_upstream_rejection"),
        ("upstream_rate_limited", "-", "upstream_rate_limited"),
        ("stream_truncated", "upstream_stream_error", "upstream_stream_error"),
        ("client_disconnect_sse", "-", "-"),
        ("client_disconnect_websocket", "-", "-"),
        ("stale_reservation_recovered", "stale_reservation_recovered", "stale_reservation_recovered"),
        ("owner_drained", "owner_drained", "owner_drained"),
        ("reserved_then_no_backend", "no_eligible_backend", ""),
    ];
    let examples = examples();
    for (name, row, attempts) in expected {
        let message = sanitized(examples.iter().find(|example| scenario(example) == name).unwrap());
        let errors: Vec<&str> = message
            .spans()
            .map(|(_, span)| {
                let status = span.status.as_ref().unwrap();
                assert_eq!(status.message, "");
                let error_type = view::text(&span.attributes, attr::ERROR_TYPE);
                assert_eq!(status.code == 2, error_type.is_some(), "{name}");
                error_type.unwrap_or("-")
            })
            .collect();
        assert_eq!((errors[0], errors[1..].join(" ").as_str()), (row, attempts), "{name}");
    }
}

/// Guarantees: a row's outcome is the one that the failure ratio needs, and an open row is never bad.
#[test]
fn outcomes() {
    let outcomes: BTreeMap<String, String> = examples()
        .iter()
        .map(|example| {
            let message = sanitized(example);
            let outcome = view::text(&row_span(&message).attributes, attr::REQUEST_OUTCOME).unwrap();
            (scenario(example).to_owned(), outcome.to_owned())
        })
        .collect();
    for (name, expected) in [
        ("incomplete_missing_usage", "good"),
        ("stream_truncated", "bad"),
        ("upstream_rate_limited", "bad"),
        ("client_disconnect_sse", "neutral"),
        ("rejected_model_policy", "neutral"),
        ("websocket_long_running", "neutral"),
        ("websocket_turn_claimed", "neutral"),
    ] {
        assert_eq!(outcomes[name], expected, "{name}");
    }
}

/// Guarantees: a retry shows the account that served, with attempts on both accounts below one row; the plan is the one that was noted.
#[test]
fn a_retry_has_one_row_and_two_attempts() {
    let example = examples().into_iter().find(|example| scenario(example) == "retry_second_upstream").unwrap();
    let message = sanitized(&example);
    let spans: Vec<&Span> = message.spans().map(|(_, span)| span).collect();
    let id: uuid::Uuid = example["requests"]["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(spans.len(), 3);
    assert!(spans.iter().all(|span| span.trace_id == id.as_bytes()));
    assert!(spans[0].parent_span_id.is_empty() && spans[1..].iter().all(|span| span.parent_span_id == spans[0].span_id));
    assert_eq!((spans[0].kind, spans[1].kind), (2, 3), "server and client");
    assert_eq!(spans[0].name, "POST /backend-api/codex/responses");
    assert_eq!(spans[2].name, "chat gpt-5.4");
    let labels: Vec<_> = spans.iter().map(|span| view::text(&span.attributes, attr::UPSTREAM_ACCOUNT_LABEL).unwrap()).collect();
    assert_eq!(labels, ["Aurora seat 1", "Borealis team", "Aurora seat 1"]);
    // 412 ms and 5120 ms by the latency columns.
    let ms: Vec<u64> = spans[1..].iter().map(|s| (s.end_time_unix_nano - s.start_time_unix_nano) / 1_000_000).collect();
    assert_eq!(ms, [412, 5120]);
}

/// Guarantees: an account whose label is an e-mail address is shown by a short form of its id, everywhere.
#[test]
fn an_email_label_does_not_get_out() {
    let mut example = examples().remove(0);
    example["upstream_identities"][0]["account_label"] = "alice@example.com".into();
    example["requests"]["upstream_account_label"] = "alice@example.com".into();
    let message = sanitized(&example);
    let short = format!("acct-{}", &example["upstream_identities"][0]["id"].as_str().unwrap()[..8]);
    for (_, span) in message.spans() {
        assert_eq!(view::text(&span.attributes, attr::UPSTREAM_ACCOUNT_LABEL), Some(short.as_str()));
    }
    let expected = format!("{short} · Core agents");
    assert_eq!(view::text(&row_span(&message).attributes, attr::TEXT_ACCOUNT), Some(expected.as_str()));
}

/// Guarantees: metadata of an unexpected form costs its own piece and never the row; a missing column refuses the row in constant words.
#[test]
fn odd_metadata_does_not_cost_the_row() {
    let mut example = examples().remove(0);
    let metadata = &mut example["requests"]["request_metadata"];
    metadata["routing"] = "[REDACTED]".into();
    metadata["request"] = serde_json::json!(["x"]);
    metadata["gateway_denial"] = serde_json::json!({"code": 7});
    metadata["candidate_exclusions"] = 5.into();
    example["requests"]["reasoning_effort"] = "as much as you can".into();
    example["requests"]["endpoint"] = "/users/17".into();
    let message = sanitized(&example);
    let row = row_span(&message);
    assert_eq!(message.report().stripped_total(), 0);
    assert_eq!(view::record_kind(row), Some(RecordKind::Request));
    assert_eq!(view::text(&row.attributes, attr::REASONING_EFFORT_REQUESTED), Some("_OTHER"));
    assert_eq!(view::text(&row.attributes, attr::HTTP_ROUTE), Some("_OTHER"));
    assert_eq!(view::text(&row.attributes, attr::REQUEST_ROUTE_CLASS), Some("proxy_stream"));
    // A denial without a code is said as the page says it.
    assert_eq!(view::text(&row.attributes, attr::TEXT_ERRORS), Some("error"));

    example["requests"]["admitted_at"] = "tomorrow".into();
    let refused = Row::from_json(example.to_string().as_bytes()).unwrap_err().to_string();
    assert!(!refused.contains("tomorrow"));
}

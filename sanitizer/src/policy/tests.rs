//! What a policy file may say, what it may not, and what it does to spans.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use contract::{Place, StripReason, attr};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;

use super::Policy;
use crate::{Report, Sanitized, view};

/// 2026-08-24 06:00:00 UTC.
const NOW_NS: u64 = 1_787_551_200_000_000_000;
const ROW_ID: &str = "33ecffe2-5175-44bc-86ca-7ca871e58a48";
const ACCOUNT_ID: &str = "63918144-2107-4e99-9119-c5edfe6f6b9b";

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(NOW_NS)
}

fn policy(yaml: &str) -> Policy {
    Policy::from_yaml(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

fn text(key: &str, text: &str) -> KeyValue {
    any(key, any_value::Value::StringValue(text.to_owned()))
}

fn int(key: &str, number: i64) -> KeyValue {
    any(key, any_value::Value::IntValue(number))
}

fn any(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// What is left of a span and its resource, twice sanitized.
fn sanitized(
    policy: &Policy,
    kind: &str,
    attributes: &[KeyValue],
    resource: &[KeyValue],
) -> (Vec<KeyValue>, Vec<KeyValue>, Report) {
    let mut all = vec![text(attr::RECORD_KIND, kind), text(attr::REQUEST_ID, ROW_ID)];
    all.extend_from_slice(attributes);
    let span = Span {
        trace_id: (0..16).map(|at| u8::from_str_radix(&ROW_ID.replace('-', "")[2 * at..2 * at + 2], 16).unwrap()).collect(),
        span_id: vec![2; 8],
        name: "POST /v1/responses".to_owned(),
        kind: 2,
        start_time_unix_nano: NOW_NS - 5,
        end_time_unix_nano: NOW_NS,
        attributes: all,
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource = Some(Resource { attributes: resource.to_vec(), ..Resource::default() });
    let request =
        ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }] };
    let once: Sanitized = crate::protobuf(policy, now(), &request.encode_to_vec()).unwrap();
    let twice: Sanitized = crate::protobuf(policy, now(), once.encoded()).unwrap();
    assert_eq!(once.encoded(), twice.encoded());
    assert_eq!(twice.report().stripped_total(), 0);
    let (resource, span) = once.spans().next().unwrap();
    (span.attributes.clone(), resource.unwrap().attributes.clone(), once.report().clone())
}

fn texts<'a>(attributes: &'a [KeyValue], keys: &[&str]) -> Vec<Option<&'a str>> {
    keys.iter().map(|key| view::text(attributes, key)).collect()
}

/// Guarantees: whatever is wrong with a file is refused with its line, and nothing that stands in the file is in the error.
#[test]
fn errors_name_their_line_and_echo_nothing() {
    let many = |count: usize| {
        (0..count).fold(String::from("attributes:\n"), |file, n| file + &format!("  zzz.a{n}: {{places: [row], type: bool}}\n"))
    };
    for (line, says, file) in [
        (1, "nothing stands here", String::new()),
        (1, "nothing stands here", "# only\n".to_owned()),
        (1, "nothing stands here", "hide:\n".to_owned()),
        (3, "unknown option", "# a\n\nzzz: {}\n".to_owned()),
        (1, "keys with values", "zzz\n".to_owned()),
        (1, "64 KiB", format!("#{}", "z".repeat(64 * 1024))),
        (2, "not closed", "tighten: {\n  zzz: [".to_owned()),
        (2, "not closed", "hide:\n  pools: [zzz, yyy\n  accounts: [] # ]\ntighten: {}\n".to_owned()),
        (3, "not closed", "tighten: {}\nhide:\n  pools: [\"zzz, 'x']\n".to_owned()),
        (3, "not YAML", "hide: {}\ntighten: it's [a-z\n  : }\n".to_owned()),
        (3, "second time", "hide: {}\ntighten: {}\nhide: {}\n".to_owned()),
        (1, "plain document", "hide: &zzz {}\ntighten: *zzz\n".to_owned()),
        (66, "64 attributes", many(65)),
        // Attributes.
        (2, "two or more words", "attributes:\n  zzz: {places: [row], type: bool}\n".to_owned()),
        (2, "users and models say", "attributes:\n  gen_ai.prompt.zzz: {places: [row], type: bool}\n".to_owned()),
        (2, "already", "attributes:\n  user_agent.name: {places: [row], type: bool}\n".to_owned()),
        (2, "bare key", "attributes:\n  zzz.a:\n".to_owned()),
        (2, "bare key", "attributes:\n  zzz.a: {}\n".to_owned()),
        (3, "unknown option", "attributes:\n  zzz.a:\n    zzz: 1\n    type: bool\n".to_owned()),
        (3, "`places` lists", "attributes:\n  zzz.a:\n    places: [zzz]\n    type: bool\n".to_owned()),
        (3, "`places` lists", "attributes:\n  zzz.a:\n    places: []\n    type: bool\n".to_owned()),
        (2, "`places` lists", "attributes:\n  zzz.a:\n    type: bool\n".to_owned()),
        (5, "second time", "attributes:\n  zzz.a:\n    places:\n      - row\n      - row\n    type: bool\n".to_owned()),
        (2, "`type` is one of", "attributes:\n  zzz.a:\n    places: [row]\n".to_owned()),
        (4, "`type` is one of", "attributes:\n  zzz.a:\n    places: [row]\n    type: zzz\n".to_owned()),
        (2, "`members` or a `pattern`", "attributes:\n  zzz.a:\n    places: [row]\n    type: string\n".to_owned()),
        (2, "`min` and `max`", "attributes:\n  zzz.a: {places: [row], type: int, min: 1}\n".to_owned()),
        (3, "no number is between", "attributes:\n  zzz.a: {places: [row], type: int,\n    min: 5, max: 4}\n".to_owned()),
        (2, "whole number", "attributes:\n  zzz.a: {places: [row], type: int, min: 0.5, max: 4}\n".to_owned()),
        (2, "finite", "attributes:\n  zzz.a: {places: [row], type: double, min: zzz, max: 4}\n".to_owned()),
        (2, "says nothing about", "attributes:\n  zzz.a: {places: [row], type: bool, pattern: zzz}\n".to_owned()),
        (2, "no regular expression", "attributes:\n  zzz.a: {places: [row], type: string, pattern: \"zzz(\"}\n".to_owned()),
        (2, "no regular expression", "attributes:\n  zzz.a: {places: [row], type: string, pattern: \"z)|(z\"}\n".to_owned()),
        (
            2,
            "no regular expression",
            "attributes:\n  zzz.a: {places: [row], type: string, pattern: \"\\\\w{1,100}z\"}\n".to_owned(),
        ),
        (2, "256 bytes", format!("attributes:\n  zzz.a: {{places: [row], type: string, pattern: \"{}\"}}\n", "z".repeat(257))),
        (
            2,
            "`max_chars` is between",
            "attributes:\n  zzz.a: {places: [row], type: string, pattern: z, max_chars: 129}\n".to_owned(),
        ),
        (2, "letters, digits", "attributes:\n  zzz.a: {places: [row], type: string, members: [\"z z\"]}\n".to_owned()),
        (2, "must not look like", "attributes:\n  zzz.a: {places: [row], type: string, members: [10.20.30.40]}\n".to_owned()),
        (2, "put it in quotes", "attributes:\n  zzz.a: {places: [row], type: string, members: [5.4]}\n".to_owned()),
        (2, "second time", "attributes:\n  zzz.a: {places: [row], type: string, members: [zzz, zzz]}\n".to_owned()),
        (
            2,
            "refuses this member",
            "attributes:\n  zzz.a: {places: [row], type: string, members: [zzz], pattern: y}\n".to_owned(),
        ),
        (2, "is empty", "attributes:\n  zzz.a: {places: [row], type: string, members: []}\n".to_owned()),
        // Tightening.
        (2, "none of them", "tighten:\n  zzz.a: remove\n".to_owned()),
        (2, "none of them", "tighten:\n  pooler_otel.place: remove\n".to_owned()),
        (2, "cannot do without", "tighten:\n  codex_pooler.request.id: remove\n".to_owned()),
        (2, "cannot do without", "tighten:\n  codex_pooler.record.kind: {members: [request]}\n".to_owned()),
        (2, "composed", "tighten:\n  codex_pooler.text.usage: {max_chars: 5}\n".to_owned()),
        (2, "write `remove`", "tighten:\n  user_agent.name: zzz\n".to_owned()),
        (2, "own rule refuses", "tighten:\n  user_agent.name: {members: [zzz]}\n".to_owned()),
        (2, "own rule refuses", "tighten:\n  codex_pooler.request.model: {members: [\"zzz zzz\"]}\n".to_owned()),
        (2, "no number is between", "tighten:\n  codex_pooler.usage.total_tokens: {max: -1}\n".to_owned()),
        (2, "no number is between", "tighten:\n  codex_pooler.cost.settled_usd: {min: 2000000}\n".to_owned()),
        (2, "cannot be tightened", "tighten:\n  codex_pooler.attempt.retryable: {members: [zzz]}\n".to_owned()),
        (2, "bare key", "tighten:\n  user_agent.name: {}\n".to_owned()),
        // Hiding, and names.
        (2, "`pools` and `accounts`", "hide:\n  zzz: []\n".to_owned()),
        (2, "no slug", "hide:\n  pools: [\"Zzz\"]\n".to_owned()),
        (2, "`none` stands", "hide:\n  pools: [none]\n".to_owned()),
        (2, "no id of an account", "hide:\n  accounts: [zzz]\n".to_owned()),
        (3, "second time", "hide:\n  pools: [zzz,\n    zzz]\n".to_owned()),
        (1, "a list is expected", "internal_span_names: zzz\n".to_owned()),
        (1, "name of a span", "internal_span_names: [\"SELECT zzz\"]\n".to_owned()),
        (2, "second time", "internal_span_names: [zzz,\n  zzz]\n".to_owned()),
    ] {
        let Err(error) = Policy::from_yaml(&file) else { panic!("accepted: {file}") };
        let message = error.to_string();
        assert_eq!(error.line(), line, "{message}\n{}", &file[..file.len().min(200)]);
        assert!(message.contains(says), "{message}\n{}", &file[..file.len().min(200)]);
        assert!(!message.contains("zzz") && !message.contains("Zzz"), "{message}");
    }
}

/// Guarantees: the version is the same for the same rules however they are written, and another for other rules.
#[test]
fn the_version_is_of_the_rules() {
    let contract = Policy::contract();
    assert_eq!(policy("{}").version(), contract.version());
    assert_eq!(policy("# nothing\nhide: {pools: []}\n").version(), contract.version());
    assert!(
        contract.version().len() == 12 && contract.version().bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
    );
    let one = policy("hide: {pools: [a, b]}\ntighten: {user_agent.name: remove}\n");
    assert_eq!(one.version(), policy("tighten:\n  user_agent.name: remove\nhide:\n  pools: [b, a]\n").version());
    let files = [
        "{}",
        "hide: {pools: [a]}",
        "hide: {pools: [b]}",
        "tighten: {user_agent.name: remove}",
        "tighten: {user_agent.name: {members: [codex]}}",
        "tighten: {codex_pooler.usage.total_tokens: {max: 5}}",
        "tighten: {codex_pooler.usage.total_tokens: {max: 6}}",
        "tighten: {codex_pooler.cost.settled_usd: {max: 6}}",
        "internal_span_names: [db.lookup]",
        "attributes: {a.b: {places: [row], type: bool}}",
        "attributes: {a.b: {places: [row, attempt], type: bool}}",
        "attributes: {a.b: {places: [row], type: string, pattern: x}}",
        "attributes: {a.b: {places: [row], type: string, pattern: y}}",
    ];
    let versions: BTreeSet<_> = files.iter().map(|file| policy(file).version().to_owned()).collect();
    assert_eq!(versions.len(), files.len());
}

/// Guarantees: an added attribute stands where the policy says and nowhere else, with a value that the rule allows; and no pattern lets prose,
/// addresses or secrets in.
#[test]
fn added_attributes_are_typed_and_placed() {
    let policy = policy(
        "attributes:\n  k8s.namespace.name: {places: [resource], type: string, pattern: \".*\", max_chars: 63}\n  \
         queue.depth: {places: [row, attempt], type: int, min: 0, max: 100}\n  \
         deployment.zone: {places: [row], type: string, members: [eu-1, eu-2]}\n  \
         spot.price: {places: [row], type: double, min: 0, max: 2.5}\n  spot.used: {places: [row], type: bool}\n",
    );
    let given = [
        int("queue.depth", 100),
        text("deployment.zone", "eu-2"),
        any("spot.price", any_value::Value::DoubleValue(2.5)),
        any("spot.used", any_value::Value::BoolValue(true)),
        text("k8s.namespace.name", "prod"),
    ];
    let (span, resource, report) = sanitized(&policy, "request", &given, &given);
    assert_eq!(span[2..], given[..4]);
    assert_eq!(resource, given[4..]);
    let broken = |place, reason, key: &str| report.broken_rules.get(&(place, reason, key.into())).copied();
    assert_eq!(broken(Place::SpanAttribute, StripReason::WrongPlace, "k8s.namespace.name"), Some(1));
    assert_eq!(broken(Place::ResourceAttribute, StripReason::WrongPlace, "queue.depth"), Some(1));
    assert_eq!(report.policy_version.as_ref(), policy.version());

    let (span, _, _) = sanitized(&policy, "correction", &given, &[]);
    assert_eq!(span.len(), 2);
    let bad = [
        int("queue.depth", 101),
        text("deployment.zone", "eu-3"),
        any("spot.price", any_value::Value::DoubleValue(f64::NAN)),
        text("spot.used", "true"),
    ];
    for prose in
        ["tell me a joke", "", "a@b.example", "10.20.30.40", "-x", "AKIAIOSFODNN7EXAMPLE", &"a".repeat(64), "naïve", "a\nb"]
    {
        let (span, resource, report) = sanitized(&policy, "request", &bad, &[text("k8s.namespace.name", prose)]);
        assert_eq!((span.len(), resource.len(), report.stripped_total()), (2, 0, 5), "{prose}");
    }
}

/// Guarantees: no list stands under an added key, whatever is in it: a rule is for one text, and its type is no list.
#[test]
fn an_added_text_is_no_list() {
    let policy = policy(
        "attributes:\n  k8s.namespace.name: {places: [row, resource], type: string, pattern: \".*\"}\n  \
         deployment.zone: {places: [row, resource], type: string, members: [eu-1, eu-2]}\n",
    );
    for texts in
        [&["tell me a joke"][..], &["alice@example.com"], &["sk-proj-abcdefghijklmnop1234"], &["eu-1"], &["eu-1"; 1000], &[]]
    {
        let item = |text: &&str| AnyValue { value: Some(any_value::Value::StringValue((*text).to_owned())) };
        let list = ArrayValue { values: texts.iter().map(item).collect() };
        let given = ["k8s.namespace.name", "deployment.zone"].map(|key| any(key, any_value::Value::ArrayValue(list.clone())));
        let (span, resource, report) = sanitized(&policy, "request", &given, &given);
        assert_eq!((span.len(), resource.len()), (2, 0), "{texts:?}");
        let wrong_type = |place| ((place, StripReason::WrongType), 2);
        assert_eq!(report.stripped_fields, [wrong_type(Place::SpanAttribute), wrong_type(Place::ResourceAttribute)].into());
    }
}

/// Guarantees: a tightened value passes the contract's rule and the operator's, or becomes what the contract puts in its place.
#[test]
fn tightening_is_a_conjunction() {
    let policy = policy(
        "tighten:\n  codex_pooler.request.model: {members: [gpt-5.4, gpt-5.4-mini]}\n  codex_pooler.usage.total_tokens: {max: 1000, min: -5}\n  \
         user_agent.name: remove\n  codex_pooler.api_key.label: remove\n  codex_pooler.upstream.account.label: {pattern: \"seat .*\"}\n  \
         codex_pooler.pool.name: {max_chars: 4}\n",
    );
    let keys = [attr::REQUEST_MODEL, attr::USER_AGENT_NAME, attr::API_KEY_LABEL, attr::UPSTREAM_ACCOUNT_LABEL, attr::POOL_NAME];
    let row = |values: [&str; 5], tokens| {
        let mut given: Vec<_> = keys.iter().zip(values).map(|(key, value)| text(key, value)).collect();
        given.push(int(attr::USAGE_TOTAL_TOKENS, tokens));
        given.push(text(attr::UPSTREAM_ACCOUNT_ID, ACCOUNT_ID));
        given
    };
    let (span, _, report) = sanitized(&policy, "request", &row(["gpt-5.4", "codex", "CI", "seat 1", "Core"], 1000), &[]);
    assert_eq!(texts(&span, &keys), [Some("gpt-5.4"), None, Some("none"), Some("seat 1"), Some("Core")]);
    assert_eq!(view::int(&span, attr::USAGE_TOTAL_TOKENS), Some(1000));
    assert_eq!(report.stripped_fields, [((Place::SpanAttribute, StripReason::Policy), 2)].into());

    let (span, _, _) = sanitized(&policy, "request", &row(["gpt-5.5", "codex", "CI", "desk 1", "Cores"], 1001), &[]);
    assert_eq!(texts(&span, &keys), [Some("_OTHER"), None, Some("none"), Some("none"), Some("none")]);
    assert_eq!(view::int(&span, attr::USAGE_TOTAL_TOKENS), None);
    // The contract's own rule still holds.
    let (span, _, _) = sanitized(&policy, "request", &row(["gpt-5.4", "codex", "CI", "seat 192.0.2.7", "a@b"], -1), &[]);
    assert_eq!(texts(&span, &keys), [Some("gpt-5.4"), None, Some("none"), Some("none"), Some("none")]);
    assert_eq!(view::int(&span, attr::USAGE_TOTAL_TOKENS), None);
}

/// Guarantees: a hidden Pool and a hidden account are named nowhere in a record, and others are; a record that does not say whose it is names
/// nobody.
#[test]
fn hidden_names_are_nowhere() {
    let policy = policy(&format!("hide:\n  pools: [payroll]\n  accounts: [{ACCOUNT_ID}]\n"));
    let keys = [attr::POOL_SLUG, attr::POOL_NAME, attr::POOL_ID, attr::UPSTREAM_ACCOUNT_LABEL, attr::UPSTREAM_ACCOUNT_ID];
    let other = "00000000-2107-4e99-9119-c5edfe6f6b9b";
    for (pool, account, expected) in [
        ("payroll", other, [Some("hidden"), Some("hidden"), None, Some("Aurora"), Some(other)]),
        ("core", ACCOUNT_ID, [Some("core"), Some("Ledger"), Some(ROW_ID), Some("hidden"), None]),
        ("payroll", ACCOUNT_ID, [Some("hidden"), Some("hidden"), None, Some("hidden"), None]),
        ("core", other, [Some("core"), Some("Ledger"), Some(ROW_ID), Some("Aurora"), Some(other)]),
        ("Not a slug", "not an id", [Some("hidden"), Some("hidden"), None, Some("hidden"), None]),
        ("none", other, [Some("none"), Some("Ledger"), Some(ROW_ID), Some("Aurora"), Some(other)]),
    ] {
        let values = [pool, "Ledger", ROW_ID, "Aurora", account];
        let mut given: Vec<_> = keys.iter().zip(values).map(|(key, value)| text(key, value)).collect();
        for _ in 0..keys.len() {
            // Whatever comes first.
            given.rotate_left(1);
            let (span, _, report) = sanitized(&policy, "request", &given, &[]);
            assert_eq!(texts(&span, &keys), expected, "{pool} {account}");
            assert_eq!(report.stripped_total() == 0, pool != "payroll" && account == other && pool != "Not a slug");
        }
    }
    let (span, _, _) = sanitized(&policy, "correction", &[text(attr::POOL_NAME, "Ledger")], &[]);
    assert_eq!(texts(&span, &keys), [None, Some("hidden"), None, None, None]);
}

/// Guarantees: what the policy hides or removes counts apart from what a sender did wrong, also in the texts that are composed of it; a value that
/// is wrong and hidden counts as wrong.
#[test]
fn the_operators_doing_is_no_fault() {
    let hides = policy(&format!("hide:\n  pools: [payroll]\n  accounts: [{ACCOUNT_ID}]\n"));
    let removes = policy("tighten:\n  codex_pooler.upstream.account.label: remove\n");
    let given = [
        text(attr::POOL_SLUG, "payroll"),
        text(attr::POOL_NAME, "Ledger"),
        text(attr::POOL_ID, ROW_ID),
        text(attr::UPSTREAM_ACCOUNT_LABEL, "Aurora"),
        text(attr::UPSTREAM_ACCOUNT_ID, ACCOUNT_ID),
        text(attr::TEXT_ACCOUNT, "Aurora · Ledger"),
    ];
    for kind in ["request", "correction"] {
        let of_attributes = |policy| {
            let (_, _, mut report) = sanitized(policy, kind, &given, &[]);
            // As a correction the span would have another name.
            report.stripped_fields.retain(|(place, _), _| *place == Place::SpanAttribute);
            assert_eq!(report.faults_total(), 0, "{kind}: {report:?}");
            report.stripped_fields
        };
        assert_eq!(of_attributes(&hides), [((Place::SpanAttribute, StripReason::Hidden), 6)].into(), "{kind}");
        assert_eq!(of_attributes(&removes), [((Place::SpanAttribute, StripReason::Policy), 2)].into(), "{kind}");
    }
    let wrong = [text(attr::POOL_SLUG, "payroll"), text(attr::POOL_NAME, "me@example.com")];
    let (_, _, report) = sanitized(&hides, "request", &wrong, &[]);
    assert_eq!(report.faults_total(), 1, "{report:?}");
}

/// Guarantees: a pattern that admits nearly anything is warned of with its line, and one that says something, or whose length does, is not.
#[test]
fn a_pattern_that_says_nothing_is_warned_of() {
    for (pattern, max_chars, is_wide) in [
        (".*", 128, true),
        (".+", 128, true),
        ("[^ ]*", 128, true),
        ("[!-~]{1,128}", 128, true),
        ("(?i)[a-z].*", 64, true),
        ("x|.*", 128, true),
        (".*", 8, false),
        ("[a-z0-9]([-a-z0-9]*[a-z0-9])?", 63, false),
        ("team-.*", 128, false),
        ("[A-Za-z0-9_.-]+", 128, false),
    ] {
        let file = format!(
            "attributes:\n  deployment.zone:\n    places: [row]\n    type: string\n    pattern: '{pattern}'\n    max_chars: {max_chars}\n"
        );
        let lines: Vec<u64> = policy(&file).warnings().iter().map(|warning| warning.line).collect();
        assert_eq!(lines, if is_wide { vec![5] } else { vec![] }, "{pattern}");
    }
}

/// Guarantees: bounds that leave room for the number of a card, which has 13 digits at least, are warned of with their line; others are not.
#[test]
fn bounds_that_say_nothing_are_warned_of() {
    for (ty, max, is_wide) in [
        ("int", "999999999999", false),
        ("int", "1000000000000", true),
        ("int", "9223372036854775807", true),
        ("double", "1e11", false),
        ("double", "1e300", true),
    ] {
        let file = format!("attributes:\n  queue.depth:\n    places: [row]\n    type: {ty}\n    min: 0\n    max: {max}\n");
        let lines: Vec<u64> = policy(&file).warnings().iter().map(|warning| warning.line).collect();
        assert_eq!(lines, if is_wide { vec![6] } else { vec![] }, "{ty} {max}");
    }
}

/// Guarantees: spans without a record kind keep a name that the operator listed; rows do not.
#[test]
fn internal_spans_may_have_listed_names() {
    let policy = policy("internal_span_names: [db.lookup]\n");
    let internal = contract::Record::of(None);
    assert_eq!(policy.check_name(internal, "db.lookup"), Ok(()));
    assert_eq!(policy.check_name(internal, "internal"), Ok(()));
    assert_eq!(policy.check_name(internal, "db.lookups"), Err(StripReason::Pattern));
    let row = contract::Record::of(Some(contract::RecordKind::Request));
    assert_eq!(policy.check_name(row, "db.lookup"), Err(StripReason::Pattern));
}

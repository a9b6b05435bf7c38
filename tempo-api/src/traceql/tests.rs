//! The language, checked against what Tempo's documentation says of it and against answers of a real Tempo.

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value as Any};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use proptest::prelude::*;

use super::*;

fn attribute(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(text: &str) -> Any {
    Any::StringValue(text.to_owned())
}

fn span() -> Span {
    let list = ArrayValue { values: ["stop", "length"].map(|item| AnyValue { value: Some(text(item)) }).to_vec() };
    Span {
        trace_id: vec![0xab; 16],
        span_id: vec![0x01; 8],
        name: "POST /v1/responses".to_owned(),
        kind: 2,
        start_time_unix_nano: 1_000_000_000,
        end_time_unix_nano: 1_500_000_000,
        attributes: vec![
            attribute("pool", text("core-agents")),
            attribute("model", text("gpt-5.4")),
            attribute("a \"b\"", text("odd")),
            attribute("code", Any::IntValue(502)),
            attribute("cost", Any::DoubleValue(0.5)),
            attribute("stream", Any::BoolValue(true)),
            attribute("both", text("of span")),
            attribute("reasons", Any::ArrayValue(list)),
            attribute("lines", text("one\ntwo\t\"Ж\"")),
        ],
        status: Some(Status { code: 2, ..Status::default() }),
        ..Span::default()
    }
}

/// Whether the filter matches the span above; `None` if it is refused.
fn matches(filter: &str) -> Option<bool> {
    let query = query(&format!("{{ {filter} }}")).ok()?;
    let resource = Resource {
        attributes: vec![attribute("service.name", text("codex-pooler")), attribute("both", text("of resource"))],
        ..Resource::default()
    };
    let mut trace_id = [0; 16];
    trace_id[15] = 0xab;
    let trace = TraceContext { trace_id, duration_ns: 2_000_000_000, root_name: "root", root_service: "codex-pooler" };
    Some(query.filter.matches(&SpanContext { span: &span(), resource: Some(&resource), trace: &trace }))
}

/// Guarantees: operators, types, scopes, intrinsics and literals mean what they mean in Tempo.
#[test]
fn filters_mean_what_they_mean_in_tempo() {
    let yes = [
        "",
        "true",
        r#"span.pool = "core-agents""#,
        r#"span.pool="core-agents"&&kind=server"#,
        r#".pool = "core-agents""#,
        r#"span."a \"b\"" = "odd""#,
        r#"resource.service.name = "codex-pooler""#,
        r#".service.name = "codex-pooler""#,
        r#".both = "of span""#,
        r#"resource.both = "of resource""#,
        r#"span.model != "none""#,
        "span.model =~ `gpt-.*`",
        "span.model =~ `(?i)GPT.*`",
        r"span.model =~ `(gpt-5\.4|none)`",
        r#"span.model =~ "gpt-5\\.4""#,
        "span.model !~ `none|other`",
        r#"span.model > "gpt-5""#,
        "span.code = 502",
        "span.code >= 500 && span.code < 600",
        "500 <= span.code",
        "span.cost = 0.5",
        "span.cost > .25",
        "span.cost > -1.0",
        "span.stream",
        "span.stream = true",
        "true = span.stream",
        "span.missing = nil",
        "nil = span.missing",
        "span.code != nil",
        "status = error",
        "span:status != ok",
        "kind = server",
        "duration = 500ms",
        "duration = 500000000",
        "duration > 0.5",
        "span:duration < 1h2m3.5s",
        "traceDuration = 2s",
        "name = `POST /v1/responses`",
        r#"span:name =~ "POST.*""#,
        r#"rootName = "root""#,
        r#"trace:rootService = "codex-pooler""#,
        r#"trace:id = "000000000000000000000000000000ab""#,
        r#"trace:id = "AB""#,
        r#"span:id = "0101010101010101""#,
        r#"span:parentID = """#,
        r#"statusMessage = """#,
        r#""" = """#,
        r#"`x` =~ "x|y""#,
        "1 = 1.0",
        "1s = 1000000000",
        "-1 < 2",
        r#"span.reasons = "length""#,
        r#"span.reasons != "content_filter""#,
        "span.reasons =~ `st.p`",
        r#"span.lines = "one\ntwo\t\"\u0416\"""#,
        r#"span.lines = "\x6fne\012two\t\"\xd0\x96\"""#,
        "span.lines =~ `one.two.*`",
        "((span.code = 502))",
        r#"span.code = 1 || span.pool = "core-agents""#,
        // Equal precedence, from the left: (true || false) && true.
        "true || false && true",
    ];
    for filter in yes {
        assert_eq!(matches(filter), Some(true), "{filter}");
    }
    let no = [
        "false",
        r#"span.pool = "core""#,
        "span.pool =~ `core`",
        r#"span.Pool = "core-agents""#,
        r#"resource.pool = "core-agents""#,
        r#"span.service.name = "codex-pooler""#,
        // A missing attribute matches nothing but nil.
        "span.missing =~ `.*`",
        r#"span.missing != "x""#,
        "span.missing !~ `x`",
        "span.missing < 5",
        "span.missing != nil",
        "span.code = nil",
        // A literal must have the attribute's own type.
        r#"span.code = "502""#,
        r#"span.code != "502""#,
        "span.code = 502.0",
        "span.cost > 0",
        "span.code > 1s",
        "span.code =~ `5..`",
        "span.code !~ `4..`",
        "span.pool > 1",
        "span.pool",
        r#"span.reasons != "stop""#,
        "status = ok",
        "kind = client",
        "duration > 500ms",
        "2 < 1",
        // Equal precedence, from the left: (true || true) && false.
        "true || true && false",
    ];
    for filter in no {
        assert_eq!(matches(filter), Some(false), "{filter}");
    }
}

/// Guarantees: what Tempo refuses is refused, and so is what is not supported.
#[test]
fn what_makes_no_sense_is_refused() {
    for filter in [
        r#"status = "error""#,
        "kind =~ `ser.*`",
        "status > unset",
        "duration =~ 5s",
        r#"duration > "x""#,
        "name = 5",
        "name = nil",
        "nil = nil",
        "span.x < nil",
        r#"span.x = "a\-b""#,
        r#"span.x = "open"#,
        "span.x = `open",
        "span.x = 'x'",
        "span.x =~ `(`",
        "span.x =~ 5",
        "`a` =~ span.x",
        "span.x",
        "span.x = 1x",
        "span.x = 1..2",
        "span. = 1",
        r#"span."open = 1"#,
        "1",
        "1 = `a`",
        "foo = 1",
        "nestedSetParent < 0",
        "event.name = 1",
        "!(kind = server)",
        "span.a = span.b",
        "(span.a = 1",
        "span.a = 1)",
        "span.a = 1 &&",
        "&& span.a = 1",
        "= 1",
        "span.a == 1",
        "span.a + 1 = 2",
    ] {
        // A lone attribute must be true, which is a filter.
        let expected = if filter == "span.x" { Some(false) } else { None };
        assert_eq!(matches(filter), expected, "{filter}");
    }
    for text in [
        "foo",
        "{",
        "}",
        "{ } }",
        "{ } && { }",
        "{ } >> { }",
        "{ } | count() > 2",
        "{ } | rate()",
        "{ } | by(span.x)",
        "{ } | select()",
        "{ } | select(span.x",
        "{ } | select(5)",
        "{ } |",
        "{ } with",
        "{ } with (x)",
        "{ } with (x=y)",
        "{ } with (most_recent=true",
        "{ } with (most_recent=true) | select(name)",
    ] {
        assert!(query(text).is_err(), "{text}");
    }
}

/// Guarantees: an error says where and what, what is supported instead, and repeats nothing of the query.
#[test]
fn errors_say_where_and_what() {
    let text = |text| query(text).unwrap_err().to_string();
    assert_eq!(
        text("{ span.x = 1 } | count() > 2"),
        "TraceQL, at byte 17: this pipeline stage is not supported; supported is one filter { … } with comparisons joined by && and ||, \
         then | select(…), then with (…)"
    );
    assert_eq!(
        text("{ status = \"error\" }"),
        "TraceQL, at byte 2: this field is compared with a status without quotes: error, ok or unset"
    );
    assert_eq!(text("{ span.x = 1"), "TraceQL, at byte 12: the filter must end here with }, or go on with && or ||");
    assert!(!text("{ secret = \"hunter2\" }").contains("secret"));
}

/// Guarantees: fields are shown once, those of the filter first; hints change nothing; spaces are free.
#[test]
fn selections_and_hints_are_read() {
    let parsed = query(
        "{ span.a = 1 && (span.b = 2 || span.a = 3) } | select(span.c, span.b) | select(name,resource.d)with(most_recent=true , foo = 1)",
    );
    let parsed = parsed.unwrap();
    let span = |name: &str| Field::Attribute(Scope::Span, name.to_owned());
    let expected =
        [span("a"), span("b"), span("c"), Field::Intrinsic(Intrinsic::Name), Field::Attribute(Scope::Resource, "d".to_owned())];
    assert_eq!(parsed.shown(), expected.iter().collect::<Vec<_>>());
    assert_eq!(query("").unwrap(), Query::everything());
    assert_eq!(query(" {\n} ").unwrap(), Query::everything());
    assert_eq!(field("span.x"), Ok(span("x")));
    assert_eq!(field("status"), Ok(Field::Intrinsic(Intrinsic::Status)));
    assert!(field("nosuch").is_err() && field("span.x span.y").is_err() && field("").is_err());
}

/// Guarantees: nesting and size are bounded, and what is within the bounds is accepted.
#[test]
fn queries_are_bounded() {
    let nested = |depth: usize| format!("{{ {}true{} }}", "(".repeat(depth), ")".repeat(depth));
    assert!(query(&nested(32)).is_ok());
    assert!(query(&nested(33)).is_err() && query(&nested(10_000)).is_err());
    let joined = |conditions: usize| format!("{{ {} }}", vec!["span.x = 1"; conditions].join(" && "));
    assert!(query(&joined(256)).is_ok());
    assert!(query(&joined(257)).is_err());
    assert!(query(&format!("{{ span.x = `{}` }}", "x".repeat(40_000))).is_err());
}

proptest! {
    /// Guarantees: no text makes the parser panic or hang.
    #[test]
    fn no_text_breaks_the_parser(text in ".*") {
        let _ = query(&text);
        let _ = field(&text);
    }

    /// Guarantees: nor does any sequence of things that queries are made of.
    #[test]
    fn no_tokens_break_the_parser(tokens in prop::collection::vec(prop::sample::select(vec![
        "{", "}", "(", ")", "|", "||", "&&", "=", "!=", "=~", "!~", "<", ">=", "!", ",", "select", "with", "nil", "true", "error", "server",
        "span.x", "resource.y", ".z", "span.", "span.\"a", "duration", "trace:id", "\"a\"", "`b`", "\"\\u12\"", "1", "-1", "0.5", "1h2m", "9e99h",
    ]), 0..24), glue in prop::sample::select(vec!["", " "])) {
        if let Ok(query) = query(&tokens.join(glue)) {
            let trace = TraceContext { trace_id: [1; 16], duration_ns: 1, root_name: "", root_service: "" };
            let _ = query.filter.matches(&SpanContext { span: &span(), resource: None, trace: &trace });
        }
    }

    /// Guarantees: a text between backticks means itself, and so it does in double quotes once Go's escapes are applied.
    #[test]
    fn texts_mean_themselves(text in "[^`]{0,40}") {
        let expected = Ok(Expr::Compare(Comparison {
            field: Field::Attribute(Scope::Span, "x".to_owned()),
            test: Test::Is(ValueTest::Equal(Literal::Text(text.clone()))),
        }));
        prop_assert_eq!(&query(&format!("{{ span.x = `{text}` }}")).map(|query| query.filter), &expected);
        let escaped = text.chars().map(|c| format!("\\U{:08x}", u32::from(c))).collect::<Vec<_>>().concat();
        prop_assert_eq!(&query(&format!("{{ span.x = \"{escaped}\" }}")).map(|query| query.filter), &expected);
    }
}

/// Guarantees: a query cannot ask for more regular expressions to be compiled than a dashboard has any use for.
#[test]
fn regular_expressions_are_bounded() {
    let conditions = |n: usize| format!("{{ {} }}", vec![".a =~ `x`"; n].join(" && "));
    assert!(query(&conditions(16)).is_ok());
    assert!(query(&conditions(17)).is_err());
}

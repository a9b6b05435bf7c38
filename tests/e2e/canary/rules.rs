//! What the test expects of every field of the protocol: which ones may arrive, with a legal value for each, and which ones never do.
//! A field that is not here has no rule, and makes the test fail.

use contract::attr;

/// What becomes of a field.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// Whatever it holds, it does not arrive.
    Gone,
    /// A message that arrives, less what is gone in it.
    Inner,
    /// Attributes. These are legal; the first one has a text, which is where others are tried.
    Attributes(&'static [(&'static str, Value)]),
    /// The name, unit or description of a metric: it depends on the kind of data.
    OfMetric,
    /// A value of an attribute, of a kind that is legal where the attribute's rule says so.
    OfAttribute,
    Text(&'static str),
    Bytes(&'static [u8]),
    Int(i64),
    Ints(&'static [i64]),
    Double(f64),
    Doubles(&'static [f64]),
}

/// The value of an attribute.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    Text(&'static str),
    Bool(bool),
    Int(i64),
    Double(f64),
    Texts(&'static [&'static str]),
}

use Fate::{Attributes, Bytes, Double, Doubles, Gone, Inner, Int, Ints, OfAttribute, OfMetric, Text};

/// 2026-08-24 06:00:00 UTC, in nanoseconds.
const TIME: Fate = Int(1_787_551_200_000_000_000);
const LATER: Fate = Int(1_787_551_201_000_000_000);
const TRACE_ID: Fate = Bytes(&[0x0b, 0x5a, 0x2f, 0x0e, 0x6c, 0x0f, 0x4f, 0x3a, 0x9a, 0x53, 0x0c, 0x7f, 0x4f, 0x2f, 0x8f, 0x11]);
const SPAN_ID: Fate = Bytes(&[1, 2, 3, 4, 5, 6, 7, 8]);
const SCHEMA_URL: Fate = Text(contract::SCHEMA_URL);
const REQUEST_ID: (&str, Value) = (attr::REQUEST_ID, Value::Text("0b5a2f0e-6c0f-4f3a-9a53-0c7f4f2f8f11"));
const NUMBER_LABELS: Fate = Attributes(&[(attr::POOL_SLUG, Value::Text("core-agents"))]);
const HISTOGRAM_LABELS: Fate =
    Attributes(&[(attr::GEN_AI_REQUEST_MODEL, Value::Text("gpt-5.4")), (attr::GEN_AI_OPERATION_NAME, Value::Text("chat"))]);

/// Every field of every message of the three signals.
pub const RULES: &[(&str, &[(&str, Fate)])] = &[
    ("collector.trace.v1.ExportTraceServiceRequest", &[("resource_spans", Inner)]),
    ("collector.logs.v1.ExportLogsServiceRequest", &[("resource_logs", Inner)]),
    ("collector.metrics.v1.ExportMetricsServiceRequest", &[("resource_metrics", Inner)]),
    // --- shared
    (
        "resource.v1.Resource",
        &[
            (
                "attributes",
                Attributes(&[
                    (attr::SERVICE_NAME, Value::Text("codex-pooler")),
                    (attr::TELEMETRY_SDK_LANGUAGE, Value::Text("rust")),
                ]),
            ),
            ("dropped_attributes_count", Gone),
            ("entity_refs", Gone),
        ],
    ),
    ("common.v1.EntityRef", &[("schema_url", Gone), ("type", Gone), ("id_keys", Gone), ("description_keys", Gone)]),
    (
        "common.v1.InstrumentationScope",
        &[
            ("name", Text(contract::SCOPE_NAME)),
            ("version", Text("0.1.0")),
            ("attributes", Gone),
            ("dropped_attributes_count", Gone),
        ],
    ),
    ("common.v1.KeyValue", &[("key", OfAttribute), ("value", Inner), ("key_strindex", Gone)]),
    (
        "common.v1.AnyValue",
        &[
            ("string_value", OfAttribute),
            ("bool_value", OfAttribute),
            ("int_value", OfAttribute),
            ("double_value", OfAttribute),
            ("array_value", Inner),
            ("kvlist_value", Gone),
            ("bytes_value", Gone),
            ("string_value_strindex", Gone),
        ],
    ),
    ("common.v1.ArrayValue", &[("values", Inner)]),
    ("common.v1.KeyValueList", &[("values", Gone)]),
    // --- traces
    ("trace.v1.ResourceSpans", &[("resource", Inner), ("scope_spans", Inner), ("schema_url", SCHEMA_URL)]),
    ("trace.v1.ScopeSpans", &[("scope", Inner), ("spans", Inner), ("schema_url", SCHEMA_URL)]),
    (
        "trace.v1.Span",
        &[
            ("trace_id", TRACE_ID),
            ("span_id", SPAN_ID),
            ("trace_state", Gone),
            ("parent_span_id", SPAN_ID),
            ("flags", Int(0x301)),
            ("name", Text("chat gpt-5.4")),
            ("kind", Int(3)),
            ("start_time_unix_nano", TIME),
            ("end_time_unix_nano", LATER),
            (
                "attributes",
                Attributes(&[
                    (attr::UPSTREAM_ACCOUNT_LABEL, Value::Text("Aurora seat 1")),
                    (attr::RECORD_KIND, Value::Text("attempt")),
                    REQUEST_ID,
                    (attr::ATTEMPT_NUMBER, Value::Int(1)),
                    (attr::GEN_AI_REQUEST_STREAM, Value::Bool(true)),
                    (attr::GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK, Value::Double(0.25)),
                    (attr::GEN_AI_RESPONSE_FINISH_REASONS, Value::Texts(&["stop", "length"])),
                ]),
            ),
            ("dropped_attributes_count", Gone),
            ("events", Gone),
            ("dropped_events_count", Gone),
            ("links", Inner),
            ("dropped_links_count", Gone),
            ("status", Inner),
        ],
    ),
    (
        "trace.v1.Span.Event",
        &[("time_unix_nano", Gone), ("name", Gone), ("attributes", Gone), ("dropped_attributes_count", Gone)],
    ),
    (
        "trace.v1.Span.Link",
        &[
            ("trace_id", TRACE_ID),
            ("span_id", SPAN_ID),
            ("trace_state", Gone),
            ("attributes", Gone),
            ("dropped_attributes_count", Gone),
            ("flags", Int(1)),
        ],
    ),
    ("trace.v1.Status", &[("message", Gone), ("code", Int(2))]),
    // --- logs
    ("logs.v1.ResourceLogs", &[("resource", Inner), ("scope_logs", Inner), ("schema_url", SCHEMA_URL)]),
    ("logs.v1.ScopeLogs", &[("scope", Inner), ("log_records", Inner), ("schema_url", SCHEMA_URL)]),
    (
        "logs.v1.LogRecord",
        &[
            ("time_unix_nano", TIME),
            ("observed_time_unix_nano", LATER),
            ("severity_number", Int(13)),
            ("severity_text", Text("WARN")),
            ("body", Gone),
            (
                "attributes",
                Attributes(&[
                    (attr::UPSTREAM_ACCOUNT_LABEL, Value::Text("Aurora seat 1")),
                    REQUEST_ID,
                    (attr::REQUEST_RETRY_COUNT, Value::Int(2)),
                    (attr::COST_SETTLED_USD, Value::Double(0.5)),
                ]),
            ),
            ("dropped_attributes_count", Gone),
            ("flags", Int(1)),
            ("trace_id", TRACE_ID),
            ("span_id", SPAN_ID),
            ("event_name", Text("codex_pooler.request.started")),
        ],
    ),
    // --- metrics
    ("metrics.v1.ResourceMetrics", &[("resource", Inner), ("scope_metrics", Inner), ("schema_url", SCHEMA_URL)]),
    ("metrics.v1.ScopeMetrics", &[("scope", Inner), ("metrics", Inner), ("schema_url", SCHEMA_URL)]),
    (
        "metrics.v1.Metric",
        &[
            ("name", OfMetric),
            ("description", OfMetric),
            ("unit", OfMetric),
            ("gauge", Inner),
            ("sum", Inner),
            ("histogram", Inner),
            ("exponential_histogram", Inner),
            ("summary", Inner),
            ("metadata", Gone),
        ],
    ),
    ("metrics.v1.Gauge", &[("data_points", Inner)]),
    ("metrics.v1.Sum", &[("data_points", Inner), ("aggregation_temporality", Int(2)), ("is_monotonic", Int(1))]),
    ("metrics.v1.Histogram", &[("data_points", Inner), ("aggregation_temporality", Int(2))]),
    ("metrics.v1.ExponentialHistogram", &[("data_points", Inner), ("aggregation_temporality", Int(1))]),
    ("metrics.v1.Summary", &[("data_points", Inner)]),
    (
        "metrics.v1.NumberDataPoint",
        &[
            ("attributes", NUMBER_LABELS),
            ("start_time_unix_nano", TIME),
            ("time_unix_nano", LATER),
            ("as_double", Double(4.5)),
            ("as_int", Int(4)),
            ("exemplars", Inner),
            ("flags", Int(1)),
        ],
    ),
    (
        "metrics.v1.HistogramDataPoint",
        &[
            ("attributes", HISTOGRAM_LABELS),
            ("start_time_unix_nano", TIME),
            ("time_unix_nano", LATER),
            ("count", Int(3)),
            ("sum", Double(4.5)),
            ("bucket_counts", Ints(&[1, 2])),
            ("explicit_bounds", Doubles(&[0.5])),
            ("exemplars", Inner),
            ("flags", Int(1)),
            ("min", Double(0.25)),
            ("max", Double(2.5)),
        ],
    ),
    (
        "metrics.v1.ExponentialHistogramDataPoint",
        &[
            ("attributes", HISTOGRAM_LABELS),
            ("start_time_unix_nano", TIME),
            ("time_unix_nano", LATER),
            // One at zero, three on each side.
            ("count", Int(7)),
            ("sum", Double(4.5)),
            ("scale", Int(-2)),
            ("zero_count", Int(1)),
            ("positive", Inner),
            ("negative", Inner),
            ("flags", Int(1)),
            ("exemplars", Inner),
            ("min", Double(0.25)),
            ("max", Double(2.5)),
            ("zero_threshold", Double(0.001)),
        ],
    ),
    ("metrics.v1.ExponentialHistogramDataPoint.Buckets", &[("offset", Int(-3)), ("bucket_counts", Ints(&[1, 2]))]),
    (
        "metrics.v1.SummaryDataPoint",
        &[
            ("attributes", HISTOGRAM_LABELS),
            ("start_time_unix_nano", TIME),
            ("time_unix_nano", LATER),
            ("count", Int(3)),
            ("sum", Double(4.5)),
            ("quantile_values", Inner),
            ("flags", Int(1)),
        ],
    ),
    ("metrics.v1.SummaryDataPoint.ValueAtQuantile", &[("quantile", Double(0.99)), ("value", Double(2.5))]),
    (
        "metrics.v1.Exemplar",
        &[
            ("filtered_attributes", Gone),
            ("time_unix_nano", LATER),
            ("as_double", Double(0.75)),
            ("as_int", Int(1)),
            ("span_id", SPAN_ID),
            ("trace_id", TRACE_ID),
        ],
    ),
];

/// The metric of the contract that stands for a kind of data.
pub fn metric_of(data: &str) -> &'static contract::OtlpMetric {
    let name = match data {
        "gauge" => "codex_pooler.requests_in_flight",
        "sum" => "codex_pooler.requests",
        _ => "gen_ai.client.inference.duration",
    };
    contract::otlp_metric(name).expect("a metric of the contract")
}

/// What becomes of a field.
pub fn fate(message: &str, field: &str) -> Fate {
    let (_, fields) = RULES.iter().find(|(name, _)| *name == message).unwrap_or_else(|| panic!("{message} has no rules"));
    fields.iter().find(|(name, _)| *name == field).unwrap_or_else(|| panic!("{message}.{field} has no rule")).1
}

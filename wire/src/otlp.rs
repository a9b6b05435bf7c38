//! Field numbers and types of OTLP's messages of traces, logs and metrics, from the definitions in opentelemetry-proto 1.10.

use crate::schema::{Kind, Message};

/// Declares a module for each message type: a constant for each field's number, and the table of them all.
macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident { $($field:ident = $number:literal: $kind:expr,)+ })+) => {$(
        $(#[$doc])*
        pub mod $name {
            #[allow(unused_imports, reason = "not every message has messages in it")]
            use super::*;

            $(
                #[doc = concat!("Number of the field `", stringify!($field), "`.")]
                pub const $field: u32 = $number;
            )+

            /// The fields.
            pub static MESSAGE: Message = Message { fields: &[$(($field, $kind)),+] };
        }
    )+};
}

messages! {
    /// `opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest`
    export_trace_service_request {
        RESOURCE_SPANS = 1: Kind::Message(&resource_spans::MESSAGE),
    }
    /// `opentelemetry.proto.trace.v1.ResourceSpans`
    resource_spans {
        RESOURCE = 1: Kind::Message(&resource::MESSAGE),
        SCOPE_SPANS = 2: Kind::Message(&scope_spans::MESSAGE),
        SCHEMA_URL = 3: Kind::Text,
    }
    /// `opentelemetry.proto.resource.v1.Resource`
    resource {
        ATTRIBUTES = 1: Kind::Message(&key_value::MESSAGE),
        DROPPED_ATTRIBUTES_COUNT = 2: Kind::Varint,
        ENTITY_REFS = 3: Kind::Message(&entity_ref::MESSAGE),
    }
    /// `opentelemetry.proto.common.v1.EntityRef`
    entity_ref {
        SCHEMA_URL = 1: Kind::Text,
        TYPE = 2: Kind::Text,
        ID_KEYS = 3: Kind::Text,
        DESCRIPTION_KEYS = 4: Kind::Text,
    }
    /// `opentelemetry.proto.trace.v1.ScopeSpans`
    scope_spans {
        SCOPE = 1: Kind::Message(&instrumentation_scope::MESSAGE),
        SPANS = 2: Kind::Message(&span::MESSAGE),
        SCHEMA_URL = 3: Kind::Text,
    }
    /// `opentelemetry.proto.common.v1.InstrumentationScope`
    instrumentation_scope {
        NAME = 1: Kind::Text,
        VERSION = 2: Kind::Text,
        ATTRIBUTES = 3: Kind::Message(&key_value::MESSAGE),
        DROPPED_ATTRIBUTES_COUNT = 4: Kind::Varint,
    }
    /// `opentelemetry.proto.trace.v1.Span`
    span {
        TRACE_ID = 1: Kind::Bytes,
        SPAN_ID = 2: Kind::Bytes,
        TRACE_STATE = 3: Kind::Text,
        PARENT_SPAN_ID = 4: Kind::Bytes,
        NAME = 5: Kind::Text,
        KIND = 6: Kind::Varint,
        START_TIME_UNIX_NANO = 7: Kind::Fixed64,
        END_TIME_UNIX_NANO = 8: Kind::Fixed64,
        ATTRIBUTES = 9: Kind::Message(&key_value::MESSAGE),
        DROPPED_ATTRIBUTES_COUNT = 10: Kind::Varint,
        EVENTS = 11: Kind::Message(&event::MESSAGE),
        DROPPED_EVENTS_COUNT = 12: Kind::Varint,
        LINKS = 13: Kind::Message(&link::MESSAGE),
        DROPPED_LINKS_COUNT = 14: Kind::Varint,
        STATUS = 15: Kind::Message(&status::MESSAGE),
        FLAGS = 16: Kind::Fixed32,
    }
    /// `opentelemetry.proto.trace.v1.Span.Event`
    event {
        TIME_UNIX_NANO = 1: Kind::Fixed64,
        NAME = 2: Kind::Text,
        ATTRIBUTES = 3: Kind::Message(&key_value::MESSAGE),
        DROPPED_ATTRIBUTES_COUNT = 4: Kind::Varint,
    }
    /// `opentelemetry.proto.trace.v1.Span.Link`
    link {
        TRACE_ID = 1: Kind::Bytes,
        SPAN_ID = 2: Kind::Bytes,
        TRACE_STATE = 3: Kind::Text,
        ATTRIBUTES = 4: Kind::Message(&key_value::MESSAGE),
        DROPPED_ATTRIBUTES_COUNT = 5: Kind::Varint,
        FLAGS = 6: Kind::Fixed32,
    }
    /// `opentelemetry.proto.trace.v1.Status`; its field 1 is reserved.
    status {
        MESSAGE_TEXT = 2: Kind::Text,
        CODE = 3: Kind::Varint,
    }
    /// `opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest`
    export_logs_service_request {
        RESOURCE_LOGS = 1: Kind::Message(&resource_logs::MESSAGE),
    }
    /// `opentelemetry.proto.logs.v1.ResourceLogs`
    resource_logs {
        RESOURCE = 1: Kind::Message(&resource::MESSAGE),
        SCOPE_LOGS = 2: Kind::Message(&scope_logs::MESSAGE),
        SCHEMA_URL = 3: Kind::Text,
    }
    /// `opentelemetry.proto.logs.v1.ScopeLogs`
    scope_logs {
        SCOPE = 1: Kind::Message(&instrumentation_scope::MESSAGE),
        LOG_RECORDS = 2: Kind::Message(&log_record::MESSAGE),
        SCHEMA_URL = 3: Kind::Text,
    }
    /// `opentelemetry.proto.logs.v1.LogRecord`; its field 4 is reserved.
    log_record {
        TIME_UNIX_NANO = 1: Kind::Fixed64,
        SEVERITY_NUMBER = 2: Kind::Varint,
        SEVERITY_TEXT = 3: Kind::Text,
        BODY = 5: Kind::Message(&any_value::MESSAGE),
        ATTRIBUTES = 6: Kind::Message(&key_value::MESSAGE),
        DROPPED_ATTRIBUTES_COUNT = 7: Kind::Varint,
        FLAGS = 8: Kind::Fixed32,
        TRACE_ID = 9: Kind::Bytes,
        SPAN_ID = 10: Kind::Bytes,
        OBSERVED_TIME_UNIX_NANO = 11: Kind::Fixed64,
        EVENT_NAME = 12: Kind::Text,
    }
    /// `opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest`
    export_metrics_service_request {
        RESOURCE_METRICS = 1: Kind::Message(&resource_metrics::MESSAGE),
    }
    /// `opentelemetry.proto.metrics.v1.ResourceMetrics`
    resource_metrics {
        RESOURCE = 1: Kind::Message(&resource::MESSAGE),
        SCOPE_METRICS = 2: Kind::Message(&scope_metrics::MESSAGE),
        SCHEMA_URL = 3: Kind::Text,
    }
    /// `opentelemetry.proto.metrics.v1.ScopeMetrics`
    scope_metrics {
        SCOPE = 1: Kind::Message(&instrumentation_scope::MESSAGE),
        METRICS = 2: Kind::Message(&metric::MESSAGE),
        SCHEMA_URL = 3: Kind::Text,
    }
    /// `opentelemetry.proto.metrics.v1.Metric`; one of the five kinds of data at most. Its fields 4, 6 and 8 are reserved.
    metric {
        NAME = 1: Kind::Text,
        DESCRIPTION = 2: Kind::Text,
        UNIT = 3: Kind::Text,
        GAUGE = 5: Kind::Message(&gauge::MESSAGE),
        SUM = 7: Kind::Message(&sum::MESSAGE),
        HISTOGRAM = 9: Kind::Message(&histogram::MESSAGE),
        EXPONENTIAL_HISTOGRAM = 10: Kind::Message(&exponential_histogram::MESSAGE),
        SUMMARY = 11: Kind::Message(&summary::MESSAGE),
        METADATA = 12: Kind::Message(&key_value::MESSAGE),
    }
    /// `opentelemetry.proto.metrics.v1.Gauge`
    gauge {
        DATA_POINTS = 1: Kind::Message(&number_data_point::MESSAGE),
    }
    /// `opentelemetry.proto.metrics.v1.Sum`
    sum {
        DATA_POINTS = 1: Kind::Message(&number_data_point::MESSAGE),
        AGGREGATION_TEMPORALITY = 2: Kind::Varint,
        IS_MONOTONIC = 3: Kind::Varint,
    }
    /// `opentelemetry.proto.metrics.v1.Histogram`
    histogram {
        DATA_POINTS = 1: Kind::Message(&histogram_data_point::MESSAGE),
        AGGREGATION_TEMPORALITY = 2: Kind::Varint,
    }
    /// `opentelemetry.proto.metrics.v1.ExponentialHistogram`
    exponential_histogram {
        DATA_POINTS = 1: Kind::Message(&exponential_histogram_data_point::MESSAGE),
        AGGREGATION_TEMPORALITY = 2: Kind::Varint,
    }
    /// `opentelemetry.proto.metrics.v1.Summary`
    summary {
        DATA_POINTS = 1: Kind::Message(&summary_data_point::MESSAGE),
    }
    /// `opentelemetry.proto.metrics.v1.NumberDataPoint`; one of its two values at most. Its field 1 is reserved.
    number_data_point {
        START_TIME_UNIX_NANO = 2: Kind::Fixed64,
        TIME_UNIX_NANO = 3: Kind::Fixed64,
        AS_DOUBLE = 4: Kind::Fixed64,
        EXEMPLARS = 5: Kind::Message(&exemplar::MESSAGE),
        AS_INT = 6: Kind::Fixed64,
        ATTRIBUTES = 7: Kind::Message(&key_value::MESSAGE),
        FLAGS = 8: Kind::Varint,
    }
    /// `opentelemetry.proto.metrics.v1.HistogramDataPoint`; its field 1 is reserved.
    histogram_data_point {
        START_TIME_UNIX_NANO = 2: Kind::Fixed64,
        TIME_UNIX_NANO = 3: Kind::Fixed64,
        COUNT = 4: Kind::Fixed64,
        SUM = 5: Kind::Fixed64,
        BUCKET_COUNTS = 6: Kind::Fixed64List,
        EXPLICIT_BOUNDS = 7: Kind::Fixed64List,
        EXEMPLARS = 8: Kind::Message(&exemplar::MESSAGE),
        ATTRIBUTES = 9: Kind::Message(&key_value::MESSAGE),
        FLAGS = 10: Kind::Varint,
        MIN = 11: Kind::Fixed64,
        MAX = 12: Kind::Fixed64,
    }
    /// `opentelemetry.proto.metrics.v1.ExponentialHistogramDataPoint`
    exponential_histogram_data_point {
        ATTRIBUTES = 1: Kind::Message(&key_value::MESSAGE),
        START_TIME_UNIX_NANO = 2: Kind::Fixed64,
        TIME_UNIX_NANO = 3: Kind::Fixed64,
        COUNT = 4: Kind::Fixed64,
        SUM = 5: Kind::Fixed64,
        SCALE = 6: Kind::Varint,
        ZERO_COUNT = 7: Kind::Fixed64,
        POSITIVE = 8: Kind::Message(&buckets::MESSAGE),
        NEGATIVE = 9: Kind::Message(&buckets::MESSAGE),
        FLAGS = 10: Kind::Varint,
        EXEMPLARS = 11: Kind::Message(&exemplar::MESSAGE),
        MIN = 12: Kind::Fixed64,
        MAX = 13: Kind::Fixed64,
        ZERO_THRESHOLD = 14: Kind::Fixed64,
    }
    /// `opentelemetry.proto.metrics.v1.ExponentialHistogramDataPoint.Buckets`
    buckets {
        OFFSET = 1: Kind::Varint,
        BUCKET_COUNTS = 2: Kind::VarintList,
    }
    /// `opentelemetry.proto.metrics.v1.SummaryDataPoint`; its field 1 is reserved.
    summary_data_point {
        START_TIME_UNIX_NANO = 2: Kind::Fixed64,
        TIME_UNIX_NANO = 3: Kind::Fixed64,
        COUNT = 4: Kind::Fixed64,
        SUM = 5: Kind::Fixed64,
        QUANTILE_VALUES = 6: Kind::Message(&value_at_quantile::MESSAGE),
        ATTRIBUTES = 7: Kind::Message(&key_value::MESSAGE),
        FLAGS = 8: Kind::Varint,
    }
    /// `opentelemetry.proto.metrics.v1.SummaryDataPoint.ValueAtQuantile`
    value_at_quantile {
        QUANTILE = 1: Kind::Fixed64,
        VALUE = 2: Kind::Fixed64,
    }
    /// `opentelemetry.proto.metrics.v1.Exemplar`; one of its two values at most. Its field 1 is reserved.
    exemplar {
        TIME_UNIX_NANO = 2: Kind::Fixed64,
        AS_DOUBLE = 3: Kind::Fixed64,
        SPAN_ID = 4: Kind::Bytes,
        TRACE_ID = 5: Kind::Bytes,
        AS_INT = 6: Kind::Fixed64,
        FILTERED_ATTRIBUTES = 7: Kind::Message(&key_value::MESSAGE),
    }
    /// `opentelemetry.proto.common.v1.KeyValue`
    key_value {
        KEY = 1: Kind::Text,
        VALUE = 2: Kind::Message(&any_value::MESSAGE),
        KEY_STRINDEX = 3: Kind::Varint,
    }
    /// `opentelemetry.proto.common.v1.AnyValue`; one of its fields at most.
    any_value {
        STRING_VALUE = 1: Kind::Text,
        BOOL_VALUE = 2: Kind::Varint,
        INT_VALUE = 3: Kind::Varint,
        DOUBLE_VALUE = 4: Kind::Fixed64,
        ARRAY_VALUE = 5: Kind::Message(&array_value::MESSAGE),
        KVLIST_VALUE = 6: Kind::Message(&key_value_list::MESSAGE),
        BYTES_VALUE = 7: Kind::Bytes,
        STRING_VALUE_STRINDEX = 8: Kind::Varint,
    }
    /// `opentelemetry.proto.common.v1.ArrayValue`
    array_value {
        VALUES = 1: Kind::Message(&any_value::MESSAGE),
    }
    /// `opentelemetry.proto.common.v1.KeyValueList`
    key_value_list {
        VALUES = 1: Kind::Message(&key_value::MESSAGE),
    }
}

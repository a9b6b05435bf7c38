//! Field numbers and types of OTLP's messages of traces and logs, from the definitions in opentelemetry-proto 1.10.

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

//! Logs: every message type of the signal, taken apart completely. A log record without an event of the contract is dropped.

use contract::{DropReason, Place, StripReason};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, LogRecordFlags, ResourceLogs, ScopeLogs, SeverityNumber};

use super::Work;
use super::common::{self, enumeration, zeroed};
use crate::policy::Site;
use crate::times::Times;
use crate::{Policy, Report};

/// Severities that OTLP defines: 0 (unspecified) to 24 (the last step of fatal).
pub(crate) const SEVERITIES: std::ops::RangeInclusive<i32> = 0..=24;

/// Flags of a log record that OTLP defines: the W3C trace flags.
pub(crate) const LOG_FLAGS: u32 = LogRecordFlags::TraceFlagsMask as u32;

pub(crate) fn logs(policy: &Policy, times: Times, request: ExportLogsServiceRequest) -> (ExportLogsServiceRequest, Report) {
    let mut work = Work::new(policy, times);
    let ExportLogsServiceRequest { resource_logs } = request;
    let resource_logs = resource_logs.into_iter().filter_map(|group| resource_group(group, &mut work)).collect();
    (ExportLogsServiceRequest { resource_logs }, work.report)
}

/// `None` when no log record is left: an empty group says nothing.
fn resource_group(group: ResourceLogs, work: &mut Work<'_>) -> Option<ResourceLogs> {
    let ResourceLogs { resource, scope_logs, schema_url } = group;
    let resource = resource.map(|r| common::resource(r, work));
    let scope_logs: Vec<_> = scope_logs.into_iter().filter_map(|group| scope_group(group, work)).collect();
    let schema_url = common::schema_url(schema_url, work);
    (!scope_logs.is_empty()).then_some(ResourceLogs { resource, scope_logs, schema_url })
}

fn scope_group(group: ScopeLogs, work: &mut Work<'_>) -> Option<ScopeLogs> {
    let ScopeLogs { scope, log_records, schema_url } = group;
    let scope = scope.map(|s| common::scope(s, work));
    let schema_url = common::schema_url(schema_url, work);
    let log_records = common::records(log_records, work, log_record);
    (!log_records.is_empty()).then_some(ScopeLogs { scope, log_records, schema_url })
}

fn log_record(record: LogRecord, work: &mut Work<'_>) -> Result<LogRecord, DropReason> {
    let LogRecord {
        time_unix_nano,
        observed_time_unix_nano,
        severity_number,
        severity_text,
        body,
        attributes,
        dropped_attributes_count,
        flags,
        trace_id,
        span_id,
        event_name,
    } = record;
    let event = contract::event(&event_name).ok_or(DropReason::UnknownName)?;
    // Either may be unknown, but not both.
    let known = time_unix_nano != 0 || observed_time_unix_nano != 0;
    if !known || !work.times.contain_or_unknown(time_unix_nano) || !work.times.contain_or_unknown(observed_time_unix_nano) {
        return Err(DropReason::InvalidTime);
    }
    if body.is_some() {
        work.strip(Place::LogBody, StripReason::NotAllowed);
    }
    zeroed(dropped_attributes_count, work);
    let (trace_id, span_id) = common::trace_context(trace_id, span_id, work);
    Ok(LogRecord {
        time_unix_nano,
        observed_time_unix_nano,
        severity_number: enumeration(severity_number, SEVERITIES, work),
        severity_text: self::severity_text(severity_text, work),
        body: None,
        attributes: common::attributes(attributes, Site::fixed(Place::LogAttribute, event.attributes), work),
        dropped_attributes_count: 0,
        flags: common::flags(flags, LOG_FLAGS, work),
        trace_id,
        span_id,
        event_name,
    })
}

/// Whether a text is empty, or OTLP's own name of a severity, such as `INFO` or `WARN2`.
pub(crate) fn is_severity_text(text: &str) -> bool {
    text.is_empty() || SeverityNumber::from_str_name(&format!("SEVERITY_NUMBER_{text}")).is_some()
}

fn severity_text(text: String, work: &mut Work<'_>) -> String {
    if is_severity_text(&text) {
        return text;
    }
    work.strip(Place::SeverityText, StripReason::NotAMember);
    String::new()
}

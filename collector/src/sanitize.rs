//! `pooler-otel sanitize`: one OTLP message on standard input, the sanitized one on standard output, a report of counts on standard error.

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::SystemTime;

use contract::Signal;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use sanitizer::{Export, Policy, Report, Stripped};
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::{MessageFormat, ReportFormat, SanitizeArgs};
use crate::receive::MAX_MESSAGE_BYTES;
use crate::serve::policy::PolicyFile;

/// Exit status with `--fail-on-strip` of a message of which something went.
const STRIPPED: u8 = 1;
/// Exit status of a message that was refused.
const REFUSED: u8 = 2;

/// Filters one message. On `Ok`, the exit status.
///
/// # Errors
/// An invalid policy, standard input that cannot be read, or standard output that cannot be written.
pub fn run(args: &SanitizeArgs) -> anyhow::Result<u8> {
    let policy = match &args.policy {
        Some(path) => PolicyFile::load(path)?.policy(),
        None => Policy::contract(),
    };
    let mut message = Vec::new();
    std::io::stdin().lock().take(MAX_MESSAGE_BYTES as u64 + 1).read_to_end(&mut message)?;
    let sanitized = if message.len() > MAX_MESSAGE_BYTES {
        Err("the message is larger than 64 MiB; send smaller batches".to_owned())
    } else {
        match args.signal {
            Signal::Traces => sanitize::<ExportTraceServiceRequest>(args, &policy, &message),
            Signal::Logs => sanitize::<ExportLogsServiceRequest>(args, &policy, &message),
            Signal::Metrics => sanitize::<ExportMetricsServiceRequest>(args, &policy, &message),
        }
    };
    let (message, report) = match sanitized {
        Ok(sanitized) => sanitized,
        Err(text) => {
            say(&match args.report {
                ReportFormat::Text => format!("refused: {text}\n"),
                ReportFormat::Json => format!("{}\n", json!({"refused": text})),
            });
            return Ok(REFUSED);
        }
    };
    say(&match args.report {
        ReportFormat::Text => as_text(args.signal, &report),
        ReportFormat::Json => format!("{}\n", as_json(args.signal, &report)),
    });
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(&message).and_then(|()| stdout.flush()) {
        // Whoever reads it has seen enough; the verdict is the same.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    let went = report.stripped_total() + report.dropped_total() > 0;
    Ok(if went && args.fail_on_strip { STRIPPED } else { 0 })
}

/// The report is for whoever looks at it; that nobody does is no failure.
fn say(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

fn sanitize<R: Export + Serialize>(args: &SanitizeArgs, policy: &Policy, message: &[u8]) -> Result<(Vec<u8>, Report), String> {
    let sanitized = match args.format {
        MessageFormat::Protobuf => sanitizer::protobuf::<R>(policy, SystemTime::now(), message),
        MessageFormat::Json => sanitizer::json::<R>(policy, SystemTime::now(), message),
    };
    let sanitized = sanitized.map_err(|refused| refused.to_string())?;
    let output = match args.output_format.unwrap_or(args.format) {
        MessageFormat::Protobuf => sanitized.encoded().to_vec(),
        // What was just encoded is decoded, and a message always has a JSON form: neither can fail.
        MessageFormat::Json => R::decode(sanitized.encoded().clone())
            .map_err(|_| ())
            .and_then(|message| serde_json::to_vec(&message).map_err(|_| ()))
            .map(|json| [json, b"\n".to_vec()].concat())
            .map_err(|()| "the sanitized message has no JSON form; this is a defect of this program".to_owned())?,
    };
    Ok((output, sanitized.report().clone()))
}

fn as_text(signal: Signal, report: &Report) -> String {
    let Report { parsed_records, accepted_records, policy_version, .. } = report;
    let records = if *parsed_records == 1 { "record" } else { "records" };
    let mut text = format!("{signal}: {parsed_records} {records}, {accepted_records} accepted by policy {policy_version}\n");
    for (reason, records) in &report.dropped_records {
        text += &format!("dropped {records} reason={reason}\n");
    }
    for Stripped { place, reason, rule, fields } in report.stripped_by_rule() {
        let rule = rule.map_or_else(String::new, |rule| format!(" rule={rule}"));
        text += &format!("stripped {fields} place={place} reason={reason}{rule}\n");
    }
    text
}

fn as_json(signal: Signal, report: &Report) -> Value {
    let dropped = report.dropped_records.iter().map(|(reason, records)| json!({"reason": reason.as_str(), "records": records}));
    let stripped = report.stripped_by_rule().into_iter().map(|Stripped { place, reason, rule, fields }| {
        json!({"place": place.as_str(), "reason": reason.as_str(), "rule": rule, "fields": fields})
    });
    json!({
        "signal": signal.as_str(),
        "policy_version": &*report.policy_version,
        "parsed_records": report.parsed_records,
        "accepted_records": report.accepted_records,
        "dropped": dropped.collect::<Vec<_>>(),
        "stripped": stripped.collect::<Vec<_>>(),
    })
}

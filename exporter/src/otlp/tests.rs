//! The client against answers as OTLP allows them.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::*;

/// Guarantees: which gRPC codes may be tried again is OTLP's table, with the time that a receiver asks for; of the others, those that gRPC
/// has for credentials and for a service that is not there are told apart.
#[test]
fn grpc_codes() {
    let again = [Code::Cancelled, Code::DeadlineExceeded, Code::Aborted, Code::OutOfRange, Code::Unavailable, Code::DataLoss];
    for code in (0..=16).map(Code::from_i32) {
        let expected = match code {
            _ if again.contains(&code) => Answer::NotNow(None),
            Code::Unauthenticated | Code::PermissionDenied => Answer::Refused(Refusal::Credentials),
            Code::Unimplemented => Answer::Refused(Refusal::Path),
            _ => Answer::Refused(Refusal::Message),
        };
        assert_eq!(grpc_answer(&Status::new(code, "")), expected, "{code:?}");
    }
    let asked = Some(Duration::from_secs(7));
    for code in [Code::Unavailable, Code::ResourceExhausted] {
        let status = Status::with_error_details(code, "", ErrorDetails::with_retry_info(asked));
        assert_eq!(grpc_answer(&status), Answer::NotNow(asked));
    }
    let mut broken = Status::unknown("");
    broken.set_source(Arc::new(std::io::Error::other("")));
    assert_eq!(grpc_answer(&broken), Answer::NotNow(None), "a connection that broke");
}

/// Guarantees: which HTTP statuses may be tried again is OTLP's list; a redirect is refused, and every success is one.
#[tokio::test]
async fn http_statuses() {
    for status in 200..600_u16 {
        let Ok(response) = http::Response::builder().status(status).body("") else { continue };
        let expected = match status {
            200..=299 => Answer::Taken { rejected: 0 },
            429 | 502 | 503 | 504 => Answer::NotNow(None),
            401 | 403 => Answer::Refused(Refusal::Credentials),
            404 | 405 => Answer::Refused(Refusal::Path),
            _ => Answer::Refused(Refusal::Message),
        };
        assert_eq!(http_answer(response.into()).await, expected, "{status}");
    }
}

/// Guarantees: a receiver says in seconds or as a date when to come back; anything else is no answer.
#[test]
fn retry_after_in_both_forms() {
    // RFC 9110's own example, a minute later than now.
    let now = UNIX_EPOCH + Duration::from_secs(784_111_777 - 60);
    for (value, expected) in [
        ("120", Some(Duration::from_secs(120))),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(Duration::from_secs(60))),
        ("Sun, 06 Nov 1994 08:48:00 GMT", Some(Duration::ZERO)),
        ("soon", None),
        ("-1", None),
    ] {
        let headers = HeaderMap::from_iter([(header::RETRY_AFTER, value.parse().unwrap())]);
        assert_eq!(retry_after(&headers, now), expected, "{value}");
    }
}

/// Guarantees: what a receiver takes in part is counted in part.
#[tokio::test]
async fn partial_success() {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;
    for (rejected_spans, rejected) in [(3, 3), (0, 0), (-1, 0)] {
        let partial_success = Some(ExportTracePartialSuccess { rejected_spans, error_message: "no".into() });
        let response = ExportTraceServiceResponse { partial_success };
        assert_eq!(taken(&response), Answer::Taken { rejected });
        let http = http::Response::new(response.encode_to_vec());
        assert_eq!(http_answer(http.into()).await, Answer::Taken { rejected });
    }
}

//! What a refusal says to programs: the messages of `google.rpc` (googleapis, `google/rpc/status.proto` and
//! `error_details.proto`), as far as they are used here.

use std::time::Duration;

use backpressure_core::{Reason, Rejection};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use prost::Message;

/// Returns the value of `grpc-status-details-bin`: a `google.rpc.Status` in base64 without padding (gRPC over HTTP/2,
/// "Requests": implementations SHOULD emit un-padded values).
pub(super) fn encoded(status: u8, message: String, rejection: &Rejection) -> Vec<u8> {
    let details = [retry_info(rejection), quota_failure(rejection)].into_iter().flatten().collect();
    let status = Status { code: status.into(), message, details };
    STANDARD_NO_PAD.encode(status.encode_to_vec()).into_bytes()
}

/// The wait to the nanosecond, as long as waiting helps.
fn retry_info(rejection: &Rejection) -> Option<Any> {
    let wait = rejection.retry_after.filter(|_| rejection.reason != Reason::CostExceedsLimit)?;
    Some(Any::of("type.googleapis.com/google.rpc.RetryInfo", &RetryInfo { retry_delay: Some(wait.into()) }))
}

/// Which policy a client has violated. It has violated none where the server is short of something.
fn quota_failure(rejection: &Rejection) -> Option<Any> {
    if !matches!(rejection.reason, Reason::RateLimit | Reason::CostExceedsLimit) {
        return None;
    }
    let policy = rejection.quota.map(|quota| quota.policy);
    let description = policy.map_or_else(String::new, |policy| format!("{} in {:?}", policy.limit, policy.window));
    let violation = Violation { subject: format!("policy:{}", rejection.policy), description };
    Some(Any::of("type.googleapis.com/google.rpc.QuotaFailure", &QuotaFailure { violations: vec![violation] }))
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// `google.rpc.QuotaFailure`.
#[derive(Clone, PartialEq, Message)]
struct QuotaFailure {
    #[prost(message, repeated, tag = "1")]
    violations: Vec<Violation>,
}

/// `google.rpc.QuotaFailure.Violation`.
#[derive(Clone, PartialEq, Message)]
struct Violation {
    #[prost(string, tag = "1")]
    subject: String,
    #[prost(string, tag = "2")]
    description: String,
}

impl Any {
    fn of(type_url: &str, message: &impl Message) -> Self {
        Self { type_url: type_url.to_owned(), value: message.encode_to_vec() }
    }
}

impl From<Duration> for Delay {
    fn from(wait: Duration) -> Self {
        let seconds = i64::try_from(wait.as_secs()).unwrap_or(i64::MAX).min(LONGEST);
        // Fewer than 10⁹.
        Self { seconds, nanos: i32::try_from(wait.subsec_nanos()).unwrap_or_default() }
    }
}

/// The seconds of the longest `google.protobuf.Duration`: about 10 000 years.
const LONGEST: i64 = 315_576_000_000;

#[cfg(test)]
mod tests {
    use backpressure_core::{Name, Reason};
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;
    use crate::golden::{REASONS, exceeded};

    /// Reads the details with somebody else's decoder.
    fn read(rejection: &Rejection) -> ErrorDetails {
        let details = STANDARD_NO_PAD.decode(encoded(8, "message".to_owned(), rejection)).unwrap();
        let status = tonic_types::pb::Status::decode(&*details).unwrap();
        assert_eq!((status.code, status.message.as_str()), (8, "message"));
        tonic::Status::with_details(tonic::Code::ResourceExhausted, "message", details.into()).get_error_details()
    }

    /// `google/rpc/error_details.proto`.
    #[test]
    fn a_used_up_rate_has_a_retry_info_and_a_quota_failure() {
        let details = read(&exceeded());
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_millis(4_200)));
        let violations = &details.quota_failure().unwrap().violations;
        assert_eq!(violations.len(), 1);
        assert_eq!((violations[0].subject.as_str(), violations[0].description.as_str()), ("policy:default", "100 in 60s"));
    }

    /// protobuf.dev, "Encoding", by hand: code 8, message "ok", then twice 0x1a and the length of an `Any`. The first of these
    /// holds 4 s (0x08 0x04) and 200 000 000 ns (0x10 0x80 0x84 0xaf 0x5f).
    #[test]
    fn the_details_are_base64_without_padding() {
        let golden = "CAgSAm9rGjUKKHR5cGUuZ29vZ2xlYXBpcy5jb20vZ29vZ2xlLnJwYy5SZXRyeUluZm8SCQoHCAQQgISvXxpN\
                      Cit0eXBlLmdvb2dsZWFwaXMuY29tL2dvb2dsZS5ycGMuUXVvdGFGYWlsdXJlEh4KHAoOcG9saWN5OmRlZmF1bHQSCjEwMCBpbiA2MHM";
        assert_eq!(String::from_utf8(encoded(8, "ok".to_owned(), &exceeded())).unwrap(), golden);
    }

    #[test]
    fn the_wait_is_exact_to_the_nanosecond_and_capped_where_the_message_is() {
        let delay = |wait| read(&exceeded().retry_after(wait)).retry_info().unwrap().retry_delay.unwrap();
        for wait in [Duration::from_nanos(1), Duration::new(86_400, 999_999_999)] {
            assert_eq!(delay(wait), wait);
        }
        assert_eq!(Delay::from(Duration::MAX), Delay { seconds: 315_576_000_000, nanos: 999_999_999 });
    }

    #[test]
    fn only_what_is_known_is_told() {
        for reason in REASONS {
            let details = read(&Rejection::new(reason, Name::DEFAULT));
            assert!(details.retry_info().is_none(), "{reason}");
            let is_quota = matches!(reason, Reason::RateLimit | Reason::CostExceedsLimit);
            assert_eq!(details.quota_failure().is_some(), is_quota, "{reason}");
        }
        let mut costly = exceeded();
        costly.reason = Reason::CostExceedsLimit;
        assert!(read(&costly).retry_info().is_none());
    }
}

//! Until when the caller of an HTTP request wants its answer.

use std::time::{Duration, Instant};

use backpressure_core::Deadline;
use http::{HeaderName, Method};

use crate::Head;

/// Returns the deadline of a request: the [`Deadline`] in its extensions, or the `grpc-timeout` of a call; of both the sooner.
///
/// A `grpc-timeout` that is not what gRPC over HTTP/2 says (1 to 8 digits, and one of the units `H`, `M`, `S`,
/// `m`, `u` and `n`), or is there twice, counts as none: the call is served as if it had no deadline. One of 0 has passed.
///
/// # Examples
///
/// ```
/// use backpressure_core::Deadline;
/// use backpressure_http::{Head, deadline};
/// use http::Request;
/// use std::time::Duration;
///
/// let call = Request::post("/demo.Feed/Unary").header("grpc-timeout", "250m").body(())?;
/// assert_eq!(deadline(Head::from(&call)), Some(Deadline::After(Duration::from_millis(250))));
/// let request = Request::get("/").extension(Deadline::After(Duration::from_secs(1))).body(())?;
/// assert_eq!(deadline(Head::from(&request)), Some(Deadline::After(Duration::from_secs(1))));
/// # Ok::<_, http::Error>(())
/// ```
#[inline]
#[must_use]
pub fn deadline(head: Head<'_>) -> Option<Deadline> {
    let said = head.extensions.get::<Deadline>().copied();
    // Only a POST can be a call (gRPC over HTTP/2, "Requests"): the others do without the search.
    if *head.method != Method::POST { said } else { sooner(said, timeout(head)) }
}

fn sooner(one: Option<Deadline>, other: Option<Deadline>) -> Option<Deadline> {
    match (one, other) {
        (Some(one @ Deadline::At(_)), Some(other)) | (Some(other), Some(one @ Deadline::At(_))) => Some(one.sooner(other, now())),
        (Some(Deadline::After(one)), Some(Deadline::After(other))) => Some(Deadline::After(one.min(other))),
        (one, other) => one.or(other),
    }
}

#[inline(never)]
fn timeout(head: Head<'_>) -> Option<Deadline> {
    let mut values = head.headers.get_all(&GRPC_TIMEOUT).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => parse(value.as_bytes()).map(Deadline::After),
        _ => None,
    }
}

/// Reads a `grpc-timeout`. The longest is 99 999 999 hours: no sum of it overflows.
fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits.iter().fold(0, |count: u64, digit| count * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(count * 3_600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

#[expect(clippy::disallowed_methods, reason = "a relative deadline and an absolute one are compared at the time of arrival")]
fn now() -> Instant {
    Instant::now()
}

static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn timeout_of(values: &[&str]) -> Option<Deadline> {
        let call = values.iter().fold(Request::post("/"), |call, value| call.header("grpc-timeout", *value));
        deadline(Head::from(&call.body(()).unwrap()))
    }

    #[test]
    fn every_unit_of_the_protocol_is_read() {
        for (value, nanos) in [
            ("2H", 7_200_000_000_000),
            ("3M", 180_000_000_000),
            ("4S", 4_000_000_000),
            ("5m", 5_000_000),
            ("6u", 6_000),
            ("7n", 7),
            ("00000008n", 8),
            ("0S", 0),
        ] {
            assert_eq!(timeout_of(&[value]), Some(Deadline::After(Duration::from_nanos(nanos))), "{value}");
        }
        let longest = Duration::from_secs(99_999_999 * 3_600);
        assert_eq!(timeout_of(&["99999999H"]), Some(Deadline::After(longest)));
    }

    #[test]
    fn what_is_no_timeout_counts_as_none() {
        for value in ["", "1", "S", "-1S", "+1S", "1.5S", "1 S", " 1S", "1s", "1h", "123456789n", "1SS", "0x1S", "٣S"] {
            assert_eq!(timeout_of(&[value]), None, "{value:?}");
        }
        assert_eq!(timeout_of(&["1S", "1S"]), None);
        assert_eq!(timeout_of(&[]), None);
    }

    #[test]
    fn only_a_call_has_a_timeout() {
        let request = Request::get("/").header("grpc-timeout", "1S").body(()).unwrap();
        assert_eq!(deadline(Head::from(&request)), None);
    }

    #[test]
    fn of_two_deadlines_the_sooner_counts() {
        let (short, long) = (Duration::from_secs(1), Duration::from_secs(9));
        let with = |deadline: Deadline, timeout: &str| {
            let call = Request::post("/").header("grpc-timeout", timeout).extension(deadline).body(()).unwrap();
            super::deadline(Head::from(&call))
        };
        assert_eq!(with(Deadline::After(short), "9S"), Some(Deadline::After(short)));
        assert_eq!(with(Deadline::After(long), "1S"), Some(Deadline::After(short)));
        let (soon, late) = (now(), now() + Duration::from_secs(60));
        assert_eq!(with(Deadline::At(soon), "9S"), Some(Deadline::At(soon)));
        assert_eq!(with(Deadline::At(late), "9S"), Some(Deadline::After(long)));
    }
}

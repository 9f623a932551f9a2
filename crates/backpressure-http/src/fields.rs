//! The header fields that tell a client where it stands.

use backpressure_core::{Quota, Reason, Rejection, Standing, whole_secs};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// In which form clients are told their quota.
///
/// The fields are not a standard yet, and their form has changed from draft to draft; this chooses the one that your clients
/// read. Integers
/// are cut at 15 digits, the most that a Structured Field carries (RFC 9651 section 3.3.1); in the names of policies `"` and `\`
/// are escaped and everything
/// but printable ASCII is replaced by `?` (section 3.3.3).
///
/// On a refusal the time in these fields equals `Retry-After`; on an admitted response it is the time until the whole limit is
/// available again. Both
/// are whole seconds, rounded up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RateLimitFields {
    /// `RateLimit-Policy: "name";q=100;w=60` and `RateLimit: "name";r=0;t=5`: draft-ietf-httpapi-ratelimit-headers-11
    /// sections 3 and 4 (May 2026). A window shorter than a second is told as one second: the draft has no smaller one (section
    /// 3.1.3).
    #[default]
    Draft11,
    /// `RateLimit-Policy: 100;w=60` and `RateLimit: limit=100, remaining=0, reset=5`: draft-ietf-httpapi-ratelimit-headers-07
    /// sections 3.1 and 3.5 (2023), which many gateways still send. The name of the policy is not told.
    Draft7,
    /// `X-RateLimit-Limit: 100`, `X-RateLimit-Remaining: 0` and `X-RateLimit-Reset: 5`: no specification; the reset is in
    /// seconds from now, as
    /// most clients take it.
    Legacy,
    /// None.
    Off,
}

impl RateLimitFields {
    /// The fields that this form consists of.
    fn names(self) -> &'static [HeaderName] {
        match self {
            Self::Draft11 | Self::Draft7 => &DRAFT,
            Self::Legacy => &LEGACY,
            Self::Off => &[],
        }
    }

    /// The names of all fields of an answer over HTTP.
    pub(crate) fn of_answers(self) -> impl Iterator<Item = HeaderName> {
        [&RETRY_AFTER, &RETRY_AFTER_MS].into_iter().chain(self.names()).cloned()
    }

    /// Returns the fields of a refusal, in a map with room for `more`.
    pub(crate) fn of_refusal(self, rejection: &Rejection, more: usize) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(Lines::MOST + more);
        let mut lines = Lines::new(&rejection.policy);
        // A request that is never admitted is not told to come back.
        let comes_back = !matches!(rejection.reason, Reason::CostExceedsLimit);
        let wait = rejection.retry_after_secs().filter(|_| comes_back);
        if let (Some(secs), Some(millis)) = (wait, rejection.retry_after_millis()) {
            lines.integer(secs);
            lines.end(&RETRY_AFTER);
            lines.integer(millis);
            lines.end(&RETRY_AFTER_MS);
        }
        if let Some(quota) = &rejection.quota {
            // Section 6 of the draft: Retry-After SHOULD NOT be earlier than `t`.
            lines.quota(self, &rejection.policy, quota, wait.unwrap_or_else(|| whole_secs(quota.reset_after)));
        }
        lines.insert_into(&mut headers);
        headers
    }

    /// Adds the fields of an admitted response, unless it has some already.
    pub(crate) fn tell(self, standing: &Standing, headers: &mut HeaderMap) {
        // All or nothing: a policy of ours beside a limit of theirs would be wrong.
        if self.names().iter().any(|name| headers.contains_key(name)) {
            return;
        }
        let mut lines = Lines::new(&standing.policy);
        lines.quota(self, &standing.policy, &standing.quota, whole_secs(standing.quota.reset_after));
        lines.insert_into(headers);
    }
}

/// Field values written one after the other into one buffer, which they share on the wire: two allocations for all of them.
struct Lines {
    text: Vec<u8>,
    /// The name of each value, and where it ends.
    ends: [(&'static HeaderName, usize); Self::MOST],
    count: usize,
}

impl Lines {
    /// The most fields that one answer has: when again in two units, and the three of [`RateLimitFields::Legacy`].
    const MOST: usize = 5;

    /// What two names leave unused is enough for numbers of the usual length.
    fn new(policy: &str) -> Self {
        Self { text: Vec::with_capacity(64 + 2 * policy.len()), ends: [(&RETRY_AFTER, 0); Self::MOST], count: 0 }
    }

    fn quota(&mut self, form: RateLimitFields, policy: &str, quota: &Quota, reset: u64) {
        let limit = quota.policy.limit;
        // What is in progress is counted in no window (draft 11 section 3.1.2: `qu`).
        let window = (!quota.policy.window.is_zero()).then(|| whole_secs(quota.policy.window));
        match form {
            RateLimitFields::Draft11 => {
                self.string(policy);
                self.pair(";q=", limit);
                match window {
                    Some(window) => self.pair(";w=", window),
                    None => self.text.extend_from_slice(b";qu=\"concurrent-requests\""),
                }
                self.end(&DRAFT[0]);
                self.string(policy);
                self.pair(";r=", quota.remaining);
                self.pair(";t=", reset);
                self.end(&DRAFT[1]);
            }
            RateLimitFields::Draft7 => {
                self.pair("", limit);
                if let Some(window) = window {
                    self.pair(";w=", window);
                }
                self.end(&DRAFT[0]);
                self.pair("limit=", limit);
                self.pair(", remaining=", quota.remaining);
                self.pair(", reset=", reset);
                self.end(&DRAFT[1]);
            }
            RateLimitFields::Legacy => {
                for (value, name) in [limit, quota.remaining, reset].into_iter().zip(&LEGACY) {
                    self.integer(value);
                    self.end(name);
                }
            }
            RateLimitFields::Off => {}
        }
    }

    fn pair(&mut self, name: &str, value: u64) {
        self.text.extend_from_slice(name.as_bytes());
        self.integer(value);
    }

    fn integer(&mut self, value: u64) {
        push_integer(&mut self.text, value);
    }

    /// A Structured Field String (RFC 9651 section 3.3.3).
    fn string(&mut self, text: &str) {
        self.text.push(b'"');
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
            self.text.extend_from_slice(text.as_bytes());
        } else {
            self.escaped(text);
        }
        self.text.push(b'"');
    }

    #[cold]
    fn escaped(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                b'"' | b'\\' => self.text.extend_from_slice(&[b'\\', byte]),
                b' '..=b'~' => self.text.push(byte),
                // The rest of a character whose first byte became a question mark.
                0x80..=0xbf => {}
                _ => self.text.push(b'?'),
            }
        }
    }

    fn end(&mut self, name: &'static HeaderName) {
        self.ends[self.count] = (name, self.text.len());
        self.count += 1;
    }

    fn insert_into(self, headers: &mut HeaderMap) {
        if self.count == 0 {
            return;
        }
        let text = Bytes::from(self.text);
        let mut start = 0;
        for &(name, end) in &self.ends[..self.count] {
            // Always: nothing but printable ASCII was written.
            if let Ok(value) = HeaderValue::from_maybe_shared(text.slice(start..end)) {
                headers.insert(name, value);
            }
            start = end;
        }
    }
}

/// Writes an integer of at most 15 digits; a larger one as the largest of those.
pub(crate) fn push_integer(text: &mut Vec<u8>, value: u64) {
    if let Ok(digit @ 0..10) = u8::try_from(value) {
        text.push(b'0' + digit);
        return;
    }
    let mut digits = [0; MOST_DIGITS];
    let mut first = MOST_DIGITS;
    let mut left = value.min(LARGEST);
    loop {
        first -= 1;
        digits[first] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[first..]);
}

/// RFC 9651 section 3.3.1. In seconds that is 31 million years.
const MOST_DIGITS: usize = 15;
const LARGEST: u64 = 999_999_999_999_999;

static RETRY_AFTER: HeaderName = header::RETRY_AFTER;
static RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
static DRAFT: [HeaderName; 2] = [HeaderName::from_static("ratelimit-policy"), HeaderName::from_static("ratelimit")];
static LEGACY: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use backpressure_core::{Name, Policy};
    use proptest::prelude::*;

    use super::*;

    fn rejection(name: impl Into<Name>, quota: Quota, wait: Duration) -> Rejection {
        Rejection::new(Reason::RateLimit, name.into()).quota(quota).retry_after(wait)
    }

    fn quota(limit: u64, window: Duration, remaining: u64, reset_after: Duration) -> Quota {
        Quota { policy: Policy { limit, window }, remaining, reset_after }
    }

    /// Reads one Structured Field String and returns it with what follows: RFC 9651 section 4.2.5, step by step.
    fn parse_string(field: &str) -> Option<(String, &str)> {
        let mut chars = field.strip_prefix('"')?.chars();
        let mut string = String::new();
        loop {
            match chars.next()? {
                '\\' => string.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
                '"' => return Some((string, chars.as_str())),
                c @ ' '..='~' => string.push(c),
                _ => return None,
            }
        }
    }

    #[test]
    fn integers_are_written_as_they_print_up_to_15_digits() {
        for value in [0, 1, 9, 10, 99, 100, 101, 1_234_567_890, LARGEST - 1, LARGEST] {
            let mut text = Vec::new();
            push_integer(&mut text, value);
            assert_eq!(String::from_utf8(text).unwrap(), value.to_string());
        }
        for value in [LARGEST + 1, u64::MAX] {
            let mut text = Vec::new();
            push_integer(&mut text, value);
            assert_eq!(text, b"999999999999999");
        }
    }

    /// Draft 11 section 3.1.3: the window MUST be non-zero, sub-second precision is not supported.
    #[test]
    fn windows_shorter_than_a_second_are_told_as_one() {
        let quota = quota(10, Duration::from_millis(100), 0, Duration::from_millis(1));
        let headers = RateLimitFields::Draft11.of_refusal(&rejection("default", quota, Duration::from_nanos(1)), 0);
        assert_eq!(headers["ratelimit-policy"], "\"default\";q=10;w=1");
        assert_eq!(headers["ratelimit"], "\"default\";r=0;t=1");
        assert_eq!(headers["retry-after"], "1");
    }

    /// Draft 11 section 3.1.2: the unit of a quota that is counted in no window.
    #[test]
    fn what_is_in_progress_has_a_unit_and_no_window() {
        let rejection = rejection("each", quota(10, Duration::ZERO, 0, Duration::ZERO), Duration::from_secs(2));
        let headers = RateLimitFields::Draft11.of_refusal(&rejection, 0);
        assert_eq!(headers["ratelimit-policy"], "\"each\";q=10;qu=\"concurrent-requests\"");
        assert_eq!(headers["ratelimit"], "\"each\";r=0;t=2");
        let headers = RateLimitFields::Draft7.of_refusal(&rejection, 0);
        assert_eq!(headers["ratelimit-policy"], "10");
    }

    /// RFC 9651 section 3.3.3: only `"` and `\` are escaped; characters outside printable ASCII cannot be written.
    #[test]
    fn names_are_escaped() {
        let quota = quota(1, Duration::from_secs(1), 0, Duration::ZERO);
        for (name, written) in [
            ("per client", r#""per client""#),
            (r#"say "hi""#, r#""say \"hi\"""#),
            (r"a\b", r#""a\\b""#),
            ("a\r\nb\t\u{7f}\0", r#""a??b???""#),
            ("größe 限 🦀", r#""gr??e ? ?""#),
            ("", r#""""#),
        ] {
            let headers = RateLimitFields::Draft11.of_refusal(&rejection(name, quota, Duration::ZERO), 0);
            assert_eq!(headers["ratelimit"].to_str().unwrap(), format!("{written};r=0;t=1"), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_policy_is_called_its_fields_are_structured(
            name: String, limit: u64, window in 1_u64.., remaining: u64, reset: u64, wait: u64,
        ) {
            let quota = quota(limit, Duration::from_nanos(window), remaining, Duration::from_nanos(reset));
            let rejection = rejection(name.clone(), quota, Duration::from_nanos(wait));
            let headers = RateLimitFields::Draft11.of_refusal(&rejection, 0);
            prop_assert_eq!(headers.len(), 4);
            let readable: String = name.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect();

            let (name, parameters) = parse_string(headers["ratelimit-policy"].to_str().unwrap()).unwrap();
            prop_assert_eq!(&name, &readable);
            let w = window.div_ceil(1_000_000_000);
            prop_assert_eq!(parameters, format!(";q={};w={w}", limit.min(LARGEST)));

            let (name, parameters) = parse_string(headers["ratelimit"].to_str().unwrap()).unwrap();
            prop_assert_eq!(name, readable);
            let t = wait.div_ceil(1_000_000_000).max(1);
            prop_assert_eq!(parameters, format!(";r={};t={t}", remaining.min(LARGEST)));
            prop_assert_eq!(headers["retry-after"].to_str().unwrap(), t.to_string());

            for form in [RateLimitFields::Draft7, RateLimitFields::Legacy] {
                let headers = form.of_refusal(&rejection, 0);
                prop_assert_eq!(headers.len(), 2 + form.names().len());
                prop_assert!(headers.values().all(|value| value.to_str().is_ok()));
            }
        }
    }
}

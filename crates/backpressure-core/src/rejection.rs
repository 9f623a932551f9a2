//! A refusal as a value: why, when again, under which quota.

use std::fmt;
use std::time::Duration;

use crate::{Name, Quota};

/// Why a request was refused, by which policy, and when to come back.
///
/// A value, an error, and an extension of the HTTP response that it became.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejection {
    /// Why.
    pub reason: Reason,
    /// The name of the policy that refused.
    pub policy: Name,
    /// The time after which the same request may succeed; exact for [`Reason::RateLimit`]. `None` where waiting does not help
    /// or nobody can say.
    pub retry_after: Option<Duration>,
    /// What the client has left, where the policy counts.
    pub quota: Option<Quota>,
}

/// Where an admitted client stands with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by whoever writes a limit")]
pub struct Standing {
    /// The name of the policy.
    pub policy: Name,
    /// What the client has left.
    pub quota: Quota,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The client has too much work in progress.
    ClientConcurrency,
    /// Too much work is in progress.
    Concurrency,
    /// The request costs more than the limit ever admits.
    CostExceedsLimit,
    /// The turn of the request would come after its deadline.
    DeadlineTooNear,
    /// The server takes no new work, because it is about to stop.
    Draining,
    /// The request waited and gave its place to a newer one.
    Evicted,
    /// The process is short of memory.
    MemoryPressure,
    /// The request has no key, and requests without one are refused.
    MissingKey,
    /// The queue in front of the work is full.
    QueueFull,
    /// The client has used up its rate.
    RateLimit,
    /// The consumer reads too slowly.
    SlowConsumer,
    /// The store that keeps the limit does not answer.
    StoreUnavailable,
    /// So many keys are in use that this one cannot be tracked, and untracked keys are refused.
    TooManyKeys,
    /// The request waited longer than it may.
    WaitedTooLong,
}

impl Standing {
    /// Returns the standing nearer to exhaustion: see [`Quota::tighter`].
    #[must_use]
    pub fn tighter(self, other: Self) -> Self {
        if self.quota.tighter(other.quota) == self.quota { self } else { other }
    }
}

impl Rejection {
    /// Makes a refusal by the policy of this name.
    #[must_use]
    pub const fn new(reason: Reason, policy: Name) -> Self {
        Self { reason, policy, retry_after: None, quota: None }
    }

    /// Sets when the same request may succeed.
    #[must_use]
    pub const fn retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    /// Sets what the client has left.
    #[must_use]
    pub const fn quota(mut self, quota: Quota) -> Self {
        self.quota = Some(quota);
        self
    }

    /// Returns the refusal of two that makes the caller wait longer; one that no waiting helps is the longest.
    #[must_use]
    pub fn or_longer(self, other: Self) -> Self {
        let wait = |rejection: &Self| rejection.retry_after.unwrap_or(Duration::MAX);
        if wait(&other) > wait(&self) { other } else { self }
    }

    /// Returns the wait in whole seconds as protocols carry it: rounded up, and at least 1, so that a client that obeys it is
    /// never early
    /// (RFC 9110 section 10.2.3: `delay-seconds = 1*DIGIT`).
    #[must_use]
    pub fn retry_after_secs(&self) -> Option<u64> {
        self.retry_after.map(|wait| whole_secs(wait).max(1))
    }

    /// Returns the wait in whole milliseconds, rounded up and at least 1.
    #[must_use]
    pub fn retry_after_millis(&self) -> Option<u64> {
        self.retry_after.map(|wait| {
            let millis = wait.as_nanos().div_ceil(1_000_000);
            u64::try_from(millis).unwrap_or(u64::MAX).max(1)
        })
    }
}

/// Rounds up to whole seconds.
#[must_use]
pub const fn whole_secs(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(if duration.subsec_nanos() > 0 { 1 } else { 0 })
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (policy {:?})", self.reason, &*self.policy)?;
        match self.retry_after {
            Some(wait) => write!(f, ", retry after {wait:?}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Rejection {}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientConcurrency => "the client has too much work in progress",
            Self::Concurrency => "too much work in progress",
            Self::CostExceedsLimit => "the request costs more than the limit ever admits",
            Self::DeadlineTooNear => "the turn would come after the deadline",
            Self::Draining => "the server takes no new work",
            Self::Evicted => "a newer request took the place in the queue",
            Self::MemoryPressure => "short of memory",
            Self::MissingKey => "the request has no key to limit it by",
            Self::QueueFull => "the queue is full",
            Self::RateLimit => "rate limit exceeded",
            Self::SlowConsumer => "the consumer reads too slowly",
            Self::StoreUnavailable => "the store of the limit does not answer",
            Self::TooManyKeys => "too many clients at once",
            Self::WaitedTooLong => "waited too long",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_rounded_up_and_never_0() {
        let wait = |nanos| Rejection::new(Reason::RateLimit, Name::DEFAULT).retry_after(Duration::from_nanos(nanos));
        for (nanos, secs, millis) in [
            (0, 1, 1),
            (1, 1, 1),
            (1_000_000, 1, 1),
            (1_000_001, 1, 2),
            (999_999_999, 1, 1_000),
            (1_000_000_000, 1, 1_000),
            (1_000_000_001, 2, 1_001),
            (1_900_000_000, 2, 1_900),
        ] {
            assert_eq!(
                (wait(nanos).retry_after_secs(), wait(nanos).retry_after_millis()),
                (Some(secs), Some(millis)),
                "{nanos} ns"
            );
        }
        let longest = Rejection::new(Reason::RateLimit, Name::DEFAULT).retry_after(Duration::MAX);
        assert_eq!((longest.retry_after_secs(), longest.retry_after_millis()), (Some(u64::MAX), Some(u64::MAX)));
    }

    #[test]
    fn of_two_refusals_the_one_that_waits_longer_stands() {
        let wait =
            |secs, policy: &'static str| Rejection::new(Reason::RateLimit, policy.into()).retry_after(Duration::from_secs(secs));
        assert_eq!(wait(1, "a").or_longer(wait(2, "b")), wait(2, "b"));
        assert_eq!(wait(2, "a").or_longer(wait(1, "b")), wait(2, "a"));
        assert_eq!(wait(2, "a").or_longer(wait(2, "b")), wait(2, "a"), "of two equal ones the first");
        let never = Rejection::new(Reason::CostExceedsLimit, "never".into());
        assert_eq!(wait(u64::MAX, "a").or_longer(never.clone()), never);
        assert_eq!(never.clone().or_longer(wait(3, "b")), never);
    }

    #[test]
    fn a_rejection_reads_as_a_sentence() {
        let rejection = Rejection::new(Reason::RateLimit, "per client".into()).retry_after(Duration::from_millis(1500));
        assert_eq!(rejection.to_string(), "rate limit exceeded (policy \"per client\"), retry after 1.5s");
    }
}

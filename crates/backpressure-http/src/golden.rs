//! What the tests of several files share.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use backpressure_core::{Name, Policy, Quota, Reason, Rejection, Standing};
use http::Response;

/// All reasons there are, as they are declared.
pub(crate) const REASONS: [Reason; 14] = [
    Reason::ClientConcurrency,
    Reason::Concurrency,
    Reason::CostExceedsLimit,
    Reason::DeadlineTooNear,
    Reason::Draining,
    Reason::Evicted,
    Reason::MemoryPressure,
    Reason::MissingKey,
    Reason::QueueFull,
    Reason::RateLimit,
    Reason::SlowConsumer,
    Reason::StoreUnavailable,
    Reason::TooManyKeys,
    Reason::WaitedTooLong,
];

fn quota(remaining: u64) -> Quota {
    let policy = Policy { limit: 100, window: Duration::from_secs(60) };
    Quota { policy, remaining, reset_after: Duration::from_millis(30_500) }
}

/// 100 a minute, used up; the next in 4.2 s, all of it in 30.5 s.
pub(crate) fn exceeded() -> Rejection {
    Rejection::new(Reason::RateLimit, Name::DEFAULT).retry_after(Duration::from_millis(4_200)).quota(quota(0))
}

/// 42 of 100 a minute left, all of it in 30.5 s.
pub(crate) fn standing() -> Standing {
    Standing { policy: Name::DEFAULT, quota: quota(42) }
}

/// Writes status and fields in the order in which a host sends them.
pub(crate) fn head<B>(response: &Response<B>) -> String {
    let mut text = format!("{}\n", response.status());
    for (name, value) in response.headers() {
        text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
    }
    text
}

/// Returns the result of a future that does not wait.
pub(crate) fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("waits"),
    }
}

//! The wait of a request for its turn.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use backpressure_core::{Reason, Rejection, Timestamp, nanos};
use backpressure_limiter::{Ledger, Slot};
use pin_project::pin_project;
use tokio::time::{Instant, Sleep};

use crate::shared::Shared;
use crate::taking::Taking;

/// The wait of a request for its turn under a limit by rate.
///
/// Joins the line of its key at the first poll; at the head it sleeps until it is due, and takes from the limit then. Dropping it
/// leaves the line, takes nothing, and lets those behind move up at once.
///
/// # Panics
///
/// When polled outside a tokio runtime, or in one without time enabled.
#[pin_project]
#[must_use = "a wait that is not polled is not in line"]
pub struct Waiting<B: Ledger> {
    request: Waiter<B>,
    /// Set from the first poll until the wait is over.
    joined: Option<Joined<B>>,
    #[pin]
    in_line: Option<backpressure_queue::Wait>,
    at_head: Option<backpressure_queue::Turn>,
    #[pin]
    due: Option<Sleep>,
}

/// Who waits.
struct Waiter<B> {
    shared: Arc<Shared<B>>,
    slot: Slot,
    cost: u64,
}

/// A place under the bound of all lines, given back on drop.
struct Joined<B> {
    shared: Arc<Shared<B>>,
    slot: Slot,
    /// When, on the clock of the limit.
    at: Timestamp,
    /// Until when it waits, on the clock of the timers; `None` for as long as it takes.
    until: Option<Instant>,
}

impl<B: Ledger> Waiting<B> {
    pub(crate) fn new(shared: &Arc<Shared<B>>, slot: Slot, cost: u64) -> Self {
        let request = Waiter { shared: Arc::clone(shared), slot, cost };
        Self { request, joined: None, in_line: None, at_head: None, due: None }
    }
}

impl<B: Ledger> Future for Waiting<B> {
    type Output = Result<Taking<Arc<Shared<B>>, B>, Rejection>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(self.as_mut().poll_turn(cx));
        // The wait is over now, not when this future is dropped: the next in line moves up.
        let mut this = self.project();
        this.due.set(None);
        this.in_line.set(None);
        *this.at_head = None;
        *this.joined = None;
        Poll::Ready(outcome)
    }
}

impl<B: Ledger> Waiting<B> {
    fn poll_turn(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<<Self as Future>::Output> {
        let mut this = self.project();
        let request = &*this.request;
        if this.joined.is_none() {
            let Some((joined, wait)) = request.join() else { return Poll::Ready(Err(request.refusal())) };
            *this.joined = Some(joined);
            this.in_line.set(Some(wait));
        }
        if let Some(wait) = this.in_line.as_mut().as_pin_mut() {
            let Ok(turn) = ready!(wait.poll(cx)) else { return Poll::Ready(Err(request.refusal())) };
            *this.at_head = Some(turn);
            this.in_line.set(None);
        }
        loop {
            if let Some(due) = this.due.as_mut().as_pin_mut() {
                ready!(due.poll(cx));
            }
            let refused = match request.take_turn(this.joined.as_ref()) {
                Ok(taking) => return Poll::Ready(Ok(taking)),
                Err(refused) => refused,
            };
            let in_time = |wait: &Duration| this.joined.as_ref().is_some_and(|joined| joined.has_time_for(*wait));
            match refused.retry_after.filter(in_time) {
                Some(wait) => this.due.set(Some(tokio::time::sleep(wait.min(LONGEST_SLEEP)))),
                None => return Poll::Ready(Err(refused)),
            }
        }
    }
}

impl<B: Ledger> Waiter<B> {
    /// Takes a place in the line of the slot, if there is one.
    fn join(&self) -> Option<(Joined<B>, backpressure_queue::Wait)> {
        let shared = &self.shared;
        let (at, until) = (shared.ledger.now(), Instant::now().checked_add(shared.patience.max_wait));
        let line = shared.lines.join(self.slot, shared.queue())?;
        let joined = Joined { shared: Arc::clone(shared), slot: self.slot, at, until };
        let wait = line.wait();
        Some((
            joined,
            match until {
                Some(deadline) => wait.until(deadline),
                None => wait,
            },
        ))
    }

    /// Takes from the limit at the time at which it was possible, if that has come; else the refusal says how long it is until
    /// then.
    ///
    /// A timer wakes up to a few milliseconds late. Were each turn taken at the time of waking, the next would be due one
    /// interval
    /// after that, and the rate would fall by the delay of every timer; taken when it was due, the delays do not add up.
    /// `LATEST` bounds how far
    /// back, so that a stalled process does not let a burst through when it comes back.
    fn take_turn(&self, joined: Option<&Joined<B>>) -> Result<Taking<Arc<Shared<B>>, B>, Rejection> {
        let ledger = &self.shared.ledger;
        let now = ledger.now();
        let admit =
            |at| ledger.admit(self.slot, at, self.cost).map(|taken| Taking::new(Arc::clone(&self.shared), self.slot, taken));
        let earliest = now.saturating_sub(LATEST).max(joined.map_or(now, |joined| joined.at));
        let mut refused = match admit(earliest) {
            Ok(taking) => return Ok(taking),
            Err(refused) => refused,
        };
        let Some(wait) = refused.retry_after else { return Err(refused) };
        let due = earliest.saturating_add(nanos(wait));
        if due <= now {
            // Somebody else may have taken meanwhile: then it is as if the turn had not come.
            return admit(due).or_else(|_taken| admit(now));
        }
        refused.retry_after = Some(Duration::from_nanos(due.nanos_since(now)));
        Err(refused)
    }

    /// Returns the refusal for a request that finds no place in line, or whose time is up.
    fn refusal(&self) -> Rejection {
        let ledger = &self.shared.ledger;
        let taken = match ledger.check(self.slot, ledger.now(), self.cost) {
            Err(rejection) => return rejection,
            Ok(taken) => taken,
        };
        // There is quota, but the turn is that of somebody who waits: the next moment may do.
        let standing = ledger.standing(taken.level);
        Rejection::new(Reason::RateLimit, standing.policy).retry_after(Duration::from_nanos(1)).quota(standing.quota)
    }
}

impl<B> Joined<B> {
    fn has_time_for(&self, wait: Duration) -> bool {
        self.until.is_none_or(|until| until.saturating_duration_since(Instant::now()) >= wait)
    }
}

impl<B> Drop for Joined<B> {
    fn drop(&mut self) {
        self.shared.lines.leave(self.slot);
    }
}

impl<B: Ledger> fmt::Debug for Waiting<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting")
            .field("slot", &self.request.slot)
            .field("cost", &self.request.cost)
            .field("at_head", &self.at_head.is_some())
            .finish_non_exhaustive()
    }
}

/// Nanoseconds that a turn may lie back: twice the resolution of tokio's timers.
const LATEST: u64 = 2_000_000;

/// How long the head of a line sleeps before it looks again: a limit that was reconfigured, cleared or given back to meanwhile
/// may let it go on
/// sooner than it was told.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

//! The wait for a place.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use backpressure_core::Class;
use pin_project::{pin_project, pinned_drop};
use tokio::time::{Instant, Sleep, sleep_until};

use super::state::{Load, Standing};
use super::waiters::Ticket;
use super::{Place, Shared};
use crate::LineError;
use crate::sync::Arc;

/// The future that [`Gate::enter`](super::Gate::enter) returns: it joins the line when it is first polled, and resolves to a
/// [`Place`].
///
/// A future that is never polled is not in the line. One that was polled is, until it resolves or is dropped.
///
/// # Panics
///
/// When polled again after it has resolved. Where the wait has an end, by [`until`](Self::until) or by the order, when it has to
/// wait outside of a tokio runtime, or in one without time enabled.
///
/// # Cancel safety
///
/// Dropping it leaves the line, in constant time, and those behind move up at once. If a place had been passed to it, that goes
/// to the next. The place in the line is lost: in `select!` in a loop, keep one future and poll it by reference.
#[must_use = "a wait does nothing, and is not in the line, unless it is polled"]
#[pin_project(PinnedDrop)]
pub struct Enter {
    /// `None` once the future has resolved.
    gate: Option<Arc<Shared>>,
    load: Load,
    /// `Some` from the first poll that has to wait.
    ticket: Option<Ticket>,
    deadline: Option<Instant>,
    /// `Some` while the future has to wait and has a deadline.
    #[pin]
    timer: Option<Sleep>,
}

impl Enter {
    pub(super) const fn new(gate: Arc<Shared>, class: Class) -> Self {
        Self { gate: Some(gate), load: Load { class, weight: 0 }, ticket: None, deadline: None, timer: None }
    }

    /// Sets what it weighs in the line: 0 without it. Where the line is [bounded by
    /// weight](super::Gate::queue_weight), one that weighs more than the whole bound is refused with [`LineError::TooHeavy`].
    pub const fn weighing(mut self, weight: u64) -> Self {
        self.load.weight = weight;
        self
    }

    /// Bounds the wait: if no place has come by then, the waiter leaves the line with [`LineError::Expired`].
    ///
    /// The place goes before the deadline: a waiter that can have it when it is polled gets it, even late. So a deadline that has
    /// passed already still takes a place that is free, and means "do not wait": it takes nobody's place in line. The timer is
    /// tokio's, with a resolution of 1 ms, and paused time drives it; it is made when the future has to wait, not before. Of
    /// several deadlines the first counts.
    pub fn until(mut self, deadline: Instant) -> Self {
        self.sooner(Some(deadline));
        self
    }

    fn sooner(&mut self, deadline: Option<Instant>) {
        self.deadline = match (self.deadline, deadline) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    /// Polls the line, and then the deadline if the line says to wait.
    fn poll_line(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), LineError>> {
        let this = self.as_mut().project();
        let gate = this.gate.as_ref().expect("an `Enter` is not polled again after it has resolved");
        let ticket = match *this.ticket {
            Some(ticket) => match gate.ask(ticket, context.waker()) {
                Some(outcome) => return Poll::Ready(outcome),
                None => ticket,
            },
            None => match gate.join(*this.load, *this.deadline, context.waker()) {
                Standing::Settled(outcome) => return Poll::Ready(outcome),
                Standing::Waiting(ticket, patience) => {
                    // Kept before the timer can panic: without the ticket, dropping the future would leave a waiter in the line
                    // for ever.
                    *this.ticket = Some(ticket);
                    let patience = patience.and_then(|patience| Instant::now().checked_add(patience));
                    *this.deadline = [*this.deadline, patience].into_iter().flatten().min();
                    ticket
                }
            },
        };
        let mut this = self.project();
        let Some(deadline) = *this.deadline else { return Poll::Pending };
        if this.timer.is_none() {
            this.timer.set(Some(sleep_until(deadline)));
        }
        let timer = this.timer.as_mut().as_pin_mut().expect("the timer was set above");
        ready!(timer.poll(context));
        // Since the line was asked, a place may have come after all: the line decides.
        let gate = this.gate.as_ref().expect("it was there above");
        Poll::Ready(gate.expire(ticket))
    }
}

impl Future for Enter {
    type Output = Result<Place, LineError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(self.as_mut().poll_line(context));
        let mut this = self.project();
        // A timer that outlives the wait would wake the task for nothing.
        this.timer.set(None);
        // Without the gate, dropping the future does not leave it a second time.
        let gate = this.gate.take().expect("`poll_line` panics without a gate");
        Poll::Ready(result.map(|()| Place { gate }))
    }
}

#[pinned_drop]
impl PinnedDrop for Enter {
    fn drop(self: Pin<&mut Self>) {
        if let (Some(gate), Some(ticket)) = (&self.gate, self.ticket) {
            gate.leave(ticket);
        }
    }
}

impl std::fmt::Debug for Enter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enter")
            .field("class", &self.load.class)
            .field("weight", &self.load.weight)
            .field("is_in_line", &self.ticket.is_some())
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

//! A timer that is set anew only where its time has changed.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;

use backpressure_core::Timestamp;
use pin_project::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

#[pin_project]
#[derive(Default)]
pub(crate) struct Alarm {
    #[pin]
    sleep: Option<Sleep>,
    at: Option<Timestamp>,
}

impl Alarm {
    /// Returns whether that time has come. Otherwise the task is woken then; `None`, and what is too far to be told, is never.
    pub(crate) fn poll(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        at: Option<Timestamp>,
        instant: impl FnOnce(Timestamp) -> Option<Instant>,
    ) -> bool {
        let mut this = self.project();
        if *this.at != at {
            *this.at = at;
            this.sleep.set(at.and_then(instant).map(sleep_until));
        }
        let rang = this.sleep.as_mut().as_pin_mut().is_some_and(|sleep| sleep.poll(context).is_ready());
        if rang {
            // One that has ended must not be polled again.
            this.sleep.set(None);
            *this.at = None;
        }
        rang
    }
}

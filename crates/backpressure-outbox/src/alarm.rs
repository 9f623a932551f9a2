//! A timer that is set anew only where its time has changed.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;

use backpressure_core::Timestamp;
use tokio::time::{Instant, Sleep, sleep_until};

/// Most connections are never timed but for their heartbeat: so the timer is apart, made when it is needed and then used again.
#[derive(Default)]
pub(crate) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    /// `None` while nothing is to ring.
    at: Option<Timestamp>,
}

impl Alarm {
    /// Returns whether that time has come. Otherwise the task is woken then; `None`, and what is too far to be told, is never.
    #[inline]
    pub(crate) fn poll(
        &mut self,
        context: &mut Context<'_>,
        at: Option<Timestamp>,
        instant: impl FnOnce(Timestamp) -> Option<Instant>,
    ) -> bool {
        if at.is_none() && self.at.is_none() {
            return false;
        }
        self.set(at, instant);
        let rang = match &mut self.sleep {
            Some(sleep) if self.at.is_some() => sleep.as_mut().poll(context).is_ready(),
            _ => false,
        };
        if rang {
            // One that has rung is not polled again before it is set anew.
            self.at = None;
        }
        rang
    }

    fn set(&mut self, at: Option<Timestamp>, instant: impl FnOnce(Timestamp) -> Option<Instant>) {
        if self.at == at {
            return;
        }
        let deadline = at.and_then(instant);
        self.at = at.filter(|_| deadline.is_some());
        match (&mut self.sleep, deadline) {
            (Some(sleep), Some(deadline)) => sleep.as_mut().reset(deadline),
            (None, Some(deadline)) => self.sleep = Some(Box::pin(sleep_until(deadline))),
            // It would wake the task for nothing.
            (_, None) => self.sleep = None,
        }
    }
}

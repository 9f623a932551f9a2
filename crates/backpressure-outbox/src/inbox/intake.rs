//! The end of an inbox that a socket fills.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use backpressure_core::{Level, Timestamp};
use backpressure_queue::{Item, Refused, Sender};

use super::pace::Pace;
use super::space::{Awaited, Space, Stop};
use crate::Close;
use crate::alarm::Alarm;
use crate::config::{Weigh, mark};
use crate::shared::Shared;
use crate::state::Why;

/// The end of an [`Inbox`](crate::Inbox) that is filled from a socket: an argument of
/// [`Outlet::drive_into`](crate::Outlet::drive_into).
///
/// Dropping it, with the connection, ends the inbox: what is inside is still received.
pub struct Intake<T> {
    sender: Sender<T>,
    space: Arc<Space<T>>,
    weigh: Arc<Weigh<T>>,
    message_pace: Option<Pace>,
    byte_pace: Option<Pace>,
    /// A message for which there is no room.
    in_hand: Option<Item<T>>,
    level: Level,
}

/// An intake at work.
pub(crate) struct Reading<T> {
    intake: Intake<T>,
    /// Why nothing is read, once that is counted.
    stopped: bool,
    /// What the outbox was told.
    told: Level,
    alarm: Alarm,
}

impl<T> Intake<T> {
    pub(super) const fn new(
        sender: Sender<T>,
        space: Arc<Space<T>>,
        weigh: Arc<Weigh<T>>,
        message_pace: Option<Pace>,
        byte_pace: Option<Pace>,
    ) -> Self {
        Self { sender, space, weigh, message_pace, byte_pace, in_hand: None, level: Level::Low }
    }

    /// Tries to put the message in hand where it belongs. Returns how to end where nobody will ever take it.
    fn put(&mut self) -> Result<(), Close> {
        let Some(item) = self.in_hand.take() else {
            return Ok(());
        };
        match self.sender.try_send(item) {
            Ok(_) => Ok(()),
            Err(error) => match error.reason {
                Refused::Closed => Err(Close::GOING_AWAY),
                Refused::TooHeavy => {
                    // What comes behind it would come without it.
                    self.sender.queue().close();
                    Err(Close::TOO_BIG)
                }
                _ => {
                    self.in_hand = Some(error.item);
                    Ok(())
                }
            },
        }
    }

    /// Moves the marks. Returns whether the peer is to pause because of what is inside.
    fn mark(&mut self) -> bool {
        let (message_marks, byte_marks) = self.space.marks();
        mark(&mut self.level, message_marks, byte_marks, self.sender.queue().load());
        self.level == Level::High
    }

    /// Returns whether there is no room, and has the task woken once there is, and once the peer may be told to resume.
    fn poll_room(&mut self, context: &Context<'_>) -> Result<bool, Close> {
        self.put()?;
        let awaited = match (self.in_hand.is_some(), self.mark()) {
            (true, _) => Awaited::Room,
            (false, true) => Awaited::LowMark,
            (false, false) => Awaited::End,
        };
        self.space.await_space(context.waker(), awaited);
        // Somebody may have made room, or have left, before that was registered.
        self.put()?;
        if self.sender.queue().is_closed() { Err(Close::GOING_AWAY) } else { Ok(self.in_hand.is_some()) }
    }

    /// Returns when the next message may be read, and when the peer is to be told that it may send.
    fn paces(&mut self, now: Timestamp) -> (Timestamp, Option<Timestamp>) {
        let (mut at, mut resumes_at) = (now, None);
        for pace in self.message_pace.iter_mut().chain(&mut self.byte_pace) {
            at = at.max(pace.next_at(now));
            resumes_at = resumes_at.max(pace.resumes_at(now));
        }
        (at, resumes_at)
    }
}

impl<T> Reading<T> {
    pub(crate) fn new(intake: Intake<T>) -> Self {
        Self { intake, stopped: false, told: Level::Low, alarm: Alarm::default() }
    }

    /// Ready if a message may be read now. Tells the outbox what its peer is to know, and ends it where reading on is of no use.
    pub(crate) fn poll_ready<M>(&mut self, shared: &Shared<M>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = shared.config.now();
            let full = match self.intake.poll_room(context) {
                Ok(full) => full,
                Err(close) => {
                    shared.end(Why::Asked, close);
                    return Poll::Pending;
                }
            };
            let (at, resumes_at) = self.intake.paces(now);
            let fast = at > now;
            let high = self.intake.mark() || resumes_at.is_some();
            let level = if high { Level::High } else { Level::Low };
            if self.told != level {
                self.told = level;
                self.intake.space.set_paused(high);
                shared.set_inbound(level);
            }
            let stops = full || fast;
            if stops && !self.stopped {
                self.intake.space.stopped(if full { Stop::Full } else { Stop::Rate });
            }
            self.stopped = stops;
            let wake_at = if fast { Some(at) } else { resumes_at };
            if self.alarm.poll(context, wake_at, |at| shared.config.instant(at)) {
                continue;
            }
            return if stops { Poll::Pending } else { Poll::Ready(()) };
        }
    }

    /// Counts a message of the peer, whatever it is.
    pub(crate) fn count<M>(&mut self, shared: &Shared<M>) {
        if let Some(pace) = &mut self.intake.message_pace {
            pace.charge(shared.config.now(), 1);
        }
    }

    /// Takes a message for the application.
    pub(crate) fn deliver<M>(&mut self, message: T, shared: &Shared<M>) {
        let intake = &mut self.intake;
        let weight = (intake.weigh)(&message) as u64;
        if let Some(pace) = &mut intake.byte_pace {
            pace.charge(shared.config.now(), weight);
        }
        intake.in_hand = Some(Item::new(message).weight(weight));
        if let Err(close) = intake.put() {
            shared.end(Why::Asked, close);
        }
    }
}

impl<T> Drop for Intake<T> {
    fn drop(&mut self) {
        if let Some(item) = self.in_hand.take() {
            self.space.set_last(item.value);
        }
    }
}

impl<T> fmt::Debug for Intake<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake").field("queue", self.sender.queue()).finish_non_exhaustive()
    }
}

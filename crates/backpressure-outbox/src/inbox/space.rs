//! What both ends of an inbox share beside the queue: who waits for room in it.

use std::task::Waker;

use backpressure_core::Watermarks;
use backpressure_queue::Load;

use super::InboxNumbers;
use crate::sync::Mutex;

/// No waker is woken and no message is dropped under the lock, which is never held with that of the queue.
pub(super) struct Space<T> {
    message_marks: Watermarks,
    byte_marks: Watermarks,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// `Some` while the task that reads the socket waits for room.
    reader: Option<(Waker, Awaited)>,
    /// The message for which there was no room when the connection ended.
    last: Option<T>,
    paused: bool,
    stopped_full: u64,
    stopped_rate: u64,
}

/// What the reader waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    /// Room for one more message.
    Room,
    /// The low watermarks.
    LowMark,
    /// That nobody receives any more.
    End,
}

/// Why the socket is not read on.
#[derive(Clone, Copy)]
pub(super) enum Stop {
    Full,
    Rate,
}

impl<T> Space<T> {
    pub(super) fn new(message_marks: Watermarks, byte_marks: Watermarks) -> Self {
        let state = State { reader: None, last: None, paused: false, stopped_full: 0, stopped_rate: 0 };
        Self { message_marks, byte_marks, state: Mutex::new(state) }
    }

    pub(super) const fn marks(&self) -> (&Watermarks, &Watermarks) {
        (&self.message_marks, &self.byte_marks)
    }

    /// Has the reader woken once there is what it waits for. It must look again afterwards.
    pub(super) fn await_space(&self, waker: &Waker, awaited: Awaited) {
        if let Some((registered, before)) = &mut self.state.lock().reader
            && registered.will_wake(waker)
        {
            *before = awaited;
            return;
        }
        let waker = waker.clone();
        let replaced = self.state.lock().reader.replace((waker, awaited));
        drop(replaced);
    }

    /// Takes note that a message has left, and that so much is inside now.
    pub(super) fn freed(&self, load: Load) {
        let low = (load.items as u64) <= self.message_marks.low() && load.weight <= self.byte_marks.low();
        let reader = {
            let mut state = self.state.lock();
            state.reader.take_if(|(_, awaited)| *awaited == Awaited::Room || (*awaited == Awaited::LowMark && low))
        };
        wake(reader);
    }

    /// Takes note that nobody will receive any more.
    pub(super) fn abandoned(&self) {
        let (reader, last) = {
            let mut state = self.state.lock();
            (state.reader.take(), state.last.take())
        };
        wake(reader);
        drop(last);
    }

    pub(super) fn set_last(&self, last: T) {
        let replaced = self.state.lock().last.replace(last);
        drop(replaced);
    }

    pub(super) fn take_last(&self) -> Option<T> {
        self.state.lock().last.take()
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.state.lock().paused = paused;
    }

    pub(super) fn stopped(&self, stop: Stop) {
        let mut state = self.state.lock();
        match stop {
            Stop::Full => state.stopped_full += 1,
            Stop::Rate => state.stopped_rate += 1,
        }
    }

    pub(super) fn numbers(&self) -> InboxNumbers {
        let State { paused, stopped_full, stopped_rate, .. } = *self.state.lock();
        InboxNumbers { paused, stopped_full, stopped_rate, ..InboxNumbers::default() }
    }
}

fn wake(reader: Option<(Waker, Awaited)>) {
    if let Some((waker, _)) = reader {
        waker.wake();
    }
}

//! A transport that does what it is told, and frames that say what they are.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use backpressure_outbox::{Close, Control, Frames, Outbox, OutboxBuilder, Signal};
use futures_core::Stream;
use futures_sink::Sink;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Data(String),
    Flow(Signal),
    Ping,
    Close(Close),
}

pub(crate) struct Words;

impl Frames<String> for Words {
    type Frame = Frame;

    fn data(&mut self, message: String) -> Frame {
        Frame::Data(message)
    }

    fn control(&mut self, control: Control) -> Option<Frame> {
        match control {
            Control::Flow(signal) => Some(Frame::Flow(signal)),
            Control::Ping => Some(Frame::Ping),
            _ => None,
        }
    }

    fn close(&mut self, close: &Close) -> Option<Frame> {
        Some(Frame::Close(close.clone()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// The far end of a [`Wire`], and its numbers.
#[derive(Clone, Default)]
pub(crate) struct Peer(Arc<Mutex<State>>);

/// The near end. It takes as many frames as it has credit for, and flushes unless it is told not to.
pub(crate) struct Wire(Peer);

#[derive(Default)]
struct State {
    credit: usize,
    flush_stalls: bool,
    close_stalls: bool,
    broken: bool,
    taken: Vec<Frame>,
    flushed: usize,
    flushes: usize,
    closed: bool,
    dropped: bool,
    inbound: VecDeque<Result<String, Broken>>,
    hung_up: bool,
    reads: usize,
    wakers: Vec<Waker>,
}

pub(crate) fn wire(credit: usize) -> (Wire, Peer) {
    let peer = Peer::default();
    peer.state().credit = credit;
    (Wire(peer.clone()), peer)
}

impl Peer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics with it")
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        for waker in wakers {
            waker.wake();
        }
    }

    /// Takes so many more frames.
    pub(crate) fn take(&self, more: usize) {
        self.change(|state| state.credit = state.credit.saturating_add(more));
    }

    pub(crate) fn stall(&self) {
        self.change(|state| state.credit = 0);
    }

    pub(crate) fn stall_flush(&self, stalls: bool) {
        self.change(|state| state.flush_stalls = stalls);
    }

    pub(crate) fn stall_close(&self) {
        self.change(|state| state.close_stalls = true);
    }

    pub(crate) fn break_down(&self) {
        self.change(|state| state.broken = true);
    }

    pub(crate) fn send(&self, message: &str) {
        self.change(|state| state.inbound.push_back(Ok(message.to_owned())));
    }

    pub(crate) fn send_broken(&self) {
        self.change(|state| state.inbound.push_back(Err(Broken)));
    }

    pub(crate) fn hang_up(&self) {
        self.change(|state| state.hung_up = true);
    }

    pub(crate) fn taken(&self) -> Vec<Frame> {
        self.state().taken.clone()
    }

    pub(crate) fn data(&self) -> Vec<String> {
        let taken = self.taken().into_iter();
        taken.filter_map(|frame| if let Frame::Data(data) = frame { Some(data) } else { None }).collect()
    }

    pub(crate) fn signals(&self) -> Vec<Signal> {
        let taken = self.taken().into_iter();
        taken.filter_map(|frame| if let Frame::Flow(signal) = frame { Some(signal) } else { None }).collect()
    }

    pub(crate) fn flushed(&self) -> usize {
        self.state().flushed
    }

    pub(crate) fn flushes(&self) -> usize {
        self.state().flushes
    }

    pub(crate) fn reads(&self) -> usize {
        self.state().reads
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.state().dropped
    }
}

impl Wire {
    fn poll(
        &self,
        context: &mut Context<'_>,
        poll: impl FnOnce(&mut State) -> Poll<Result<(), Broken>>,
    ) -> Poll<Result<(), Broken>> {
        let mut state = self.0.state();
        if state.broken {
            return Poll::Ready(Err(Broken));
        }
        let polled = poll(&mut state);
        if polled.is_pending() {
            state.wakers.push(context.waker().clone());
        }
        polled
    }
}

impl Sink<Frame> for Wire {
    type Error = Broken;

    fn poll_ready(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.poll(context, |state| if state.credit > 0 { Poll::Ready(Ok(())) } else { Poll::Pending })
    }

    fn start_send(self: Pin<&mut Self>, frame: Frame) -> Result<(), Broken> {
        let mut state = self.0.state();
        assert!(state.credit > 0 && !state.closed, "a frame that was not asked for");
        state.credit -= 1;
        state.taken.push(frame);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.poll(context, |state| {
            if state.flush_stalls {
                return Poll::Pending;
            }
            state.flushed = state.taken.len();
            state.flushes += 1;
            Poll::Ready(Ok(()))
        })
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.poll(context, |state| {
            if state.close_stalls || state.flush_stalls {
                return Poll::Pending;
            }
            state.flushed = state.taken.len();
            state.closed = true;
            Poll::Ready(Ok(()))
        })
    }
}

impl Stream for Wire {
    type Item = Result<String, Broken>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.0.state();
        if let Some(message) = state.inbound.pop_front() {
            state.reads += 1;
            return Poll::Ready(Some(message));
        }
        if state.hung_up {
            return Poll::Ready(None);
        }
        state.wakers.push(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.0.state().dropped = true;
    }
}

/// Lets every task run until none has anything to do.
pub(crate) async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

pub(crate) fn builder() -> OutboxBuilder<String> {
    Outbox::builder(String::len)
}

pub(crate) fn send(outbox: &Outbox<String>, messages: impl IntoIterator<Item = impl ToString>) {
    for message in messages {
        let _ = outbox.try_send(message.to_string());
    }
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn strings(range: impl IntoIterator<Item = impl ToString>) -> Vec<String> {
    range.into_iter().map(|number| number.to_string()).collect()
}

struct Wakes(Arc<AtomicUsize>);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A waker, and how often it was woken.
pub(crate) fn count_wakes() -> (Waker, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    (Waker::from(Arc::new(Wakes(Arc::clone(&count)))), count)
}

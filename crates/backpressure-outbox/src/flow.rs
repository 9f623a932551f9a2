//! Stop and go for a producer, from all that it fills.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::sync::Mutex;

/// Tells a producer to pause and to resume, on behalf of all that it fills.
///
/// Each outbox with this flow [pauses](crate::OutboxBuilder::flow) it from its high watermark down to its low one; so does any other stage
/// with a [`Pause`]. The flow is paused while at least one of them has paused it, and resumes when the last of them has drained or
/// is gone. Clones are handles of the same flow.
///
/// It is a request: nothing keeps a producer from going on, and the bounds of the outboxes hold whatever it does.
///
/// # Fairness
///
/// All who wait for the flow to resume are woken together.
///
/// # Memory
///
/// One allocation of about 80 bytes, and 24 for each that waits at the same time.
///
/// # Examples
///
/// ```
/// use backpressure_outbox::Flow;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let flow = Flow::new();
/// flow.resumed().await;
///
/// let (one, other) = (flow.pause(), flow.pause());
/// drop(one);
/// assert!(flow.is_paused());
/// drop(other);
/// assert!(!flow.is_paused());
/// # }
/// ```
#[derive(Clone)]
pub struct Flow {
    state: Arc<Mutex<State>>,
}

/// Keeps a [`Flow`] paused until it is dropped.
#[must_use = "the flow resumes when this is dropped"]
#[derive(Debug)]
pub struct Pause {
    flow: Flow,
}

/// The future that [`Flow::resumed`] returns.
///
/// # Cancel safety
///
/// Dropping it forgets its waker; it holds nothing else.
#[must_use = "nothing waits unless this is polled"]
#[derive(Debug)]
pub struct Resumed {
    flow: Flow,
    /// `Some` while the flow may hold a waker of this future.
    waiter: Option<u64>,
}

#[derive(Default)]
struct State {
    /// How many have paused the flow.
    pauses: usize,
    waiters: Vec<(u64, Waker)>,
    /// Distinguishes the waiters; 2⁶⁴ of them outlast any process.
    next: u64,
}

impl Flow {
    /// Makes a flow that is not paused.
    #[must_use]
    pub fn new() -> Self {
        Self { state: Arc::new(Mutex::new(State::default())) }
    }

    /// Returns whether somebody has paused the flow.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.pauses() > 0
    }

    /// Returns how many have paused the flow.
    #[must_use]
    pub fn pauses(&self) -> usize {
        self.state.lock().pauses
    }

    /// Waits until nobody keeps the flow paused; where nobody does, it is ready at once.
    ///
    /// It resolves when it is *polled* while the flow is not paused: a pause that ends and begins again before the task has run
    /// goes unnoticed, and the task waits on. That is what keeps a producer within its watermarks.
    pub fn resumed(&self) -> Resumed {
        Resumed { flow: self.clone(), waiter: None }
    }

    /// Pauses the flow until what is returned is dropped.
    pub fn pause(&self) -> Pause {
        self.add_pause();
        Pause { flow: self.clone() }
    }

    /// Pauses the flow until [`remove_pause`](Self::remove_pause).
    pub(crate) fn add_pause(&self) {
        self.state.lock().pauses += 1;
    }

    /// Takes back one pause, and returns who is to be woken: by the caller, who may hold a lock now.
    pub(crate) fn remove_pause(&self) -> Awakened {
        let mut state = self.state.lock();
        state.pauses -= 1;
        Awakened(if state.pauses == 0 { std::mem::take(&mut state.waiters) } else { Vec::new() })
    }
}

/// Those who are woken when this is dropped. Wakers run foreign code, so this outlives every lock.
#[derive(Default)]
pub(crate) struct Awakened(Vec<(u64, Waker)>);

impl Awakened {
    pub(crate) const fn is_nobody(&self) -> bool {
        self.0.is_empty()
    }

    #[inline(never)]
    fn wake(&mut self) {
        for (_, waker) in std::mem::take(&mut self.0) {
            waker.wake();
        }
    }
}

impl Drop for Awakened {
    #[inline]
    fn drop(&mut self) {
        if !self.is_nobody() {
            self.wake();
        }
    }
}

impl Default for Flow {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flow").field("pauses", &self.pauses()).finish_non_exhaustive()
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        drop(self.flow.remove_pause());
    }
}

impl Future for Resumed {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // Before the lock: cloning and dropping a waker run foreign code. The old one goes out of scope after it.
        let waker = context.waker().clone();
        let _replaced;
        let mut state = this.flow.state.lock();
        if state.pauses == 0 {
            let before = this.waiter.take();
            _replaced = state.remove(before);
            drop(state);
            return Poll::Ready(());
        }
        _replaced = state.remove(this.waiter);
        let id = state.next;
        state.next += 1;
        state.waiters.push((id, waker));
        this.waiter = Some(id);
        drop(state);
        Poll::Pending
    }
}

impl Drop for Resumed {
    fn drop(&mut self) {
        let forgotten = self.flow.state.lock().remove(self.waiter);
        drop(forgotten);
    }
}

impl State {
    fn remove(&mut self, waiter: Option<u64>) -> Option<Waker> {
        let index = self.waiters.iter().position(|(id, _)| Some(*id) == waiter)?;
        Some(self.waiters.swap_remove(index).1)
    }
}

#[cfg(test)]
#[cfg(not(backpressure_loom))]
mod tests {
    use super::*;

    fn poll(resumed: &mut Resumed) -> bool {
        Pin::new(resumed).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_flow_resumes_when_the_last_of_those_who_paused_it_lets_go() {
        let flow = Flow::new();
        let mut pauses = Vec::from_iter((0..3).map(|_| flow.pause()));
        let mut resumed = flow.resumed();
        while !pauses.is_empty() {
            assert!(!poll(&mut resumed));
            pauses.pop();
        }
        assert!(poll(&mut resumed));
        assert!(poll(&mut flow.resumed()));
    }

    #[test]
    fn who_leaves_or_is_polled_again_leaves_no_waker_behind() {
        let flow = Flow::new();
        let pause = flow.pause();
        let mut resumed = flow.resumed();
        for _ in 0..1_000 {
            assert!(!poll(&mut resumed));
            assert!(!poll(&mut flow.resumed()));
        }
        assert_eq!(flow.state.lock().waiters.len(), 1);
        drop(resumed);
        assert_eq!(flow.state.lock().waiters.len(), 0);
        drop(pause);
    }

    #[test]
    fn who_waits_is_woken_by_the_last_pause_only_and_once() {
        struct Count(std::sync::atomic::AtomicUsize);
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let (flow, count) = (Flow::new(), Arc::new(Count(0.into())));
        let woken = || count.0.load(std::sync::atomic::Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&count));
        let (one, other) = (flow.pause(), flow.pause());
        assert!(Pin::new(&mut flow.resumed()).poll(&mut Context::from_waker(&waker)).is_pending());
        let mut resumed = flow.resumed();
        assert!(Pin::new(&mut resumed).poll(&mut Context::from_waker(&waker)).is_pending());
        drop(one);
        assert_eq!(woken(), 0);
        drop(other);
        assert_eq!(woken(), 1);
    }

    #[test]
    fn a_pause_that_begins_again_before_the_task_runs_keeps_it_waiting() {
        let flow = Flow::new();
        let first = flow.pause();
        let mut resumed = flow.resumed();
        assert!(!poll(&mut resumed));
        drop(first);
        let second = flow.pause();
        assert!(!poll(&mut resumed));
        drop(second);
        assert!(poll(&mut resumed));
    }
}

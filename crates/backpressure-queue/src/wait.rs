//! The wait for the turn, and the turn.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project::pin_project;
use tokio::time::Instant;

use crate::{Enter, LineError, Place};

/// The future that [`Line::wait`](crate::Line::wait) returns: it joins the line when it is first polled, and resolves to the [`Turn`].
///
/// A future that is never polled is not in the line. One that was polled is, until it resolves or is dropped.
///
/// # Panics
///
/// When polled again after it has resolved. With a [deadline](Self::until), when it has to wait outside of a tokio runtime, or in
/// one without time enabled.
///
/// # Cancel safety
///
/// Dropping it leaves the line, in constant time, and those behind move up at once. If the turn had been passed to it, the
/// turn goes to the next waiter. The place in the line is lost: in `select!` in a loop, keep one future and poll it by reference.
#[derive(Debug)]
#[must_use = "a wait does nothing, and is not in the line, unless it is polled"]
#[pin_project]
pub struct Wait {
    #[pin]
    enter: Enter,
}

/// The turn: while it is held, no other waiter of its [`Line`](crate::Line) has it. Its holder counts as one of the line.
///
/// Dropping it leaves the line and passes the turn to the next waiter, who is woken at once. One that is never dropped (leaked,
/// or
/// kept in a future that is not polled) blocks the line for ever.
#[derive(Debug)]
#[must_use = "the turn passes to the next waiter as soon as this is dropped"]
pub struct Turn {
    _place: Place,
}

impl Wait {
    pub(crate) const fn new(enter: Enter) -> Self {
        Self { enter }
    }

    /// Bounds the wait: if the turn has not come by then, the waiter leaves the line with [`LineError::Expired`].
    ///
    /// The turn goes before the deadline: a waiter that can have it when it is polled gets it, even late. So a deadline that has
    /// passed already still takes a turn that is free, and means "do not wait". The timer is tokio's, with a resolution of 1 ms,
    /// and paused time drives it; it is made when the future has to wait, not before. Set twice, the first
    /// deadline counts.
    ///
    /// # Examples
    ///
    /// ```
    /// use backpressure_queue::{Line, LineError};
    /// use std::time::Duration;
    /// use tokio::time::Instant;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), LineError> {
    /// let line = Line::new(10);
    /// let deadline = Instant::now() + Duration::from_millis(50);
    /// let turn = line.wait().until(deadline).await?;
    ///
    /// // The turn is taken: the next one waits for it, but no longer than that.
    /// assert_eq!(line.wait().until(deadline).await.unwrap_err(), LineError::Expired);
    /// assert_eq!(Instant::now(), deadline);
    /// assert_eq!(line.len(), 1);
    /// # drop(turn);
    /// # Ok(())
    /// # }
    /// ```
    pub fn until(self, deadline: Instant) -> Self {
        Self { enter: self.enter.until(deadline) }
    }
}

impl Future for Wait {
    type Output = Result<Turn, LineError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().enter.poll(context).map_ok(|place| Turn { _place: place })
    }
}

#[cfg(test)]
#[cfg(not(backpressure_loom))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};
    use std::time::Duration;

    use super::*;
    use crate::{Line, Order};

    type Polled = Poll<Result<Turn, LineError>>;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Count {
        fn woken(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    fn poll(wait: &mut Pin<Box<Wait>>) -> Polled {
        poll_with(wait, Waker::noop())
    }

    fn poll_with(wait: &mut Pin<Box<Wait>>, waker: &Waker) -> Polled {
        wait.as_mut().poll(&mut Context::from_waker(waker))
    }

    fn turn(polled: Polled) -> Turn {
        match polled {
            Poll::Ready(Ok(turn)) => turn,
            other => panic!("a turn was expected, not {other:?}"),
        }
    }

    fn refusal(polled: Polled) -> LineError {
        match polled {
            Poll::Ready(Err(error)) => error,
            other => panic!("a refusal was expected, not {other:?}"),
        }
    }

    /// A wait that has joined the line, which somebody heads.
    fn waiting(line: &Line) -> Pin<Box<Wait>> {
        let mut wait = Box::pin(line.wait());
        assert!(poll(&mut wait).is_pending());
        wait
    }

    fn head(line: &Line) -> Turn {
        turn(poll(&mut Box::pin(line.wait())))
    }

    #[test]
    fn the_first_to_come_has_the_turn_at_its_first_poll() {
        let line = Line::new(3);
        let turn = head(&line);
        assert_eq!(line.len(), 1);
        drop(turn);
        assert!(line.is_empty());
    }

    #[test]
    fn a_wait_that_is_never_polled_is_not_in_the_line() {
        let line = Line::new(1);
        let never = line.wait();
        assert!(line.is_empty());
        let turn = head(&line);
        drop(never);
        assert_eq!(line.len(), 1);
        drop(turn);
    }

    #[test]
    fn at_the_bound_a_newcomer_is_refused_until_somebody_leaves() {
        let line = Line::new(2);
        let turn = head(&line);
        let second = waiting(&line);
        assert_eq!(refusal(poll(&mut Box::pin(line.wait()))), LineError::Full);
        assert_eq!(line.len(), 2);
        drop(second);
        let _third = waiting(&line);
        assert_eq!(line.len(), 2);
        drop(turn);
        assert_eq!(line.len(), 1, "the turn was passed on: the line is one shorter");
    }

    #[test]
    fn a_line_of_capacity_0_refuses_everyone() {
        let line = Line::new(0);
        assert_eq!(refusal(poll(&mut Box::pin(line.wait()))), LineError::Full);
        assert!(line.is_empty());
    }

    #[test]
    fn an_unbounded_line_allocates_as_it_is_used() {
        let line = Line::new(usize::MAX);
        let _turn = head(&line);
        let _second = waiting(&line);
        assert_eq!((line.len(), line.capacity()), (2, usize::MAX));
    }

    #[test]
    fn first_in_first_out_the_oldest_is_next() {
        let line = Line::new(3);
        let turn_1 = head(&line);
        let (mut second, mut third) = (waiting(&line), waiting(&line));
        drop(turn_1);
        assert!(poll(&mut third).is_pending());
        let turn_2 = turn(poll(&mut second));
        assert!(poll(&mut third).is_pending());
        drop(turn_2);
        drop(turn(poll(&mut third)));
        assert!(line.is_empty());
    }

    #[test]
    fn last_in_first_out_the_newest_is_next_but_who_was_called_stays_called() {
        let line = Line::new(9).order(Order::Lifo);
        let turn_1 = head(&line);
        let (mut second, mut third) = (waiting(&line), waiting(&line));
        drop(turn_1);
        let mut fourth = waiting(&line);
        let turn_3 = turn(poll(&mut third));
        drop(turn_3);
        assert!(poll(&mut second).is_pending());
        drop(turn(poll(&mut fourth)));
        drop(turn(poll(&mut second)));
        assert!(line.is_empty());
    }

    #[test]
    fn only_the_next_is_woken_and_only_once() {
        let line = Line::new(9);
        let turn_1 = head(&line);
        let (count_2, count_3) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let (mut second, mut third) = (Box::pin(line.wait()), Box::pin(line.wait()));
        assert!(poll_with(&mut second, &count_2.clone().into()).is_pending());
        assert!(poll_with(&mut third, &count_3.clone().into()).is_pending());
        drop(turn_1);
        assert_eq!((count_2.woken(), count_3.woken()), (1, 0));
        // The one behind cannot tell that the one before it has not been polled.
        drop(second);
        assert_eq!((count_2.woken(), count_3.woken()), (1, 1));
        drop(turn(poll(&mut third)));
        assert!(line.is_empty());
    }

    #[test]
    fn the_waker_of_the_last_poll_is_the_one_that_is_woken() {
        let line = Line::new(9);
        let turn = head(&line);
        let mut second = Box::pin(line.wait());
        let (old, new) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let (old_waker, new_waker) = (Waker::from(old.clone()), Waker::from(new.clone()));
        assert!(poll_with(&mut second, &old_waker).is_pending());
        assert!(poll_with(&mut second, &old_waker).is_pending());
        assert_eq!(Arc::strong_count(&old), 3, "a waker that would wake the same task is not cloned again");
        assert!(poll_with(&mut second, &new_waker).is_pending());
        assert_eq!(Arc::strong_count(&old), 2, "the replaced waker was dropped");
        drop(turn);
        assert_eq!((old.woken(), new.woken()), (0, 1));
    }

    /// Runs one script with the second of three waiters dropped before its n-th step, for every n: the third always has its turn.
    #[test]
    fn a_waiter_that_is_dropped_at_any_point_leaves_nothing_behind() {
        for order in [Order::Fifo, Order::Lifo] {
            for cancelled_at in 0..8 {
                let line = Line::new(3).order(order);
                let count = Arc::new(Count::default());
                let waker = Waker::from(count.clone());
                let mut turn_1 = None;
                let mut second = Some(Box::pin(line.wait()));
                let mut third = Box::pin(line.wait());
                let mut turn_2 = None;
                for step in 0..8 {
                    if step == cancelled_at {
                        second = None;
                        turn_2 = None;
                    }
                    match step {
                        0 => turn_1 = Some(head(&line)),
                        1 | 4 | 6 => {
                            if let Some(Poll::Ready(result)) = second.as_mut().map(poll) {
                                second = None;
                                turn_2 = Some(result.unwrap());
                            }
                        }
                        2 => assert!(poll_with(&mut third, &waker).is_pending()),
                        3 => turn_1 = None,
                        _ => {}
                    }
                }
                if count.woken() == 0 {
                    assert!(turn_2.take().is_some(), "{order:?} {cancelled_at}: nobody has the turn");
                }
                assert_eq!(count.woken(), 1, "{order:?} {cancelled_at}");
                drop(turn(poll(&mut third)));
                drop((turn_1, second, turn_2));
                assert!(line.is_empty(), "{order:?} {cancelled_at}");
            }
        }
    }

    #[test]
    fn closing_refuses_those_who_wait_and_those_who_come_but_not_those_who_were_called() {
        let line = Line::new(9);
        let turn_1 = head(&line);
        let count = Arc::new(Count::default());
        let (mut second, mut third) = (Box::pin(line.wait()), Box::pin(line.wait()));
        assert!(poll(&mut second).is_pending());
        assert!(poll_with(&mut third, &count.clone().into()).is_pending());
        drop(turn_1);
        line.close();
        line.close();
        assert_eq!((line.len(), count.woken()), (1, 1));
        assert_eq!(refusal(poll(&mut third)), LineError::Closed);
        assert_eq!(refusal(poll(&mut Box::pin(line.wait()))), LineError::Closed);
        drop(turn(poll(&mut second)));
        assert!(line.is_empty());
        assert_eq!(refusal(poll(&mut Box::pin(line.wait()))), LineError::Closed);
    }

    #[test]
    fn a_waiter_that_was_called_before_the_line_closed_and_then_leaves_frees_the_turn() {
        let line = Line::new(9);
        let turn_1 = head(&line);
        let (second, third) = (waiting(&line), waiting(&line));
        drop(turn_1);
        line.close();
        drop((second, third));
        assert!(line.is_empty());
    }

    #[test]
    fn the_order_is_that_of_a_new_line() {
        let fifo = Line::new(2);
        let turn = head(&fifo);
        let lifo = fifo.clone().order(Order::Lifo);
        assert_eq!((lifo.len(), lifo.capacity()), (0, 2));
        drop(turn);
        assert_eq!(format!("{lifo:?}"), "Line { capacity: 2, order: Lifo, len: 0, .. }");
    }

    #[test]
    #[should_panic(expected = "not polled again after it has resolved")]
    fn a_wait_that_is_polled_again_panics() {
        let mut wait = Box::pin(Line::new(1).wait());
        let _turn = turn(poll(&mut wait));
        let _ = poll(&mut wait);
    }

    #[tokio::test(start_paused = true)]
    async fn at_its_deadline_a_waiter_leaves_and_makes_room() {
        let line = Line::new(2);
        let turn_1 = head(&line);
        let deadline = Instant::now() + Duration::from_millis(5);
        assert_eq!(line.wait().until(deadline).await.unwrap_err(), LineError::Expired);
        assert_eq!((Instant::now(), line.len()), (deadline, 1));
        let mut third = waiting(&line);
        drop(turn_1);
        drop(turn(poll(&mut third)));
        assert!(line.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_comes_by_the_deadline_is_taken_even_if_it_is_noticed_later() {
        let line = Line::new(9);
        let turn_1 = head(&line);
        let deadline = Duration::from_millis(5);
        let mut second = Box::pin(line.wait().until(Instant::now() + deadline));
        assert!(poll(&mut second).is_pending());
        tokio::time::advance(deadline * 2).await;
        drop(turn_1);
        drop(turn(poll(&mut second)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_has_passed_takes_a_free_turn_and_waits_for_no_other() {
        let line = Line::new(9);
        let now = Instant::now();
        let turn = line.wait().until(now).await.unwrap();
        assert_eq!(line.wait().until(now).await.unwrap_err(), LineError::Expired);
        assert_eq!((Instant::now(), line.len()), (now, 1));
        drop(turn);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_has_resolved_wakes_nobody_at_its_deadline() {
        let line = Line::new(9);
        let turn_1 = head(&line);
        let count = Arc::new(Count::default());
        let deadline = Duration::from_millis(5);
        let mut second = Box::pin(line.wait().until(Instant::now() + deadline));
        assert!(poll_with(&mut second, &count.clone().into()).is_pending());
        drop(turn_1);
        let _turn_2 = turn(poll(&mut second));
        tokio::time::advance(deadline).await;
        assert_eq!(count.woken(), 1);
    }

    #[test]
    fn a_deadline_needs_a_runtime_only_to_wait_and_a_panic_without_one_leaves_the_line() {
        let line = Line::new(9);
        let turn_1 = turn(poll(&mut Box::pin(line.wait().until(Instant::now()))));
        let mut second = Box::pin(line.wait().until(Instant::now() + Duration::from_secs(3_600)));
        assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut second))).is_err());
        drop(second);
        assert_eq!(line.len(), 1);
        drop(turn_1);
    }

    /// A task that owns a wait and whose waker is the last to own the task: whoever drops or wakes it drops the wait.
    struct Owner(#[expect(dead_code, reason = "held for its drop")] Pin<Box<Wait>>);

    impl Wake for Owner {
        fn wake(self: Arc<Self>) {}
    }

    /// A line that woke or dropped a waker under its lock would wait for itself here.
    #[test]
    fn a_waker_may_own_a_wait_of_its_own_line() {
        let owner = |line: &Line| Waker::from(Arc::new(Owner(waiting(line))));
        // The newest first: the owner is called, not the wait that it owns.
        let line = Line::new(9).order(Order::Lifo);
        let turn_1 = head(&line);

        let mut replaced = Box::pin(line.wait());
        assert!(poll_with(&mut replaced, &owner(&line)).is_pending());
        assert!(poll(&mut replaced).is_pending());
        assert_eq!(line.len(), 2);

        let mut dropped = Box::pin(line.wait());
        assert!(poll_with(&mut dropped, &owner(&line)).is_pending());
        drop(dropped);
        assert_eq!(line.len(), 2);

        let mut called = Box::pin(line.wait());
        assert!(poll_with(&mut called, &owner(&line)).is_pending());
        drop(replaced);
        drop(turn_1);
        assert_eq!(line.len(), 1);
        drop(called);
        assert!(line.is_empty());

        let turn_1 = head(&line);
        let mut closed = Box::pin(line.wait());
        assert!(poll_with(&mut closed, &owner(&line)).is_pending());
        line.close();
        assert_eq!(refusal(poll(&mut closed)), LineError::Closed);
        drop(turn_1);
        assert!(line.is_empty());
    }

    #[test]
    fn everything_may_be_sent_and_shared() {
        fn check<T: Send + Sync>() {}
        check::<Line>();
        check::<Wait>();
        check::<Turn>();
        check::<LineError>();
    }
}

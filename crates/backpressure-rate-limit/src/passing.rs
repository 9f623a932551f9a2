//! Which limits the request that is being worked on has passed.
//!
//! A layer that is there twice, on the router and on a route, counts each request twice, and nothing else would show it. The
//! mark cannot be in the request: only HTTP requests have room for one, and putting it there allocates. It is in the thread
//! instead, while the inner service works on the request: a few instructions, and lost only where the request goes on in
//! another task.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use backpressure_core::StateId;
use pin_project::pin_project;

thread_local! {
    /// The limits passed, each where its identity says. Two that fall on one place hide each other, which is as good as one more
    /// task between them: this is for a warning.
    static PASSED: [Cell<Option<StateId>>; PLACES] = const { [const { Cell::new(None) }; PLACES] };
}

/// Whether the request that this thread works on is inside of this limit.
#[inline]
pub(crate) fn is_inside(limit: StateId) -> bool {
    PASSED.with(|passed| passed[place(limit)].get() == Some(limit))
}

/// Fibonacci hashing: the top bits of the product.
#[inline]
const fn place(limit: StateId) -> usize {
    limit.as_usize().wrapping_mul(GOLDEN) >> (usize::BITS - PLACES.ilog2())
}

/// The words there are by the golden ratio, which is nearly 21 to 13, and odd.
const GOLDEN: usize = (usize::MAX / 21 * 13) | 1;

/// A call of the inner service, by a request that has passed a limit.
#[pin_project]
pub(crate) struct Passing<F> {
    #[pin]
    call: F,
    limit: Option<StateId>,
}

impl<F> Passing<F> {
    #[inline]
    pub(crate) const fn new(limit: Option<StateId>, call: F) -> Self {
        Self { call, limit }
    }
}

impl<F: Future> Future for Passing<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _inside = enter(*this.limit);
        this.call.poll(cx)
    }
}

/// Marks what this thread does as work on a request that has passed this limit, until the mark is dropped.
#[inline]
pub(crate) fn enter(limit: Option<StateId>) -> Option<Inside> {
    let limit = limit?;
    Some(Inside { limit, hidden: PASSED.with(|passed| passed[place(limit)].replace(Some(limit))) })
}

/// Ends on drop, so also where the work panics.
#[must_use = "the mark ends when this is dropped"]
pub(crate) struct Inside {
    limit: StateId,
    /// What was there before.
    hidden: Option<StateId>,
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        PASSED.with(|passed| passed[place(self.limit)].set(self.hidden));
    }
}

/// A power of two: many more than the limits that a request passes.
const PLACES: usize = 16;

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_limit_is_passed_as_long_as_the_work_takes_panics_included() {
        let limit = Arc::new(1);
        let limit = StateId::of(&limit);
        let outer = enter(Some(limit));
        assert!(is_inside(limit));
        drop(enter(Some(limit)));
        drop(enter(None));
        assert!(is_inside(limit));
        let work = || {
            let _inside = enter(Some(limit));
            panic!("the work panics")
        };
        assert!(catch_unwind(work).is_err());
        assert!(is_inside(limit));
        drop(outer);
        assert!(!is_inside(limit));
    }

    #[test]
    fn however_deep_the_stack_nothing_is_left_of_it() {
        fn nested(limits: &[StateId]) {
            if let Some((limit, rest)) = limits.split_first() {
                assert!(!is_inside(*limit));
                let _inside = enter(Some(*limit));
                assert!(is_inside(*limit));
                nested(rest);
                assert!(is_inside(*limit));
            }
        }
        let states: Vec<_> = (0..5 * PLACES).map(Arc::new).collect();
        let limits: Vec<_> = states.iter().map(StateId::of).collect();
        nested(&limits);
        assert!(limits.iter().all(|limit| !is_inside(*limit)));
    }
}

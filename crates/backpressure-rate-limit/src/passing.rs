//! Which limits the request that is being worked on has passed.
//!
//! A layer that is there twice, on the router and on a route, counts each request twice, and nothing else would show it. The
//! mark cannot be in the request: only HTTP requests have room for one, and putting it there allocates. It is in the thread
//! instead, while the inner service works on the request: a few instructions, and lost only where the request goes on in
//! another task.

use std::cell::Cell;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use backpressure_core::StateId;
use pin_project::pin_project;

struct Passed {
    limits: [Cell<Option<StateId>>; DEEPEST],
    depth: Cell<usize>,
}

thread_local! {
    static PASSED: Passed = const { Passed { limits: [const { Cell::new(None) }; DEEPEST], depth: Cell::new(0) } };
}

/// Whether the request that this thread works on is inside of this limit.
#[inline]
pub(crate) fn is_inside(limit: StateId) -> bool {
    PASSED.with(|passed| {
        let depth = passed.depth.get().min(DEEPEST);
        depth > 0 && passed.limits[..depth].iter().any(|outer| outer.get() == Some(limit))
    })
}

/// A call of the inner service, by a request that has passed a limit.
#[pin_project]
pub(crate) struct Passing<F> {
    #[pin]
    call: F,
    limit: Option<StateId>,
}

impl<F> Passing<F> {
    #[inline]
    pub(crate) fn new(limit: Option<StateId>, call: impl FnOnce() -> F) -> Self {
        Self { call: inside(limit, call), limit }
    }
}

impl<F: Future> Future for Passing<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        inside(*this.limit, || this.call.poll(cx))
    }
}

#[inline]
fn inside<R>(limit: Option<StateId>, work: impl FnOnce() -> R) -> R {
    let _inside = Inside::new(limit);
    work()
}

/// Ends on drop, so also where the work panics.
struct Inside {
    // Of the thread that made it.
    not_send: PhantomData<*const ()>,
}

impl Inside {
    #[inline]
    fn new(limit: Option<StateId>) -> Self {
        PASSED.with(|passed| {
            let depth = passed.depth.get();
            // Deeper than that is only counted, so that it is left in step.
            if let Some(outer) = passed.limits.get(depth) {
                outer.set(limit);
            }
            passed.depth.set(depth + 1);
        });
        Self { not_send: PhantomData }
    }
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        PASSED.with(|passed| passed.depth.set(passed.depth.get() - 1));
    }
}

/// Limits round one service: a stack of eight is one that nobody builds by mistake.
const DEEPEST: usize = 8;

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_limit_is_passed_as_long_as_the_work_takes_panics_included() {
        let (outer, other) = (Arc::new(1), Arc::new(2));
        let (outer_id, other_id) = (StateId::of(&outer), StateId::of(&other));
        inside(Some(outer_id), || {
            assert!(is_inside(outer_id) && !is_inside(other_id));
            inside(Some(other_id), || assert!(is_inside(outer_id) && is_inside(other_id)));
            inside(None, || assert!(is_inside(outer_id) && !is_inside(other_id)));
            assert!(catch_unwind(|| inside(Some(other_id), || panic!("the work panics"))).is_err());
            assert!(is_inside(outer_id) && !is_inside(other_id));
        });
        assert!(!is_inside(outer_id));
    }

    #[test]
    fn a_stack_deeper_than_is_watched_is_left_as_it_was_entered() {
        fn nested(levels: usize, state: StateId) {
            if levels > 0 {
                inside(Some(state), || nested(levels - 1, state));
            }
        }
        let state = Arc::new(1);
        nested(3 * DEEPEST, StateId::of(&state));
        assert!(!is_inside(StateId::of(&state)));
    }
}

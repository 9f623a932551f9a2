//! The only place that names a lock or an atomic: the same code runs plain and under loom.

#[cfg(backpressure_loom)]
pub(crate) use self::modelled::{AtomicU64, AtomicUsize, Config, Guard, Lock};
#[cfg(not(backpressure_loom))]
pub(crate) use self::plain::{Config, Guard, Lock};
#[cfg(not(backpressure_loom))]
pub(crate) use std::sync::atomic::{AtomicU64, AtomicUsize};

#[cfg(not(backpressure_loom))]
mod plain {
    use std::sync::atomic::{AtomicBool, Ordering};

    use crossbeam_utils::atomic::AtomicCell;

    /// Held for some tens of nanoseconds, and let go by a plain store: half the cost of a lock that can park, and no larger than
    /// a byte.
    /// Who finds it taken yields to the scheduler.
    pub(crate) type Lock<T> = spin::mutex::SpinMutex<T, spin::relax::Yield>;
    pub(crate) type Guard<'a, T> = spin::mutex::SpinMutexGuard<'a, T, spin::relax::Yield>;

    /// A configuration that every decision reads and almost nobody writes: readers write to no shared memory, and read it in
    /// place as
    /// long as it was never replaced.
    pub(crate) struct Config<A> {
        first: A,
        replaced: AtomicBool,
        /// Read only once `replaced` says so.
        latest: AtomicCell<A>,
    }

    impl<A: Copy> Config<A> {
        pub(crate) const fn new(algorithm: A) -> Self {
            Self { first: algorithm, replaced: AtomicBool::new(false), latest: AtomicCell::new(algorithm) }
        }

        /// Returns the configuration in place, as long as it was never replaced; else ask for the [`latest`](Self::latest).
        #[inline]
        pub(crate) fn first(&self) -> Option<&A> {
            // Acquire: pairs with the release in `store`, so that whoever sees the flag sees what it stands for.
            if self.replaced.load(Ordering::Acquire) { None } else { Some(&self.first) }
        }

        #[cold]
        #[inline(never)]
        pub(crate) fn latest(&self) -> A {
            self.latest.load()
        }

        pub(crate) fn load(&self) -> A {
            self.first().copied().unwrap_or_else(|| self.latest())
        }

        pub(crate) fn store(&self, algorithm: A) {
            self.latest.store(algorithm);
            self.replaced.store(true, Ordering::Release);
        }
    }
}

#[cfg(backpressure_loom)]
mod modelled {
    pub(crate) use loom::sync::atomic::{AtomicU64, AtomicUsize};

    pub(crate) type Guard<'a, T> = loom::sync::MutexGuard<'a, T>;

    #[derive(Default)]
    pub(crate) struct Lock<T>(loom::sync::Mutex<T>);

    impl<T> Lock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().expect("a model that panics has failed already")
        }
    }

    pub(crate) struct Config<A>(Lock<A>);

    impl<A: Copy> Config<A> {
        pub(crate) fn new(algorithm: A) -> Self {
            Self(Lock::new(algorithm))
        }

        pub(crate) fn first(&self) -> Option<&A> {
            None
        }

        pub(crate) fn latest(&self) -> A {
            *self.0.lock()
        }

        pub(crate) fn load(&self) -> A {
            self.latest()
        }

        pub(crate) fn store(&self, algorithm: A) {
            *self.0.lock() = algorithm;
        }
    }
}

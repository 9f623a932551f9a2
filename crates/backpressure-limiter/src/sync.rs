//! The only place that names a lock or an atomic: the same code runs plain and under loom.

#[cfg(backpressure_loom)]
pub(crate) use self::modelled::{AtomicU64, AtomicUsize, Config, Lock};
#[cfg(not(backpressure_loom))]
pub(crate) use self::plain::{Config, Lock};
#[cfg(not(backpressure_loom))]
pub(crate) use std::sync::atomic::{AtomicU64, AtomicUsize};

#[cfg(not(backpressure_loom))]
mod plain {
    use crossbeam_utils::atomic::AtomicCell;

    pub(crate) use parking_lot::Mutex as Lock;

    /// A configuration that every decision reads and almost nobody writes: readers write to no shared memory.
    pub(crate) struct Config<A>(AtomicCell<A>);

    impl<A: Copy> Config<A> {
        pub(crate) const fn new(algorithm: A) -> Self {
            Self(AtomicCell::new(algorithm))
        }

        #[inline]
        pub(crate) fn load(&self) -> A {
            self.0.load()
        }

        pub(crate) fn store(&self, algorithm: A) {
            self.0.store(algorithm);
        }
    }
}

#[cfg(backpressure_loom)]
mod modelled {
    pub(crate) use loom::sync::atomic::{AtomicU64, AtomicUsize};

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

        pub(crate) fn load(&self) -> A {
            *self.0.lock()
        }

        pub(crate) fn store(&self, algorithm: A) {
            *self.0.lock() = algorithm;
        }
    }
}

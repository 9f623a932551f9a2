//! The only place that names a lock or an atomic: the same code runs plain and under loom.

#[cfg(backpressure_loom)]
pub(crate) use self::modelled::{Arc, AtomicU64, Mutex, MutexGuard};
#[cfg(not(backpressure_loom))]
pub(crate) use parking_lot::{Mutex, MutexGuard};
#[cfg(not(backpressure_loom))]
pub(crate) use std::sync::{Arc, atomic::AtomicU64};

#[cfg(backpressure_loom)]
mod modelled {
    pub(crate) use loom::sync::{Arc, MutexGuard, atomic::AtomicU64};

    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("a model that panics has failed already")
        }
    }
}

//! The only place that names a lock: the same code runs plain and under loom.

#[cfg(backpressure_loom)]
pub(crate) use self::modelled::Mutex;
#[cfg(not(backpressure_loom))]
pub(crate) use parking_lot::Mutex;

#[cfg(backpressure_loom)]
mod modelled {
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().expect("a model that panics has failed already")
        }
    }
}

//! The gate: bounded places, and a bounded line of those who wait for one.

mod enter;
mod idle;
mod state;
#[cfg(test)]
#[cfg(not(backpressure_loom))]
mod tests;
mod waiters;
mod word;

use std::fmt;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use backpressure_core::{Class, Overflow, Timestamp, nanos};
use tokio::time::Instant;

pub use self::enter::Enter;
pub use self::idle::Idle;
use self::state::{Load, Settings, Standing, State};
use self::waiters::Ticket;
use self::word::Word;
use crate::sync::{Arc, AtomicU64, Mutex};
use crate::{LineError, Order};

/// A bounded number of places, and a bounded line of those who wait for one.
///
/// Whoever has a [`Place`] is one of at most [`places`](Self::places); whoever finds none waits in the line, is refused, or takes
/// the place in line of somebody else, as [`queue`](Self::queue), [`overflow`](Self::overflow) and the [`Class`]es say. A place
/// that is given back passes straight to the next in line, so that no newcomer comes between. It is a cheap handle: clones share
/// one gate.
///
/// # Classes
///
/// Who has a higher [`Class`] is next whatever the order, and takes the place in a full line of the lowest class there. A share of
/// the places can be [reserved](Self::reserve) for the higher classes.
///
/// # Fairness
///
/// Within a class nobody overtakes the [`Order`]: a newcomer finds a place at once only where nobody of its class or a higher one
/// waits.
///
/// # Memory
///
/// Nothing for who need not wait. 56 bytes for each waiter, in one allocation that grows as it is used, at most doubling, and
/// stays as long as the line ever was. Whoever takes the places of others in line makes a list of them for as long as that takes.
///
/// # Complexity
///
/// Entering and leaving are one compare-and-swap each while nobody waits and a place is free. Otherwise a lock is taken for
/// constant time (evicting by weight: for each that is evicted). Neither a wake-up nor the drop of a waker happens under it.
///
/// # Examples
///
/// ```
/// use backpressure_core::Class;
/// use backpressure_queue::{Gate, LineError};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), LineError> {
/// let gate = Gate::new(1).queue(1);
/// let place = gate.try_enter(Class::Default).expect("nobody is there yet");
///
/// // There is no other place, and nobody may wait twice over.
/// assert!(gate.try_enter(Class::Default).is_none());
/// let waiting = tokio::spawn(gate.enter(Class::Default));
/// tokio::task::yield_now().await;
/// assert_eq!(gate.enter(Class::Default).await.unwrap_err(), LineError::Full);
///
/// drop(place);
/// let place = waiting.await.unwrap()?;
/// assert_eq!((gate.in_use(), gate.waiting()), (1, 0));
/// # drop(place);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Gate {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    /// How many places there are and are in use, and how many wait: all that an entry or an exit has to know.
    word: AtomicU64,
    settings: Settings,
    /// Where the timestamps of the gate begin.
    origin: Instant,
    state: Mutex<State>,
}

/// A place: while it is held, it is one of those [in use](Gate::in_use).
///
/// Dropping it gives it back: to the next in line, who is woken at once, or to whoever comes.
#[must_use = "a place is given back as soon as this is dropped"]
pub struct Place {
    gate: Arc<Shared>,
}

impl Gate {
    /// The most places, and the longest line: 2 097 151.
    pub const MOST: usize = Word::MOST;

    /// Makes a gate of this many places at which nobody waits.
    ///
    /// With 0 places nobody gets in until [`set_places`](Self::set_places) says otherwise.
    ///
    /// # Panics
    ///
    /// If `places` is more than [`MOST`](Self::MOST).
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self::with(places, Settings::default())
    }

    /// Sets how many may wait: 0 without it. More than [`MOST`](Self::MOST) is as many as that.
    ///
    /// This and the other settings make a new gate, empty and open: handles that were cloned before stay with the old one.
    #[must_use]
    pub fn queue(self, queue: usize) -> Self {
        self.set(|settings| settings.queue = queue)
    }

    /// Sets how much those who wait may weigh together: without it, or with `u64::MAX`, only their number is bounded.
    #[must_use]
    pub fn queue_weight(self, weight: u64) -> Self {
        self.set(|settings| settings.queue_weight = weight)
    }

    /// Sets who of a class is next: [`Order::Fifo`] without it.
    #[must_use]
    pub fn order(self, order: Order) -> Self {
        self.set(|settings| settings.order = order)
    }

    /// Sets what happens where the line is full: [`Overflow::DropNewest`] without it.
    ///
    /// Under [`Overflow::Block`] the line has no bound but [`MOST`](Self::MOST): who finds it full waits for room, which is
    /// waiting at its end. Bound such a wait with [`Enter::until`].
    #[must_use]
    pub fn overflow(self, overflow: Overflow) -> Self {
        self.set(|settings| settings.overflow = overflow)
    }

    /// Reserves this part of the places for `class` and what is above it: the lower classes never use it, even where it is free.
    ///
    /// Of 10 places with 20 % reserved for [`Class::Critical`], the others use 8. What is reserved adds up, also for one class, and
    /// what that keeps from a class is rounded down to whole places, so that of a single place nothing is reserved. To reserve for
    /// the lowest class changes nothing.
    ///
    /// # Panics
    ///
    /// If all classes together reserve 100 % or more: the lowest would never get in.
    #[must_use]
    pub fn reserve(self, class: Class, percent: u8) -> Self {
        self.set(|settings| settings.reserve(class, percent))
    }

    /// Returns how many places there are.
    #[inline]
    #[must_use]
    pub fn places(&self) -> usize {
        self.shared.load().places()
    }

    /// Returns how many places are in use. More than there are, where they were made fewer and the work has not ended yet.
    ///
    /// Who reads that somebody has left also sees what that one did before.
    #[inline]
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.shared.load().in_use()
    }

    /// Returns how many wait.
    #[inline]
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.load().waiting()
    }

    /// Returns the places in use and those who wait, of one moment.
    #[inline]
    #[must_use]
    pub fn occupancy(&self) -> (usize, usize) {
        let word = self.shared.load();
        (word.in_use(), word.waiting())
    }

    /// Returns how much those who wait weigh together, `u64::MAX` at the most.
    #[must_use]
    pub fn waiting_weight(&self) -> u64 {
        self.shared.state.lock().weight()
    }

    /// Returns how many may wait.
    #[must_use]
    pub fn queue_capacity(&self) -> usize {
        self.shared.settings.queue
    }

    /// Changes how many places there are. More let those who wait in at once; fewer take effect as places are given back, and
    /// nobody waits for that here.
    ///
    /// # Panics
    ///
    /// If `places` is more than [`MOST`](Self::MOST).
    pub fn set_places(&self, places: usize) {
        assert_places(places);
        let shared = &*self.shared;
        let now = shared.now();
        shared.update(|state| state.set_places(shared, places));
        while let Some(waker) = shared.update(|state| state.let_in(shared, now)) {
            waker.wake();
        }
    }

    /// Takes a place that is free, and waits for none.
    ///
    /// `None` where no place is free to this class, where anybody waits, and where the gate is closed.
    #[inline]
    #[must_use]
    pub fn try_enter(&self, class: Class) -> Option<Place> {
        let shared = &*self.shared;
        let enters = match shared.try_enter(class) {
            Ok(()) => true,
            Err(seen) => seen.is_watched() && shared.update(|state| state.try_enter(shared, class)),
        };
        enters.then(|| Place { gate: Arc::clone(&self.shared) })
    }

    /// Waits for a place. The line is joined when the future is first polled, not before.
    ///
    /// # Errors
    ///
    /// At the first poll [`LineError::Full`], [`LineError::TooHeavy`] and [`LineError::Closed`], and [`LineError::Expired`] where
    /// the deadline has passed; later [`LineError::Evicted`], [`LineError::Expired`] and [`LineError::Closed`].
    pub fn enter(&self, class: Class) -> Enter {
        Enter::new(Arc::clone(&self.shared), class)
    }

    /// Returns how [`enter`](Self::enter) would refuse somebody of this class and weight now; `None` where it would let them in
    /// or, while they have time, have them wait.
    #[must_use]
    pub fn refusal(&self, class: Class, weight: u64) -> Option<LineError> {
        let shared = &*self.shared;
        let (word, settings) = (shared.load(), &shared.settings);
        if !word.is_watched() {
            // Nobody need be asked where the line is neither full nor closed: that is, nearly always.
            if word.waiting() < settings.queue && settings.queue_weight == u64::MAX {
                return None;
            }
            // Nor where there is no line: a place is free, or all are taken.
            if settings.has_no_line() && weight <= settings.queue_weight {
                return (word.in_use() >= settings.ceiling(class, word.places())).then_some(LineError::Full);
            }
        }
        shared.state.lock().refusal(shared, Load { class, weight })
    }

    /// Returns how long somebody of this class who began to wait now would wait, going by how fast places were given back while
    /// all were in use: until those before it in line are in, and a place that is open to its class is free. `None` until that is
    /// known.
    #[must_use]
    pub fn estimated_wait(&self, class: Class) -> Option<Duration> {
        let shared = &*self.shared;
        // The other orders do not depend on the time.
        let now = if matches!(shared.settings.order, Order::Adaptive(_)) { shared.now() } else { Timestamp::ORIGIN };
        shared.state.lock().estimated_wait(shared, class, now)
    }

    /// Closes the gate to newcomers: they get [`LineError::Closed`]. Those who wait get their places.
    pub fn close_to_newcomers(&self) {
        let shared = &*self.shared;
        shared.update(|state| state.close(shared));
    }

    /// Closes the gate for ever: newcomers and those who wait get [`LineError::Closed`]. Who has a place keeps it, and so does
    /// one to whom it was passed on before, even if it does not know yet.
    pub fn close(&self) {
        let shared = &*self.shared;
        self.close_to_newcomers();
        while let Some(waker) = shared.update(|state| state.send_away(shared)) {
            waker.wake();
        }
        shared.wake_if_idle();
    }

    /// Waits until no place is in use and nobody waits.
    pub fn idle(&self) -> Idle {
        Idle::new(Arc::clone(&self.shared))
    }

    fn set(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.shared.settings;
        change(&mut settings);
        settings.queue = settings.queue.min(Self::MOST);
        Self::with(self.places(), settings)
    }

    fn with(places: usize, settings: Settings) -> Self {
        assert_places(places);
        let shared = Shared {
            word: AtomicU64::new(Word::of(places).0),
            settings,
            origin: Instant::now(),
            state: Mutex::new(State::default()),
        };
        Self { shared: Arc::new(shared) }
    }
}

impl Shared {
    fn load(&self) -> Word {
        // Acquire: who reads that somebody has left comes after what that one did.
        Word(self.word.load(Ordering::Acquire))
    }

    fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    fn at(&self, instant: Instant) -> Timestamp {
        Timestamp::from_nanos(nanos(instant.saturating_duration_since(self.origin)))
    }

    /// Changes the state under the lock. A waker that comes out of it is for the caller to wake or drop, not for `change`: both
    /// run foreign code, which may drop a place or a wait of this very gate.
    fn update<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        change(&mut self.state.lock())
    }

    /// Takes a place without the lock; where that cannot be, returns the counts that say so.
    #[inline]
    fn try_enter(&self, class: Class) -> Result<(), Word> {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let seen = Word(word);
            if seen.needs_the_lock() || seen.in_use() >= self.settings.ceiling(class, seen.places()) {
                return Err(seen);
            }
            // Acquire: who takes a place comes after what was done in it before. Release: for those who look at the counts.
            match self.word.compare_exchange_weak(word, seen.entered().0, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(changed) => word = changed,
            }
        }
    }

    /// Takes a place, or waits for one until the deadline.
    fn join(&self, load: Load, deadline: Option<Instant>, waker: &Waker) -> Standing {
        if self.try_enter(load.class).is_ok() {
            return Standing::Settled(Ok(()));
        }
        let instant = Instant::now();
        let now = self.at(instant);
        let waker = deadline.is_none_or(|deadline| instant < deadline).then_some(waker);
        let (standing, evicted) = self.update(|state| state.join(self, load, waker, now));
        for waker in evicted {
            waker.wake();
        }
        standing
    }

    /// Says how a waiter stands, and registers its waker if it has to wait on.
    fn ask(&self, ticket: Ticket, waker: &Waker) -> Option<Result<(), LineError>> {
        let (standing, replaced) = self.update(|state| state.ask(ticket, waker));
        drop(replaced);
        standing
    }

    /// Ends the wait of a waiter whose deadline has passed, unless it was let in meanwhile.
    fn expire(&self, ticket: Ticket) -> Result<(), LineError> {
        let (result, unused) = self.update(|state| state.expire(self, ticket));
        drop(unused);
        if result.is_err() {
            self.wake_if_idle();
        }
        result
    }

    /// Takes a waiter out of the line; if it was let in, its place goes to the next.
    fn leave(&self, ticket: Ticket) {
        let (had_a_place, unused) = self.update(|state| state.leave(self, ticket));
        drop(unused);
        if had_a_place {
            self.exit();
        } else {
            self.wake_if_idle();
        }
    }

    /// Gives a place back.
    #[inline]
    fn exit(&self) {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let seen = Word(word);
            if seen.needs_the_lock() || seen.in_use() >= self.settings.ceiling(Class::Background, seen.places()) {
                return self.exit_slowly();
            }
            // Release: whoever takes this place next comes after what was done in it.
            match self.word.compare_exchange_weak(word, seen.left().0, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(changed) => word = changed,
            }
        }
    }

    /// Gives a place back where somebody waits or would have had to: to the next, or to nobody.
    #[cold]
    fn exit_slowly(&self) {
        let now = self.now();
        if let Some(waker) = self.update(|state| state.exit(self, now)) {
            waker.wake();
        }
        self.wake_if_idle();
    }

    fn wake_if_idle(&self) {
        if self.load().is_watched() {
            for waker in self.update(|state| state.watchers_if_idle(self)) {
                waker.wake();
            }
        }
    }
}

impl Drop for Place {
    #[inline]
    fn drop(&mut self) {
        self.gate.exit();
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.shared.load();
        f.debug_struct("Gate")
            .field("places", &word.places())
            .field("in_use", &word.in_use())
            .field("waiting", &word.waiting())
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}

fn assert_places(places: usize) {
    assert!(places <= Gate::MOST, "a gate of {places} places: at most {} are possible", Gate::MOST);
}

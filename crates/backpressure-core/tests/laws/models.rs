//! Every algorithm equals a model that follows its definition word for word: it keeps all that passed and recounts it each time.

use std::fmt::Debug;

use backpressure_core::Outcome;

use crate::script::{passed, play, scripts, starts};
use crate::subjects::{Setup, Subject, for_all};

law!(every_decision_is_that_of_the_model);

fn every_decision_is_that_of_the_model<A: Subject>() {
    for_all((A::setups(), starts(), scripts(40)), |(setup, start, script)| {
        let requests = play(&setup.facts, start, &script);
        let Setup { algorithm, facts } = setup;
        let (mut state, mut model) = (A::State::default(), facts.model);
        for request in requests {
            let expected = answer(&*model, request.now.as_nanos(), request.cost);
            let decision = algorithm.decide(&mut state, request.now, request.cost);
            assert_eq!(decision.outcome, expected, "{request:?} leaves {state:?} beside {model:?}");
            if passed(request, expected).is_some() {
                model.pass(request.now.as_nanos(), request.cost);
            }
        }
    });
}

/// A definition that can be asked, as long as time does not go back.
pub(crate) trait Model: Debug {
    fn capacity(&self) -> u64;

    /// Returns how long a request of this cost, 1 to the capacity, has to wait for its turn if it is let through at `now`.
    fn fits(&self, now: u64, cost: u64) -> Option<u64>;

    /// Returns the times after `now` at which a request that does not fit might: the first at which it does is its retry.
    fn candidates(&self, now: u64, cost: u64) -> Vec<u64>;

    /// Writes down what was let through.
    fn pass(&mut self, now: u64, cost: u64);
}

fn answer(model: &dyn Model, now: u64, cost: u64) -> Outcome {
    if cost == 0 {
        return Outcome::Admit;
    }
    if cost > model.capacity() {
        return Outcome::Never;
    }
    match model.fits(now, cost) {
        Some(0) => Outcome::Admit,
        Some(by) => Outcome::Delay { by },
        None => {
            let mut candidates = model.candidates(now, cost);
            candidates.sort_unstable();
            let retry = candidates.into_iter().find(|at| *at > now && model.fits(*at, cost).is_some());
            Outcome::Reject { retry_after: retry.expect("what is at most the capacity fits some day") - now }
        }
    }
}

/// All that passed, and when.
type Ledger = Vec<(u64, u64)>;

/// The sliding log: a unit counts for a window from when it was admitted.
#[derive(Debug)]
pub(crate) struct Log {
    limit: u64,
    window: u64,
    units: Vec<u64>,
}

impl Log {
    pub(crate) fn new(limit: u32, window: u64) -> Self {
        Self { limit: u64::from(limit), window, units: Vec::new() }
    }
}

impl Model for Log {
    fn capacity(&self) -> u64 {
        self.limit
    }

    fn fits(&self, now: u64, cost: u64) -> Option<u64> {
        let in_window = self.units.iter().filter(|at| now - **at < self.window).map(|_| 1).sum::<u64>();
        (in_window + cost <= self.limit).then_some(0)
    }

    fn candidates(&self, _now: u64, _cost: u64) -> Vec<u64> {
        self.units.iter().map(|at| at + self.window).collect()
    }

    fn pass(&mut self, now: u64, cost: u64) {
        self.units.extend((0..cost).map(|_| now));
    }
}

/// The fixed window: opened by what passes first, over after its length, opened again by what passes next.
#[derive(Debug)]
pub(crate) struct Fixed {
    limit: u64,
    window: u64,
    passed: Ledger,
}

impl Fixed {
    pub(crate) fn new(limit: u32, window: u64) -> Self {
        Self { limit: u64::from(limit), window, passed: Ledger::new() }
    }

    /// Cuts all that passed into windows, each its start and its count.
    fn windows(&self) -> Ledger {
        let mut windows = Ledger::new();
        for (at, cost) in &self.passed {
            match windows.last_mut() {
                Some((start, count)) if at - *start < self.window => *count += cost,
                _ => windows.push((*at, *cost)),
            }
        }
        windows
    }
}

impl Model for Fixed {
    fn capacity(&self) -> u64 {
        self.limit
    }

    fn fits(&self, now: u64, cost: u64) -> Option<u64> {
        let open = self.windows().into_iter().find(|(start, _)| now - start < self.window);
        (open.map_or(0, |(_, count)| count) + cost <= self.limit).then_some(0)
    }

    fn candidates(&self, _now: u64, _cost: u64) -> Vec<u64> {
        self.windows().into_iter().map(|(start, _)| start + self.window).collect()
    }

    fn pass(&mut self, now: u64, cost: u64) {
        self.passed.push((now, cost));
    }
}

/// The sliding window: windows end to end for as long as the one before counts, and fractions of numbers that do not round.
#[derive(Debug)]
pub(crate) struct Sliding {
    limit: u64,
    window: u64,
    /// The start of each window in which something passed, and how much.
    windows: Ledger,
}

impl Sliding {
    pub(crate) fn new(limit: u32, window: u64) -> Self {
        Self { limit: u64::from(limit), window, windows: Ledger::new() }
    }

    /// Returns when the window of `now` started: on the grid of the last one that counts still, or now.
    fn start_of(&self, now: u64) -> u64 {
        match self.windows.last() {
            Some((start, _)) if now - start < self.window => *start,
            Some((start, _)) if now - start < 2 * self.window => start + self.window,
            _ => now,
        }
    }

    fn count_of(&self, start: u64) -> i128 {
        self.windows.iter().find(|window| window.0 == start).map_or(0, |window| i128::from(window.1))
    }
}

impl Model for Sliding {
    fn capacity(&self) -> u64 {
        self.limit
    }

    /// previous × (w − e) / w + current + cost ≤ limit, as fractions over w.
    fn fits(&self, now: u64, cost: u64) -> Option<u64> {
        let start = self.start_of(now);
        let previous = start.checked_sub(self.window).map_or(0, |start| self.count_of(start));
        let (w, elapsed) = (i128::from(self.window), i128::from(now - start));
        let estimate = previous * (w - elapsed) + (self.count_of(start) + i128::from(cost)) * w;
        (estimate <= i128::from(self.limit) * w).then_some(0)
    }

    /// Waiting never makes a request fit less, so halving finds the first time at which it fits.
    fn candidates(&self, now: u64, cost: u64) -> Vec<u64> {
        let (mut refused, mut fits) = (now, now + 2 * self.window);
        while fits - refused > 1 {
            let between = refused + (fits - refused) / 2;
            if self.fits(between, cost).is_some() { fits = between } else { refused = between }
        }
        vec![fits]
    }

    fn pass(&mut self, now: u64, cost: u64) {
        let start = self.start_of(now);
        match self.windows.last_mut() {
            Some((last, count)) if *last == start => *count += cost,
            _ => self.windows.push((start, cost)),
        }
    }
}

/// The token bucket as an integer bucket: it gains 1 each nanosecond, and a token is an interval of those.
#[derive(Debug)]
pub(crate) struct Tokens {
    burst: u64,
    interval: u64,
    credit: u64,
    at: u64,
}

impl Tokens {
    pub(crate) fn new(burst: u32, interval: u64) -> Self {
        let burst = u64::from(burst);
        Self { burst, interval, credit: burst * interval, at: 0 }
    }

    fn credit_at(&self, now: u64) -> u64 {
        (self.credit + (now - self.at)).min(self.burst * self.interval)
    }
}

impl Model for Tokens {
    fn capacity(&self) -> u64 {
        self.burst
    }

    fn fits(&self, now: u64, cost: u64) -> Option<u64> {
        (self.credit_at(now) >= cost * self.interval).then_some(0)
    }

    fn candidates(&self, now: u64, cost: u64) -> Vec<u64> {
        vec![now + (cost * self.interval - self.credit_at(now))]
    }

    fn pass(&mut self, now: u64, cost: u64) {
        self.credit = self.credit_at(now) - cost * self.interval;
        self.at = now;
    }
}

/// The leaky bucket as its schedule: each unit has a turn, an interval after the one before or now if that is over, and at
/// most `queue` units have their turn ahead of them.
#[derive(Debug)]
pub(crate) struct Leaky {
    queue: usize,
    interval: u64,
    turns: Vec<u64>,
}

impl Leaky {
    pub(crate) fn new(queue: u32, interval: u64) -> Self {
        Self { queue: usize::try_from(queue).expect("a small number"), interval, turns: Vec::new() }
    }

    /// Returns the schedule as it would be with this request, and the place of its first turn.
    fn with(&self, now: u64, cost: u64) -> (Vec<u64>, usize) {
        let mut turns = self.turns.clone();
        for _ in 0..cost {
            let next = turns.last().map_or(now, |last| now.max(last + self.interval));
            turns.push(next);
        }
        (turns, self.turns.len())
    }
}

impl Model for Leaky {
    fn capacity(&self) -> u64 {
        u64::try_from(self.queue + 1).expect("a small number")
    }

    fn fits(&self, now: u64, cost: u64) -> Option<u64> {
        let (turns, first) = self.with(now, cost);
        let waiting = turns.iter().filter(|turn| **turn > now).count();
        (waiting <= self.queue).then(|| turns[first] - now)
    }

    /// Somebody else's turn, or the end of the last one.
    fn candidates(&self, now: u64, _cost: u64) -> Vec<u64> {
        self.with(now, 1).0
    }

    fn pass(&mut self, now: u64, cost: u64) {
        self.turns = self.with(now, cost).0;
    }
}

/// Several models that must all agree: the longest wait of each kind stands, and a request passes all of them or none.
#[derive(Debug)]
pub(crate) struct Together {
    members: Vec<Box<dyn Model>>,
}

impl Together {
    pub(crate) fn new(members: Vec<Box<dyn Model>>) -> Self {
        Self { members }
    }
}

impl Model for Together {
    fn capacity(&self) -> u64 {
        self.members.iter().map(|member| member.capacity()).min().unwrap_or(0)
    }

    fn fits(&self, now: u64, cost: u64) -> Option<u64> {
        let waits: Option<Vec<u64>> = self.members.iter().map(|member| member.fits(now, cost)).collect();
        waits?.into_iter().max()
    }

    fn candidates(&self, now: u64, cost: u64) -> Vec<u64> {
        let refusing = self.members.iter().filter(|member| member.fits(now, cost).is_none());
        refusing.flat_map(|member| member.candidates(now, cost)).collect()
    }

    fn pass(&mut self, now: u64, cost: u64) {
        for member in &mut self.members {
            member.pass(now, cost);
        }
    }
}

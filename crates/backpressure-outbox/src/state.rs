//! What an outbox knows beside its queue: the marks, the peer's wishes, the way to the end, the counts. It decides; it does not lock.

use std::mem;
use std::task::Waker;
use std::time::Duration;

use backpressure_core::{Depth, Exceeded, Lag, Level, Timestamp};
use backpressure_queue::{Counts, Load};

use crate::config::{Config, WhenSlow, mark};
use crate::flow::Awakened;
use crate::{Close, Dropped, Numbers, Signal};

#[derive(Default)]
pub(crate) struct State {
    /// `Some` while the task that writes waits.
    pub(crate) writer: Option<Waker>,
    /// Why and how this is to end, once that is clear.
    pub(crate) ending: Option<Box<Ending>>,
    lag: Lag,
    /// For how many nanoseconds the producer was to pause; while it is, less the time since when it is, modulo 2⁶⁴. Two threads may
    /// bring their times in the wrong order, so this may be some nanoseconds below 0.
    paused_for: u64,
    /// Messages that were flushed.
    written: u64,
    writes: u64,
    /// Nanoseconds.
    write_total: u64,
    write_max: u64,
    /// How many [`Outbox`](crate::Outbox)es there are.
    pub(crate) handles: u32,
    /// Above the high mark of either messages or bytes, until below the low one of both.
    level: Level,
    /// How full what the peer has sent is.
    pub(crate) inbound: Level,
    /// What the peer was told last.
    told: Level,
    /// Whether it is told of the inbox only.
    quiet: bool,
    slow: Slow,
    /// Whether there is something to take back when the depth falls: a pause, a lag, a word of the callback.
    is_strained: bool,
    pub(crate) held_by_peer: bool,
    /// Whether something is in the queue, and something urgent, as far as was seen under the lock.
    has_data: bool,
    pub(crate) has_urgent: bool,
    /// Whether the next message, and not only an event, concerns the task that writes.
    pub(crate) awaits_items: bool,
    pub(crate) ended: bool,
}

/// Why an outbox ends, decided by either end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) why: Why,
    pub(crate) close: Close,
    pub(crate) by: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// What waits is written first.
    Asked,
    Slow(Exceeded),
    Silent(u32),
}

/// What is known of a peer that reads slowly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Slow {
    #[default]
    Within,
    /// A limit is exceeded, and the callback has not been asked.
    Noticed(Exceeded),
    /// The callback lets it be.
    LetBe,
}

/// Something that was written and flushed.
#[derive(Clone, Copy)]
pub(crate) struct Write {
    pub(crate) messages: u64,
    /// For how many nanoseconds the transport made it wait.
    pub(crate) took: u64,
}

/// What is to be done without the lock, because the depth has changed.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) writer: Option<Waker>,
    /// Boxed, because hardly ever is anybody there: it costs nothing to look.
    pub(crate) resumed: Option<Box<Awakened>>,
    /// Whether this is the moment at which the connection begins to end.
    pub(crate) ends: bool,
}

impl State {
    pub(crate) fn new<M>(config: &Config<M>) -> Self {
        Self { quiet: config.quiet, ..Self::default() }
    }

    /// Takes note of how much waits. So much more would if there was room for it. The clock is read only where that matters.
    #[inline]
    pub(crate) fn observe<M>(&mut self, config: &Config<M>, load: Load, over: Load, now: impl FnOnce() -> Timestamp) -> Change {
        self.has_data = load.items > 0;
        if !self.is_strained && over == Load::ZERO && config.is_calm(load) {
            return Change::default();
        }
        self.observe_strain(config, load, over, now())
    }

    #[inline(never)]
    fn observe_strain<M>(&mut self, config: &Config<M>, load: Load, over: Load, now: Timestamp) -> Change {
        let resumed = self.mark(config, load, now);
        let was = (self.lag, self.slow);
        let depth = Depth {
            messages: (load.items as u64).saturating_add(over.items as u64),
            bytes: load.weight.saturating_add(over.weight),
        };
        let exceeded = config.slow.update(&mut self.lag, depth, now);
        let ends = self.act(config, exceeded, now);
        self.is_strained = self.level() == Level::High || self.lag != Lag::default() || self.slow != Slow::Within;
        let writer = if ends || was != (self.lag, self.slow) { self.writer.take() } else { None };
        Change { writer, resumed, ends }
    }

    /// As [`observe`](Self::observe), for a message that has arrived.
    #[inline]
    pub(crate) fn observe_arrival<M>(
        &mut self,
        config: &Config<M>,
        load: Load,
        over: Load,
        now: impl FnOnce() -> Timestamp,
    ) -> Change {
        let mut change = self.observe(config, load, over, now);
        if self.awaits_items && change.writer.is_none() {
            change.writer = self.writer.take();
        }
        change
    }

    /// Takes note of an urgent message, which is no part of the depth.
    pub(crate) const fn urgent_arrived(&mut self, admitted: bool) -> Change {
        self.has_urgent |= admitted;
        let writer = if self.awaits_items { self.writer.take() } else { None };
        Change { writer, resumed: None, ends: false }
    }

    /// Looks whether time alone has made the peer too slow, and returns whether that ends it.
    pub(crate) fn overdue<M>(&mut self, config: &Config<M>, now: Timestamp) -> bool {
        let overdue = config.slow.overdue(&self.lag, now);
        overdue.is_some() && self.act(config, overdue, now)
    }

    /// Returns when time alone will have made the peer too slow, if nobody has noticed it yet.
    pub(crate) fn overdue_at<M>(&self, config: &Config<M>) -> Option<Timestamp> {
        let watched = self.slow == Slow::Within && self.ending.is_none();
        if watched { config.slow.deadline(&self.lag) } else { None }
    }

    pub(crate) const fn has_noticed(&self) -> bool {
        matches!(self.slow, Slow::Noticed(_))
    }

    /// Whether there is more to know than what is to be written: an end, or a peer that may be too slow.
    pub(crate) fn wants_a_look(&self) -> bool {
        self.is_strained || self.ending.is_some()
    }

    /// Returns what the callback is to be asked about, once.
    pub(crate) const fn take_noticed(&mut self) -> Option<Exceeded> {
        let Slow::Noticed(exceeded) = self.slow else {
            return None;
        };
        self.slow = Slow::LetBe;
        Some(exceeded)
    }

    fn act<M>(&mut self, config: &Config<M>, exceeded: Option<Exceeded>, now: Timestamp) -> bool {
        let Some(exceeded) = exceeded else {
            if self.slow == Slow::LetBe {
                self.slow = Slow::Within;
            }
            return false;
        };
        match &config.when_slow {
            WhenSlow::Close(close) => self.end(config, Why::Slow(exceeded), close.clone(), now),
            WhenSlow::Ask(_) => {
                if self.slow == Slow::Within {
                    self.slow = Slow::Noticed(exceeded);
                }
                false
            }
        }
    }

    /// Returns whether this is how it ends: nothing else has ended it before, or only a wish that can wait.
    pub(crate) fn end<M>(&mut self, config: &Config<M>, why: Why, close: Close, now: Timestamp) -> bool {
        let outranked = self.ending.as_ref().is_none_or(|ending| ending.why == Why::Asked && why != Why::Asked);
        if outranked {
            let by = self.ending.as_ref().map_or(now.saturating_add(config.close_within), |ending| ending.by);
            self.ending = Some(Box::new(Ending { why, close, by }));
        }
        outranked
    }

    /// Whether the transport is to be given anything.
    pub(crate) fn has_next(&self) -> bool {
        self.has_urgent || (self.has_data && !self.held_by_peer) || self.told != self.congestion()
    }

    /// Returns what the peer is to be told of the flow now, once.
    pub(crate) fn take_signal(&mut self) -> Option<Signal> {
        let level = self.congestion();
        if mem::replace(&mut self.told, level) == level {
            return None;
        }
        Some(if level == Level::High { Signal::Pause } else { Signal::Resume })
    }

    pub(crate) const fn level(&self) -> Level {
        self.level
    }

    /// In either direction: what the peer is told.
    fn congestion(&self) -> Level {
        if self.quiet || self.inbound == Level::High { self.inbound } else { self.level }
    }

    /// Moves the marks, and the producer's flow with them. Returns who has waited for it to resume.
    fn mark<M>(&mut self, config: &Config<M>, load: Load, now: Timestamp) -> Option<Box<Awakened>> {
        let before = self.level;
        mark(&mut self.level, &config.message_marks, &config.byte_marks, load);
        match (before, self.level) {
            (Level::Low, Level::High) => {
                self.paused_for = self.paused_for.wrapping_sub(now.as_nanos());
                if let Some(flow) = &config.flow {
                    flow.add_pause();
                }
            }
            (Level::High, Level::Low) => {
                self.paused_for = self.paused_for.wrapping_add(now.as_nanos());
                if let Some(flow) = &config.flow {
                    return Some(flow.remove_pause()).filter(|resumed| !resumed.is_nobody()).map(Box::new);
                }
            }
            (Level::Low, Level::Low) | (Level::High, Level::High) => {}
        }
        None
    }

    /// Takes note of a write.
    pub(crate) const fn wrote(&mut self, write: Write) {
        self.written += write.messages;
        self.writes += 1;
        self.write_total = self.write_total.saturating_add(write.took);
        if write.took > self.write_max {
            self.write_max = write.took;
        }
    }

    /// The part of the numbers that is known here, and what follows from the counts of the queue.
    pub(crate) fn numbers(&self, counts: Counts, now: Timestamp) -> Numbers {
        let paused = self.level() == Level::High;
        let since = if paused { now.as_nanos() } else { 0 };
        let paused_for = self.paused_for.wrapping_add(since).cast_signed().max(0).cast_unsigned();
        let gone = counts.delivered + counts.evicted + counts.superseded + counts.discarded;
        Numbers {
            messages: counts.sent.saturating_sub(gone),
            paused,
            paused_for: Duration::from_nanos(paused_for),
            held_by_peer: self.held_by_peer,
            sent: counts.sent,
            written: self.written,
            in_flight: counts.delivered.saturating_sub(self.written),
            dropped: Dropped {
                evicted: counts.evicted,
                superseded: counts.superseded,
                refused: counts.refused,
                discarded: counts.discarded,
            },
            writes: self.writes,
            write_mean: Duration::from_nanos(self.write_total.checked_div(self.writes).unwrap_or(0)),
            write_max: Duration::from_nanos(self.write_max),
            ..Numbers::default()
        }
    }
}

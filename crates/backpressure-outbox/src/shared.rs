//! What both ends of an outbox share: the queue, and under one small lock what the queue does not know.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use backpressure_core::{Depth, Exceeded, Lag, Level, Timestamp};
use backpressure_queue::{Displaced, Item, ItemClass, Load, Queue, Refused, SendError, Sender, Sent};

use crate::builder::{Config, WhenSlow};
use crate::flow::Awakened;
use crate::sync::Mutex;
use crate::{Close, Dropped, Numbers, Signal};

/// The lock is taken before that of the queue and that of the flow, never after. No waker is woken and no message is dropped
/// under it.
pub(crate) struct Shared<M> {
    sender: Sender<M>,
    pub(crate) config: Arc<Config<M>>,
    state: Mutex<State>,
}

struct State {
    /// `Some` while the task that writes waits.
    writer: Option<Waker>,
    /// Why and how this is to end, once that is clear.
    ending: Option<Box<Ending>>,
    lag: Lag,
    /// For how many nanoseconds the producer was to pause; while it is, less the time since when it is, modulo 2⁶⁴.
    paused_for: u64,
    /// Messages that were flushed.
    written: u64,
    writes: u64,
    /// Nanoseconds.
    write_total: u64,
    write_max: u64,
    /// How many [`Outbox`](crate::Outbox)es there are.
    handles: u32,
    messages: Level,
    bytes: Level,
    /// What the peer was told last.
    told: Level,
    slow: Slow,
    held_by_peer: bool,
    /// Whether the next message, and not only an event, concerns the task that writes.
    awaits_items: bool,
    ended: bool,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slow {
    Within,
    /// A limit is exceeded, and the callback has not been asked.
    Noticed(Exceeded),
    /// The callback lets it be.
    LetBe,
}

/// What the task that writes has to do before it may wait.
pub(crate) enum Parked {
    /// It may wait, until then at most.
    Until(Option<Timestamp>),
    /// Something has happened since it looked.
    LookAgain,
}

/// Whom to wake without the lock.
#[derive(Default)]
struct Afterwards {
    writer: Option<Waker>,
    _resumed: Awakened,
}

impl<M> Shared<M> {
    pub(crate) fn new(sender: Sender<M>, config: Arc<Config<M>>) -> Self {
        let state = State {
            writer: None,
            ending: None,
            lag: Lag::default(),
            paused_for: 0,
            written: 0,
            writes: 0,
            write_total: 0,
            write_max: 0,
            handles: 0,
            messages: Level::Low,
            bytes: Level::Low,
            told: Level::Low,
            slow: Slow::Within,
            held_by_peer: false,
            awaits_items: false,
            ended: false,
        };
        Self { sender, config, state: Mutex::new(state) }
    }

    pub(crate) fn queue(&self) -> &Queue<M> {
        self.sender.queue()
    }

    pub(crate) fn sender(&self) -> &Sender<M> {
        &self.sender
    }

    /// Takes note of what became of a message: it arrived, whether there was room or not.
    pub(crate) fn arrived(&self, result: &Result<Sent<M>, SendError<M>>) {
        let over = match result {
            Ok(sent) => sent.iter().fold(Load::ZERO, |over, displaced| match displaced {
                Displaced::Evicted(item) => more(over, item.weight),
                Displaced::Superseded(_) => over,
            }),
            Err(SendError { item, reason: Refused::Full, .. }) => more(Load::ZERO, item.weight),
            // Too heavy for an empty outbox, or too late: that says nothing of the peer.
            Err(_) => return,
        };
        self.observe(over, true);
    }

    /// Takes note that the depth has changed. So much more would be inside if there was room for it.
    pub(crate) fn observe(&self, over: Load, arrived: bool) {
        let mut after = Afterwards::default();
        let close = {
            let mut state = self.state.lock();
            // Within the lock, so that no pause ends before it began.
            let now = self.config.now();
            // Within the lock, so that the level follows the depth in the order in which it is seen to change.
            let load = self.queue().load_besides_urgent();
            after._resumed = state.mark(&self.config, load, now);
            let was = (state.lag, state.slow);
            let exceeded = self.judge(&mut state, load, over, now);
            if (arrived && state.awaits_items) || was != (state.lag, state.slow) || exceeded {
                after.writer = state.writer.take();
            }
            exceeded
        };
        if close {
            self.discard();
        }
        drop(after);
    }

    /// Decides whether this is the moment to disconnect the peer, and has it so.
    fn judge(&self, state: &mut State, load: Load, over: Load, now: Timestamp) -> bool {
        let depth = Depth {
            messages: (load.items as u64).saturating_add(over.items as u64),
            bytes: load.weight.saturating_add(over.weight),
        };
        let exceeded = self.config.slow.update(&mut state.lag, depth, now);
        self.act(state, exceeded, now)
    }

    fn act(&self, state: &mut State, exceeded: Option<Exceeded>, now: Timestamp) -> bool {
        let Some(exceeded) = exceeded else {
            if state.slow == Slow::LetBe {
                state.slow = Slow::Within;
            }
            return false;
        };
        match &self.config.when_slow {
            WhenSlow::Close(close) => state.end(&self.config, Why::Slow(exceeded), close.clone(), now),
            WhenSlow::Ask(_) => {
                if state.slow == Slow::Within {
                    state.slow = Slow::Noticed(exceeded);
                }
                false
            }
        }
    }

    /// Looks whether time alone has made the peer too slow, and asks the callback where there is one.
    pub(crate) fn look(&self) -> Option<Ending> {
        let now = self.config.now();
        let (close, noticed) = {
            let mut state = self.state.lock();
            let overdue = self.config.slow.overdue(&state.lag, now);
            let close = overdue.is_some() && self.act(&mut state, overdue, now);
            let noticed = match state.slow {
                Slow::Noticed(exceeded) => {
                    state.slow = Slow::LetBe;
                    Some(exceeded)
                }
                Slow::Within | Slow::LetBe => None,
            };
            (close, noticed)
        };
        if close {
            self.discard();
        }
        if let (Some(exceeded), WhenSlow::Ask(decide)) = (noticed, &self.config.when_slow)
            && let Some(close) = decide(exceeded)
        {
            self.end(Why::Slow(exceeded), close);
        }
        self.state.lock().ending.as_deref().cloned()
    }

    /// Has this end. The first reason stays.
    pub(crate) fn end(&self, why: Why, close: Close) {
        let now = self.config.now();
        let (began, writer) = {
            let mut state = self.state.lock();
            (state.end(&self.config, why, close, now), state.writer.take())
        };
        if began {
            self.queue().close();
            if why != Why::Asked {
                self.discard();
            }
        }
        wake(writer);
    }

    /// Admits nothing more, and drops what is inside.
    pub(crate) fn discard(&self) {
        self.queue().close();
        let discarded: Vec<Item<M>> = self.queue().discard();
        drop(discarded);
        self.observe(Load::ZERO, false);
    }

    /// Takes note that nobody writes any more: what is inside will not leave, and the producer is not to wait for it.
    pub(crate) fn ended(&self) {
        self.discard();
        let unused = {
            let mut state = self.state.lock();
            state.ended = true;
            state.writer.take()
        };
        drop(unused);
    }

    /// Registers the task that writes, unless something has happened that it has not seen.
    pub(crate) fn park(&self, context: &Context<'_>, awaits_items: bool, seen_ending: bool) -> Parked {
        let waker = context.waker().clone();
        let _replaced;
        let mut state = self.state.lock();
        let unseen = (state.ending.is_some() && !seen_ending) || matches!(state.slow, Slow::Noticed(_));
        if unseen || (awaits_items && self.has_next(&state)) {
            return Parked::LookAgain;
        }
        _replaced = state.writer.replace(waker);
        state.awaits_items = awaits_items;
        let watched = state.slow == Slow::Within && state.ending.is_none();
        let deadline = if watched { self.config.slow.deadline(&state.lag) } else { None };
        drop(state);
        Parked::Until(deadline)
    }

    /// Whether the transport is to be given anything.
    pub(crate) fn has_something(&self) -> bool {
        self.has_next(&self.state.lock())
    }

    fn has_next(&self, state: &State) -> bool {
        let load = self.queue().load();
        let ready = if state.held_by_peer { load.items > self.queue().load_besides_urgent().items } else { load.items > 0 };
        ready || state.told != state.level()
    }

    /// Returns what the peer is to be told of the flow now, once.
    pub(crate) fn take_signal(&self) -> Option<Signal> {
        let mut state = self.state.lock();
        let level = state.level();
        if mem::replace(&mut state.told, level) == level {
            return None;
        }
        Some(if level == Level::High { Signal::Pause } else { Signal::Resume })
    }

    pub(crate) fn is_held_by_peer(&self) -> bool {
        self.state.lock().held_by_peer
    }

    pub(crate) fn hold_for_peer(&self, held: bool) {
        let writer = {
            let mut state = self.state.lock();
            let changed = mem::replace(&mut state.held_by_peer, held) != held;
            if changed && !held { state.writer.take() } else { None }
        };
        wake(writer);
    }

    /// Whether an urgent message had better be sent now: there is room for it, or there never will be.
    pub(crate) fn has_room_for_urgent(&self, message: &M) -> bool {
        let (all, others, reserve) = (self.queue().load(), self.queue().load_besides_urgent(), self.config.reserve);
        let (items, weight) = (all.items.saturating_sub(others.items), all.weight.saturating_sub(others.weight));
        let added = self.config.weigh(message);
        added > reserve.weight || (items < reserve.items && added <= reserve.weight.saturating_sub(weight))
    }

    pub(crate) fn send_urgent(&self, message: M) -> Result<Sent<M>, SendError<M>> {
        let weight = self.config.weigh(&message);
        let result = self.sender.try_send(Item::new(message).weight(weight).class(ItemClass::Urgent));
        self.wake_writer();
        result
    }

    /// Wakes the task that writes because of what is urgent.
    pub(crate) fn wake_writer(&self) {
        let writer = {
            let mut state = self.state.lock();
            if state.awaits_items { state.writer.take() } else { None }
        };
        wake(writer);
    }

    /// Takes note of a write: so many messages flushed, begun at that time.
    pub(crate) fn wrote(&self, messages: u64, began: Timestamp) {
        let took = self.config.now().nanos_since(began);
        let mut state = self.state.lock();
        state.written += messages;
        state.writes += 1;
        state.write_total = state.write_total.saturating_add(took);
        state.write_max = state.write_max.max(took);
    }

    pub(crate) fn handle_came(&self) {
        self.state.lock().handles += 1;
    }

    pub(crate) fn handle_left(&self) {
        let last = {
            let mut state = self.state.lock();
            state.handles -= 1;
            state.handles == 0
        };
        if last {
            self.end(Why::Asked, Close::NORMAL);
        }
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.state.lock().level() == Level::High
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state.lock().ended
    }

    pub(crate) fn numbers(&self) -> Numbers {
        let state = self.state.lock();
        // Within the lock: it must not be earlier than when the pause began.
        let now = if state.level() == Level::High { self.config.now() } else { Timestamp::ORIGIN };
        let (queue, high) = (self.queue(), state.level() == Level::High);
        let counts = queue.counts();
        let gone = counts.delivered + counts.evicted + counts.superseded + counts.discarded;
        Numbers {
            messages: counts.sent.saturating_sub(gone),
            bytes: queue.load().weight,
            oldest: queue.oldest_age(),
            paused: high,
            paused_for: Duration::from_nanos(state.paused_for.wrapping_add(now.as_nanos())),
            held_by_peer: state.held_by_peer,
            closed: queue.is_closed(),
            sent: counts.sent,
            written: state.written,
            in_flight: counts.delivered.saturating_sub(state.written),
            dropped: Dropped {
                evicted: counts.evicted,
                superseded: counts.superseded,
                refused: counts.refused,
                discarded: counts.discarded,
            },
            writes: state.writes,
            write_mean: Duration::from_nanos(state.write_total.checked_div(state.writes).unwrap_or(0)),
            write_max: Duration::from_nanos(state.write_max),
        }
    }
}

impl State {
    /// Above the high mark of either, until below the low one of both.
    fn level(&self) -> Level {
        if self.messages == Level::Low { self.bytes } else { Level::High }
    }

    /// Moves the marks, and the producer's flow with them. Returns who has waited for it to resume.
    fn mark<M>(&mut self, config: &Config<M>, load: Load, now: Timestamp) -> Awakened {
        let before = self.level();
        config.message_marks.update(&mut self.messages, load.items as u64);
        config.byte_marks.update(&mut self.bytes, load.weight);
        match (before, self.level()) {
            (Level::Low, Level::High) => {
                self.paused_for = self.paused_for.wrapping_sub(now.as_nanos());
                if let Some(flow) = &config.flow {
                    flow.add_pause();
                }
            }
            (Level::High, Level::Low) => {
                self.paused_for = self.paused_for.wrapping_add(now.as_nanos());
                if let Some(flow) = &config.flow {
                    return flow.remove_pause();
                }
            }
            (Level::Low, Level::Low) | (Level::High, Level::High) => {}
        }
        Awakened::default()
    }

    /// Returns whether this is how it ends: nothing else has ended it before, or only a wish that can wait.
    fn end<M>(&mut self, config: &Config<M>, why: Why, close: Close, now: Timestamp) -> bool {
        let outranked = self.ending.as_ref().is_none_or(|ending| ending.why == Why::Asked && why != Why::Asked);
        if outranked {
            let by = self.ending.as_ref().map_or(now.saturating_add(config.close_within), |ending| ending.by);
            self.ending = Some(Box::new(Ending { why, close, by }));
        }
        outranked
    }
}

impl Drop for Afterwards {
    fn drop(&mut self) {
        wake(self.writer.take());
    }
}

fn more(load: Load, weight: u64) -> Load {
    let mut load = load;
    load.items = load.items.saturating_add(1);
    load.weight = load.weight.saturating_add(weight);
    load
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

//! What both ends of an outbox share: the queue, and under one small lock what the queue does not know.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Waker};

use backpressure_core::{Level, Timestamp};
use backpressure_queue::{
    Displaced, Item, ItemClass, Load, Overflow, Queue, Received, Receiver, Refused, SendError, Sender, Sent, Wakes,
};
use tokio::time::Instant;

use crate::config::{Config, WhenSlow};
use crate::state::{Change, Ending, State, Why, Write};
use crate::sync::Mutex;
use crate::{Close, Numbers, Signal};

/// The lock is taken before that of the queue and that of the flow, never after. No waker is woken and no message is dropped
/// under it.
pub(crate) struct Shared<M> {
    sender: Sender<M>,
    pub(crate) config: Arc<Config<M>>,
    seat: Option<Box<dyn Seat>>,
    state: Mutex<State>,
}

/// The place of a connection in something larger, which it leaves before it ends. Called without any lock.
pub(crate) trait Seat: Send + Sync {
    /// Nothing more is to be sent to the connection. Called once or more often.
    fn leave(&self);

    /// Its transport is gone. Called once.
    fn left(&self);
}

/// What the task that writes has to do before it may wait.
pub(crate) enum Parked {
    /// It may wait, until then at most.
    Until(Option<Timestamp>),
    /// Something has happened since it looked.
    LookAgain,
}

/// What there is to do.
#[derive(Clone, Copy)]
pub(crate) struct Peek {
    /// Whether the transport is to be given anything.
    pub(crate) has_next: bool,
    /// Whether there is more to know than that.
    pub(crate) wants_a_look: bool,
}

/// What comes next for the peer.
pub(crate) enum Outgoing<M> {
    Signal(Signal),
    Urgent(M),
    Data(Received<M>),
}

/// What became of a message, and what is left to do without any lock.
pub(crate) struct Delivery<M> {
    pub(crate) result: Result<Sent<M>, SendError<M>>,
    pub(crate) change: Change,
}

impl<M> Shared<M> {
    pub(crate) fn new(sender: Sender<M>, config: Arc<Config<M>>, seat: Option<Box<dyn Seat>>) -> Self {
        let state = Mutex::new(State::new(&config));
        Self { sender, config, seat, state }
    }

    pub(crate) fn queue(&self) -> &Queue<M> {
        self.sender.queue()
    }

    pub(crate) fn sender(&self) -> &Sender<M> {
        &self.sender
    }

    /// Makes an item of a message: of the class that it has for this outbox.
    pub(crate) fn item(&self, class: ItemClass, message: M) -> Item<M> {
        let weight = self.config.weigh(&message);
        Item::new(message).weight(weight).class(self.config.class(class))
    }

    /// Sends without waiting.
    pub(crate) fn try_send(&self, item: Item<M>) -> Result<Sent<M>, SendError<M>> {
        let mut wakes = Wakes::default();
        let Delivery { result, change } = self.deliver(item, Instant::now(), &mut wakes);
        self.follow(change);
        result
    }

    /// Sends without waiting, and without waking or ending anything: what follows from it is for the caller to
    /// [`follow`](Self::follow), without the locks that it may hold.
    pub(crate) fn deliver(&self, item: Item<M>, at: Instant, wakes: &mut Wakes) -> Delivery<M> {
        let is_urgent = item.class == ItemClass::Urgent;
        let mut state = self.state.lock();
        // Within the lock, so that the level follows the depth in the order in which it changes.
        let (result, load) = self.sender.try_send_at(item, at, wakes);
        let change = match over(&result) {
            _ if is_urgent => state.urgent_arrived(result.is_ok()),
            Some(over) => state.observe_arrival(&self.config, load, over, || self.config.at(at)),
            None => Change::default(),
        };
        Delivery { result, change }
    }

    /// Takes note that a message which was refused is dropped, so that the peer learns of the gap. What is urgent is no part of the
    /// order, and a policy that drops has taken note of what it has refused.
    pub(crate) fn lost(&self, refused: &SendError<M>) {
        let marked = refused.reason == Refused::Full && self.queue().overflow() != Overflow::Block;
        if refused.item.class != ItemClass::Urgent && !marked {
            self.queue().mark_missed(refused.item.weight);
        }
    }

    /// Takes note of what became of a message that was sent past [`deliver`](Self::deliver), because it waited for room.
    pub(crate) fn arrived(&self, class: ItemClass, result: &Result<Sent<M>, SendError<M>>) {
        let change = {
            let mut state = self.state.lock();
            match over(result) {
                _ if class == ItemClass::Urgent => state.urgent_arrived(result.is_ok()),
                Some(over) => state.observe_arrival(&self.config, self.queue().load_besides_urgent(), over, || self.config.now()),
                None => return,
            }
        };
        self.follow(change);
    }

    /// Does what follows from a change of the depth: most often nothing.
    #[inline]
    pub(crate) fn follow(&self, change: Change) {
        let Change { writer, resumed, ends } = change;
        if ends {
            self.begin_to_end(true);
        }
        wake(writer);
        drop(resumed);
    }

    /// Takes note that the queue is emptier.
    fn emptied(&self) {
        let change = {
            let mut state = self.state.lock();
            state.observe(&self.config, self.queue().load_besides_urgent(), Load::ZERO, || self.config.now())
        };
        self.follow(change);
    }

    /// Looks whether time alone has made the peer too slow, and asks the callback where there is one.
    pub(crate) fn look(&self) -> Option<Box<Ending>> {
        let now = self.config.now();
        let (ends, noticed) = {
            let mut state = self.state.lock();
            let ends = state.overdue(&self.config, now);
            (ends, state.take_noticed())
        };
        if ends {
            self.begin_to_end(true);
        }
        if let (Some(exceeded), WhenSlow::Ask(decide)) = (noticed, &self.config.when_slow)
            && let Some(close) = decide(exceeded)
        {
            self.end(Why::Slow(exceeded), close);
        }
        self.state.lock().ending.clone()
    }

    /// Has this end. The first reason stays.
    pub(crate) fn end(&self, why: Why, close: Close) {
        let now = self.config.now();
        let (began, writer) = {
            let mut state = self.state.lock();
            (state.end(&self.config, why, close, now), state.writer.take())
        };
        if began {
            self.begin_to_end(why != Why::Asked);
        }
        wake(writer);
    }

    /// Admits nothing more, and leaves what this is a part of, before the slow part of ending; drops what is inside where it is not
    /// to be written any more.
    pub(crate) fn begin_to_end(&self, discards: bool) {
        self.queue().close();
        if let Some(seat) = &self.seat {
            seat.leave();
        }
        if discards {
            self.discard();
        }
    }

    /// Drops what is inside.
    pub(crate) fn discard(&self) {
        let discarded: Vec<Item<M>> = self.queue().discard();
        self.state.lock().has_urgent = false;
        drop(discarded);
        self.emptied();
    }

    /// Takes note that nobody writes any more: what is inside will not leave, and the producer is not to wait for it.
    pub(crate) fn ended(&self) {
        self.begin_to_end(true);
        let unused = {
            let mut state = self.state.lock();
            state.ended = true;
            state.writer.take()
        };
        drop(unused);
        if let Some(seat) = &self.seat {
            seat.left();
        }
    }

    /// Registers the task that writes, unless something has happened that it has not seen.
    pub(crate) fn park(&self, context: &Context<'_>, awaits_items: bool, seen_ending: bool) -> Parked {
        // Cloned and dropped without the lock: that is foreign code.
        let waker = context.waker().clone();
        let _replaced;
        let mut state = self.state.lock();
        let unseen = (state.ending.is_some() && !seen_ending) || state.has_noticed();
        if unseen || (awaits_items && state.has_next()) {
            return Parked::LookAgain;
        }
        _replaced = state.writer.replace(waker);
        state.awaits_items = awaits_items;
        Parked::Until(state.overdue_at(&self.config))
    }

    /// Returns what there is to do for the task that writes.
    pub(crate) fn peek(&self) -> Peek {
        let state = self.state.lock();
        Peek { has_next: state.has_next(), wants_a_look: state.wants_a_look() }
    }

    /// Returns what the peer is to be told of the flow now, once.
    pub(crate) fn take_signal(&self) -> Option<Signal> {
        self.state.lock().take_signal()
    }

    /// Takes out the next urgent message.
    pub(crate) fn take_urgent(&self, receiver: &mut Receiver<M>) -> Option<M> {
        let mut state = self.state.lock();
        if !state.has_urgent {
            return None;
        }
        let urgent = receiver.try_recv_urgent();
        state.has_urgent = urgent.is_some();
        urgent.map(|item| item.value)
    }

    /// Takes out what comes next: a signal, what is urgent, or a message, unless the peer wants none. Returns also whether there is
    /// more.
    pub(crate) fn take_next(&self, receiver: &mut Receiver<M>) -> (Option<Outgoing<M>>, bool) {
        let mut wakes = Wakes::default();
        let mut state = self.state.lock();
        if let Some(signal) = state.take_signal() {
            return (Some(Outgoing::Signal(signal)), state.has_next());
        }
        if state.has_urgent {
            if let Some(item) = receiver.try_recv_urgent() {
                return (Some(Outgoing::Urgent(item.value)), true);
            }
            state.has_urgent = false;
        }
        if state.held_by_peer {
            return (None, false);
        }
        let (received, load) = receiver.try_recv_with(&mut wakes);
        let change = state.observe(&self.config, load, Load::ZERO, || self.config.now());
        let has_next = state.has_next();
        drop(state);
        self.follow(change);
        (received.ok().map(Outgoing::Data), has_next)
    }

    pub(crate) fn hold_for_peer(&self, held: bool) {
        let writer = {
            let mut state = self.state.lock();
            let changed = mem::replace(&mut state.held_by_peer, held) != held;
            if changed && !held { state.writer.take() } else { None }
        };
        wake(writer);
    }

    /// Takes note of how full that is which the peer has sent. Called by the task that writes.
    pub(crate) fn set_inbound(&self, level: Level) {
        self.state.lock().inbound = level;
    }

    /// Whether an urgent message had better be sent now: there is room for it, or there never will be.
    pub(crate) fn has_room_for_urgent(&self, message: &M) -> bool {
        let (all, others, reserve) = (self.queue().load(), self.queue().load_besides_urgent(), self.config.reserve);
        let (items, weight) = (all.items.saturating_sub(others.items), all.weight.saturating_sub(others.weight));
        let added = self.config.weigh(message);
        let never = reserve.items == 0 || added > reserve.weight;
        never || (items < reserve.items && added <= reserve.weight.saturating_sub(weight))
    }

    /// Takes note of a write.
    pub(crate) fn wrote(&self, write: Write) {
        self.state.lock().wrote(write);
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
        let queue = self.queue();
        // Within the lock: it must not be earlier than when a pause began.
        let numbers = state.numbers(queue.counts(), self.config.now());
        Numbers { bytes: queue.load().weight, oldest: queue.oldest_age(), closed: queue.is_closed(), ..numbers }
    }
}

/// Returns what would be inside beside what is, if there was room for it; `None` if the message says nothing of the peer: too heavy
/// for an empty outbox, or too late.
fn over<M>(result: &Result<Sent<M>, SendError<M>>) -> Option<Load> {
    match result {
        Ok(sent) => Some(sent.iter().fold(Load::ZERO, |over, displaced| match displaced {
            Displaced::Evicted(item) => more(over, item.weight),
            Displaced::Superseded(_) => over,
        })),
        Err(SendError { item, reason: Refused::Full, .. }) => Some(more(Load::ZERO, item.weight)),
        Err(_) => None,
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

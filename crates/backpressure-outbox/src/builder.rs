//! How outboxes are configured.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backpressure_core::{Exceeded, Overflow, SlowConsumer, nanos};
use backpressure_queue::{Load, QueueBuilder};

use crate::config::{Config, Heartbeat, Keys, WhenSlow};
use crate::shared::{Seat, Shared};
use crate::{Close, Flow, Outbox, OutboxError, Outlet};

/// Configures outboxes, and makes one for each connection.
///
/// A builder is a handle: cloning it is cheap, and all connections that it makes share one configuration. Setting something on a
/// clone concerns only what that clone makes.
///
/// # Defaults
///
/// 50 messages, 1 MiB; 8 urgent messages and 64 KiB beside that; the arriving message is refused when there is no room; no limits
/// for slow consumers; the watermarks at 75 % and half of that; a heartbeat each 30 s, of which 2 may be missed; 1 s to close in; no
/// gap marker.
#[must_use = "a builder makes nothing before it is built"]
pub struct OutboxBuilder<M> {
    config: Arc<Config<M>>,
}

impl<M> OutboxBuilder<M> {
    pub(crate) fn new(weigh: impl Fn(&M) -> usize + Send + Sync + 'static) -> Self {
        Self { config: Arc::new(Config::new(Arc::new(weigh))) }
    }

    /// Bounds how many messages wait, what is urgent apart.
    pub fn max_messages(self, messages: usize) -> Self {
        self.set(|config| config.bound.items = messages)
    }

    /// Bounds how many bytes wait, what is urgent apart. A message of more is refused as too heavy.
    pub fn max_bytes(self, bytes: u64) -> Self {
        self.set(|config| config.bound.weight = bytes)
    }

    /// Sets the room for urgent messages, beside that for all others.
    pub fn reserve(self, reserve: Load) -> Self {
        self.set(|config| config.reserve = reserve)
    }

    /// Sets what happens to a message that arrives when there is no room.
    pub fn overflow(self, overflow: Overflow) -> Self {
        self.set(|config| config.overflow = overflow)
    }

    /// Has every value kept of what is [conflated](backpressure_queue::ItemClass::Conflated): it may be dropped as other messages may, but is not
    /// superseded.
    ///
    /// For one subscriber of many to the same messages, who wants to see each change and not only the newest state.
    pub fn every_value(self) -> Self {
        self.set(|config| config.keys = Keys::Ignored)
    }

    /// Sets the watermarks, in per cent of the bounds. The high one is reached by messages or by bytes, the low one by both.
    pub fn watermarks(self, high: u8, low: u8) -> Self {
        self.set(|config| config.percent = Some((high, low)))
    }

    /// Tells the peer nothing of what waits for it: the watermarks are for the producer alone. An [`Inbox`](crate::Inbox) still has
    /// its say.
    ///
    /// For one end, as a rule the client, of a connection both ends of which [obey](crate::obey). A peer that is told to pause holds
    /// what it has to send, and so fills up itself: if it said so as well, both would hold for ever what the other waits to see go.
    pub fn quiet(self) -> Self {
        self.set(|config| config.quiet = true)
    }

    /// Sets from when on a peer reads too slowly. What happens then: [`close_slow_with`](Self::close_slow_with) and
    /// [`on_slow`](Self::on_slow).
    ///
    /// A message that arrives counts also where the policy then drops it or another. While senders wait for room, under
    /// [`Overflow::Block`], their messages do not: nothing has arrived. A soft limit does act then.
    pub fn slow(self, slow: SlowConsumer) -> Self {
        self.set(|config| config.slow = slow)
    }

    /// Sets with which words a peer is disconnected that reads too slowly. By default, [`Close::SLOW`].
    ///
    /// What waits for it is discarded at once, by whoever notices: also where nobody writes to the transport any more.
    pub fn close_slow_with(self, close: Close) -> Self {
        self.set(|config| config.when_slow = WhenSlow::Close(close))
    }

    /// Has a callback decide when a peer reads too slowly: it returns the words with which to disconnect it, or `None` to let it be.
    ///
    /// It is called by the task that writes, once, and again after the peer has been within its limits.
    pub fn on_slow(self, decide: impl Fn(Exceeded) -> Option<Close> + Send + Sync + 'static) -> Self {
        self.set(|config| config.when_slow = WhenSlow::Ask(Arc::new(decide)))
    }

    /// Pauses a producer's flow while the outbox is above its watermarks.
    pub fn flow(self, flow: &Flow) -> Self {
        self.set(|config| config.flow = Some(flow.clone()))
    }

    /// Has a marker sent ahead of the first message after a loss, made from what was lost.
    ///
    /// It takes no room: it is made when that message is about to be written. A loss is what the policy drops, and whatever a
    /// [`Hub`](crate::Hub) has no room for here; what else is refused comes back to a sender who may try again.
    pub fn gap_marker(self, marker: impl Fn(Load) -> M + Send + Sync + 'static) -> Self {
        self.set(|config| config.marker = Some(Arc::new(marker)))
    }

    /// Sets how long closing may take: writing what waits, the last words, and the peer's answer to them.
    pub fn close_within(self, duration: Duration) -> Self {
        self.set(|config| config.close_within = nanos(duration))
    }

    /// Sets how often [`drive`](Outlet::drive) asks the peer for a sign of life, and how many times in a row it may give none: at
    /// least 1.
    ///
    /// Whatever comes from the peer is a sign. The first question comes after one interval, so a peer that is silent from the start
    /// is ended after `misses + 1` of them; a question that the transport does not take counts as one, too, and so does one for which
    /// the frames have no [ping](crate::Control::Ping): where they have none, and peers may listen in silence, switch this off. An
    /// interval of `Duration::MAX` asks never; shorter ones than a millisecond are one.
    pub fn heartbeat(self, every: Duration, misses: u32) -> Self {
        let every = nanos(every.max(Duration::from_millis(1)));
        self.set(|config| config.heartbeat = Heartbeat { every, misses })
    }

    /// Makes the outbox of one connection, and the end of it that writes to the transport.
    ///
    /// # Errors
    ///
    /// An [`OutboxError`] if the bounds leave no room, or the watermarks cross. What is built once builds again.
    pub fn build(&self) -> Result<(Outbox<M>, Outlet<M>), OutboxError> {
        self.build_for(None)
    }

    /// Makes the outbox of a connection that has a place in something larger.
    pub(crate) fn build_for(&self, seat: Option<Box<dyn Seat>>) -> Result<(Outbox<M>, Outlet<M>), OutboxError> {
        if let Some(wrong) = &self.config.wrong {
            return Err(wrong.clone());
        }
        let Config { bound, reserve, overflow, .. } = *self.config;
        let queue = QueueBuilder::new(bound.items.saturating_add(reserve.items), overflow)
            .max_weight(bound.weight.saturating_add(reserve.weight))
            .reserve(reserve)
            .timed();
        let (sender, receiver) = queue.build().map_err(OutboxError::Bounds)?;
        let shared = Arc::new(Shared::new(sender, Arc::clone(&self.config), seat));
        Ok((Outbox::new(Arc::clone(&shared)), Outlet::new(shared, receiver)))
    }

    fn set(self, set: impl FnOnce(&mut Config<M>)) -> Self {
        let mut config = Config::clone(&self.config);
        set(&mut config);
        config.wrong = config.place_marks().err();
        Self { config: Arc::new(config) }
    }
}

impl<M> Clone for OutboxBuilder<M> {
    fn clone(&self) -> Self {
        Self { config: Arc::clone(&self.config) }
    }
}

impl<M> fmt::Debug for OutboxBuilder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config { bound, reserve, overflow, slow, .. } = &*self.config;
        f.debug_struct("OutboxBuilder")
            .field("bound", bound)
            .field("reserve", reserve)
            .field("overflow", overflow)
            .field("slow", slow)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(backpressure_loom))]
mod tests {
    use backpressure_core::ConfigError;
    use backpressure_queue::QueueError;

    use super::*;

    fn wrong(builder: &OutboxBuilder<String>) -> Option<OutboxError> {
        builder.build().err()
    }

    #[test]
    fn bounds_without_room_and_marks_that_cross_are_refused_until_they_are_set_right() {
        let builder = || Outbox::builder(String::len);
        let no_messages = builder().max_messages(0);
        assert_eq!(wrong(&no_messages), Some(OutboxError::Bounds(QueueError::NoItems)));
        assert_eq!(wrong(&no_messages.max_messages(1)), None);
        assert_eq!(wrong(&builder().max_bytes(0)), Some(OutboxError::Bounds(QueueError::NoWeight)));
        let crossed = builder().watermarks(50, 50);
        assert_eq!(wrong(&crossed), Some(OutboxError::Watermarks(ConfigError::MarksCrossed { high: 50, low: 50 })));
        assert_eq!(wrong(&crossed.watermarks(50, 49)), None);
        assert_eq!(wrong(&builder().watermarks(101, 1)), Some(OutboxError::Watermarks(ConfigError::MarkOutside(101))));
    }

    #[test]
    fn a_setting_concerns_only_what_is_built_after_it_and_extremes_are_taken() {
        let one = Outbox::builder(String::len);
        let other = one.clone().max_messages(1);
        let (outbox, _outlet) = one.build().unwrap();
        let (small, _small_outlet) = other.build().unwrap();
        for end in [&outbox, &small] {
            end.try_send(String::new()).unwrap();
        }
        assert!(outbox.try_send(String::new()).is_ok() && small.try_send(String::new()).is_err());
        let most = one.max_messages(usize::MAX).max_bytes(u64::MAX).heartbeat(Duration::MAX, 0).close_within(Duration::MAX);
        assert_eq!(wrong(&most), None);
    }

    #[test]
    fn an_error_names_its_cause() {
        let error = wrong(&Outbox::builder(String::len).max_messages(0)).unwrap();
        assert_eq!(error.to_string(), "the bounds of the outbox leave no room");
        let cause = std::error::Error::source(&error).unwrap();
        assert_eq!(cause.to_string(), "a queue of 0 items admits nothing: the bound must be at least 1");
    }
}

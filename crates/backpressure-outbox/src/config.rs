//! What all connections of one builder share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backpressure_core::{ConfigError, Exceeded, Level, Overflow, SlowConsumer, Timestamp, Watermarks, nanos};
use backpressure_queue::{ItemClass, Load, QueueError};
use tokio::time::Instant;

use crate::{Close, Flow};

pub(crate) type Weigh<M> = dyn Fn(&M) -> usize + Send + Sync;
type Marker<M> = dyn Fn(Load) -> M + Send + Sync;
type OnSlow = dyn Fn(Exceeded) -> Option<Close> + Send + Sync;

pub(crate) struct Config<M> {
    weigh: Arc<Weigh<M>>,
    pub(crate) bound: Load,
    pub(crate) reserve: Load,
    pub(crate) overflow: Overflow,
    pub(crate) keys: Keys,
    /// Whether the peer is told nothing of what waits for it.
    pub(crate) quiet: bool,
    /// Where the watermarks are to be; `None` for the usual places.
    pub(crate) percent: Option<(u8, u8)>,
    /// Where they are: right unless `wrong` says why not.
    pub(crate) message_marks: Watermarks,
    pub(crate) byte_marks: Watermarks,
    /// Below this nobody is told anything, whatever came before.
    calm: Load,
    pub(crate) wrong: Option<OutboxError>,
    pub(crate) slow: SlowConsumer,
    pub(crate) when_slow: WhenSlow,
    pub(crate) flow: Option<Flow>,
    pub(crate) marker: Option<Arc<Marker<M>>>,
    /// In nanoseconds.
    pub(crate) close_within: u64,
    pub(crate) heartbeat: Heartbeat,
    /// What all timestamps of these connections count from.
    origin: Instant,
}

/// What the key of a conflated message means here.
#[derive(Clone, Copy)]
pub(crate) enum Keys {
    Conflate,
    Ignored,
}

#[derive(Clone, Copy)]
pub(crate) struct Heartbeat {
    /// In nanoseconds.
    pub(crate) every: u64,
    pub(crate) misses: u32,
}

#[derive(Clone)]
pub(crate) enum WhenSlow {
    Close(Close),
    Ask(Arc<OnSlow>),
}

impl<M> Config<M> {
    pub(crate) fn new(weigh: Arc<Weigh<M>>) -> Self {
        let bound = Load { items: 50, weight: 1 << 20 };
        let mut config = Self {
            weigh,
            bound,
            reserve: Load { items: 8, weight: 1 << 16 },
            overflow: Overflow::DropNewest,
            keys: Keys::Conflate,
            quiet: false,
            percent: None,
            message_marks: Watermarks::of(bound.items as u64),
            byte_marks: Watermarks::of(bound.weight),
            calm: Load::ZERO,
            wrong: None,
            slow: SlowConsumer::new(),
            when_slow: WhenSlow::Close(Close::SLOW),
            flow: None,
            marker: None,
            close_within: nanos(Duration::from_secs(1)),
            heartbeat: Heartbeat { every: nanos(Duration::from_secs(30)), misses: 2 },
            origin: Instant::now(),
        };
        config.wrong = config.place_marks().err();
        config
    }

    /// Checks the bounds, to which the reserve is added later and would hide what is wrong with them, and marks them.
    pub(crate) fn place_marks(&mut self) -> Result<(), OutboxError> {
        (self.message_marks, self.byte_marks) = marks(self.bound, self.percent)?;
        let slow_from = self.slow.least();
        let messages = self.message_marks.high().min(slow_from.messages.saturating_add(1));
        self.calm = Load {
            items: usize::try_from(messages).unwrap_or(usize::MAX),
            weight: self.byte_marks.high().min(slow_from.bytes.saturating_add(1)),
        };
        Ok(())
    }

    /// Whether a connection with that much is to be told nothing, and is not slow.
    #[inline]
    pub(crate) const fn is_calm(&self, load: Load) -> bool {
        load.items < self.calm.items && load.weight < self.calm.weight
    }

    pub(crate) fn weigh(&self, message: &M) -> u64 {
        (self.weigh)(message) as u64
    }

    /// The class that a message of this one has for these connections.
    pub(crate) const fn class(&self, class: ItemClass) -> ItemClass {
        match (class, self.keys) {
            (ItemClass::Conflated(_), Keys::Ignored) => ItemClass::Droppable,
            _ => class,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    pub(crate) fn at(&self, instant: Instant) -> Timestamp {
        Timestamp::from_nanos(nanos(instant.saturating_duration_since(self.origin)))
    }

    pub(crate) fn instant(&self, at: Timestamp) -> Option<Instant> {
        self.origin.checked_add(Duration::from_nanos(at.as_nanos()))
    }
}

impl<M> Clone for Config<M> {
    fn clone(&self) -> Self {
        Self {
            weigh: Arc::clone(&self.weigh),
            marker: self.marker.clone(),
            when_slow: self.when_slow.clone(),
            flow: self.flow.clone(),
            wrong: self.wrong.clone(),
            ..*self
        }
    }
}

/// Places the watermarks in bounds on messages and bytes; `None` for the usual places.
pub(crate) fn marks(bound: Load, percent: Option<(u8, u8)>) -> Result<(Watermarks, Watermarks), OutboxError> {
    if bound.items == 0 {
        return Err(OutboxError::Bounds(QueueError::NoItems));
    }
    if bound.weight == 0 {
        return Err(OutboxError::Bounds(QueueError::NoWeight));
    }
    let mark = |capacity| match percent {
        Some((high, low)) => Watermarks::try_percent(capacity, high, low).map_err(OutboxError::Watermarks),
        None => Ok(Watermarks::of(capacity)),
    };
    Ok((mark(bound.items as u64)?, mark(bound.weight)?))
}

/// Moves a level: up at the high mark of either messages or bytes, down at the low one of both.
pub(crate) fn mark(level: &mut Level, message_marks: &Watermarks, byte_marks: &Watermarks, load: Load) {
    let (mut messages, mut bytes) = (*level, *level);
    message_marks.update(&mut messages, load.items as u64);
    byte_marks.update(&mut bytes, load.weight);
    *level = if messages == Level::Low { bytes } else { Level::High };
}

/// Why an outbox cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutboxError {
    /// A bound leaves no room.
    Bounds(QueueError),
    /// The watermarks cross, or lie outside of the bounds.
    Watermarks(ConfigError),
}

impl fmt::Display for OutboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bounds(_) => "the bounds of the outbox leave no room",
            Self::Watermarks(_) => "the watermarks of the outbox cannot be kept",
        })
    }
}

impl std::error::Error for OutboxError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bounds(error) => Some(error),
            Self::Watermarks(error) => Some(error),
        }
    }
}

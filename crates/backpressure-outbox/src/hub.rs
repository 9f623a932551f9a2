//! Many connections that get the same messages, of which none can hold up another.

mod builder;
mod letter;
mod member;
mod shared;
mod topic;

use std::borrow::Borrow;
use std::cmp::Reverse;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use backpressure_queue::ItemClass;
use tokio::time::{Instant, sleep_until};

pub use self::builder::{HubBuilder, HubError};
pub use self::letter::Letter;
use self::member::HubSeat;
pub use self::member::{Member, MemberId, SubscribeError};
use self::shared::{Counts, HubShared};
use self::topic::Afterwards;
use crate::{Close, Numbers, OutboxBuilder, OutboxError, Outlet};

/// Publishes messages to many connections: each message is made once, held once, and given to all who have subscribed to its topic,
/// without ever waiting for any of them.
///
/// `K` names topics, `M` is a message, which need not be `Clone`: outboxes share it as a [`Letter`]. Each member has an outbox with a
/// policy of its own, and each message a class. Clones are handles of the same hub; when the last is dropped, its members are closed
/// with [`Close::GOING_AWAY`].
///
/// # At the limit
///
/// A full outbox does what its policy says, and concerns nobody else. What all outboxes hold together is bounded by
/// [`max_bytes`](HubBuilder::max_bytes), each message counted once: where a message has no room, the members with the heaviest
/// outboxes are disconnected, one after the other ([`Close::OVERLOADED`]), until it has. One that finds no room even so comes back.
///
/// # Fairness
///
/// All subscribers of a topic get its messages in the same order, whatever number of publishers there is. A publisher waits for
/// another one of the same topic for as long as that takes to put one message into each outbox; it waits for no subscriber.
///
/// # Complexity
///
/// A message costs the same for each subscriber: two uncontended locks and a wake-up. It allocates the letter once, and room for the
/// wake-ups. After somebody has subscribed or left, the next message makes a new list of all subscribers of the topic.
///
/// # Examples
///
/// ```
/// use backpressure_outbox::{Hub, ItemClass, Letter, Overflow, frames};
/// use futures_util::StreamExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let hub = Hub::<String, String>::builder(String::len).max_bytes(64 << 20).build()?;
///
/// // For each connection: a policy, topics, and something that writes.
/// let (member, outlet) = hub.join(&hub.outbox().max_messages(2).overflow(Overflow::DropOldest))?;
/// member.subscribe("prices".to_owned())?;
/// let texts = frames(|letter: Letter<String>| letter.to_string(), |_| None, |close| Some(format!("bye: {close}")));
/// let stream = outlet.into_stream(texts);
///
/// for price in ["10", "11", "12"] {
///     assert_eq!(hub.publish("prices", price.to_owned())?.admitted, 1);
/// }
/// hub.publish_as("prices", ItemClass::Urgent, "the market closes".to_owned())?;
/// assert_eq!(hub.publish("news", "nobody hears this".to_owned())?.admitted, 0);
///
/// let (all, ()) = tokio::join!(stream.collect::<Vec<String>>(), hub.drain(std::time::Duration::ZERO));
/// assert_eq!(all, ["the market closes", "11", "12", "bye: 1012 service restart"]);
/// assert_eq!(hub.numbers().connections, 0);
/// # Ok(())
/// # }
/// ```
pub struct Hub<K, M> {
    outbox: OutboxBuilder<Letter<M>>,
    shared: Arc<HubShared<K, M>>,
}

/// What became of a message that was published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// How many outboxes it waits in.
    pub admitted: usize,
    /// How many had no room for it, and count it as refused.
    pub refused: usize,
}

/// A hub in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubNumbers {
    /// How many connections may be sent something: from when they join to when they begin to end.
    pub members: usize,
    /// How many connections there are, those included that are ending: their transports are not gone yet.
    pub connections: usize,
    /// How many topics somebody has subscribed to.
    pub topics: usize,
    /// How many subscriptions there are.
    pub subscriptions: usize,
    /// The bytes of all letters that count, each once.
    pub bytes: u64,
    /// How many there may be.
    pub max_bytes: u64,
    /// How many connections lost what waited for them to the budget: members were disconnected.
    pub over_budget: u64,
}

/// How one member is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberNumbers {
    /// Which one.
    pub id: MemberId,
    /// What it was [labelled](Hub::join_as) with.
    pub label: Option<Arc<str>>,
    /// Its numbers.
    pub numbers: Numbers,
}

/// Why a connection cannot join.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinError {
    /// The hub drains, or has drained.
    Draining,
    /// The outbox is not configured right.
    Outbox(OutboxError),
}

/// A message for which the hub has no room, also without all that waits in outboxes. It comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OverBudget<M> {
    /// The message, as it was.
    pub message: M,
    /// How many bytes it has.
    pub bytes: u64,
    /// How many bytes the hub may hold.
    pub at_most: u64,
}

impl<K, M> Hub<K, M> {
    /// Starts to configure a hub, with what says how many bytes a message has: `String::len`, for one.
    pub fn builder(bytes: impl Fn(&M) -> usize + Send + Sync + 'static) -> HubBuilder<K, M> {
        HubBuilder::new(Arc::new(bytes))
    }

    /// Returns the [defaults](OutboxBuilder) of an outbox for members of this hub, to set on it what is to be otherwise.
    pub fn outbox(&self) -> OutboxBuilder<Letter<M>> {
        self.outbox.clone()
    }

    /// Makes a letter that counts against the budget of the hub: to send it to single members, or to publish it to several topics.
    ///
    /// It counts for as long as anybody keeps it. Where it is the application that keeps so many that disconnecting members would not
    /// make room, what is published comes back, and nobody goes for it. (That is told by what the outboxes weigh: one whose builder
    /// weighs less than the hub makes the hub give up early.)
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish).
    pub fn letter(&self, message: M) -> Result<Letter<M>, OverBudget<M>> {
        self.shared.letter(message)
    }

    /// Returns the hub in numbers.
    #[must_use]
    pub fn numbers(&self) -> HubNumbers {
        let Counts { members, connections, topics, subscriptions, over_budget } = self.shared.counts();
        let (bytes, max_bytes) = (self.shared.budget.used(), self.shared.budget.max);
        HubNumbers { members, connections, topics, subscriptions, bytes, max_bytes, over_budget }
    }

    /// Returns the members that are furthest behind, at most so many, the slowest first: by the age of the oldest message that waits
    /// for them, and then by bytes.
    ///
    /// It looks at each member once.
    #[must_use]
    pub fn slowest(&self, at_most: usize) -> Vec<MemberNumbers> {
        let mut all = self.shared.all_numbers();
        all.sort_unstable_by_key(|member| Reverse((member.numbers.oldest, member.numbers.bytes, member.id)));
        all.truncate(at_most);
        all
    }

    /// Closes all members with [`Close::RESTART`], spread evenly over a time, so that they do not come back all at once; resolves once
    /// the last transport is gone. From the first poll on nobody can join.
    ///
    /// Each has its [second](OutboxBuilder::close_within) to get what waits for it; so it takes at most that much longer than `over`.
    /// An outlet that nobody has put to work, and a [pulled](crate::Pulled) body that nobody pulls, have no end of their own and would
    /// hold this up: bound it by a timeout.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with time enabled, unless `over` is 0 or nobody is there.
    ///
    /// # Cancel safety
    ///
    /// Dropping it leaves those who have not been closed yet where they are; nobody can join even so. Another call goes on.
    pub async fn drain(&self, over: Duration) {
        let (start, over) = (Instant::now(), over.min(LONGEST_DRAIN));
        let members = self.shared.begin_to_drain();
        let count = u32::try_from(members.len()).unwrap_or(u32::MAX).max(1);
        for (turn, id) in (0_u32..).zip(members) {
            let at = start + over / count * turn;
            if at > Instant::now() {
                sleep_until(at).await;
            }
            self.shared.close(id, Close::RESTART);
        }
        self.shared.present.resumed().await;
    }

    /// Returns whether the hub drains or has drained: nobody can join.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.shared.is_draining()
    }
}

impl<K, M> Hub<K, M>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    M: Send + Sync + 'static,
{
    /// Lets a connection in, with an outbox as this builder makes them. It gets nothing before it
    /// [subscribes](Member::subscribe).
    ///
    /// How many connections there are is for the host to bound: `backpressure-load-shed` does that for upgrades.
    ///
    /// What the builder weighs messages with runs while a message is given to everybody, and other publishers of that topic wait for
    /// it: it must be short, and must not publish itself.
    ///
    /// # Errors
    ///
    /// [`JoinError::Draining`]; [`JoinError::Outbox`] where the builder is not configured right.
    pub fn join(&self, outbox: &OutboxBuilder<Letter<M>>) -> Result<(Member<K, M>, Outlet<Letter<M>>), JoinError> {
        self.enter(None, outbox)
    }

    /// As [`join`](Self::join), with a label by which [`slowest`](Self::slowest) names the connection: an address, a user.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    pub fn join_as(
        &self,
        label: impl Into<Arc<str>>,
        outbox: &OutboxBuilder<Letter<M>>,
    ) -> Result<(Member<K, M>, Outlet<Letter<M>>), JoinError> {
        self.enter(Some(label.into()), outbox)
    }

    /// Publishes a message that may be dropped.
    ///
    /// # Errors
    ///
    /// As [`publish_as`](Self::publish_as).
    pub fn publish<Q>(&self, topic: &Q, message: M) -> Result<Published, OverBudget<M>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.publish_as(topic, ItemClass::Droppable, message)
    }

    /// Publishes a message of a class. To a topic without subscribers it is dropped.
    ///
    /// # Errors
    ///
    /// [`OverBudget`], with the message, if the [budget](HubBuilder::max_bytes) has no room for it even without all that waits.
    pub fn publish_as<Q>(&self, topic: &Q, class: ItemClass, message: M) -> Result<Published, OverBudget<M>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if self.shared.topic(topic).is_none() {
            return Ok(Published::default());
        }
        let letter = self.letter(message)?;
        Ok(self.publish_letter(topic, class, &letter))
    }

    /// Publishes a letter of a class: one more reference to it for each subscriber.
    pub fn publish_letter<Q>(&self, topic: &Q, class: ItemClass, letter: &Letter<M>) -> Published
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let Some(topic) = self.shared.topic(topic) else {
            return Published::default();
        };
        let mut after = Afterwards::nothing();
        topic.publish(class, letter, &mut after)
    }

    fn enter(
        &self,
        label: Option<Arc<str>>,
        outbox: &OutboxBuilder<Letter<M>>,
    ) -> Result<(Member<K, M>, Outlet<Letter<M>>), JoinError> {
        let id = self.shared.next_id();
        let seat = HubSeat::new(id, &self.shared);
        let (outbox, outlet) = outbox.build_for(Some(Box::new(seat))).map_err(JoinError::Outbox)?;
        self.shared.enter(id, outbox.clone(), label)?;
        Ok((Member::new(id, outbox, Arc::downgrade(&self.shared)), outlet))
    }
}

impl<K, M> Clone for Hub<K, M> {
    fn clone(&self) -> Self {
        Self { outbox: self.outbox.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<K, M> fmt::Debug for Hub<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("numbers", &self.numbers()).finish_non_exhaustive()
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Draining => "the hub drains: nobody can join",
            Self::Outbox(_) => "the outbox of the member cannot be made",
        })
    }
}

impl std::error::Error for JoinError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Draining => None,
            Self::Outbox(error) => Some(error),
        }
    }
}

impl<M> fmt::Debug for OverBudget<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OverBudget").field("bytes", &self.bytes).field("at_most", &self.at_most).finish_non_exhaustive()
    }
}

impl<M> fmt::Display for OverBudget<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a message of {} bytes has no room in a hub that may hold {}", self.bytes, self.at_most)
    }
}

impl<M> std::error::Error for OverBudget<M> {}

/// 136 years: an `Instant` takes that much more on every platform.
const LONGEST_DRAIN: Duration = Duration::from_secs(u32::MAX as u64);

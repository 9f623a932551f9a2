//! Those who have subscribed to one topic.

use std::collections::HashMap;
use std::sync::Arc;

use backpressure_queue::{Displaced, ItemClass, Refused, Wakes};
use tokio::time::Instant;

use super::letter::Letter;
use super::{MemberId, Published};
use crate::flow::Awakened;
use crate::shared::{Delivery, Shared};
use crate::state::Change;
use crate::sync::Mutex;

pub(super) type Subscriber<M> = Arc<Shared<Letter<M>>>;

pub(super) struct Topic<M> {
    /// Held while a message is given to everybody, so that all get the messages of a topic in one order. Nobody is woken, nothing is
    /// dropped and nothing ends under it.
    order: Mutex<()>,
    subscribers: Mutex<Subscribers<M>>,
}

struct Subscribers<M> {
    by_id: HashMap<MemberId, Subscriber<M>>,
    /// All of them, for publishers to walk without the lock; `None` where somebody came or left since.
    snapshot: Option<Arc<[Subscriber<M>]>>,
}

/// What is left to do once a message has been given to everybody, and is done when this is dropped.
pub(super) struct Afterwards<M> {
    wakes: Wakes,
    resumed: Vec<Awakened>,
    displaced: Vec<Displaced<Letter<M>>>,
    /// Those for whom that was the moment at which they begin to end.
    ending: Vec<Subscriber<M>>,
}

impl<M> Topic<M> {
    pub(super) fn new() -> Self {
        Self { order: Mutex::new(()), subscribers: Mutex::new(Subscribers { by_id: HashMap::new(), snapshot: None }) }
    }

    /// Returns whether it is a new one.
    pub(super) fn add(&self, id: MemberId, subscriber: Subscriber<M>) -> bool {
        let mut subscribers = self.subscribers.lock();
        subscribers.snapshot = None;
        subscribers.by_id.insert(id, subscriber).is_none()
    }

    /// Returns whether none are left.
    pub(super) fn remove(&self, id: MemberId) -> bool {
        let mut subscribers = self.subscribers.lock();
        // The hub holds another, so nothing is dropped for good under the lock.
        subscribers.snapshot = None;
        subscribers.by_id.remove(&id);
        subscribers.by_id.is_empty()
    }

    /// Gives a letter to everybody, without waiting for anybody.
    pub(super) fn publish(&self, class: ItemClass, letter: &Letter<M>, after: &mut Afterwards<M>) -> Published {
        let mut published = Published::default();
        // Dropped after the lock is released: who has left meanwhile is dropped for good with it.
        let subscribers;
        let _order = self.order.lock();
        subscribers = self.subscribers.lock().snapshot();
        let now = Instant::now();
        for subscriber in &*subscribers {
            let item = subscriber.item(class, letter.clone());
            let Delivery { result, change } = subscriber.deliver(item, now, &mut after.wakes);
            match result {
                Ok(sent) => {
                    published.admitted += 1;
                    if !sent.is_empty() {
                        after.displaced.extend(sent);
                    }
                }
                // It is about to leave.
                Err(error) if error.reason == Refused::Closed => {}
                Err(error) => {
                    published.refused += 1;
                    subscriber.lost(&error);
                }
            }
            after.keep(subscriber, change);
        }
        published
    }
}

impl<M> Subscribers<M> {
    fn snapshot(&mut self) -> Arc<[Subscriber<M>]> {
        let by_id = &self.by_id;
        Arc::clone(self.snapshot.get_or_insert_with(|| by_id.values().cloned().collect()))
    }
}

impl<M> Afterwards<M> {
    pub(super) fn nothing() -> Self {
        Self { wakes: Wakes::default(), resumed: Vec::new(), displaced: Vec::new(), ending: Vec::new() }
    }

    fn keep(&mut self, subscriber: &Subscriber<M>, change: Change) {
        let Change { writer, resumed, ends } = change;
        self.wakes.add(writer);
        self.resumed.extend(resumed.map(|resumed| *resumed));
        if ends {
            self.ending.push(Arc::clone(subscriber));
        }
    }
}

impl<M> Drop for Afterwards<M> {
    /// Ends, wakes and drops, without any lock; also where a closure of one subscriber has panicked, for those before it.
    fn drop(&mut self) {
        for subscriber in &self.ending {
            subscriber.begin_to_end(true);
        }
    }
}

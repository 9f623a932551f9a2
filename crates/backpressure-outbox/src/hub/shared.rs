//! What all handles of a hub share: who is there, and what they have subscribed to.

use std::borrow::Borrow;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::mem;
use std::sync::Arc;

use backpressure_core::Exceeded;

use super::letter::{Budget, Letter};
use super::topic::{Subscriber, Topic};
use super::{JoinError, MemberId, MemberNumbers, OverBudget, SubscribeError};
use crate::state::Why;
use crate::sync::Mutex;
use crate::{Close, Flow, Outbox};

/// The lock is taken before that of a topic's subscribers, never with that of an outbox. Nothing is woken or ended under it.
pub(crate) struct HubShared<K, M> {
    weigh: Arc<dyn Fn(&M) -> usize + Send + Sync>,
    pub(super) budget: Arc<Budget>,
    max_topics: usize,
    /// Paused by each member until its transport is gone.
    pub(super) present: Flow,
    state: Mutex<State<K, M>>,
}

pub(super) struct State<K, M> {
    connections: HashMap<MemberId, Entry<K, M>>,
    /// How many of them are not leaving.
    members: usize,
    topics: HashMap<K, Arc<Topic<M>>>,
    subscriptions: usize,
    next: u64,
    draining: bool,
    /// How many had to go for the budget.
    over_budget: u64,
}

/// A connection, as the hub knows it until its transport is gone: until then it may hold messages.
struct Entry<K, M> {
    /// Keeps the outbox open, whoever else does.
    outbox: Outbox<Letter<M>>,
    label: Option<Arc<str>>,
    topics: HashSet<K>,
    /// Whether it is a member no more: its connection ends.
    leaves: bool,
}

/// How many of what there are.
pub(super) struct Counts {
    pub(super) members: usize,
    pub(super) connections: usize,
    pub(super) topics: usize,
    pub(super) subscriptions: usize,
    pub(super) over_budget: u64,
}

impl<K, M> HubShared<K, M> {
    pub(super) fn new(weigh: Arc<dyn Fn(&M) -> usize + Send + Sync>, max_bytes: u64, max_topics: usize) -> Self {
        let state = State {
            connections: HashMap::new(),
            members: 0,
            topics: HashMap::new(),
            subscriptions: 0,
            next: 0,
            draining: false,
            over_budget: 0,
        };
        let budget = Arc::new(Budget::new(max_bytes));
        Self { weigh, budget, max_topics, present: Flow::new(), state: Mutex::new(state) }
    }

    pub(super) fn next_id(&self) -> MemberId {
        let mut state = self.state.lock();
        state.next += 1;
        MemberId(state.next)
    }

    /// Lets a connection in, unless the hub drains.
    pub(super) fn enter(&self, id: MemberId, outbox: Outbox<Letter<M>>, label: Option<Arc<str>>) -> Result<(), JoinError> {
        let mut state = self.state.lock();
        if state.draining {
            return Err(JoinError::Draining);
        }
        state.connections.insert(id, Entry { outbox, label, topics: HashSet::new(), leaves: false });
        state.members += 1;
        Ok(())
    }

    pub(super) fn counts(&self) -> Counts {
        let State { connections, members, topics, subscriptions, over_budget, .. } = &*self.state.lock();
        let (connections, topics) = (connections.len(), topics.len());
        Counts { members: *members, connections, topics, subscriptions: *subscriptions, over_budget: *over_budget }
    }

    /// Lets nobody in any more, and returns who is there.
    pub(super) fn begin_to_drain(&self) -> Vec<MemberId> {
        let mut state = self.state.lock();
        state.draining = true;
        let members = state.connections.iter().filter(|(_, entry)| !entry.leaves);
        let mut ids: Vec<MemberId> = members.map(|(id, _)| *id).collect();
        drop(state);
        ids.sort_unstable();
        ids
    }

    pub(super) fn is_draining(&self) -> bool {
        self.state.lock().draining
    }

    /// Closes the outbox of a member, unless it has left.
    pub(super) fn close(&self, id: MemberId, close: Close) {
        let member = self.state.lock().connections.get(&id).map(|entry| entry.outbox.shared());
        if let Some(member) = member {
            member.end(Why::Asked, close);
        }
    }

    /// Makes a letter that counts, at the expense of the heaviest where there is no room.
    pub(super) fn letter(&self, message: M) -> Result<Letter<M>, OverBudget<M>> {
        let bytes = (self.weigh)(&message) as u64;
        if bytes <= self.budget.max && (self.budget.try_add(bytes) || self.make_room(bytes)) {
            return Ok(Letter::counted(message, &self.budget, bytes));
        }
        Err(OverBudget { message, bytes, at_most: self.budget.max })
    }

    /// Disconnects one connection after the other, the heaviest first, until so many bytes can be counted, and counts them. One that
    /// leaves anyhow just loses what waits for it. Nobody goes where that would not be enough.
    fn make_room(&self, bytes: u64) -> bool {
        let all: Vec<Subscriber<M>> = self.state.lock().connections.values().map(|entry| entry.outbox.shared()).collect();
        let mut by_weight: Vec<_> = all.into_iter().map(|one| (one.queue().load().weight, one)).collect();
        let waiting = by_weight.iter().fold(0_u64, |sum, (weight, _)| sum.saturating_add(*weight));
        // At least so much is held by others than outboxes: letters that the application keeps.
        let kept = self.budget.used().saturating_sub(waiting);
        if kept.saturating_add(bytes) > self.budget.max {
            return false;
        }
        by_weight.sort_unstable_by_key(|(weight, _)| Reverse(*weight));
        for (weight, heaviest) in by_weight {
            if weight == 0 {
                break;
            }
            if self.budget.try_add(bytes) {
                return true;
            }
            self.state.lock().over_budget += 1;
            heaviest.end(Why::Slow(Exceeded::Budget), Close::OVERLOADED);
        }
        self.budget.try_add(bytes)
    }

    /// Returns the numbers of all members.
    pub(super) fn all_numbers(&self) -> Vec<MemberNumbers> {
        let members: Vec<_> = {
            let state = self.state.lock();
            let members = state.connections.iter().filter(|(_, entry)| !entry.leaves);
            members.map(|(id, entry)| (*id, entry.label.clone(), entry.outbox.shared())).collect()
        };
        members.into_iter().map(|(id, label, member)| MemberNumbers { id, label, numbers: member.numbers() }).collect()
    }
}

impl<K: Hash + Eq + Clone, M> HubShared<K, M> {
    pub(super) fn topic<Q>(&self, topic: &Q) -> Option<Arc<Topic<M>>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.state.lock().topics.get(topic).map(Arc::clone)
    }

    pub(super) fn subscribe(&self, id: MemberId, topic: K) -> Result<bool, SubscribeError<K>> {
        let mut state = self.state.lock();
        let State { connections, topics, subscriptions, .. } = &mut *state;
        let Some(entry) = connections.get_mut(&id).filter(|entry| !entry.leaves) else {
            return Err(SubscribeError::Left { topic });
        };
        if entry.topics.contains(&topic) {
            return Ok(false);
        }
        if entry.topics.len() >= self.max_topics {
            return Err(SubscribeError::TooMany { topic, at_most: self.max_topics });
        }
        let subscriber: Subscriber<M> = entry.outbox.shared();
        entry.topics.insert(topic.clone());
        *subscriptions += 1;
        Ok(topics.entry(topic).or_insert_with(|| Arc::new(Topic::new())).add(id, subscriber))
    }

    pub(super) fn unsubscribe<Q>(&self, id: MemberId, topic: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut state = self.state.lock();
        let State { connections, topics, subscriptions, .. } = &mut *state;
        let Some(topic) = connections.get_mut(&id).and_then(|entry| entry.topics.take(topic)) else {
            return false;
        };
        *subscriptions -= 1;
        let _unused = remove(topics, &topic, id);
        drop(state);
        true
    }

    pub(super) fn topics_of(&self, id: MemberId) -> Vec<K> {
        let state = self.state.lock();
        state.connections.get(&id).map_or_else(Vec::new, |entry| entry.topics.iter().cloned().collect())
    }

    /// Takes a member out of all topics. What it had is dropped without the lock.
    pub(super) fn leave(&self, id: MemberId) {
        let mut state = self.state.lock();
        let State { connections, members, topics, subscriptions, .. } = &mut *state;
        let Some(entry) = connections.get_mut(&id).filter(|entry| !entry.leaves) else {
            return;
        };
        entry.leaves = true;
        *members -= 1;
        let left = mem::take(&mut entry.topics);
        *subscriptions -= left.len();
        let unused: Vec<_> = left.iter().filter_map(|topic| remove(topics, topic, id)).collect();
        drop(state);
        drop((left, unused));
    }

    /// Forgets a connection that has left, and whose transport is gone.
    pub(super) fn forget(&self, id: MemberId) {
        let forgotten = self.state.lock().connections.remove(&id);
        drop(forgotten);
    }
}

/// Takes a member out of a topic, and the topic out of the hub where that was the last one.
fn remove<K: Hash + Eq, M>(topics: &mut HashMap<K, Arc<Topic<M>>>, topic: &K, id: MemberId) -> Option<(K, Arc<Topic<M>>)> {
    let is_empty = topics.get(topic).is_some_and(|subscribers| subscribers.remove(id));
    if is_empty { topics.remove_entry(topic) } else { None }
}

impl<K, M> Drop for HubShared<K, M> {
    /// Nobody can publish any more.
    fn drop(&mut self) {
        let connections = mem::take(&mut self.state.lock().connections);
        for entry in connections.into_values() {
            entry.outbox.close(Close::GOING_AWAY);
        }
    }
}

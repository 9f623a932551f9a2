//! A hub against a naive one, over random histories: who gets what and in which order, who has to go for the budget, and how much is
//! held.
#![cfg(not(backpressure_loom))]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use backpressure_outbox::{Close, Control, FramesFn, Hub, ItemClass, Letter, Load, Member, Overflow, Pulled, frames};
use futures_core::Stream;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

#[derive(Clone, Debug)]
enum Step {
    Join { oldest: bool, messages: usize },
    Subscribe { member: usize, topic: u8 },
    Unsubscribe { member: usize, topic: u8 },
    Publish { topic: u8, urgent: bool, bytes: usize },
    Take { member: usize, frames: usize },
    Leave { member: usize },
    Close { member: usize },
}

/// What a message is: each has its own number, and as many bytes as it says.
type Message = (u64, usize);
type Frames = FramesFn<fn(Letter<Message>) -> Option<u64>, fn(Control) -> Option<Option<u64>>, fn(&Close) -> Option<Option<u64>>>;

struct Real {
    member: Member<u8, Message>,
    /// `None` once it has left.
    stream: Option<Pin<Box<Pulled<Letter<Message>, Frames>>>>,
}

/// An outbox without any cleverness.
struct Naive {
    oldest: bool,
    messages: usize,
    topics: BTreeSet<u8>,
    urgent: VecDeque<Message>,
    data: VecDeque<Message>,
    closed: bool,
}

impl Naive {
    fn load(&self) -> usize {
        self.urgent.iter().chain(&self.data).map(|(_, bytes)| bytes).sum()
    }

    fn clear(&mut self) {
        self.urgent.clear();
        self.data.clear();
        self.end();
    }

    fn end(&mut self) {
        self.topics.clear();
        self.closed = true;
    }

    fn publish(&mut self, urgent: bool, message: Message) -> bool {
        if urgent {
            let room = self.urgent.len() < RESERVE;
            if room {
                self.urgent.push_back(message);
            }
            return room;
        }
        if self.data.len() == self.messages {
            if !self.oldest {
                return false;
            }
            self.data.pop_front();
        }
        self.data.push_back(message);
        true
    }
}

struct Both {
    hub: Hub<u8, Message>,
    real: Vec<Real>,
    naive: Vec<Naive>,
    next: u64,
}

impl Both {
    fn new() -> Self {
        let hub = Hub::builder(|(_, bytes): &Message| *bytes).max_bytes(BUDGET as u64).max_topics(2).build();
        Self { hub: hub.expect("neither bound is 0"), real: Vec::new(), naive: Vec::new(), next: 0 }
    }

    /// The bytes of all that waits anywhere, each message once.
    fn held(&self) -> usize {
        let all = self.naive.iter().flat_map(|naive| naive.urgent.iter().chain(&naive.data));
        all.copied().collect::<BTreeMap<u64, usize>>().values().sum()
    }

    fn play(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Join { oldest, messages } => self.join(oldest, messages),
            Step::Subscribe { member, topic } => {
                let Some((real, naive)) = self.pick(member) else { return Ok(()) };
                let result = real.member.subscribe(topic);
                let expected = if naive.closed || (naive.topics.len() == 2 && !naive.topics.contains(&topic)) {
                    None
                } else {
                    Some(naive.topics.insert(topic))
                };
                prop_assert_eq!(result.ok(), expected);
            }
            Step::Unsubscribe { member, topic } => {
                let Some((real, naive)) = self.pick(member) else { return Ok(()) };
                prop_assert_eq!(real.member.unsubscribe(&topic), naive.topics.remove(&topic));
            }
            Step::Publish { topic, urgent, bytes } => self.publish(topic, urgent, bytes)?,
            Step::Take { member, frames } => self.take(member, frames)?,
            Step::Leave { member } => {
                let Some((real, naive)) = self.pick(member) else { return Ok(()) };
                real.stream = None;
                naive.clear();
            }
            Step::Close { member } => {
                let Some((real, naive)) = self.pick(member) else { return Ok(()) };
                real.member.outbox().close(Close::NORMAL);
                naive.end();
            }
        }
        self.compare()
    }

    fn pick(&mut self, member: usize) -> Option<(&mut Real, &mut Naive)> {
        let index = member % self.real.len().max(1);
        Some((self.real.get_mut(index)?, self.naive.get_mut(index)?))
    }

    fn join(&mut self, oldest: bool, messages: usize) {
        let overflow = if oldest { Overflow::DropOldest } else { Overflow::DropNewest };
        let reserve = Load { items: RESERVE, weight: BUDGET as u64 };
        let outbox = self.hub.outbox().max_messages(messages).overflow(overflow).reserve(reserve);
        let (member, outlet) = self.hub.join(&outbox).expect("a hub that does not drain");
        let data: fn(Letter<Message>) -> Option<u64> = |letter| Some(letter.0);
        let control: fn(Control) -> Option<Option<u64>> = |_| None;
        let close: fn(&Close) -> Option<Option<u64>> = |_| Some(None);
        let stream = Some(Box::pin(outlet.into_stream(frames(data, control, close))));
        self.real.push(Real { member, stream });
        let (topics, urgent, data) = Default::default();
        self.naive.push(Naive { oldest, messages, topics, urgent, data, closed: false });
    }

    fn publish(&mut self, topic: u8, urgent: bool, bytes: usize) -> Result<(), TestCaseError> {
        self.next += 1;
        let message = (self.next, bytes);
        let class = if urgent { ItemClass::Urgent } else { ItemClass::Droppable };
        let published = self.hub.publish_as(&topic, class, message);
        if !self.naive.iter().any(|naive| naive.topics.contains(&topic)) {
            prop_assert_eq!(published.map(|published| published.admitted), Ok(0));
            return Ok(());
        }
        self.make_room(bytes)?;
        let (mut admitted, mut refused) = (0, 0);
        for naive in self.naive.iter_mut().filter(|naive| naive.topics.contains(&topic)) {
            match naive.publish(urgent, message) {
                true => admitted += 1,
                false => refused += 1,
            }
        }
        prop_assert_eq!(published.map(|published| (published.admitted, published.refused)), Ok((admitted, refused)));
        Ok(())
    }

    /// Has those go who went: the heaviest, and no more of them than were needed.
    fn make_room(&mut self, bytes: usize) -> Result<(), TestCaseError> {
        let gone =
            |both: &Self, index: usize| both.real[index].member.outbox().numbers().messages == 0 && both.naive[index].load() > 0;
        let mut went: Vec<usize> = (0..self.naive.len()).filter(|&index| gone(self, index)).collect();
        went.sort_by_key(|&index| std::cmp::Reverse(self.naive[index].load()));
        let stayed = (0..self.naive.len()).filter(|&index| !gone(self, index));
        if let Some(&lightest) = went.last() {
            let heaviest = stayed.map(|index| self.naive[index].load()).max().unwrap_or(0);
            prop_assert!(self.naive[lightest].load() >= heaviest, "a heavier one stayed");
        }
        for index in went {
            prop_assert!(self.held() + bytes > BUDGET, "one went that need not have gone");
            self.naive[index].clear();
        }
        Ok(())
    }

    fn take(&mut self, member: usize, count: usize) -> Result<(), TestCaseError> {
        let Some((real, naive)) = self.pick(member) else { return Ok(()) };
        for _ in 0..count {
            let Some(stream) = &mut real.stream else { return Ok(()) };
            let taken = stream.as_mut().poll_next(&mut Context::from_waker(Waker::noop()));
            let expected = naive.urgent.pop_front().or_else(|| naive.data.pop_front());
            match expected {
                Some((number, _)) => prop_assert_eq!(taken, Poll::Ready(Some(Some(number)))),
                None if naive.closed => prop_assert!(matches!(taken, Poll::Ready(Some(None) | None))),
                None => prop_assert_eq!(taken, Poll::Pending),
            }
        }
        Ok(())
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        let numbers = self.hub.numbers();
        let open: Vec<&Naive> = self.naive.iter().filter(|naive| !naive.closed).collect();
        prop_assert_eq!(numbers.members, open.len());
        prop_assert_eq!(numbers.subscriptions, open.iter().map(|naive| naive.topics.len()).sum::<usize>());
        prop_assert_eq!(numbers.topics, open.iter().flat_map(|naive| &naive.topics).collect::<BTreeSet<_>>().len());
        prop_assert_eq!(numbers.bytes, self.held() as u64);
        prop_assert!(numbers.bytes <= BUDGET as u64);
        for (real, naive) in self.real.iter().zip(&self.naive) {
            let outbox = real.member.outbox().numbers();
            prop_assert_eq!(outbox.bytes, naive.load() as u64);
            prop_assert_eq!(outbox.messages, (naive.urgent.len() + naive.data.len()) as u64);
        }
        Ok(())
    }
}

#[test]
fn a_hub_does_what_a_naive_one_does() {
    let member = || 0..6_usize;
    let step = prop_oneof![
        2 => (any::<bool>(), 1..6_usize).prop_map(|(oldest, messages)| Step::Join { oldest, messages }),
        4 => (member(), 0..3_u8).prop_map(|(member, topic)| Step::Subscribe { member, topic }),
        1 => (member(), 0..3_u8).prop_map(|(member, topic)| Step::Unsubscribe { member, topic }),
        8 => (0..3_u8, prop::bool::weighted(0.1), 1..40_usize)
            .prop_map(|(topic, urgent, bytes)| Step::Publish { topic, urgent, bytes }),
        3 => (member(), 1..5_usize).prop_map(|(member, frames)| Step::Take { member, frames }),
        1 => member().prop_map(|member| Step::Leave { member }),
        1 => member().prop_map(|member| Step::Close { member }),
    ];
    let config = ProptestConfig { cases: 2_048, rng_seed: RngSeed::Fixed(6), failure_persistence: None, ..Default::default() };
    let over_budget = Arc::new(std::sync::atomic::AtomicU64::new(0));
    TestRunner::new(config)
        .run(&prop::collection::vec(step, 1..80), |steps| {
            let mut both = Both::new();
            for step in &steps {
                both.play(step)?;
            }
            over_budget.fetch_add(both.hub.numbers().over_budget, std::sync::atomic::Ordering::Relaxed);
            both.real.clear();
            let numbers = both.hub.numbers();
            prop_assert_eq!((numbers.members, numbers.connections, numbers.bytes, numbers.topics), (0, 0, 0, 0));
            Ok(())
        })
        .unwrap();
    assert!(over_budget.load(std::sync::atomic::Ordering::Relaxed) > 100, "the budget is hardly ever reached");
}

const BUDGET: usize = 150;
const RESERVE: usize = 2;

//! The outbox against a model of what its peer may see, over random histories.
#![cfg(not(backpressure_loom))]

mod wire;

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

use backpressure_outbox::{
    Close, Depth, Displaced, Ended, Flow, Inbound, ItemClass, Load, Outbox, Overflow, Refused, Signal, SlowConsumer,
};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use wire::*;

#[derive(Clone, Debug)]
enum Step {
    Send(ItemClass, usize),
    Take(usize),
    StallFlush(bool),
    Peer(&'static str),
    Advance(u64),
    Close,
    Break,
    HangUp,
}

#[derive(Clone, Debug)]
struct Setup {
    messages: usize,
    overflow: Overflow,
    hard: u64,
    soft: u64,
}

fn step() -> impl Strategy<Value = Step> {
    let class = prop_oneof![
        6 => Just(ItemClass::Droppable),
        2 => (0..3_u64).prop_map(ItemClass::Conflated),
        1 => Just(ItemClass::Durable),
        1 => Just(ItemClass::Urgent),
    ];
    prop_oneof![
        12 => (class, 10..40_usize).prop_map(|(class, size)| Step::Send(class, size)),
        6 => (0..6_usize).prop_map(Step::Take),
        2 => any::<bool>().prop_map(Step::StallFlush),
        3 => prop_oneof![Just("pause"), Just("resume"), Just("question")].prop_map(Step::Peer),
        3 => prop_oneof![Just(1), Just(500), Just(3_001)].prop_map(Step::Advance),
        1 => prop_oneof![8 => Just(Step::Close), 1 => Just(Step::Break), 1 => Just(Step::HangUp)],
    ]
}

fn setup() -> impl Strategy<Value = Setup> {
    let overflow = prop_oneof![Just(Overflow::DropOldest), Just(Overflow::DropNewest), Just(Overflow::Block)];
    let limit = || prop_oneof![3 => Just(u64::MAX), 1 => 3..12_u64];
    (2..10_usize, overflow, limit(), limit()).prop_map(|(messages, overflow, hard, soft)| Setup {
        messages,
        overflow,
        hard,
        soft,
    })
}

#[test]
fn a_peer_sees_in_order_what_was_not_lost_signals_that_alternate_and_one_end() {
    let config = ProptestConfig { cases: 4_096, rng_seed: RngSeed::Fixed(6), failure_persistence: None, ..Default::default() };
    let (ended, gaps, signals) = (Cell::new(0), Cell::new(0), Cell::new(0));
    TestRunner::new(config)
        .run(&(setup(), prop::collection::vec(step(), 0..120)), |(setup, steps)| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let seen = runtime.block_on(play(&setup, steps));
            ended.set(ended.get() + u32::from(seen.ended));
            gaps.set(gaps.get() + seen.gaps);
            signals.set(signals.get() + seen.signals);
            Ok(())
        })
        .unwrap();
    // The histories go where they should.
    assert!(ended.get() > 1_000 && gaps.get() > 400 && signals.get() > 2_000, "{ended:?} {gaps:?} {signals:?}");
}

struct Seen {
    ended: bool,
    gaps: usize,
    signals: usize,
}

async fn play(setup: &Setup, steps: Vec<Step>) -> Seen {
    let flow = Flow::new();
    let slow = SlowConsumer::new().hard(Depth::messages(setup.hard)).soft(Depth::messages(setup.soft), secs(3));
    let builder = builder().max_messages(setup.messages).max_bytes(200).overflow(setup.overflow).slow(slow).flow(&flow);
    let builder = builder.gap_marker(|missed: Load| format!("gap {}", missed.items)).heartbeat(std::time::Duration::MAX, 1);
    let (outbox, outlet) = builder.build().expect("bounds that leave room");
    let (wire, peer) = wire(0);
    let understand = |message: String| match message.as_str() {
        "pause" => Inbound::Pause,
        "resume" => Inbound::Resume,
        _ => Inbound::Reply("urgent".to_owned()),
    };
    let mut drive = Box::pin(outlet.drive(wire, Words, understand));
    let mut fate = Fate::default();
    let mut end = poll(&mut drive);
    for step in steps {
        if end.is_some() {
            break;
        }
        match step {
            Step::Send(class, size) => fate.send(&outbox, setup.overflow, class, size),
            Step::Take(more) => peer.take(more),
            Step::StallFlush(stalls) => peer.stall_flush(stalls),
            Step::Peer(message) => peer.send(message),
            Step::Advance(ms) => tokio::time::advance(millis(ms)).await,
            Step::Close => outbox.close(Close::NORMAL),
            Step::Break => peer.break_down(),
            Step::HangUp => peer.hang_up(),
        }
        let numbers = outbox.numbers();
        assert!(numbers.messages <= (setup.messages + 8) as u64);
        assert_eq!(flow.is_paused(), numbers.paused);
        end = poll(&mut drive);
    }
    let (ended, before) = (end.is_some(), outbox.numbers());
    drop(drive);
    check(&outbox, &peer, &fate, &flow);
    if let Some(Ended::Slow(_)) = end {
        assert!(setup.hard < u64::MAX || setup.soft < u64::MAX);
    }
    assert!(before.dropped.discarded <= outbox.numbers().dropped.discarded);
    let gaps = peer.data().iter().filter(|data| data.starts_with("gap")).count();
    Seen { ended, gaps, signals: peer.signals().len() }
}

fn check(outbox: &Outbox<String>, peer: &Peer, fate: &Fate, flow: &Flow) {
    assert!(peer.is_dropped() && outbox.has_ended() && !flow.is_paused());
    let numbers = outbox.numbers();
    let dropped = numbers.dropped;
    assert_eq!(numbers.messages, 0);
    assert_eq!(numbers.sent, numbers.written + numbers.in_flight + dropped.evicted + dropped.superseded + dropped.discarded);
    assert_eq!((dropped.evicted, dropped.superseded), (fate.evicted, fate.superseded));
    let signals = peer.signals();
    assert!(signals.iter().enumerate().all(|(turn, signal)| (*signal == Signal::Pause) == (turn % 2 == 0)));
    let closes = peer.taken().iter().filter(|frame| matches!(frame, Frame::Close(_))).count();
    assert!(closes == 0 || (closes == 1 && matches!(peer.taken().last(), Some(Frame::Close(_)))));
    // In order, apart from what was conflated; nothing twice; a gap exactly where numbers are missing that were lost by then.
    let (mut last, mut gap) = (None, 0_u64);
    for data in peer.data() {
        if let Some(missed) = data.strip_prefix("gap ") {
            gap = missed.parse().expect("the marker has a number");
            assert!(gap > 0);
            continue;
        }
        let Some(number) = data.split(' ').next().and_then(|number| number.parse::<u64>().ok()) else {
            continue;
        };
        let conflated = data.contains("conflated");
        assert!(!fate.lost.contains(&number), "{number} was lost, and came");
        if !conflated && let Some(last) = last {
            assert!(number > last);
            let lost = fate.lost.iter().filter(|lost| (last + 1..number).contains(*lost)).count();
            assert!(lost == 0 || gap > 0 || fate.conflates, "{lost} lost before {number} without a marker");
        }
        if !conflated {
            last = Some(number);
            gap = 0;
        }
    }
}

/// What the senders were told of their messages.
#[derive(Default)]
struct Fate {
    next: u64,
    lost: Vec<u64>,
    evicted: u64,
    superseded: u64,
    conflates: bool,
}

impl Fate {
    fn send(&mut self, outbox: &Outbox<String>, overflow: Overflow, class: ItemClass, size: usize) {
        let number = self.next;
        self.next += 1;
        let word = match class {
            ItemClass::Urgent => "urgent".to_owned(),
            ItemClass::Conflated(_) => {
                self.conflates = true;
                format!("{number} conflated")
            }
            _ => format!("{number} "),
        };
        let closed = outbox.is_closed();
        match outbox.try_send_as(class, format!("{word:<size$}")) {
            Ok(sent) => {
                for displaced in sent {
                    let (Displaced::Evicted(item) | Displaced::Superseded(item)) = &displaced;
                    self.lost.extend(item.value.split(' ').next().and_then(|number| number.parse::<u64>().ok()));
                    match displaced {
                        Displaced::Evicted(_) => self.evicted += 1,
                        Displaced::Superseded(_) => self.superseded += 1,
                    }
                }
            }
            Err(error) => {
                assert_eq!(error.reason == Refused::Closed, closed);
                // Under `Block` the sender still has it.
                if error.reason == Refused::Full && overflow != Overflow::Block && class != ItemClass::Urgent {
                    self.lost.push(number);
                }
            }
        }
    }
}

fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Option<F::Output> {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

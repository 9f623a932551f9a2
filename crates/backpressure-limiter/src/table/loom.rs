//! The table under every interleaving that matters: run with `RUSTFLAGS="--cfg backpressure_loom"`.

use backpressure_core::{Algorithm, Decision, FixedWindow, Rate, Timestamp, TokenBucket};
use loom::sync::Arc;
use loom::thread;

use super::{Answer, Table, WhenFull};
use crate::Limiter;

type Bucket = Table<TokenBucket>;

const NOW: Timestamp = Timestamp::ORIGIN;

/// One request a day for each key.
fn one() -> TokenBucket {
    TokenBucket::new(Rate::per_day(1))
}

fn admits(table: &Bucket, print: u64) -> bool {
    table.update(
        print,
        NOW,
        |bucket, state| bucket.admit(state, NOW, 1),
        |answer| match answer {
            Answer::Of(decision) => decision.is_admitted(),
            Answer::Full { .. } => false,
            Answer::Untracked => true,
        },
    )
}

/// Runs the closures at once, each on a thread, and returns what they returned.
fn race<R: 'static>(table: &Arc<Bucket>, runners: Vec<fn(&Bucket) -> R>) -> Vec<R> {
    let threads: Vec<_> = runners
        .into_iter()
        .map(|run| {
            let table = Arc::clone(table);
            thread::spawn(move || run(&table))
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().expect("a model that panics has failed already")).collect()
}

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(check);
}

#[test]
fn two_threads_that_bring_one_new_key_admit_it_once() {
    model(|| {
        let table = Arc::new(Table::new(one(), 2, WhenFull::Evict));
        let admitted = race(&table, vec![|t| admits(t, 7), |t| admits(t, 7)]);
        assert_eq!(admitted.iter().filter(|a| **a).count(), 1);
        assert_eq!(table.len(), 1);
    });
}

#[test]
fn a_key_that_is_being_refused_is_not_forgotten_for_newcomers() {
    model(|| {
        let table = Arc::new(Table::new(one(), 1, WhenFull::Evict));
        assert!(admits(&table, 7));
        // 8 and 9 find the only place taken by a key at its limit: they share one state, and 7 stays refused.
        let admitted = race(&table, vec![|t| admits(t, 8), |t| admits(t, 9), |t| admits(t, 7)]);
        assert!(!admitted[2]);
        assert_eq!(admitted.iter().filter(|a| **a).count(), 1);
        assert_eq!(table.len(), 1);
    });
}

#[test]
fn newcomers_that_race_for_the_last_place_never_exceed_the_bound() {
    model(|| {
        let table = Arc::new(Table::new(one(), 1, WhenFull::Refuse));
        let admitted = race(&table, vec![|t| admits(t, 7), |t| admits(t, 8)]);
        assert_eq!(admitted.iter().filter(|a| **a).count(), 1);
        assert_eq!(table.len(), 1);
    });
}

#[test]
fn an_eviction_races_with_a_decision_about_the_evicted_key_and_neither_is_lost() {
    model(|| {
        // Two a day: 7 has taken one, so it may be evicted while it takes its second.
        let bucket = TokenBucket::new(Rate::per_day(2));
        let table = Arc::new(Table::new(bucket, 1, WhenFull::Evict));
        assert!(admits(&table, 7));
        race(&table, vec![|t| admits(t, 7), |t| admits(t, 8)]);
        assert_eq!(table.len(), 1);
        // Whoever is tracked now has a whole history: the table holds one of 7 (with 2 or, evicted and back, 1) and 8 (with 1).
        let taken = |print| table.read(print, |bucket, state| 2 - bucket.quota(bucket.check(state, NOW, 0).level).remaining);
        match (taken(7), taken(8)) {
            (Some(1 | 2), None) | (None, Some(1)) => {}
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn two_threads_that_bring_one_new_key_to_a_full_table_count_on_one_state() {
    model(|| {
        let table = Arc::new(Table::new(TokenBucket::new(Rate::per_day(2)), 1, WhenFull::Evict));
        assert!(admits(&table, 7));
        let raced = race(&table, vec![|t| admits(t, 8), |t| admits(t, 8)]);
        let later = [admits(&table, 8), admits(&table, 8)];
        assert!(raced.iter().chain(&later).filter(|admitted| **admitted).count() <= 2);
        assert_eq!(table.len(), 1);
    });
}

#[test]
fn two_threads_that_take_the_place_of_a_fresh_key_elsewhere_count_on_one_state() {
    // Two sets: the first belongs to the low prints, the second to the high ones.
    const HIGH: u64 = u64::MAX;
    model(|| {
        let table = Arc::new(Table::new(one(), 4, WhenFull::Share));
        for print in 1..=4 {
            assert!(admits(&table, print));
        }
        // All four are as good as new a day later, and none of them is in the newcomer's set.
        let bring = |t: &Bucket, print| {
            let later = NOW.saturating_add(86_400_000_000_000);
            t.update(
                print,
                later,
                |bucket, state| bucket.admit(state, later, 1),
                |answer| matches!(answer, Answer::Of(d) if d.is_admitted()),
            )
        };
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let table = Arc::clone(&table);
                thread::spawn(move || bring(&table, HIGH))
            })
            .collect();
        let admitted = threads.into_iter().map(|thread| thread.join().expect("a model that panics has failed already"));
        assert_eq!(admitted.filter(|admitted| *admitted).count(), 1);
        let tracked = [1, 2, 3, 4, HIGH].iter().filter(|print| table.read(**print, |_, _| ()).is_some()).count();
        assert_eq!(table.len(), tracked, "what was reserved twice was let go");
        assert!(!bring(&table, HIGH));
    });
}

#[test]
fn removing_races_with_inserting_and_the_count_stays_right() {
    model(|| {
        let table = Arc::new(Table::new(one(), 2, WhenFull::Evict));
        assert!(admits(&table, 7));
        race(&table, vec![|t| t.remove(7), |t| admits(t, 7), |t| admits(t, 8)]);
        let tracked = [7, 8].iter().filter(|print| table.read(**print, |_, _| ()).is_some()).count();
        assert_eq!(table.len(), tracked);
    });
}

#[test]
fn a_give_back_races_with_decisions_and_is_counted_once() {
    model(|| {
        let table = Arc::new(Table::new(one(), 2, WhenFull::Evict));
        let first: Decision<_> = table.update(
            7,
            NOW,
            |bucket, state| bucket.admit(state, NOW, 1),
            |answer| match answer {
                Answer::Of(decision) => decision,
                Answer::Full { .. } | Answer::Untracked => unreachable!("the table is empty"),
            },
        );
        let back = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.read(7, |bucket, state| bucket.give_back(state, &first, NOW)))
        };
        let admitted = race(&table, vec![|t| admits(t, 7), |t| admits(t, 7)]);
        back.join().expect("a model that panics has failed already");
        let later = admits(&table, 7);
        assert_eq!(admitted.iter().filter(|a| **a).count() + usize::from(later), 1);
    });
}

#[test]
fn the_state_in_an_atomic_and_the_state_under_a_lock_admit_exactly_the_limit() {
    fn admitted<A: Algorithm + Send + 'static>(algorithm: A) -> usize
    where
        A::State: Send,
    {
        let limiter = Limiter::with_clock(algorithm, backpressure_core::ManualClock::new());
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let limiter = limiter.clone();
                thread::spawn(move || usize::from(limiter.check().is_ok()) + usize::from(limiter.check().is_ok()))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a model that panics has failed already")).sum()
    }
    model(|| assert_eq!(admitted(TokenBucket::new(Rate::per_day(3))), 3));
    model(|| assert_eq!(admitted(FixedWindow::new(Rate::per_day(3))), 3));
}

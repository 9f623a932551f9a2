//! A limit for each client and one for all, asked by two threads at once.

#![expect(clippy::unwrap_used, reason = "the helpers of tests, too, fail by panicking")]

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{
    And, Constant, Fail, KeyedLimiter, Limiter, ManualClock, Rate, RateLimitLayer, Rated, Rejection, TokenBucket, key,
};

const CLIENTS: u32 = 100;
const ROUNDS: usize = 40;

type Each = key::Of<u32, tower_backpressure::FromRequest<fn(&u32) -> Option<u32>>>;
type Stack =
    And<Rated<KeyedLimiter<u32, TokenBucket, ManualClock>, Each, Constant<u64>>, Rated<Limiter<TokenBucket, ManualClock>>>;

struct Setup {
    clock: ManualClock,
    layer: RateLimitLayer<Stack, Fail>,
    each: KeyedLimiter<u32, TokenBucket, ManualClock>,
    all: Limiter<TokenBucket, ManualClock>,
}

impl Setup {
    /// 10/s for each client, and so many a second for all.
    fn new(for_all: u32) -> Self {
        let clock = ManualClock::new();
        let each: Each = key::from_request(|client: &u32| Some(*client));
        let each = RateLimitLayer::new(TokenBucket::new(Rate::per_second(10))).clock(clock.clone()).keyed(each);
        let all = RateLimitLayer::new(TokenBucket::new(Rate::per_second(for_all))).clock(clock.clone());
        Self { clock, each: each.limiter(), all: all.limiter(), layer: each.and(all).answer(Fail) }
    }

    /// Lets two threads ask for every client of `asked` so often, in different orders, and returns how many each got.
    fn storm(&self, asked: &[u32], times: usize) -> Vec<u64> {
        let begin = Barrier::new(2);
        let ask = |offset: usize| {
            let mut got = vec![0; CLIENTS as usize];
            let service = self.layer.layer(service_fn(async |client: u32| Ok::<_, Rejection>(client)));
            begin.wait();
            for turn in 0..times * asked.len() {
                let client = asked[(turn * (1 + 2 * offset) + offset) % asked.len()];
                if service.clone().oneshot(client).now_or_never().unwrap().is_ok() {
                    got[client as usize] += 1;
                }
            }
            got
        };
        thread::scope(|scope| {
            let other = scope.spawn(|| ask(1));
            let mine = ask(0);
            mine.iter().zip(other.join().unwrap()).map(|(mine, theirs)| mine + theirs).collect()
        })
    }
}

fn everyone() -> Vec<u32> {
    (0..CLIENTS).collect()
}

#[test]
fn what_a_clients_own_limit_refuses_never_spends_that_of_all() {
    for asked in [vec![7], vec![1, 2, 3], everyone()] {
        let setup = Setup::new(1_000);
        for round in 0..ROUNDS {
            let got = setup.storm(&asked, 30);
            for client in &asked {
                assert_eq!(got[*client as usize], 10, "round {round}: its own limit is the only one in its way");
            }
            // To the request: all that was spent was admitted, though each client was refused fifty times.
            assert_eq!(setup.all.peek().remaining, 1_000 - got.iter().sum::<u64>());
            setup.clock.advance(Duration::from_secs(1));
        }
    }
}

#[test]
fn neither_limit_is_ever_exceeded_and_what_the_one_for_all_refuses_costs_no_client() {
    // 100 clients of 10 are twice as many as all together may.
    let setup = Setup::new(500);
    for round in 0..ROUNDS {
        let got = setup.storm(&everyone(), 15);
        let admitted = got.iter().sum::<u64>();
        // Exactly: whoever was refused early in a race left it to somebody who asked later.
        assert_eq!((admitted, setup.all.peek().remaining), (500, 0), "round {round}");
        for (client, got) in (0..).zip(&got) {
            assert!(*got <= 10, "client {client} got {got}");
            assert_eq!(setup.each.peek(&client).remaining, 10 - got, "round {round}: client {client} lost what it did not get");
        }
        setup.clock.advance(Duration::from_secs(1));
    }
}

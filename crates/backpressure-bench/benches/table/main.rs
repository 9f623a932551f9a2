//! One table of what the layers, limiters and queues cost, each next to its best peer: `cargo bench -p backpressure-bench`.
//!
//! ```text
//! cargo bench -p backpressure-bench                    the whole table, some minutes
//! cargo bench -p backpressure-bench -- keyed           the rows with `keyed` in their name
//! cargo bench -p backpressure-bench -- instructions    instructions an operation; needs valgrind; a part of a name may follow
//! ```
//!
//! # How to read it
//!
//! A row says what ours and the peer cost and compares their **ratio** with a target. Times belong to the machine that ran; only
//! the
//! ratio is judged, and instructions are steadier than times.
//!
//! # How it is measured
//!
//! - **Time**: ours and the peer take turns in one process, in rounds of some milliseconds, each going first every other round.
//!   The
//!   ratio is the median of the ratios of the rounds, so that what disturbs both disturbs neither; the times are medians too.
//! - **Keys** are `IpAddr`s, visited in a random order in which each depends on the answer about the one before, so that the
//!   processor can
//!   hardly fetch ahead. Every key has been seen before.
//! - **Limits** are never reached in the rows that admit, and never recover in those that refuse.
//! - **shed**: the service answers at once and has a body. Service and future are called through vtables, as hosts do.
//! - **buffer**: each caller is a task with a clone of the service, on one thread, and what calling the bare service costs is taken
//!   off. `waiting` lets one at a time into a service that yields once, so that all others wait.
//! - **queue**: of 64 places, on one thread, with integers of 8 bytes or with `Bytes`, which are 32. `full` has a receiver that reads
//!   nothing.
//! - **Memory**: bytes allocated and not freed while n keys come in, over n. **Pause**: the longest single check among them, the
//!   shorter of two runs, since the system's own interruptions only ever add. Each run has a process of its own.
//! - **Instructions**: an operation runs 10 000 and 20 000 times under callgrind; the difference, less that of the bare loop, is
//!   divided.
//! - **fan-out**: all tasks on one thread, each message published once all tasks have got the one before; a delivery is with all that
//!   wakes and runs its task. The stuck one is never polled, and full. Ours writes to a sink that takes everything at once.
//! - Rows of **queue** and **buffer** are held to the same ratio in instructions as in time.
//! - Rows without a target are for information, as are those whose peer is ourselves.
//!
//! # Targets that are not met, and why
//!
//! - **single: refused**: ours says with each refusal when to come back and what is left; the peer's refusal says neither until
//!   it is asked,
//!   and then ours is the faster one (the row below it).
//! - **single: admitted, in instructions**: 41 where the target is 36. Reading the counter and scaling it takes 18, the
//!   compare-and-swap loop and
//!   the arithmetic 16, and what is left tells whether the limit was reconfigured.
//! - **keyed: 1M keys**: one cache miss and its address translation on either side; the ratio moves between 0.63 and 0.72 with
//!   the load
//!   of the machine.
//! - **layer: admitted**: some 10 ns are the layer's own (see the row for one limit); the rest is the decision, and finding and
//!   hashing the
//!   address in the request's extensions, which both sides pay.
//! - **layer: refused, against admitted**: a map with four fields, the text of their values and an extension are seven
//!   allocations. Without any text
//!   the map and the extension alone are 1 638 instructions.
//! - **shed: admitted, against tower's** (the bulkhead's is met at 0.1): 319 instructions, and 335 with a clone, where tower has 226
//!   and 255. A place is 49 of them where a permit is 113; 50 look for a deadline in the extensions and for an upgrade in the
//!   fields; the rest moves the guard into the body, and with it the head into a response of another type. Held until the
//!   response and without HTTP, as tower's, ours takes 218. In time 20 ns against 13: what was written a moment before is copied
//!   by wider loads, which wait for the store buffer.
//! - **shed: refused, as an error**: 651 instructions against 357, and with a clone, which queues at tower's semaphore, 666 against
//!   682. Tower's error is a constant. Ours counts the refusal and notes when it was (100, half of them the clock), and says
//!   when to come back: an estimate under a lock (100), spread so that not all come at once (130).
//! - **shed: refused, as a response**: 3 295 instructions against 2 279 for axum's `HandleErrorLayer` with one constant field, and
//!   against 682 for an error that is no response yet: the map, the texts and the extension, as above.
//! - **shed: a place**: 0.43 in instructions, and 0.66 in time, which four locked instructions fill: count, share, and back.
//! - **buffer: waiting**: 1.2 in time and 0.91 in instructions, 2 357 against 2 590 for tower's Buffer round a `ConcurrencyLimit`;
//!   it is 0.95 and 0.71 if the wait has no end. 523 instructions are the timer of each request that waits, and the clock it is
//!   set by, which the peer does not have; the rest is a box for the request, two copies of the service, and a place in line that
//!   is taken and left under a lock. Tower's Buffer alone is twice as fast there, because nobody waits: it lets all 64 into the
//!   service at once.
//! - **buffer: the last place**: met in instructions, and in time between 0.24 and 0.40 from run to run. Who gives back the last of
//!   all places reads the clock and notes it under a lock, from which those who wait learn how long: 223 of the 420 instructions.
//!   As long as another place is free, a request costs 197.
//! - **queue: full, drop oldest, against tokio's broadcast** (in time, async-channel's is met at 0.5): 0.91 in time, 0.95 in
//!   instructions. The peer overwrites a slot and tells nobody; ours gives the evicted item back to the sender, counts it, and
//!   adds it to what the receiver will learn that it missed, in items and in weight. A `VecDeque` in a mutex, without any of
//!   that, is at 0.5.
//! - **queue: push + pop, in instructions**: 157 against 193 for tokio's mpsc, which is 0.81; in time it is met, narrowly. What
//!   the peer does not have is an account of weight, and room for a class and an age.
//! - **queue: push + pop, futures, against async-channel**: 0.68 in time (18.0 ns and 26.5), and met in instructions, 0.58. Why, has
//!   not been looked into; against tokio's mpsc it is 0.5.
//! - **fan-out**: 957 instructions where broadcast has 680 and mpsc 665, of which some 400 are the tasks and their scheduler on each
//!   side; 1.4 in time with 1 000 tasks and 1.8 to 2.6 with 10 000. A delivery of ours goes through an outbox: an account in
//!   messages and bytes, watermarks, limits, a class and an age, and a writer that looks for signals and for an end, and batches and
//!   flushes (2 locks to put it in, 5 to write it). With 10 000, what a connection has is cold, and ours has 312 bytes beside its task,
//!   in two places. It was 1 684 instructions before what is rare was moved out of the way.
//! - **memory: an idle outbox**: 312 bytes, 0.2 of a channel of tokio's, which has no policy, signals or numbers: 152 of the queue,
//!   a third of them its bounds and its reserve, and 160 of marks, limits, counts and the way to the end.
//! - tower-resilience's bulkhead is in no row that refuses: it refuses by a timer of 0 s, after the next round of the runtime.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock that limits nothing")]
#![expect(
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    reason = "ratios are for people, and no decision depends on them"
)]

mod buffer;
mod fanout;
mod instructions;
mod keys;
mod layer;
mod measure;
mod memory;
mod queue;
mod rows;
mod shed;

use std::env;

fn main() {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        // The modes in which this program starts itself.
        ["--only", row, side, operations] => instructions::only(row, side, operations),
        ["--grow", side, keys] => memory::grow_here(side, keys),
        ["--hold", side] => memory::hold_here(side),
        ["instructions"] => instructions::table(""),
        ["instructions", filter] => instructions::table(filter),
        [] => table(""),
        [filter] => table(filter),
        _ => println!("usage: table [instructions] [part of a row's name]"),
    }
}

fn table(filter: &str) {
    measure::head();
    for row in rows::all().iter().filter(|row| row.name.contains(filter)) {
        measure::line(&row.name, "ns", &row.time());
    }
    memory::table(filter);
}

//! Limits in a stack that speaks no HTTP: a service of numbers that fails when it is busy, and a client that waits as it is told.
//!
//! `cargo run --example custom_stack` calls the service, prints what happened, and ends: with 0 if all went as the limits
//! promise, or else with 1. It listens nowhere; `--once` and `--port N` are accepted as by the other examples, and change
//! nothing.

#![expect(clippy::print_stdout, reason = "programs talk to the person who started them")]

use std::future::{Ready, ready};
use std::io;
use std::process::ExitCode;
use std::task::{Context, Poll};
use std::time::Duration;

use backpressure_examples::{Arguments, now};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::{Fail, Rate, RateLimitLayer, Refused, Rejection, TokenBucket, Wrap, key};

/// Squares numbers: the inner service, which knows nothing of limits.
#[derive(Clone, Copy, Debug)]
struct Squares;

/// How a square fails. It has a place for a refusal, so that the limit can answer with [`Fail`].
#[derive(Debug)]
enum SquareError {
    TooLarge,
    Busy(Rejection),
}

impl From<Rejection> for SquareError {
    fn from(rejection: Rejection) -> Self {
        Self::Busy(rejection)
    }
}

impl Service<u32> for Squares {
    type Response = u32;
    type Error = SquareError;
    type Future = Ready<Result<u32, SquareError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), SquareError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, number: u32) -> Self::Future {
        ready(number.checked_mul(number).ok_or(SquareError::TooLarge))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let _accepted = Arguments::read(0);
    println!(
        "A service whose error has a place for refusals (Fail). Odd and even numbers have a limit each: 3 at once, and then"
    );
    println!("one a minute.\n");
    let failed_as_promised = serve().await;
    println!(
        "\nA client with a limit of its own in front of somebody else's service (Wrap): 5 calls at once, and then 10 a second."
    );
    println!("A refused call is sent again after as long as the refusal says.\n");
    let obeyed = obey().await;
    let as_promised = failed_as_promised && obeyed;
    println!("\n{}", if as_promised { "Nobody who waited was refused again." } else { "Something did not go as promised." });
    if as_promised { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Calls the limited service and prints what it answers; returns whether that is what the limit promises.
async fn serve() -> bool {
    // So slow that none comes in between two lines.
    let limit = RateLimitLayer::new(TokenBucket::new(Rate::per_minute(1)).burst(3))
        .keyed(key::from_request(|number: &u32| Some(number % 2)))
        .answer(Fail);
    let squares = limit.layer(Squares);
    let mut as_promised = true;
    for (number, expected) in
        [(1, "1"), (3, "9"), (100_000, "too large"), (5, "25"), (7, "busy"), (2, "4"), (4, "16"), (9, "busy"), (6, "busy")]
    {
        let (answer, remark) = match squares.clone().oneshot(number).await {
            Ok(square) => (square.to_string(), String::new()),
            Err(SquareError::TooLarge) => ("too large".to_owned(), String::new()),
            Err(SquareError::Busy(rejection)) => ("busy".to_owned(), rejection.to_string()),
        };
        println!("  {number:>6} squared: {answer:<9}  {remark}");
        as_promised &= answer == expected;
    }
    as_promised
}

/// Sends twelve calls through a limit of our own, so that the service need not refuse them.
async fn obey() -> bool {
    // Its error belongs to somebody else: no `From<Rejection>` can be written for it, so the layer wraps it.
    let theirs = service_fn(async |number: u32| match number {
        13 => Err(io::Error::other("bad luck")),
        _ => Ok(number * 2),
    });
    let limit = RateLimitLayer::new(TokenBucket::new(Rate::per_second(10)).burst(5)).named("ours");
    let service = limit.answer(Wrap).layer(theirs);

    let began = now();
    let mut as_promised = true;
    for number in 2..14 {
        let sent = now();
        let (answer, refusals) = patiently(service.clone(), number).await;
        let answer = match answer {
            Ok(answer) => answer.to_string(),
            Err(error) => error.to_string(),
        };
        println!("  {number:>6} doubled: {answer:<9} after {:>3} ms, {refusals} refused", sent.elapsed().as_millis());
        as_promised &= refusals <= 1 && answer == if number == 13 { "bad luck".to_owned() } else { (number * 2).to_string() };
    }
    // Twelve calls, five of them at once: the other seven 100 ms apart.
    let took = began.elapsed();
    println!("  twelve calls took {} ms; at 10 a second after the first 5 they take 700 ms or more", took.as_millis());
    as_promised && took >= Duration::from_millis(700)
}

/// Calls until the limit admits the call, waiting as long as each refusal says; returns the answer and the count of refusals.
async fn patiently<S>(service: S, number: u32) -> (Result<u32, Refused<io::Error>>, usize)
where
    S: Service<u32, Response = u32, Error = Refused<io::Error>> + Clone,
{
    let mut refusals = 0;
    loop {
        match service.clone().oneshot(number).await {
            // Without a time no waiting helps.
            Err(Refused::Rejected(Rejection { retry_after: Some(wait), .. })) => {
                refusals += 1;
                tokio::time::sleep(wait).await;
            }
            answer => return (answer, refusals),
        }
    }
}

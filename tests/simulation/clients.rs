//! Who asks, how long they wait for an answer, and what they do when they get none.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use http::{Request, Response, StatusCode, header};
use tokio::time::{Instant, sleep, timeout};
use tower::ServiceExt;

use crate::policies::Server;
use crate::record::Record;

/// After this time a client has no use for an answer: it counts as none, and as no goodput.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// What clients do that were refused or got no answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retries {
    /// They go away.
    Never,
    /// They come back after `Retry-After` and up to half as long again, three attempts in all.
    WhenTold,
    /// They come back after 50 to 100 ms, whatever they were told, three attempts in all.
    AtOnce,
}

/// What a client is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    Served,
    Refused { retry_after: Duration },
}

/// What all clients of a run share.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) retries: Retries,
    pub(crate) rng: Mutex<Rng>,
    pub(crate) record: Arc<Record>,
}

impl Answer {
    pub(crate) fn of<B>(response: &Response<B>) -> Self {
        if response.status() != StatusCode::SERVICE_UNAVAILABLE {
            return Self::Served;
        }
        let seconds = response.headers()[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
        Self::Refused { retry_after: Duration::from_secs(seconds) }
    }
}

impl Clients {
    /// One client, until it has its answer or gives up.
    pub(crate) async fn ask(self: Arc<Self>, server: Server) {
        for _ in 0..self.attempts() {
            let pause = match self.attempt(server.clone()).await {
                Some(Answer::Served) => return,
                Some(Answer::Refused { retry_after }) => retry_after,
                // Nobody said when.
                None => Duration::ZERO,
            };
            sleep(self.pause(pause)).await;
        }
    }

    async fn attempt(&self, server: Server) -> Option<Answer> {
        let began = Instant::now();
        let mut call = Box::pin(server.oneshot(Request::new(())));
        let answer = timeout(PATIENCE, &mut call).await;
        if answer.is_err() {
            // The server does not know: a proxy stands between, the work cannot be stopped, or nobody looks. It works on.
            let record = Arc::clone(&self.record);
            tokio::spawn(async move {
                if let Ok(Answer::Served) = call.await {
                    record.served(began);
                }
            });
        }
        match answer {
            Ok(Ok(Answer::Served)) => self.record.served(began),
            Ok(Ok(Answer::Refused { .. })) => self.record.refused(),
            Err(_) => self.record.given_up(),
        }
        answer.ok().map(|Ok(answer)| answer)
    }

    fn attempts(&self) -> usize {
        if self.retries == Retries::Never { 1 } else { 3 }
    }

    fn pause(&self, told: Duration) -> Duration {
        let base = if self.retries == Retries::WhenTold { told.max(Duration::from_secs(1)) } else { Duration::from_millis(50) };
        let jitter = self.rng.lock().unwrap().f64();
        match self.retries {
            Retries::AtOnce => base.mul_f64(1.0 + jitter),
            Retries::WhenTold | Retries::Never => base.mul_f64(1.0 + jitter / 2.0),
        }
    }
}

//! A limit that follows how the work goes: what it is told of, and what not.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::time::{sleep, timeout};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_backpressure::{
    Aimd, Controller, Ending, FixedWindow, LoadShedLayer, Rate, RateLimitLayer, Sample, Until, Wrap, health_check,
};

use super::{call, get, now, quick};

/// A controller that takes notes, with limits that follow a script.
#[derive(Clone, Debug, Default)]
struct Notes {
    samples: Arc<Mutex<Vec<Sample>>>,
    limits: Arc<Mutex<Vec<usize>>>,
}

impl Controller for Notes {
    fn limit(&self) -> usize {
        self.limits.lock().unwrap().first().copied().unwrap_or(10)
    }

    fn record(&mut self, sample: Sample) -> usize {
        self.samples.lock().unwrap().push(sample);
        let mut limits = self.limits.lock().unwrap();
        if limits.len() > 1 {
            limits.remove(0);
        }
        limits.first().copied().unwrap_or(10)
    }
}

impl Notes {
    /// Returns how each piece of work ended, and how many milliseconds it took.
    fn take(&self) -> Vec<(Ending, u64)> {
        self.samples.lock().unwrap().drain(..).map(|sample| (sample.ending, sample.latency() / 1_000_000)).collect()
    }
}

/// Takes 20 ms, and then answers with what the path says.
async fn service(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    sleep(Duration::from_millis(20)).await;
    Ok(match request.uri().path() {
        "/stream" => {
            let late = stream::once(async {
                sleep(Duration::from_secs(60)).await;
                Ok::<_, Infallible>(Bytes::from("late"))
            });
            Response::new(Body::from_stream(late))
        }
        "/never" => std::future::pending().await,
        "/" | "/healthz" => Response::new(Body::from("done")),
        status => {
            let status: StatusCode = status[1..].parse().unwrap();
            Response::builder().status(status).body(Body::from("not done")).unwrap()
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_limit_learns_from_answers_and_drops_and_from_nothing_else() {
    let notes = Notes::default();
    let layer = LoadShedLayer::new(1).adaptive(notes.clone()).skip(health_check);
    let service = layer.layer(service_fn(service));
    let ask = async |path: &str| service.clone().oneshot(get(path)).await.unwrap().into_body().collect().await.unwrap();
    for (path, ending) in
        [("/", Ending::Success), ("/404", Ending::Ignored), ("/500", Ending::Ignored), ("/503", Ending::Dropped)]
    {
        ask(path).await;
        assert_eq!(notes.take(), [(ending, 20)], "{path}");
    }
    ask("/healthz").await;
    assert_eq!(notes.take(), [], "a health check is not work");
    ask("/stream").await;
    assert_eq!(notes.take(), [(Ending::Ignored, 20)], "a stream says nothing of the load, to its head or its end");
    assert!(timeout(Duration::from_millis(70), service.clone().oneshot(get("/never"))).await.is_err());
    assert_eq!(notes.take(), [(Ending::Ignored, 70)], "nor does a caller that gave up");
    let mut upgrade = get("/");
    upgrade.headers_mut().insert("upgrade", HeaderValue::from_static("websocket"));
    drop(service.oneshot(upgrade).await.unwrap());
    assert!(notes.take().iter().all(|(ending, _)| *ending == Ending::Ignored), "nor does an upgrade");
}

#[tokio::test(start_paused = true)]
async fn the_judge_is_the_users_where_there_is_one() {
    let notes = Notes::default();
    let layer = LoadShedLayer::new(1).adaptive(notes.clone()).judged(|head| match head.status.as_u16() {
        500 => Ending::Dropped,
        _ => Ending::Success,
    });
    let service = layer.hold(|_| Until::Response).layer(service_fn(service));
    for (path, ending) in [("/", Ending::Success), ("/503", Ending::Success), ("/500", Ending::Dropped)] {
        drop(service.clone().oneshot(get(path)).await.unwrap());
        assert_eq!(notes.take(), [(ending, 20)], "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_speaks_no_http_is_judged_by_its_result() {
    let notes = Notes::default();
    let halves = service_fn(async |number: u32| if number.is_multiple_of(2) { Ok(number / 2) } else { Err("odd") });
    let layer = LoadShedLayer::new(1).adaptive(notes.clone()).until_response().answer(Wrap);
    assert_eq!(layer.clone().layer(halves).oneshot(4).await.unwrap(), 2);
    assert!(layer.layer(halves).oneshot(5).await.is_err());
    assert_eq!(notes.take(), [(Ending::Success, 0), (Ending::Dropped, 0)]);
}

#[tokio::test(start_paused = true)]
async fn the_places_are_those_that_the_controller_says() {
    let notes = Notes::default();
    notes.limits.lock().unwrap().extend([2, 5, 1]);
    let layer = LoadShedLayer::new(7).adaptive(notes.clone());
    let handle = layer.handle();
    let service = layer.layer(service_fn(service));
    let mut limits = vec![handle.limit()];
    for _ in 0..2 {
        drop(service.clone().oneshot(get("/")).await.unwrap());
        limits.push(handle.limit());
    }
    assert_eq!(limits, [2, 5, 1]);
    assert_eq!(LoadShedLayer::new(7).adaptive(Aimd::new()).handle().limit(), Aimd::new().limit());
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_by_a_rate_limit_inside_says_nothing_of_the_load() {
    let notes = Notes::default();
    let limit = RateLimitLayer::new(FixedWindow::new(Rate::per_hour(1)));
    let service = ServiceBuilder::new().layer(LoadShedLayer::new(1).adaptive(notes.clone())).layer(limit).service(quick());
    for status in [200, 429] {
        assert_eq!(now(&mut call(&service, get("/"))).status(), status);
    }
    assert_eq!(notes.take(), [(Ending::Success, 0), (Ending::Ignored, 0)]);
}

#[tokio::test(start_paused = true)]
async fn what_has_waited_is_measured_as_the_rest_from_when_it_began() {
    let notes = Notes::default();
    notes.limits.lock().unwrap().push(2);
    let service = LoadShedLayer::new(1).adaptive(notes.clone()).queue(1).layer(service_fn(service));
    join_all((0..3).map(async |_| drop(service.clone().oneshot(get("/")).await.unwrap()))).await;
    let in_flight: Vec<_> = notes.samples.lock().unwrap().iter().map(|sample| sample.in_flight).collect();
    assert_eq!(in_flight[..2], [1, 2]);
    assert_eq!(notes.take(), [(Ending::Success, 20); 3], "though the third was answered after 40 ms");
}

/// Drops a response when it wakes, as an executor may drop a task that ends.
struct Drops<T>(Mutex<Option<T>>);

impl<T: Send> Wake for Drops<T> {
    fn wake(self: Arc<Self>) {
        drop(self.0.lock().unwrap().take());
    }
}

/// It used to wait for itself: those who wait were woken under the lock of the controller.
#[tokio::test(start_paused = true)]
async fn who_is_woken_by_a_higher_limit_may_drop_what_is_measured() {
    let notes = Notes::default();
    notes.limits.lock().unwrap().extend([2, 3, 4]);
    let layer = LoadShedLayer::new(1).adaptive(notes).queue(1);
    let (handle, service) = (layer.handle(), layer.layer(quick()));
    let [first, second] = [(); 2].map(|()| now(&mut call(&service, get("/"))));
    let mut waiting = call(&service, get("/"));
    let waker = Waker::from(Arc::new(Drops(Mutex::new(Some(second)))));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let (done, dropped) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        drop(first);
        done.send(()).unwrap();
    });
    assert!(dropped.recv_timeout(Duration::from_secs(5)).is_ok(), "it waits for itself");
    assert_eq!((handle.limit(), handle.in_flight()), (4, 1), "who waited has its place");
}

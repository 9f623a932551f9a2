//! What makes others shed without overload sheds nothing here. (tower 0.5.3, each as seen in an experiment.)

use std::convert::Infallible;
use std::task::{Context, Waker};

use axum::body::Body;
use http::{Request, Response};
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer as TowerLoadShedLayer;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_backpressure::LoadShedLayer;

use super::{call, get, now, quick, refusal};

/// An idle clone that is ready holds a permit of tower's limit, and its own load shed then refuses everybody else.
#[tokio::test]
async fn an_idle_clone_that_is_ready_sheds_nothing() {
    let mut theirs =
        ServiceBuilder::new().layer(TowerLoadShedLayer::new()).layer(GlobalConcurrencyLimitLayer::new(1)).service(quick());
    let mut idle = theirs.clone();
    idle.ready().await.unwrap();
    assert!(theirs.ready().await.unwrap().call(get("/")).await.is_err(), "with nothing in progress");

    let layer = LoadShedLayer::new(1);
    let mut ours = layer.layer(quick());
    let mut idle = ours.clone();
    idle.ready().await.unwrap();
    assert!(refusal(&ours.ready().await.unwrap().call(get("/")).await.unwrap()).is_none());
}

/// A request that tower has shed leaves a waiter behind, which the next free permit is given to.
#[tokio::test]
async fn who_is_shed_leaves_nobody_behind_to_take_the_next_place() {
    let layer = LoadShedLayer::new(1);
    let (handle, service) = (layer.handle(), layer.layer(quick()));
    let first = now(&mut call(&service, get("/")));
    let mut shed = service.clone();
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..3 {
        assert!(shed.poll_ready(&mut cx).is_ready());
        assert!(refusal(&shed.call(get("/")).await.unwrap()).is_some());
        assert!(shed.poll_ready(&mut cx).is_ready());
    }
    drop(first);
    assert_eq!((handle.in_flight(), handle.waiting()), (0, 0));
    assert!(refusal(&now(&mut call(&service, get("/")))).is_none());
}

/// A task that has used up its budget gets `Pending` from tokio's semaphore, with 9 999 permits free.
#[tokio::test]
async fn a_task_that_has_used_up_its_budget_sheds_nothing() {
    let done = async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::from("done")));
    let service = LoadShedLayer::new(10_000).layer(service_fn(done));
    let mut shed = 0;
    for _ in 0..1_000 {
        shed += usize::from(refusal(&now(&mut call(&service, get("/")))).is_some());
        tokio::task::coop::consume_budget().await;
    }
    while tokio::task::coop::has_budget_remaining() {
        tokio::task::coop::consume_budget().await;
    }
    for _ in 0..1_000 {
        shed += usize::from(refusal(&now(&mut call(&service, get("/")))).is_some());
    }
    assert_eq!(shed, 0);
}

//! What stands between the clients and the service.

use std::convert::Infallible;
use std::time::Duration;

use http::Request;
use tower::limit::ConcurrencyLimitLayer;
use tower::util::BoxCloneService;
use tower::{Layer, ServiceBuilder};
use tower_backpressure::{Aimd, CoDel, Gradient2, LoadShedHandle, LoadShedLayer, Order, Vegas};

use crate::clients::{Answer, PATIENCE};
use crate::service::Simulated;

/// The service as the clients see it.
pub(crate) type Server = BoxCloneService<Request<()>, Answer, Infallible>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Nothing does: all requests are in progress at once.
    Nothing,
    /// tower's `ConcurrencyLimit`: a bounded number is in progress, and all others wait.
    UnboundedQueue,
    /// `LoadShedLayer` with this limit, and with or without a bounded queue.
    Shed(Limit, Option<Order>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Fixed,
    Aimd,
    Vegas,
    Gradient2,
}

impl Policy {
    /// All of them, in the order of the table.
    pub(crate) fn all() -> Vec<Self> {
        let codel = Order::Adaptive(CoDel::new());
        let fixed = [None, Some(Order::Fifo), Some(Order::Lifo), Some(codel)].map(|order| Self::Shed(Limit::Fixed, order));
        let adaptive =
            [Limit::Aimd, Limit::Vegas, Limit::Gradient2].map(|limit| [None, Some(codel)].map(|order| Self::Shed(limit, order)));
        [Self::Nothing, Self::UnboundedQueue].into_iter().chain(fixed).chain(adaptive.into_iter().flatten()).collect()
    }

    pub(crate) fn name(self) -> String {
        let Self::Shed(limit, order) = self else {
            return if self == Self::Nothing { "no limit" } else { "unbounded queue" }.to_owned();
        };
        let limit = match limit {
            Limit::Fixed => "fixed",
            Limit::Aimd => "Aimd",
            Limit::Vegas => "Vegas",
            Limit::Gradient2 => "Gradient2",
        };
        let order = match order {
            None => "shed at once",
            Some(Order::Fifo) => "queue, Fifo",
            Some(Order::Lifo) => "queue, Lifo",
            Some(_) => "queue, CoDel",
        };
        format!("{limit}, {order}")
    }

    /// Puts the policy round a service.
    pub(crate) fn round(self, service: Simulated) -> (Server, Option<LoadShedHandle>) {
        let Self::Shed(limit, order) = self else {
            let unbounded = (self == Self::UnboundedQueue).then(|| ConcurrencyLimitLayer::new(LIMIT));
            let server =
                ServiceBuilder::new().option_layer(unbounded).map_response(|response| Answer::of(&response)).service(service);
            return (BoxCloneService::new(server), None);
        };
        let layer = LoadShedLayer::new(LIMIT);
        let layer = match limit {
            Limit::Fixed => layer,
            Limit::Aimd => layer.adaptive(Aimd::new().timeout(TOO_LONG)),
            Limit::Vegas => layer.adaptive(Vegas::new()),
            Limit::Gradient2 => layer.adaptive(Gradient2::new()),
        };
        let layer = match order {
            None => layer,
            Some(order) => layer.queue(QUEUE).max_wait(MAX_WAIT).order(order),
        };
        let handle = layer.handle();
        let server = ServiceBuilder::new().map_response(|response| Answer::of(&response)).service(layer.layer(service));
        (BoxCloneService::new(server), Some(handle))
    }
}

/// What an operator would choose who has measured that 20 to 40 in progress are best: see the table.
const LIMIT: usize = 30;

/// What is in line is served within `MAX_WAIT`, and that leaves time for the work before the client's patience ends.
const QUEUE: usize = 60;
const MAX_WAIT: Duration = Duration::from_millis(300);

/// From when an answer tells `Aimd` of overload: five times the mean work.
const TOO_LONG: Duration = Duration::from_millis(500);

const _: () = assert!(MAX_WAIT.as_millis() < PATIENCE.as_millis());

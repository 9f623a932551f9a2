//! What a request holds while it is in progress.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use backpressure_core::Ending;
use backpressure_queue::Place;

use crate::adaptive::Measured;

/// The place of a request in progress, and whatever else it holds; `C` is that of its client.
///
/// Dropping it gives everything back.
pub struct Guard<C> {
    // In this order: a limit that changes with the sample is in force before the place is given on.
    measured: Option<Measured>,
    place: Option<Place>,
    client: Option<C>,
    /// The place and the client's, where the handler of an upgraded connection has a share of them.
    shared: Option<Arc<(Option<Place>, Option<C>)>>,
}

/// The place of a request that asks for an upgrade; in its extensions.
///
/// The handler takes it into the task of the upgraded connection and keeps it there: the place is free when the response has been
/// sent *and* the last clone is dropped. Requests that ask for no upgrade have none.
///
/// ```
/// use axum::extract::Extension;
/// use axum::extract::ws::{WebSocket, WebSocketUpgrade};
/// use axum::response::Response;
/// use backpressure_load_shed::HeldPlace;
///
/// async fn feed(upgrade: WebSocketUpgrade, Extension(place): Extension<HeldPlace>) -> Response {
///     upgrade.on_upgrade(async move |socket: WebSocket| {
///         serve(socket).await;
///         drop(place);
///     })
/// }
/// # async fn serve(_: WebSocket) {}
/// ```
#[derive(Clone)]
pub struct HeldPlace(#[expect(dead_code, reason = "held for its drop")] Arc<dyn Any + Send + Sync>);

impl<C> Guard<C> {
    pub(crate) const fn new(place: Option<Place>, client: Option<C>, measured: Option<Measured>) -> Self {
        Self { measured, place, client, shared: None }
    }

    pub(crate) fn responded(&mut self, ending: impl FnOnce() -> Ending) {
        if let Some(measured) = &mut self.measured {
            measured.responded(ending());
        }
    }

    /// Shares the place with an upgraded connection, which says nothing of the load.
    pub(crate) fn share(&mut self) -> HeldPlace
    where
        C: Send + Sync + 'static,
    {
        self.measured = None;
        let shared = Arc::new((self.place.take(), self.client.take()));
        self.shared = Some(Arc::clone(&shared));
        HeldPlace(shared)
    }
}

impl<C> fmt::Debug for Guard<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("has_a_place", &(self.place.is_some() || self.shared.is_some()))
            .field("is_measured", &self.measured.is_some())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for HeldPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldPlace").finish_non_exhaustive()
    }
}
